//! Whatever happens to the file, each row is stored, and delivered.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use bluenova_journal::{
    Error, Journal, Notice, Reader, Recovery, Retention, Spool, SpoolOutbox, Waiting, Wake,
};
use bluenova_record::{COLUMNS, PackRecord, Value};
use bluenova_test_support::{TIME_LIMIT, wait_until};
use tempfile::TempDir;
use time::{Duration, UtcDateTime};

use crate::{BATTERY, START, nth, numbers, patiently, undelivered};

/// After all rows of the tests, so that nothing is trimmed for its age.
pub(crate) const NOW: UtcDateTime = START.saturating_add(Duration::HOUR);

pub(crate) struct House {
    directory: TempDir,
    pub(crate) path: PathBuf,
}

impl House {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/journal");
        Self { directory, path }
    }

    pub(crate) fn open(&self) -> (Spool, SpoolOutbox) {
        patiently(|| Spool::open(&self.path, Retention::default(), NOW)).unwrap()
    }

    /// A file stands where the directory of the journal would be.
    fn obstruct(&self) {
        fs::write(self.obstacle(), "").unwrap();
    }

    fn clear(&self) {
        fs::remove_file(self.obstacle()).unwrap();
    }

    fn obstacle(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// All rows in the file, once nobody has it open.
    pub(crate) fn in_file(&self) -> Vec<u16> {
        let journal = patiently(|| Journal::open(&self.path, Retention::default())).unwrap();
        let energy_in = COLUMNS.iter().find(|column| column.name == "energy_in").unwrap();
        let mut rows = vec![];
        let push = |_, values: &[Option<Value<'_>>]| {
            let [Some(Value::Real(n))] = values else { panic!("{values:?}") };
            rows.push(*n as u16);
            ControlFlow::Continue(())
        };
        journal.reader().unwrap().history(BATTERY, START..NOW, &[energy_in], push).unwrap();
        rows
    }
}

pub(crate) fn rows(numbers: Range<u16>) -> Vec<PackRecord> {
    numbers.map(|n| nth(BATTERY, n)).collect()
}

/// Delivers what there is, in batches of `limit`; returns the numbers of the rows.
pub(crate) fn deliver(outbox: &mut SpoolOutbox, limit: usize) -> Vec<u16> {
    let mut delivered = vec![];
    loop {
        let batch = outbox.undelivered(limit).unwrap();
        if batch.records.is_empty() {
            return delivered;
        }
        outbox.delivered(batch.last).unwrap();
        delivered.extend(numbers(&batch.records));
        assert!(delivered.len() < 1000, "the same again and again");
    }
}

/// Waits until the file is written again, and returns all notices until then.
pub(crate) fn mend(spool: &mut Spool) -> Vec<Notice> {
    let mut notices = vec![];
    wait_until("the file is written again", TIME_LIMIT, || {
        spool.maintain(NOW).unwrap();
        notices.extend(spool.take_notices());
        matches!(notices.last(), Some(Notice::InFile { .. }))
    });
    notices
}

pub(crate) fn in_file(rows: u64) -> Waiting {
    Waiting { in_file: rows, in_memory: 0 }
}

