//! Rows that come while the journal can't be written, or is being recovered, are in a file beside
//! it.

use std::fs::{self, File};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bluenova_journal::{Error, Notice, Retention, Spool, Waiting};
use bluenova_record::PackRecord;
use bluenova_test_support::{TIME_LIMIT, wait_until};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::spool::{House, NOW, deliver, in_file, mend, rows};
use crate::{numbers, open, undelivered};

/// Rows in a journal that is damaged; the first page is not among them.
const STORED: u16 = 20;

impl House {
    /// A journal that cannot be opened, though nearly all of its rows are legible.
    fn damaged() -> Self {
        let house = Self::new();
        let (mut spool, outbox) = house.open();
        spool.append(&rows(0..STORED)).unwrap();
        drop((spool, outbox));
        let mut bytes = fs::read(&house.path).unwrap();
        bytes[..16].fill(0);
        fs::write(&house.path, bytes).unwrap();
        house
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        beside(&self.path, suffix)
    }

    fn has_stand_in(&self) -> bool {
        ["", "-wal", "-shm", ".lock"]
            .iter()
            .any(|suffix| self.beside(&format!(".stand-in{suffix}")).exists())
    }

    /// What a process that is killed now leaves behind. No file may be renamed or removed
    /// meanwhile.
    fn killed(&self) -> Self {
        let other = Self::new();
        let directory = other.path.parent().unwrap();
        fs::create_dir(directory).unwrap();
        for file in fs::read_dir(self.path.parent().unwrap()).unwrap().flatten() {
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), directory.join(file.file_name())).unwrap();
            }
        }
        other
    }
}

/// Holds up the recovery of a journal, which reads logs that other files have left there, until it
/// is dropped: opening a FIFO takes somebody who writes to it.
pub(crate) struct HeldUp([PathBuf; 2]);

impl HeldUp {
    pub(crate) fn new(journal: &Path) -> Self {
        Self([".left-1-wal", ".left-2-wal"].map(|suffix| {
            let log = beside(journal, suffix);
            mkfifo(&log, Mode::S_IRWXU).unwrap();
            log
        }))
    }

