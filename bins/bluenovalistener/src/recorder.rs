//! The recorder thread: every record goes into the journal before anything else happens to it.

use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError},
    time::{Duration, Instant},
};

use bluenova_journal::{Journal, Outbox, Retention};
use bluenova_record::PackRecord;
use log::{error, info, warn};
use time::UtcDateTime;

use crate::{battery::Assembled, text};

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
    /// Gives the forwarder a further outbox.
    pub(crate) outboxes: Sender<Outbox>,
}

/// Keeps the records of all batteries.
pub(crate) struct Recorder {
    pub(crate) records: Receiver<Assembled>,
    pub(crate) names: Vec<String>,
    pub(crate) storage: Storage,
    /// Sees every record that was stored.
    pub(crate) observer: Option<Sender<Assembled>>,
}

impl Recorder {
    /// Records until nobody sends any more.
    ///
    /// # Errors
    /// Neither file nor memory takes a record.
    pub(crate) fn run(mut self) -> Result<(), bluenova_journal::Error> {
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

    fn store(&mut self, first: Assembled) -> Result<(), bluenova_journal::Error> {
        let mut batteries = vec![first.battery];
        let mut records = vec![first.record];
        for assembled in self.records.try_iter().take(BATCH - 1) {
            batteries.push(assembled.battery);
            records.push(assembled.record);
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
}

/// The journal in its file, and in memory while the file can't be written.
pub(crate) struct Storage {
    path: PathBuf,
    retention: Retention,
    file: Option<Journal>,
    memory: Option<Memory>,
    downstream: Option<Downstream>,
}

struct Memory {
    journal: Journal,
    /// For taking the rows back into the file.
    outbox: Outbox,
    /// Whether new records go here.
    in_use: bool,
}

impl Storage {
    /// Opens the journal at `path`, or starts in memory where that can't be and the rows go on from
    /// there.
    ///
    /// # Errors
    /// Another process has the journal; or it can't be opened, and nothing is downstream.
    pub(crate) fn open(
        path: PathBuf,
        retention: Retention,
        downstream: Option<Downstream>,
    ) -> Result<Self, bluenova_journal::Error> {
        let mut storage = Self { path, retention, file: None, memory: None, downstream };
        match Journal::open(&storage.path, retention) {
            Ok(journal) => {
                storage.pass_on(&journal)?;
                storage.file = Some(journal);
            }
            Err(error @ bluenova_journal::Error::InUse { .. }) => return Err(error),
            Err(error) if storage.downstream.is_none() => return Err(error),
            Err(error) => storage.turn_to_memory(&error)?,
        }
        Ok(storage)
    }

    /// Whether rows are kept in memory for want of a file.
    fn is_in_memory(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.in_use)
    }

    fn append(&mut self, records: &[PackRecord]) -> Result<(), bluenova_journal::Error> {
        if !self.is_in_memory() {
            let appended = self.file.as_mut().map(|file| file.append(records));
            if let Some(Err(error)) = appended {
                self.turn_to_memory(&error)?;
            }
        }
        if let Some(memory) = self.memory.as_mut().filter(|memory| memory.in_use) {
            memory.journal.append(records)?;
        }
        self.wake();
        Ok(())
    }

    /// Makes safe what was appended, lets go what need not be kept, and goes back to the file when
    /// it can be written again.
    fn maintain(&mut self, now: UtcDateTime) {
        if self.is_in_memory() {
            match self.return_to_file() {
                Ok(rows) => info!(
                    "journal {}: written again, with {rows} rows from memory",
                    self.path.display()
                ),
                Err(error) => warn!("{}; rows are still kept in memory only", text::chain(&error)),
            }
        }
        let memory = self.memory.as_mut().map(|memory| &mut memory.journal);
        let mut gone = None;
        for journal in self.file.as_mut().into_iter().chain(memory) {
            match journal.checkpoint().and_then(|()| journal.trim(now)) {
                Ok(trimmed) if trimmed.undelivered > 0 => error!(
                    "the journal is full: its {} oldest rows, which were not delivered yet, are lost",
                    trimmed.undelivered
                ),
                Ok(_) => {}
                Err(error @ bluenova_journal::Error::Gone { .. }) => gone = Some(error),
                Err(error) => warn!("{}", text::chain(&error)),
            }
        }
        if let Some(error) = gone {
            // The forwarder has the file open still, and delivers what is in it. A new one is made
            // at the next turn.
            self.file = None;
            if let Err(error) = self.turn_to_memory(&error) {
                error!("{}", text::chain(&error));
            }
        }
    }

    fn turn_to_memory(
        &mut self,
        error: &bluenova_journal::Error,
    ) -> Result<(), bluenova_journal::Error> {
        error!(
            "{}; rows are kept in memory only, and lost if the program ends before PostgreSQL has them",
            text::chain(error)
        );
        let memory = match self.memory.take() {
            Some(memory) => Memory { in_use: true, ..memory },
            None => {
                let journal = Journal::in_memory(MEMORY)?;
                self.pass_on(&journal)?;
                let outbox = journal.outbox()?;
                Memory { journal, outbox, in_use: true }
            }
        };
        self.memory = Some(memory);
        Ok(())
    }

    /// Takes the rows in memory into the file; tells how many.
    fn return_to_file(&mut self) -> Result<usize, bluenova_journal::Error> {
        if self.file.is_none() {
            let journal = Journal::open(&self.path, self.retention)?;
            self.pass_on(&journal)?;
            self.file = Some(journal);
        }
        let (Some(file), Some(memory)) = (&mut self.file, &mut self.memory) else { return Ok(0) };
        let mut rows = 0;
        loop {
            let batch = memory.outbox.undelivered(BATCH)?;
            if batch.records.is_empty() {
                break;
            }
            file.append(&batch.records)?;
            memory.outbox.delivered(batch.last)?;
            rows += batch.records.len();
        }
        memory.in_use = false;
        self.wake();
        Ok(rows)
    }

    fn pass_on(&self, journal: &Journal) -> Result<(), bluenova_journal::Error> {
        if let Some(downstream) = &self.downstream {
            // If the forwarder has gone the rows wait in the journal.
            let _ = downstream.outboxes.send(journal.outbox()?);
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
