use std::{
    collections::{HashMap, HashSet},
    iter, mem,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use bluenova_journal::{BATCH, Error, Event, EventKind, Spool};
use bluenova_status::{LiveStatus, Shared};
use log::{info, warn};
use time::UtcDateTime;

use super::{
    Assembled, NewEvent, RecorderMessage, RecorderProgress,
    events::EventTimes,
    held_rows::{HeldRow, HeldRows},
    insights::Insights,
    spool_log::SpoolLog,
};
use crate::{console::rows, service_manager::Watchdog};

mod batteries;
mod report;
mod statistics;
mod twins;

use batteries::ListenedBatteries;
use report::summary;

/// How often the journal is trimmed.
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);

/// How often it is looked whether the clock is set, until it is.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// Time for a recovery to end, and for PostgreSQL to take the rows that are in memory only, when
/// the program ends.
const LAST_DELIVERY: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Journal(#[from] Error),
    #[error("{rows} in memory only are lost: the journal could not be written")]
    Lost { rows: String },
}

/// What the recorder receives, and who sees every record that was stored.
pub(crate) struct RecorderInputs {
    /// The recorder ends when all senders of these are gone.
    pub(crate) messages: Receiver<RecorderMessage>,
    /// Events that need not wake the recorder.
    pub(crate) server_events: Receiver<NewEvent>,
    pub(crate) observer: Option<Sender<Assembled>>,
    /// What the battery threads have worked out, to be stored now and then.
    pub(crate) insights: Insights,
    /// Fed as long as the recorder goes on.
    pub(crate) watchdog: Watchdog,
}

/// Puts every record into the spool before anything else happens to it.
pub(crate) struct Recorder {
    messages: Receiver<RecorderMessage>,
    server_events: Receiver<NewEvent>,
    spool: Spool,
    progress: Shared<RecorderProgress>,
    status: LiveStatus,
    observer: Option<Sender<Assembled>>,
    spool_log: SpoolLog,
    event_times: EventTimes,
    /// That the listener has started, once the journal has it. It lasts until the last sign of
    /// life.
    started: Option<Event>,
    /// Whether a row was stored since the last sign of life: it is one, too.
    has_stored: bool,
    /// Where rows go, as the last event of that has it.
    rows_go: EventKind,
    batteries: ListenedBatteries,
    held: HeldRows,
    insights: Insights,
    watchdog: Watchdog,
    /// How old a row may become until it is synced to the disk.
    sync_after: Duration,
    /// The latest row of each MCU ID, and which battery it came from.
    latest: HashMap<u32, (UtcDateTime, usize)>,
    /// Pairs of addresses that lead to the same battery.
    twins: HashSet<(usize, usize)>,
}

impl Recorder {
    /// A row is synced to the disk within `sync_after`.
    ///
    /// # Errors
    /// Neither file nor memory takes an event.
    pub(crate) fn new(
        inputs: RecorderInputs,
        spool: Spool,
        sync_after: Duration,
        progress: Shared<RecorderProgress>,
        status: LiveStatus,
    ) -> Result<Self, Error> {
        let RecorderInputs { messages, server_events, observer, insights, watchdog } = inputs;
        let spool_log = SpoolLog::new(status.storage.get().journal);
        let held = HeldRows::new(status.interval);
        let (latest, twins) = (HashMap::new(), HashSet::new());
        let mut event_times = EventTimes::begin(UtcDateTime::now(), Instant::now());
        let now = UtcDateTime::now();
        let started = Event::started(now, env!("CARGO_PKG_VERSION"), status.interval);
        event_times.add(NewEvent::now(started.kind, started.detail));
        let mut recorder = Self {
            messages,
            server_events,
            spool,
            progress,
            status,
            observer,
            spool_log,
            event_times,
            started: None,
            has_stored: false,
            rows_go: EventKind::InFile,
            batteries: ListenedBatteries::default(),
            held,
            insights,
            watchdog,
            sync_after,
            latest,
            twins,
        };
        recorder.report();
        recorder.store_events()?;
        // Rows of an earlier run.
        if recorder.spool.waiting() > 0 {
            recorder.announce_rows();
        }
        Ok(recorder)
    }

