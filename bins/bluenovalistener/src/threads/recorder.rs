use std::{
    collections::{HashMap, HashSet},
    iter,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use bluenova_http::{BatteryStatus, LiveStatus, Shared};
use bluenova_journal::{BATCH, Error, Notice, Spool};
use bluenova_record::{PackRecord, Timestamp};
use log::{info, warn};
use time::UtcDateTime;

use super::{Assembled, spool_log::SpoolLog};
use crate::console::rows;

/// How often the journal is synced to the disk, and trimmed.
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);

/// Puts every record into the spool before anything else happens to it.
pub(crate) struct Recorder {
    records: Receiver<Assembled>,
    spool: Spool,
    status: LiveStatus,
    observer: Option<Sender<Assembled>>,
    spool_log: SpoolLog,
    /// The latest row of each MCU ID, and which battery of the command line it came from.
    latest: HashMap<u32, (UtcDateTime, usize)>,
    /// Pairs of addresses that lead to the same battery.
    twins: HashSet<(usize, usize)>,
}

impl Recorder {
    /// `observer` sees every record that was stored.
    pub(crate) fn new(
        records: Receiver<Assembled>,
        spool: Spool,
        status: LiveStatus,
        observer: Option<Sender<Assembled>>,
    ) -> Self {
        let spool_log = SpoolLog::new(status.storage.get().journal);
        let (latest, twins) = (HashMap::new(), HashSet::new());
        let mut recorder = Self { records, spool, status, observer, spool_log, latest, twins };
        recorder.report();
        // Rows of an earlier run.
        if recorder.spool.waiting() > 0 {
            recorder.announce_rows();
        }
        recorder
    }

    /// Records until all senders of records are gone.
    ///
    /// # Errors
    /// Neither file nor memory takes a record.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let mut due = Instant::now() + MAINTAIN_EVERY;
        loop {
            match self.records.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(first) => self.store(first)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= due || self.spool.is_damaged(UtcDateTime::now()) {
                self.maintain()?;
                due = Instant::now() + MAINTAIN_EVERY;
            }
        }
        self.maintain()?;
        match self.spool.only_in_memory() {
            0 => {}
            count => {
                let rows = rows(count);
                warn!(
                    "{rows} in memory only, and lost unless PostgreSQL takes them within seconds"
                );
            }
        }
        Ok(())
    }

    fn store(&mut self, first: Assembled) -> Result<(), Error> {
        let (mut batteries, mut records, mut doubles) = (Vec::new(), Vec::new(), Vec::new());
        let more = self.records.try_iter().take(BATCH - 1).collect::<Vec<_>>();
        for Assembled { battery, record } in iter::once(first).chain(more) {
            if self.is_first_of_its_row(battery, &record) {
                batteries.push(battery);
                records.push(record);
            } else {
                doubles.push(Assembled { battery, record });
            }
        }
        let appended = self.spool.append(&records);
        self.report();
        appended?;
        if !records.is_empty() {
            self.announce_rows();
        }
        let now = Instant::now();
        for (battery, record) in batteries.into_iter().zip(records) {
            self.battery(battery).update(|status| status.row_stored(&record, now));
            info!("{}: stored {}", self.name(battery), summary(&record));
            if let Some(observer) = &self.observer {
                // Recording goes on without the observer.
                let _ = observer.send(Assembled { battery, record });
            }
        }
        // The row of the other address is stored; this address isn't stale either.
        for Assembled { battery, record } in doubles {
            self.battery(battery).update(|status| status.row_known(&record, now));
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), Error> {
        let maintained = self.spool.maintain(UtcDateTime::now());
        if self.report() {
            self.announce_rows();
        }
        maintained
    }

    /// Puts what happened to the spool into log and status; returns whether rows have moved.
    fn report(&mut self) -> bool {
        let only_in_memory = self.spool.only_in_memory();
        self.status.storage.update(|storage| storage.only_in_memory = only_in_memory);
        let mut have_moved = false;
        for notice in self.spool.take_notices() {
            have_moved |= matches!(notice, Notice::InFile { .. } | Notice::Recovered(_));
            self.spool_log.report(&notice, &self.status.storage);
        }
        have_moved
    }

    /// Has the forwarder look for rows. The status comes first, or rows that are delivered at once
    /// would count as waiting.
    fn announce_rows(&self) {
        if let Some(delivery) = &self.status.delivery {
            let waiting = self.spool.waiting();
            delivery.update(|delivery| delivery.rows_arrived(waiting, Instant::now()));
        }
        self.spool.wake_outbox();
    }

    /// One battery may be listened to under two addresses: by cable and by wireless, or by mistake.
    /// Its row is the one that comes first.
    fn is_first_of_its_row(&mut self, battery: usize, record: &PackRecord) -> bool {
        let latest = (record.insert_time_utc, battery);
        let (time, other) = *self.latest.entry(record.mcu_id).or_insert(latest);
        if time == record.insert_time_utc && other != battery {
            if self.twins.insert((other.min(battery), other.max(battery))) {
                let (one, two, id) = (self.name(other), self.name(battery), record.mcu_id);
                warn!(
                    "{one} and {two} are the same battery, {id:08X}: one row per interval is stored"
                );
            }
            return false;
        }
        self.latest.insert(record.mcu_id, latest);
        true
    }

    fn battery(&self, index: usize) -> &Shared<BatteryStatus> {
        &self.status.batteries[index]
    }

    fn name(&self, index: usize) -> String {
        self.battery(index).update(|status| status.name.clone())
    }
}

/// The values of a row that the log shows.
fn summary(record: &PackRecord) -> String {
    let mut summary = Timestamp(record.insert_time_utc).to_string();
    let mut add = |value: Option<String>, unit| {
        if let Some(value) = value {
            summary.push_str("  ");
            summary.push_str(&value);
            summary.push(' ');
            summary.push_str(unit);
        }
    };
    add(record.soc.map(|soc| soc.to_string()), "%");
    add(record.v_pack.map(|v| format!("{v:.2}")), "V");
    add(record.i_pack.map(|i| format!("{i:+.2}")), "A");
    add(record.temp.map(|t| t.to_string()), "°C");
    summary
}
