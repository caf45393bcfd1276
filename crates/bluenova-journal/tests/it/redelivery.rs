//! Rows that were delivered are delivered again, where the other database has lost them.

use std::time::Duration as StdDuration;

use bluenova_journal::{Sequence, Spool, SpoolOutbox, Wake};
use time::Duration;

use crate::{
    numbers,
    spool::{House, NOW, deliver, in_file, mend, rows},
};

/// A spool with 10 rows, all of which are delivered.
fn delivered(house: &House) -> (Spool, SpoolOutbox) {
    let (mut spool, mut outbox) = house.open();
    spool.append(&rows(0..10)).unwrap();
    assert_eq!(deliver(&mut outbox, 4).len(), 10);
    (spool, outbox)
}

/// The numbers of the rows that are delivered, after a sequence.
fn delivered_after(outbox: &mut SpoolOutbox, after: Sequence, limit: usize) -> Vec<u16> {
    numbers(&outbox.delivered_after(after, limit).unwrap().records)
}

#[test]
fn the_outbox_goes_back_and_forward_again() {
    let house = House::new();
    let (mut spool, mut outbox) = delivered(&house);
    spool.append(&rows(10..13)).unwrap();
    let checked = outbox.begin_check().unwrap();
    assert_eq!(checked, Sequence::default(), "none was acknowledged in an earlier run");
    let batch = outbox.delivered_after(checked, 4).unwrap();
    assert_eq!(numbers(&batch.records), [0, 1, 2, 3]);
    outbox.checked(batch.last);
    assert_eq!(outbox.begin_check(), Some(batch.last));
    assert_eq!(delivered_after(&mut outbox, batch.last, 4), [4, 5, 6, 7]);
    assert_eq!(delivered_after(&mut outbox, batch.last.back(2), 4), [2, 3, 4, 5]);
    // Those that are not delivered yet are not among them.
    assert_eq!(delivered_after(&mut outbox, batch.last, 100), [4, 5, 6, 7, 8, 9]);
    let last = outbox.delivered_after(batch.last, 100).unwrap().last;
    assert_eq!(outbox.delivered_after(last, 100).unwrap().last, last, "that is all of them");

    outbox.set_back(batch.through(2));
    assert_eq!(outbox.begin_check(), Some(batch.through(2)));
    assert_eq!(outbox.waiting(), in_file(11));
    // New rows come first.
    let mut found = vec![];
    while found.len() < 4 {
        let batch = outbox.undelivered(5).unwrap();
        found.push((batch.is_again, numbers(&batch.records)));
        let step = batch.records.len().min(4);
        outbox.delivered(batch.through(step)).unwrap();
        if found.len() == 2 {
            spool.append(&rows(13..14)).unwrap();
        }
        assert_eq!(outbox.is_set_back(), found.len() < 4);
    }
    let expected = [
        (false, vec![10, 11, 12]),
        (true, vec![2, 3, 4, 5, 6]),
        (false, vec![13]),
        (true, vec![6, 7, 8, 9]),
    ];
    assert_eq!(found, expected);
    assert_eq!(outbox.waiting(), in_file(0));
    assert!(deliver(&mut outbox, 5).is_empty());
}

