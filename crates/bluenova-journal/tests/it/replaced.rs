//! Files that are deleted, replaced, moved and put back while in use: every row stays, once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bluenova_journal::{Error, Journal, Notice, Reader, Retention, Spool, SpoolOutbox};
use bluenova_record::PackRecord;
use rusqlite::Connection;
use tempfile::TempDir;
use time::{Duration, UtcDateTime};

use crate::{BATTERY, START, nth, numbers, open, patiently, undelivered};

const NOW: UtcDateTime = START.saturating_add(Duration::HOUR);

#[test]
fn a_row_of_another_journal_is_stored_once() {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    // Some of them in slots, and some not.
    let rows: Vec<_> = (0..300).map(|n| nth(BATTERY, n)).collect();
    for row in &rows {
        journal.append(std::slice::from_ref(row)).unwrap();
    }
    assert_eq!(journal.adopt(&rows).unwrap(), 0);
    assert_eq!(undelivered(&journal), rows);

    // What the clock did elsewhere makes other rows of the same time, and of another battery.
    let other = |n| PackRecord { energy_in: Some(0.5), ..nth(BATTERY, n) };
    let moved = [other(0), other(299), nth(7, 0), nth(BATTERY, 300), nth(BATTERY, 300)];
    assert_eq!(journal.adopt(&moved).unwrap(), 4);
    assert_eq!(journal.adopt(&moved).unwrap(), 0, "at its other time, too");
    let later = |n| PackRecord {
        insert_time_utc: other(n).insert_time_utc + Duration::MICROSECOND,
        ..other(n)
    };
    let expected = [later(0), later(299), nth(7, 0), nth(BATTERY, 300)];
    assert_eq!(undelivered(&journal)[300..], expected);

    // A record that is new is stored whatever was there.
    assert_eq!(journal.append(&[nth(BATTERY, 0)]).unwrap().moved, 1);

    let mut outbox = journal.outbox().unwrap();
    outbox.set_aside(&nth(BATTERY, 400), "22003", "too much", NOW).unwrap();
    assert_eq!(journal.adopt(&[nth(BATTERY, 400)]).unwrap(), 0, "it is set aside");
}

/// A spool whose file is meddled with.
struct House {
    directory: TempDir,
    path: PathBuf,
    spool: Spool,
    outbox: Option<SpoolOutbox>,
    rows: u16,
}

impl House {
    /// Rows that wait for another database.
    fn waiting() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = made_before(&directory);
        let (spool, outbox) = patiently(|| Spool::open(&path, Retention::default(), NOW)).unwrap();
        Self { directory, path, spool, outbox: Some(outbox), rows: 0 }
    }

    fn database() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = made_before(&directory);
        let spool = patiently(|| Spool::open_database(&path, NOW)).unwrap();
        Self { directory, path, spool, outbox: None, rows: 0 }
    }

    fn both() -> [Self; 2] {
        [Self::waiting(), Self::database()]
    }

    fn record(&mut self, rows: u16) {
        for n in self.rows..self.rows + rows {
            self.spool.append(&[nth(BATTERY, n)]).unwrap();
        }
        self.rows += rows;
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.path.display()))
    }

    fn elsewhere(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The other file is noticed before the next row.
    fn notices(&mut self) {
        assert!(self.spool.is_damaged(NOW));
        self.spool.maintain(NOW).unwrap();
        let notices = self.spool.take_notices();
        let [Notice::InMemory(Error::Gone { .. }), Notice::InFile { .. }] = notices[..] else {
            panic!("{notices:?}");
        };
        assert!(!self.spool.is_damaged(NOW) && self.spool.only_in_memory() == 0);
        // The outbox closes what it need not have open.
        if let Some(outbox) = &mut self.outbox {
            outbox.waiting();
        }
    }

    /// Every row is in the file once, and is delivered; nothing else lies beside it.
    fn has_every_row_once(mut self) {
        self.record(3);
        self.spool.maintain(NOW).unwrap();
        let notices = self.spool.take_notices();
        assert!(notices.is_empty(), "{notices:?}");
        if let Some(mut outbox) = self.outbox.take() {
            let mut delivered = vec![];
            loop {
                let batch = outbox.undelivered(64).unwrap();
                outbox.delivered(batch.last).unwrap();
                if batch.records.is_empty() {
                    break;
                }
                delivered.extend(batch.records.to_vec());
            }
            check_rows(&delivered, self.rows);
        }
        drop(self.spool);
        check_rows(&all_rows(&self.path), self.rows);
        let mut files: Vec<_> = fs::read_dir(self.path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, ["journal", "journal.lock"]);
    }
}

