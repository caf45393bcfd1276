//! `/api/gaps`: the intervals without a row, and why.

use std::collections::VecDeque;
use std::ops::Range;

use bluenova_journal::{Gap, GapBattery, GapFinder, Reader, RowShare, gaps_in_journal};
use bluenova_record::{McuId, Rfc3339};
use serde::{Serialize, Serializer};
use time::{Duration, UtcDateTime};

use crate::HistoryError;
use crate::gap_json::{GapJson, ShareJson};
use crate::history::times;
use crate::query::{Query, not};

const PARAMETERS: [&str; 3] = ["from", "to", "battery"];

/// Number of gaps in an answer, the newest ones.
const MAX_GAPS: usize = 1000;

/// Time from the end of an interval until its row is expected to be stored.
pub(crate) const ROW_IS_DUE: Duration = Duration::seconds(3);

/// The intervals without a row, as JSON.
#[derive(Debug, Serialize)]
pub struct Gaps {
    from: Rfc3339,
    to: Rfc3339,
    interval_s: f64,
    gaps: GapList,
    /// Gaps that are older than these.
    older_gaps: u64,
    batteries: ShareList,
}

#[derive(Debug)]
struct GapList(VecDeque<(GapBattery, Gap)>);

#[derive(Debug)]
struct ShareList(Vec<RowShare>);

/// The gaps between the journal's rows that `query` asks for.
///
/// Parameters are `from` and `to`, RFC 3339 times, by default the last 24 h, and `battery`, an MCU
/// ID; without it, all batteries count. `interval` is the time from one row to the next one.
///
/// # Errors
/// A parameter is invalid, or the journal can't be read.
pub fn gaps(
    journal: &Reader,
    query: &[(String, String)],
    now: UtcDateTime,
    interval: std::time::Duration,
) -> Result<Gaps, HistoryError> {
    let query = Query::new(query, &PARAMETERS)?;
    let asked = times(query, now)?;
    let battery = battery(query)?;
    let events = journal.events()?;
    // Older rows were delivered and are not in the journal any more.
    let oldest = journal.oldest()?.map(|oldest| oldest.saturating_sub(signed(interval)));
    let reaches = oldest.or(events.first().map(|event| event.since)).unwrap_or(asked.end);
    let end = asked.end.min(now.saturating_sub(ROW_IS_DUE));
    let times = asked.start.max(reaches).min(end)..end;

    let mcu_ids = journal.mcu_ids()?;
    let finder = GapFinder::new(interval, times.clone(), &events, &mcu_ids, true);
    let is_asked_for = |of: &GapBattery| battery.is_none() || of.mcu_id == battery;
    let mut gaps = VecDeque::new();
    let mut older_gaps = 0;
    let mut shares = gaps_in_journal(journal, finder, |battery, gap| {
        if is_asked_for(battery) {
            gaps.push_back((battery.clone(), gap));
        }
        if gaps.len() > MAX_GAPS {
            gaps.pop_front();
            older_gaps += 1;
        }
    })?;
    shares.retain(|share| is_asked_for(&share.battery));
    let Range { start, end } = times;
    Ok(Gaps {
        from: Rfc3339(start),
        to: Rfc3339(end),
        interval_s: interval.as_secs_f64(),
        gaps: GapList(gaps),
        older_gaps,
        batteries: ShareList(shares),
    })
}

fn battery(query: Query<'_>) -> Result<Option<u32>, HistoryError> {
    let Some(given) = query.get("battery") else { return Ok(None) };
    let allowed = "an MCU ID, which has 1 to 8 hexadecimal digits, is allowed";
    let id = McuId::parse(given);
    id.map(|McuId(id)| Some(id)).ok_or_else(|| HistoryError::query("battery", not(given, allowed)))
}

fn signed(length: std::time::Duration) -> Duration {
    length.try_into().unwrap_or(Duration::MAX)
}

impl Serialize for GapList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(battery, gap)| GapJson::new(battery, gap)))
    }
}

impl Serialize for ShareList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ShareJson::new))
    }
}
