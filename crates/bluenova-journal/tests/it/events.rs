//! Events: stored once, bounded, and wherever the rows go.

use std::fs;

use bluenova_journal::{Event, EventKind, Journal, MAX_EVENTS, Reader, Retention};
use time::{Duration, UtcDateTime};

use crate::spool::{House, NOW};
use crate::{BATTERY, START, open, typical};

fn at(seconds: u32) -> UtcDateTime {
    START + Duration::SECOND * f64::from(seconds)
}

fn lost(seconds: u32) -> Event {
    let event = Event::new(at(seconds), EventKind::NotConnected, "no route to host");
    Event { battery: Some("attic".to_owned()), mcu_id: Some(BATTERY), ..event }
}

fn started(until: Option<UtcDateTime>) -> Event {
    Event { until, ..Event::new(START, EventKind::Started, "version 1") }
}

fn events(journal: &Journal) -> Vec<Event> {
    let mut reader = journal.reader().unwrap();
    reader.time_limit = std::time::Duration::MAX;
    reader.events().unwrap()
}

#[test]
fn events_stay_with_the_file_in_the_order_of_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    assert!(events(&journal).is_empty() && journal.is_synced());
    journal.put_events(&[lost(20), lost(10)]).unwrap();
    assert!(!journal.is_synced());
    journal.put_events(&[started(None)]).unwrap();
    drop(journal);
    assert_eq!(Reader::open(&path).unwrap().events().unwrap(), [started(None), lost(10), lost(20)]);
}

#[test]
fn an_event_is_stored_once_and_lasts_as_long_as_the_longest() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    for (until, expected) in [
        (None, None),
        (Some(9), Some(9)),
        (Some(5), Some(9)),
        (None, Some(9)),
        (Some(10), Some(10)),
    ] {
        journal.put_events(&[started(until.map(at))]).unwrap();
        assert_eq!(events(&journal), [started(expected.map(at))]);
    }
}

#[test]
fn the_newest_events_are_kept() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    let all: Vec<_> = (0..MAX_EVENTS + 3).map(lost).collect();
    journal.put_events(&all).unwrap();
    assert!(events(&journal) == all[3..]);
    let long = Event::new(at(0), EventKind::Stopped, "ü".repeat(1000));
    journal.put_events(&[long]).unwrap();
    assert_eq!(events(&journal)[0].detail, "ü".repeat(500));
}

#[test]
fn the_starts_of_a_day_are_kept_with_thousands_of_batteries() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    for start in 0..4 {
        let battery = |n: u32, kind| Event {
            battery: Some(format!("b{n}")),
            mcu_id: Some(n),
            ..Event::new(at(start), kind, "")
        };
        let of_batteries = (0..5000)
            .flat_map(|n| [battery(n, EventKind::Connected), battery(n, EventKind::Identified)]);
        let started = Event::new(at(start), EventKind::Started, "");
        let all: Vec<_> = std::iter::once(started).chain(of_batteries).collect();
        journal.put_events(&all).unwrap();
    }
    let starts = events(&journal).iter().filter(|it| it.kind == EventKind::Started).count();
    assert_eq!(starts, 4);
}

#[test]
fn rows_that_are_evicted_leave_the_time_that_they_were_of() {
    let mut journal = Journal::in_memory(Retention { keep: None, bound: Some(512 << 10) }).unwrap();
    let mut evicted = 0;
    for n in 0..3000 {
        journal.append(&[typical(n)]).unwrap();
        evicted += journal.trim(START).unwrap().undelivered;
    }
    assert!(evicted > 128);
    let last = at(u32::try_from(10 * (evicted - 1)).unwrap());
    let event = Event::new(START, EventKind::Evicted, "from memory");
    assert_eq!(events(&journal), [Event { until: Some(last), ..event }]);
}

/// A bound is one for rows.
#[test]
fn no_row_has_to_go_for_events() {
    let retention = Retention { keep: None, bound: Some(512 << 10) };
    let mut journal = Journal::in_memory(retention).unwrap();
    let rows: Vec<_> = (0..500).map(typical).collect();
    journal.append(&rows).unwrap();
    let long = (0..MAX_EVENTS).map(|n| Event { detail: "ü".repeat(100), ..lost(n) });
    journal.put_events(&long.collect::<Vec<_>>()).unwrap();
    assert_eq!(journal.trim(START).unwrap().undelivered, 0);
}

/// Delivered rows were not lost.
#[test]
fn rows_that_are_trimmed_leave_nothing() {
    let retention = Retention { keep: Some(std::time::Duration::ZERO), bound: None };
    let mut journal = Journal::in_memory(retention).unwrap();
    let last = journal.append(&[typical(0)]).unwrap().last;
    journal.outbox().unwrap().delivered(last).unwrap();
    assert_eq!(journal.trim(NOW).unwrap().delivered, 1);
    assert!(events(&journal).is_empty());
}

#[test]
fn events_follow_the_rows_to_the_stand_in_and_back() {
    let house = House::new();
    fs::write(house.path.parent().unwrap(), "").unwrap();
    let (mut spool, _outbox) = house.open();
    assert!(spool.is_in_memory());
    spool.put_events(&[started(Some(at(5))), lost(3)]).unwrap();
    fs::remove_file(house.path.parent().unwrap()).unwrap();
    spool.maintain(NOW).unwrap();
    assert!(!spool.is_in_memory());
    let reader = Reader::open(&house.path).unwrap();
    assert_eq!(reader.events().unwrap(), [started(Some(at(5))), lost(3)]);

    // The new file has those of the one that was deleted.
    fs::remove_file(&house.path).unwrap();
    spool.maintain(NOW).unwrap();
    spool.put_events(&[lost(4)]).unwrap();
    let reader = Reader::open(&house.path).unwrap();
    assert_eq!(reader.events().unwrap(), [started(Some(at(5))), lost(3), lost(4)]);
}

#[test]
fn a_recovery_saves_events() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.append(&[typical(0)]).unwrap();
    journal.put_events(&[started(None), lost(3)]).unwrap();
    drop(journal);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..512].fill(0xAA);
    fs::write(&path, bytes).unwrap();
    let (journal, recovery) = crate::recover::reopen(&path);
    assert_eq!(recovery.unwrap().rows, 1);
    assert_eq!(events(&journal), [started(None), lost(3)]);
}
