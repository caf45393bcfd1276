//! Which rows a journal has, and what it says of those that a table lacks.

use std::ops::ControlFlow;
use std::time::Duration;

use bluenova_journal::{
    Event, EventKind, GapBattery, GapCause, GapFinder, Journal, Reader, Retention,
    RowsOutsideTable, SetAsideRow, gaps_in_journal,
};
use time::UtcDateTime;

use crate::{BATTERY, START, nth, open};

const SECONDS: Duration = Duration::from_secs(10);

fn at(n: u16) -> UtcDateTime {
    nth(BATTERY, n).insert_time_utc
}

/// Rows 0 to 299 of two batteries, one after the other, the second one without row 7.
fn filled() -> Journal {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    for n in 0..300 {
        journal.append(&[nth(BATTERY, n)]).unwrap();
        if n != 7 {
            journal.append(&[nth(1, n)]).unwrap();
        }
    }
    journal
}

#[test]
fn the_times_of_all_batteries_come_in_order() {
    let journal = filled();
    let reader = journal.reader().unwrap();
    let mut times = vec![];
    let each = |row: bluenova_journal::RowTime| {
        times.push((row.time, row.mcu_id));
        ControlFlow::Continue(())
    };
    reader.row_times(at(2)..at(298), each).unwrap();
    assert_eq!(times.len(), 2 * 296 - 1);
    assert!(times.is_sorted_by_key(|(time, _)| *time));
    assert_eq!(reader.mcu_ids().unwrap(), [1, BATTERY]);
    assert_eq!(reader.oldest().unwrap(), Some(START));
    assert!(reader.is_in_use().unwrap());
}

#[test]
fn an_empty_journal_has_no_rows() {
    let journal = Journal::in_memory(Retention::FOREVER).unwrap();
    let reader = journal.reader().unwrap();
    assert_eq!((reader.mcu_ids().unwrap(), reader.oldest().unwrap()), (vec![], None));
    let finder = GapFinder::new(SECONDS, START..at(100), &[], &[], true);
    assert_eq!(gaps_in_journal(&reader, finder, |_, _| panic!()).unwrap(), []);
}

#[test]
fn a_journal_that_nobody_has_open_is_not_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let journal = open(&path);
    let reader = Reader::open(&path).unwrap();
    assert!(reader.is_in_use().unwrap());
    drop(journal);
    assert!(!reader.is_in_use().unwrap());
}

#[test]
fn gaps_between_the_rows_have_their_causes() {
    let mut journal = filled();
    let lost = Event::new(at(6), EventKind::NotConnected, "why");
    let back = Event { mcu_id: Some(1), ..Event::new(at(7), EventKind::Identified, "") };
    let events = [lost, back].map(|event| Event { battery: Some("attic".into()), ..event });
    journal.put_events(&events).unwrap();
    let reader = journal.reader().unwrap();
    let events = reader.events().unwrap();
    let finder = GapFinder::new(SECONDS, at(2)..at(299), &events, &[BATTERY], true);
    let mut gaps = vec![];
    let shares =
        gaps_in_journal(&reader, finder, |battery, gap| gaps.push((battery.clone(), gap))).unwrap();
    let [(battery, gap)] = &gaps[..] else { panic!("{gaps:?}") };
    assert_eq!(battery, &GapBattery { mcu_id: Some(1), names: vec!["attic".into()] });
    assert_eq!(battery.to_string(), "attic 00000001");
    assert_eq!((gap.from, gap.to, gap.intervals), (at(6), at(7), 1));
    assert_eq!(gap.cause, GapCause::NotConnected("why".into()));
    assert_eq!(
        Vec::from_iter(shares.iter().map(|it| (it.intervals, it.missing))),
        [(297, 0), (297, 1)]
    );
}

