//! Logs that a power cut has torn: pages are missing in the middle, and whole transactions are
//! behind them.
//!
//! SQLite ends at the tear. What is kept must be more than that, and nothing that never was.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use bluenova_journal::Journal;
use bluenova_record::PackRecord;
use rusqlite::Connection;

use crate::recover::{beside, files_with, memory_directory, reopen, row, trials, write};
use crate::{open, undelivered};

const PAGE: usize = 512;
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;
/// What a disk writes or loses as a whole.
const BLOCK: usize = 4096;
/// Number of slots.
const SLOTS: u16 = 128;

/// A journal as a killed process leaves it, none of whose rows are delivered.
struct Killed {
    database: Vec<u8>,
    log: Vec<u8>,
    rows: u16,
    /// Where in the log a move out of the slots is, and an insert.
    moving: Range<usize>,
    insert: Range<usize>,
}

/// Rows 0..100 are in the database, those after them in the log, where all slots were moved and
/// some of them overwritten.
fn killed(rows_behind: u16) -> Killed {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    append(&mut open(&path), 0..100);
    let mut journal = open(&path);
    let log = || fs::metadata(beside(&path, "-wal")).unwrap().len() as usize;
    append(&mut journal, 100..SLOTS);
    let start = log();
    append(&mut journal, SLOTS..SLOTS + 1);
    let moving = start..log();
    append(&mut journal, SLOTS + 1..SLOTS + 10);
    let start = log();
    // One that continues on further pages.
    append(&mut journal, SLOTS + 10..SLOTS + 13);
    let insert = start..log();
    let rows = SLOTS + 13 + rows_behind;
    append(&mut journal, SLOTS + 13..rows);
    let read = |path: &Path| fs::read(path).unwrap();
    let (database, log) = (read(&path), read(&beside(&path, "-wal")));
    assert!(moving.len() > 64 * FRAME && insert.len() > 3 * FRAME);
    Killed { database, log, rows, moving, insert }
}

fn append(journal: &mut Journal, numbers: Range<u16>) {
    for n in numbers {
        journal.append(&[row(n)]).unwrap();
    }
}

/// The numbers of rows, each of which is as it was appended, and is there once.
fn numbers(records: &[PackRecord]) -> BTreeSet<u16> {
    let mut numbers = BTreeSet::new();
    for record in records {
        let n = (record.energy_in.unwrap() - 812.5) as u16;
        assert_eq!(*record, row(n), "nothing is invented");
        assert!(numbers.insert(n), "row {n} is there twice");
    }
    numbers
}

/// The rows that SQLite alone finds. None are delivered, and the first has the sequence 1.
fn numbers_for_sqlite(path: &Path) -> BTreeSet<u16> {
    let connection = Connection::open(path).unwrap();
    let mut select = connection.prepare("SELECT sequence - 1 FROM battery_pack").unwrap();
    select.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Loses parts of the log; returns how many rows that costs, and how many SQLite alone would lose.
fn tear(killed: &Killed, lost: &[Range<usize>]) -> (usize, usize) {
    let mut log = killed.log.clone();
    for range in lost {
        log[range.clone()].fill(0);
    }
    let directory = memory_directory();
    let path = directory.path().join("journal");
    write(&path, &killed.database, Some(&log));
    let alone = numbers_for_sqlite(&path);
    write(&path, &killed.database, Some(&log));
    let (journal, recovery) = reopen(&path);
    let kept = numbers(&undelivered(&journal));
    let gone: Vec<_> = alone.difference(&kept).collect();
    assert!(gone.is_empty(), "{lost:?}: SQLite alone has {gone:?}");
    assert!(kept.iter().all(|&n| n < killed.rows));
    assert_eq!(recovery.is_some(), !files_with(directory.path(), ".damaged").is_empty());
    let all = usize::from(killed.rows);
    (all - kept.len(), all - alone.len())
}

fn frames(range: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let start = if range.start == 0 { LOG_HEADER } else { range.start };
    (start..range.end).step_by(FRAME).map(|start| start..start + FRAME)
}

/// The first row after the move is in it, too; whatever else was moved is in the slots before it.
#[test]
fn a_move_without_one_of_its_pages() {
    let killed = killed(100);
    for frame in frames(&killed.moving) {
        let (lost, lost_by_sqlite) = tear(&killed, std::slice::from_ref(&frame));
        assert!(lost <= 1, "{frame:?}: {lost}");
        assert_eq!(lost_by_sqlite, usize::from(killed.rows - SLOTS));
    }
}

/// What power cuts were seen to do: 36 transactions are behind it, each of which overwrites a slot
/// whose row is in the move.
#[test]
fn a_move_without_one_of_its_blocks() {
    let killed = killed(36 - 12);
    let first = killed.moving.start / BLOCK * BLOCK;
    for start in (first..killed.moving.end).step_by(BLOCK) {
        let (lost, _) = tear(&killed, std::slice::from_ref(&(start..start + BLOCK)));
        // A block may begin in the transactions before, or end in those behind.
        assert!(lost <= 6, "{start}: {lost}");
    }
}

#[test]
fn an_insert_without_one_of_its_pages() {
    let killed = killed(100);
    for frame in frames(&killed.insert) {
        let (lost, lost_by_sqlite) = tear(&killed, std::slice::from_ref(&frame));
        // The page is checked by way of the one before it.
        assert!(lost <= 2, "{frame:?}: {lost}");
        assert!(lost_by_sqlite >= 100, "{lost_by_sqlite}");
    }
}

#[test]
fn logs_without_any_three_blocks() {
    let killed = killed(200);
    let blocks = killed.log.len() / BLOCK;
    for n in 0..trials() {
        let blocks = [n, n * 7 + 1, n * 31 + 2].map(|block| block % blocks * BLOCK);
        let lost = blocks.map(|start| start..start + BLOCK);
        let (lost_rows, _) = tear(&killed, &lost);
        assert!(lost_rows <= 20, "{blocks:?}: {lost_rows}");
    }
}
