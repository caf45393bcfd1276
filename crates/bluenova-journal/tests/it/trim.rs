//! Trimming: by age and by size.

use std::fs;

use bluenova_journal::{Journal, Retention, Trimmed};
use time::{Duration, UtcDateTime};

use crate::{BATTERY, START, nth, numbers, patiently, typical, undelivered};

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// An hour after the n-th record's time, and a moment.
fn an_hour_after(n: u16) -> UtcDateTime {
    nth(BATTERY, n).insert_time_utc + Duration::HOUR + Duration::MICROSECOND
}

fn filled(retention: Retention, rows: u16, delivered: usize) -> Journal {
    let mut journal = Journal::in_memory(retention).unwrap();
    for n in 0..rows {
        journal.append(&[nth(BATTERY, n)]).unwrap();
    }
    let mut outbox = journal.outbox().unwrap();
    let last = outbox.undelivered(delivered).unwrap().last;
    outbox.delivered(last).unwrap();
    journal
}

fn trimmed(delivered: u64, undelivered: u64) -> Trimmed {
    Trimmed { delivered, undelivered }
}

#[test]
fn delivered_rows_go_when_they_are_old() {
    let retention = Retention { keep: Some(HOUR), bound: None };
    for rows in [40, 300] {
        let mut journal = filled(retention, rows, 30);
        let reader = journal.reader().unwrap();
        assert_eq!(journal.trim(START + Duration::HOUR).unwrap(), trimmed(0, 0));
        // The oldest is 110 s too old; up to 112.5 s, 1/32 of an hour, that is let pass.
        assert_eq!(journal.trim(an_hour_after(11)).unwrap(), trimmed(0, 0));
        assert_eq!(journal.trim(an_hour_after(12)).unwrap(), trimmed(13, 0));
        assert_eq!(journal.trim(an_hour_after(12)).unwrap(), trimmed(0, 0));
        assert_eq!(journal.trim(an_hour_after(300)).unwrap(), trimmed(17, 0));
        assert_eq!(reader.count(BATTERY).unwrap(), u64::from(rows) - 30);
        assert_eq!(numbers(&undelivered(&journal)), Vec::from_iter(30..rows));
        assert_eq!(journal.outbox().unwrap().waiting().unwrap(), u64::from(rows) - 30);
    }
}

#[test]
fn without_an_age_or_a_bound_nothing_goes() {
    let mut journal = filled(Retention::FOREVER, 300, 300);
    assert_eq!(journal.trim(UtcDateTime::MAX).unwrap(), trimmed(0, 0));
    let mut journal = filled(Retention { keep: Some(HOUR), bound: None }, 300, 300);
    assert_eq!(journal.trim(UtcDateTime::MIN).unwrap(), trimmed(0, 0));
}

#[test]
fn a_call_does_a_bounded_amount_of_work() {
    let mut journal = Journal::in_memory(Retention { keep: Some(HOUR), bound: None }).unwrap();
    let rows: Vec<_> = (0..5000).map(|n| nth(BATTERY, n)).collect();
    let last = journal.append(&rows).unwrap().last;
    journal.outbox().unwrap().delivered(last).unwrap();
    assert_eq!(journal.trim(an_hour_after(5000)).unwrap(), trimmed(4096, 0));
    assert_eq!(journal.trim(an_hour_after(5000)).unwrap(), trimmed(904, 0));
}

#[test]
fn past_the_bound_the_oldest_go_delivered_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let bound = 512 << 10;
    let mut journal =
        patiently(|| Journal::open(&path, Retention { keep: None, bound: Some(bound) })).unwrap();
    let mut outbox = journal.outbox().unwrap();
    let mut total = trimmed(0, 0);
    for n in 0..5000 {
        journal.append(&[typical(n)]).unwrap();
        if n == 300 {
            let last = outbox.undelivered(200).unwrap().last;
            outbox.delivered(last).unwrap();
        }
        if n % 6 == 0 {
            let now = journal.trim(START).unwrap();
            total.delivered += now.delivered;
            total.undelivered += now.undelivered;
        }
    }
    assert_eq!(total.delivered, 200);
    let left = undelivered(&journal);
    assert_eq!(total.delivered + total.undelivered + left.len() as u64, 5000);
    assert!(left.len() > 1000, "{} records in 512 KiB", left.len());
    assert_eq!(left.last().unwrap(), &typical(4999), "the oldest go, not the newest");
    assert!(left.windows(2).all(|w| w[0].insert_time_utc < w[1].insert_time_utc));
    assert_eq!(outbox.waiting().unwrap(), left.len() as u64);
    assert_eq!(journal.reader().unwrap().count(BATTERY).unwrap(), left.len() as u64);

    drop((outbox, journal));
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < bound + (64 << 10), "{size}");
}

#[test]
fn a_sequence_is_never_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let retention = Retention { keep: Some(HOUR), bound: None };
    let mut expected = 0;
    for (run, rows) in [(0_u16, 10), (1, 200), (2, 1)] {
        let mut journal = patiently(|| Journal::open(&path, retention)).unwrap();
        for n in 0..rows {
            let last = journal.append(&[nth(BATTERY, 1000 * run + n)]).unwrap().last;
            expected += 1;
            assert_eq!(last.to_string(), expected.to_string());
            journal.outbox().unwrap().delivered(last).unwrap();
        }
        let now = an_hour_after(1000 * run + rows + 30);
        assert_eq!(journal.trim(now).unwrap(), trimmed(rows.into(), 0));
        assert_eq!(journal.reader().unwrap().count(BATTERY).unwrap(), 0);
        assert!(journal.reader().unwrap().latest().unwrap().is_empty());
    }
}
