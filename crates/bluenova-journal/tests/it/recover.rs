//! Damaged files: the program always starts, and loses what was damaged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bluenova_journal::{Error, Journal, Outbox, Recovery, Retention};
use bluenova_record::{PackRecord, Text};
use tempfile::TempDir;
use time::macros::utc_datetime;
use time::{Duration, UtcDateTime};

use crate::{BATTERY, nth, open, patiently, typical, undelivered};

pub(crate) const NOW: UtcDateTime = utc_datetime!(2026-03-04 05:06:07);
const ROWS: u16 = 400;
const DELIVERED: u16 = 150;

/// Every fifth row is too long for a page.
pub(crate) fn row(n: u16) -> PackRecord {
    let mut row = typical(n);
    if n.is_multiple_of(5) {
        // Another text in each row: what continues on a page of another row must show.
        let animal = char::from_u32(0x1F400 + u32::from(n % 256)).unwrap();
        row.errors = Some(Text::new(&format!("überladen{animal}").repeat(4)));
        row.system_state = Some(Text::new(&animal.to_string().repeat(32)));
    }
    row
}

/// In memory where that can be had: hundreds of recoveries are to be quick, and all of them sync.
pub(crate) fn memory_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn reopen(path: &Path) -> (Journal, Option<Recovery>) {
    patiently(|| Journal::open_or_recover(path, Retention::default(), NOW)).unwrap()
}

fn recover(path: &Path) -> (Journal, Recovery) {
    patiently(|| Journal::recover(path, Retention::default(), NOW)).unwrap()
}

fn deliver_all(outbox: &mut Outbox, delivered: &mut Vec<PackRecord>) -> Result<(), Error> {
    loop {
        let batch = outbox.undelivered(64)?;
        if batch.records.is_empty() {
            return Ok(());
        }
        outbox.delivered(batch.last)?;
        delivered.extend(batch.records.iter().cloned());
        assert!(delivered.len() < 2000, "the same again and again");
    }
}

/// A journal that has everything: history, recent rows, delivered ones, some set aside. Its bytes
/// after it was closed, and those of file and log as a killed process leaves them.
struct Original {
    closed: Vec<u8>,
    killed: (Vec<u8>, Vec<u8>),
}

fn original() -> Original {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    // The first half of it in the file, the second one in the log.
    let mut journal = open(&path);
    for n in 0..ROWS / 2 {
        journal.append(&[row(n)]).unwrap();
    }
    drop(journal);
    let mut journal = open(&path);
    let mut outbox = journal.outbox().unwrap();
    for n in ROWS / 2..ROWS {
        journal.append(&[row(n)]).unwrap();
    }
    let last = outbox.undelivered(DELIVERED.into()).unwrap().last;
    outbox.delivered(last).unwrap();
    outbox.flush().unwrap();
    outbox.set_aside(&row(3), "22003", "too much", NOW).unwrap();
    outbox.set_aside(&row(5), "P0001", &"no ".repeat(400), NOW).unwrap();
    let read = |path: &Path| fs::read(path).unwrap();
    let killed = (read(&path), read(&beside(&path, "-wal")));
    drop((outbox, journal));
    Original { closed: read(&path), killed }
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Starts, stores and delivers as the program does; returns what was delivered, and whether damage
/// was seen on the way.
fn run(path: &Path) -> (Vec<PackRecord>, bool) {
    let (mut journal, recovery) = reopen(path);
    let mut damage = recovery.is_some();
    let mut delivered = vec![];
    for attempt in 1.. {
        let used = (|| {
            let mut outbox = journal.outbox()?;
            deliver_all(&mut outbox, &mut delivered)?;
            let fresh: Vec<_> = (0..200).map(|n| nth(7, n)).collect();
            journal.append(&fresh)?;
            journal.trim(NOW)?;
            deliver_all(&mut outbox, &mut delivered)
        })();
        let Err(error) = used else { break };
        assert!(error.is_damage() && attempt == 1, "{attempt}: {error:?}");
        damage = true;
        drop(journal);
        journal = recover(path).0;
    }
    delivered.retain(|record| record.mcu_id != 7);
    (delivered, damage)
}

/// Numbers of the waiting rows that did not come as they were stored, and how many came that never
/// were.
fn missing(delivered: &[PackRecord]) -> (BTreeSet<u16>, usize) {
    let mut missing: BTreeSet<u16> = (DELIVERED..ROWS).collect();
    let mut extra = 0;
    for record in delivered {
        // The number that `typical` gave it, unless that is what was damaged.
        let n = (record.energy_in.unwrap_or(0.0) - 812.5) as u16;
        if *record == row(n) && n < ROWS {
            missing.remove(&n);
        } else {
            extra += 1;
        }
    }
    (missing, extra)
}

pub(crate) fn files_with(directory: &Path, part: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(part))
        .collect();
    files.sort();
    files
}

