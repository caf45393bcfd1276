//! Looking at the rows beside the writer.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use bluenova_journal::{Error, Journal, Reader, Retention};
use rusqlite::Connection;
use time::Duration;

use crate::processes::{directory_of_child, start};
use crate::{BATTERY, START, nth, numbers, open, patiently, undelivered};

#[test]
fn the_latest_row_of_each_battery() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    let reader = journal.reader().unwrap();
    assert!(reader.latest().unwrap().is_empty());
    assert_eq!(reader.count(BATTERY).unwrap(), 0);

    journal.append(&[nth(u32::MAX, 0)]).unwrap();
    for n in 0..1000 {
        let battery = u32::from(n % 3);
        journal.append(&[nth(battery, n)]).unwrap();
        let latest = reader.latest().unwrap();
        assert_eq!(latest.len(), usize::from(n.min(2)) + 2, "{n}");
        assert_eq!(latest[battery as usize], nth(battery, n));
        assert_eq!(latest.last(), Some(&nth(u32::MAX, 0)));
        assert!(latest.is_sorted_by_key(|record| record.mcu_id));
        assert_eq!(reader.count(battery).unwrap(), u64::from(n / 3) + 1);
    }
    assert_eq!(reader.count(u32::MAX).unwrap(), 1);
    assert_eq!(reader.count(3).unwrap(), 0);
}

#[test]
fn the_latest_is_the_last_that_came() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    journal.append(&[nth(BATTERY, 500), nth(BATTERY, 3)]).unwrap();
    assert_eq!(journal.reader().unwrap().latest().unwrap(), [nth(BATTERY, 3)]);
}

#[test]
fn counts_survive_trimming_and_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let keep = std::time::Duration::from_secs(3600);
    let retention = Retention { keep: Some(keep), bound: None };
    let mut journal = patiently(|| Journal::open(&path, retention)).unwrap();
    for n in 0..1000 {
        journal.append(&[nth(u32::from(n % 2), n)]).unwrap();
    }
    journal.append(&[nth(9, 0)]).unwrap();
    let mut outbox = journal.outbox().unwrap();
    let last = outbox.undelivered(700).unwrap().last;
    outbox.delivered(last).unwrap();
    // The 900th is an hour old then; no more than 700 are delivered.
    let trimmed = journal.trim(START + Duration::seconds(9000 + 3600)).unwrap();
    assert_eq!((trimmed.delivered, trimmed.undelivered), (700, 0));
    drop((outbox, journal));

    let journal = patiently(|| Journal::open(&path, retention)).unwrap();
    let reader = journal.reader().unwrap();
    assert_eq!([0, 1, 9].map(|battery| reader.count(battery).unwrap()), [150, 150, 1]);
    assert_eq!(reader.latest().unwrap().len(), 3);
}

#[test]
fn a_status_page_knows_what_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let journal = open(&path);
    let mut outbox = journal.outbox().unwrap();
    let (kept, opened) = (journal.reader().unwrap(), Reader::open(&path).unwrap());
    assert_eq!((kept.set_aside().unwrap(), opened.set_aside().unwrap()), (0, 0));
    outbox.set_aside(&nth(BATTERY, 3), "P0001", "no", START).unwrap();
    assert_eq!((kept.set_aside().unwrap(), opened.set_aside().unwrap()), (1, 1));
}

fn refusal(path: &Path) -> Error {
    Reader::open(path).expect_err("must not open")
}

#[test]
fn only_a_journal_is_opened_and_nothing_is_made_or_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/journal");
    let error = refusal(&path);
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound));
    assert_eq!(error.to_string(), format!("can't open {}", path.display()));
    let error = refusal(directory.path());
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == ErrorKind::IsADirectory));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    let path = directory.path().join("journal");
    for (content, is_damage) in [("", false), ("notes", true), (&"long notes".repeat(200), true)] {
        fs::write(&path, content).unwrap();
        assert_eq!(refusal(&path).is_damage(), is_damage, "{content}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        fs::remove_file(&path).unwrap();
    }
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(refusal(&path), Error::Foreign { .. }));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn tables_of_another_version_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    drop(open(&path));
    let sql = "PRAGMA user_version = 99; ALTER TABLE battery ADD COLUMN name TEXT";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    assert!(matches!(refusal(&path), Error::Version { found: 99, .. }));
}

/// SQLite would take it for a new database and remove the log, with all that is in it.
#[test]
fn the_log_of_an_emptied_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let log = directory.path().join("journal-wal");
    fs::write(&path, "").unwrap();
    fs::write(&log, "rows").unwrap();
    assert!(refusal(&path).is_damage());
    assert!(bluenova_journal::SetAside::open(&path).unwrap_err().is_damage());
    assert_eq!(fs::read_to_string(&log).unwrap(), "rows");
}

#[test]
fn a_journal_whose_files_are_being_renamed_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    drop(open(&path));
    let recovered = directory.path().join("journal.recovered");
    fs::copy(&path, &recovered).unwrap();
    assert!(refusal(&path).is_damage());
    fs::remove_file(&recovered).unwrap();
    Reader::open(&path).unwrap();
}

