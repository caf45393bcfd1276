//! The rows between two times: of one battery, or of several in one order.

use std::ops::{ControlFlow, Range};

use bluenova_record::{Column, SqlType, Timestamp, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use time::{Duration, UtcDateTime};

use crate::value::{self, parse_time};

pub(crate) fn read(
    connection: &Connection,
    mcu_id: u32,
    times: Range<UtcDateTime>,
    columns: &[&Column],
    mut each: impl FnMut(UtcDateTime, &[Option<Value<'_>>]) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(&select(columns))?;
    let bound = |time| Timestamp(round_up(time)).to_string();
    let mut rows = select.query((bound(times.start), bound(times.end), mcu_id))?;
    while let Some(row) = rows.next()? {
        let Some(time) = time_of(row) else { continue };
        let mut values = Vec::with_capacity(columns.len());
        for (column, i) in columns.iter().zip(1..) {
            push_value(&mut values, column, row.get_ref(i));
        }
        if each(time, &values).is_break() {
            break;
        }
    }
    Ok(())
}

/// Which rows are read, and in which order: that of time, and at one time that of the MCU IDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSelection {
    /// Times of the rows, the end not among them; to the microsecond.
    pub times: Range<UtcDateTime>,
    /// MCU IDs of the batteries; of all of them if there is none.
    pub batteries: Vec<u32>,
    /// Time and battery of a row: only what comes after it is read.
    pub after: Option<(UtcDateTime, u32)>,
}

impl RowSelection {
    /// The parameters of [`select_of_all`].
    fn parameters(&self) -> (String, String, i64) {
        let bound = |time| Timestamp(round_up(time)).to_string();
        // Without a row to begin after, one that would come before all others.
        let first = (self.times.start, -1);
        let (start, battery) = self.after.map_or(first, |(time, id)| (time, i64::from(id)));
        (bound(start), bound(self.times.end), battery)
    }
}

pub(crate) fn read_selection(
    connection: &Connection,
    selection: &RowSelection,
    columns: &[&Column],
    mut each: impl FnMut(UtcDateTime, u32, &[Option<Value<'_>>]) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(&select_of_all(columns, &selection.batteries))?;
    let mut rows = select.query(selection.parameters())?;
    while let Some(row) = rows.next()? {
        let Some(time) = time_of(row) else { continue };
        let Ok(mcu_id) = row.get::<_, u32>(1) else { continue };
        let mut values = Vec::with_capacity(columns.len());
        for (column, i) in columns.iter().zip(2..) {
            push_value(&mut values, column, row.get_ref(i));
        }
        if each(time, mcu_id, &values).is_break() {
            break;
        }
    }
    Ok(())
}

pub(crate) fn count(connection: &Connection, selection: &RowSelection) -> rusqlite::Result<u64> {
    let rows = select_of_all(&[], &selection.batteries);
    let mut count = connection.prepare(&format!("SELECT count(*) FROM ({rows})"))?;
    let count: i64 = count.query_row(selection.parameters(), |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Parameters: first time, time after the last one, `mcu_id`. Yields time and `columns` as they
/// lie in the tables.
fn select(columns: &[&Column]) -> String {
    select_from_tables("insert_time_utc", columns, "mcu_id = ?3", "1")
}

/// Parameters: first time, time after the last one, `mcu_id` after which it begins at the first
/// time. Yields time, `mcu_id` and `columns` as they lie in the tables.
fn select_of_all(columns: &[&Column], batteries: &[u32]) -> String {
    let ids: Vec<_> = batteries.iter().map(u32::to_string).collect();
    let ids = match &ids[..] {
        [] => String::new(),
        ids => format!(" AND mcu_id IN ({})", ids.join(", ")),
    };
    let condition = format!("(insert_time_utc > ?1 OR mcu_id > ?3){ids}");
    select_from_tables("insert_time_utc, mcu_id", columns, &condition, "1, 2")
}

/// It reads the tables and not the view, where SQLite would ask each number for its type and
/// divide it: [`value::thousandths`] does that in less time.
fn select_from_tables(keys: &str, columns: &[&Column], condition: &str, order: &str) -> String {
    let names: String = columns.iter().map(|column| format!(", {}", column.name)).collect();
    let select = |table| {
        format!(
            "SELECT {keys}{names} FROM {table}
             WHERE insert_time_utc >= ?1 AND insert_time_utc < ?2 AND {condition}"
        )
    };
    format!(
        "{} UNION ALL {} AND sequence > (SELECT settled FROM progress) ORDER BY {order}",
        select("history"),
        select("recent")
    )
}

/// `None` where it is damaged; then the row is left out.
fn time_of(row: &Row<'_>) -> Option<UtcDateTime> {
    row.get_ref(0).ok().and_then(|time| parse_time(time.as_bytes().ok()?))
}

/// Puts the value of a column behind `values`. What is damaged is `None` too: one bad byte must not
/// cost more than the field that it is in.
///
/// The usual case pushes for itself: a value that is handed from function to function is copied in
/// pieces other than those in which it was written, which processors are bad at. It made the whole
/// up to three times as slow.
fn push_value<'a>(
    values: &mut Vec<Option<Value<'a>>>,
    column: &Column,
    stored: rusqlite::Result<ValueRef<'a>>,
) {
    if let (SqlType::Real, Ok(ValueRef::Integer(number))) = (column.sql, &stored) {
        values.push(Some(Value::Real(value::thousandths(*number) as f32)));
        return;
    }
    values.push(stored.ok().and_then(|stored| value::read(column, stored)).flatten());
}

/// To whole microseconds, which the rows have: so a bound between two of them is between them.
fn round_up(time: UtcDateTime) -> UtcDateTime {
    let over = i64::from(time.nanosecond() % 1000);
    let up = Duration::nanoseconds(if over == 0 { 0 } else { 1000 - over });
    time.checked_add(up).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use bluenova_record::COLUMNS;

    use super::*;
    use crate::migrations;

    #[test]
    fn rows_come_in_the_order_of_the_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut connection, 0).unwrap();
        let columns: Vec<_> = COLUMNS.iter().collect();
        let statements =
            [select(&columns), select_of_all(&columns, &[]), select_of_all(&columns, &[7, 8])];
        for statement in statements {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
            let plan: Vec<String> = plan
                .query_map(("2026", "2027", 7), |row| row.get("detail"))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            // Nothing but the slots is ever sorted, and there are few of them.
            assert_eq!(
                plan,
                [
                    "MERGE (UNION ALL)",
                    "LEFT",
                    "SEARCH history USING INDEX battery_pack_time \
                     (insert_time_utc>? AND insert_time_utc<?)",
                    "RIGHT",
                    "SCAN recent",
                    "SCALAR SUBQUERY 2",
                    "SCAN progress",
                    "USE TEMP B-TREE FOR ORDER BY",
                ],
                "{statement}"
            );
        }
    }

    #[test]
    fn bounds_are_rounded_up_to_microseconds() {
        let time = |nanos| UtcDateTime::from_unix_timestamp_nanos(nanos).unwrap();
        for (given, rounded) in [(0, 0), (1, 1000), (999, 1000), (1000, 1000), (-1, 0)] {
            assert_eq!(round_up(time(given)), time(rounded), "{given}");
        }
        assert_eq!(round_up(UtcDateTime::MAX), UtcDateTime::MAX);
    }
}
