//! The rows between two times: of one battery, or of several in one order.

use std::ops::{ControlFlow, Range};

use bluenova_record::{Column, SqlType, Timestamp, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use time::{Duration, UtcDateTime};

use crate::value::{self, parse_time};

/// So many rows of other batteries are passed over in the time of one look into the index.
const PASSED_PER_LOOK: usize = 20;

/// What it costs to find the rows of `few` of `all` batteries at one time, in rows that are passed
/// over: those of all, or as many as would take the time in which they are looked up in the index.
pub fn rows_passed(few: usize, all: usize) -> usize {
    all.min(looking_up(few))
}

/// The same for looking up the rows: one look for each battery, and one for the next time.
fn looking_up(few: usize) -> usize {
    few.saturating_add(1).saturating_mul(PASSED_PER_LOOK)
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
    /// The parameters of the statements.
    fn parameters(&self) -> (String, String, i64) {
        let bound = |time| Timestamp(round_up(time)).to_string();
        // Without a row to begin after, one that would come before all others.
        let first = (self.times.start, -1);
        let (start, battery) = self.after.map_or(first, |(time, id)| (time, i64::from(id)));
        (bound(start), bound(self.times.end), battery)
    }

    /// Whether its batteries are so few of all that it is worth to look up each row of them.
    fn is_looked_up(&self, connection: &Connection) -> rusqlite::Result<bool> {
        if self.batteries.is_empty() {
            return Ok(false);
        }
        let mut count = connection.prepare_cached("SELECT count(*) FROM battery")?;
        let all: i64 = count.query_row((), |row| row.get(0))?;
        Ok(usize::try_from(all).unwrap_or(0) > looking_up(self.batteries.len()))
    }
}

/// The rows of one battery, as [`read_selection`] has them.
pub(crate) fn read(
    connection: &Connection,
    mcu_id: u32,
    times: Range<UtcDateTime>,
    columns: &[&Column],
    mut each: impl FnMut(UtcDateTime, &[Option<Value<'_>>]) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let selection = RowSelection { times, batteries: vec![mcu_id], after: None };
    read_selection(connection, &selection, columns, |time, _, values| each(time, values))
}

pub(crate) fn read_selection(
    connection: &Connection,
    selection: &RowSelection,
    columns: &[&Column],
    mut each: impl FnMut(UtcDateTime, u32, &[Option<Value<'_>>]) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    if selection.is_looked_up(connection)? {
        return read_looked_up(connection, selection, columns, each);
    }
    let mut select = connection.prepare_cached(&select(columns, &selection.batteries))?;
    let mut rows = select.query(selection.parameters())?;
    while let Some(row) = rows.next()? {
        if give(row, columns, &mut each).is_break() {
            break;
        }
    }
    Ok(())
}

/// Reads `history` by [`select_looked_up`], and puts each row of `recent` where it belongs: SQLite
/// would sort all rows, since it can't see that those of `history` come in their order.
fn read_looked_up(
    connection: &Connection,
    selection: &RowSelection,
    columns: &[&Column],
    mut each: impl FnMut(UtcDateTime, u32, &[Option<Value<'_>>]) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    // One transaction, so that no row moves from the one table to the other between the queries.
    let transaction = connection.unchecked_transaction()?;
    let (keys, names) = (KEYS, names(columns));
    let mut recent = recent_slots(&transaction, selection)?.into_iter().peekable();
    let mut select_recent =
        transaction.prepare_cached(&format!("SELECT {keys}{names} FROM recent WHERE slot = ?"))?;
    let mut give_recent = |slot, each: &mut _| -> rusqlite::Result<_> {
        let mut rows = select_recent.query([slot])?;
        Ok(rows.next()?.map_or(ControlFlow::Continue(()), |row| give(row, columns, each)))
    };

    let statement = select_looked_up(columns, &selection.batteries);
    let mut select = transaction.prepare_cached(&statement)?;
    let mut rows = select.query(selection.parameters())?;
    while let Some(row) = rows.next()? {
        let key = (row.get_ref(0)?.as_bytes().unwrap_or_default(), row.get(1).unwrap_or(0));
        while let Some(earlier) = recent.next_if(|(time, id, _)| (&time[..], *id) < key) {
            if give_recent(earlier.2, &mut each)?.is_break() {
                return Ok(());
            }
        }
        if give(row, columns, &mut each).is_break() {
            return Ok(());
        }
    }
    for (_, _, slot) in recent {
        if give_recent(slot, &mut each)?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// Time, battery and slot of the rows of `recent`, in their order. There are few of them.
fn recent_slots(
    connection: &Connection,
    selection: &RowSelection,
) -> rusqlite::Result<Vec<(Vec<u8>, i64, i64)>> {
    let selected = select_from("recent", ", slot", &condition(&selection.batteries));
    let mut select =
        connection.prepare_cached(&format!("{selected} AND {NOT_SETTLED} ORDER BY 1, 2"))?;
    let slot = |row: &Row<'_>| {
        let time = row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec();
        Ok((time, row.get(1).unwrap_or(0), row.get(2)?))
    };
    select.query_map(selection.parameters(), slot)?.collect()
}

/// Gives `each` a row: time, `mcu_id`, `columns`.
fn give(
    row: &Row<'_>,
    columns: &[&Column],
    each: &mut impl FnMut(UtcDateTime, u32, &[Option<Value<'_>>]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let (Some(time), Ok(mcu_id)) = (time_of(row), row.get(1)) else {
        return ControlFlow::Continue(());
    };
    let mut values = Vec::with_capacity(columns.len());
    for (column, i) in columns.iter().zip(2..) {
        push_value(&mut values, column, row.get_ref(i));
    }
    each(time, mcu_id, &values)
}

pub(crate) fn count(connection: &Connection, selection: &RowSelection) -> rusqlite::Result<u64> {
    let count = |rows: &str| -> rusqlite::Result<u64> {
        let mut count = connection.prepare(&format!("SELECT count(*) FROM ({rows})"))?;
        let count: i64 = count.query_row(selection.parameters(), |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    if !selection.is_looked_up(connection)? {
        return count(&select(&[], &selection.batteries));
    }
    let transaction = connection.unchecked_transaction()?;
    let recent = recent_slots(&transaction, selection)?.len();
    Ok(count(&select_looked_up(&[], &selection.batteries))? + recent as u64)
}

/// What each statement yields before the columns.
const KEYS: &str = "insert_time_utc, mcu_id";

/// A row of `recent` that isn't in `history` yet.
const NOT_SETTLED: &str = "sequence > (SELECT settled FROM progress)";

/// Parameters: first time, time after the last one, `mcu_id` after which it begins at the first
/// time. Yields time, `mcu_id` and `columns` as they lie in the tables.
///
/// It reads the tables and not the view, where SQLite would ask each number for its type and
/// divide it: [`value::thousandths`] does that in less time.
fn select(columns: &[&Column], batteries: &[u32]) -> String {
    let (names, condition) = (names(columns), condition(batteries));
    let select = |table| select_from(table, &names, &condition);
    format!("{} UNION ALL {} AND {NOT_SETTLED} ORDER BY 1, 2", select("history"), select("recent"))
}

/// The same of `history` alone, in the same order. It goes from each time that any battery has a
/// row at to the next one, and looks into the index for the rows of `batteries` there, rather than
/// passing over those of all others. Batteries have their rows at the same times, the multiples of
/// the interval, and those of old logs at whole seconds. `IN` yields its list in ascending order.
fn select_looked_up(columns: &[&Column], batteries: &[u32]) -> String {
    format!(
        "WITH RECURSIVE times (time) AS (
             SELECT min(insert_time_utc) FROM history WHERE insert_time_utc >= ?1
             UNION ALL
             SELECT (SELECT min(insert_time_utc) FROM history WHERE insert_time_utc > time)
             FROM times WHERE time < ?2
         )
         SELECT {KEYS}{} FROM times CROSS JOIN history
         WHERE time < ?2 AND insert_time_utc = time AND {}",
        names(columns),
        condition(batteries)
    )
}

fn select_from(table: &str, names: &str, condition: &str) -> String {
    format!(
        "SELECT {KEYS}{names} FROM {table}
         WHERE insert_time_utc >= ?1 AND insert_time_utc < ?2 AND {condition}"
    )
}

/// Which rows between the two times are selected.
fn condition(batteries: &[u32]) -> String {
    let ids: Vec<_> = batteries.iter().map(u32::to_string).collect();
    let ids = match &ids[..] {
        [] => String::new(),
        ids => format!(" AND mcu_id IN ({})", ids.join(", ")),
    };
    format!("(insert_time_utc > ?1 OR mcu_id > ?3){ids}")
}

/// The columns' names behind [`KEYS`].
fn names(columns: &[&Column]) -> String {
    columns.iter().map(|column| format!(", {}", column.name)).collect()
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
        for statement in [select(&columns, &[]), select(&columns, &[7]), select(&columns, &[7, 8])]
        {
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

    /// No row of another battery is read, nor is anything sorted.
    #[test]
    fn few_of_many_batteries_are_looked_up_in_the_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut connection, 0).unwrap();
        let times = UtcDateTime::UNIX_EPOCH..UtcDateTime::MAX;
        let is_looked_up = |batteries: &[u32]| {
            let batteries = batteries.to_vec();
            let selection = RowSelection { times: times.clone(), batteries, after: None };
            selection.is_looked_up(&connection).unwrap()
        };
        for (count, one, two) in [(0, false, false), (41, true, false), (61, true, true)] {
            connection
                .execute_batch(&format!(
                    "DELETE FROM battery;
                     WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
                     INSERT INTO battery SELECT id, 1, 1, '' FROM n LIMIT {count}"
                ))
                .unwrap();
            assert_eq!((is_looked_up(&[7]), is_looked_up(&[7, 8])), (one, two), "{count}");
            assert!(!is_looked_up(&[]));
        }
        let columns: Vec<_> = COLUMNS.iter().collect();
        let statement = select_looked_up(&columns, &[7, 8]);
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let plan: Vec<String> = plan
            .query_map(("2026", "2027", 7), |row| row.get("detail"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let last = "SEARCH history USING INDEX battery_pack_time (insert_time_utc=? AND mcu_id=?)";
        assert_eq!(plan.last().unwrap(), last);
        assert_eq!(plan[0], "CO-ROUTINE times");
        assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{plan:?}");
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