/// It neither merges the log nor drops it, and whoever writes next finds every row.
#[test]
fn a_journal_that_nobody_writes_is_read_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let records: Vec<_> = (0..300).map(|n| nth(BATTERY, n)).collect();
    journal.append(&records).unwrap();
    // What a killed process would leave, and one that ended well.
    let killed = directory.path().join("killed");
    for suffix in ["", "-wal"] {
        let name = |of: &Path| format!("{}{suffix}", of.display());
        fs::copy(name(&path), name(&killed)).unwrap();
    }
    drop(journal);
    for path in [killed, path] {
        let log = path.with_file_name(format!("{}-wal", path.file_name().unwrap().display()));
        let before = (fs::read(&path).unwrap(), fs::read(&log).unwrap_or_default());
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.count(BATTERY).unwrap(), 300);
        drop(reader);
        assert_eq!((fs::read(&path).unwrap(), fs::read(&log).unwrap()), before);
        assert_eq!(undelivered(&open(&path)), records);
    }
}

#[test]
fn a_reader_stays_with_its_file_and_a_new_one_has_the_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.append(&[nth(BATTERY, 1)]).unwrap();
    let old = Reader::open(&path).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let name = directory.path().join(format!("journal{suffix}"));
        fs::rename(&name, directory.path().join(format!("moved{suffix}"))).unwrap();
    }
    drop(journal);
    let mut journal = open(&path);
    journal.append(&[nth(BATTERY, 2), nth(BATTERY, 3)]).unwrap();

    let new = Reader::open(&path).unwrap();
    assert_eq!(numbers(&old.latest().unwrap()), [1]);
    assert_eq!(numbers(&new.latest().unwrap()), [3]);
    drop(old);
    journal.append(&[nth(BATTERY, 4)]).unwrap();
    assert_eq!(numbers(&new.latest().unwrap()), [4]);
    drop((new, journal));
    assert_eq!(numbers(&undelivered(&open(&path))), [2, 3, 4]);
}

/// What a recovery reads and renames does no harm to readers, nor do they to it.
#[test]
fn a_recovery_beside_a_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let records: Vec<_> = (0..300).map(|n| nth(BATTERY, n)).collect();
    journal.append(&records).unwrap();
    let old = Reader::open(&path).unwrap();
    drop(journal);
    let recovered = patiently(|| Journal::recover(&path, Retention::default(), START));
    let (mut journal, recovery) = recovered.unwrap();
    assert_eq!((recovery.rows, recovery.lost), (300, Some(0)));
    journal.append(&[nth(BATTERY, 300)]).unwrap();
    assert_eq!(old.count(BATTERY).unwrap(), 300);
    assert_eq!(Reader::open(&path).unwrap().count(BATTERY).unwrap(), 301);
    drop(old);
    assert_eq!(Reader::open(&path).unwrap().count(BATTERY).unwrap(), 301);
}

/// POSIX drops the locks of a process on a file when it closes any descriptor of it. If opening or
/// dropping a reader did so, another process could take the file for itself.
#[test]
fn a_reader_takes_no_lock_away_from_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    drop(Reader::open(&path).unwrap());
    let (mut child, output) = start("reader::take_the_file_for_itself", directory.path());
    let output = std::io::read_to_string(output).unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
    assert!(output.contains("database is locked"), "{output}");
    journal.append(&[nth(BATTERY, 1)]).unwrap();
    drop(journal);
    assert_eq!(undelivered(&open(&path)).len(), 2);
}

#[test]
#[ignore = "a part of others"]
fn take_the_file_for_itself() {
    let Some(directory) = directory_of_child() else { return };
    let connection = Connection::open(directory.join("journal")).unwrap();
    connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    let taken = connection
        .execute_batch("PRAGMA locking_mode = exclusive; UPDATE progress SET settled = settled");
    println!("{}", taken.expect_err("it is in use"));
}

#[test]
fn a_reader_does_not_wait_long_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    open(&path).append(&[nth(BATTERY, 0)]).unwrap();
    let hog = Connection::open(&path).unwrap();
    hog.execute_batch(
        "PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE; UPDATE progress SET settled = settled",
    )
    .unwrap();
    let started = Instant::now();
    let error = refusal(&path);
    assert!(error.is_timeout() && !error.is_damage(), "{error:?}");
    assert!(started.elapsed() < Duration::MINUTE);
    drop(hog);
    assert_eq!(Reader::open(&path).unwrap().count(BATTERY).unwrap(), 1);
}

#[test]
fn damage_that_a_reader_meets_is_known_to_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    let reader = journal.reader().unwrap();
    let other = Journal::in_memory(Retention::default()).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute("UPDATE recent SET sequence = 'x' WHERE sequence = 1", ()).unwrap();
    assert!(reader.latest().unwrap_err().is_damage());
    assert!(journal.is_damaged() && !other.is_damaged());
}
