//! The status of a listener: what its threads keep up to date, and what follows from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bluenova_insight::Figures;
use bluenova_record::{COLUMNS, PackRecord};
use serde::Serialize;
use time::UtcDateTime;

use crate::alarms::Alarms;
use crate::{Limits, Shared};

/// Intervals after which a value is stale: on the page, in the metrics and in the health alike.
const STALE_AFTER_INTERVALS: u32 = 3;

/// Samples after which a value that they lack is unknown: not each cycle of the console has each
/// line, and a line may be garbled.
const MOST_MISSED: u8 = 5;

/// Age from which on values say nothing of what a sample lacks.
const MISSED_FOR: Duration = Duration::from_secs(15);

/// Columns that come once a minute or so. They have their last value in a row, and here.
const RARE: [&str; 2] = ["energy_in", "energy_out"];

/// The age from which on a value is stale where a row comes every `interval`.
pub const fn stale_after(interval: Duration) -> Duration {
    interval.saturating_mul(STALE_AFTER_INTERVALS)
}

/// The status of a running listener: what its threads keep up to date.
#[derive(Clone, Debug)]
pub struct LiveStatus {
    /// When listening began, by the clock that is never set.
    pub started: Instant,
    /// Time from one row of a battery to its next one.
    pub interval: Duration,
    /// The batteries that are listened to, in the order of the command line. They come and go.
    pub batteries: Shared<Vec<Shared<BatteryStatus>>>,
    /// Where the rows are.
    pub storage: Shared<StorageStatus>,
    /// The delivery to another database, where there is one.
    pub delivery: Option<Shared<DeliveryStatus>>,
}

impl LiveStatus {
    /// A copy of everything, at the time `now`, which is `instant` by the clock that is never set.
    pub fn snapshot(&self, now: UtcDateTime, instant: Instant) -> Status {
        Status {
            now,
            instant,
            started: self.started,
            interval: self.interval,
            batteries: self.batteries.get().iter().map(Shared::get).collect(),
            storage: self.storage.get(),
            delivery: self.delivery.as_ref().map(Shared::get),
        }
    }
}

/// The status of a listener at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// The moment, in UTC.
    pub now: UtcDateTime,
    /// The same moment by the clock that is never set.
    pub instant: Instant,
    /// When listening began, by that clock.
    pub started: Instant,
    /// Time from one row of a battery to its next one.
    pub interval: Duration,
    /// The batteries of the command line, in its order.
    pub batteries: Vec<BatteryStatus>,
    /// Where the rows are.
    pub storage: StorageStatus,
    /// The delivery to another database, where there is one.
    pub delivery: Option<DeliveryStatus>,
}

/// One address of the command line, and the battery there.
#[derive(Clone, Debug)]
pub struct BatteryStatus {
    /// Name for people.
    pub name: String,
    /// Host, port and path.
    pub address: String,
    /// When it was added to a listener that was running; `None`: it was there at the start.
    pub added: Option<Instant>,
    /// Whether it is connected.
    pub connection: ConnectionState,
    /// Times that it was dialled since the start.
    pub dials: u64,
    /// Lines of a known kind that could not be parsed, since the start.
    pub malformed_lines: u64,
    /// Rows that were stored, since the start.
    pub rows: u64,
    /// Sums of the rows' three counters, since the start.
    pub cell_bus: CellBus,
    /// The MCU ID that it has sent last, which comes before its first row.
    pub announced_mcu_id: Option<u32>,
    /// The newest row of it since the start.
    pub newest: Option<Newest>,
    /// Its values of the last seconds, which are in no row yet.
    pub under_way: Option<Newest>,
    /// How many samples, one behind the other, have lacked each column.
    pub(crate) missed: [u8; COLUMNS.len()],
    /// What its samples say of it: energy, time to go, capacity, cells. `None` before the first
    /// sample.
    pub figures: Option<Arc<Figures>>,
    /// What is wrong with its values.
    pub(crate) alarms: Alarms,
}