#[test]
fn an_intact_journal_is_left_as_it_is() {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    assert_eq!(reopen(&path).1, None, "created");
    fs::write(&path, original().closed).unwrap();
    let (journal, recovery) = reopen(&path);
    assert_eq!(recovery, None);
    assert_eq!(undelivered(&journal).len(), usize::from(ROWS - DELIVERED));
    drop(journal);
    assert_eq!(files_with(directory.path(), "journal").len(), 2, "with its lock");
}

/// Every row is there again, with its place before or behind the cursor, whatever SQLite makes of
/// the file.
#[test]
fn a_recovered_journal_has_all_that_is_legible() {
    let original = original();
    let directory = memory_directory();
    // The header; the list of tables; the whole first page.
    for (i, range) in [0..16, 100..120, 0..512].into_iter().enumerate() {
        for killed in [false, true] {
            let path = directory.path().join(format!("{i}-{killed}"));
            let (mut bytes, log) = match killed {
                false => (original.closed.clone(), None),
                true => (original.killed.0.clone(), Some(&original.killed.1)),
            };
            bytes[range.clone()].fill(0xAA);
            fs::write(&path, &bytes).unwrap();
            if let Some(log) = log {
                fs::write(beside(&path, "-wal"), log).unwrap();
            }
            let (mut journal, recovery) = match reopen(&path) {
                (journal, Some(recovery)) => (journal, recovery),
                // The log has the page as it was.
                (journal, None) => {
                    assert!(killed);
                    drop(journal);
                    recover(&path)
                }
            };
            let aside = beside(&path, ".damaged-20260304T050607");
            let (rows, lost) = (ROWS.into(), Some(0));
            let expected = Recovery { aside: aside.clone(), rows, lost, removed: 0 };
            assert_eq!(recovery, expected, "{range:?}, {killed}");
            assert!(aside.exists());
            let waiting: Vec<_> = (DELIVERED..ROWS).map(row).collect();
            assert_eq!(undelivered(&journal), waiting);
            assert_eq!(journal.reader().unwrap().count(BATTERY).unwrap(), u64::from(ROWS));
            assert_eq!(journal.reader().unwrap().latest().unwrap(), [row(ROWS - 1)]);
            let set_aside = journal.set_aside().unwrap().rows().unwrap();
            assert_eq!(set_aside.len(), 2);
            assert_eq!((&set_aside[0].record, &*set_aside[0].message), (&row(3), "too much"));
            assert_eq!((&*set_aside[1].sqlstate, set_aside[1].since), ("P0001", NOW));
            // It goes on as any other does.
            let appended = journal.append(&[row(ROWS), row(ROWS - 1)]).unwrap();
            assert_eq!((appended.last.to_string(), appended.moved), ("402".into(), 1));
            drop(journal);
            assert_eq!(undelivered(&open(&path)).len(), waiting.len() + 2);
        }
    }
}

/// What the program finds: a file, and the log if it was killed.
pub(crate) fn write(path: &Path, database: &[u8], log: Option<&[u8]>) {
    for file in files_with(path.parent().unwrap(), "journal") {
        fs::remove_file(file).unwrap();
    }
    fs::write(beside(path, ".lock"), "1\n").unwrap();
    fs::write(path, database).unwrap();
    if let Some(log) = log {
        fs::write(beside(path, "-wal"), log).unwrap();
    }
}

/// Every place has its turn if there are as many; a page of 512 bytes after the other.
fn place(n: usize, places: usize, bytes: usize) -> usize {
    (n * bytes / places / 512 * 512 + n * 37 % 512) % bytes
}

/// `TRIALS=3000 cargo test` tries more of them.
pub(crate) fn trials() -> usize {
    std::env::var("TRIALS").map_or(60, |n| n.parse().unwrap())
}

/// Runs on what was made of the file, and finds all rows but so many, and one at most that is not
/// as it was stored.
fn check(what: &str, path: &Path, most_missing: usize) -> bool {
    let (delivered, damage) = run(path);
    let (missing, extra) = missing(&delivered);
    assert!(
        missing.len() <= most_missing && extra <= 1,
        "{what}: without {missing:?}, {extra} extra"
    );
    assert_eq!(damage, !files_with(path.parent().unwrap(), ".damaged").is_empty(), "{what}");
    damage
}

/// A bad byte costs the row that it is in, and one that has the same page at most.
#[test]
fn a_bad_byte_in_the_file() {
    let original = original();
    let directory = memory_directory();
    let path = directory.path().join("journal");
    let mut seen = 0;
    for n in 0..trials() {
        let mut bytes = original.closed.clone();
        let place = place(n, trials(), bytes.len());
        bytes[place] ^= [0x55, 0x01, 0x80, 0xFF][n % 4];
        write(&path, &bytes, None);
        seen += u16::from(check(&format!("byte {place}"), &path, 2));
    }
    assert!(seen > 0);
}