#[test]
fn new_rows_count_as_delivered_after_the_old_ones_only() {
    let house = House::new();
    let (mut spool, mut outbox) = delivered(&house);
    let start = outbox.begin_check().unwrap();
    outbox.set_back(start);
    spool.append(&rows(10..12)).unwrap();
    let new = outbox.undelivered(5).unwrap();
    assert_eq!(numbers(&new.records), [10, 11]);
    outbox.delivered(new.last).unwrap();
    assert_eq!(numbers(&outbox.undelivered(5).unwrap().records), [0, 1, 2, 3, 4]);
    // Another check: the server may have lost the new ones, too.
    assert_eq!(outbox.begin_check(), Some(start));
    assert_eq!(numbers(&outbox.undelivered(5).unwrap().records), [10, 11]);
    outbox.delivered(new.last).unwrap();
    let again = outbox.undelivered(5).unwrap();
    outbox.delivered(again.last).unwrap();
    drop(outbox);
    drop(spool);
    let (_spool, mut outbox) = house.open();
    assert_eq!(outbox.begin_check(), Some(again.last));
    assert_eq!(deliver(&mut outbox, 100), [5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_check_begins_after_rows_that_are_delivered_again() {
    let house = House::new();
    let (mut spool, mut outbox) = delivered(&house);
    let start = outbox.begin_check().unwrap();
    outbox.set_back(start);
    spool.append(&rows(10..12)).unwrap();
    let new = outbox.undelivered(5).unwrap();
    outbox.delivered(new.last).unwrap();
    let first = outbox.undelivered(5).unwrap();
    outbox.delivered(first.last).unwrap();
    assert_eq!(outbox.begin_check(), Some(start), "it is under way");
    assert_eq!(deliver(&mut outbox, 5).len(), 7);
    let checked = outbox.begin_check().unwrap();
    assert_eq!(delivered_after(&mut outbox, checked, 5), [10, 11]);
}

#[test]
fn a_killed_process_has_to_find_out_again() {
    let house = House::new();
    let (spool, mut outbox) = delivered(&house);
    let start = outbox.begin_check().unwrap();
    outbox.set_back(start);
    let first = outbox.undelivered(3).unwrap();
    outbox.delivered(first.last).unwrap();
    drop(outbox);
    drop(spool);
    let (spool, mut outbox) = house.open();
    assert_eq!(outbox.waiting(), in_file(7), "the cursor was written when the outbox was dropped");
    assert_eq!(outbox.begin_check(), Some(first.last));

    // It isn't moved back in the file.
    outbox.set_back(start);
    assert_eq!(outbox.waiting(), in_file(10));
    drop(outbox);
    drop(spool);
    let (_spool, mut outbox) = house.open();
    assert_eq!(outbox.begin_check(), Some(first.last));
}

#[test]
fn rows_that_are_set_aside_are_left_out() {
    let house = House::new();
    let (mut spool, mut outbox) = house.open();
    spool.append(&rows(0..6)).unwrap();
    let batch = outbox.undelivered(100).unwrap();
    for n in [0, 1, 4, 5] {
        outbox.set_aside(&batch.records[n], "22003", "out of range", NOW).unwrap();
    }
    // A row of another journal with the same time, and other values.
    let mut other = batch.records[2].clone();
    other.soc = Some(1);
    outbox.set_aside(&other, "22003", "out of range", NOW).unwrap();
    assert_eq!(deliver(&mut outbox, 1), [2, 3]);
    assert_eq!(outbox.waiting(), in_file(0));

    let start = outbox.begin_check().unwrap();
    assert_eq!(delivered_after(&mut outbox, start, 3), [2]);
    assert_eq!(delivered_after(&mut outbox, batch.through(4), 3), [0; 0]);
    outbox.set_back(start);
    assert_eq!(deliver(&mut outbox, 100), [2, 3]);
}

#[test]
fn rows_are_not_trimmed_until_they_are_delivered_again() {
    let house = House::new();
    let (mut spool, mut outbox) = delivered(&house);
    let start = outbox.begin_check().unwrap();
    let batch = outbox.delivered_after(start, 4).unwrap();
    outbox.set_back(batch.last);
    let later = NOW + Duration::days(30);
    spool.maintain(later).unwrap();
    // The others went, and going back further than that begins with the oldest row.
    assert_eq!(delivered_after(&mut outbox, start, 100), [0; 0]);
    assert_eq!(deliver(&mut outbox, 100), [4, 5, 6, 7, 8, 9]);
    assert_eq!(delivered_after(&mut outbox, start, 100), [4, 5, 6, 7, 8, 9]);
    spool.maintain(later).unwrap();
    assert_eq!(delivered_after(&mut outbox, start, 100), [0; 0]);
}

#[test]
fn a_check_ends_with_its_file() {
    let house = House::new();
    let (mut spool, mut outbox) = delivered(&house);
    let start = outbox.begin_check().unwrap();
    std::fs::remove_file(&house.path).unwrap();
    mend(&mut spool);
    // Its rows are in the new file, and which are delivered isn't known there.
    assert_eq!(outbox.waiting(), in_file(10));
    let batch = outbox.delivered_after(start, 100).unwrap();
    assert!(batch.records.is_empty() && batch.last == start, "{batch:?}");
    outbox.checked(start);
    outbox.set_back(start);
    assert!(outbox.begin_check().is_some());
}

#[test]
fn the_outbox_is_woken_from_elsewhere() {
    let house = House::new();
    let (spool, mut outbox) = house.open();
    let waker = spool.outbox_waker().unwrap();
    waker.wake();
    waker.wake();
    assert_eq!(outbox.wait(None), Wake::Rows);
    assert_eq!(outbox.wait(Some(StdDuration::ZERO)), Wake::TimeOut);
    // It doesn't keep the outbox from seeing the end.
    drop(spool);
    assert_eq!(outbox.wait(None), Wake::Ended);
    waker.wake();
}
