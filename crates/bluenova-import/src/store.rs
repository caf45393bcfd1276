//! Where imported rows go: into PostgreSQL by way of a journal, or into an SQLite file.

use std::{
    fmt,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    time::Duration,
};

use bluenova_journal::{DayWriter, Journal, Reader, Retention, StoredDay};
use bluenova_postgres::{Deadlines, Settings, Sink};
use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::{
    ImportError,
    days::merge_days,
    delivery::{Clock, ImportJournal, SERVER_TIME_OUT, retried},
};

/// Rows after which the journal gives way to a new one, some 100 MB: that costs less than to delete
/// what is delivered.
const NEW_JOURNAL_AFTER: usize = 200_000;

/// Where an import adds rows.
#[derive(Clone, Copy, Debug)]
pub enum Destination<'a> {
    /// An SQLite file that is the database.
    Sqlite {
        /// Path of the file.
        path: &'a Path,
    },
    /// A PostgreSQL database.
    Postgres {
        /// Connection parameters.
        server: &'a Settings,
        /// The listener's journal, where rows may be that the table hasn't yet.
        listener: &'a Path,
        /// The journal by way of which the rows go. It is removed at the end, unless the server has
        /// rejected rows.
        journal: &'a Path,
    },
}

/// Rows that PostgreSQL has rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRows {
    /// How many they are.
    pub count: u64,
    /// The journal in which they are set aside.
    pub journal: PathBuf,
}

/// Where rows go, and which ones are there.
pub struct RowStore {
    lookup: RowLookup,
    target: Target,
}

/// Looks up which rows are there.
struct RowLookup {
    sink: Option<Sink>,
    /// Whether the server has answered.
    has_answered: bool,
    /// The files that have rows. The table may not have those of a listener's journal yet.
    readers: Vec<Reader>,
}

enum Target {
    /// Nothing is added in a dry run.
    Nowhere,
    Sqlite(Box<Journal>),
    Postgres(Box<ToPostgres>),
}

/// Rows on their way to PostgreSQL, by way of a journal of the import's own.
struct ToPostgres {
    server: Settings,
    /// The listener's journal.
    listener: PathBuf,
    path: PathBuf,
    import: Option<ImportJournal>,
    /// Rows that are in the journal.
    rows: usize,
    clock: Clock,
}

impl RowStore {
    /// Opens the store. What an import that was killed has left in its journal is delivered first.
    /// A dry run only looks up rows.
    ///
    /// # Errors
    /// A file can't be opened or is in use, or what is left can't be delivered.
    pub fn open(
        destination: &Destination<'_>,
        is_dry_run: bool,
        clock: fn() -> UtcDateTime,
    ) -> Result<Self, ImportError> {
        match *destination {
            Destination::Sqlite { path } if is_dry_run => Self::dry_run(None, &[path]),
            Destination::Sqlite { path } => Self::sqlite(path),
            Destination::Postgres { server, listener, journal } if is_dry_run => {
                let sink = Sink::dry_run(server.clone(), Deadlines::default());
                Self::dry_run(Some(sink), &[listener, journal])
            }
            Destination::Postgres { server, listener, journal } => {
                Self::postgres(server, listener, journal, clock)
            }
        }
    }

    /// Ends the import: waits until all rows are delivered, and returns those that PostgreSQL has
    /// rejected.
    ///
    /// # Errors
    /// A file can't be written, or the server is away.
    pub fn finish(self) -> Result<Option<RejectedRows>, ImportError> {
        match self.target {
            Target::Nowhere => Ok(None),
            Target::Sqlite(mut journal) => {
                journal.checkpoint()?;
                Ok(None)
            }
            Target::Postgres(target) => target.finish(),
        }
    }

