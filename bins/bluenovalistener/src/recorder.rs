//! The recorder thread: every record goes into the journal before anything else happens to it.

use std::{
    collections::{HashMap, HashSet},
    iter,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError},
    time::{Duration, Instant},
};

use bluenova_journal::{Error, Journal, Outbox, Retention};
use bluenova_record::PackRecord;
use log::{error, info, warn};
use time::UtcDateTime;

use crate::{battery::Assembled, forwarder::Source, outage::Outage, text};

/// How often the journal is made safe against power loss, and trimmed.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// Records that go into the journal in one transaction at most.
const BATCH: usize = 1000;

/// What the journal may take in memory, while its file can't be written: nearly a week of one
/// battery at ten seconds.
const MEMORY: Retention = Retention { keep: Some(Duration::ZERO), bound: Some(16 << 20) };

/// Where records go on to once they are in the journal.
pub(crate) struct Downstream {
    /// Tells the forwarder that there is something new.
    pub(crate) wake: SyncSender<()>,
    /// Gives the forwarder a further journal to deliver from.
    pub(crate) sources: Sender<Source>,
}

/// Keeps the records of all batteries.
pub(crate) struct Recorder {
    records: Receiver<Assembled>,
    names: Vec<String>,
    storage: Storage,
    observer: Option<Sender<Assembled>>,
    /// The latest row of each MCU ID, and which battery of the command line it came from.
    latest: HashMap<u32, (UtcDateTime, usize)>,
    /// Pairs of batteries that are the same one.
    twins: HashSet<(usize, usize)>,
}

impl Recorder {
    /// `names` are those of the batteries; `observer` sees every record that was stored.
    pub(crate) fn new(
        records: Receiver<Assembled>,
        names: Vec<String>,
        storage: Storage,
        observer: Option<Sender<Assembled>>,
    ) -> Self {
        let (latest, twins) = (HashMap::new(), HashSet::new());
        Self { records, names, storage, observer, latest, twins }
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
                Err(RecvTimeoutError::Timeout) => {
                    self.storage.maintain(UtcDateTime::now());
                    checkpoint = Instant::now() + CHECKPOINT_EVERY;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.storage.maintain(UtcDateTime::now());
        Ok(())
    }

    fn store(&mut self, first: Assembled) -> Result<(), Error> {
        let (mut batteries, mut records) = (Vec::new(), Vec::new());
        let more = self.records.try_iter().take(BATCH - 1).collect::<Vec<_>>();
        for Assembled { battery, record } in iter::once(first).chain(more) {
            if self.is_first_of_its_row(battery, &record) {
                batteries.push(battery);
                records.push(record);
            }
        }
        self.storage.append(&records)?;
        for (battery, record) in batteries.into_iter().zip(records) {
            info!("{}: stored {}", self.names[battery], summary(&record));
            if let Some(observer) = &self.observer {
                // Who has stopped watching is no reason to stop recording.
                let _ = observer.send(Assembled { battery, record });
            }
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
                let (one, two, id) = (&self.names[other], &self.names[battery], record.mcu_id);
                warn!("{one} and {two} are the same battery, {id:08X}; one row of it is stored");
            }
            return false;
        }
        self.latest.insert(record.mcu_id, latest);
        true
    }
}

/// The journal in its file, and in memory while the file can't be written.
pub(crate) struct Storage {
    path: PathBuf,
    retention: Retention,
    file: Option<Journal>,
    memory: Option<Memory>,
    /// While rows go to memory for want of the file.
    outage: Option<Outage<String>>,
    downstream: Option<Downstream>,
}

struct Memory {
    journal: Journal,
    /// For taking the rows back into the file.
    outbox: Outbox,
}

impl Storage {
    /// Opens the journal at `path`, or starts in memory where that can't be and the rows go on from
    /// there.
    ///
    /// # Errors
    /// Another process has the journal, or the file is something else; or it can't be opened, and
    /// nothing is downstream.
    pub(crate) fn open(
        path: PathBuf,
        retention: Retention,
        downstream: Option<Downstream>,
    ) -> Result<Self, Error> {
        let (file, memory, outage) = (None, None, None);
        let mut storage = Self { path, retention, file, memory, outage, downstream };
        match storage.open_file() {
            Ok(()) => {}
            Err(error) if storage.downstream.is_none() => return Err(error),
            Err(error @ (Error::InUse { .. } | Error::Foreign { .. } | Error::Version { .. })) => {
                return Err(error);
            }
            Err(error) if storage.path.is_dir() => return Err(error),
            Err(error) => {
                storage.turn_to_memory(&error);
                storage.memory()?;
            }
        }
        Ok(storage)
    }

