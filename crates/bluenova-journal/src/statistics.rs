//! What was worked out of the samples of the batteries: the state of it, and the ended days.
//!
//! The journal keeps both as texts, and doesn't read them.

use std::ops::RangeInclusive;
use std::path::Path;

use bluenova_record::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row};
use time::UtcDateTime;

use crate::Error;
use crate::connection::JournalConnection;
use crate::journal::immediate;
use crate::value::parse_time;

/// What is known of a battery from its samples, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredInsight {
    /// The battery.
    pub mcu_id: u32,
    /// Time of the last sample that is in it.
    pub until: UtcDateTime,
    /// The state as text, for the program that stored it.
    pub text: String,
}

/// A battery's day, as the journal keeps it. Days are never deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDay {
    /// The battery.
    pub mcu_id: u32,
    /// The local date: `2026-11-27`.
    pub date: String,
    /// How much is known of the day. Of two versions of a day that meet where one journal's
    /// contents move to another the one of the higher rank is kept.
    pub rank: u32,
    /// The day as text, for the program that stored it.
    pub text: String,
}

/// Both, as they move from one journal to another.
#[derive(Debug, Default)]
pub(crate) struct StoredStatistics {
    pub(crate) insights: Vec<StoredInsight>,
    pub(crate) days: Vec<StoredDay>,
}

/// Dates that include all others, for [`Reader::days`](crate::Reader::days).
pub const ALL_DATES: RangeInclusive<&str> = "0000-01-01"..="9999-12-31";

const INSIGHT_COLUMNS: &str = "mcu_id, until, text";
const DAY_COLUMNS: &str = "mcu_id, date, rank, text";

/// The states by `mcu_id`; none in journals of older versions.
pub(crate) fn insights(connection: &Connection) -> rusqlite::Result<Vec<StoredInsight>> {
    if !connection.table_exists(Some("main"), "insight")? {
        return Ok(vec![]);
    }
    let select = format!("SELECT {INSIGHT_COLUMNS} FROM insight ORDER BY mcu_id");
    let mut select = connection.prepare_cached(&select)?;
    let found = select.query_map((), |row| Ok(insight_of(row)))?;
    found.filter_map(Result::transpose).collect()
}

pub(crate) fn insight(
    connection: &Connection,
    mcu_id: u32,
) -> rusqlite::Result<Option<StoredInsight>> {
    if !connection.table_exists(Some("main"), "insight")? {
        return Ok(None);
    }
    let select = format!("SELECT {INSIGHT_COLUMNS} FROM insight WHERE mcu_id = ?");
    let mut select = connection.prepare_cached(&select)?;
    Ok(select.query_row([mcu_id], |row| Ok(insight_of(row))).optional()?.flatten())
}

/// The days of a battery in the order of time; none in journals of older versions.
pub(crate) fn days(
    connection: &Connection,
    mcu_id: u32,
    dates: &RangeInclusive<&str>,
) -> rusqlite::Result<Vec<StoredDay>> {
    if !connection.table_exists(Some("main"), "day")? {
        return Ok(vec![]);
    }
    let select = format!(
        "SELECT {DAY_COLUMNS} FROM day WHERE mcu_id = ? AND date BETWEEN ? AND ? ORDER BY date"
    );
    let mut select = connection.prepare_cached(&select)?;
    let found = select.query_map((mcu_id, dates.start(), dates.end()), |row| Ok(day_of(row)))?;
    found.filter_map(Result::transpose).collect()
}

/// All states and days.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<StoredStatistics> {
    let insights = insights(connection)?;
    if !connection.table_exists(Some("main"), "day")? {
        return Ok(StoredStatistics { insights, days: vec![] });
    }
    let mut select = connection.prepare_cached(&format!("SELECT {DAY_COLUMNS} FROM day"))?;
    let days = select.query_map((), |row| Ok(day_of(row)))?;
    Ok(StoredStatistics {
        insights,
        days: days.filter_map(Result::transpose).collect::<Result<_, _>>()?,
    })
}

fn insight_of(row: &Row<'_>) -> Option<StoredInsight> {
    let value = |i| row.get_ref(i).ok();
    read_insight(u32::try_from(value(0)?.as_i64().ok()?).ok()?, |i| value(i + 1))
}

fn day_of(row: &Row<'_>) -> Option<StoredDay> {
    read_day(|i| row.get_ref(i).ok())
}

