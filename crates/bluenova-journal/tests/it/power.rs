//! Power cuts: a process is recorded, and its disk made as it may be after a cut.
//!
//! What was synced must be there, nothing that was never appended, and nothing twice; and it is no
//! damage. `TRIALS=1000 cargo test` makes so many cuts of each process.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::exit;
use std::time::Duration;

use bluenova_journal::{Journal, Retention, Spool};
use bluenova_record::PackRecord;
use bluenova_test_support::{DiskHistory, DiskRecord};
use rusqlite::Connection;

use crate::processes::{command, directory_of_child};
use crate::recover::{NOW, beside, files_with, memory_directory, reopen, row};
use crate::{open, undelivered};

/// Records what the ignored test `name` does in a process of its own.
fn record(name: &str, directory: &Path) -> DiskHistory {
    let record = DiskRecord::new(directory);
    let mut child = command(name, directory);
    record.command(&mut child);
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    record.history()
}

fn cuts() -> usize {
    std::env::var("TRIALS").map_or(20, |n| n.parse().unwrap())
}

/// Makes some cuts of what the process `name` does, and checks what the next process finds.
fn check(name: &str, directory: &Path, may_be_damaged: bool) {
    let history = record(name, directory);
    let cuts = cuts();
    // Spread over all of it, and where names changed, which is where a recovery may fail.
    let spread = (0..cuts).map(|n| (n * history.len() / cuts + n * 31 % 17).min(history.len()));
    let names = history.name_changes();
    let times = if may_be_damaged { 4 } else { 1 };
    let names = names.iter().flat_map(|&at| (0..times).map(move |n| at + n / 3));
    let names = names.map(|at| at.min(history.len()));
    for (seed, at) in spread.chain(names).enumerate() {
        println!("{name}: cut {seed} at event {at} of {}", history.len());
        let synced = history.synced("journal-wal", at);
        let (synced, now) = (rows_then(&history, synced), rows_then(&history, at));
        let disk = memory_directory();
        history.cut(at, seed as u64, disk.path());
        let found = rows_after(disk.path(), may_be_damaged);
        // Those that were trimmed meanwhile may be there or not.
        let required: BTreeSet<_> = synced.intersection(&now).collect();
        let lost: Vec<_> = required.into_iter().filter(|n| !found.contains(n)).collect();
        assert!(lost.is_empty(), "{lost:?} were synced");
        let ever: BTreeSet<_> = synced.union(&now).copied().collect();
        assert!(found.iter().all(|n| Some(n) <= ever.last()), "{found:?} of {ever:?}");
    }
}

/// The rows that the process had stored at an event.
fn rows_then(history: &DiskHistory, event: usize) -> BTreeSet<u16> {
    let disk = memory_directory();
    history.copy(event, disk.path());
    rows_after(disk.path(), true)
}

/// The rows that the next process finds, and the one after it.
fn rows_after(directory: &Path, may_be_damaged: bool) -> BTreeSet<u16> {
    let path = directory.join("journal");
    let (journal, recovery) = reopen(&path);
    assert!(recovery.is_none() || may_be_damaged, "{recovery:?}");
    assert!(files_with(directory, ".damaged").is_empty() || may_be_damaged);
    assert!(files_with(directory, ".left").is_empty());
    drop(journal);
    // So that those are seen, too, that were delivered.
    let connection = Connection::open(&path).unwrap();
    connection.execute("UPDATE progress SET delivered = 0", ()).unwrap();
    drop(connection);
    let (journal, recovery) = reopen(&path);
    assert_eq!(recovery, None);
    let mut numbers = BTreeSet::new();
    for record in undelivered(&journal) {
        let n = number(&record);
        assert_eq!(record, row(n), "nothing is invented");
        assert!(numbers.insert(n), "row {n} is there twice");
    }
    numbers
}

fn number(record: &PackRecord) -> u16 {
    (record.energy_in.unwrap() - 812.5) as u16
}

/// Appends rows as they come, with a sync now and then.
fn append(journal: &mut Journal, numbers: Range<u16>) {
    for n in numbers {
        journal.append(&[row(n)]).unwrap();
        if n % 23 == 0 {
            journal.checkpoint().unwrap();
        }
    }
}

#[test]
fn a_first_start_is_cut() {
    check("power::first_start", memory_directory().path(), false);
}

/// It ends well, and another one goes on until it is killed.
#[test]
#[ignore = "a part of others"]
fn first_start() {
    let Some(directory) = directory_of_child() else { return };
    let path = directory.join("journal");
    append(&mut open(&path), 0..300);
    let mut journal = open(&path);
    append(&mut journal, 300..400);
    exit(0);
}

/// Each move out of the slots is on the disk before one of them is overwritten, without a
/// checkpoint.
#[test]
fn a_move_is_synced_before_its_slots_are_overwritten() {
    let directory = memory_directory();
    let history = record("power::without_checkpoints", directory.path());
    let synced = history.synced("journal-wal", history.len());
    // The first row that finds no free slot is in the move.
    assert_eq!(rows_then(&history, synced), (0..3 * 129).collect());
    assert_eq!(rows_then(&history, history.len()), (0..400).collect());
}

