//! `/api/batteries/{battery}/days` and `…/trends`: the statistics of a battery's days, and how it
//! changes over them.

use bluenova_insight::{DayStatistics, Trends, trends as trends_of};
use bluenova_journal::{ALL_DATES, Reader, StoredDay};
use bluenova_record::McuId;
use serde::{Serialize, Serializer};
use time::Date;
use time::format_description::well_known::Iso8601;

use crate::HistoryError;
use crate::query::{Query, not};

const PARAMETERS: [&str; 2] = ["from", "to"];

/// Days of a battery, the first one first.
#[derive(Debug, Serialize)]
pub(crate) struct Days {
    battery: McuId,
    #[serde(serialize_with = "whole_days")]
    days: Vec<DayStatistics>,
}

fn whole_days<S: Serializer>(days: &[DayStatistics], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(days.iter().map(DayStatistics::whole))
}

/// How a battery changes over its days.
#[derive(Debug, Serialize)]
pub(crate) struct BatteryTrends {
    battery: McuId,
    /// Number of days that they are taken from.
    days: usize,
    #[serde(flatten)]
    trends: Trends,
}

/// The ended days of a battery that `query` asks for: from the date `from` to the date `to`, both
/// included, by default all. The day under way is among the figures of the battery.
///
/// # Errors
/// A parameter is invalid, or the journal can't be read.
pub(crate) fn days(
    journal: &Reader,
    mcu_id: u32,
    query: &[(String, String)],
) -> Result<Days, HistoryError> {
    let days = statistics(journal, mcu_id, query)?;
    Ok(Days { battery: McuId(mcu_id), days })
}

/// How a battery changes over the ended days that `query` asks for, as for [`days`].
///
/// # Errors
/// A parameter is invalid, or the journal can't be read.
pub(crate) fn trends(
    journal: &Reader,
    mcu_id: u32,
    query: &[(String, String)],
) -> Result<BatteryTrends, HistoryError> {
    let days = statistics(journal, mcu_id, query)?;
    Ok(BatteryTrends { battery: McuId(mcu_id), days: days.len(), trends: trends_of(&days) })
}

/// What a day was like. `None` if its text is damaged, which costs that day only.
pub(crate) fn statistics_of(day: &StoredDay) -> Option<DayStatistics> {
    serde_json::from_str(&day.text).ok()
}

/// The ended days that `query` asks for, the first one first.
pub(crate) fn statistics(
    journal: &Reader,
    mcu_id: u32,
    query: &[(String, String)],
) -> Result<Vec<DayStatistics>, HistoryError> {
    let query = Query::new(query, &PARAMETERS)?;
    let from = date(query, "from")?.unwrap_or_else(|| (*ALL_DATES.start()).to_owned());
    let to = date(query, "to")?.unwrap_or_else(|| (*ALL_DATES.end()).to_owned());
    if from > to {
        let allowed = format!("a date no later than `to`, {to}, is allowed");
        return Err(HistoryError::query("from", not(&from, &allowed)));
    }
    Ok(journal.days(mcu_id, &*from..=&*to)?.iter().filter_map(statistics_of).collect())
}

/// A date as the journal has it, however it was given.
fn date(query: Query<'_>, name: &str) -> Result<Option<String>, HistoryError> {
    let Some(given) = query.get(name) else { return Ok(None) };
    let date = Date::parse(given, &Iso8601::DATE).ok().filter(|date| date.year() >= 0);
    date.map(|date| Some(date.to_string()))
        .ok_or_else(|| HistoryError::query(name, not(given, "a date like 2026-11-22 is allowed")))
}
