//! The tables, and every statement on them that has to do with columns, made from
//! [`COLUMNS`].

use bluenova_record::{COLUMNS, Column, PackRecord, SqlType, TABLE, TIME_INDEX};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row, TransactionBehavior};

use crate::value::{self, Stored};

/// Records that lie in `recent` before all of them move to `history`.
///
/// The more there are, the more records share the writes of a move; beyond this, little is gained.
pub(crate) const SLOTS: i64 = 128;

/// Small, since SQLite writes whole pages. It is the smallest that SQLite has.
pub(crate) const PAGE_BYTES: u16 = 512;

/// Tells a journal from other SQLite databases: "BNoJ".
pub(crate) const APPLICATION_ID: i32 = 0x424E_6F4A;

/// Stands for the wording of [`tables`], to the letter: [`kind_of`] goes by it.
const VERSION: i32 = 1;

/// What a SQLite file is to us.
#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    /// Nothing is in it yet.
    Empty,
    /// A journal with the tables below.
    Journal,
    /// A journal once, whose header or list of tables isn't what was written there.
    Damaged,
    /// A journal with tables of another version.
    Version(i32),
    /// A database of something else.
    Foreign,
}

pub(crate) fn kind_of(connection: &Connection) -> rusqlite::Result<Kind> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables = tables();
    let (mut known, mut unknown) = (0, 0);
    // What SQLite made has no text; `set_aside` came later and may be missing.
    let mut statement = connection.prepare(
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name <> 'set_aside'",
    )?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let is_known = tables.contains(row.get_ref(0)?.as_str()?);
        *(if is_known { &mut known } else { &mut unknown }) += 1;
    }
    let complete = known == tables.matches("CREATE ").count();
    Ok(match (id, version) {
        (0, _) if known + unknown == 0 => Kind::Empty,
        // People may add tables of their own.
        (APPLICATION_ID, VERSION) if complete => Kind::Journal,
        (APPLICATION_ID, VERSION) => Kind::Damaged,
        // Our tables and nothing else are a journal, whatever the two numbers have become.
        _ if complete && unknown == 0 => Kind::Damaged,
        (APPLICATION_ID, _) if known + unknown == 0 => Kind::Damaged,
        (APPLICATION_ID, _) => Kind::Version(version),
        _ => Kind::Foreign,
    })
}

/// Makes an empty database a journal.
pub(crate) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    use_log(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(&tables())?;
    transaction.execute_batch(&table_set_aside())?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Adds the table that journals did not have at first; where it is there nothing is written.
pub(crate) fn add_set_aside(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&table_set_aside())
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
///   that nobody needs to count or search; and the latest time of a row that was trimmed.
/// - `progress.delivered` is the outbox's cursor.
fn tables() -> String {
    let columns = columns();
    let names = join(|column| column.name.to_owned());
    let values = values();
    format!(
        "CREATE TABLE history (sequence INTEGER PRIMARY KEY, {columns});
         CREATE UNIQUE INDEX {TIME_INDEX} ON history (insert_time_utc, mcu_id);
         CREATE TABLE recent (slot INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, {columns});
         CREATE TABLE battery (
             mcu_id INTEGER PRIMARY KEY, stored INTEGER NOT NULL, newest INTEGER NOT NULL,
             trimmed TEXT NOT NULL
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

/// Rows that another database refused, in the order in which it did, each with the reason.
fn table_set_aside() -> String {
    let columns = columns();
    format!(
        "CREATE TABLE IF NOT EXISTS set_aside (
             number INTEGER PRIMARY KEY, {columns},
             sqlstate TEXT NOT NULL, message TEXT NOT NULL, since TEXT NOT NULL,
             UNIQUE (insert_time_utc, mcu_id)
         )"
    )
}

fn columns() -> String {
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

/// The columns as they were given, numbers of thousandths being numbers again.
fn values() -> String {
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
    /// Parameters: columns, SQLSTATE, message, since when.
    pub(crate) set_aside: String,
    /// Yields number, columns, SQLSTATE, message, since when.
    pub(crate) select_set_aside: String,
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
            set_aside: format!(
                "INSERT INTO set_aside VALUES (NULL, {marks}, ?, ?, ?)
                 ON CONFLICT (insert_time_utc, mcu_id) DO UPDATE
                 SET sqlstate = excluded.sqlstate, message = excluded.message"
            ),
            select_set_aside: format!(
                "SELECT number, {}, sqlstate, message, since FROM set_aside ORDER BY number",
                values()
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
        statement.raw_bind_parameter(first + i, Stored(column.get(record)))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stands_for_the_wording_of_the_tables() {
        let sum = tables()
            .bytes()
            .fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        assert_eq!((VERSION, sum), (1, 3_509_562_676), "other tables need another version");
    }

    #[test]
    fn a_journal_is_known_by_its_tables_too() {
        let id = |id: i32| format!("PRAGMA application_id = {id}");
        for (sql, kind) in [
            (String::new(), Kind::Journal),
            (
                "CREATE TABLE mine (x); CREATE VIEW of_mine AS SELECT x FROM mine".into(),
                Kind::Journal,
            ),
            ("DROP TABLE set_aside".into(), Kind::Journal),
            ("DROP VIEW battery_pack".into(), Kind::Damaged),
            ("ALTER TABLE history RENAME COLUMN soc TO sod".into(), Kind::Damaged),
            ("PRAGMA user_version = 3".into(), Kind::Damaged),
            (id(42), Kind::Damaged),
            (id(0), Kind::Damaged),
            ("PRAGMA user_version = 3; CREATE TABLE later (x)".into(), Kind::Version(3)),
            (format!("{}; DROP VIEW battery_pack", id(42)), Kind::Foreign),
        ] {
            let mut connection = Connection::open_in_memory().unwrap();
            assert_eq!(kind_of(&connection).unwrap(), Kind::Empty);
            create(&mut connection).unwrap();
            connection.execute_batch(&sql).unwrap();
            assert_eq!(kind_of(&connection).unwrap(), kind, "{sql}");
        }
    }
}