/// SQLite ends there. But it costs two pages at most, since the checksum of the second one goes on
/// from that of the first, and a page has two rows at most.
#[test]
fn a_bad_byte_in_the_log() {
    let original = original();
    let directory = memory_directory();
    let path = directory.path().join("journal");
    let (database, log) = &original.killed;
    for n in 0..trials() {
        let mut log = log.clone();
        let place = place(n, trials(), log.len());
        log[place] ^= [0x55, 0x01, 0x80, 0xFF][n % 4];
        write(&path, database, Some(&log));
        let damage = check(&format!("byte {place} of the log"), &path, 4);
        assert!(!damage, "{place}: a torn log is nothing to speak of");
    }
}

#[test]
fn a_file_that_was_cut() {
    const LEAST_ROW: usize = 350;
    let original = original();
    let directory = memory_directory();
    let path = directory.path().join("journal");
    for n in 0..trials() / 3 {
        let cut = |bytes: &[u8]| (n * bytes.len() / (trials() / 3) + n * 37 % 512).min(bytes.len());
        let left = cut(&original.closed);
        write(&path, &original.closed[..left], None);
        let most = (original.closed.len() - left) / LEAST_ROW + 2;
        check(&format!("{left} bytes"), &path, most);

        let (database, log) = &original.killed;
        let left = cut(database);
        write(&path, &database[..left], Some(log));
        let most = (database.len() - left) / LEAST_ROW + 2;
        check(&format!("{left} bytes and a log"), &path, most);
        let left = cut(log);
        write(&path, database, Some(&log[..left]));
        let most = (log.len() - left) / LEAST_ROW + 2;
        check(&format!("{left} bytes of the log"), &path, most);
    }
}

#[test]
fn what_is_lost_is_counted() {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    let mut bytes = original().closed;
    bytes[..512].fill(0);
    // All that there is of sixty rows, and of such as share a page with them.
    for page in bytes.chunks_mut(512).filter(|page| page[0] == 0x0D) {
        if page.windows(18).any(|text| text.starts_with(b"2026-01-01 00:5")) {
            page.fill(0);
        }
    }
    write(&path, &bytes, None);
    let recovery = reopen(&path).1.unwrap();
    let lost = recovery.lost.unwrap();
    assert!((60..=65).contains(&lost), "{lost}");
    assert_eq!(recovery.rows + lost, u64::from(ROWS));
}

/// Without the cursor, everything is delivered once more.
#[test]
fn rows_of_unknown_state_are_delivered_again() {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    write(&path, &original().closed, None);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE progress SET delivered = 401", ()).unwrap();
    drop(connection);
    let (journal, recovery) = reopen(&path);
    let recovery = recovery.unwrap();
    assert_eq!((recovery.rows, recovery.lost), (ROWS.into(), None));
    // Without those that are set aside.
    let numbers = (0..ROWS).filter(|n| ![3, 5].contains(n));
    assert_eq!(undelivered(&journal), numbers.map(row).collect::<Vec<_>>());
}

#[test]
fn a_log_that_lost_its_file_is_not_lost_with_it() {
    let (_, log) = original().killed;
    let directory = memory_directory();
    let path = directory.path().join("journal");
    for gone in [false, true] {
        write(&path, b"", Some(&log));
        if gone {
            fs::remove_file(&path).unwrap();
        }
        let (journal, recovery) = reopen(&path);
        let rows = recovery.unwrap().rows;
        // The second half was in the log, and what moved to `history` along with it.
        assert!(rows >= u64::from(ROWS / 2), "{rows}");
        assert_eq!(undelivered(&journal).last(), Some(&row(ROWS - 1)));
    }
}

/// While the journal is in use: the program closes it and recovers.
#[test]
fn damage_that_shows_in_use() {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    let mut bytes = original().closed;
    // Six rows that wait in `history`.
    for page in bytes.chunks_mut(512).filter(|page| page[0] == 0x0D) {
        if page.windows(17).any(|text| text == b"2026-01-01 00:25:") {
            page.fill(0);
        }
    }
    write(&path, &bytes, None);
    let (mut journal, recovery) = reopen(&path);
    assert_eq!(recovery, None, "nothing shows at first");
    let mut outbox = journal.outbox().unwrap();
    let mut delivered = vec![];
    let error = deliver_all(&mut outbox, &mut delivered).unwrap_err();
    assert!(error.is_damage(), "{error:?}");
    journal.append(&[row(ROWS)]).unwrap();

    let error = Journal::recover(&path, Retention::default(), NOW).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "the lock is still held: {error:?}");
    drop(journal);
    let (mut journal, recovery) = recover(&path);
    assert!(recovery.rows > u64::from(ROWS) - 10);
    journal.append(&[row(ROWS + 1)]).unwrap();
    // The forwarder may let go later: it has the old file.
    outbox.undelivered(10).unwrap_err();
    drop(outbox);
    let waiting = undelivered(&journal);
    assert_eq!(waiting[waiting.len() - 2..], [row(ROWS), row(ROWS + 1)]);
    let journal = {
        drop(journal);
        open(&path)
    };
    assert_eq!(undelivered(&journal), waiting);
}

