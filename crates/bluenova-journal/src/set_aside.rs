use std::path::Path;

use bluenova_record::{COLUMNS, PackRecord, Timestamp, first_chars};
use rusqlite::{Connection, OptionalExtension, Row};
use time::UtcDateTime;

use crate::Error;
use crate::address::Access;
use crate::connection::JournalConnection;
use crate::schema::{self, Statements};
use crate::value::parse_time;

/// Characters of a message that are kept: a server may answer with any amount of text.
const MESSAGE_CHARS: usize = 1000;

/// The rows that another database rejected: see [`Outbox::set_aside`](crate::Outbox::set_aside).
///
/// It needs no lock: one process may list these rows and remove some while another one has the
/// journal open.
#[derive(Debug)]
pub struct SetAside {
    connection: JournalConnection,
}

/// A row that is set aside, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct SetAsideRow {
    /// The row.
    pub record: PackRecord,
    /// SQLSTATE with which the other database rejected it last.
    pub sqlstate: String,
    /// Message of that rejection.
    pub message: String,
    /// When it was set aside first.
    pub since: UtcDateTime,
    /// Whether the program retries it by itself: what keeps it out may be mended, and until then it
    /// waits on its own.
    pub is_retried: bool,
}

impl SetAside {
    /// Opens the rows that are set aside in the journal at `path`, which may be in use.
    ///
    /// A journal that an older version of this crate made is brought to this version first, as
    /// [`Journal::open`](crate::Journal::open) does.
    ///
    /// # Errors
    /// If there is no journal at `path`, or if it can't be opened for writing; or if it is of an
    /// older version and in use.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { connection: JournalConnection::beside_writer(path)? })
    }

    pub(crate) fn new(journal: &JournalConnection) -> Result<Self, Error> {
        Ok(Self { connection: journal.again(Access::Write)? })
    }

    /// The rows, in the order in which they were set aside.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn rows(&self) -> Result<Vec<SetAsideRow>, Error> {
        rows(&self.connection).map_err(|source| self.connection.error("read", source))
    }

    /// Adds a row that was set aside in another journal, as it was there. Where it is here already,
    /// its reason counts.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn add(&mut self, row: &SetAsideRow) -> Result<(), Error> {
        put(&self.connection, row)
            .map_err(|source| self.connection.error("set a row aside in", source))
    }

    /// Removes a row, since it was delivered after all.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn remove(&mut self, record: &PackRecord) -> Result<(), Error> {
        remove(&self.connection, record)
            .map_err(|source| self.connection.error("take a row out of", source))
    }
}

pub(crate) fn rows(connection: &JournalConnection) -> rusqlite::Result<Vec<SetAsideRow>> {
    let mut select = connection.sqlite.prepare_cached(&connection.sql.select_set_aside)?;
    let mut rows = select.query(())?;
    let mut set_aside = vec![];
    while let Some(row) = rows.next()? {
        set_aside.extend(read(row)?);
    }
    Ok(set_aside)
}

pub(crate) fn put(connection: &JournalConnection, row: &SetAsideRow) -> rusqlite::Result<()> {
    let message = first_chars(&row.message, MESSAGE_CHARS);
    let since = Timestamp(row.since).to_string();
    let mut put = connection.sqlite.prepare_cached(&connection.sql.set_aside)?;
    schema::bind(&mut put, 1, &row.record)?;
    for (i, text) in [&row.sqlstate, message, &since].into_iter().enumerate() {
        put.raw_bind_parameter(COLUMNS.len() + 1 + i, text)?;
    }
    put.raw_bind_parameter(COLUMNS.len() + 4, row.is_retried)?;
    put.raw_execute()?;
    Ok(())
}

pub(crate) fn remove(connection: &JournalConnection, record: &PackRecord) -> rusqlite::Result<()> {
    let time = Timestamp(record.insert_time_utc).to_string();
    connection
        .sqlite
        .execute(
            "DELETE FROM set_aside WHERE insert_time_utc = ? AND mcu_id = ?",
            (time, record.mcu_id),
        )
        .map(drop)
}

/// Whether this very row is set aside: one of its battery and time with the same values.
pub(crate) fn contains(
    connection: &Connection,
    sql: &Statements,
    record: &PackRecord,
) -> rusqlite::Result<bool> {
    let time = Timestamp(record.insert_time_utc).to_string();
    let row = connection
        .prepare_cached(&sql.select_set_aside_at)?
        .query_row((time, record.mcu_id), schema::read_row)
        .optional()?;
    Ok(row.and_then(|row| row.record).is_some_and(|set_aside| set_aside == *record))
}

pub(crate) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    // Journals of version 1 may lack the table.
    if !connection.table_exists(Some("main"), "set_aside")? {
        return Ok(0);
    }
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM set_aside")?
        .query_row((), |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How many of them are retried.
pub(crate) fn count_retried(connection: &Connection) -> rusqlite::Result<u64> {
    // Journals of older versions lack the column.
    if !connection.column_exists(Some("main"), "set_aside", "retried")? {
        return Ok(0);
    }
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM set_aside WHERE retried")?
        .query_row((), |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// `None` where damage has left no owner or time; other text that it made illegible is empty.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<SetAsideRow>> {
    let record = schema::read_row(row)?.record;
    let reason = |i: usize| row.get_ref(COLUMNS.len() + 1 + i).ok()?.as_str().ok();
    let is_retried = row.get(COLUMNS.len() + 4).unwrap_or_default();
    Ok(record.map(|record| SetAsideRow { is_retried, ..SetAsideRow::new(record, reason) }))
}

impl SetAsideRow {
    /// `reason` yields the columns behind those of the record, where they are legible.
    pub(crate) fn new<'a>(record: PackRecord, reason: impl Fn(usize) -> Option<&'a str>) -> Self {
        let since = reason(2).and_then(|text| parse_time(text.as_bytes()));
        Self {
            since: since.unwrap_or(record.insert_time_utc),
            record,
            sqlstate: reason(0).unwrap_or_default().to_owned(),
            message: reason(1).unwrap_or_default().to_owned(),
            is_retried: false,
        }
    }
}
