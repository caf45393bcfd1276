//! The tables, version by version.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use bluenova_record::{TABLE, TIME_INDEX};
use rusqlite::{Connection, TransactionBehavior};

use crate::Error;
use crate::schema::{column_definitions, column_names, column_values, use_log};

/// Page size of the database: the smallest that SQLite has, since SQLite writes whole pages.
pub(crate) const PAGE_BYTES: u16 = 512;

/// Distinguishes a journal from other SQLite databases: "BNoJ".
pub(crate) const APPLICATION_ID: i32 = 0x424E_6F4A;

/// Makes a database of the version before one of this version.
struct Migration {
    sql: fn() -> String,
    /// Free disk space that it needs, given the size of the database, all in bytes; 0 for a few
    /// pages. Those may just fail on a full disk, since all of it or nothing is done.
    space: fn(u64) -> u64,
}

/// All migrations, from an empty database to the newest version.
///
/// To change the tables, add an entry, and its checksum to the test below. Entries that were ever
/// released stay as they are to the letter: [`content_of`] goes by the tables that they make.
/// Each must add or change a table, index or view, so that a program that does not have it yet can
/// see a newer version from a damaged number.
const MIGRATIONS: [Migration; 6] = [
    Migration { sql: version_1, space: |_| 0 },
    Migration { sql: version_2, space: |_| 0 },
    Migration { sql: version_3, space: |_| 0 },
    Migration { sql: version_4, space: |_| 0 },
    Migration { sql: version_5, space: |_| 0 },
    Migration { sql: version_6, space: |_| 0 },
];

/// Version of the tables that this program writes.
pub(crate) const VERSION: i32 = MIGRATIONS.len() as i32;

/// The first tables.
///
/// - `history` holds the rows up to `progress.settled`, trimmed from below.
/// - `recent` holds the rows after it, at most [`SLOTS`](crate::schema::SLOTS) of them, each in the
///   slot that is the remainder of its sequence. Rows that have moved on stay there until
///   overwritten.
/// - `battery` has the number of each battery's rows in `history` and its newest one, so that
///   nobody needs to count or search; and the latest time of a row that was trimmed.
/// - `progress.delivered` is the outbox's cursor.
fn version_1() -> String {
    let columns = column_definitions();
    let names = column_names();
    let values = column_values();
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

/// The rows that another database rejected, in the order in which it did, each with the reason; and
/// a view of them for people, with numbers as they are in `battery_pack`.
///
/// Programs of version 1 made the table already, in journals that did not have it yet.
fn version_2() -> String {
    let columns = column_definitions();
    let names = column_names();
    let values = column_values();
    format!(
        "CREATE TABLE IF NOT EXISTS set_aside (
             number INTEGER PRIMARY KEY, {columns},
             sqlstate TEXT NOT NULL, message TEXT NOT NULL, since TEXT NOT NULL,
             UNIQUE (insert_time_utc, mcu_id)
         );
         CREATE VIEW {TABLE}_set_aside (number, {names}, sqlstate, message, since) AS
             SELECT number, {values}, sqlstate, message, since FROM set_aside"
    )
}

/// The database for which the rows are, in one row at most: none until it is known. And which rows
/// that are set aside are retried without a person.
fn version_3() -> String {
    let names = column_names();
    let values = column_values();
    format!(
        "CREATE TABLE destination (database TEXT NOT NULL);
         ALTER TABLE set_aside ADD COLUMN retried INTEGER NOT NULL DEFAULT 0;
         DROP VIEW {TABLE}_set_aside;
         CREATE VIEW {TABLE}_set_aside (number, {names}, sqlstate, message, since, retried) AS
             SELECT number, {values}, sqlstate, message, since, retried FROM set_aside"
    )
}

/// What happened to the listener. An event without a battery has an empty name, so that an event is
/// there once.
fn version_4() -> String {
    "CREATE TABLE event (
         number INTEGER PRIMARY KEY, since TEXT NOT NULL, until TEXT, kind TEXT NOT NULL,
         battery TEXT NOT NULL, mcu_id INTEGER, detail TEXT NOT NULL,
         UNIQUE (since, kind, battery)
     )"
    .to_owned()
}

/// What was announced by MQTT, by topic.
fn version_5() -> String {
    "CREATE TABLE announced (topic TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID".to_owned()
}

/// What was worked out of the samples of each battery, and its days. Both have rowids, since a
/// recovery reads the rows of such tables.
fn version_6() -> String {
    "CREATE TABLE insight (
         mcu_id INTEGER PRIMARY KEY, until TEXT NOT NULL, text TEXT NOT NULL
     );
     CREATE TABLE day (
         number INTEGER PRIMARY KEY, mcu_id INTEGER NOT NULL, date TEXT NOT NULL,
         rank INTEGER NOT NULL, text TEXT NOT NULL, UNIQUE (mcu_id, date)
     )"
    .to_owned()
}

