//! The journal of an import, and the thread that delivers its rows to PostgreSQL.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_journal::{Journal, Outbox, Retention, Sequence, SetAsideRow};
use bluenova_postgres::{Deadlines, Delivered, Rejected, Retry, Settings, Sink};
use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::ImportError;

/// How long a server that is away is waited for.
pub(crate) const SERVER_TIME_OUT: Duration = Duration::from_secs(60);

/// The journal of an import, and the thread that delivers its rows.
pub(crate) struct ImportJournal {
    journal: Journal,
    /// The way to the thread, which may be some batches behind.
    stored: SyncSender<StoredRows>,
    delivery: JoinHandle<Result<Outbox, ImportError>>,
    clock: Clock,
}

/// Yields the present time.
pub(crate) type Clock = fn() -> UtcDateTime;

/// Batches by which delivery may be behind.
const BEHIND: usize = 4;

/// Rows that are in the journal.
enum StoredRows {
    /// These, the last of which has that sequence. Reading them back would take as long as storing
    /// them.
    These(Arc<[PackRecord]>, Sequence),
    /// Those that the journal has.
    InJournal,
}

/// The thread that delivers what is in the journal.
struct Delivery {
    sink: Sink,
    outbox: Outbox,
    journal: PathBuf,
    clock: Clock,
}

impl ImportJournal {
    /// Opens the journal, and delivers what is in it before it starts the thread.
    pub(crate) fn open(server: &Settings, path: &Path, clock: Clock) -> Result<Self, ImportError> {
        let retention = Retention { keep: Some(Duration::ZERO), bound: None };
        let opened = Journal::open_or_recover(path, retention, clock());
        let (mut journal, _) = opened.map_err(|error| match error {
            bluenova_journal::Error::InUse { .. } => ImportError::ImportIsRunning(error),
            error => error.into(),
        })?;
        journal.note_destination(&server.to_string())?;
        let sink = Sink::new(server.clone(), Deadlines::default());
        let (outbox, path) = (journal.outbox()?, path.to_owned());
        let mut delivery = Delivery { sink, outbox, journal: path, clock };
        delivery.deliver()?;
        let (stored, new_rows) = mpsc::sync_channel(BEHIND);
        let delivery = thread::Builder::new()
            .name("delivery".to_owned())
            .spawn(move || delivery.run(&new_rows))
            .map_err(ImportError::Thread)?;
        Ok(Self { journal, stored, delivery, clock })
    }

    /// Stores rows; returns whether the thread delivers them.
    pub(crate) fn add(&mut self, rows: Vec<PackRecord>) -> Result<bool, ImportError> {
        let added = self.journal.adopt(&rows)?;
        let stored = match added == rows.len() as u64 {
            true => StoredRows::These(rows.into(), self.journal.last()),
            false => StoredRows::InJournal,
        };
        Ok(self.stored.send(stored).is_ok())
    }

    /// Waits until all is delivered, and removes the journal; unless rows are set aside in it: it
    /// returns how many.
    pub(crate) fn finish(mut self) -> Result<u64, ImportError> {
        drop(self.stored);
        let outbox = self.delivery.join().unwrap_or(Err(ImportError::DeliveryFailed))?;
        let rejected = outbox.count_set_aside()?;
        // This writes how far it has delivered.
        drop(outbox);
        if rejected > 0 {
            while self.journal.trim((self.clock)())?.delivered > 0 {}
        } else {
            self.journal.remove()?;
        }
        Ok(rejected)
    }
}

impl Delivery {
    /// Delivers until no more rows come, and then what is left.
    fn run(mut self, new_rows: &Receiver<StoredRows>) -> Result<Outbox, ImportError> {
        for stored in new_rows {
            match stored {
                StoredRows::These(rows, last) => {
                    self.deliver_rows(&rows)?;
                    self.outbox.delivered(last)?;
                }
                StoredRows::InJournal => self.deliver()?,
            }
        }
        self.deliver()?;
        Ok(self.outbox)
    }

    /// Delivers what is in the journal.
    fn deliver(&mut self) -> Result<(), ImportError> {
        loop {
            let batch = self.outbox.undelivered(self.sink.batch_size())?;
            if batch.records.is_empty() {
                return Ok(());
            }
            self.deliver_rows(&batch.records)?;
            self.outbox.delivered(batch.last)?;
        }
    }

    fn deliver_rows(&mut self, rows: &Arc<[PackRecord]>) -> Result<(), ImportError> {
        let mut done = 0;
        while done < rows.len() {
            let delivered = self.deliver_step(rows, done)?;
            if let Some(Rejected { sqlstate, reason, is_mendable }) = delivered.rejected {
                self.outbox.set_aside_row(&SetAsideRow {
                    record: rows[done].clone(),
                    sqlstate,
                    message: reason,
                    since: (self.clock)(),
                    is_retried: is_mendable,
                })?;
            }
            done += delivered.rows;
        }
        Ok(())
    }

    /// Tries again for a minute while the server is away.
    fn deliver_step(
        &mut self,
        rows: &Arc<[PackRecord]>,
        done: usize,
    ) -> Result<Delivered, ImportError> {
        retried(SERVER_TIME_OUT, || self.sink.deliver(rows, done)).or_else(|source| {
            let (waiting, journal) = (self.outbox.waiting()?, self.journal.clone());
            Err(ImportError::Server { source: Box::new(source), waiting, journal })
        })
    }
}

/// Tries again while the server is away, for so long at most.
pub(crate) fn retried<T>(
    time_out: Duration,
    mut request: impl FnMut() -> Result<T, bluenova_postgres::Error>,
) -> Result<T, bluenova_postgres::Error> {
    let start = Instant::now();
    let mut back_off = Duration::from_millis(250);
    loop {
        match request() {
            Err(error) if error.retry() == Retry::Soon && start.elapsed() < time_out => {
                thread::sleep(back_off);
                back_off = (back_off * 2).min(Duration::from_secs(8));
            }
            result => return result,
        }
    }
}
