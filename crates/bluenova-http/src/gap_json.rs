//! Gaps as JSON, for `/api/gaps` and for the listener's command line.

use bluenova_journal::{Gap, GapBattery, GapCause, RowShare};
use bluenova_record::{McuId, Rfc3339};
use serde::Serialize;

/// Intervals of a battery without a row. Field names are those of the JSON.
#[derive(Debug, Serialize)]
pub struct GapJson<'a> {
    battery: Option<McuId>,
    names: &'a [String],
    from: Rfc3339,
    to: Rfc3339,
    intervals: u64,
    cause: &'static str,
    error: Option<&'a str>,
    text: String,
}

/// How many intervals of a battery have a row.
#[derive(Debug, Serialize)]
pub struct ShareJson<'a> {
    battery: Option<McuId>,
    names: &'a [String],
    since: Rfc3339,
    intervals: u64,
    missing: u64,
    percent: f64,
}

impl<'a> GapJson<'a> {
    /// The JSON of a gap.
    pub fn new(battery: &'a GapBattery, gap: &'a Gap) -> Self {
        Self {
            battery: battery.mcu_id.map(McuId),
            names: &battery.names,
            from: Rfc3339(gap.from),
            to: Rfc3339(gap.to),
            intervals: gap.intervals,
            cause: gap.cause.name(),
            error: match &gap.cause {
                GapCause::NotConnected(error) if !error.is_empty() => Some(error),
                _ => None,
            },
            text: gap.cause.to_string(),
        }
    }
}

impl<'a> ShareJson<'a> {
    /// The JSON of a share.
    pub fn new(share: &'a RowShare) -> Self {
        Self {
            battery: share.battery.mcu_id.map(McuId),
            names: &share.battery.names,
            since: Rfc3339(share.since),
            intervals: share.intervals,
            missing: share.missing,
            percent: share.percent(),
        }
    }
}