/// Whether there is a connection to a battery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// There is one.
    Up,
    /// There is none.
    Down {
        /// The last error; `None` before there was one.
        why: Option<String>,
    },
}

/// What the firmware counted on the bus that its cells are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellBus {
    /// Bad frames.
    pub bad_crc: u64,
    /// Unparsable frames.
    pub parse_fail: u64,
    /// Cell values that the firmware rejected.
    pub bad_vcell: u64,
}

/// A row, and when it was stored.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The row.
    pub record: PackRecord,
    /// When it was stored, by the clock that is never set.
    pub received: Instant,
}

/// Where the rows are.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StorageStatus {
    /// The journal's file.
    #[serde(skip)]
    pub journal: PathBuf,
    /// Rows that are in memory only, since the file can't be written: they end with the process.
    #[serde(rename = "rows_only_in_memory")]
    pub only_in_memory: u64,
    /// Why the file can't be written.
    pub trouble: Option<String>,
}

/// The delivery of rows to another database.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryStatus {
    /// The database, without any password.
    pub server: String,
    /// Rows that it has acknowledged since the start, those that it had already among them.
    pub delivered: u64,
    /// Rows that wait for delivery.
    pub waiting: u64,
    /// Why rows can't be delivered.
    pub trouble: Option<String>,
    /// Rows in the journal that the database has rejected; `None`: not known yet.
    #[serde(skip)]
    pub set_aside: Option<u64>,
    /// Rows in the journal that the database can't take yet, and that are retried while others are
    /// delivered; `None`: not known yet.
    #[serde(skip)]
    pub retried: Option<u64>,
    /// Of the waiting rows, those that are in journals of other options.
    #[serde(skip)]
    pub in_leftovers: u64,
    /// When the first of the waiting rows arrived, or when one was acknowledged last. `None`: no
    /// row waits.
    #[serde(skip)]
    waits_since: Option<Instant>,
    /// How often rows have arrived.
    #[serde(skip)]
    arrivals: u64,
}

impl BatteryStatus {
    /// A battery that was not dialled yet.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            added: None,
            connection: ConnectionState::Down { why: None },
            dials: 0,
            malformed_lines: 0,
            rows: 0,
            cell_bus: CellBus::default(),
            announced_mcu_id: None,
            newest: None,
            under_way: None,
            missed: [0; COLUMNS.len()],
            figures: None,
            alarms: Alarms::default(),
        }
    }

    /// With these limits for its values, rather than the default ones, and a row every `interval`.
    pub fn with_limits(self, limits: Arc<Limits>, interval: Duration) -> Self {
        Self { alarms: Alarms::new(limits, interval), ..self }
    }

    /// Its newest values: those of a sample if it is newer than the newest row, else of the row.
    pub fn newest_values(&self) -> Option<&Newest> {
        self.newest.iter().chain(&self.under_way).max_by_key(|newest| newest.received)
    }

    /// A row of it was stored: counts the row and adds up its counters.
    pub fn row_stored(&mut self, record: &PackRecord, now: Instant) {
        let count = |count: i16| u64::try_from(count).unwrap_or(0);
        self.rows += 1;
        self.cell_bus.bad_crc += count(record.bad_crc);
        self.cell_bus.parse_fail += count(record.parse_fail);
        self.cell_bus.bad_vcell += count(record.bad_vcell);
        self.row_known(record, now);
    }

    /// A row of it had been stored already, by way of another address of the same battery: its
    /// values are as new, but it doesn't count again.
    pub fn row_known(&mut self, record: &PackRecord, now: Instant) {
        self.alarms.update(record, now);
        self.newest = Some(Newest { record: record.clone(), received: now });
    }

    /// Shows the values of a sample. What it lacks is as it was before, for some seconds.
    pub fn sampled(&mut self, mut record: PackRecord, now: Instant) {
        self.alarms.update(&record, now);
        let before = self.newest_values().filter(|before| {
            before.record.mcu_id == record.mcu_id
                && now.saturating_duration_since(before.received) <= MISSED_FOR
        });
        let mut missed = self.missed;
        for (column, missed) in COLUMNS.iter().zip(&mut missed) {
            if column.get(&record).is_some() {
                *missed = 0;
                continue;
            }
            *missed = missed.saturating_add(1);
            if let Some(before) = before
                && (*missed <= MOST_MISSED || RARE.contains(&column.name))
            {
                // A column takes the values that it has.
                let _ = column.set(&mut record, column.get(&before.record));
            }
        }
        self.missed = missed;
        self.under_way = Some(Newest { record, received: now });
    }

    /// The battery is connected.
    pub fn connected(&mut self) {
        self.connection = ConnectionState::Up;
    }

    /// The battery isn't connected; `why` is the error.
    pub fn disconnected(&mut self, why: String) {
        self.connection = ConnectionState::Down { why: Some(why) };
    }

    /// The battery has sent its MCU ID.
    pub fn mcu_id_announced(&mut self, mcu_id: u32) {
        self.announced_mcu_id = Some(mcu_id);
    }

    /// MCU ID of its newest row since the start, else the one that it has sent; `None` before.
    pub fn mcu_id(&self) -> Option<u32> {
        let of_row = self.newest.as_ref().map(|newest| newest.record.mcu_id);
        of_row.or(self.announced_mcu_id)
    }

    /// Times that it was dialled again: the first dial doesn't count.
    pub fn redials(&self) -> u64 {
        self.dials.saturating_sub(1)
    }
}

