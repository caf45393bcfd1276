//! Scenario 20: the power is cut. What the program does to its directory is recorded, and the
//! directory made as it may be after a cut at some moment.

use std::{fs, path::Path};

use bluenova_journal::Spool;
use bluenova_test_support::{DiskHistory, DiskRecord};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use time::UtcDateTime;

use crate::{
    rounds,
    rows::{Rows, sqlite_rows},
    support::{Home, Listener, named, talking_battery},
};

const BATTERIES: u64 = 8;

/// What a killed program's rows are synced by, before a cut.
const LOG: &str = "database-wal";

#[test]
fn s20_a_power_cut_costs_no_row_that_was_synced() {
    let home = Home::new();
    let state = home.path("state");
    fs::create_dir(&state).unwrap();
    let record = DiskRecord::new(&state);
    let servers: Vec<_> = (1..=BATTERIES).map(talking_battery).collect();
    let url = home.sqlite("state/database");
    let mut args = vec!["-i", "1", "--sync", "1", "-d", &url];
    let names: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(n, server)| named(&format!("no{n}"), server.local_addr()))
        .collect();
    args.extend(names.iter().flat_map(|name| ["-b", name]));
    let start = || {
        let mut command = home.command(&args);
        record.command(&mut command);
        Listener::start(command)
    };
    // Enough for the slots to be used twice: a first start that ends well, and one that doesn't.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut listener = start();
        for _ in 0..rounds(200, 1000) {
            listener.wait_for(": stored ");
        }
        listener.end(signal);
    }
    drop(servers);
    let history = record.history();
    // Each second; a sync once a minute would be the one at the start and at the end.
    let syncs = history.syncs(LOG, history.len()).len();
    assert!(syncs > rounds(200, 1000) / BATTERIES as usize / 2, "{syncs} syncs");

    let cuts = rounds(15, 150);
    for seed in 0..cuts {
        let at = (seed * history.len() / cuts + seed * 31 % 17).min(history.len());
        println!("power: cut {seed} at event {at} of {}", history.len());
        check(&history, at, seed as u64);
    }
}

fn check(history: &DiskHistory, at: usize, seed: u64) {
    let synced = in_directory(|disk| history.copy(history.synced(LOG, at), disk));
    let all = in_directory(|disk| history.copy(at, disk));
    let found = in_directory(|disk| history.cut(at, seed, disk));
    let lost: Vec<_> = synced.iter().filter(|(key, row)| found.get(key) != Some(row)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let invented: Vec<_> = found.iter().filter(|(key, row)| all.get(key) != Some(row)).collect();
    assert!(invented.is_empty(), "{invented:?}");
}

/// The rows that are in the database after the next start, for which nothing is damaged.
fn in_directory(make: impl FnOnce(&Path)) -> Rows {
    let directory = TempDir::new().unwrap();
    make(directory.path());
    let path = directory.path().join("database");
    let mut spool = Spool::open_database(&path, UtcDateTime::now()).unwrap();
    let notices = spool.take_notices();
    assert!(notices.is_empty(), "{notices:?}");
    drop(spool);
    let files = fs::read_dir(directory.path()).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["database", "database.lock"]);
    sqlite_rows(&path)
}
