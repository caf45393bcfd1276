//! Journals that older or newer versions of this crate made.

use std::fs;
use std::path::{Path, PathBuf};

use bluenova_journal::{Error, Journal, Reader, Retention, SetAside};
use bluenova_record::PackRecord;
use rusqlite::Connection;
use tempfile::TempDir;
use time::Duration;

use crate::{BATTERY, START, nth, open, patiently, typical, undelivered};

/// A copy of a file in `tests/fixtures`.
fn copy(name: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::copy(fixtures.join(name), &path).unwrap();
    (directory, path)
}

/// The n-th row of the fixtures.
fn row(n: u16) -> PackRecord {
    if n % 10 == 3 { typical(n) } else { nth(if n.is_multiple_of(3) { 7 } else { BATTERY }, n) }
}

fn rows_of(mcu_id: u32, numbers: std::ops::Range<u16>) -> Vec<PackRecord> {
    numbers.map(row).filter(|row| row.mcu_id == mcu_id).collect()
}

/// Everything that is seen of `journal-1.sqlite` beside the writer.
fn check_reader(reader: &Reader) {
    let mut latest = [row(177), row(179)];
    latest.sort_by_key(|row| row.mcu_id);
    assert_eq!(reader.latest().unwrap(), latest);
    for mcu_id in [7, BATTERY] {
        let rows = rows_of(mcu_id, 20..180);
        assert_eq!(reader.count(mcu_id).unwrap(), rows.len() as u64);
        let mut times = vec![];
        let ever = time::UtcDateTime::MIN..time::UtcDateTime::MAX;
        reader
            .history(mcu_id, ever, &[], |time, _| {
                times.push(time);
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(times, Vec::from_iter(rows.iter().map(|row| row.insert_time_utc)));
    }
    assert_eq!(reader.set_aside().unwrap(), 2);
}

fn check_set_aside(set_aside: &SetAside) {
    let rows = set_aside.rows().unwrap();
    let seen: Vec<_> =
        rows.into_iter().map(|row| (row.record, row.sqlstate, row.message, row.since)).collect();
    let at = |n: i32| START + 10 * n * Duration::SECOND;
    let expected = [
        (row(23), "22003".into(), "smallint out of range".into(), at(24)),
        (row(47), "P0001".into(), "no".into(), at(48)),
    ];
    assert_eq!(seen, expected);
}

fn version(path: &Path) -> i32 {
    let connection = Connection::open(path).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_journal_of_an_older_version_keeps_everything() {
    check_migration(1);
    check_migration(2);
    check_migration(3);
    check_migration(4);
    check_migration(5);
}

fn check_migration(from: i32) {
    let (_directory, path) = copy(&format!("journal-{from}.sqlite"));
    assert_eq!(version(&path), from);
    check_reader(&Reader::open(&path).unwrap());
    assert_eq!(version(&path), from, "a reader changes nothing");

    let mut journal = open(&path);
    assert_eq!(version(&path), 6);
    assert_eq!(undelivered(&journal), Vec::from_iter((60..180).map(row)));
    assert_eq!(journal.outbox().unwrap().waiting().unwrap(), 120);
    check_reader(&journal.reader().unwrap());
    check_reader(&Reader::open(&path).unwrap());
    check_set_aside(&journal.set_aside().unwrap());
    // Times of trimmed rows stay taken, and numbers go on.
    let appended = journal.append(&[row(5), row(180)]).unwrap();
    assert_eq!((appended.last.to_string(), appended.moved), ("182".into(), 1));
    drop(journal);
    assert_eq!(undelivered(&open(&path)).len(), 122);
}

#[test]
fn a_database_of_version_1_keeps_everything() {
    let (_directory, path) = copy("database-1.sqlite");
    let mut journal = patiently(|| Journal::open(&path, Retention::FOREVER)).unwrap();
    let rows = Vec::from_iter((0..150).map(row));
    assert_eq!(undelivered(&journal), rows);
    let reader = journal.reader().unwrap();
    assert_eq!(reader.count(7).unwrap() + reader.count(BATTERY).unwrap(), 150);
    assert_eq!(reader.set_aside().unwrap(), 0);
    journal.append(&[row(150)]).unwrap();
    drop((reader, journal));
    let connection = Connection::open(&path).unwrap();
    let query = "SELECT count(*), max(sequence) FROM battery_pack";
    let counted: (i64, i64) =
        connection.query_row(query, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(counted, (151, 151));
}

#[test]
fn rows_set_aside_by_an_older_version_are_seen_first_thing() {
    for from in 1..=5 {
        let (_directory, path) = copy(&format!("journal-{from}.sqlite"));
        check_set_aside(&SetAside::open(&path).unwrap());
        assert_eq!(version(&path), 6);
        assert_eq!(undelivered(&open(&path)), Vec::from_iter((60..180).map(row)));
    }
}

/// Such as were made before any row was ever set aside.
#[test]
fn a_journal_of_version_1_without_the_table_gets_it() {
    for open_first in [true, false] {
        let (_directory, path) = copy("journal-1.sqlite");
        Connection::open(&path).unwrap().execute("DROP TABLE set_aside", ()).unwrap();
        assert_eq!(Reader::open(&path).unwrap().set_aside().unwrap(), 0);
        if open_first {
            let journal = open(&path);
            assert_eq!(journal.outbox().unwrap().count_set_aside().unwrap(), 0);
        } else {
            assert!(SetAside::open(&path).unwrap().rows().unwrap().is_empty());
        }
        assert_eq!(version(&path), 6);
        assert_eq!(undelivered(&open(&path)), Vec::from_iter((60..180).map(row)));
    }
}

/// A recovery makes a journal of this version of what is left.
#[test]
fn a_damaged_journal_of_an_older_version_is_recovered() {
    check_recovery("journal-1.sqlite");
    check_recovery("journal-2.sqlite");
    check_recovery("journal-3.sqlite");
    check_recovery("journal-4.sqlite");
    check_recovery("journal-5.sqlite");
}

fn check_recovery(name: &str) {
    let (_directory, path) = copy(name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..512].fill(0xAA);
    fs::write(&path, bytes).unwrap();
    let (journal, recovery) =
        patiently(|| Journal::open_or_recover(&path, Retention::default(), START)).unwrap();
    assert_eq!(recovery.unwrap().lost, Some(0));
    assert_eq!(undelivered(&journal), Vec::from_iter((60..180).map(row)));
    check_set_aside(&journal.set_aside().unwrap());
    assert_eq!(version(&path), 6);
}

#[test]
fn a_newer_version_is_refused_by_all_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    drop(open(&path));
    let sql = "PRAGMA user_version = 7; CREATE TABLE later (time TEXT)";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let before = fs::read(&path).unwrap();
    let forever = Retention::FOREVER;
    for error in [
        patiently(|| Journal::open(&path, forever)).unwrap_err(),
        patiently(|| Journal::open_or_recover(&path, forever, START)).unwrap_err(),
        Reader::open(&path).unwrap_err(),
        SetAside::open(&path).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Version { found: 7, known: 6, .. }), "{error:?}");
        assert!(!error.is_damage() && !error.is_full());
        let text = format!(
            "journal {} has version 7 of the tables, and this program has up to version 6: \
             use the program that wrote it, or a newer one; nothing was changed",
            path.display()
        );
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// The program of the older version has it still.
#[test]
fn a_journal_in_use_is_not_migrated() {
    let (_directory, path) = copy("journal-1.sqlite");
    let journal = open(&path);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 1).unwrap();
    check_reader(&Reader::open(&path).unwrap());
    let error = SetAside::open(&path).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error:?}");
    assert_eq!(version(&path), 1);
    drop(journal);
}
