//! Every statement that names the columns of a row, made from [`COLUMNS`]; and reading a row.

use bluenova_record::{COLUMNS, Column, PackRecord, SqlType, TABLE};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row};

use crate::value::{self, StoredValue};

/// Records that lie in `recent` before all of them move to `history`.
///
/// The more there are, the more records share the writes of a move; beyond this, little is gained.
pub(crate) const SLOTS: i64 = 128;

/// Makes SQLite use a write-ahead log. A database in memory has none and stays as it is.
pub(crate) fn use_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")
}

/// The columns as `CREATE TABLE` has them.
pub(crate) fn column_definitions() -> String {
    join(|column| {
        // Without a type, a REAL stays the integer or the double that it is given as.
        let (sql, null) = match column.sql {
            SqlType::Timestamp | SqlType::Varchar(_) => (" TEXT", ""),
            SqlType::BigInt | SqlType::SmallInt => (" INTEGER", ""),
            SqlType::Real => ("", ""),
        };
        let null = if column.is_nullable() { null } else { " NOT NULL" };
        format!("{}{sql}{null}", column.name)
    })
}

pub(crate) fn column_names() -> String {
    join(|column| column.name.to_owned())
}

/// The columns as they were given, numbers of thousandths being numbers again.
pub(crate) fn column_values() -> String {
    join(|column| match column.sql {
        SqlType::Real => format!("{} AS {}", value::real_expression(column.name), column.name),
        _ => column.name.to_owned(),
    })
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
    /// Parameters: time, `mcu_id`. Yields a number, columns.
    pub(crate) select_at: String,
    /// Parameters: columns, SQLSTATE, message, since when, whether it is retried.
    pub(crate) set_aside: String,
    /// Parameters: time, `mcu_id`. Yields number, columns.
    pub(crate) select_set_aside_at: String,
    /// Yields number, columns, SQLSTATE, message, since when, whether it is retried.
    pub(crate) select_set_aside: String,
}

impl Statements {
    pub(crate) fn new() -> Self {
        let names = column_names();
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
            select_at: format!(
                "{select} WHERE insert_time_utc = ?1 AND mcu_id = ?2
                 UNION ALL
                 SELECT number, {names} FROM {TABLE}_set_aside
                 WHERE insert_time_utc = ?1 AND mcu_id = ?2"
            ),
            set_aside: format!(
                "INSERT INTO set_aside VALUES (NULL, {marks}, ?, ?, ?, ?)
                 ON CONFLICT (insert_time_utc, mcu_id) DO UPDATE
                 SET sqlstate = excluded.sqlstate, message = excluded.message,
                     retried = excluded.retried"
            ),
            // Not from the view, which journals of older versions lack.
            select_set_aside_at: format!(
                "SELECT number, {} FROM set_aside WHERE insert_time_utc = ? AND mcu_id = ?",
                column_values()
            ),
            select_set_aside: format!(
                "SELECT number, {names}, sqlstate, message, since, retried FROM {TABLE}_set_aside
                 ORDER BY number"
            ),
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
    bind(statement, keys.len() + 1, record)?;
    statement.raw_execute()?;
    Ok(())
}

/// Binds the columns to the parameters from `first` on.
pub(crate) fn bind(
    statement: &mut CachedStatement<'_>,
    first: usize,
    record: &PackRecord,
) -> rusqlite::Result<()> {
    for (i, column) in COLUMNS.iter().enumerate() {
        statement.raw_bind_parameter(first + i, StoredValue(column.get(record)))?;
    }
    Ok(())
}

/// A row as it was read from the file.
///
/// Where the file was damaged in a way that SQLite does not see, a value may not be one that was
/// ever put there. It is `None` then, and so is the record if it has no owner or no time: one bad
/// byte must not cost more than the field that it is in, and never hold up the rows behind it.
pub(crate) struct ReadRow {
    pub(crate) sequence: i64,
    pub(crate) record: Option<PackRecord>,
    /// Whether a value or all of them are lost.
    pub(crate) is_damaged: bool,
}

/// Reads a row of one of the `select_` statements.
pub(crate) fn read_row(row: &Row<'_>) -> rusqlite::Result<ReadRow> {
    let (record, is_damaged) = read_record(|i| row.get_ref(i + 1).ok());
    Ok(ReadRow { sequence: row.get(0)?, record, is_damaged })
}

/// The record that has these values in its columns, and whether one of them is damaged.
pub(crate) fn read_record<'a>(
    value: impl Fn(usize) -> Option<ValueRef<'a>>,
) -> (Option<PackRecord>, bool) {
    let mut record = PackRecord::new(time::UtcDateTime::UNIX_EPOCH, 0);
    let mut is_damaged = false;
    for (i, column) in COLUMNS.iter().enumerate() {
        let stored = value(i).and_then(|value| value::read(column, value));
        if stored.is_some_and(|value| column.set(&mut record, value).is_ok()) {
            continue;
        }
        is_damaged = true;
        if matches!(column.sql, SqlType::Timestamp | SqlType::BigInt) {
            return (None, true);
        }
    }
    (Some(record), is_damaged)
}

fn join(item: impl Fn(&Column) -> String) -> String {
    COLUMNS.iter().map(item).collect::<Vec<_>>().join(", ")
}