    /// Records until all senders of records are gone.
    ///
    /// # Errors
    /// Neither file nor memory takes a record, or rows in memory are lost at the end.
    pub(crate) fn run(mut self) -> Result<(), RecordError> {
        let mut due = Instant::now() + MAINTAIN_EVERY;
        let mut sync_due = None;
        let mut statistics_due = Instant::now() + statistics::LOOK_EVERY;
        loop {
            let clock_due = self.event_times.wait_for_clock().then(|| Instant::now() + CLOCK_EVERY);
            let others = self.held.due().into_iter().chain(sync_due).chain(clock_due);
            let others = others.chain([statistics_due]).chain(self.watchdog.due());
            let wake = others.fold(due, Instant::min);
            match self.messages.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(first) => self.take(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.watchdog.feed(Instant::now());
            let held = self.held.take_due(Instant::now());
            self.store(held)?;
            self.forget_removed();
            self.store_events()?;
            if Instant::now() >= statistics_due {
                self.store_statistics()?;
                statistics_due = Instant::now() + statistics::LOOK_EVERY;
            }
            if Instant::now() >= due || self.is_journal_damaged() {
                if Instant::now() >= due {
                    self.show_life()?;
                }
                self.maintain()?;
                due = Instant::now() + MAINTAIN_EVERY;
            } else if sync_due.is_some_and(|due| Instant::now() >= due) {
                self.sync()?;
            }
            sync_due = match self.spool.is_synced() {
                true => None,
                false => sync_due.or(Some(Instant::now() + self.sync_after)),
            };
        }
        let held = self.held.take_all();
        self.store(held)?;
        self.event_times.add(NewEvent::now(EventKind::Stopped, ""));
        self.store_events()?;
        self.store_all_statistics()?;
        self.maintain()?;
        let deadline = Instant::now() + LAST_DELIVERY;
        self.wait_for_recovery(deadline)?;
        self.wait_for_delivery(deadline)
    }

    /// Whether the journal has to be maintained at once. Looking asks the disk, which may hang.
    fn is_journal_damaged(&self) -> bool {
        self.is_busy(true);
        let is_damaged = self.spool.is_damaged(UtcDateTime::now());
        self.is_busy(false);
        is_damaged
    }

    /// Gives a recovery under way the time to end, as it does unless the file is large.
    fn wait_for_recovery(&mut self, deadline: Instant) -> Result<(), Error> {
        while self.spool.is_recovering() {
            if self.spool.is_damaged(UtcDateTime::now()) {
                self.maintain()?;
            } else if Instant::now() < deadline {
                thread::sleep(LAST_DELIVERY / 100);
            } else {
                info!("the journal is still being recovered; that is done at the next start");
                break;
            }
        }
        Ok(())
    }

    /// Waits until no row is in memory only, since memory ends with the program.
    fn wait_for_delivery(&self, deadline: Instant) -> Result<(), RecordError> {
        let mut count = self.spool.only_in_memory();
        if count > 0 && self.status.delivery.is_some() {
            warn!("{} in memory only; waiting for PostgreSQL to take them", rows(count));
            while count > 0 && Instant::now() < deadline {
                thread::sleep(LAST_DELIVERY / 100);
                count = self.spool.only_in_memory();
            }
        }
        if count == 0 { Ok(()) } else { Err(RecordError::Lost { rows: rows(count) }) }
    }

    fn take(&mut self, first: RecorderMessage) {
        let now = Instant::now();
        let more = self.messages.try_iter().take(BATCH - 1);
        // Made once for all rows of this call: there may be thousands of batteries.
        let mut announced = None;
        for message in iter::once(first).chain(more) {
            match message {
                RecorderMessage::Row(assembled) => {
                    self.batteries.row_came_from(assembled.battery);
                    let batteries = &self.batteries;
                    let twins = |mcu_id| {
                        let announced = announced.get_or_insert_with(|| batteries.by_mcu_id());
                        announced.get(&mcu_id).cloned().unwrap_or_default()
                    };
                    self.held.add(assembled, twins, now);
                }
                RecorderMessage::Event(event) => self.event_times.add(event),
                RecorderMessage::Added { number, status } => {
                    self.batteries.add(number, status);
                }
                RecorderMessage::Removed { number } => {
                    self.batteries.remove(number);
                    announced = None;
                }
            }
        }
    }

    fn store_events(&mut self) -> Result<(), Error> {
        for event in self.server_events.try_iter() {
            self.event_times.add(event);
        }
        let events = self.event_times.take(UtcDateTime::now(), Instant::now());
        if let Some(started) = events.iter().find(|event| event.kind == EventKind::Started) {
            self.started = Some(started.clone());
        }
        self.put_events(&events)
    }

    /// Has the journal show that the listener runs, if no row has done that lately.
    fn show_life(&mut self) -> Result<(), Error> {
        match &self.started {
            Some(started) if !mem::take(&mut self.has_stored) => {
                let until = Some(UtcDateTime::now());
                self.put_events(&[Event { until, ..started.clone() }])
            }
            _ => Ok(()),
        }
    }

    fn put_events(&mut self, events: &[Event]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        self.is_busy(true);
        let stored = self.spool.put_events(events);
        self.is_busy(false);
        self.report();
        stored
    }

    fn store(&mut self, rows: Vec<HeldRow>) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            self.log_twins(row);
        }
        // A row that comes after all held ones of its interval were stored is too late.
        let assembled: u64 = rows.iter().map(|row| row.batteries.len() as u64).sum();
        let (rows, doubles): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| self.is_first_of_its_row(row));
        let (records, batteries): (Vec<_>, Vec<_>) =
            rows.into_iter().map(|row| (row.record, row.batteries)).unzip();
        self.is_busy(true);
        let appended = self.spool.append(&records);
        self.is_busy(false);
        self.progress.update(|progress| progress.unstored -= assembled.min(progress.unstored));
        self.report();
        appended?;
        if !records.is_empty() {
            self.has_stored = true;
            self.announce_rows();
        }
        let now = Instant::now();
        let is_in_file = !self.spool.is_in_memory();
        for (batteries, record) in batteries.into_iter().zip(records) {
            if is_in_file {
                self.insights.row_stored(&record);
            }
            let Some((&battery, others)) = batteries.split_first() else { continue };
            self.batteries.update(battery, |status| status.row_stored(&record, now));
            for &other in others {
                self.batteries.update(other, |status| status.row_known(&record, now));
            }
            let name =
                self.batteries.name(battery).unwrap_or_else(|| format!("{:08X}", record.mcu_id));
            info!("{name}: stored {}", summary(&record));
            if let Some(observer) = &self.observer {
                // Recording goes on without the observer.
                let _ = observer.send(Assembled { battery, record });
            }
        }
        // The row of the other address is stored; this address isn't stale either.
        for HeldRow { record, batteries, .. } in doubles {
            for battery in batteries {
                self.batteries.update(battery, |status| status.row_known(&record, now));
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.is_busy(true);
        let synced = self.spool.sync();
        self.is_busy(false);
        self.report();
        synced
    }

    fn maintain(&mut self) -> Result<(), Error> {
        self.is_busy(true);
        let maintained = self.spool.maintain(UtcDateTime::now());
        self.is_busy(false);
        if self.report() {
            self.announce_rows();
        }
        maintained
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::mpsc};

    use bluenova_journal::Reader;
    use bluenova_status::StorageStatus;

    use super::*;
    use crate::service_manager::{ServiceManager, tests::socket};

    /// A recorder into a database at `path`, to which nobody sends.
    pub(super) fn recorder(path: &Path) -> Recorder {
        let spool = Spool::open_database(path, UtcDateTime::now()).unwrap();
        let status = LiveStatus {
            started: Instant::now(),
            interval: Duration::from_secs(10),
            batteries: Shared::default(),
            storage: Shared::new(StorageStatus { journal: path.to_owned(), ..Default::default() }),
            delivery: None,
        };
        let (_to_recorder, messages) = mpsc::channel();
        let (_to_events, server_events) = mpsc::channel();
        let insights = Insights::new(Duration::from_secs(10));
        let watchdog = Watchdog::new(ServiceManager::default(), Instant::now());
        let inputs = RecorderInputs { messages, server_events, observer: None, insights, watchdog };
        let progress = Shared::default();
        Recorder::new(inputs, spool, MAINTAIN_EVERY, progress, status).unwrap()
    }

    #[test]
    fn a_recorder_that_is_stuck_outside_its_disk_does_not_feed_the_watchdog() {
        let directory = tempfile::tempdir().unwrap();
        let mut recorder = recorder(&directory.path().join("db"));
        let within = Duration::from_millis(40);
        let (socket, manager, _directory) = socket(within);
        recorder.watchdog = Watchdog::new(manager, Instant::now());
        let (to_recorder, messages) = mpsc::channel();
        recorder.messages = messages;
        let status = recorder.status.storage.clone();
        let thread = thread::spawn(|| recorder.run());
        let is_fed_within = |time| {
            socket.set_read_timeout(Some(time)).unwrap();
            socket.recv(&mut [0; 100]).is_ok()
        };
        for _ in 0..3 {
            assert!(is_fed_within(Duration::from_secs(60)));
        }
        status.update(|_| {
            to_recorder.send(RecorderMessage::Event(NewEvent::now(EventKind::InFile, ""))).unwrap();
            // What it sent before it got stuck.
            let deadline = Instant::now() + Duration::from_secs(60);
            while is_fed_within(within * 10) {
                assert!(Instant::now() < deadline, "it goes on");
            }
        });
        assert!(is_fed_within(Duration::from_secs(60)), "it goes on now");
        drop(to_recorder);
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn a_minute_without_a_row_has_a_sign_of_life() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let mut recorder = recorder(&path);
        let reader = Reader::open(&path).unwrap();
        let started = || {
            let mut events = reader.events().unwrap();
            assert_eq!((events.len(), events[0].kind), (1, EventKind::Started));
            events.remove(0)
        };
        assert_eq!(started().until, None);

        recorder.has_stored = true;
        recorder.show_life().unwrap();
        assert_eq!(started().until, None, "a row is a sign of life, too");
        let before = UtcDateTime::now().truncate_to_second();
        recorder.show_life().unwrap();
        assert!(started().until >= Some(before));
    }
}