impl ConnectionState {
    /// The last error, if it is down.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Up => None,
            Self::Down { why } => why.as_deref(),
        }
    }
}

impl DeliveryStatus {
    /// A delivery to `server`, without any password, for which no row waits yet.
    pub fn new(server: String) -> Self {
        Self {
            server,
            delivered: 0,
            waiting: 0,
            trouble: None,
            set_aside: None,
            retried: None,
            in_leftovers: 0,
            waits_since: None,
            arrivals: 0,
        }
    }

    /// Rows wait in journals of other options, too.
    pub fn leftovers_found(&mut self, rows: u64, now: Instant) {
        self.in_leftovers = rows;
        if rows > 0 {
            self.rows_arrived(self.waiting, now);
        }
    }

    /// Rows have arrived in the journal; `waiting` rows of it wait now.
    pub fn rows_arrived(&mut self, waiting: u64, now: Instant) {
        self.waiting = waiting + self.in_leftovers;
        self.arrivals += 1;
        self.waits_since.get_or_insert(now);
    }

    /// How often rows have arrived: to be read before looking for rows, and given to
    /// [`found_none`](Self::found_none) if there were none.
    pub fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// There were no rows to deliver when `arrivals` was read: only rows that arrived since can
    /// wait.
    pub fn found_none(&mut self, arrivals: u64, now: Instant) {
        self.in_leftovers = 0;
        if self.arrivals == arrivals {
            (self.waiting, self.waits_since) = (0, None);
        } else {
            self.waits_since = Some(now);
        }
    }

    /// Some of the waiting rows were acknowledged or set aside.
    pub fn progressed(&mut self, now: Instant) {
        if let Some(since) = &mut self.waits_since {
            *since = now;
        }
    }

    /// `rows` rows were acknowledged, and `waiting` rows still wait.
    pub fn rows_delivered(&mut self, rows: u64, waiting: u64, now: Instant) {
        self.delivered += rows;
        self.waiting = waiting;
        self.progressed(now);
    }

    /// How long rows have been waiting at `now` without any being acknowledged; zero if none wait.
    pub fn waiting_for(&self, now: Instant) -> Duration {
        self.waits_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default()
    }
}

impl Status {
    /// The age from which on a value is stale.
    pub fn stale_after(&self) -> Duration {
        stale_after(self.interval)
    }

