//! Looking at the rows beside the writer.

use bluenova_journal::{Journal, Retention};
use time::Duration;

use crate::{BATTERY, START, nth, patiently};

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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
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
