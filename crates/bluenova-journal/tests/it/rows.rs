//! All rows in their order, beside the one who writes them.

use bluenova_journal::{Error, JournalRows, Sequence};
use time::Duration;

use crate::{BATTERY, START, nth, numbers, open};

#[test]
fn rows_are_read_in_their_order_while_others_are_appended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    assert_eq!(JournalRows::open(&path).unwrap().count_after(Sequence::default()).unwrap(), 0);
    for n in 0..300 {
        journal.append(&[nth(BATTERY, n)]).unwrap();
    }
    let mut outbox = journal.outbox().unwrap();
    let batch = outbox.undelivered(200).unwrap();
    outbox.delivered(batch.last).unwrap();
    outbox.set_aside(&nth(BATTERY, 205), "22003", "out of range", START).unwrap();

    let rows = JournalRows::open(&path).unwrap();
    journal.append(&[nth(BATTERY, 300)]).unwrap();
    let start = Sequence::default();
    assert_eq!(rows.count_after(start).unwrap(), 300);
    let mut read = vec![];
    let mut after = start;
    loop {
        let batch = rows.after(after, 70).unwrap();
        if batch.last == after {
            break;
        }
        after = batch.last;
        read.extend(numbers(&batch.records));
    }
    let expected: Vec<u16> = (0..300).filter(|n| *n != 205).collect();
    assert_eq!(read, expected);
    assert_eq!(rows.count_after(after).unwrap(), 0);
    drop(rows);
    assert_eq!(outbox.waiting().unwrap(), 101, "the cursor is where it was");
}

#[test]
fn rows_from_some_time_on_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    for n in 0..150 {
        journal.append(&[nth(BATTERY, n)]).unwrap();
    }
    let rows = JournalRows::open(&path).unwrap();
    let check = |seconds: i64, expected: u64| {
        let before = rows.before(START + Duration::seconds(seconds)).unwrap();
        assert_eq!(rows.count_after(before).unwrap(), expected, "{seconds}");
    };
    check(-1, 150);
    check(0, 150);
    check(1, 149);
    check(100, 140);
    check(1490, 1);
    check(1491, 0);
}

#[test]
fn what_is_no_journal_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    assert!(matches!(JournalRows::open(&path), Err(Error::Io { .. })));
    std::fs::write(&path, "no journal").unwrap();
    JournalRows::open(&path).unwrap_err();
}