#[test]
fn a_row_that_the_table_lacks_waits_or_was_delivered() {
    let journal = filled();
    let mut outbox = journal.outbox().unwrap();
    let last = outbox.undelivered(20).unwrap().last;
    outbox.delivered(last).unwrap();
    outbox.set_aside(&nth(BATTERY, 3), "22003", "too much", START).unwrap();
    let waits_alone = SetAsideRow {
        record: nth(BATTERY, 4),
        sqlstate: "23514".into(),
        message: "no partition".into(),
        since: START,
        is_retried: true,
    };
    outbox.set_aside_row(&waits_alone).unwrap();
    let reader = journal.reader().unwrap();
    let causes = |rows: &RowsOutsideTable<'_>| {
        let rows = rows.rows(BATTERY, at(2)..at(14)).unwrap();
        Vec::from_iter(rows.into_iter().map(|(time, cause)| {
            let [waits, gone, rejected] = [" ", "-", "!"];
            let sign = match cause {
                GapCause::Waiting => waits,
                GapCause::NotInTable => gone,
                GapCause::SetAside => rejected,
                other => panic!("{other:?}"),
            };
            (time, sign)
        }))
    };
    let signs = |rows: &RowsOutsideTable<'_>| {
        let (times, signs): (Vec<_>, Vec<_>) = causes(rows).into_iter().unzip();
        assert_eq!(times, Vec::from_iter((2..14).map(at)));
        signs.concat()
    };

    // The file does not have it yet that rows are delivered.
    let mut rows = RowsOutsideTable::new(&reader).unwrap();
    assert_eq!(signs(&rows), " !          ");
    assert_eq!(rows.times_to_check(), Some(at(0)..at(299) + Duration::from_micros(1)));
    rows.is_in_table(at(5), 1);
    assert_eq!(signs(&rows), "-! -        ");
    rows.is_in_table(at(4), 1);
    rows.is_in_table(at(5), 2);
    assert_eq!(signs(&rows), "-! -        ");

    outbox.flush().unwrap();
    let rows = RowsOutsideTable::new(&reader).unwrap();
    assert_eq!(signs(&rows), "-! ------   ");
}

#[test]
fn gaps_that_have_not_ended_come_in_the_order_of_their_end() {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    journal.append(&[nth(1, 1), nth(2, 1)]).unwrap();
    let events = [1, 2].map(|id| Event {
        battery: Some(id.to_string()),
        mcu_id: Some(id),
        ..Event::new(at(1), EventKind::Identified, "")
    });
    let lost = [1, 2].map(|id| Event {
        battery: Some(id.to_string()),
        ..Event::new(at(4), EventKind::NotConnected, "why")
    });
    journal.put_events(&[events, lost].concat()).unwrap();
    let reader = journal.reader().unwrap();
    let events = reader.events().unwrap();
    let finder = GapFinder::new(SECONDS, at(0)..at(9), &events, &[], true);
    let mut ends = vec![];
    gaps_in_journal(&reader, finder, |_, gap| ends.push(gap.to)).unwrap();
    assert_eq!(ends, [at(4), at(4), at(9), at(9)]);
}

/// Thousands of batteries have the same gap after an outage: the rows are read once for all.
#[test]
fn the_rows_of_a_time_are_read_once_for_all_batteries() {
    let mut journal = filled();
    let reader = journal.reader().unwrap();
    let rows = RowsOutsideTable::new(&reader).unwrap();
    let times = |id, times| rows.rows(id, times).unwrap().into_iter().map(|(time, _)| time);
    assert!(times(1, at(100)..at(103)).eq([at(100), at(101), at(102)]));
    journal.append(&[nth(3, 102)]).unwrap();
    assert!(times(BATTERY, at(101)..at(104)).eq([at(101), at(102), at(103)]));
    assert_eq!(times(3, at(102)..at(103)).count(), 0, "it was read again");
    assert!(times(3, at(0)..at(299)).eq([at(102)]), "more than was read");
    assert_eq!(times(1, at(7)..at(8)).count(), 0);
}