    /// Warnings of the server, for people.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.lookup.sink.as_mut().map(Sink::take_warnings).unwrap_or_default()
    }

    /// The times of the rows that a battery has.
    pub(crate) fn times(
        &mut self,
        mcu_id: u32,
        times: Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, ImportError> {
        self.lookup.times(mcu_id, times)
    }

    /// Adds rows that are missing.
    pub(crate) fn add(&mut self, rows: Vec<PackRecord>) -> Result<(), ImportError> {
        match &mut self.target {
            Target::Nowhere => {}
            Target::Sqlite(journal) => {
                journal.adopt(&rows)?;
            }
            Target::Postgres(target) => target.add(rows)?,
        }
        Ok(())
    }

    /// Adds what is known of days: to the database itself, or to the listener's journal if there is
    /// one, which may be in use. Adding the same days again changes nothing.
    pub(crate) fn put_days(&mut self, days: &[StoredDay]) -> Result<(), ImportError> {
        match &mut self.target {
            Target::Nowhere => {}
            Target::Sqlite(journal) => journal.put_statistics(&[], days, merge_days)?,
            Target::Postgres(target) if target.listener.exists() => {
                DayWriter::open(&target.listener)?.put(days, merge_days)?;
            }
            Target::Postgres(_) => {}
        }
        Ok(())
    }

    fn dry_run(sink: Option<Sink>, files: &[&Path]) -> Result<Self, ImportError> {
        let lookup = RowLookup { sink, has_answered: false, readers: readers(files)? };
        Ok(Self { lookup, target: Target::Nowhere })
    }

    fn sqlite(path: &Path) -> Result<Self, ImportError> {
        let opened = Journal::open(path, Retention::FOREVER);
        let journal = opened.map_err(|error| match error {
            bluenova_journal::Error::InUse { .. } => ImportError::ListenerIsRunning(error),
            error => error.into(),
        })?;
        let readers = vec![without_limit(journal.reader()?)];
        let lookup = RowLookup { sink: None, has_answered: false, readers };
        Ok(Self { lookup, target: Target::Sqlite(Box::new(journal)) })
    }

    fn postgres(
        server: &Settings,
        listener: &Path,
        journal: &Path,
        clock: Clock,
    ) -> Result<Self, ImportError> {
        let readers = readers(&[listener])?;
        let import = Some(ImportJournal::open(server, journal, clock)?);
        let (server, path) = (server.clone(), journal.to_owned());
        let listener = listener.to_owned();
        let sink = Some(Sink::new(server.clone(), Deadlines::default()));
        let target = ToPostgres { server, listener, path, import, rows: 0, clock };
        let lookup = RowLookup { sink, has_answered: false, readers };
        Ok(Self { lookup, target: Target::Postgres(Box::new(target)) })
    }
}

impl fmt::Debug for RowStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStore").finish_non_exhaustive()
    }
}

impl RowLookup {
    /// The times of the rows that a battery has, in the table and in the files.
    fn times(
        &mut self,
        mcu_id: u32,
        times: Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, ImportError> {
        let mut found = self
            .in_table(mcu_id, &times)
            .map_err(|source| ImportError::Lookup { source: Box::new(source) })?;
        for reader in &self.readers {
            reader.history(mcu_id, times.clone(), &[], |time, _| {
                found.push(time);
                ControlFlow::Continue(())
            })?;
        }
        Ok(found)
    }

    /// Tries again for a minute while the server is away; unless it was away from the start.
    fn in_table(
        &mut self,
        mcu_id: u32,
        times: &Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, bluenova_postgres::Error> {
        let Some(sink) = &mut self.sink else { return Ok(vec![]) };
        let time_out = if self.has_answered { SERVER_TIME_OUT } else { Duration::ZERO };
        let found = retried(time_out, || sink.times(mcu_id, times.clone()))?;
        self.has_answered = true;
        Ok(found)
    }
}

impl ToPostgres {
    fn add(&mut self, rows: Vec<PackRecord>) -> Result<(), ImportError> {
        if self.rows >= NEW_JOURNAL_AFTER
            && let Some(import) = self.import.take()
        {
            import.finish()?;
            self.rows = 0;
        }
        let import = match &mut self.import {
            Some(import) => import,
            None => self.import.insert(ImportJournal::open(&self.server, &self.path, self.clock)?),
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

    fn finish(self) -> Result<Option<RejectedRows>, ImportError> {
        let count = self.import.map_or(Ok(0), ImportJournal::finish)?;
        Ok((count > 0).then_some(RejectedRows { count, journal: self.path }))
    }
}

/// Readers of those files that exist.
fn readers(paths: &[&Path]) -> Result<Vec<Reader>, ImportError> {
    let existing = paths.iter().filter(|path| path.exists());
    let readers = existing.map(|path| Reader::open(path).map(without_limit));
    Ok(readers.collect::<Result<_, _>>()?)
}

/// Nobody waits for an import as a browser does for a page.
fn without_limit(mut reader: Reader) -> Reader {
    reader.time_limit = Duration::from_secs(3600);
    reader
}