    /// Waits until the recovery is held up at the second log, and changes no file any more.
    fn wait_until_reached(&self) {
        let [first, _] = &self.0;
        wait_until("the recovery has the first log behind it", TIME_LIMIT, || {
            // It fails unless the recovery waits for a writer. That removes the log then.
            let _ = File::options().write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(first);
            !first.exists()
        });
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        for log in &self.0 {
            // Whether the recovery has come that far or not, or has removed it.
            let Ok(writer) = File::options().read(true).write(true).open(log) else { continue };
            let _ = fs::remove_file(log);
            // It stays open: the recovery may have found the name, and be about to wait for it.
            mem::forget(writer);
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

fn all(through: u16) -> Vec<u16> {
    (0..through).collect()
}

#[test]
fn a_damaged_journal_is_recovered_while_rows_are_recorded() {
    let house = House::damaged();
    let held_up = HeldUp::new(&house.path);
    let (mut spool, mut outbox) = house.open();
    let notices = spool.take_notices();
    let [Notice::InStandIn { error, path }] = &notices[..] else { panic!("{notices:?}") };
    assert!(error.is_damage() && *path == house.beside(".stand-in"), "{notices:?}");

    spool.append(&rows(STORED..STORED + 2)).unwrap();
    assert!(!spool.is_in_memory() && !outbox.is_in_memory());
    assert_eq!((spool.waiting(), spool.only_in_memory()), (2, 0));
    assert_eq!(deliver(&mut outbox, 1), [STORED, STORED + 1]);
    spool.append(&rows(STORED + 2..STORED + 3)).unwrap();
    spool.maintain(NOW).unwrap();
    assert!(spool.take_notices().is_empty(), "it goes on");
    assert_eq!(outbox.waiting(), in_file(1));
    assert!(outbox.may_repeat() && !outbox.may_repeat());

    drop(held_up);
    wait_until("the recovery ends", TIME_LIMIT, || spool.is_damaged(NOW));
    let notices = mend(&mut spool);
    assert!(
        matches!(notices[..], [Notice::Recovered(_), Notice::InFile { rows: 3 }]),
        "{notices:?}"
    );
    assert!(!house.has_stand_in());
    spool.append(&rows(STORED + 3..STORED + 4)).unwrap();
    let mut delivered = deliver(&mut outbox, 100);
    delivered.sort_unstable();
    assert_eq!(delivered, all(STORED + 4), "those that were delivered, once more");
    assert!(outbox.may_repeat());
    drop((spool, outbox));
    let mut found = house.in_file();
    found.sort_unstable();
    assert_eq!(found, all(STORED + 4));
}

/// The database would take the row for the one of that time that it has.
#[test]
fn a_clock_that_goes_back_meanwhile_costs_no_row() {
    let house = House::damaged();
    let held_up = HeldUp::new(&house.path);
    let (mut spool, mut outbox) = house.open();
    let mut again = rows(3..4);
    again[0].energy_in = Some(500.0);
    spool.append(&again).unwrap();
    assert_eq!(deliver(&mut outbox, 100), [500]);
    drop(held_up);
    mend(&mut spool);
    let batch = outbox.undelivered(100).unwrap();
    let at_row_3 = |record: &&PackRecord| record.energy_in == Some(500.0);
    let moved = batch.records.iter().find(at_row_3).unwrap();
    assert!(moved.insert_time_utc > again[0].insert_time_utc);
    assert_eq!(batch.records.len(), usize::from(STORED) + 1);
}

/// At each moment: while rows are in the stand-in, the journal recovered or not, and while they are
/// in both.
#[test]
fn a_killed_process_leaves_its_rows_in_the_stand_in() {
    let house = House::damaged();
    let damaged = fs::read(&house.path).unwrap();
    let held_up = HeldUp::new(&house.path);
    let (mut spool, _outbox) = house.open();
    spool.append(&rows(STORED..STORED + 3)).unwrap();
    held_up.wait_until_reached();

    for is_recovered in [true, false] {
        let killed = house.killed();
        if !is_recovered {
            for suffix in ["-wal", "-shm"] {
                fs::remove_file(killed.beside(suffix)).unwrap();
            }
            fs::write(&killed.path, &damaged).unwrap();
        }
        check_that_rows_are_in_the_stand_in(&killed);
    }
    drop(held_up);
}

/// Opens the journal of a killed process, twice.
fn check_that_rows_are_in_the_stand_in(killed: &House) {
    let stand_in: Vec<_> = ["", "-wal"]
        .map(|suffix| {
            let path = killed.beside(&format!(".stand-in{suffix}"));
            (fs::read(&path).unwrap(), path)
        })
        .into();
    for expected in [3, 0] {
        let (mut spool, mut outbox) = killed.open();
        let notices = match spool.take_notices() {
            notices if matches!(notices.last(), Some(Notice::InFile { .. })) => notices,
            _ => mend(&mut spool),
        };
        let Some(Notice::InFile { rows }) = notices.last() else { panic!("{notices:?}") };
        assert_eq!(*rows, expected, "{notices:?}");
        assert!(!killed.has_stand_in());
        assert_eq!(outbox.waiting(), in_file((STORED + 3).into()));
        assert_eq!(numbers(&outbox.undelivered(100).unwrap().records), all(STORED + 3));
        drop((spool, outbox));
        // It was killed before it could remove the file.
        for (bytes, path) in &stand_in {
            fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn a_stand_in_that_is_deleted_or_cannot_be_made_is_memory() {
    let house = House::damaged();
    fs::create_dir(house.beside(".stand-in")).unwrap();
    let held_up = HeldUp::new(&house.path);
    let (mut spool, outbox) = house.open();
    let notices = spool.take_notices();
    assert!(
        matches!(notices[..], [Notice::Postponed(_), Notice::InMemory(_)]),
        "the directory is named: {notices:?}"
    );
    spool.append(&rows(STORED..STORED + 1)).unwrap();
    assert!(spool.is_in_memory() && spool.only_in_memory() == 1);
    drop(held_up);
    drop((spool, outbox));

    let house = House::damaged();
    let held_up = HeldUp::new(&house.path);
    let (mut spool, mut outbox) = house.open();
    spool.append(&rows(STORED..STORED + 1)).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(house.beside(&format!(".stand-in{suffix}"))).unwrap();
    }
    assert!(spool.is_damaged(NOW));
    spool.maintain(NOW).unwrap();
    spool.append(&rows(STORED + 1..STORED + 2)).unwrap();
    assert!(spool.is_in_memory());
    assert_eq!((spool.waiting(), spool.only_in_memory()), (2, 2));
    let notices = spool.take_notices();
    assert!(
        matches!(notices[..], [Notice::InStandIn { .. }, Notice::InMemory(Error::Gone { .. })]),
        "{notices:?}"
    );
    assert_eq!(outbox.waiting(), Waiting { in_file: 1, in_memory: 1 });
    drop(held_up);
    mend(&mut spool);
    assert_eq!(spool.only_in_memory(), 0);
    drop((spool, outbox));
    assert_eq!(house.in_file(), all(STORED + 2));
}

/// The lock of the journal is free while no file of it is open.
#[test]
fn a_second_process_is_refused_while_the_stand_in_is_in_use() {
    let house = House::damaged();
    // No new file can be made, so that the recovery fails.
    fs::create_dir(house.beside(".recovering")).unwrap();
    let (mut spool, _outbox) = house.open();
    spool.append(&rows(STORED..STORED + 1)).unwrap();
    wait_until("the recovery fails", TIME_LIMIT, || spool.is_damaged(NOW));
    spool.maintain(NOW).unwrap();
    let notices = spool.take_notices();
    let [
        Notice::InStandIn { .. },
        Notice::InStandIn { error: Error::Io { path, .. }, .. },
        Notice::InStandIn { error: Error::Sqlite { .. } | Error::Damaged { .. }, .. },
    ] = &notices[..]
    else {
        panic!("{notices:?}")
    };
    assert_eq!(*path, house.beside(".recovering"));
    assert!(!spool.is_damaged(NOW), "it is tried again in an hour");
    let second = Spool::open(&house.path, Retention::default(), NOW).unwrap_err();
    assert!(matches!(&second, Error::InUse { path, .. } if *path == house.path), "{second:?}");
    let second = Spool::open_database(&house.path, NOW).unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second:?}");
}

/// The disk is full at first, or the directory away.
#[test]
fn rows_in_memory_go_to_the_stand_in_before_a_recovery() {
    let house = House::new();
    let (mut spool, mut outbox) = house.open();
    spool.append(&rows(0..STORED)).unwrap();
    fs::create_dir(house.beside(".stand-in")).unwrap();
    let other = rusqlite::Connection::open(&house.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    spool.append(&rows(STORED..STORED + 1)).unwrap();
    assert_eq!(spool.only_in_memory(), 1);
    drop(other);
    fs::remove_dir(house.beside(".stand-in")).unwrap();
    // Damage that shows when the row is read.
    rusqlite::Connection::open(&house.path)
        .unwrap()
        .execute("UPDATE recent SET sequence = 1000 WHERE sequence = 5", ())
        .unwrap();
    let batch = outbox.undelivered(100).unwrap();
    assert_eq!(numbers(&batch.records), [STORED], "others can be read nevertheless");
    assert!(spool.is_damaged(NOW));
    let held_up = HeldUp::new(&house.path);
    spool.maintain(NOW).unwrap();
    assert!(!spool.is_in_memory());
    assert_eq!((spool.waiting(), spool.only_in_memory()), (1, 0));
    drop(held_up);
    mend(&mut spool);
    let mut delivered = deliver(&mut outbox, 100);
    delivered.sort_unstable();
    assert_eq!(delivered, all(STORED + 1));
}

#[test]
fn a_damaged_database_records_from_the_start_too() {
    let house = House::damaged();
    let held_up = HeldUp::new(&house.path);
    let mut spool = Spool::open_database(&house.path, NOW).unwrap();
    spool.append(&rows(STORED..STORED + 2)).unwrap();
    assert_eq!((spool.waiting(), spool.only_in_memory()), (2, 0));
    drop(held_up);
    mend(&mut spool);
    drop(spool);
    assert_eq!(house.in_file(), all(STORED + 2));
}

/// What was restored from a backup as another user, say, or with the damage.
#[test]
fn rows_are_in_a_file_while_what_replaced_the_journal_cannot_be_written() {
    let restored: [fn(&House); 2] = [
        |house| {
            fs::write(house.beside(".copy"), "no journal at all".repeat(100)).unwrap();
            fs::rename(house.beside(".copy"), &house.path).unwrap();
        },
        |house| {
            fs::remove_file(&house.path).unwrap();
            fs::create_dir(&house.path).unwrap();
        },
    ];
    for (restore, is_damaged) in restored.into_iter().zip([true, false]) {
        let house = House::new();
        let (mut spool, _outbox) = house.open();
        let held_up = is_damaged.then(|| HeldUp::new(&house.path));
        spool.append(&rows(0..1)).unwrap();
        restore(&house);
        spool.maintain(NOW).unwrap();
        assert!(!spool.is_in_memory(), "{:?}", spool.take_notices());
        assert_eq!(spool.only_in_memory(), 0);
        spool.append(&rows(1..2)).unwrap();
        held_up.iter().for_each(HeldUp::wait_until_reached);
        let killed = house.killed();
        drop(held_up);
        if !is_damaged {
            fs::remove_dir(&house.path).unwrap();
        }
        mend(&mut spool);
        assert!(!house.has_stand_in());
        drop(spool);
        assert_eq!(house.in_file(), [0, 1]);
        assert_eq!(numbers(&undelivered(&open(&killed.beside(".stand-in")))), [0, 1]);
    }
}
