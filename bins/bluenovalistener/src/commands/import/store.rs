//! Where imported rows go: into PostgreSQL by way of a journal, or into an SQLite file.

use std::{
    io,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_journal::{Journal, Outbox, Reader, Retention};
use bluenova_postgres::{Deadlines, Retry, Sink};
use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::settings::{Store, import_journal};

/// How long a server that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows after which delivered ones are removed from the journal.
const TRIM_AFTER: usize = 50_000;

#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    #[error("{0}. An import into the same database is running: wait until it has ended")]
    ImportIsRunning(bluenova_journal::Error),
    #[error("{0}. A listener records into that file: end it during the import")]
    ListenerIsRunning(bluenova_journal::Error),
    #[error(
        "{source}. {waiting} rows wait in {}; repeat the command when the server is back: it \
         delivers them and goes on", journal.display()
    )]
    Server { source: Box<bluenova_postgres::Error>, waiting: u64, journal: PathBuf },
    #[error("the thread that delivers can't be started")]
    Thread(#[source] io::Error),
    #[error("the thread that delivers has failed")]
    DeliveryFailed,
    #[error(transparent)]
    Lookup(Box<bluenova_postgres::Error>),
}

/// Where rows go, and which ones are there.
pub(super) enum RowStore {
    /// Nothing is added; rows are only looked up.
    DryRun {
        sink: Option<Box<Sink>>,
        readers: Vec<Reader>,
    },
    Sqlite(Box<ToSqlite>),
    Postgres(Box<ToPostgres>),
}

/// An SQLite file that is the database.
pub(super) struct ToSqlite {
    journal: Journal,
    reader: Reader,
}

/// Rows on their way to PostgreSQL: into the journal here, and from there on a thread of its own.
pub(super) struct ToPostgres {
    /// The journal of the import.
    journal: Journal,
    since_trim: usize,
    /// Looks up rows; the other thread has a sink of its own.
    sink: Sink,
    /// The listener's journal, if there is one: its rows may not be in the table yet.
    listener: Option<Reader>,
    /// Wakes the other thread. It may be some batches behind.
    wake: Option<SyncSender<()>>,
    delivery: Option<JoinHandle<Result<Outbox, StoreError>>>,
}

/// Batches by which delivery may be behind.
const BEHIND: usize = 4;

/// The thread that delivers what is in the journal.
struct Delivery {
    sink: Sink,
    outbox: Outbox,
    journal: PathBuf,
}

impl RowStore {
    /// Opens the store of the listener's settings. What an import that was killed has left in its
    /// journal is delivered first.
    pub(super) fn open(store: &Store, is_dry_run: bool) -> Result<Self, StoreError> {
        match store {
            Store::Sqlite { path } if is_dry_run => {
                let readers = readers(&[path.as_path()])?;
                Ok(Self::DryRun { sink: None, readers })
            }
            Store::Sqlite { path } => {
                let opened = Journal::open(path, Retention::FOREVER);
                let journal = opened.map_err(|error| match error {
                    bluenova_journal::Error::InUse { .. } => StoreError::ListenerIsRunning(error),
                    error => error.into(),
                })?;
                let reader = without_limit(journal.reader()?);
                Ok(Self::Sqlite(Box::new(ToSqlite { journal, reader })))
            }
            Store::Postgres { server, journal, .. } if is_dry_run => {
                let readers = readers(&[journal, &import_journal(journal, &server.identity())])?;
                let sink = Sink::dry_run(server.as_ref().clone(), Deadlines::default());
                Ok(Self::DryRun { sink: Some(Box::new(sink)), readers })
            }
            Store::Postgres { server, journal, .. } => {
                let listener = readers(&[journal.as_path()])?.pop();
                let path = import_journal(journal, &server.identity());
                let retention = Retention { keep: Some(Duration::ZERO), bound: None };
                let opened = Journal::open_or_recover(&path, retention, UtcDateTime::now());
                let (mut journal, _) = opened.map_err(|error| match error {
                    bluenova_journal::Error::InUse { .. } => StoreError::ImportIsRunning(error),
                    error => error.into(),
                })?;
                journal.note_destination(&server.to_string())?;
                let sink = || Sink::new(server.as_ref().clone(), Deadlines::default());
                let mut delivery =
                    Delivery { sink: sink(), outbox: journal.outbox()?, journal: path };
                delivery.deliver()?;
                let (wake, woken) = mpsc::sync_channel(BEHIND);
                let delivery = thread::Builder::new()
                    .name("delivery".to_owned())
                    .spawn(move || delivery.run(&woken))
                    .map_err(StoreError::Thread)?;
                let store = ToPostgres {
                    journal,
                    since_trim: 0,
                    sink: sink(),
                    listener,
                    wake: Some(wake),
                    delivery: Some(delivery),
                };
                Ok(Self::Postgres(Box::new(store)))
            }
        }
    }

