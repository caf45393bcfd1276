//! Disks that are full or can't be written, on file systems of our own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bluenova_journal::{Error, Journal, Notice, Retention, Spool};
use bluenova_record::PackRecord;
use bluenova_test_support::{TIME_LIMIT, as_root, wait_until};
use tempfile::TempDir;

use crate::recover::beside;
use crate::spool::{NOW, mend, rows};
use crate::stand_in::HeldUp;
use crate::{START, numbers, patiently, torn, typical, undelivered};

/// A small file system in memory, until dropped.
struct Disk(TempDir);

impl Disk {
    /// # Panics
    /// Where this may not be mounted: there the test can't be made, and says so.
    fn new(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        run(as_root("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path()));
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn remount(&self, options: &str) {
        run(as_root("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()));
    }

    /// Takes all the space that there is but so many bytes, until [`Disk::free`].
    fn fill_but(&self, bytes: usize) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length - bytes as u64).unwrap();
        path
    }

    /// Gives back the space that `filler` takes.
    ///
    /// Of a file that is only deleted, the space stays taken while another test forks, since the
    /// child has it open until it executes its program.
    fn free(filler: &Path) {
        File::create(filler).unwrap();
        fs::remove_file(filler).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since a test that fails may have files open.
        let _ = as_root("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error} (this test needs the right to mount)");
}

fn open(path: &Path) -> Result<Journal, Error> {
    let opened = patiently(|| Journal::open_or_recover(path, Retention::default(), START));
    opened.map(|(journal, recovery)| {
        assert_eq!(recovery, None);
        journal
    })
}

#[test]
fn a_full_disk_is_survived() {
    let disk = Disk::new("size=1m");
    let mut journal = open(&disk.path()).unwrap();
    let mut outbox = journal.outbox().unwrap();
    let mut accepted: Vec<PackRecord> = vec![];
    let mut numbers = 0..;
    let mut next = || typical(numbers.next().unwrap());
    for space in [0, 4096, 20_000, 50_000, 200_000] {
        let filler = disk.fill_but(space);
        let mut refused = 0;
        while refused < 20 {
            let record = next();
            match journal.append(std::slice::from_ref(&record)) {
                Ok(_) => accepted.push(record),
                Err(error) => {
                    assert!(error.is_full() && !error.is_damage(), "{space}: {error:?}");
                    refused += 1;
                }
            }
            journal.checkpoint().unwrap();
            journal.trim(START).unwrap();
        }
        // What is there can be delivered meanwhile.
        assert_eq!(*outbox.undelivered(usize::MAX).unwrap().records, accepted);
        Disk::free(&filler);
        for _ in 0..100 {
            let record = next();
            journal.append(std::slice::from_ref(&record)).unwrap();
            accepted.push(record);
        }
        journal.checkpoint().unwrap();
        assert_eq!(*outbox.undelivered(usize::MAX).unwrap().records, accepted);
    }
    drop((outbox, journal));
    assert_eq!(undelivered(&open(&disk.path()).unwrap()), accepted);
}

/// Opens the journal on a disk without space.
///
/// A file that SQLite deleted just before may take its space for a moment longer, too: see
/// [`Disk::free`]. Then the disk is filled again.
fn open_on_full(disk: &Disk) -> (PathBuf, Error) {
    let deadline = Instant::now() + TIME_LIMIT;
    loop {
        let filler = disk.fill_but(0);
        match open(&disk.path()) {
            Err(error) => return (filler, error),
            Ok(_) => assert!(Instant::now() < deadline, "there is always space"),
        }
    }
}

/// Nothing is lost or renamed, and it opens as it was once there is space.
#[test]
fn a_journal_opens_or_says_why_on_a_full_disk() {
    let disk = Disk::new("size=1m");
    let (filler, error) = open_on_full(&disk);
    assert!(error.is_full() && !error.is_damage(), "{error:?}");
    Disk::free(&filler);

    let records: Vec<_> = (0..300).map(typical).collect();
    open(&disk.path()).unwrap().append(&records).unwrap();
    let (filler, error) = open_on_full(&disk);
    assert!(error.is_full() && !error.is_damage(), "{error:?}");
    Disk::free(&filler);
    assert_eq!(undelivered(&open(&disk.path()).unwrap()), records);
}

/// The new journal does not fit beside the damaged one: that stays, until there is space.
#[test]
fn a_recovery_without_room_leaves_everything_as_it_was() {
    let disk = Disk::new("size=1m");
    let path = disk.path();
    let records: Vec<_> = (0..300).map(typical).collect();
    open(&path).unwrap().append(&records).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[..512].fill(0);
    fs::write(&path, &bytes).unwrap();
    let filler = disk.fill_but(100_000);
    let error =
        patiently(|| Journal::open_or_recover(&path, Retention::default(), START)).unwrap_err();
    assert!(error.is_full() && !error.is_damage(), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let mut files: Vec<_> =
        fs::read_dir(disk.0.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["filler", "journal", "journal.lock"]);
    Disk::free(&filler);
    let (journal, recovery) =
        patiently(|| Journal::open_or_recover(&path, Retention::default(), START)).unwrap();
    assert_eq!(recovery.unwrap().rows, 300);
    assert_eq!(undelivered(&journal), records);
}

/// SQLite would write over what is behind the tear: it must not, before there is a copy.
#[test]
fn a_torn_log_waits_for_space() {
    let killed = torn::killed(200);
    let mut log = killed.log.clone();
    log[killed.moving.clone()][..512].fill(0);
    let disk = Disk::new("size=2m");
    let path = disk.path();
    fs::write(&path, &killed.database).unwrap();
    fs::write(beside(&path, "-wal"), &log).unwrap();
    let filler = disk.fill_but(100_000);
    let error = open(&path).unwrap_err();
    assert!(error.is_full() && !error.is_damage(), "{error:?}");
    assert!(error.to_string().starts_with("can't copy"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), killed.database);
    assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), log);
    Disk::free(&filler);
    assert!(undelivered(&open(&path).unwrap()).len() + 1 >= usize::from(killed.rows));
}

#[test]
fn a_disk_that_is_read_only_is_no_damage() {
    let disk = Disk::new("size=1m");
    let records: Vec<_> = (0..300).map(typical).collect();
    open(&disk.path()).unwrap().append(&records).unwrap();
    disk.remount("ro");
    let error = open(&disk.path()).unwrap_err();
    assert!(!error.is_damage() && !error.is_full(), "{error:?}");
    assert!(error.to_string().starts_with("can't lock"), "{error}");
    disk.remount("rw");
    assert_eq!(undelivered(&open(&disk.path()).unwrap()), records);
}

/// Some rows are in the file that stands in for the journal by then, others in memory.
#[test]
fn a_disk_that_fills_up_during_a_recovery_is_survived() {
    let disk = Disk::new("size=1m");
    let path = disk.path();
    open(&path).unwrap().append(&rows(0..3)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[..16].fill(0);
    fs::write(&path, bytes).unwrap();
    let held_up = HeldUp::new(&path);
    let (mut spool, mut outbox) =
        patiently(|| Spool::open(&path, Retention::default(), NOW)).unwrap();
    let is_aside = |file: std::io::Result<fs::DirEntry>| {
        file.unwrap().file_name().to_string_lossy().contains(".damaged-")
    };
    wait_until("the journal is recovered", TIME_LIMIT, || {
        fs::read_dir(path.parent().unwrap()).unwrap().any(is_aside)
    });
    spool.append(&rows(3..5)).unwrap();
    let filler = disk.fill_but(0);
    let mut next = 5;
    while !spool.is_in_memory() {
        spool.append(&rows(next..next + 1)).unwrap();
        next += 1;
    }
    spool.append(&rows(next..next + 1)).unwrap();
    let (waiting, only_in_memory) = (spool.waiting(), spool.only_in_memory());
    assert_eq!((waiting, only_in_memory), (u64::from(next) - 2, 2), "{next}");
    let notices = spool.take_notices();
    let [Notice::InStandIn { .. }, Notice::InMemory(error)] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert!(error.is_full(), "{error:?}");

    Disk::free(&filler);
    drop(held_up);
    mend(&mut spool);
    assert_eq!(spool.only_in_memory(), 0);
    let mut delivered = numbers(&outbox.undelivered(10_000).unwrap().records);
    delivered.sort_unstable();
    assert_eq!(delivered, (0..=next).collect::<Vec<_>>());
    assert!(!path.with_extension("stand-in").exists());
}
