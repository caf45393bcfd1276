//! The journal in its file, the memory that stands in for it, and the way back.

mod outbox;

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, SyncSender, TrySendError};

use bluenova_record::PackRecord;
use time::{Duration, UtcDateTime};

use crate::{BATCH, Error, Journal, Outbox, Recovery, Retention, Sequence};
use outbox::Source;
pub use outbox::{SpoolOutbox, Waiting, Wake};

/// What the journal may take in memory, while its file can't be written: nearly a week of one
/// battery at ten seconds.
const IN_MEMORY: Retention =
    Retention { keep: Some(std::time::Duration::ZERO), bound: Some(16 << 20) };

/// Calls of [`Journal::trim`] in one go. Each does a bounded amount of work; all of them together
/// are more than any fleet brings in a minute.
const TRIMS: u32 = 64;

/// How soon after a recovery that failed the next one may be tried: it reads the whole file.
const RECOVERY_RETRY: Duration = Duration::HOUR;

/// Where every record goes first: the journal's file, or memory while the file can't be written.
///
/// A disk that can't be written costs it no record. What happens comes as [`Notice`]s.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    retention: Retention,
    state: State,
    /// Files that were deleted or replaced while in use, and whose rows are still to be moved.
    orphans: Vec<Orphan>,
    recovery_failed: Option<UtcDateTime>,
    notices: Vec<Notice>,
    /// `None`: the file is the database, and its rows go nowhere else.
    to_outbox: Option<ToOutbox>,
}

/// Where rows go at present.
#[derive(Debug)]
enum State {
    /// Into the file.
    File(Box<Writer>),
    /// Into memory. `file` is open nevertheless if it may be written again soon: after a full disk,
    /// say.
    Memory { memory: Box<Writer>, file: Option<Box<Writer>> },
}

/// A journal that is written to. Its source in the outbox sees when it is dropped.
#[derive(Debug)]
struct Writer {
    journal: Journal,
    /// To count and move its rows, even if the file has been deleted.
    outbox: Outbox,
    _alive: Arc<()>,
}

/// A file that has another one in its place, and is read through the connection that has it open.
#[derive(Debug)]
struct Orphan {
    outbox: Outbox,
    /// Until the rows have moved, the [`SpoolOutbox`] has them from here.
    _alive: Arc<()>,
}

/// The way to the [`SpoolOutbox`].
#[derive(Debug)]
struct ToOutbox {
    /// One wake-up is as good as many.
    wake: SyncSender<()>,
    sources: Sender<Source>,
    /// The other database, where its name is known.
    database: Option<String>,
}

/// Event of a [`Spool`], for the log.
#[derive(Debug)]
pub enum Notice {
    /// The file can't be written: rows are kept in memory, and end with the process. It comes again
    /// with each attempt that fails.
    InMemory(Error),
    /// The file is written again.
    InFile {
        /// Rows that came along from memory, or from a file that was deleted.
        rows: usize,
    },
    /// The file was damaged, and a new one with what was legible is in its place.
    Recovered(Recovery),
    /// The bound was reached: the oldest rows, not delivered yet, were deleted.
    Evicted {
        /// How many rows.
        rows: u64,
        /// Whether they were in the memory that stands in for the file.
        from_memory: bool,
    },
    /// The rows of a deleted file that could not be read.
    OrphansLost(Error),
    /// Something failed that will be done again, and has cost no row.
    Postponed(Error),
}

impl Spool {
    /// Opens the journal at `path` for rows that go on to another database, and the outbox from
    /// which they do. Where the file can't be opened or made, rows go to memory from the start.
    ///
    /// # Errors
    /// Another process has the journal open, the file is something else or of a newer version, or
    /// `path` is a directory.
    pub fn open(
        path: &Path,
        retention: Retention,
        now: UtcDateTime,
    ) -> Result<(Self, SpoolOutbox), Error> {
        Self::open_with(path, retention, None, now)
    }

    /// Does what [`open`](Self::open) does, and notes in the file that its rows are for `database`:
    /// see [`Journal::note_destination`].
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_for(
        path: &Path,
        retention: Retention,
        database: &str,
        now: UtcDateTime,
    ) -> Result<(Self, SpoolOutbox), Error> {
        Self::open_with(path, retention, Some(database.to_owned()), now)
    }