    /// The times of the rows that a battery has.
    pub(super) fn times(
        &mut self,
        mcu_id: u32,
        times: Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, StoreError> {
        let mut found = match self {
            Self::DryRun { sink: Some(sink), .. } => sink.times(mcu_id, times.clone()),
            Self::Postgres(store) => store.sink.times(mcu_id, times.clone()),
            _ => Ok(vec![]),
        }
        .map_err(|error| StoreError::Lookup(Box::new(error)))?;
        let readers = match self {
            Self::DryRun { readers, .. } => readers.as_slice(),
            Self::Sqlite(store) => std::slice::from_ref(&store.reader),
            Self::Postgres(store) => store.listener.as_slice(),
        };
        for reader in readers {
            reader.history(mcu_id, times.clone(), &[], |time, _| {
                found.push(time);
                ControlFlow::Continue(())
            })?;
        }
        Ok(found)
    }

    /// Adds rows that are missing.
    pub(super) fn add(&mut self, rows: &[PackRecord]) -> Result<(), StoreError> {
        match self {
            Self::DryRun { .. } => Ok(()),
            Self::Sqlite(store) => {
                store.journal.adopt(rows)?;
                Ok(())
            }
            Self::Postgres(store) => store.add(rows),
        }
    }

    /// Ends the import; returns how many rows PostgreSQL has rejected, and the journal in which
    /// they are set aside.
    pub(super) fn finish(self) -> Result<(u64, Option<PathBuf>), StoreError> {
        match self {
            Self::DryRun { .. } => Ok((0, None)),
            Self::Sqlite(mut store) => {
                store.journal.checkpoint()?;
                Ok((0, None))
            }
            Self::Postgres(store) => store.finish(),
        }
    }

    /// Warnings of the server, for people.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        match self {
            Self::DryRun { sink: Some(sink), .. } => sink.take_warnings(),
            Self::Postgres(store) => store.sink.take_warnings(),
            _ => vec![],
        }
    }
}

impl ToPostgres {
    fn add(&mut self, rows: &[PackRecord]) -> Result<(), StoreError> {
        self.journal.adopt(rows)?;
        if self.wake.as_ref().is_none_or(|wake| wake.send(()).is_err()) {
            // The other thread has ended with an error.
            self.end_delivery()?;
        }
        self.since_trim += rows.len();
        if self.since_trim >= TRIM_AFTER {
            self.since_trim = 0;
            while self.journal.trim(UtcDateTime::now())?.delivered > 0 {}
        }
        Ok(())
    }

    /// Waits until all is delivered.
    fn end_delivery(&mut self) -> Result<Option<Outbox>, StoreError> {
        self.wake = None;
        let Some(thread) = self.delivery.take() else { return Ok(None) };
        thread.join().unwrap_or_else(|_| Err(StoreError::DeliveryFailed)).map(Some)
    }

    fn finish(mut self) -> Result<(u64, Option<PathBuf>), StoreError> {
        let outbox = self.end_delivery()?;
        let rejected = outbox.map_or(Ok(0), |outbox| outbox.count_set_aside())?;
        if rejected > 0 {
            return Ok((rejected, self.journal.path().map(Path::to_owned)));
        }
        self.journal.remove()?;
        Ok((0, None))
    }
}

impl Delivery {
    /// Delivers until nobody wakes it any more, and then what is left.
    fn run(mut self, woken: &Receiver<()>) -> Result<Outbox, StoreError> {
        while woken.recv().is_ok() {
            self.deliver()?;
        }
        self.deliver()?;
        Ok(self.outbox)
    }

    /// Delivers what is in the journal.
    fn deliver(&mut self) -> Result<(), StoreError> {
        loop {
            let batch = self.outbox.undelivered(self.sink.batch_size())?;
            if batch.records.is_empty() {
                return Ok(());
            }
            let mut done = 0;
            while done < batch.records.len() {
                let delivered = self.deliver_step(&batch, done)?;
                if let Some(rejected) = &delivered.rejected {
                    let record = &batch.records[done];
                    let (sqlstate, reason) = (&rejected.sqlstate, &rejected.reason);
                    self.outbox.set_aside(record, sqlstate, reason, UtcDateTime::now())?;
                }
                done += delivered.rows;
                self.outbox.delivered(batch.through(done))?;
            }
        }
    }

    /// Tries again for a minute while the server is away.
    fn deliver_step(
        &mut self,
        batch: &bluenova_journal::Batch,
        done: usize,
    ) -> Result<bluenova_postgres::Delivered, StoreError> {
        let start = Instant::now();
        let mut back_off = Duration::from_millis(250);
        loop {
            match self.sink.deliver(&batch.records, done) {
                Err(error) if error.retry() == Retry::Soon && start.elapsed() < PATIENCE => {
                    thread::sleep(back_off);
                    back_off = (back_off * 2).min(Duration::from_secs(8));
                }
                Err(source) => {
                    let journal = self.journal.clone();
                    let waiting = self.outbox.waiting()?;
                    let source = Box::new(source);
                    return Err(StoreError::Server { source, waiting, journal });
                }
                Ok(delivered) => return Ok(delivered),
            }
        }
    }
}

/// Readers of those files that exist.
fn readers(paths: &[&Path]) -> Result<Vec<Reader>, StoreError> {
    let existing = paths.iter().filter(|path| path.exists());
    let readers = existing.map(|path| Reader::open(path).map(without_limit));
    Ok(readers.collect::<Result<_, _>>()?)
}

/// Nobody waits for an import as a browser does for a page.
fn without_limit(mut reader: Reader) -> Reader {
    reader.time_limit = Duration::from_secs(3600);
    reader
}
