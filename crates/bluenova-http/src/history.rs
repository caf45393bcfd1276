//! `/api/batteries/{mcu}/history`: what a battery's rows say, down-sampled.

use std::ops::{ControlFlow, Range};

use bluenova_journal::Reader;
use bluenova_record::{COLUMNS, Column, SqlType, Value};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use time::{Duration, UtcDateTime};

use crate::HistoryError;
use crate::downsample::{Extremes, Filled, Stretches};
use crate::json::{McuId, Utc, rfc3339};
use crate::query::{Query, not};

const PARAMETERS: [&str; 4] = ["from", "to", "points", "columns"];
const DEFAULT_LENGTH: Duration = Duration::DAY;
const DEFAULT_POINTS: u32 = 500;
const MOST_POINTS: u32 = 10_000;

/// What the rows of a battery say, as JSON.
#[derive(Debug)]
pub struct History {
    mcu_id: u32,
    times: Range<UtcDateTime>,
    filled: Filled,
    columns: Vec<Kept>,
}

/// The history of a battery that `query` asks for.
///
/// It knows `from` and `to`, times as RFC 3339 has them, the last 24 h unless given; `points`, the
/// number of equal stretches that this time is divided into, 500 unless given and at most 10,000;
/// and `columns`, names of columns with commas between them, all but time and battery unless given.
///
/// # Errors
/// Where a parameter isn't what it may be, or the journal can't be read.
pub fn history(
    journal: &Reader,
    mcu_id: u32,
    query: &[(String, String)],
    now: UtcDateTime,
) -> Result<History, HistoryError> {
    let query = Query::new(query, &PARAMETERS)?;
    let times = times(query, now)?;
    let points = query.number("points", 1..=MOST_POINTS, DEFAULT_POINTS)?;
    let columns = columns(query)?;

    let mut filled = Filled::new(Stretches::dividing(times.start, times.end, points));
    let mut kept: Vec<_> = columns.iter().map(|column| Kept::new(column)).collect();
    journal.history(mcu_id, times.clone(), &columns, |time, values| {
        let is_first = filled.count(time);
        for (kept, value) in kept.iter_mut().zip(values) {
            kept.add(is_first, *value);
        }
        ControlFlow::Continue(())
    })?;
    Ok(History { mcu_id, times, filled, columns: kept })
}

fn times(query: Query<'_>, now: UtcDateTime) -> Result<Range<UtcDateTime>, HistoryError> {
    let to = query.time("to")?.unwrap_or(now);
    let given = query.time("from")?;
    let day_before = to.saturating_sub(DEFAULT_LENGTH).max(UtcDateTime::UNIX_EPOCH);
    let from = given.unwrap_or(day_before);
    if from < to {
        return Ok(from..to);
    }
    let [from, to] = [from, to].map(|time| rfc3339(time).unwrap_or_default());
    Err(match given {
        Some(_) => HistoryError::query(
            "from",
            not(&from, &format!("a time before `to`, {to}, is allowed")),
        ),
        None => HistoryError::query("to", not(&to, &format!("a time after {from} is allowed"))),
    })
}

fn columns(query: Query<'_>) -> Result<Vec<&'static Column>, HistoryError> {
    let all = || COLUMNS.iter().filter(|column| !identifies(column));
    let Some(given) = query.get("columns") else { return Ok(all().collect()) };
    let mut columns: Vec<&Column> = vec![];
    for name in given.split(',') {
        let column = all().find(|column| column.name == name).ok_or_else(|| {
            let names: Vec<_> = all().map(|column| column.name).collect();
            let allowed =
                format!("names out of {} with commas between are allowed", names.join(", "));
            HistoryError::query("columns", not(name, &allowed))
        })?;
        if columns.iter().any(|earlier| earlier.name == name) {
            return Err(HistoryError::query("columns", format!("{name} is given twice")));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// Whether it says whose row it is and of when, which is in the answer anyway.
fn identifies(column: &Column) -> bool {
    matches!(column.sql, SqlType::Timestamp | SqlType::BigInt)
}

/// What is kept of a column for each stretch that has rows.
#[derive(Debug)]
struct Kept {
    column: &'static Column,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Whole(Vec<Option<Extremes<f32>>>),
    Real(Vec<Option<Extremes<f32>>>),
    /// The last ones.
    Words(Vec<Option<Box<str>>>),
}

impl Kept {
    fn new(column: &'static Column) -> Self {
        let values = match column.sql {
            SqlType::Real => Values::Real(vec![]),
            SqlType::Varchar(_) => Values::Words(vec![]),
            SqlType::SmallInt | SqlType::BigInt | SqlType::Timestamp => Values::Whole(vec![]),
        };
        Self { column, values }
    }

    fn add(&mut self, is_first: bool, value: Option<Value<'_>>) {
        match &mut self.values {
            Values::Whole(kept) | Values::Real(kept) => {
                if is_first {
                    kept.push(None);
                }
                if let (Some(number), Some(known)) = (value.and_then(number), kept.last_mut()) {
                    *known = Some(Extremes::widened(*known, number, number));
                }
            }
            Values::Words(kept) => {
                if is_first {
                    kept.push(None);
                }
                if let (Some(Value::Text(word)), Some(known)) = (value, kept.last_mut())
                    && known.as_deref() != Some(word)
                {
                    *known = Some(word.into());
                }
            }
        }
    }
}

/// A number that JSON has, too.
fn number(value: Value<'_>) -> Option<f32> {
    match value {
        Value::Real(number) if number.is_finite() => Some(number),
        Value::SmallInt(number) => Some(number.into()),
        _ => None,
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("battery", &McuId(self.mcu_id))?;
        map.serialize_entry("from", &Utc(self.times.start))?;
        map.serialize_entry("to", &Utc(self.times.end))?;
        map.serialize_entry("points", &self.filled.times.len())?;
        map.serialize_entry("rows", &self.filled.rows)?;
        let times = self.filled.times.iter().map(|time| Utc(*time));
        map.serialize_entry("time", &Sequence(times))?;
        for Kept { column, values } in &self.columns {
            map.serialize_entry(column.name, values)?;
        }
        map.end()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            // Every small integer is an f32.
            Self::Whole(kept) => {
                let whole = |value: f32| value as i16;
                let min = kept.iter().map(|e| e.map(|e| whole(e.low)));
                let max = kept.iter().map(|e| e.map(|e| whole(e.high)));
                map.serialize_entry("min", &Sequence(min))?;
                map.serialize_entry("max", &Sequence(max))?;
            }
            Self::Real(kept) => {
                map.serialize_entry("min", &Sequence(kept.iter().map(|e| e.map(|e| e.low))))?;
                map.serialize_entry("max", &Sequence(kept.iter().map(|e| e.map(|e| e.high))))?;
            }
            Self::Words(kept) => map.serialize_entry("last", kept)?,
        }
        map.end()
    }
}

/// What an iterator yields, as an array.
struct Sequence<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Sequence<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}
