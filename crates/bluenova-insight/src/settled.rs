use bluenova_record::PackRecord;
use time::Duration;

use crate::{
    Counters,
    counters::{Flow, LastFlows, TimedFlow},
    insight::row_gap,
    unix_micros::UnixMicros,
};

/// The counters as a restart would find them: those of the state that was stored last, and of the
/// rows that were stored since.
///
/// Samples count for more than rows, but those behind the last row are lost with a killed process.
/// Who shows these counters shows nothing that is lost, so that what is shown never falls.
#[derive(Clone, Debug, Default)]
pub struct SettledCounters {
    counted: Counters,
    /// The most that was shown: rows are coarser than samples, and may have counted more.
    shown: Counters,
    flows: LastFlows,
    latest: Option<UnixMicros>,
}

impl SettledCounters {
    pub(crate) fn new(
        counted: Counters,
        shown: Counters,
        flows: LastFlows,
        latest: Option<UnixMicros>,
    ) -> Self {
        Self { counted, shown: shown.max(counted), flows, latest }
    }

    /// Takes a row that was stored, with that time from one row to the next. One that isn't behind
    /// the state or the last row is left out.
    pub fn row(&mut self, row: &PackRecord, interval: Duration) {
        let time = UnixMicros::of(row.insert_time_utc);
        if self.latest.is_some_and(|latest| time <= latest) {
            return;
        }
        self.latest = Some(time);
        let flow = Flow::of(row).map(|flow| TimedFlow { time, flow });
        if let Some(span) = flow.and_then(|flow| self.flows.next(flow, row_gap(interval))) {
            self.counted.count(span);
            self.shown = self.shown.max(self.counted);
        }
    }

    /// Energy and charge since the first sample, up to the last row. They never fall.
    pub fn counters(&self) -> Counters {
        self.shown
    }
}
