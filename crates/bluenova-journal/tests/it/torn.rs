//! Logs that a power cut has torn: pages are missing in the middle, and whole transactions are
//! behind them.
//!
//! SQLite ends at the tear. What is kept must be that and more, and nothing that never was; and it
//! is no damage.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use bluenova_journal::{Journal, Retention, SetAside};
use bluenova_record::{PackRecord, Timestamp};
use rusqlite::Connection;

use crate::recover::{NOW, beside, files_with, memory_directory, reopen, row, trials, write};
use crate::{open, undelivered};

const PAGE: usize = 512;
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;
/// What a disk writes or loses as a whole.
const BLOCK: usize = 4096;
/// Number of slots.
const SLOTS: u16 = 128;

/// A journal as a killed process leaves it, none of whose rows are delivered.
pub(crate) struct Killed {
    pub(crate) database: Vec<u8>,
    pub(crate) log: Vec<u8>,
    pub(crate) rows: u16,
    /// Where in the log a move out of the slots is, and an insert.
    pub(crate) moving: Range<usize>,
    insert: Range<usize>,
}

/// Rows 0..100 are in the database, those after them in the log, where all slots were moved and
/// some of them overwritten.
pub(crate) fn killed(rows_behind: u16) -> Killed {
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

/// What the disk has where something was not written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Zeros,
    /// The first half was written.
    Half,
    /// What was there before, when the log was used the last time.
    Old,
}

/// Loses parts of the log; returns how many rows that costs, and how many SQLite alone would lose.
fn tear(killed: &Killed, lost: &[Range<usize>]) -> (usize, usize) {
    tear_to(killed, lost, Lost::Zeros)
}

fn tear_to(killed: &Killed, lost: &[Range<usize>], what: Lost) -> (usize, usize) {
    let mut log = killed.log.clone();
    for range in lost {
        match what {
            Lost::Zeros => log[range.clone()].fill(0),
            Lost::Half => log[range.start + range.len() / 2..range.end].fill(0),
            // Whole frames of other pages, with another salt.
            Lost::Old => {
                log[range.clone()].copy_from_slice(&killed.log[LOG_HEADER..][..range.len()]);
                log[range.start + 8] ^= 1;
            }
        }
    }
    losses(killed, &log)
}

/// How many rows are lost with such a log, and how many SQLite alone would lose.
fn losses(killed: &Killed, log: &[u8]) -> (usize, usize) {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    write(&path, &killed.database, Some(log));
    let alone = numbers_for_sqlite(&path);
    write(&path, &killed.database, Some(log));
    let kept = kept(&path, killed.rows);
    let gone: Vec<_> = alone.difference(&kept).collect();
    assert!(gone.is_empty(), "SQLite alone has {gone:?}");
    let all = usize::from(killed.rows);
    (all - kept.len(), all - alone.len())
}

/// The rows that are found, now and at the next start, without a word about damage.
fn kept(path: &Path, rows: u16) -> BTreeSet<u16> {
    let mut kept = None;
    for _ in 0..2 {
        let (journal, recovery) = reopen(path);
        assert_eq!(recovery, None);
        let found = numbers(&undelivered(&journal));
        assert!(found.iter().all(|&n| n < rows));
        assert_eq!(*kept.get_or_insert_with(|| found.clone()), found);
        assert!(files_with(path.parent().unwrap(), ".left").is_empty());
    }
    assert!(files_with(path.parent().unwrap(), ".damaged").is_empty());
    kept.unwrap()
}

fn frames(range: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let start = if range.start == 0 { LOG_HEADER } else { range.start };
    (start..range.end).step_by(FRAME).map(|start| start..start + FRAME)
}

/// The first row after the move is in it, too; whatever else was moved is in the slots before it.
#[test]
fn a_move_without_one_of_its_pages() {
    let killed = killed(100);
    for (n, frame) in frames(&killed.moving).enumerate() {
        let what = [Lost::Zeros, Lost::Half, Lost::Old][n % 3];
        let (lost, lost_by_sqlite) = tear_to(&killed, std::slice::from_ref(&frame), what);
        assert!(lost <= 1, "{frame:?}, {what:?}: {lost}");
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
        for what in [Lost::Zeros, Lost::Half, Lost::Old] {
            let (lost, lost_by_sqlite) = tear_to(&killed, std::slice::from_ref(&frame), what);
            // The page is checked by way of the one before it.
            assert!(lost <= 2, "{frame:?}, {what:?}: {lost}");
            assert!(lost_by_sqlite >= 100, "{lost_by_sqlite}");
        }
    }
}

/// In the middle of each frame of a move and of an insert, and between the frames.
#[test]
fn a_log_that_was_cut() {
    let killed = killed(100);
    for frame in frames(&killed.moving).step_by(4).chain(frames(&killed.insert)) {
        for length in [frame.start, frame.start + 1, frame.start + FRAME / 2, frame.end - 1] {
            let (lost, lost_by_sqlite) = losses(&killed, &killed.log[..length]);
            assert_eq!(lost, lost_by_sqlite, "{length}");
        }
    }
}