/// A journal whose tables are in the file, and not in its log only.
fn made_before(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("state/journal");
    drop(open(&path));
    path
}

fn check_rows(found: &[PackRecord], rows: u16) {
    let mut found = numbers(found);
    found.sort_unstable();
    assert_eq!(found, (0..rows).collect::<Vec<_>>());
}

/// Delivered ones, too.
fn all_rows(path: &Path) -> Vec<PackRecord> {
    drop(patiently(|| Journal::open(path, Retention::FOREVER)).unwrap());
    let connection = Connection::open(path).unwrap();
    let mut select =
        connection.prepare("SELECT energy_in FROM battery_pack ORDER BY insert_time_utc").unwrap();
    let rows = select.query_map((), |row| row.get::<_, f64>(0)).unwrap();
    rows.map(|n| nth(BATTERY, n.unwrap() as u16)).collect()
}

#[test]
fn a_file_that_is_deleted_without_its_log() {
    for mut house in House::both() {
        house.record(200);
        fs::remove_file(&house.path).unwrap();
        house.record(3);
        house.notices();
        house.has_every_row_once();
    }
}

#[test]
fn a_file_that_is_renamed_and_comes_back() {
    for mut house in House::both() {
        house.record(200);
        let aside = house.elsewhere("aside");
        fs::rename(&house.path, &aside).unwrap();
        house.record(3);
        house.notices();
        house.record(3);
        fs::rename(&aside, &house.path).unwrap();
        house.record(3);
        house.notices();
        house.has_every_row_once();
    }
}

/// As a backup is brought back.
#[test]
fn a_file_that_is_replaced_by_an_older_copy_of_itself() {
    for rows_since in [1, 300] {
        for mut house in House::both() {
            house.record(200);
            let copy = house.elsewhere("copy");
            fs::copy(&house.path, &copy).unwrap();
            fs::rename(&copy, &house.path).unwrap();
            house.record(rows_since);
            house.notices();
            house.has_every_row_once();
        }
    }
}

/// SQLite removes a log beside an empty file.
#[test]
fn a_file_that_is_deleted_and_asked_for_by_somebody() {
    for mut house in House::both() {
        house.record(200);
        fs::remove_file(&house.path).unwrap();
        let somebody = Connection::open(&house.path).unwrap();
        somebody.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(())).unwrap();
        drop(somebody);
        assert!(!house.beside("-wal").exists());
        house.record(3);
        house.notices();
        house.has_every_row_once();
    }
}

/// With a copy of all its files in another directory, to which a link leads.
#[test]
fn a_directory_that_is_moved_to_another_disk() {
    for mut house in House::both() {
        house.record(200);
        let disk = house.elsewhere("disk");
        fs::create_dir(&disk).unwrap();
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let copy = disk.join(format!("journal{suffix}"));
            fs::copy(house.beside(suffix), copy).unwrap();
        }
        fs::remove_dir_all(house.path.parent().unwrap()).unwrap();
        assert!(!house.spool.is_damaged(NOW), "somebody is about to put it elsewhere");
        house.record(3);
        symlink(&disk, house.path.parent().unwrap()).unwrap();
        house.notices();
        house.has_every_row_once();
    }
}