    fn open_with(
        path: &Path,
        retention: Retention,
        database: Option<String>,
        now: UtcDateTime,
    ) -> Result<(Self, SpoolOutbox), Error> {
        let (wake, woken) = mpsc::sync_channel(1);
        let (sources, new_sources) = mpsc::channel();
        let to_outbox = Some(ToOutbox { wake, sources, database });
        let mut notices = vec![];
        let mut recovery_failed = None;
        let opened = open_file(path, retention, now, to_outbox.as_ref(), &mut notices);
        let state = match opened {
            Ok(file) => State::File(file),
            Err(error) if is_final(&error) || path.is_dir() => return Err(error),
            Err(error) => {
                recovery_failed = error.is_damage().then_some(now);
                notices.push(Notice::InMemory(error));
                let memory = Writer::new(Journal::in_memory(IN_MEMORY)?, to_outbox.as_ref())?;
                State::Memory { memory, file: None }
            }
        };
        let (path, orphans) = (path.to_owned(), vec![]);
        let spool = Self { path, retention, state, orphans, recovery_failed, notices, to_outbox };
        Ok((spool, SpoolOutbox::new(woken, new_sources)))
    }

    /// Opens the journal at `path` as the database itself: nothing is trimmed, and nothing goes
    /// elsewhere.
    ///
    /// # Errors
    /// The file can't be opened or made.
    pub fn open_database(path: &Path, now: UtcDateTime) -> Result<Self, Error> {
        let mut notices = vec![];
        let file = open_file(path, Retention::FOREVER, now, None, &mut notices)?;
        Ok(Self {
            path: path.to_owned(),
            retention: Retention::FOREVER,
            state: State::File(file),
            orphans: vec![],
            recovery_failed: None,
            notices,
            to_outbox: None,
        })
    }

    /// Stores records: in the file, where a killed process loses none of them, or else in memory.
    ///
    /// # Errors
    /// Neither file nor memory takes them.
    pub fn append(&mut self, records: &[PackRecord]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        match self.journal().append(records) {
            Err(error) if !self.is_in_memory() => {
                self.leave_file(error)?;
                self.journal().append(records).map(drop)
            }
            appended => appended.map(drop),
        }
    }

