//! The tables, and every statement on them that has to do with columns, made from
//! [`COLUMNS`].

use bluenova_record::{COLUMNS, Column, PackRecord, SqlType, TABLE, TIME_INDEX};
use rusqlite::{CachedStatement, Connection, Row, TransactionBehavior};

use crate::value::{self, Stored};

/// Records that lie in `recent` before all of them move to `history`.
///
/// The more there are, the more records share the writes of a move; beyond this, little is gained.
pub(crate) const SLOTS: i64 = 128;

/// Small, since SQLite writes whole pages. It is the smallest that SQLite has.
const PAGE_BYTES: i64 = 512;

/// Tells a journal from other SQLite databases: "BNoJ".
const APPLICATION_ID: i32 = 0x424E_6F4A;

const VERSION: i32 = 1;

/// What a SQLite file is to us.
pub(crate) enum Kind {
    /// Nothing is in it yet.
    Empty,
    /// A journal with the tables below.
    Journal,
    /// A journal with tables of another version.
    Version(i32),
    /// A database of something else.
    Foreign,
}

pub(crate) fn kind_of(connection: &Connection) -> rusqlite::Result<Kind> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(match (id, tables, version) {
        (0, 0, _) => Kind::Empty,
        (APPLICATION_ID, 1.., VERSION) => Kind::Journal,
        (APPLICATION_ID, ..) => Kind::Version(version),
        _ => Kind::Foreign,
    })
}

/// Makes an empty database a journal.
pub(crate) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    use_log(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(&tables())?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Makes SQLite use a write-ahead log. A database in memory has none and stays as it is.
pub(crate) fn use_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")
}

/// The tables.
///
/// - `history` holds the rows up to `progress.settled`, trimmed from below.
/// - `recent` holds the rows after it, at most [`SLOTS`] of them, each in the slot that is the
///   remainder of its sequence. Rows that have moved on stay there until overwritten.
/// - `battery` tells how many rows of each battery are in `history`, and which is the newest, so
///   that nobody needs to count or search.
/// - `progress.delivered` is the outbox's cursor.
fn tables() -> String {
    let columns = join(|column| {
        // Without a type, a REAL stays the integer or the double that it is given as.
        let (sql, null) = match column.sql {
            SqlType::Timestamp | SqlType::Varchar(_) => (" TEXT", ""),
            SqlType::BigInt | SqlType::SmallInt => (" INTEGER", ""),
            SqlType::Real => ("", ""),
        };
        let null = if column.is_nullable() { null } else { " NOT NULL" };
        format!("{}{sql}{null}", column.name)
    });
    let names = join(|column| column.name.to_owned());
    let values = join(|column| match column.sql {
        SqlType::Real => format!("{} AS {}", value::real_expression(column.name), column.name),
        _ => column.name.to_owned(),
    });
    format!(
        "CREATE TABLE history (sequence INTEGER PRIMARY KEY, {columns});
         CREATE UNIQUE INDEX {TIME_INDEX} ON history (insert_time_utc, mcu_id);
         CREATE TABLE recent (slot INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, {columns});
         CREATE TABLE battery (
             mcu_id INTEGER PRIMARY KEY, stored INTEGER NOT NULL, newest INTEGER NOT NULL
         );
         CREATE TABLE progress (settled INTEGER NOT NULL, delivered INTEGER NOT NULL);
         INSERT INTO progress VALUES (0, 0);
         CREATE VIEW {TABLE} (sequence, {names}) AS
             SELECT sequence, {values} FROM history
             UNION ALL
             SELECT sequence, {values} FROM recent
             WHERE sequence > (SELECT settled FROM progress);"
    )
}

/// The statements that name every column, made once per connection.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Parameters: slot, sequence, columns.
    pub(crate) put_recent: String,
    /// Parameters: sequence, columns.
    pub(crate) put_history: String,
    /// Parameter: the sequence up to which the rows have moved already.
    pub(crate) move_recent: String,
    /// Parameters: after which sequence, how many. Yields sequence, columns.
    pub(crate) select_after: String,
    /// Parameter: sequence. Yields sequence, columns.
    pub(crate) select_one: String,
}

impl Statements {
    pub(crate) fn new() -> Self {
        let names = join(|column| column.name.to_owned());
        let marks = join(|_| "?".to_owned());
        let select = format!("SELECT sequence, {names} FROM {TABLE}");
        Self {
            put_recent: format!("REPLACE INTO recent VALUES (?, ?, {marks})"),
            put_history: format!("INSERT INTO history VALUES (?, {marks})"),
            move_recent: format!(
                "INSERT INTO history SELECT sequence, {names} FROM recent
                 WHERE sequence > ? ORDER BY sequence"
            ),
            select_after: format!("{select} WHERE sequence > ? ORDER BY sequence LIMIT ?"),
            select_one: format!("{select} WHERE sequence = ?"),
        }
    }
}

/// Executes one of the `put_` statements.
pub(crate) fn put(
    statement: &mut CachedStatement<'_>,
    keys: &[i64],
    record: &PackRecord,
) -> rusqlite::Result<()> {
    for (i, key) in keys.iter().enumerate() {
        statement.raw_bind_parameter(i + 1, key)?;
    }
    for (i, column) in COLUMNS.iter().enumerate() {
        statement.raw_bind_parameter(keys.len() + i + 1, Stored(column.get(record)))?;
    }
    statement.raw_execute()?;
    Ok(())
}

/// Reads a row of one of the `select_` statements: its sequence and its record.
///
/// Where the file was damaged in a way that SQLite does not see, a value may not be one that was
/// ever put there. It is `None` then, and so is the record if it has no owner or no time: one bad
/// byte must not cost more than the field that it is in, and never hold up the rows behind it.
pub(crate) fn record(row: &Row<'_>) -> rusqlite::Result<(i64, Option<PackRecord>)> {
    let sequence = row.get(0)?;
    let mut record = PackRecord::new(time::UtcDateTime::UNIX_EPOCH, 0);
    for (i, column) in COLUMNS.iter().enumerate() {
        let stored = value::read(column, row.get_ref(i + 1)?);
        let legible = stored.is_some_and(|value| column.set(&mut record, value).is_ok());
        if !legible {
            log::warn!("journal row {sequence}: {} is damaged", column.name);
            if matches!(column.sql, SqlType::Timestamp | SqlType::BigInt) {
                return Ok((sequence, None));
            }
        }
    }
    Ok((sequence, Some(record)))
}

fn join(item: impl Fn(&Column) -> String) -> String {
    COLUMNS.iter().map(item).collect::<Vec<_>>().join(", ")
}