    fn append(&mut self, records: &[PackRecord]) -> Result<(), Error> {
        let file = self.file.as_mut().filter(|_| self.outage.is_none());
        match file.map(|file| file.append(records)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                self.turn_to_memory(&error);
                self.memory()?.journal.append(records)?;
            }
            None => {
                self.memory()?.journal.append(records)?;
            }
        }
        self.wake();
        Ok(())
    }

    /// Makes safe what was appended, lets go what need not be kept, and goes back to the file when
    /// it can be written again.
    fn maintain(&mut self, now: UtcDateTime) {
        if self.outage.is_some() {
            match self.return_to_file() {
                Ok(rows) => {
                    let path = self.path.display();
                    info!("journal {path}: written again, with {rows} rows from memory");
                }
                Err(error) => self.turn_to_memory(&error),
            }
        }
        if let Some(Memory { journal, .. }) = &mut self.memory
            && let Err(error) = keep_up(journal, now)
        {
            warn!("{}", text::chain(&error));
        }
        if let Some(file) = &mut self.file
            && let Err(error) = keep_up(file, now)
        {
            self.turn_to_memory(&error);
        }
    }

    /// From now on rows go to memory, because of `error`.
    fn turn_to_memory(&mut self, error: &Error) {
        let why = text::chain(error);
        let outage = self.outage.get_or_insert_with(Outage::begin);
        if outage.is_news(why.clone()) {
            error!("{why}; rows are kept in memory only, and lost if the program ends");
        }
        if matches!(error, Error::Gone { .. }) {
            // A new one is made in its place.
            self.file = None;
        }
    }

    fn memory(&mut self) -> Result<&mut Memory, Error> {
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => {
                let journal = Journal::in_memory(MEMORY)?;
                self.pass_on(&journal)?;
                Memory { outbox: journal.outbox()?, journal }
            }
        };
        Ok(self.memory.insert(memory))
    }

    /// Takes the rows in memory into the file; tells how many.
    fn return_to_file(&mut self) -> Result<usize, Error> {
        if self.file.is_none() {
            self.open_file()?;
        }
        let mut rows = 0;
        if let (Some(file), Some(memory)) = (&mut self.file, &mut self.memory) {
            loop {
                let batch = memory.outbox.undelivered(BATCH)?;
                if batch.records.is_empty() {
                    break;
                }
                file.append(&batch.records)?;
                memory.outbox.delivered(batch.last)?;
                rows += batch.records.len();
            }
        }
        self.outage = None;
        self.wake();
        Ok(rows)
    }

    fn open_file(&mut self) -> Result<(), Error> {
        let journal = Journal::open(&self.path, self.retention)?;
        self.pass_on(&journal)?;
        self.file = Some(journal);
        Ok(())
    }

    fn pass_on(&self, journal: &Journal) -> Result<(), Error> {
        if let Some(downstream) = &self.downstream {
            let source = Source { outbox: journal.outbox()?, in_memory: journal.is_in_memory() };
            // If the forwarder has gone the rows wait in the journal.
            let _ = downstream.sources.send(source);
        }
        Ok(())
    }

    fn wake(&self) {
        let Some(downstream) = &self.downstream else { return };
        match downstream.wake.try_send(()) {
            // It has been woken already; or it has gone, and the rows wait in the journal.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Makes safe and trims.
fn keep_up(journal: &mut Journal, now: UtcDateTime) -> Result<(), Error> {
    journal.checkpoint()?;
    let trimmed = journal.trim(now)?;
    if trimmed.undelivered > 0 {
        let rows = trimmed.undelivered;
        error!("the journal is full: its {rows} oldest rows, not delivered yet, are lost");
    }
    Ok(())
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