    /// What has happened since the last call, for people.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        mem::take(&mut self.notices)
    }

    /// Ends the outbox's [`wait`](SpoolOutbox::wait). Call it after rows were appended or moved,
    /// once the status has them: rows that are delivered before would count as waiting.
    pub fn wake_outbox(&self) {
        let Some(ToOutbox { wake, .. }) = &self.to_outbox else { return };
        match wake.try_send(()) {
            // It has been woken already; or it has gone, and the rows wait in the journal.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Whether the file was found to be damaged, by whoever read or wrote it, another file or none
    /// is at its path, or its log was deleted, so that [`maintain`](Self::maintain) should not wait
    /// for its time.
    pub fn is_damaged(&self, now: UtcDateTime) -> bool {
        let is_file_missing =
            |file: &Writer| file.journal.is_replaced() || file.journal.is_log_deleted();
        self.is_to_be_recovered(now)
            || matches!(&self.state, State::File(file) if is_file_missing(file))
    }

    fn is_to_be_recovered(&self, now: UtcDateTime) -> bool {
        let (State::File(file) | State::Memory { file: Some(file), .. }) = &self.state else {
            return false;
        };
        // What replaced the file is no worse for its damage.
        file.journal.is_damaged()
            && !file.journal.is_replaced()
            && !self.has_recovery_failed_lately(now)
    }

    /// Whether rows go to memory at present.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.state, State::Memory { .. })
    }

    /// Rows that are not delivered and end with the process, those set aside in memory included.
    pub fn only_in_memory(&self) -> u64 {
        let rows = |outbox: &Outbox| outbox.waiting().unwrap_or(0);
        let memory = match &self.state {
            State::File(_) => 0,
            State::Memory { memory, .. } => {
                rows(&memory.outbox) + memory.outbox.count_set_aside().unwrap_or(0)
            }
        };
        memory + self.orphans.iter().map(|orphan| rows(&orphan.outbox)).sum::<u64>()
    }

    /// Rows that are not delivered, as far as they can be counted.
    pub fn waiting(&self) -> u64 {
        let (State::File(file) | State::Memory { file: Some(file), .. }) = &self.state else {
            return self.only_in_memory();
        };
        file.outbox.waiting().unwrap_or(0) + self.only_in_memory()
    }

    /// Syncs what was appended to the disk, trims what need not be kept, and goes back from memory
    /// to the file when it can be written again. To be called once a minute or so, and at the end.
    ///
    /// # Errors
    /// The file can't be written, and there is no memory either.
    pub fn maintain(&mut self, now: UtcDateTime) -> Result<(), Error> {
        if self.is_to_be_recovered(now) {
            self.recover(now)?;
        }
        if let State::File(file) = &mut self.state
            && let Err(error) = checkpoint_and_trim(&mut file.journal, now, &mut self.notices)
        {
            self.leave_file(error)?;
        }
        // Twice, since a file that is open may turn out to be deleted: the next one is made at
        // once, for the program may be about to end.
        for _ in 0..2 {
            if !self.is_in_memory() {
                break;
            }
            match self.return_to_file(now) {
                Err(error @ Error::Gone { .. }) => self.leave_file(error)?,
                Err(error) => {
                    self.leave_file(error)?;
                    break;
                }
                Ok(()) => {}
            }
        }
        if let State::Memory { memory, .. } = &mut self.state
            && let Err(error) = checkpoint_and_trim(&mut memory.journal, now, &mut self.notices)
        {
            self.notices.push(Notice::Postponed(error));
        }
        Ok(())
    }

    /// The journal that rows go into at present.
    fn journal(&mut self) -> &mut Journal {
        match &mut self.state {
            State::File(file) => &mut file.journal,
            State::Memory { memory, .. } => &mut memory.journal,
        }
    }

    /// From now on rows go to memory, because of `error`.
    fn leave_file(&mut self, error: Error) -> Result<(), Error> {
        let is_gone = matches!(error, Error::Gone { .. });
        self.notices.push(Notice::InMemory(error));
        self.turn_to_memory()?;
        if is_gone && let Some(file) = self.close_file() {
            // The rows can still be read, and go into the file that is made in its place.
            let Writer { outbox, _alive, .. } = *file;
            self.orphans.push(Orphan { outbox, _alive });
        }
        Ok(())
    }

    /// Has rows go to memory, if they don't yet. The file stays open.
    fn turn_to_memory(&mut self) -> Result<(), Error> {
        if self.is_in_memory() {
            return Ok(());
        }
        let memory = Writer::new(Journal::in_memory(IN_MEMORY)?, self.to_outbox.as_ref())?;
        let before = mem::replace(&mut self.state, State::Memory { memory, file: None });
        if let (State::Memory { file, .. }, State::File(writer)) = (&mut self.state, before) {
            *file = Some(writer);
        }
        Ok(())
    }

    /// Takes away the file, if rows go to memory and it is open nevertheless.
    fn close_file(&mut self) -> Option<Box<Writer>> {
        match &mut self.state {
            State::Memory { file, .. } => file.take(),
            State::File(_) => None,
        }
    }

    /// Makes a new file of what can be read of the damaged one. It goes into use with
    /// [`return_to_file`](Self::return_to_file).
    fn recover(&mut self, now: UtcDateTime) -> Result<(), Error> {
        self.turn_to_memory()?;
        // The file must be closed. Its source in the outbox ends when the new one is there.
        drop(self.close_file());
        let recovered = Journal::recover(&self.path, self.retention, now);
        let file = recovered.and_then(|(journal, recovery)| {
            self.recovery_failed = None;
            self.notices.push(Notice::Recovered(recovery));
            Writer::new(journal, self.to_outbox.as_ref())
        });
        match file {
            Ok(writer) => self.put_file(writer),
            Err(error) => {
                self.recovery_failed = Some(now);
                self.notices.push(Notice::InMemory(error));
            }
        }
        Ok(())
    }

    fn has_recovery_failed_lately(&self, now: UtcDateTime) -> bool {
        // Either way, since the clock may be set.
        self.recovery_failed.is_some_and(|failed| (now - failed).abs() < RECOVERY_RETRY)
    }

    /// Moves the rows in memory into the file, which is opened or made if need be.
    fn return_to_file(&mut self, now: UtcDateTime) -> Result<(), Error> {
        if let State::Memory { file: None, .. } = self.state {
            let writer = self.reopen(now)?;
            self.put_file(writer);
        }
        let State::Memory { memory, file: Some(file) } = &mut self.state else { return Ok(()) };
        // Before anything goes into it, so that nothing does if it was deleted.
        file.journal.checkpoint()?;
        let mut rows = 0;
        // In the database itself there is nothing that is delivered.
        let all = self.to_outbox.is_none();
        while let Some(orphan) = self.orphans.first_mut() {
            match move_rows(&mut orphan.outbox, file, all) {
                Ok(moved) => rows += moved,
                Err(MoveError::Write(error)) => return Err(error),
                Err(MoveError::Read(error)) => self.notices.push(Notice::OrphansLost(error)),
            }
            self.orphans.remove(0);
        }
        rows += move_rows(&mut memory.outbox, file, all).map_err(MoveError::into_error)?;
        file.journal.try_write()?;
        checkpoint_and_trim(&mut file.journal, now, &mut self.notices)?;
        self.notices.push(Notice::InFile { rows });
        if let Some(file) = self.close_file() {
            self.state = State::File(file);
        }
        Ok(())
    }

    fn reopen(&mut self, now: UtcDateTime) -> Result<Box<Writer>, Error> {
        let to_outbox = self.to_outbox.as_ref();
        if self.has_recovery_failed_lately(now) {
            return Writer::new(Journal::open(&self.path, self.retention)?, to_outbox);
        }
        open_file(&self.path, self.retention, now, to_outbox, &mut self.notices).inspect_err(
            |error| {
                if error.is_damage() {
                    self.recovery_failed = Some(now);
                }
            },
        )
    }

    fn put_file(&mut self, writer: Box<Writer>) {
        if let State::Memory { file, .. } = &mut self.state {
            *file = Some(writer);
        }
    }
}