    /// Time since the end of a row's interval.
    ///
    /// It is the greater one of what two clocks say: neither a clock that was set back nor a
    /// suspended machine, for which the other clock may stand still, makes an old row look new.
    pub fn age(&self, newest: &Newest) -> Duration {
        let by_wall_clock = Duration::try_from(self.now - newest.record.insert_time_utc);
        let since_received = self.instant.saturating_duration_since(newest.received);
        by_wall_clock.unwrap_or_default().max(since_received)
    }

    /// Whether a value of that age is too old to be shown as a current one.
    pub fn is_stale(&self, age: Duration) -> bool {
        age > self.stale_after()
    }

    /// Whether rows have waited for delivery for longer than a value may be old.
    pub fn is_stuck(&self, delivery: &DeliveryStatus) -> bool {
        delivery.waiting_for(self.instant) > self.stale_after()
    }

    /// Time until the battery's first row since the start is due: at the end of the interval in
    /// which listening to it began. It is zero for the three intervals after that, in which the row
    /// may still come; `None`: there is a row, or it is overdue.
    pub fn first_row_due_in(&self, battery: &BatteryStatus) -> Option<Duration> {
        if battery.newest.is_some() {
            return None;
        }
        let started = battery.added.unwrap_or(self.started);
        let since_start = self.instant.saturating_duration_since(started);
        let due = self.first_interval_end(started);
        let is_overdue = since_start > due.saturating_add(self.stale_after());
        (!is_overdue).then(|| due.saturating_sub(since_start))
    }

    /// Time from `started` to the end of the interval that it was in: intervals end at their
    /// multiples in UTC.
    fn first_interval_end(&self, started: Instant) -> Duration {
        let interval = self.interval.as_nanos().max(1);
        let since_start = self.instant.saturating_duration_since(started).as_nanos() % interval;
        let now =
            self.now.unix_timestamp_nanos().rem_euclid(interval.cast_signed()).cast_unsigned();
        let into_interval = (now + interval - since_start) % interval;
        let left = u64::try_from(interval - into_interval).unwrap_or(u64::MAX);
        Duration::from_nanos(left)
    }
}