/// A process that is killed while it deals with such a log, at each step.
#[test]
fn a_start_that_is_interrupted_is_begun_again() {
    let killed = killed(100);
    let mut log = killed.log.clone();
    log[killed.moving.start..killed.moving.start + FRAME].fill(0);
    let all = kept_after(&killed, &log, |_| {});
    assert!(all.len() + 1 >= usize::from(killed.rows), "{}", all.len());
    type Interruption<'a> = (&'static str, &'a dyn Fn(&Path));
    let interruptions: [Interruption<'_>; 4] = [
        ("the log is half copied", &|path| {
            fs::write(beside(path, ".left-wal"), &log[..log.len() / 2]).unwrap();
        }),
        ("the log is copied", &|path| fs::write(beside(path, ".left-1-wal"), &log).unwrap()),
        ("SQLite has written behind the end", &|path| {
            fs::write(beside(path, ".left-1-wal"), &log).unwrap();
            let connection = Connection::open(path).unwrap();
            connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
            connection.execute("UPDATE progress SET settled = settled", ()).unwrap();
            // As a killed process leaves it: closing it would remove the log.
            std::mem::forget(connection);
        }),
        ("the rows are there, and the copy is", &|path| {
            fs::write(beside(path, ".left-1-wal"), &log).unwrap();
            drop(reopen(path));
            fs::write(beside(path, ".left-1-wal"), &log).unwrap();
        }),
    ];
    for (what, interrupt) in interruptions {
        println!("{what}");
        assert_eq!(kept_after(&killed, &log, interrupt), all, "{what}");
    }
}

fn kept_after(killed: &Killed, log: &[u8], interrupt: impl Fn(&Path)) -> BTreeSet<u16> {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    write(&path, &killed.database, Some(log));
    interrupt(&path);
    kept(&path, killed.rows)
}

/// The copy of a log that was made already is not made again: a program that is killed again and
/// again shall not fill the disk.
#[test]
fn a_torn_log_is_copied_once() {
    let killed = killed(10);
    let mut log = killed.log.clone();
    log[killed.moving.start..killed.moving.start + FRAME].fill(0);
    let directory = memory_directory();
    let path = directory.path().join("journal");
    write(&path, &killed.database, Some(&log));
    // SQLite finds a lock there that is no lock, and the copy is made before.
    fs::create_dir(beside(&path, "-shm")).unwrap();
    for _ in 0..3 {
        Journal::open(&path, Retention::FOREVER).unwrap_err();
        assert_eq!(files_with(directory.path(), ".left"), [beside(&path, ".left-1-wal")]);
        assert_eq!(fs::read(beside(&path, ".left-1-wal")).unwrap(), log);
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

/// A program that writes to the journal without being its one writer.
#[test]
fn rows_behind_a_tear_survive_a_look_at_those_set_aside() {
    let killed = killed(100);
    let mut log = killed.log.clone();
    log[killed.moving.start..killed.moving.start + FRAME].fill(0);
    let found = kept_after(&killed, &log, |path| {
        assert!(SetAside::open(path).unwrap().rows().unwrap().is_empty());
    });
    assert!(found.len() + 1 >= usize::from(killed.rows), "{}", found.len());
}

/// Pages of the file itself are damaged besides: what SQLite reads of it, row by row, is there.
#[test]
fn a_torn_log_and_a_damaged_file() {
    let killed = killed(40);
    let mut log = killed.log.clone();
    log[killed.moving.start..killed.moving.start + FRAME].fill(0);
    let pages = killed.database.len() / PAGE;
    for n in 0..trials() {
        let mut database = killed.database.clone();
        let page = n * pages / trials();
        match n % 2 {
            0 => database[page * PAGE..][..PAGE].fill(0),
            _ => database[page * PAGE + n * 37 % PAGE] ^= 0x55,
        }
        let directory = memory_directory();
        let path = directory.path().join("journal");
        write(&path, &database, Some(&log));
        let alone = whole_rows_for_sqlite(&path);
        write(&path, &database, Some(&log));
        let kept = whole_rows(&path);
        let gone: Vec<_> = alone.difference(&kept).collect();
        assert!(gone.is_empty(), "page {page}: SQLite alone has {gone:?}");
    }
}

/// What tells a row, and what is on further pages of it.
type Excerpt = (String, Option<f32>, Option<String>, Option<String>);

fn excerpt(row: &PackRecord) -> Excerpt {
    (
        Timestamp(row.insert_time_utc).to_string(),
        row.energy_in,
        row.errors.as_ref().map(ToString::to_string),
        row.system_state.as_ref().map(ToString::to_string),
    )
}

/// The numbers of rows that SQLite alone reads as they were appended.
fn whole_rows_for_sqlite(path: &Path) -> BTreeSet<u16> {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT insert_time_utc, energy_in, errors, system_state FROM battery_pack
               WHERE sequence = ?";
    let read = |n: u16| -> rusqlite::Result<Excerpt> {
        connection
            .query_row(sql, [n + 1], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
    };
    (0..SLOTS + 53).filter(|&n| read(n).is_ok_and(|found| found == excerpt(&row(n)))).collect()
}

/// The numbers of the rows that are found as they were appended, by a program that recovers when
/// damage shows.
fn whole_rows(path: &Path) -> BTreeSet<u16> {
    let read = |journal: &Journal| journal.outbox()?.undelivered(usize::MAX);
    let (mut journal, _) = reopen(path);
    let batch = read(&journal).or_else(|error| {
        assert!(error.is_damage(), "{error:?}");
        // It must be closed first.
        journal = Journal::in_memory(Retention::FOREVER)?;
        journal = Journal::recover(path, Retention::default(), NOW)?.0;
        read(&journal)
    });
    let found: BTreeSet<_> =
        batch.unwrap().records.iter().map(|row| format!("{:?}", excerpt(row))).collect();
    (0..SLOTS + 53).filter(|&n| found.contains(&format!("{:?}", excerpt(&row(n))))).collect()
}