impl Writer {
    /// Has the outbox deliver from `journal`, too.
    fn new(mut journal: Journal, to_outbox: Option<&ToOutbox>) -> Result<Box<Self>, Error> {
        let alive = Arc::new(());
        if let Some(ToOutbox { sources, database, .. }) = to_outbox {
            if let Some(database) = database {
                // On a full disk, say: it is noted when the file is opened the next time.
                let _ = journal.note_destination(database);
            }
            let source = Source::new(&journal, Arc::downgrade(&alive))?;
            // If the outbox has gone the rows wait in the journal.
            let _ = sources.send(source);
        }
        let outbox = journal.outbox()?;
        Ok(Box::new(Self { journal, outbox, _alive: alive }))
    }
}

/// Whether opening the file would fail for ever, so that memory is no way out.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::InUse { .. } | Error::Foreign { .. } | Error::Version { .. })
}

fn open_file(
    path: &Path,
    retention: Retention,
    now: UtcDateTime,
    to_outbox: Option<&ToOutbox>,
    notices: &mut Vec<Notice>,
) -> Result<Box<Writer>, Error> {
    let (journal, recovery) = Journal::open_or_recover(path, retention, now)?;
    notices.extend(recovery.map(Notice::Recovered));
    Writer::new(journal, to_outbox)
}

/// Which journal failed while rows moved from one to another.
enum MoveError {
    Read(Error),
    Write(Error),
}

impl MoveError {
    fn into_error(self) -> Error {
        match self {
            Self::Read(error) | Self::Write(error) => error,
        }
    }
}

/// Moves what `from` has not delivered (or all that it has), and what was set aside there, into
/// `to`; returns the number of rows that were not there yet.
fn move_rows(from: &mut Outbox, to: &mut Writer, all: bool) -> Result<usize, MoveError> {
    let mut rows = 0;
    let mut last = if all { Sequence::default() } else { from.cursor() };
    loop {
        let batch = from.rows_after(last, BATCH).map_err(MoveError::Read)?;
        if batch.records.is_empty() {
            break;
        }
        rows += to.journal.adopt(&batch.records).map_err(MoveError::Write)?;
        last = batch.last;
        // In a file they are not delivered: it may come back to its path, with its disk.
        if from.is_in_memory() {
            let _ = from.delivered(last);
        }
    }
    for row in from.rows_set_aside().map_err(MoveError::Read)? {
        to.outbox.set_aside_row(&row).map_err(MoveError::Write)?;
    }
    Ok(usize::try_from(rows).unwrap_or(usize::MAX))
}

fn checkpoint_and_trim(
    journal: &mut Journal,
    now: UtcDateTime,
    notices: &mut Vec<Notice>,
) -> Result<(), Error> {
    journal.checkpoint()?;
    let mut evicted = 0;
    for _ in 0..TRIMS {
        let trimmed = journal.trim(now)?;
        evicted += trimmed.undelivered;
        if trimmed.delivered + trimmed.undelivered == 0 {
            break;
        }
    }
    if evicted > 0 {
        notices.push(Notice::Evicted { rows: evicted, from_memory: journal.is_in_memory() });
    }
    Ok(())
}