/// What a process that was killed leaves, and then somebody puts an older copy of the file, or
/// none, beside the log.
#[test]
fn a_log_that_was_left_by_another_file_is_read_for_itself() {
    for is_replaced in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let rows: Vec<_> = (0..200).map(|n| nth(BATTERY, n)).collect();
        let copy = directory.path().join("copy");
        let mut journal = open(&path);
        journal.append(&rows[..150]).unwrap();
        drop(journal);
        fs::copy(&path, &copy).unwrap();
        let mut journal = open(&path);
        for row in &rows[150..] {
            journal.append(std::slice::from_ref(row)).unwrap();
        }
        // As long as somebody reads, the log stays.
        let reader = Reader::open(&path).unwrap();
        reader.count(BATTERY).unwrap();
        drop(journal);
        fs::remove_file(&path).unwrap();
        if is_replaced {
            fs::rename(&copy, &path).unwrap();
            assert!(matches!(Reader::open(&path), Err(Error::Gone { .. })), "it has another's log");
        }
        drop(reader);

        let open = || Journal::open_or_recover(&path, Retention::default(), NOW);
        let (mut journal, recovery) = patiently(open).unwrap();
        assert_eq!(recovery, None);
        let expected = if is_replaced { &rows[..] } else { &rows[150..] };
        assert_eq!(undelivered(&journal), expected);
        journal.append(&[nth(BATTERY, 200)]).unwrap();
        drop(journal);
        let left = fs::read_dir(directory.path()).unwrap().flatten();
        let left: Vec<_> = left.filter(|file| file.path() != copy).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}

#[test]
fn a_journal_that_is_a_symbolic_link() {
    let directory = tempfile::tempdir().unwrap();
    let [state, disk] = ["state", "disk"].map(|name| directory.path().join(name));
    fs::create_dir(&state).unwrap();
    let path = state.join("journal");
    // The file need not be there yet, nor its directory.
    symlink("../disk/link", &path).unwrap();
    let (mut spool, _outbox) = patiently(|| Spool::open(&path, Retention::default(), NOW)).unwrap();
    spool.append(&[nth(BATTERY, 0)]).unwrap();
    assert!(spool.take_notices().is_empty() && disk.join("link-wal").exists());
    assert_eq!(Reader::open(&path).unwrap().count(BATTERY).unwrap(), 1);
    let second = Journal::open(&disk.join("link"), Retention::default()).unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second:?}");
    spool.maintain(NOW).unwrap();
    assert!(!spool.is_damaged(NOW) && spool.take_notices().is_empty());

    // It leads elsewhere by now, and so do links that lead to links.
    fs::remove_file(&path).unwrap();
    symlink(state.join("other"), &path).unwrap();
    symlink("file", state.join("other")).unwrap();
    assert!(spool.is_damaged(NOW));
    spool.maintain(NOW).unwrap();
    let notices = spool.take_notices();
    let [Notice::InMemory(Error::Gone { .. }), Notice::InFile { rows: 1 }] = notices[..] else {
        panic!("{notices:?}");
    };
    drop(spool);
    check_rows(&all_rows(&state.join("file")), 1);

    symlink("loop", state.join("loop")).unwrap();
    Journal::open(&state.join("loop"), Retention::default()).unwrap_err();
}

/// SQLite writes on to a log that has no name any more.
#[test]
fn a_log_that_is_deleted_costs_no_row_of_a_killed_process() {
    for mut house in House::both() {
        house.record(200);
        fs::remove_file(house.beside("-wal")).unwrap();
        house.record(3);
        assert!(house.spool.is_damaged(NOW));
        house.spool.maintain(NOW).unwrap();
        // What a killed process leaves.
        let copy = house.elsewhere("copy");
        fs::copy(&house.path, &copy).unwrap();
        check_rows(&all_rows(&copy), 203);
        house.has_every_row_once();
    }
}

/// As a disk is that is taken away lazily, and put back. The rows that were moved from it have been
/// delivered from nowhere.
#[test]
fn a_directory_that_goes_and_comes_back_with_all_its_files() {
    for mut house in House::both() {
        house.record(200);
        let state = house.path.parent().unwrap().to_owned();
        let [away, meanwhile] = ["away", "meanwhile"].map(|name| house.elsewhere(name));
        fs::rename(&state, &away).unwrap();
        fs::create_dir(&state).unwrap();
        house.record(3);
        house.notices();
        house.record(3);
        fs::rename(&state, &meanwhile).unwrap();
        fs::rename(&away, &state).unwrap();
        house.record(3);
        house.notices();
        house.has_every_row_once();
    }
}
