//! The recorder thread: every record goes into the journal before anything else happens to it.

use std::{
    collections::{HashMap, HashSet},
    iter,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use bluenova_journal::Error;
use bluenova_record::PackRecord;
use log::{info, warn};
use time::UtcDateTime;

use crate::{battery::Assembled, delivery::BATCH, status::BatteryNotes, storage::Storage, text};

/// How often the journal is made safe against power loss, and trimmed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// Keeps the records of all batteries.
pub(crate) struct Recorder {
    records: Receiver<Assembled>,
    /// Those of the command line.
    batteries: Vec<Arc<BatteryNotes>>,
    storage: Storage,
    observer: Option<Sender<Assembled>>,
    /// The latest row of each MCU ID, and which battery of the command line it came from.
    latest: HashMap<u32, (UtcDateTime, usize)>,
    /// Pairs of batteries that are the same one.
    twins: HashSet<(usize, usize)>,
}

impl Recorder {
    /// `observer` sees every record that was stored.
    pub(crate) fn new(
        records: Receiver<Assembled>,
        batteries: Vec<Arc<BatteryNotes>>,
        storage: Storage,
        observer: Option<Sender<Assembled>>,
    ) -> Self {
        let (latest, twins) = (HashMap::new(), HashSet::new());
        Self { records, batteries, storage, observer, latest, twins }
    }

    /// Records until nobody sends any more.
    ///
    /// # Errors
    /// Neither file nor memory takes a record.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let mut checkpoint = Instant::now() + CHECKPOINT_EVERY;
        loop {
            match self.records.recv_timeout(checkpoint.saturating_duration_since(Instant::now())) {
                Ok(first) => self.store(first)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= checkpoint || self.storage.is_damaged() {
                self.storage.maintain(UtcDateTime::now());
                checkpoint = Instant::now() + CHECKPOINT_EVERY;
            }
        }
        self.storage.maintain(UtcDateTime::now());
        match self.storage.only_in_memory() {
            0 => {}
            rows => warn!(
                "{rows} rows are in memory only: they are lost unless PostgreSQL takes them now"
            ),
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
        self.storage.append(&records)?;
        for (battery, record) in batteries.into_iter().zip(records) {
            let notes = &self.batteries[battery];
            notes.stored(&record);
            info!("{}: stored {}", notes.name, summary(&record));
            if let Some(observer) = &self.observer {
                // Who has stopped watching is no reason to stop recording.
                let _ = observer.send(Assembled { battery, record });
            }
        }
        // It is stored by way of the other address: this one is no less fresh.
        for Assembled { battery, record } in doubles {
            self.batteries[battery].heard(&record);
        }
        Ok(())
    }

    /// One battery may be listened to under two addresses: by cable and by wireless, or by mistake.
    /// Its row is the one that comes first.
    fn is_first_of_its_row(&mut self, battery: usize, record: &PackRecord) -> bool {
        let latest = (record.insert_time_utc, battery);
        let (stamp, other) = *self.latest.entry(record.mcu_id).or_insert(latest);
        if stamp == record.insert_time_utc && other != battery {
            if self.twins.insert((other.min(battery), other.max(battery))) {
                let [one, two] = [other, battery].map(|index| &self.batteries[index].name);
                let id = record.mcu_id;
                warn!("{one} and {two} are the same battery, {id:08X}; one row of it is stored");
            }
            return false;
        }
        self.latest.insert(record.mcu_id, latest);
        true
    }
}

/// What a person wants to know of a row.
fn summary(record: &PackRecord) -> String {
    let mut summary = text::timestamp(record.insert_time_utc);
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
