//! `/api/batteries/{battery}/days` and `…/trends`: the statistics of a battery's days, and how it
//! changes over them.

use bluenova_insight::{DayStatistics, Figures, Trends, trends as trends_of};
use bluenova_journal::{ALL_DATES, Reader, StoredDay};
use bluenova_record::McuId;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use time::Date;
use time::format_description::well_known::Iso8601;

use crate::HistoryError;
use crate::query::{Query, not};

const PARAMETERS: [&str; 2] = ["from", "to"];

/// What a stored day leaves out where it is zero.
const ZERO_UNLESS_STORED: [&str; 6] =
    ["sampled_s", "from_rows_s", "first_s", "errors", "frost_charge_s", "breaker_open_s"];

/// What a stored day leaves out where it isn't known.
const UNKNOWN_UNLESS_STORED: [&str; 11] = [
    "capacity_ah",
    "full_cycles",
    "soc",
    "v_pack",
    "i_pack",
    "power_w",
    "temp",
    "cell_v",
    "cell_t",
    "spread_mv",
    "rest_spread_mv",
];

const USUAL_LENGTH_S: u32 = 86_400;

/// Days of a battery, the first one first.
#[derive(Debug, Serialize)]
pub(crate) struct Days {
    battery: McuId,
    days: Vec<Value>,
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
    let stored = stored(journal, mcu_id, query)?;
    let readable = stored.iter().filter(|day| statistics_of(day).is_some());
    let days = readable.filter_map(|day| serde_json::from_str(&day.text).ok()).map(whole);
    Ok(Days { battery: McuId(mcu_id), days: days.collect() })
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
    let stored = stored(journal, mcu_id, query)?;
    let days: Vec<_> = stored.iter().filter_map(statistics_of).collect();
    Ok(BatteryTrends { battery: McuId(mcu_id), days: days.len(), trends: trends_of(&days) })
}

/// What a day was like. `None` if its text is damaged, which costs that day only.
pub(crate) fn statistics_of(day: &StoredDay) -> Option<DayStatistics> {
    serde_json::from_str(&day.text).ok()
}

fn stored(
    journal: &Reader,
    mcu_id: u32,
    query: &[(String, String)],
) -> Result<Vec<StoredDay>, HistoryError> {
    let query = Query::new(query, &PARAMETERS)?;
    let from = date(query, "from")?.unwrap_or_else(|| (*ALL_DATES.start()).to_owned());
    let to = date(query, "to")?.unwrap_or_else(|| (*ALL_DATES.end()).to_owned());
    if from > to {
        let allowed = format!("a date no later than `to`, {to}, is allowed");
        return Err(HistoryError::query("from", not(&from, &allowed)));
    }
    Ok(journal.days(mcu_id, &*from..=&*to)?)
}

/// A battery's figures, with the day under way as [`days`] has the ended ones.
pub(crate) fn figures<S: Serializer>(
    figures: &Option<&Figures>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    // By way of the text: `to_value` makes 3.3399999141693115 of 3.34, a number of 32 bits.
    let text = serde_json::to_string(figures).map_err(S::Error::custom)?;
    let mut json: Value = serde_json::from_str(&text).map_err(S::Error::custom)?;
    if let Some(today) = json.get_mut("today") {
        *today = whole(today.take());
    }
    json.serialize(serializer)
}

/// A day with what was left out when it was stored, to keep years of days short.
fn whole(mut day: Value) -> Value {
    if let Some(fields) = day.as_object_mut() {
        fields.entry("length_s").or_insert_with(|| USUAL_LENGTH_S.into());
        for name in ZERO_UNLESS_STORED {
            fields.entry(name).or_insert_with(|| 0.into());
        }
        for name in UNKNOWN_UNLESS_STORED {
            fields.entry(name).or_insert(Value::Null);
        }
    }
    day
}

/// A date as the journal has it, however it was given.
fn date(query: Query<'_>, name: &str) -> Result<Option<String>, HistoryError> {
    let Some(given) = query.get(name) else { return Ok(None) };
    let date = Date::parse(given, &Iso8601::DATE).ok().filter(|date| date.year() >= 0);
    date.map(|date| Some(date.to_string()))
        .ok_or_else(|| HistoryError::query(name, not(given, "a date like 2026-11-22 is allowed")))
}
