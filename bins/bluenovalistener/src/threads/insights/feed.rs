use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bluenova_console::{Line, Sampler};
use bluenova_record::PackRecord;
use bluenova_status::{BatteryStatus, Shared};
use time::UtcDateTime;

use super::{BatteryInsight, FIGURES_EVERY, InsightSource, lock};

/// Shortest interval between whose rows the values of samples are shown: more often than that, a
/// row is as good.
const VALUES_FROM: Duration = Duration::from_secs(5);

/// The samples of a battery at one address, on their way to what is known of it and to the status.
pub(in crate::threads) struct SampleFeed {
    /// Number of the address.
    address: usize,
    sampler: Sampler,
    source: InsightSource,
    status: Shared<BatteryStatus>,
    /// The battery that is at the address, once it has said so.
    battery: Option<(u32, Arc<Mutex<BatteryInsight>>)>,
    /// When the lines that come were read, by either clock.
    read_at: (UtcDateTime, Instant),
    shows_values: bool,
    shown: Option<Instant>,
}

impl SampleFeed {
    pub(in crate::threads) fn new(
        address: usize,
        interval: Duration,
        source: InsightSource,
        status: Shared<BatteryStatus>,
    ) -> Self {
        let read_at = (UtcDateTime::UNIX_EPOCH, Instant::now());
        let shows_values = interval >= VALUES_FROM;
        Self {
            address,
            sampler: Sampler::new(),
            source,
            status,
            battery: None,
            read_at,
            shows_values,
            shown: None,
        }
    }

    /// There is a connection. Its first lines may have come with the handshake, before
    /// [`tick`](Self::tick) is called.
    pub(in crate::threads) fn connected(&mut self, now: UtcDateTime) {
        self.read_at = (now, Instant::now());
        // The cycle under way was lost with the connection before.
        self.sampler = Sampler::new();
    }

    /// From now on lines are read at that time. `is_quiet`: none came since the last call.
    pub(in crate::threads) fn tick(&mut self, now: UtcDateTime, is_quiet: bool) {
        self.read_at = (now, Instant::now());
        if is_quiet {
            let sample = self.sampler.pause(self.battery.as_ref().map(|(mcu_id, _)| *mcu_id));
            self.take(sample);
        }
    }

    /// Takes a line of the battery whose MCU ID is `owner`, as far as the assembler has it.
    pub(in crate::threads) fn line(&mut self, line: &Line<'_>, owner: Option<u32>) {
        let sample = self.sampler.take(line, owner, self.read_at.0);
        self.take(sample);
        if let (Line::McuId(_), Some(owner)) = (line, owner) {
            self.identified(owner);
        }
    }

    /// Takes a row of the battery, for where there are no samples.
    pub(in crate::threads) fn row_came(&mut self, row: &PackRecord) {
        let Some((mcu_id, battery)) = &self.battery else { return };
        if *mcu_id == row.mcu_id {
            lock(battery).live_row(row, &self.source.insights);
            self.show();
        }
    }

    fn identified(&mut self, owner: u32) {
        if self.battery.as_ref().is_none_or(|(mcu_id, _)| *mcu_id != owner) {
            self.another_battery(owner);
        }
    }

    /// Apart, since what is known of a battery is made on the stack: inlined into the way of each
    /// line, that would be beneath all that a sample takes there.
    #[cold]
    #[inline(never)]
    fn another_battery(&mut self, owner: u32) {
        self.battery = Some((owner, self.source.of(owner, self.read_at.1)));
        // Those of the battery that was here before aren't those of this one.
        self.status.update(|status| status.figures = None);
        self.show();
    }

    fn take(&mut self, sample: Option<PackRecord>) {
        let (Some(sample), Some((mcu_id, battery))) = (sample, &self.battery) else { return };
        if sample.mcu_id != *mcu_id {
            return;
        }
        let now = self.read_at.1;
        lock(battery).sample(&sample, self.address, now, &self.source.insights.days);
        if self.shown.is_none_or(|shown| now.saturating_duration_since(shown) >= FIGURES_EVERY) {
            self.shown = Some(now);
            self.show();
            if self.shows_values {
                self.status.update(|status| status.sampled(sample, now));
            }
        }
    }

    /// Puts what is known into the status.
    fn show(&mut self) {
        let Some((_, battery)) = &self.battery else { return };
        let now = self.read_at.1;
        if let Some(figures) = lock(battery).figures(now) {
            self.status.update(|status| status.figures = Some(figures));
        }
    }
}
