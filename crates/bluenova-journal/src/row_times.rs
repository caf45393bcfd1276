//! Which rows a journal has: their times and batteries alone.

use std::ops::{ControlFlow, Range};

use bluenova_record::{TABLE, Timestamp};
use rusqlite::{Connection, Row};
use time::UtcDateTime;

use crate::Sequence;
use crate::value::parse_time;

/// Time, battery and position of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowTime {
    /// The row's time.
    pub time: UtcDateTime,
    /// The row's battery.
    pub mcu_id: u32,
    /// Its position among the rows.
    pub sequence: Sequence,
}

/// Time and battery of a row that is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAsideTime {
    /// The row's time.
    pub time: UtcDateTime,
    /// The row's battery.
    pub mcu_id: u32,
    /// Whether it waits on its own, and is retried.
    pub is_retried: bool,
}

/// The rows of all batteries in the order of time.
pub(crate) fn read(
    connection: &Connection,
    times: Range<UtcDateTime>,
    mut each: impl FnMut(RowTime) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let bound = |time| Timestamp(time).to_string();
    let select = |table| {
        format!(
            "SELECT insert_time_utc, mcu_id, sequence FROM {table}
             WHERE insert_time_utc >= ?1 AND insert_time_utc < ?2"
        )
    };
    let mut select = connection.prepare_cached(&format!(
        "{} UNION ALL {} AND sequence > (SELECT settled FROM progress) ORDER BY 1",
        select("history"),
        select("recent")
    ))?;
    let mut rows = select.query((bound(times.start), bound(times.end)))?;
    while let Some(row) = rows.next()? {
        if row_time(row).is_some_and(|row| each(row).is_break()) {
            break;
        }
    }
    Ok(())
}

/// The first rows that are not delivered, as far as the file says.
pub(crate) fn undelivered(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<RowTime>> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT insert_time_utc, mcu_id, sequence FROM {TABLE}
         WHERE sequence > (SELECT delivered FROM progress) ORDER BY sequence LIMIT ?"
    ))?;
    let mut rows = select.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut undelivered = vec![];
    while let Some(row) = rows.next()? {
        undelivered.extend(row_time(row));
    }
    Ok(undelivered)
}

/// Up to where the rows are delivered, as far as the file says.
pub(crate) fn delivered(connection: &Connection) -> rusqlite::Result<Sequence> {
    connection.query_row("SELECT delivered FROM progress", (), |row| row.get(0)).map(Sequence)
}

/// Time and battery of the rows that are set aside, in the order of time.
pub(crate) fn set_aside(connection: &Connection) -> rusqlite::Result<Vec<SetAsideTime>> {
    // Journals of version 1 may lack the table.
    if !connection.table_exists(Some("main"), "set_aside")? {
        return Ok(vec![]);
    }
    let has_retried = connection.column_exists(Some("main"), "set_aside", "retried")?;
    let retried = if has_retried { "retried" } else { "0" };
    let mut select = connection.prepare_cached(&format!(
        "SELECT insert_time_utc, mcu_id, {retried} FROM set_aside ORDER BY insert_time_utc"
    ))?;
    let mut rows = select.query(())?;
    let mut set_aside = vec![];
    while let Some(row) = rows.next()? {
        let is_retried = row.get(2).unwrap_or_default();
        let row = time_and_battery(row);
        set_aside.extend(row.map(|(time, mcu_id)| SetAsideTime { time, mcu_id, is_retried }));
    }
    Ok(set_aside)
}

/// The batteries that have or had rows.
pub(crate) fn mcu_ids(connection: &Connection) -> rusqlite::Result<Vec<u32>> {
    let mut select = connection.prepare_cached(
        "SELECT mcu_id FROM battery UNION SELECT mcu_id FROM recent ORDER BY mcu_id",
    )?;
    let mut rows = select.query(())?;
    let mut mcu_ids = vec![];
    while let Some(row) = rows.next()? {
        mcu_ids.extend(row.get::<_, u32>(0));
    }
    Ok(mcu_ids)
}

/// The earliest time of a row.
pub(crate) fn oldest(connection: &Connection) -> rusqlite::Result<Option<UtcDateTime>> {
    // One minimum for both tables would not be looked up in the index.
    let sql = "SELECT min(time) FROM (
                   SELECT min(insert_time_utc) AS time FROM history
                   UNION ALL
                   SELECT min(insert_time_utc) FROM recent
                   WHERE sequence > (SELECT settled FROM progress)
               )";
    let oldest: Option<String> = connection.query_row(sql, (), |row| row.get(0))?;
    Ok(oldest.and_then(|text| parse_time(text.as_bytes())))
}

/// `None` where it is damaged.
fn row_time(row: &Row<'_>) -> Option<RowTime> {
    let (time, mcu_id) = time_and_battery(row)?;
    Some(RowTime { time, mcu_id, sequence: Sequence(row.get(2).ok()?) })
}

fn time_and_battery(row: &Row<'_>) -> Option<(UtcDateTime, u32)> {
    let time = parse_time(row.get_ref(0).ok()?.as_bytes().ok()?)?;
    Some((time, row.get(1).ok()?))
}