/// What is in a SQLite file.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    /// Nothing yet.
    Empty,
    /// A journal that has the tables of this version, which this program has, too.
    Journal(i32),
    /// A journal once, whose header or list of tables isn't what was written there.
    Damaged,
    /// A journal of a version that this program does not have: a newer one, most likely.
    Other(i32),
    /// A database of something else.
    Foreign,
}

impl Content {
    /// The version of the tables, 0 if there are none yet; an error if they can't be used.
    pub(crate) fn version(self, path: &Path) -> Result<i32, Error> {
        let path = path.to_owned();
        match self {
            Self::Empty => Ok(0),
            Self::Journal(version) => Ok(version),
            Self::Damaged => Err(Error::Damaged { path }),
            Self::Other(found) => Err(Error::Version { path, found, known: VERSION }),
            Self::Foreign => Err(Error::Foreign { path }),
        }
    }
}

/// Looks at the header and the list of tables.
pub(crate) fn content_of(connection: &Connection) -> rusqlite::Result<Content> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = definitions(connection)?;
    let versions = versions()?;
    let of_version = |version: i32| versions.get(usize::try_from(version).ok()?.checked_sub(1)?);
    // Ours and nothing else are a journal, whatever the two numbers have become.
    let only_ours = versions.iter().any(|expected| found.is_superset(expected))
        && found.iter().all(|sql| versions.iter().any(|expected| expected.contains(sql)));
    Ok(match (id, of_version(version)) {
        (0, _) if found.is_empty() => Content::Empty,
        // People may add tables of their own.
        (APPLICATION_ID, Some(expected)) if found.is_superset(expected) => {
            Content::Journal(version)
        }
        (APPLICATION_ID, None) if !only_ours && !found.is_empty() => Content::Other(version),
        (APPLICATION_ID, _) => Content::Damaged,
        _ if only_ours => Content::Damaged,
        _ => Content::Foreign,
    })
}

/// The SQL of all tables, indexes and views. Those that SQLite made itself have none.
fn definitions(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut select = connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    select.query_map((), |row| row.get(0))?.collect()
}

/// The definitions of each version, from 1 on, as its migrations make them.
fn versions() -> rusqlite::Result<&'static [BTreeSet<String>]> {
    static VERSIONS: OnceLock<Vec<BTreeSet<String>>> = OnceLock::new();
    if let Some(versions) = VERSIONS.get() {
        return Ok(versions);
    }
    let connection = Connection::open_in_memory()?;
    let mut versions = vec![];
    for migration in &MIGRATIONS {
        connection.execute_batch(&(migration.sql)())?;
        versions.push(definitions(&connection)?);
    }
    Ok(VERSIONS.get_or_init(|| versions))
}

/// Brings a database to the newest version: an empty one, which is version 0, or a journal.
///
/// All of it or nothing is done, however it ends.
pub(crate) fn migrate(connection: &mut Connection, from: i32) -> rusqlite::Result<()> {
    if from == 0 {
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    }
    use_log(connection)?;
    if from == VERSION { Ok(()) } else { run(connection, pending(from)) }
}

/// Fails if the disk has less `free` space than the migrations from that version on need. `size` is
/// that of the database.
///
/// SQLite would fail, too, but perhaps in the middle of an hour's work.
pub(crate) fn check_free_space(path: &Path, from: i32, size: u64, free: u64) -> Result<(), Error> {
    check_space(path, pending(from), size, free)
}

fn check_space(path: &Path, migrations: &[Migration], size: u64, free: u64) -> Result<(), Error> {
    let needed = migrations.iter().map(|migration| (migration.space)(size)).sum();
    if needed > free {
        return Err(Error::NoSpace { path: path.to_owned(), needed, free });
    }
    Ok(())
}

fn pending(from: i32) -> &'static [Migration] {
    usize::try_from(from).ok().and_then(|from| MIGRATIONS.get(from..)).unwrap_or_default()
}

