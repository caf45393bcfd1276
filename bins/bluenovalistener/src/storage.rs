//! Where records are kept: the journal in its file, or in memory while that can't be.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, SyncSender, TrySendError},
    },
    time::Duration,
};

use bluenova_journal::{Error, Journal, Outbox, Recovery, Retention};
use bluenova_record::PackRecord;
use log::{error, info, warn};
use time::UtcDateTime;

use crate::{delivery::BATCH, forwarder::Source, outage::Outage, text};

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

/// The journal in its file, and in memory while the file can't be written.
pub(crate) struct Storage {
    path: PathBuf,
    retention: Retention,
    file: Option<Kept>,
    memory: Option<Kept>,
    /// What is still to be read of a file that was deleted.
    deleted: Vec<Outbox>,
    /// While rows go to memory for want of the file.
    outage: Option<Outage<String>>,
    /// The file can't be read as it should; the forwarder may find out first.
    damaged: Arc<AtomicBool>,
    downstream: Option<Downstream>,
}

/// A journal, and the way to take its rows elsewhere.
struct Kept {
    journal: Journal,
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
        let mut storage = Self {
            path,
            retention,
            file: None,
            memory: None,
            deleted: Vec::new(),
            outage: None,
            damaged: Arc::default(),
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

    /// # Errors
    /// Neither file nor memory takes them.
    pub(crate) fn append(&mut self, records: &[PackRecord]) -> Result<(), Error> {
        let file = self.file.as_mut().filter(|_| self.outage.is_none());
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
        self.wake();
        Ok(())
    }

    /// Makes safe what was appended, lets go what need not be kept, and goes back to the file when
    /// it can be written again.
    pub(crate) fn maintain(&mut self, now: UtcDateTime) {
        if self.file.is_some() && self.damaged.load(Ordering::Relaxed) {
            self.recover(now);
        }
        if let (Some(file), None) = (&mut self.file, &self.outage)
            && let Err(error) = keep_up(&mut file.journal, now)
        {
            self.turn_to_memory(&error);
        }
        // At once too: a file that was deleted is replaced even when the program is about to end.
        if self.outage.is_some() {
            match self.return_to_file(now) {
                Ok(rows) => {
                    let path = self.path.display();
                    info!("journal {path}: written again, with {rows} rows from memory");
                }
                Err(error) => self.turn_to_memory(&error),
            }
        }
        if let Some(Kept { journal, .. }) = &mut self.memory
            && let Err(error) = keep_up(journal, now)
        {
            warn!("{}", text::chain(&error));
        }
    }

    /// From now on rows go to memory, because of `error`.
    fn turn_to_memory(&mut self, error: &Error) {
        let why = text::chain(error);
        let outage = self.outage.get_or_insert_with(Outage::begin);
        if outage.is_news(why.clone()) {
            error!("{why}; rows are kept in memory only, and lost if the program ends");
        }
        if error.is_damage() {
            self.damaged.store(true, Ordering::Relaxed);
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
                self.damaged.store(false, Ordering::Relaxed);
                if let Err(error) = self.take_up(journal) {
                    self.turn_to_memory(&error);
                }
            }
            // It is tried again at the next start: each try reads the whole file.
            Err(error) => self.turn_to_memory(&error),
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
            while let Some(deleted) = self.deleted.last_mut() {
                rows += move_rows(deleted, file)?;
                self.deleted.pop();
            }
            if let Some(memory) = &mut self.memory {
                rows += move_rows(&mut memory.outbox, file)?;
                let mut set_aside = memory.journal.set_aside()?;
                for row in set_aside.rows()? {
                    file.outbox.set_aside(&row.record, &row.sqlstate, &row.message, row.since)?;
                    set_aside.remove(&row.record)?;
                }
            }
            keep_up(&mut file.journal, now)?;
        }
        self.outage = None;
        self.wake();
        Ok(rows)
    }

    fn open_file(&mut self) -> Result<(), Error> {
        let now = UtcDateTime::now();
        let (journal, recovery) = Journal::open_or_recover(&self.path, self.retention, now)?;
        if let Some(recovery) = recovery {
            mention(&self.path, &recovery);
        }
        self.damaged.store(false, Ordering::Relaxed);
        self.take_up(journal)
    }

    fn take_up(&mut self, journal: Journal) -> Result<(), Error> {
        self.file = Some(self.kept(journal)?);
        Ok(())
    }

    /// Lets the forwarder deliver from `journal`.
    fn kept(&self, journal: Journal) -> Result<Kept, Error> {
        if let Some(downstream) = &self.downstream {
            let source = Source {
                outbox: journal.outbox()?,
                in_memory: journal.is_in_memory(),
                damaged: Arc::clone(&self.damaged),
            };
            // If the forwarder has gone the rows wait in the journal.
            let _ = downstream.sources.send(source);
        }
        Ok(Kept { outbox: journal.outbox()?, journal })
    }

    fn wake(&self) {
        let Some(downstream) = &self.downstream else { return };
        match downstream.wake.try_send(()) {
            // It has been woken already; or it has gone, and the rows wait in the journal.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Takes what `from` has not delivered into `file`; tells how many rows that were.
fn move_rows(from: &mut Outbox, file: &mut Kept) -> Result<usize, Error> {
    let mut rows = 0;
    loop {
        let batch = from.undelivered(BATCH)?;
        if batch.records.is_empty() {
            return Ok(rows);
        }
        file.journal.append(&batch.records)?;
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
