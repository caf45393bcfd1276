//! Rows that another database refused: kept, with the reason, whatever becomes of the others.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use bluenova_journal::{Error, Journal, Retention, SetAside, SetAsideRow, Trimmed};
use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::{BATTERY, START, nth, open, patiently, typical, undelivered};

const MINUTE: time::Duration = time::Duration::MINUTE;

/// What is looked at: battery, number, SQLSTATE, message, minutes since the start.
fn rows(set_aside: &SetAside) -> Vec<(PackRecord, String, String, i64)> {
    let rows = set_aside.rows().unwrap().into_iter();
    rows.map(|row| (row.record, row.sqlstate, row.message, (row.since - START).whole_minutes()))
        .collect()
}

fn row(
    record: PackRecord,
    sqlstate: &str,
    message: &str,
    minutes: i64,
) -> (PackRecord, String, String, i64) {
    (record, sqlstate.to_owned(), message.to_owned(), minutes)
}

fn check(journal: &mut Journal) {
    let batch: Vec<_> = (0..3).map(typical).chain([nth(7, 0)]).collect();
    journal.append(&batch).unwrap();
    let mut outbox = journal.outbox().unwrap();
    assert_eq!(outbox.count_set_aside().unwrap(), 0);

    outbox.set_aside(&nth(7, 0), "23505", "twice", START).unwrap();
    outbox.set_aside(&typical(1), "22003", "out of range", START + MINUTE).unwrap();
    outbox.set_aside(&typical(0), "P0001", "'no'; --\0", START + MINUTE).unwrap();
    outbox.set_aside(&typical(1), "P0001", "I don't like it", START + 2 * MINUTE).unwrap();
    assert_eq!(outbox.count_set_aside().unwrap(), 3);
    // That is beside what waits.
    assert_eq!(outbox.waiting().unwrap(), 4);

    let mut set_aside = journal.set_aside().unwrap();
    let first = row(nth(7, 0), "23505", "twice", 0);
    let second = row(typical(1), "P0001", "I don't like it", 1);
    let third = row(typical(0), "P0001", "'no'; --\0", 1);
    assert_eq!(rows(&set_aside), [first, second.clone(), third.clone()]);
    set_aside.remove(&nth(7, 0)).unwrap();
    set_aside.remove(&nth(8, 0)).unwrap();
    assert_eq!(rows(&set_aside), [second, third]);
    assert_eq!(outbox.count_set_aside().unwrap(), 2);
}

#[test]
fn rows_are_kept_in_order_with_their_latest_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    check(&mut journal);
    drop(journal);
    assert_eq!(open(&path).set_aside().unwrap().rows().unwrap().len(), 2);
}

#[test]
fn in_memory_too() {
    check(&mut Journal::in_memory(Retention::default()).unwrap());
}

#[test]
fn a_message_of_any_length_is_cut() {
    let journal = Journal::in_memory(Retention::default()).unwrap();
    let mut outbox = journal.outbox().unwrap();
    outbox.set_aside(&nth(7, 0), "P0001", &"ü".repeat(1 << 20), START).unwrap();
    let rows = journal.set_aside().unwrap().rows().unwrap();
    assert_eq!(rows[0].message, "ü".repeat(1000));
}

#[test]
fn another_process_may_look_and_remove_while_the_journal_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let mut outbox = journal.outbox().unwrap();
    outbox.set_aside(&nth(7, 0), "P0001", "no", START).unwrap();

    let mut set_aside = SetAside::open(&path).unwrap();
    assert_eq!(rows(&set_aside), [row(nth(7, 0), "P0001", "no", 0)]);
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    set_aside.remove(&nth(7, 0)).unwrap();
    assert_eq!(outbox.count_set_aside().unwrap(), 0);
    drop(set_aside);
    journal.append(&[nth(BATTERY, 1)]).unwrap();
    journal.checkpoint().unwrap();
    assert_eq!(undelivered(&journal).len(), 2);
}

#[test]
fn only_a_journal_is_opened_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/journal");
    let error = SetAside::open(&path).unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    let path = directory.path().join("journal");
    for content in
        ["", "notes that are no database, and long enough to be taken for one".repeat(20).as_str()]
    {
        fs::write(&path, content).unwrap();
        SetAside::open(&path).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

/// Neither age nor bound makes them go, nor do they make others go.
#[test]
fn they_survive_trimming() {
    let bound = 300 << 10;
    let retention = Retention { keep: Some(Duration::ZERO), bound: Some(bound) };
    let mut journal = Journal::in_memory(retention).unwrap();
    let mut outbox = journal.outbox().unwrap();
    for n in 0..1000 {
        outbox.set_aside(&typical(n), "P0001", "no", START).unwrap();
    }
    let records: Vec<_> = (1000..1300).map(typical).collect();
    journal.append(&records).unwrap();
    assert_eq!(journal.trim(START).unwrap(), Trimmed::default());
    assert_eq!(undelivered(&journal), records);

    for n in 1300..3000 {
        journal.append(&[typical(n)]).unwrap();
    }
    assert!(journal.trim(START).unwrap().undelivered > 1000);
    let last = outbox.undelivered(usize::MAX).unwrap().last;
    outbox.delivered(last).unwrap();
    journal.trim(UtcDateTime::MAX).unwrap();
    assert_eq!(outbox.count_set_aside().unwrap(), 1000);
}

/// Its row may have been trimmed long ago; the time is given once all the same.
#[test]
fn their_times_stay_taken() {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    journal.outbox().unwrap().set_aside(&nth(BATTERY, 0), "P0001", "no", START).unwrap();
    assert_eq!(journal.append(&[nth(BATTERY, 0)]).unwrap().moved, 1);
    assert_eq!(journal.append(&[nth(7, 0)]).unwrap().moved, 0);
}

/// It stays so wherever the row goes: another file, salvage, memory.
#[test]
fn one_that_is_retried_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let row = |n, is_retried| SetAsideRow {
        record: nth(BATTERY, n),
        sqlstate: "23514".to_owned(),
        message: "no partition".to_owned(),
        since: START,
        is_retried,
    };
    let rows = [row(0, true), row(1, false)];
    let mut journal = open(&path);
    let mut outbox = journal.outbox().unwrap();
    rows.iter().for_each(|row| outbox.set_aside_row(row).unwrap());
    assert_eq!(journal.set_aside().unwrap().rows().unwrap(), rows);
    let reader = journal.reader().unwrap();
    assert_eq!((reader.set_aside().unwrap(), reader.retried().unwrap()), (2, 1));
    journal.checkpoint().unwrap();
    drop((journal, outbox, reader));

    let (journal, _) = patiently(|| Journal::recover(&path, Retention::default(), START)).unwrap();
    assert_eq!(journal.set_aside().unwrap().rows().unwrap(), rows);
    // A rejection for its content ends that.
    let mut outbox = journal.outbox().unwrap();
    outbox.set_aside(&nth(BATTERY, 0), "23514", "no", START).unwrap();
    assert_eq!(journal.reader().unwrap().retried().unwrap(), 0);
}