/// The state that has these values behind its `mcu_id`; `None` if one is damaged.
pub(crate) fn read_insight<'a>(
    mcu_id: u32,
    value: impl Fn(usize) -> Option<ValueRef<'a>>,
) -> Option<StoredInsight> {
    let until = parse_time(value(0)?.as_str().ok()?.as_bytes())?;
    Some(StoredInsight { mcu_id, until, text: value(1)?.as_str().ok()?.to_owned() })
}

/// The day that has these values in its columns; `None` if one is damaged.
pub(crate) fn read_day<'a>(value: impl Fn(usize) -> Option<ValueRef<'a>>) -> Option<StoredDay> {
    let number = |i| u32::try_from(value(i)?.as_i64().ok()?).ok();
    let text = |i| Some(value(i)?.as_str().ok()?.to_owned());
    let date = text(1).filter(|date| is_date(date))?;
    Some(StoredDay { mcu_id: number(0)?, date, rank: number(2)?, text: text(3)? })
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(i, byte)| match i {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// Stores states in the place of older ones.
pub(crate) fn put_insights(
    connection: &Connection,
    insights: &[StoredInsight],
) -> rusqlite::Result<()> {
    execute_put_insights(connection, insights, "")
}

/// Stores states, except where there is one that is newer.
pub(crate) fn adopt_insights(
    connection: &Connection,
    insights: &[StoredInsight],
) -> rusqlite::Result<()> {
    execute_put_insights(connection, insights, "WHERE excluded.until >= until")
}

fn execute_put_insights(
    connection: &Connection,
    insights: &[StoredInsight],
    condition: &str,
) -> rusqlite::Result<()> {
    let put = format!(
        "INSERT INTO insight ({INSIGHT_COLUMNS}) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET until = excluded.until, text = excluded.text {condition}"
    );
    let mut put = connection.prepare_cached(&put)?;
    for StoredInsight { mcu_id, until, text } in insights {
        put.execute((mcu_id, Timestamp(*until).to_string(), text))?;
    }
    Ok(())
}

/// Stores days. Of one that is there already it stores what `merge` makes of both.
pub(crate) fn put_days(
    connection: &Connection,
    days: &[StoredDay],
    merge: MergeDays<'_>,
) -> rusqlite::Result<()> {
    let select = format!("SELECT {DAY_COLUMNS} FROM day WHERE mcu_id = ? AND date = ?");
    let mut select = connection.prepare_cached(&select)?;
    let mut put = connection.prepare_cached(&format!(
        "INSERT INTO day ({DAY_COLUMNS}) VALUES (?, ?, ?, ?)
         ON CONFLICT (mcu_id, date) DO UPDATE SET rank = excluded.rank, text = excluded.text"
    ))?;
    for day in days {
        let found = select.query_row((day.mcu_id, &day.date), |row| Ok(day_of(row))).optional()?;
        let merged = found.flatten().map(|stored| (merge(&stored, day), stored));
        let StoredDay { rank, text, .. } = match &merged {
            Some((merged, stored)) if merged == stored => continue,
            Some((merged, _)) => merged,
            None => day,
        };
        put.execute((day.mcu_id, &day.date, rank, text))?;
    }
    Ok(())
}

/// Makes one day of the stored version of it and another one.
pub(crate) type MergeDays<'a> = &'a dyn Fn(&StoredDay, &StoredDay) -> StoredDay;

/// Of two versions of a day the one of the higher rank.
pub(crate) fn higher_rank(stored: &StoredDay, other: &StoredDay) -> StoredDay {
    if other.rank > stored.rank { other.clone() } else { stored.clone() }
}

/// Stores days in a journal that another process or thread may have open.
///
/// It needs no lock, like [`SetAside`](crate::SetAside).
#[derive(Debug)]
pub struct DayWriter {
    connection: JournalConnection,
}

impl DayWriter {
    /// Opens the journal at `path`, which may be in use.
    ///
    /// # Errors
    /// As [`SetAside::open`](crate::SetAside::open).
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { connection: JournalConnection::beside_writer(path)? })
    }

    /// Stores days, all of them or none. Of one that is there already it stores what `merge` makes
    /// of the stored version and the new one.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn put(
        &mut self,
        days: &[StoredDay],
        merge: impl Fn(&StoredDay, &StoredDay) -> StoredDay,
    ) -> Result<(), Error> {
        let stored = immediate(&mut self.connection.sqlite).and_then(|transaction| {
            put_days(&transaction, days, &merge)?;
            transaction.commit()
        });
        stored.map_err(|source| self.connection.error("write to", source))
    }
}