#[test]
#[ignore = "a part of others"]
fn without_checkpoints() {
    let Some(directory) = directory_of_child() else { return };
    let mut journal = open(&directory.join("journal"));
    for n in 0..400 {
        journal.append(&[row(n)]).unwrap();
    }
    exit(0);
}

#[test]
fn a_log_that_begins_anew_is_cut() {
    check("power::long_run", memory_directory().path(), false);
}

/// SQLite brings the log to the file on its way, and begins it anew.
#[test]
#[ignore = "a part of others"]
fn long_run() {
    let Some(directory) = directory_of_child() else { return };
    let mut journal = open(&directory.join("journal"));
    for n in (0..6000).step_by(40) {
        let rows: Vec<_> = (n..n + 40).map(row).collect();
        journal.append(&rows).unwrap();
        if n % 1000 == 0 {
            journal.checkpoint().unwrap();
        }
    }
    append(&mut journal, 6000..6100);
    exit(0);
}

#[test]
fn a_recovery_is_cut() {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    append(&mut open(&path), 0..300);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..512].fill(0);
    fs::write(&path, &bytes).unwrap();
    check("power::recovery", directory.path(), true);
}

#[test]
#[ignore = "a part of others"]
fn recovery() {
    let Some(directory) = directory_of_child() else { return };
    let (mut journal, recovery) = reopen(&directory.join("journal"));
    assert_eq!(recovery.unwrap().rows, 300);
    append(&mut journal, 300..350);
}

/// So many rows that the cursor of the stand-in is written on the way.
const IN_STAND_IN: Range<u16> = 20..2500;

#[test]
fn a_return_from_the_stand_in_is_cut() {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    append(&mut open(&path), 0..IN_STAND_IN.start);
    let mut stand_in = open(&beside(&path, ".stand-in"));
    stand_in.append(&IN_STAND_IN.map(row).collect::<Vec<_>>()).unwrap();
    drop(stand_in);
    let history = record("power::returning", directory.path());
    // Spread over all of it, and where most is not synced yet.
    let spread = (0..cuts() / 2).map(|n| n * history.len() * 2 / cuts());
    let syncs = history.syncs("journal-wal", history.len());
    let before_syncs = syncs.iter().flat_map(|&at| std::iter::repeat_n(at - 1, cuts() / 4));
    for (seed, at) in spread.chain(before_syncs).enumerate() {
        println!("cut {seed} at event {at} of {}", history.len());
        let disk = memory_directory();
        history.cut(at, seed as u64, disk.path());
        return_to_file(disk.path());
        let found = undelivered(&open(&disk.path().join("journal")));
        let mut found: Vec<_> = found.iter().map(number).collect();
        found.sort_unstable();
        assert!(found.iter().copied().eq(0..IN_STAND_IN.end), "{} rows", found.len());
    }
}

#[test]
#[ignore = "a part of others"]
fn returning() {
    let Some(directory) = directory_of_child() else { return };
    return_to_file(&directory);
}

fn return_to_file(directory: &Path) {
    let (mut spool, _outbox) =
        Spool::open(&directory.join("journal"), Retention::default(), NOW).unwrap();
    spool.maintain(NOW).unwrap();
    assert!(!spool.is_in_memory());
}

#[test]
fn a_torn_log_is_cut_again() {
    let killed = crate::torn::killed(50);
    let directory = memory_directory();
    let path = directory.path().join("journal");
    let mut log = killed.log.clone();
    log[killed.moving.clone()][..512].fill(0);
    fs::write(&path, &killed.database).unwrap();
    fs::write(beside(&path, "-wal"), &log).unwrap();
    check("power::torn_start", directory.path(), false);
}

#[test]
#[ignore = "a part of others"]
fn torn_start() {
    let Some(directory) = directory_of_child() else { return };
    let (mut journal, recovery) = reopen(&directory.join("journal"));
    assert_eq!(recovery, None);
    append(&mut journal, 191..250);
}

#[test]
fn a_trim_is_cut() {
    check("power::trimming", memory_directory().path(), false);
}

#[test]
#[ignore = "a part of others"]
fn trimming() {
    let Some(directory) = directory_of_child() else { return };
    let hour = Retention { keep: Some(Duration::from_secs(3600)), bound: None };
    let mut journal = Journal::open(&directory.join("journal"), hour).unwrap();
    let mut outbox = journal.outbox().unwrap();
    for n in 0..1000 {
        let last = journal.append(&[row(n)]).unwrap().last;
        outbox.delivered(last).unwrap();
        if n % 50 == 0 {
            journal.checkpoint().unwrap();
            journal.trim(row(n).insert_time_utc).unwrap();
        }
    }
    assert!(journal.reader().unwrap().count(crate::BATTERY).unwrap() < 500);
}
