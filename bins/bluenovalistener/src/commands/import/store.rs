//! Where imported rows go: into PostgreSQL by way of a journal, or into an SQLite file.

use std::{
    io,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_journal::{Journal, Outbox, Reader, Retention, Sequence, SetAsideRow};
use bluenova_postgres::{Deadlines, Delivered, Rejected, Retry, Settings, Sink};
use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::settings::{Store, import_journal};

/// How long a server that is away is waited for.
const SERVER_TIME_OUT: Duration = Duration::from_secs(60);

/// Rows after which the journal gives way to a new one, some 100 MB: that costs less than to delete
/// what is delivered.
const NEW_JOURNAL_AFTER: usize = 200_000;

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
    #[error("{source}. Repeat the command when that is mended: it goes on from here")]
    Lookup { source: Box<bluenova_postgres::Error> },
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

/// Rows on their way to PostgreSQL, by way of a journal of the import's own.
pub(super) struct ToPostgres {
    server: Settings,
    path: PathBuf,
    import: Option<ImportJournal>,
    /// Rows that are in the journal.
    rows: usize,
    /// Looks up rows.
    sink: Sink,
    /// Whether the server has answered that.
    has_answered: bool,
    /// The listener's journal, if there is one: its rows may not be in the table yet.
    listener: Option<Reader>,
}

/// The journal of an import, and the thread that delivers its rows.
struct ImportJournal {
    journal: Journal,
    /// The way to the thread, which may be some batches behind.
    stored: SyncSender<StoredRows>,
    delivery: JoinHandle<Result<Outbox, StoreError>>,
}

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
                let import = Some(ImportJournal::open(server, &path)?);
                let server = server.as_ref().clone();
                let sink = Sink::new(server.clone(), Deadlines::default());
                let store = ToPostgres {
                    server,
                    path,
                    import,
                    rows: 0,
                    sink,
                    has_answered: false,
                    listener,
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
            Self::Postgres(store) => store.times(mcu_id, &times),
            _ => Ok(vec![]),
        }
        .map_err(|source| StoreError::Lookup { source: Box::new(source) })?;
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
    /// Tries again for a minute while the server is away; unless it was away from the start.
    fn times(
        &mut self,
        mcu_id: u32,
        times: &Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, bluenova_postgres::Error> {
        let time_out = if self.has_answered { SERVER_TIME_OUT } else { Duration::ZERO };
        let found = retried(time_out, || self.sink.times(mcu_id, times.clone()))?;
        self.has_answered = true;
        Ok(found)
    }

    fn add(&mut self, rows: &[PackRecord]) -> Result<(), StoreError> {
        if self.rows >= NEW_JOURNAL_AFTER
            && let Some(import) = self.import.take()
        {
            import.finish()?;
            self.rows = 0;
        }
        let import = match &mut self.import {
            Some(import) => import,
            None => self.import.insert(ImportJournal::open(&self.server, &self.path)?),
        };
        self.rows += rows.len();
        if !import.add(rows)?
            && let Some(import) = self.import.take()
        {
            // The thread has ended with an error.
            import.finish()?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(u64, Option<PathBuf>), StoreError> {
        let rejected = self.import.map_or(Ok(0), ImportJournal::finish)?;
        Ok((rejected, (rejected > 0).then_some(self.path)))
    }
}

impl ImportJournal {
    /// Opens the journal, and delivers what is in it before it starts the thread.
    fn open(server: &Settings, path: &Path) -> Result<Self, StoreError> {
        let retention = Retention { keep: Some(Duration::ZERO), bound: None };
        let opened = Journal::open_or_recover(path, retention, UtcDateTime::now());
        let (mut journal, _) = opened.map_err(|error| match error {
            bluenova_journal::Error::InUse { .. } => StoreError::ImportIsRunning(error),
            error => error.into(),
        })?;
        journal.note_destination(&server.to_string())?;
        let sink = Sink::new(server.clone(), Deadlines::default());
        let mut delivery = Delivery { sink, outbox: journal.outbox()?, journal: path.to_owned() };
        delivery.deliver()?;
        let (stored, new_rows) = mpsc::sync_channel(BEHIND);
        let delivery = thread::Builder::new()
            .name("delivery".to_owned())
            .spawn(move || delivery.run(&new_rows))
            .map_err(StoreError::Thread)?;
        Ok(Self { journal, stored, delivery })
    }

    /// Stores rows; returns whether the thread delivers them.
    fn add(&mut self, rows: &[PackRecord]) -> Result<bool, StoreError> {
        let added = self.journal.adopt(rows)?;
        let stored = match added == rows.len() as u64 {
            true => StoredRows::These(rows.into(), self.journal.last()),
            false => StoredRows::InJournal,
        };
        Ok(self.stored.send(stored).is_ok())
    }

    /// Waits until all is delivered, and removes the journal; unless rows are set aside in it: it
    /// returns how many.
    fn finish(mut self) -> Result<u64, StoreError> {
        drop(self.stored);
        let outbox = self.delivery.join().unwrap_or(Err(StoreError::DeliveryFailed))?;
        let rejected = outbox.count_set_aside()?;
        // This writes how far it has delivered.
        drop(outbox);
        if rejected > 0 {
            while self.journal.trim(UtcDateTime::now())?.delivered > 0 {}
        } else {
            self.journal.remove()?;
        }
        Ok(rejected)
    }
}

impl Delivery {
    /// Delivers until no more rows come, and then what is left.
    fn run(mut self, new_rows: &Receiver<StoredRows>) -> Result<Outbox, StoreError> {
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
    fn deliver(&mut self) -> Result<(), StoreError> {
        loop {
            let batch = self.outbox.undelivered(self.sink.batch_size())?;
            if batch.records.is_empty() {
                return Ok(());
            }
            self.deliver_rows(&batch.records)?;
            self.outbox.delivered(batch.last)?;
        }
    }

    fn deliver_rows(&mut self, rows: &Arc<[PackRecord]>) -> Result<(), StoreError> {
        let mut done = 0;
        while done < rows.len() {
            let delivered = self.deliver_step(rows, done)?;
            if let Some(Rejected { sqlstate, reason, is_mendable }) = delivered.rejected {
                self.outbox.set_aside_row(&SetAsideRow {
                    record: rows[done].clone(),
                    sqlstate,
                    message: reason,
                    since: UtcDateTime::now(),
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
    ) -> Result<Delivered, StoreError> {
        retried(SERVER_TIME_OUT, || self.sink.deliver(rows, done)).or_else(|source| {
            let (waiting, journal) = (self.outbox.waiting()?, self.journal.clone());
            Err(StoreError::Server { source: Box::new(source), waiting, journal })
        })
    }
}

/// Tries again while the server is away, for so long at most.
fn retried<T>(
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