/// Killed when the new journal was complete, and the damaged one had its name or not any more.
#[test]
fn an_interrupted_recovery_is_finished() {
    let closed = original().closed;
    let directory = memory_directory();
    let path = directory.path().join("journal");
    for renamed in [false, true] {
        write(&path, &[7; 5000], Some(&[7; 5000]));
        fs::write(beside(&path, ".recovered"), &closed).unwrap();
        fs::write(beside(&path, ".recovering"), "half of one").unwrap();
        if renamed {
            fs::remove_file(&path).unwrap();
            fs::remove_file(beside(&path, "-wal")).unwrap();
        }
        let error = patiently(|| Journal::open(&path, Retention::default())).unwrap_err();
        assert!(error.is_damage(), "{error:?}");
        let (journal, recovery) = reopen(&path);
        let recovery = recovery.unwrap();
        assert_eq!((recovery.rows, recovery.lost), (ROWS.into(), None));
        assert_eq!(recovery.aside.exists(), !renamed);
        assert_eq!(undelivered(&journal).len(), usize::from(ROWS - DELIVERED));
    }
}

#[test]
fn each_damaged_file_keeps_a_name_of_its_own() {
    let directory = memory_directory();
    let path = directory.path().join("journal");
    for name in ["journal.damaged-20260304T050607", "journal.damaged-20260304T050607-2"] {
        open(&path).append(&[nth(BATTERY, 0)]).unwrap();
        fs::write(&path, [0xFF; 3000]).unwrap();
        // Left by a process that was killed while it copied.
        fs::write(beside(&path, ".recovering"), "half of one").unwrap();
        let (_, recovery) = reopen(&path);
        assert_eq!(files_with(directory.path(), ".reco").len(), 0);
        let aside = recovery.unwrap().aside;
        assert_eq!(aside, directory.path().join(name));
        assert_eq!(fs::read(&aside).unwrap(), [0xFF; 3000]);
    }
}

/// Somebody named the wrong file.
#[test]
fn other_peoples_files_are_refused_and_left_alone() {
    let directory = memory_directory();
    let path = directory.path().join("notes.txt");
    let theirs = directory.path().join("theirs");
    rusqlite::Connection::open(&theirs)
        .unwrap()
        .execute_batch("CREATE TABLE battery_pack (a, b); INSERT INTO battery_pack VALUES (1, 2)")
        .unwrap();
    let database = fs::read(&theirs).unwrap();
    fs::remove_file(theirs).unwrap();
    let mut damaged = database.clone();
    damaged[100..110].fill(0xAA);
    for content in [
        b"notes ".repeat(500),
        b"!".to_vec(),
        b"short".repeat(100),
        vec![0; 512],
        database,
        damaged,
    ] {
        fs::write(&path, &content).unwrap();
        for _ in 0..2 {
            let error = patiently(|| Journal::open_or_recover(&path, Retention::default(), NOW))
                .unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
            patiently(|| Journal::open(&path, Retention::default())).unwrap_err();
            assert_eq!(fs::read(&path).unwrap(), content);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }
}

/// A disk that fails must not be filled besides.
#[test]
fn the_newest_three_damaged_files_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    drop(open(&path));
    let notes = directory.path().join("journal.damaged-notes.txt");
    fs::write(&notes, "mine").unwrap();
    let mut kept = vec![];
    for n in 0..5 {
        fs::write(&path, [0xFF; 3000]).unwrap();
        // The clock may have been another one; the file of now is kept nevertheless.
        let now = NOW - Duration::days(n);
        let open_or_recover = || Journal::open_or_recover(&path, Retention::default(), now);
        let recovery = patiently(open_or_recover).unwrap().1.unwrap();
        assert!(recovery.aside.exists());
        fs::write(beside(&recovery.aside, "-wal"), "its log").unwrap();
        assert_eq!(recovery.removed, u64::from(n >= 3), "{n}");
        kept.push(recovery.aside);
    }
    let exist: Vec<_> = kept.iter().map(|aside| aside.exists()).collect();
    assert_eq!(exist, [true, true, false, false, true]);
    assert!(notes.exists() && !beside(&kept[3], "-wal").exists());
}