fn run(connection: &mut Connection, migrations: &[Migration]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in migrations {
        transaction.execute_batch(&(migration.sql)())?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{Journal, Retention};

    const DIRECTORY: &str = "BLUENOVA_JOURNAL_TEST_DIRECTORY";

    fn fixture(directory: &Path) -> PathBuf {
        let path = directory.join("journal");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        fs::copy(fixtures.join("journal-1.sqlite"), &path).unwrap();
        path
    }

    /// The version that the file bears, and how many rows it has.
    fn version_and_rows(path: &Path) -> (Content, i64) {
        let connection = Connection::open(path).unwrap();
        let rows = connection.query_row("SELECT count(*) FROM battery_pack", (), |row| row.get(0));
        (content_of(&connection).unwrap(), rows.unwrap())
    }

    #[test]
    fn a_version_stands_for_the_wording_of_its_migration() {
        let sums = MIGRATIONS.each_ref().map(|migration| {
            (migration.sql)()
                .bytes()
                .fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        });
        assert_eq!(
            sums,
            [
                3_509_562_676,
                1_400_214_047,
                2_786_293_363,
                653_217_404,
                3_887_040_786,
                2_639_183_883
            ],
            "other tables need another version"
        );
    }

    #[test]
    fn a_journal_is_known_by_its_tables_too() {
        let id = |id: i32| format!("PRAGMA application_id = {id}");
        for (sql, content) in [
            (String::new(), Content::Journal(6)),
            (
                "CREATE TABLE mine (x); CREATE VIEW of_mine AS SELECT x FROM mine".into(),
                Content::Journal(6),
            ),
            (
                "PRAGMA user_version = 1; DROP VIEW battery_pack_set_aside; DROP TABLE set_aside"
                    .into(),
                Content::Journal(1),
            ),
            // As programs of version 1 left it.
            ("PRAGMA user_version = 1".into(), Content::Journal(1)),
            ("DROP TABLE set_aside".into(), Content::Damaged),
            ("DROP VIEW battery_pack".into(), Content::Damaged),
            ("ALTER TABLE history RENAME COLUMN soc TO sod".into(), Content::Damaged),
            ("PRAGMA user_version = 7".into(), Content::Damaged),
            ("PRAGMA user_version = 7; DROP TABLE set_aside".into(), Content::Damaged),
            ("PRAGMA user_version = -1; CREATE TABLE mine (x)".into(), Content::Other(-1)),
            ("PRAGMA user_version = 0; CREATE TABLE mine (x)".into(), Content::Other(0)),
            (id(42), Content::Damaged),
            (id(0), Content::Damaged),
            ("PRAGMA user_version = 7; CREATE TABLE later (x)".into(), Content::Other(7)),
            (format!("{}; DROP VIEW battery_pack", id(42)), Content::Foreign),
        ] {
            let mut connection = Connection::open_in_memory().unwrap();
            assert_eq!(content_of(&connection).unwrap(), Content::Empty);
            migrate(&mut connection, 0).unwrap();
            connection.execute_batch(&sql).unwrap();
            assert_eq!(content_of(&connection).unwrap(), content, "{sql}");
        }
    }

    #[test]
    fn a_migration_without_space_is_refused() {
        let path = Path::new("/journal");
        let grows = |sql: fn() -> String| Migration { sql, space: |size| 2 * size };
        let migrations = [grows(version_1), Migration { sql: version_2, space: |_| 64 << 10 }];
        let needed = 64 << 10;
        for (migrations, size, free, enough) in [
            (&migrations[..], 1000, needed + 2000, true),
            (&migrations[..], 1000, needed + 1999, false),
            (&migrations[1..], 1 << 30, needed, true),
            (&migrations[1..], 1 << 30, needed - 1, false),
            (pending(VERSION), 1 << 30, 0, true),
        ] {
            let checked = check_space(path, migrations, size, free);
            assert_eq!(checked.is_ok(), enough, "{size}, {free}");
        }
        let error = check_space(path, &migrations[1..], 1 << 30, 5).unwrap_err();
        assert!(error.is_full() && !error.is_damage());
        let text = "journal /journal needs 65536 bytes of free disk space to be opened, \
                    and there are 5: make space; nothing was changed";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = fixture(directory.path());
        let before = version_and_rows(&path);
        assert_eq!(before, (Content::Journal(1), 160));
        let bad = [
            Migration { sql: || "DROP TABLE set_aside; DELETE FROM history".into(), space: |n| n },
            Migration { sql: || "CREATE TABLE history (x)".into(), space: |n| n },
        ];
        run(&mut Connection::open(&path).unwrap(), &bad).unwrap_err();
        assert_eq!(version_and_rows(&path), before);
        drop(Journal::open(&path, Retention::FOREVER).unwrap());
        assert_eq!(version_and_rows(&path), (Content::Journal(VERSION), 160));
    }

    /// Its pages are in the log by then, but nothing says that they count.
    #[test]
    fn a_process_killed_in_the_middle_of_a_migration_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = fixture(directory.path());
        let before = version_and_rows(&path);
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "migrations::tests::migrate_at_length", "--ignored"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let log = directory.path().join("journal-wal");
        let deadline = Instant::now() + Duration::from_secs(60);
        while fs::metadata(&log).map_or(0, |log| log.len()) < 1 << 20 {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(fs::metadata(&log).unwrap().len() >= 1 << 20);

        let (journal, recovery) =
            Journal::open_or_recover(&path, Retention::FOREVER, time::UtcDateTime::UNIX_EPOCH)
                .unwrap();
        assert_eq!((recovery, journal.is_damaged()), (None, false));
        drop(journal);
        assert_eq!(version_and_rows(&path), (Content::Journal(VERSION), before.1));
    }

    #[test]
    #[ignore = "a part of others"]
    fn migrate_at_length() {
        let Some(directory) = env::var_os(DIRECTORY) else { return };
        let path = Path::new(&directory).join("journal");
        const LONG: &str = "CREATE TABLE more AS WITH RECURSIVE count (n) AS (
                        SELECT 1 UNION ALL SELECT n + 1 FROM count LIMIT 20000000
                    ) SELECT n, n AS m FROM count; DELETE FROM history";
        let long = Migration { sql: || LONG.into(), space: |n| n };
        run(&mut Connection::open(path).unwrap(), &[long]).unwrap();
    }
}
