//! Where records are kept: the journal in its file, or in memory while that can't be.

use std::{
    mem::{self, Discriminant},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use bluenova_journal::{Error, Journal, Outbox, Recovery, Retention};
use bluenova_record::PackRecord;
use log::{error, info, warn};
use time::UtcDateTime;

use crate::{
    delivery::BATCH,
    forwarder::Source,
    outage::Outage,
    status::{DeliveryNotes, StorageNotes},
    text,
};

/// What the journal may take in memory, while its file can't be written: nearly a week of one
/// battery at ten seconds.
const MEMORY: Retention = Retention { keep: Some(Duration::ZERO), bound: Some(16 << 20) };

/// Where records go on to once they are in the journal.
pub(crate) struct Downstream {
    /// Tells the forwarder that there is something new.
    pub(crate) wake: SyncSender<()>,
    /// Gives the forwarder a further journal to deliver from.
    pub(crate) sources: Sender<Source>,
    pub(crate) notes: Arc<DeliveryNotes>,
}

/// How often the journal is trimmed in one go.
const TRIMS: u32 = 64;

/// How soon after a recovery that failed the next one may be tried: it reads the whole file.
const RECOVER_EVERY: Duration = Duration::from_secs(3600);

/// The journal in its file, and in memory while the file can't be written.
pub(crate) struct Storage {
    path: PathBuf,
    retention: Retention,
    file: Option<Kept>,
    memory: Option<Kept>,
    /// What is still to be read of a file that was deleted.
    deleted: Vec<Outbox>,
    /// Rows go to memory for want of the file.
    in_memory: bool,
    /// What was wrong with the file lately, and whether it was said this time.
    outage: Outage<Discriminant<Error>>,
    said: bool,
    /// The journal is full, and how many rows that has cost since it was last said.
    full: Outage<()>,
    lost: u64,
    /// When a recovery failed; each one reads the whole file.
    recovery_failed: Option<Instant>,
    notes: Arc<StorageNotes>,
    downstream: Option<Downstream>,
}

/// A journal, and the way to take its rows elsewhere.
struct Kept {
    journal: Journal,
    outbox: Outbox,
    /// It can't be read as it should; the forwarder may find out first.
    damaged: Arc<AtomicBool>,
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
        let mut storage = Self {
            path,
            retention,
            file: None,
            memory: None,
            deleted: Vec::new(),
            in_memory: false,
            outage: Outage::begin(),
            said: false,
            full: Outage::begin(),
            lost: 0,
            recovery_failed: None,
            notes: Arc::default(),
            downstream,
        };
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

    /// Where it tells of itself.
    pub(crate) fn notes(&self) -> Arc<StorageNotes> {
        Arc::clone(&self.notes)
    }

    /// # Errors
    /// Neither file nor memory takes them.
    pub(crate) fn append(&mut self, records: &[PackRecord]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let file = self.file.as_mut().filter(|_| !self.in_memory);
        match file.map(|file| file.journal.append(records)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                self.turn_to_memory(&error);
                self.memory()?.journal.append(records)?;
            }
            None => {
                self.memory()?.journal.append(records)?;
            }
        }
        if self.in_memory {
            self.notes.only_in_memory(self.only_in_memory());
        }
        if let Some(downstream) = &self.downstream {
            downstream.notes.arrived(self.waiting());
        }
        self.wake();
        Ok(())
    }

    /// Whether [`maintain`](Self::maintain) should not wait for its time.
    pub(crate) fn is_damaged(&self) -> bool {
        let damaged = self.file.as_ref().is_some_and(|file| file.damaged.load(Ordering::Relaxed));
        damaged && !self.has_failed_to_recover_lately()
    }

    fn has_failed_to_recover_lately(&self) -> bool {
        self.recovery_failed.is_some_and(|at| at.elapsed() < RECOVER_EVERY)
    }

    /// Rows that end with the process.
    pub(crate) fn only_in_memory(&self) -> u64 {
        let memory = self.memory.iter().map(|memory| &memory.outbox);
        memory.chain(&self.deleted).filter_map(|outbox| outbox.waiting().ok()).sum()
    }

    /// Makes safe what was appended, lets go what need not be kept, and goes back to the file when
    /// it can be written again.
    pub(crate) fn maintain(&mut self, now: UtcDateTime) {
        if self.is_damaged() {
            self.recover(now);
        }
        if let (Some(file), false) = (&mut self.file, self.in_memory) {
            match keep_up(&mut file.journal, now) {
                Ok(lost) => self.mention_lost(lost),
                Err(error) => self.turn_to_memory(&error),
            }
        }
        // At once too: a file that was deleted is replaced even when the program is about to end.
        if self.in_memory {
            match self.return_to_file(now) {
                Ok(rows) => {
                    self.in_memory = false;
                    self.notes.works();
                    if mem::take(&mut self.said) {
                        let path = self.path.display();
                        info!("journal {path}: written again, with {rows} rows from memory");
                    }
                    self.wake();
                }
                Err(error) => self.turn_to_memory(&error),
            }
        }
        if let Some(memory) = &mut self.memory {
            match keep_up(&mut memory.journal, now) {
                Ok(lost) => self.mention_lost(lost),
                Err(error) => warn!("{}", text::chain(&error)),
            }
        }
        self.notes.only_in_memory(self.only_in_memory());
    }

    /// Rows had to go before they were delivered: the journal is full.
    fn mention_lost(&mut self, rows: u64) {
        self.lost += rows;
        if rows > 0 && self.full.is_news(()) {
            let lost = mem::take(&mut self.lost);
            error!("the journal is full: its {lost} oldest rows, not delivered yet, are lost");
        }
    }

    /// From now on rows go to memory, because of `error`.
    fn turn_to_memory(&mut self, error: &Error) {
        self.in_memory = true;
        self.notes.failed(error);
        if self.outage.is_news(mem::discriminant(error)) {
            self.said = true;
            let why = text::chain(error);
            error!("{why}; rows are kept in memory only, and lost if the program ends");
        }
        if error.is_damage()
            && let Some(file) = &self.file
        {
            file.damaged.store(true, Ordering::Relaxed);
        }
        if let Error::Gone { .. } = error
            && let Some(Kept { outbox, .. }) = self.file.take()
        {
            // The rows can still be read, and go into the file that is made in its place.
            self.deleted.push(outbox);
        }
    }

    /// Makes a new file of what can be read of a damaged one.
    fn recover(&mut self, now: UtcDateTime) {
        // SQLite must have let go of it. The forwarder's outbox ends with the new one's coming.
        self.file = None;
        match Journal::recover(&self.path, self.retention, now) {
            Ok((journal, recovery)) => {
                mention(&self.path, &recovery);
                self.recovery_failed = None;
                if let Err(error) = self.take_up(journal) {
                    self.turn_to_memory(&error);
                }
                self.wake();
            }
            Err(error) => {
                self.recovery_failed = Some(Instant::now());
                self.turn_to_memory(&error);
            }
        }
    }

    fn memory(&mut self) -> Result<&mut Kept, Error> {
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => self.kept(Journal::in_memory(MEMORY)?)?,
        };
        Ok(self.memory.insert(memory))
    }

    /// Takes the rows in memory into the file; tells how many.
    fn return_to_file(&mut self, now: UtcDateTime) -> Result<usize, Error> {
        if self.file.is_none() {
            self.open_file()?;
        }
        let mut rows = 0;
        if let Some(file) = &mut self.file {
            while let Some(mut deleted) = self.deleted.pop() {
                match move_rows(&mut deleted, &mut file.journal) {
                    Ok(moved) => rows += moved,
                    Err(Moving::From(error)) => {
                        error!("rows of the deleted journal are lost: {}", text::chain(&error));
                    }
                    Err(Moving::To(error)) => {
                        self.deleted.push(deleted);
                        return Err(error);
                    }
                }
            }
            if let Some(memory) = &mut self.memory {
                rows += move_rows(&mut memory.outbox, &mut file.journal).map_err(Moving::error)?;
                let mut set_aside = memory.journal.set_aside()?;
                for row in set_aside.rows()? {
                    file.outbox.set_aside(&row.record, &row.sqlstate, &row.message, row.since)?;
                    set_aside.remove(&row.record)?;
                }
            }
            file.journal.try_write()?;
            let lost = keep_up(&mut file.journal, now)?;
            self.mention_lost(lost);
        }
        Ok(rows)
    }

    fn open_file(&mut self) -> Result<(), Error> {
        let failed_lately = self.has_failed_to_recover_lately();
        let now = UtcDateTime::now();
        let opened = if failed_lately {
            Journal::open(&self.path, self.retention).map(|journal| (journal, None))
        } else {
            Journal::open_or_recover(&self.path, self.retention, now)
        };
        let (journal, recovery) = opened.inspect_err(|error| {
            if error.is_damage() && !failed_lately {
                self.recovery_failed = Some(Instant::now());
            }
        })?;
        if let Some(recovery) = recovery {
            mention(&self.path, &recovery);
        }
        self.take_up(journal)
    }

    fn take_up(&mut self, journal: Journal) -> Result<(), Error> {
        self.file = Some(self.kept(journal)?);
        Ok(())
    }

    /// Lets the forwarder deliver from `journal`.
    fn kept(&self, journal: Journal) -> Result<Kept, Error> {
        let outbox = journal.outbox()?;
        let damaged = Arc::<AtomicBool>::default();
        if let Some(downstream) = &self.downstream {
            let source = Source {
                outbox: journal.outbox()?,
                in_memory: journal.is_in_memory(),
                damaged: Arc::clone(&damaged),
            };
            // If the forwarder has gone the rows wait in the journal.
            let _ = downstream.sources.send(source);
            // Those of an earlier run, say. Where that can't be told, there may be some.
            match outbox.waiting() {
                Ok(0) => {}
                waiting => downstream.notes.arrived(waiting.unwrap_or(0)),
            }
        }
        Ok(Kept { outbox, journal, damaged })
    }

    fn waiting(&self) -> u64 {
        let file = self.file.iter().filter_map(|file| file.outbox.waiting().ok()).sum::<u64>();
        file + self.only_in_memory()
    }

    fn wake(&self) {
        let Some(downstream) = &self.downstream else { return };
        match downstream.wake.try_send(()) {
            // It has been woken already; or it has gone, and the rows wait in the journal.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// On which side moving rows has failed.
enum Moving {
    From(Error),
    To(Error),
}

impl Moving {
    fn error(self) -> Error {
        match self {
            Self::From(error) | Self::To(error) => error,
        }
    }
}

/// Takes what `from` has not delivered into `to`; tells how many rows that were.
fn move_rows(from: &mut Outbox, to: &mut Journal) -> Result<usize, Moving> {
    let mut rows = 0;
    loop {
        let batch = from.undelivered(BATCH).map_err(Moving::From)?;
        if batch.records.is_empty() {
            return Ok(rows);
        }
        to.append(&batch.records).map_err(Moving::To)?;
        if let Err(error) = from.delivered(batch.last) {
            // It is known in memory all the same, and must not keep us from going on.
            warn!("{}", text::chain(&error));
        }
        rows += batch.records.len();
    }
}

fn mention(path: &Path, Recovery { aside, rows, lost }: &Recovery) {
    let (path, aside) = (path.display(), aside.display());
    let lost = match lost {
        Some(lost) => format!("{lost} that were not delivered yet are lost"),
        None => "how many are lost isn't known".to_owned(),
    };
    error!("journal {path} was damaged: {rows} rows are saved, {lost}; it is kept as {aside}");
}

/// Makes safe and trims; tells how many rows had to go before they were delivered.
fn keep_up(journal: &mut Journal, now: UtcDateTime) -> Result<u64, Error> {
    journal.checkpoint()?;
    let mut lost = 0;
    // Each call does a bounded amount of work: all of them together keep up with any fleet.
    for _ in 0..TRIMS {
        let trimmed = journal.trim(now)?;
        lost += trimmed.undelivered;
        if trimmed.delivered + trimmed.undelivered == 0 {
            break;
        }
    }
    Ok(lost)
}
