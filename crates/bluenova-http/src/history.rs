//! `/api/batteries/{mcu}/history`: a battery's rows, down-sampled.

use std::ops::{ControlFlow, Range};

use bluenova_journal::Reader;
use bluenova_plot::{Buckets, Extremes, FilledBuckets};
use bluenova_record::{COLUMNS, Column, McuId, Rfc3339, SqlType, Value};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use time::{Duration, UtcDateTime};

use crate::HistoryError;
use crate::query::{Query, not};

const PARAMETERS: [&str; 4] = ["from", "to", "points", "columns"];
const DEFAULT_LENGTH: Duration = Duration::DAY;
const DEFAULT_POINTS: u32 = 500;
const MOST_POINTS: u32 = 10_000;

/// A battery's rows, down-sampled, as JSON.
#[derive(Debug)]
pub struct History {
    mcu_id: u32,
    times: Range<UtcDateTime>,
    filled: FilledBuckets,
    columns: Vec<ColumnHistory>,
}

/// The history of a battery that `query` asks for.
///
/// Parameters are `from` and `to`, RFC 3339 times, by default the last 24 h; `points`, the number
/// of equal buckets of time, 500 by default and 10,000 at most; and `columns`, names of columns
/// with commas between them, by default all but time and battery.
///
/// # Errors
/// A parameter is invalid, or the journal can't be read.
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

    let mut filled = FilledBuckets::new(Buckets::dividing(times.start, times.end, points));
    let mut histories: Vec<_> = columns.iter().map(|column| ColumnHistory::new(column)).collect();
    journal.history(mcu_id, times.clone(), &columns, |time, values| {
        let is_first = filled.count(time);
        for (history, value) in histories.iter_mut().zip(values) {
            history.add(is_first, *value);
        }
        ControlFlow::Continue(())
    })?;
    Ok(History { mcu_id, times, filled, columns: histories })
}

/// The times that `from` and `to` ask for, by default the last 24 h.
pub(crate) fn times(
    query: Query<'_>,
    now: UtcDateTime,
) -> Result<Range<UtcDateTime>, HistoryError> {
    times_of(query, now, DEFAULT_LENGTH)
}

/// The times that `from` and `to` ask for, by default the last ones of that length.
pub(crate) fn times_of(
    query: Query<'_>,
    now: UtcDateTime,
    length: Duration,
) -> Result<Range<UtcDateTime>, HistoryError> {
    let to = query.time("to")?.unwrap_or(now);
    let given = query.time("from")?;
    let begin = to.saturating_sub(length).max(UtcDateTime::UNIX_EPOCH);
    let from = given.unwrap_or(begin);
    if from < to {
        return Ok(from..to);
    }
    let [from, to] = [from, to].map(|time| Rfc3339(time).to_string());
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

/// Whether the column identifies the row, which the answer does anyway.
fn identifies(column: &Column) -> bool {
    matches!(column.sql, SqlType::Timestamp | SqlType::BigInt)
}

/// A column's values in each bucket that has rows.
#[derive(Debug)]
struct ColumnHistory {
    column: &'static Column,
    values: BucketValues,
}

#[derive(Debug)]
enum BucketValues {
    Whole(Vec<Option<Extremes<f32>>>),
    Real(Vec<Option<Extremes<f32>>>),
    /// The last text of each bucket.
    Text(Vec<Option<Box<str>>>),
}

impl ColumnHistory {
    fn new(column: &'static Column) -> Self {
        let values = match column.sql {
            SqlType::Real => BucketValues::Real(vec![]),
            SqlType::Varchar(_) => BucketValues::Text(vec![]),
            SqlType::SmallInt | SqlType::BigInt | SqlType::Timestamp => BucketValues::Whole(vec![]),
        };
        Self { column, values }
    }

    fn add(&mut self, is_first: bool, value: Option<Value<'_>>) {
        match &mut self.values {
            BucketValues::Whole(buckets) | BucketValues::Real(buckets) => {
                if is_first {
                    buckets.push(None);
                }
                if let (Some(number), Some(bucket)) = (value.and_then(number), buckets.last_mut()) {
                    *bucket = Some(Extremes::widened(*bucket, number, number));
                }
            }
            BucketValues::Text(buckets) => {
                if is_first {
                    buckets.push(None);
                }
                if let (Some(Value::Text(text)), Some(bucket)) = (value, buckets.last_mut())
                    && bucket.as_deref() != Some(text)
                {
                    *bucket = Some(text.into());
                }
            }
        }
    }
}

/// A number that JSON can hold.
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
        map.serialize_entry("from", &Rfc3339(self.times.start))?;
        map.serialize_entry("to", &Rfc3339(self.times.end))?;
        map.serialize_entry("points", &self.filled.times.len())?;
        map.serialize_entry("rows", &self.filled.rows)?;
        let times = self.filled.times.iter().map(|time| Rfc3339(*time));
        map.serialize_entry("time", &Sequence(times))?;
        for ColumnHistory { column, values } in &self.columns {
            map.serialize_entry(column.name, values)?;
        }
        map.end()
    }
}

impl Serialize for BucketValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            // Every small integer is an f32.
            Self::Whole(buckets) => {
                let whole = |value: f32| value as i16;
                let min = buckets.iter().map(|e| e.map(|e| whole(e.low)));
                let max = buckets.iter().map(|e| e.map(|e| whole(e.high)));
                map.serialize_entry("min", &Sequence(min))?;
                map.serialize_entry("max", &Sequence(max))?;
            }
            Self::Real(buckets) => {
                map.serialize_entry("min", &Sequence(buckets.iter().map(|e| e.map(|e| e.low))))?;
                map.serialize_entry("max", &Sequence(buckets.iter().map(|e| e.map(|e| e.high))))?;
            }
            Self::Text(texts) => map.serialize_entry("last", texts)?,
        }
        map.end()
    }
}

/// The items of an iterator, as a JSON array.
struct Sequence<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Sequence<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}
