//! What a record costs an SD card.
//!
//! Linux counts the bytes that a process makes it write, in whole pages of 4 KiB. The count is of
//! the process, so that each measurement has a process of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bluenova_journal::{Journal, Retention, StoredInsight};
use bluenova_test_support::DiskRecord;

use crate::processes::{command, directory_of_child};
use crate::{BATTERY, patiently, typical};

/// Measures in a child, and checks what it prints.
fn check(measurement: &str, most_per_record: u64) {
    // Not in /tmp, which is often in memory, where nothing is counted.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = command(measurement, directory.path()).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = output.split_once("bytes per record: ").unwrap();
    let bytes: u64 = rest.lines().next().unwrap().parse().unwrap();
    println!("{measurement}: {bytes} bytes per record");
    assert!(bytes <= most_per_record, "{bytes} bytes per record");
}

#[test]
fn a_burst_costs_at_most_2_kib_per_record() {
    check("writes::burst", 2048);
}

#[test]
fn a_checkpoint_each_minute_costs_at_most_2_kib_per_record() {
    check("writes::paced", 2048);
}

/// The end of the log, of which Linux counts whole pages, is written again with each record. With a
/// checkpoint each minute it would be, too, in earnest: Linux writes after half a minute by itself.
#[test]
fn a_checkpoint_after_each_record_costs_at_most_6_kib_per_record() {
    check("writes::synced", 6144);
}

/// One sync each, and a few for what SQLite does at the start, at the end and now and then.
#[test]
fn a_checkpoint_is_one_sync() {
    for (measurement, checkpoints) in [("writes::paced", 166), ("writes::synced", 1000)] {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let record = DiskRecord::new(directory.path());
        let mut child = command(measurement, directory.path());
        record.command(&mut child);
        assert!(child.output().unwrap().status.success());
        let syncs = record.history().count_syncs();
        println!("{measurement}: {syncs} syncs");
        assert!((checkpoints..=checkpoints + 30).contains(&syncs), "{measurement}: {syncs} syncs");
    }
}

#[test]
fn trimming_as_much_as_is_stored_adds_little() {
    check("writes::trimming", 2304);
}

/// The state of a battery, 4 KiB of text, each five minutes: 288 a day, beside 8,640 rows.
#[test]
fn a_state_costs_at_most_8_kib() {
    check("writes::states", 8 << 10);
}

#[test]
#[ignore = "a part of others"]
fn states() {
    let Some(directory) = directory_of_child() else { return };
    let mut journal = patiently(|| Journal::open(&directory.join("journal"), Retention::FOREVER));
    let journal = journal.as_mut().unwrap();
    let before = written();
    for n in 0..1000 {
        let until = typical(n).insert_time_utc;
        let text = format!("{n:4096}");
        let state = StoredInsight { mcu_id: BATTERY, until, text };
        journal.put_statistics(&[state], &[], |stored, _| stored.clone()).unwrap();
        journal.checkpoint().unwrap();
    }
    println!("bytes per record: {}", (written() - before) / 1000);
}

#[test]
#[ignore = "a part of others"]
fn burst() {
    if let Some(directory) = directory_of_child() {
        measure(&directory, 0, 1000, u16::MAX);
    }
}

/// A record each 10 s, a checkpoint each minute.
#[test]
#[ignore = "a part of others"]
fn paced() {
    if let Some(directory) = directory_of_child() {
        measure(&directory, 0, 1000, 6);
    }
}

#[test]
#[ignore = "a part of others"]
fn synced() {
    if let Some(directory) = directory_of_child() {
        measure(&directory, 0, 1000, 1);
    }
}

/// The same after the day that is kept.
#[test]
#[ignore = "a part of others"]
fn trimming() {
    if let Some(directory) = directory_of_child() {
        measure(&directory, 10_000, 3000, 6);
    }
}

/// Each record is appended on its own and delivered at once. The price includes bringing all of
/// them from the log to their places at the end.
fn measure(directory: &Path, old_records: u16, records: u16, records_per_checkpoint: u16) {
    let path = directory.join("journal");
    let day = Retention { keep: Some(Duration::from_secs(86_400)), bound: None };
    let mut journal = patiently(|| Journal::open(&path, day)).unwrap();
    let mut outbox = journal.outbox().unwrap();
    // Many at a time is the quick way to have them, and trimming is as it is later.
    for n in (0..old_records).step_by(100) {
        let hundred: Vec<_> = (n..n + 100).map(typical).collect();
        let last = journal.append(&hundred).unwrap().last;
        outbox.delivered(last).unwrap();
        journal.trim(hundred[99].insert_time_utc).unwrap();
    }
    // What is in the log so far is not to be counted.
    drop((outbox, journal));
    let mut journal = patiently(|| Journal::open(&path, day)).unwrap();
    let mut outbox = journal.outbox().unwrap();

    let before = written();
    let first = old_records;
    for n in first..first + records {
        let record = typical(n);
        journal.append(std::slice::from_ref(&record)).unwrap();
        let batch = outbox.undelivered(100).unwrap();
        assert_eq!(*batch.records, [record]);
        outbox.delivered(batch.last).unwrap();
        if (n - first) % records_per_checkpoint == records_per_checkpoint - 1 {
            journal.checkpoint().unwrap();
            journal.trim(batch.records[0].insert_time_utc).unwrap();
        }
    }
    drop((outbox, journal));
    let bytes = written() - before;
    // A third of what the bare values take.
    assert!(bytes > 100 * u64::from(records), "{bytes} bytes: writes to this disk don't count");
    println!("bytes per record: {}", bytes / u64::from(records));
}

fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}
