//! What the threads tell of themselves, for whoever asks.
//!
//! Every thread writes to a part of its own and never waits for who reads: counts are atomic, and
//! what is more than a number stands behind a lock that is held while it is moved or cloned. That is
//! harmless, since nobody does anything else under it: a page that hangs or dies hangs elsewhere.

use std::{
    error::Error,
    mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bluenova_http::{Battery, CellBus, Connection, Delivery, Latest, Status, Storage};
use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::{
    settings::{self, Settings, Store},
    text,
};

/// All that the threads tell.
pub(crate) struct Board {
    interval: Duration,
    /// Those of the command line, in its order.
    pub(crate) batteries: Vec<Arc<BatteryNotes>>,
    journal: PathBuf,
    storage: Arc<StorageNotes>,
    /// `None`: the rows go nowhere else.
    delivery: Option<Arc<DeliveryNotes>>,
}

impl Board {
    /// Of the batteries nothing is known yet.
    pub(crate) fn new(
        settings: &Settings,
        storage: Arc<StorageNotes>,
        delivery: Option<Arc<DeliveryNotes>>,
    ) -> Self {
        let (Store::Postgres { journal, .. } | Store::Sqlite { path: journal }) = &settings.store;
        let batteries = settings.batteries.iter().map(BatteryNotes::new).map(Arc::new).collect();
        let interval = Duration::from_secs(settings.interval.seconds().into());
        Self { interval, batteries, journal: journal.clone(), storage, delivery }
    }

    /// What is known at this moment.
    pub(crate) fn snapshot(&self, now: UtcDateTime) -> Status {
        Status {
            now,
            interval: self.interval,
            batteries: self.batteries.iter().map(|battery| battery.snapshot(now)).collect(),
            storage: Storage {
                journal: self.journal.clone(),
                only_in_memory: self.storage.only_in_memory.load(Ordering::Relaxed),
                trouble: get(&self.storage.trouble),
                delivery: self.delivery.as_ref().map(|delivery| delivery.snapshot()),
            },
        }
    }
}

/// What its thread and the recorder tell of a battery.
pub(crate) struct BatteryNotes {
    pub(crate) name: String,
    address: String,
    connection: Mutex<Connection>,
    dials: AtomicU64,
    malformed_lines: AtomicU64,
    rows: AtomicU64,
    bad_crc: AtomicU64,
    parse_fail: AtomicU64,
    bad_vcell: AtomicU64,
    newest: Mutex<Option<Newest>>,
}

/// A row, and when it came.
#[derive(Clone)]
struct Newest {
    record: PackRecord,
    came: Instant,
}

impl BatteryNotes {
    fn new(settings::Battery { name, address }: &settings::Battery) -> Self {
        Self {
            name: name.clone(),
            address: address.to_string(),
            connection: Mutex::new(Connection::Down { why: None }),
            dials: AtomicU64::new(0),
            malformed_lines: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bad_crc: AtomicU64::new(0),
            parse_fail: AtomicU64::new(0),
            bad_vcell: AtomicU64::new(0),
            newest: Mutex::new(None),
        }
    }

    /// It is about to be dialled.
    pub(crate) fn dialled(&self) {
        add(&self.dials, 1);
    }

    pub(crate) fn connected(&self) {
        set(&self.connection, Connection::Up);
    }

    /// There is no connection, and `why`.
    pub(crate) fn disconnected(&self, why: &str) {
        set(&self.connection, Connection::Down { why: Some(why.to_owned()) });
    }

    pub(crate) fn malformed_line(&self) {
        add(&self.malformed_lines, 1);
    }

    /// A row of it was stored.
    pub(crate) fn stored(&self, record: &PackRecord) {
        add(&self.rows, 1);
        for (sum, count) in [
            (&self.bad_crc, record.bad_crc),
            (&self.parse_fail, record.parse_fail),
            (&self.bad_vcell, record.bad_vcell),
        ] {
            add(sum, count.try_into().unwrap_or(0));
        }
        self.heard(record);
    }

    /// This is the newest that is known of it, whether this or another address of the same battery
    /// had it stored.
    pub(crate) fn heard(&self, record: &PackRecord) {
        set(&self.newest, Some(Newest { record: record.clone(), came: Instant::now() }));
    }

    fn snapshot(&self, now: UtcDateTime) -> Battery {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let newest = get(&self.newest);
        Battery {
            name: self.name.clone(),
            address: self.address.clone(),
            connection: get(&self.connection),
            redials: count(&self.dials).saturating_sub(1),
            malformed_lines: count(&self.malformed_lines),
            rows: count(&self.rows),
            cell_bus: CellBus {
                bad_crc: count(&self.bad_crc),
                parse_fail: count(&self.parse_fail),
                bad_vcell: count(&self.bad_vcell),
            },
            latest: newest.map(|Newest { record, came }| Latest {
                age: age(record.insert_time_utc, now, came.elapsed()),
                record,
            }),
        }
    }
}

/// The age of a row of the interval that ended at `end`, `since_it_came` by a clock that is never
/// set. The greater one counts: neither a clock that was set back nor a machine that was suspended,
/// for which that other clock may stand still, makes an old reading look fresh.
fn age(end: UtcDateTime, now: UtcDateTime, since_it_came: Duration) -> Duration {
    let by_the_clock = Duration::try_from(now - end).unwrap_or_default();
    by_the_clock.max(since_it_came)
}

/// What the storage tells of itself.
#[derive(Default)]
pub(crate) struct StorageNotes {
    only_in_memory: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl StorageNotes {
    pub(crate) fn only_in_memory(&self, rows: u64) {
        self.only_in_memory.store(rows, Ordering::Relaxed);
    }

    /// The file can't be written.
    pub(crate) fn failed(&self, why: &dyn Error) {
        set(&self.trouble, Some(text::chain(why)));
    }

    /// The file can be written again.
    pub(crate) fn works(&self) {
        set(&self.trouble, None);
    }
}

/// What storage and forwarder tell of the way to the server.
pub(crate) struct DeliveryNotes {
    server: String,
    delivered: AtomicU64,
    trouble: Mutex<Option<String>>,
    queue: Mutex<Queue>,
}

/// The rows that wait.
#[derive(Clone, Copy, Default)]
struct Queue {
    /// How many they were when somebody last looked.
    waiting: u64,
    /// How often rows have come, which tells whether any did while the forwarder found none.
    arrivals: u64,
    /// When the first of those that wait came, or when one was taken last.
    waits_since: Option<Instant>,
}

/// What had come when the forwarder began to look for rows.
pub(crate) struct Look {
    arrivals: u64,
}

impl DeliveryNotes {
    /// `server` as people know it, without a password.
    pub(crate) fn new(server: String) -> Self {
        Self {
            server,
            delivered: AtomicU64::new(0),
            trouble: Mutex::new(None),
            queue: Mutex::default(),
        }
    }

    /// Rows have come that can be found by now; so many wait.
    pub(crate) fn arrived(&self, waiting: u64) {
        let mut queue = lock(&self.queue);
        queue.waiting = waiting;
        queue.arrivals += 1;
        queue.waits_since.get_or_insert_with(Instant::now);
    }

    /// The forwarder begins to look for rows.
    pub(crate) fn look(&self) -> Look {
        Look { arrivals: lock(&self.queue).arrivals }
    }

    /// It has found no more of them, so that only what has come since can wait.
    pub(crate) fn found_no_more(&self, look: &Look) {
        let mut queue = lock(&self.queue);
        let more_came = queue.arrivals != look.arrivals;
        queue.waits_since = more_came.then(Instant::now);
    }

    /// Some of those that wait wait no longer.
    pub(crate) fn gets_on(&self) {
        if let Some(since) = &mut lock(&self.queue).waits_since {
            *since = Instant::now();
        }
    }

    /// The server has taken so many rows, and so many wait yet.
    pub(crate) fn delivered(&self, rows: u64, waiting: u64) {
        add(&self.delivered, rows);
        lock(&self.queue).waiting = waiting;
        self.gets_on();
    }

    /// Something hinders delivery.
    pub(crate) fn failed(&self, why: &dyn Error) {
        set(&self.trouble, Some(text::chain(why)));
    }

    /// Nothing does any more.
    pub(crate) fn works(&self) {
        set(&self.trouble, None);
    }

    fn snapshot(&self) -> Delivery {
        let queue = get(&self.queue);
        Delivery {
            server: self.server.clone(),
            delivered: self.delivered.load(Ordering::Relaxed),
            trouble: get(&self.trouble),
            // With none left, what was counted before that no longer holds.
            waiting: queue.waits_since.map_or(0, |_| queue.waiting),
            waiting_for: queue.waits_since.map(|since| since.elapsed()).unwrap_or_default(),
        }
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

fn set<T>(place: &Mutex<T>, value: T) {
    // What was there is freed when the lock has been let go.
    let _old = mem::replace(&mut *lock(place), value);
}

fn get<T: Clone>(place: &Mutex<T>) -> T {
    lock(place).clone()
}

/// Nothing is left half done under a lock, so that a panic there spoils nothing.
fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_row_never_looks_fresh() {
        let second = Duration::from_secs;
        let end = UtcDateTime::UNIX_EPOCH + second(1000);
        for (case, clock, since_it_came, expected) in [
            ("the clocks agree", 1004, 4, 4),
            ("the clock was set back", 400, 4, 4),
            ("the machine was suspended", 5000, 4, 4000),
            ("the row comes from a clock that was ahead", 999, 0, 0),
        ] {
            let now = UtcDateTime::UNIX_EPOCH + second(clock);
            assert_eq!(age(end, now, second(since_it_came)), second(expected), "{case}");
        }
    }

    fn notes() -> BatteryNotes {
        let address = "10.0.0.2".parse().unwrap();
        BatteryNotes::new(&settings::Battery { name: "attic".to_owned(), address })
    }

    #[test]
    fn rows_and_their_counters_are_summed_but_not_those_of_a_twin() {
        let notes = notes();
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        (record.bad_crc, record.parse_fail, record.bad_vcell) = (i16::MAX, 2, -1);
        notes.stored(&record);
        notes.stored(&record);
        record.mcu_id = 2;
        notes.heard(&record);
        let battery = notes.snapshot(UtcDateTime::UNIX_EPOCH);
        assert_eq!(battery.rows, 2);
        let sums = CellBus { bad_crc: 65_534, parse_fail: 4, bad_vcell: 0 };
        assert_eq!(battery.cell_bus, sums);
        assert_eq!(battery.latest.unwrap().record.mcu_id, 2);
    }

    #[test]
    fn the_first_dial_is_no_redial() {
        let notes = notes();
        for expected in [0, 0, 1, 2] {
            assert_eq!(notes.snapshot(UtcDateTime::UNIX_EPOCH).redials, expected);
            notes.dialled();
        }
    }

    fn waits(notes: &DeliveryNotes) -> bool {
        get(&notes.queue).waits_since.is_some()
    }

    #[test]
    fn rows_wait_from_their_coming_until_none_is_found() {
        let notes = DeliveryNotes::new("server".to_owned());
        assert_eq!(notes.snapshot().waiting_for, Duration::ZERO);
        // Nothing waits, so nothing can get on.
        notes.gets_on();
        assert!(!waits(&notes));

        notes.arrived(3);
        assert!(waits(&notes));
        let look = notes.look();
        notes.delivered(1, 2);
        assert!(waits(&notes), "there may be more");
        assert_eq!(notes.snapshot().waiting, 2);
        notes.found_no_more(&look);
        assert!(!waits(&notes));
        let Delivery { delivered, waiting, .. } = notes.snapshot();
        assert_eq!((delivered, waiting), (1, 0));
    }

    #[test]
    fn a_row_that_comes_while_none_is_found_waits() {
        let notes = DeliveryNotes::new("server".to_owned());
        let look = notes.look();
        notes.arrived(1);
        notes.found_no_more(&look);
        assert!(waits(&notes));
        notes.found_no_more(&notes.look());
        assert!(!waits(&notes));
    }

    #[test]
    fn the_wait_begins_anew_with_each_row_that_is_taken() {
        let notes = DeliveryNotes::new("server".to_owned());
        notes.arrived(1);
        let begun = get(&notes.queue).waits_since;
        // However many more come, the first one has waited for longest.
        notes.arrived(1);
        assert_eq!(get(&notes.queue).waits_since, begun);
        while Instant::now() == begun.unwrap() {}
        notes.gets_on();
        assert!(get(&notes.queue).waits_since > begun);
    }
}