#[test]
fn rows_go_through_the_file() {
    let house = House::new();
    let (mut spool, mut outbox) = house.open();
    assert!(spool.take_notices().is_empty() && !spool.is_in_memory());
    assert!(deliver(&mut outbox, 10).is_empty());
    spool.append(&[]).unwrap();
    assert_eq!(outbox.wait(Some(std::time::Duration::ZERO)), Wake::TimeOut);

    spool.append(&rows(0..7)).unwrap();
    spool.wake_outbox();
    spool.wake_outbox();
    assert_eq!(outbox.wait(None), Wake::Rows);
    assert_eq!((spool.waiting(), spool.only_in_memory()), (7, 0));
    assert_eq!(outbox.waiting(), in_file(7));
    let batch = outbox.undelivered(5).unwrap();
    outbox.delivered(batch.through(3)).unwrap();
    assert_eq!(outbox.waiting(), in_file(4));
    spool.maintain(NOW).unwrap();
    assert!(spool.take_notices().is_empty());

    // The end: what the spool held can be delivered still.
    drop(spool);
    assert_eq!(outbox.wait(None), Wake::Ended);
    assert_eq!(deliver(&mut outbox, 3), [3, 4, 5, 6]);
    assert_eq!(outbox.waiting(), in_file(0));
    drop(outbox);
    assert_eq!(house.in_file(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn memory_stands_in_for_a_file_that_cannot_be_made() {
    let house = House::new();
    house.obstruct();
    let (mut spool, mut outbox) = house.open();
    let notices = spool.take_notices();
    assert!(matches!(notices[..], [Notice::InMemory(Error::Io { .. })]), "{notices:?}");
    spool.append(&rows(0..6)).unwrap();
    assert!(spool.take_notices().is_empty());
    assert!(spool.is_in_memory() && outbox.is_in_memory());
    assert_eq!((spool.waiting(), spool.only_in_memory()), (6, 6));

    // Rows that have left memory don't come back with the file.
    let batch = outbox.undelivered(4).unwrap();
    outbox.delivered(batch.through(2)).unwrap();
    outbox.set_aside(&batch.records[2], "22003", "too much", NOW).unwrap();
    outbox.delivered(batch.through(3)).unwrap();
    assert_eq!(outbox.waiting(), Waiting { in_file: 0, in_memory: 3 });
    assert_eq!(spool.only_in_memory(), 4, "with the one that is set aside");

    // It is tried again, and said each time.
    spool.maintain(NOW).unwrap();
    let notices = spool.take_notices();
    assert!(matches!(notices[..], [Notice::InMemory(_)]), "{notices:?}");
    house.clear();
    spool.maintain(NOW).unwrap();
    let notices = spool.take_notices();
    assert!(matches!(notices[..], [Notice::InFile { rows: 3 }]), "{notices:?}");
    assert!(!spool.is_in_memory() && !outbox.is_in_memory() && spool.only_in_memory() == 0);

    spool.append(&rows(6..8)).unwrap();
    assert_eq!(deliver(&mut outbox, 2), [3, 4, 5, 6, 7]);
    assert_eq!(outbox.waiting(), in_file(0));
    assert_eq!(Reader::open(&house.path).unwrap().set_aside().unwrap(), 1);
    drop((spool, outbox));
    assert_eq!(house.in_file(), [3, 4, 5, 6, 7]);
}

#[test]
fn a_deleted_file_is_replaced_with_all_its_rows() {
    let house = House::new();
    let (mut spool, mut outbox) = house.open();
    spool.append(&rows(0..4)).unwrap();
    let batch = outbox.undelivered(1).unwrap();
    outbox.delivered(batch.last).unwrap();
    remove(&house.path);
    spool.append(&rows(4..6)).unwrap();
    spool.maintain(NOW).unwrap();
    let notices = spool.take_notices();
    assert!(
        matches!(notices[..], [Notice::InMemory(Error::Gone { .. }), Notice::InFile { rows: 5 }]),
        "{notices:?}"
    );
    spool.append(&rows(6..7)).unwrap();
    // From the deleted file, which the outbox has open, or from the new one: each at least once.
    let mut delivered = deliver(&mut outbox, 2);
    delivered.sort_unstable();
    delivered.dedup();
    assert_eq!(delivered, [1, 2, 3, 4, 5, 6]);
    drop((spool, outbox));
    assert_eq!(house.in_file(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn damage_that_the_outbox_finds_is_mended_by_the_spool() {
    let house = House::new();
    let (mut spool, outbox) = house.open();
    for n in 0..300 {
        spool.append(&rows(n..n + 1)).unwrap();
    }
    drop((spool, outbox));
    let mut bytes = fs::read(&house.path).unwrap();
    // Leaves of the rows, and no page that is read at the start.
    let middle = bytes.len() / 1024 * 512 + 2 * 512;
    bytes[middle..middle + 4 * 512].fill(0);
    fs::write(&house.path, bytes).unwrap();

    let (mut spool, mut outbox) = house.open();
    assert!(spool.take_notices().is_empty(), "nothing shows at first");
    assert!(!spool.is_damaged(NOW));
    let mut delivered = vec![];
    let error = loop {
        match outbox.undelivered(16) {
            Ok(batch) => {
                outbox.delivered(batch.last).unwrap();
                delivered.extend(numbers(&batch.records));
            }
            Err(error) => break error,
        }
    };
    assert!(error.is_damage() && spool.is_damaged(NOW), "{error:?}");

    let notices = mend(&mut spool);
    let [
        Notice::InStandIn { error: Error::Damaged { .. }, .. },
        Notice::Recovered(Recovery { rows: saved, .. }),
        Notice::InFile { rows: 0 },
    ] = notices[..]
    else {
        panic!("{notices:?}");
    };
    assert!(!spool.is_damaged(NOW) && (280..300).contains(&saved), "{saved}");
    spool.append(&rows(300..302)).unwrap();
    delivered.extend(deliver(&mut outbox, 64));
    delivered.sort_unstable();
    delivered.dedup();
    // A page has four or five rows as short as these.
    assert!(delivered.len() > 280 && delivered.ends_with(&[300, 301]), "{delivered:?}");
}

#[test]
fn rows_beyond_the_bound_are_evicted_and_counted() {
    let house = House::new();
    let retention = Retention { keep: None, bound: Some(256 << 10) };
    let (mut spool, mut outbox) = patiently(|| Spool::open(&house.path, retention, NOW)).unwrap();
    for n in 0..40 {
        spool.append(&rows(n * 100..(n + 1) * 100)).unwrap();
    }
    spool.maintain(NOW).unwrap();
    let notices = spool.take_notices();
    let [Notice::Evicted { rows: evicted, from_memory: false }] = notices[..] else {
        panic!("{notices:?}")
    };
    assert_eq!(evicted + outbox.waiting().total(), 4000);
    let first = numbers(&outbox.undelivered(1).unwrap().records)[0];
    assert_eq!(u64::from(first), evicted, "the oldest ones");
}

#[test]
fn memory_is_no_way_out_of_a_wrong_path() {
    let house = House::new();
    let (spool, _outbox) = house.open();
    let error = Spool::open(&house.path, Retention::default(), NOW).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error:?}");
    drop(spool);

    let other = house.directory.path().join("notes");
    fs::write(&other, "notes ".repeat(500)).unwrap();
    let error = patiently(|| Spool::open(&other, Retention::default(), NOW)).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error:?}");

    let directory = house.directory.path();
    let error = Spool::open(directory, Retention::default(), NOW).unwrap_err();
    assert!(error.to_string().contains(directory.to_str().unwrap()), "{error:?}");
}

#[test]
fn a_database_keeps_everything_and_starts_in_its_file_only() {
    let house = House::new();
    house.obstruct();
    Spool::open_database(&house.path, NOW).unwrap_err();
    house.clear();
    let mut spool = Spool::open_database(&house.path, NOW).unwrap();
    spool.append(&rows(0..3)).unwrap();
    // However old they are.
    let years_later = NOW + Duration::days(10_000);
    spool.maintain(years_later).unwrap();
    assert!(spool.take_notices().is_empty());
    remove(&house.path);
    spool.append(&rows(3..4)).unwrap();
    spool.maintain(years_later).unwrap();
    let notices = spool.take_notices();
    assert!(
        matches!(notices[..], [Notice::InMemory(_), Notice::InFile { rows: 4 }]),
        "{notices:?}"
    );
    drop(spool);
    let journal = patiently(|| Journal::open(&house.path, Retention::FOREVER)).unwrap();
    assert_eq!(numbers(&undelivered(&journal)), [0, 1, 2, 3]);
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{suffix}", path.display())).unwrap();
    }
}

/// Each of them would be the first one of the next batch, for ever.
#[test]
fn rows_of_which_nothing_is_legible_hold_nothing_up() {
    let house = House::new();
    let (mut spool, mut outbox) = house.open();
    spool.append(&rows(0..3)).unwrap();
    rusqlite::Connection::open(&house.path)
        .unwrap()
        .execute("UPDATE recent SET insert_time_utc = 'x' WHERE energy_in < 2500", ())
        .unwrap();
    let batch = outbox.undelivered(2).unwrap();
    assert_eq!((numbers(&batch.records), batch.damaged), (vec![], 3));
    assert_eq!(outbox.waiting(), in_file(0));
    spool.append(&rows(3..4)).unwrap();
    assert_eq!(deliver(&mut outbox, 2), [3]);
}

/// It is deleted while it can't be written, so that nobody has noticed it yet.
#[test]
fn rows_of_the_stand_in_never_go_into_a_deleted_file() {
    let house = House::new();
    let (mut spool, mut outbox) = house.open();
    spool.append(&rows(0..2)).unwrap();
    let row = outbox.undelivered(1).unwrap();
    outbox.set_aside(&row.records[0], "22003", "too much", NOW).unwrap();
    outbox.delivered(row.last).unwrap();
    // Another connection has the lock on the database: then it can't be written.
    let other = rusqlite::Connection::open(&house.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    spool.append(&rows(2..4)).unwrap();
    assert_eq!((spool.waiting(), spool.only_in_memory()), (3, 0));
    drop(other);
    remove(&house.path);
    spool.maintain(NOW).unwrap();
    let notices = spool.take_notices();
    assert!(
        matches!(
            notices[..],
            [
                Notice::InStandIn { error: Error::Sqlite { .. }, .. },
                Notice::InStandIn { error: Error::Gone { .. }, .. },
                Notice::InFile { rows: 3 }
            ]
        ),
        "{notices:?}"
    );
    drop((spool, outbox));
    assert_eq!(house.in_file(), [1, 2, 3]);
    assert_eq!(Reader::open(&house.path).unwrap().set_aside().unwrap(), 1);
}

/// The outbox isn't asked for rows while the other database is away.
#[test]
fn memory_that_comes_and_goes_does_not_pile_up() {
    let house = House::new();
    let (mut spool, mut outbox) = house.open();
    for n in 0..20 {
        remove(&house.path);
        spool.maintain(NOW).unwrap();
        spool.append(&rows(n..n + 1)).unwrap();
        spool.wake_outbox();
        assert_eq!(outbox.wait(None), Wake::Rows);
        let sources = format!("{outbox:?}").matches("is_stand_in: true").count();
        assert!(sources <= 1, "{sources}");
    }
    let mut delivered = deliver(&mut outbox, 7);
    delivered.dedup();
    assert!(delivered.len() >= 20);
}

/// A sync that fails is like any write that does: rows go to memory.
#[test]
fn rows_are_synced_once_and_a_sync_that_fails_turns_to_memory() {
    let house = House::new();
    let (mut spool, _outbox) = house.open();
    assert!(spool.is_synced(), "nothing was appended");
    spool.append(&[nth(BATTERY, 0)]).unwrap();
    assert!(!spool.is_synced());
    spool.sync().unwrap();
    assert!(spool.is_synced());
    spool.append(&[nth(BATTERY, 1)]).unwrap();
    spool.maintain(NOW).unwrap();
    assert!(spool.is_synced() && spool.take_notices().is_empty());

    fs::remove_file(&house.path).unwrap();
    spool.sync().unwrap();
    assert!(spool.take_notices().is_empty(), "nothing was appended since");
    spool.append(&[nth(BATTERY, 2)]).unwrap();
    spool.sync().unwrap();
    let notices = spool.take_notices();
    assert!(matches!(notices[..], [Notice::InMemory(Error::Gone { .. })]), "{notices:?}");
    assert!(spool.is_in_memory() && spool.is_synced());
    spool.maintain(NOW).unwrap();
    drop(spool);
    assert_eq!(house.in_file(), [0, 1, 2]);
}