/// A length of time in its two largest units, for people to read.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn status(now: UtcDateTime, instant: Instant) -> Status {
        let live = LiveStatus {
            started: instant,
            interval: SECOND,
            batteries: Shared::default(),
            storage: Shared::new(StorageStatus::default()),
            delivery: None,
        };
        live.snapshot(now, instant)
    }

    #[test]
    fn the_first_row_is_due_at_the_end_of_the_first_interval_and_overdue_three_later() {
        let started = Instant::now();
        let mut battery = BatteryStatus::new("attic", "10.0.0.2:9000/ws/");
        // Listening begins 3 s into an interval of 10 s.
        for (since_start, expected) in
            [(0, Some(7)), (4, Some(3)), (7, Some(0)), (30, Some(0)), (37, Some(0)), (38, None)]
        {
            let now = UtcDateTime::UNIX_EPOCH + (1003 + since_start) * SECOND;
            let mut status = status(now, started + since_start * SECOND);
            (status.started, status.interval) = (started, 10 * SECOND);
            let expected = expected.map(Duration::from_secs);
            assert_eq!(status.first_row_due_in(&battery), expected, "{since_start}");
            status.batteries = vec![battery.clone()];
            assert_eq!(status.problems().is_empty(), expected.is_some(), "{since_start}");
        }
        // A start at the very end of an interval is in the next one.
        let mut at_end = status(UtcDateTime::UNIX_EPOCH + 1000 * SECOND, started);
        at_end.interval = 10 * SECOND;
        assert_eq!(at_end.first_row_due_in(&battery), Some(10 * SECOND));
        // One that is added later has as much time.
        let mut later = status(UtcDateTime::UNIX_EPOCH + 2002 * SECOND, started + 1000 * SECOND);
        (later.started, later.interval) = (started, 10 * SECOND);
        assert_eq!(later.first_row_due_in(&battery), None);
        battery.added = Some(later.instant);
        assert_eq!(later.first_row_due_in(&battery), Some(8 * SECOND));
        battery.row_stored(&PackRecord::new(UtcDateTime::UNIX_EPOCH, 1), started);
        assert_eq!(at_end.first_row_due_in(&battery), None);
    }

    #[test]
    fn an_mcu_id_is_that_of_the_row_or_else_the_one_that_was_sent() {
        let mut battery = BatteryStatus::new("attic", "10.0.0.2:9000/ws/");
        assert_eq!(battery.mcu_id(), None);
        battery.mcu_id_announced(2);
        assert_eq!(battery.mcu_id(), Some(2));
        battery.row_stored(&PackRecord::new(UtcDateTime::UNIX_EPOCH, 1), Instant::now());
        assert_eq!(battery.mcu_id(), Some(1));
    }

    #[test]
    fn what_a_sample_lacks_is_as_before_for_some_seconds() {
        let start = Instant::now();
        let mut battery = BatteryStatus::new("attic", "10.0.0.2:9000/ws/");
        let mut row = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        (row.soc, row.temp, row.energy_in) = (Some(50), Some(20), Some(7.5));
        battery.row_stored(&row, start);
        let mut sample = |second: u32, mcu_id, soc| {
            let mut sample = PackRecord::new(UtcDateTime::UNIX_EPOCH + second * SECOND, mcu_id);
            sample.soc = soc;
            battery.sampled(sample, start + second * SECOND);
            let shown = &battery.under_way.as_ref().unwrap().record;
            (shown.soc, shown.temp, shown.energy_in)
        };
        for second in [2, 4, 6, 8, 10] {
            let soc = (second != 6).then_some(51);
            assert_eq!(sample(second, 1, soc), (Some(51), Some(20), Some(7.5)), "{second}");
        }
        // None of them has a temperature, which is unknown now. Energies come once a minute.
        assert_eq!(sample(12, 1, Some(52)), (Some(52), None, Some(7.5)));
        // After a silence all is new, and so it is of another battery.
        assert_eq!(sample(28, 1, None), (None, None, None));
        assert_eq!(sample(29, 1, Some(53)), (Some(53), None, None));
        assert_eq!(sample(30, 2, None), (None, None, None));
    }

    #[test]
    fn an_old_row_never_looks_fresh() {
        let received = Instant::now();
        let end = UtcDateTime::UNIX_EPOCH + 1000 * SECOND;
        let newest = Newest { record: PackRecord::new(end, 1), received };
        for (case, clock, since_received, expected) in [
            ("the clocks agree", 1004, 4, 4),
            ("the clock was set back", 400, 4, 4),
            ("the machine was suspended", 5000, 4, 4000),
            ("the row comes from a clock that was ahead", 999, 0, 0),
        ] {
            let now = UtcDateTime::UNIX_EPOCH + clock * SECOND;
            let status = status(now, received + since_received * SECOND);
            assert_eq!(status.age(&newest), expected * SECOND, "{case}");
        }
        let before = status(end, received.checked_sub(SECOND).unwrap());
        assert_eq!(before.age(&newest), Duration::ZERO, "received while the snapshot was taken");
    }

    #[test]
    fn rows_and_their_counters_are_summed_but_not_those_of_a_twin() {
        let mut battery = BatteryStatus::new("attic", "10.0.0.2:9000/ws/");
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        (record.bad_crc, record.parse_fail, record.bad_vcell) = (i16::MAX, 2, -1);
        let now = Instant::now();
        battery.row_stored(&record, now);
        battery.row_stored(&record, now);
        record.mcu_id = 2;
        battery.row_known(&record, now + SECOND);
        assert_eq!(battery.rows, 2);
        let sums = CellBus { bad_crc: 65_534, parse_fail: 4, bad_vcell: 0 };
        assert_eq!(battery.cell_bus, sums);
        assert_eq!(battery.mcu_id(), Some(2));
        assert_eq!(battery.newest.unwrap().received, now + SECOND);
    }

    #[test]
    fn the_first_dial_is_no_redial() {
        let mut battery = BatteryStatus::new("attic", "10.0.0.2:9000/ws/");
        for expected in [0, 0, 1, 2] {
            assert_eq!(battery.redials(), expected);
            battery.dials += 1;
        }
    }

    #[test]
    fn a_connection_has_its_last_error() {
        let mut battery = BatteryStatus::new("attic", "10.0.0.2:9000/ws/");
        assert_eq!(battery.connection.trouble(), None);
        battery.disconnected("refused".to_owned());
        assert_eq!(battery.connection.trouble(), Some("refused"));
        battery.connected();
        assert_eq!(
            (battery.connection.trouble(), &battery.connection),
            (None, &ConnectionState::Up)
        );
    }

    #[test]
    fn rows_wait_from_their_arrival_until_none_is_found() {
        let start = Instant::now();
        let mut delivery = DeliveryStatus::new("server".to_owned());
        let waits = |delivery: &DeliveryStatus| delivery.waits_since.is_some();
        assert_eq!(delivery.waiting_for(start), Duration::ZERO);
        // No row waits, so no progress can be made.
        delivery.progressed(start);
        assert!(!waits(&delivery));

        delivery.rows_arrived(3, start);
        assert_eq!(delivery.waiting_for(start + SECOND), SECOND);
        let arrivals = delivery.arrivals();
        delivery.rows_delivered(1, 2, start + SECOND);
        assert!(waits(&delivery), "there may be more");
        assert_eq!(delivery.waiting, 2);
        delivery.found_none(arrivals, start + 2 * SECOND);
        assert!(!waits(&delivery));
        assert_eq!((delivery.delivered, delivery.waiting), (1, 0));
        assert_eq!(delivery.waiting_for(start + 3 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_row_that_arrives_while_none_is_found_waits() {
        let start = Instant::now();
        let mut delivery = DeliveryStatus::new("server".to_owned());
        let arrivals = delivery.arrivals();
        delivery.rows_arrived(1, start);
        delivery.found_none(arrivals, start + SECOND);
        assert_eq!(delivery.waiting_for(start + 3 * SECOND), 2 * SECOND);
        assert_eq!(delivery.waiting, 1);
        delivery.found_none(delivery.arrivals(), start + SECOND);
        assert!(delivery.waits_since.is_none());
    }

    #[test]
    fn rows_in_journals_of_other_options_wait_too() {
        let start = Instant::now();
        let mut delivery = DeliveryStatus::new("server".to_owned());
        delivery.leftovers_found(0, start);
        assert!(delivery.waits_since.is_none());
        delivery.rows_arrived(1, start);
        delivery.leftovers_found(3, start + SECOND);
        assert_eq!(delivery.waiting, 4);
        delivery.rows_arrived(2, start + SECOND);
        assert_eq!(delivery.waiting, 5);
        delivery.found_none(delivery.arrivals(), start + SECOND);
        delivery.rows_arrived(1, start + SECOND);
        assert_eq!(delivery.waiting, 1);
    }

    #[test]
    fn the_wait_begins_again_with_each_row_that_is_acknowledged() {
        let start = Instant::now();
        let mut delivery = DeliveryStatus::new("server".to_owned());
        delivery.rows_arrived(1, start);
        // However many more arrive, the first one has waited for longest.
        delivery.rows_arrived(2, start + SECOND);
        assert_eq!(delivery.waiting_for(start + 2 * SECOND), 2 * SECOND);
        delivery.progressed(start + 2 * SECOND);
        assert_eq!(delivery.waiting_for(start + 3 * SECOND), SECOND);
    }
}
