//! The journal in its file, the stand-in for it, and the way back.

mod outbox;
mod recovery;
mod stand_in;

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, SyncSender, TrySendError};

use bluenova_record::PackRecord;
use time::{Duration, UtcDateTime};

use crate::{BATCH, Error, Event, Journal, Outbox, Recovery, Retention, Sequence, files};
use outbox::Source;
pub use outbox::{OutboxWaker, SpoolOutbox, Waiting, Wake};
use recovery::RecoveryThread;

/// What the stand-in may take in memory: nearly a week of one battery at ten seconds.
const IN_MEMORY: Retention =
    Retention { keep: Some(std::time::Duration::ZERO), bound: Some(16 << 20) };

/// Calls of [`Journal::trim`] in one go. Each does a bounded amount of work; all of them together
/// are more than any fleet brings in a minute.
const TRIMS: u32 = 64;

/// How soon after a recovery that failed the next one may be tried: it reads the whole file.
const RECOVERY_RETRY: Duration = Duration::HOUR;

/// Where every record goes first: the journal's file, or its stand-in while the file can't be
/// written.
///
/// The stand-in is a file beside the journal, `PATH.stand-in`; or memory, where no such file can be
/// written either, since the disk is full, say. A killed process leaves the file behind, and the
/// next one moves its rows to the journal.
///
/// A disk that can't be written costs it no record. What happens comes as [`Notice`]s.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    retention: Retention,
    state: State,
    /// The file is being recovered. Rows go to the stand-in meanwhile.
    recovery: Option<RecoveryThread>,
    /// Files that are not written any more, and whose rows are still to be moved.
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
    /// Into the stand-in. `file` is open nevertheless if it may be written again soon: after a full
    /// disk, say.
    StandIn { stand_in: Box<Writer>, file: Option<Box<Writer>> },
}

/// A journal that is written to. Its source in the outbox sees when it is dropped.
#[derive(Debug)]
struct Writer {
    journal: Journal,
    /// To count and move its rows, even if the file has been deleted.
    outbox: Outbox,
    _alive: Arc<()>,
}

/// A file that is read through the connection that has it open: a journal that has another one in
/// its place, or a stand-in that can't be written.
#[derive(Debug)]
struct Orphan {
    outbox: Outbox,
    /// The stand-in, which is removed once its rows have moved.
    stand_in: Option<Journal>,
    /// Until the rows have moved, the [`SpoolOutbox`] has them from here.
    _alive: Arc<()>,
}

/// The way to the [`SpoolOutbox`].
#[derive(Debug)]
struct ToOutbox {
    /// One wake-up is as good as many.
    wake: Arc<SyncSender<()>>,
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
    /// The file can't be written, or is being recovered: rows are kept in a file that stands in for
    /// it. It comes again with each attempt that fails.
    InStandIn {
        /// Why the journal's file can't be written.
        error: Error,
        /// The file that stands in for it.
        path: PathBuf,
    },
    /// The file is written again.
    InFile {
        /// Rows that came along from the stand-in, or from a file that was deleted.
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
    /// which they do. Where the file can't be opened or made, or is damaged, rows go to the
    /// stand-in from the start.
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
        let to_outbox = Some(ToOutbox { wake: Arc::new(wake), sources, database });
        let spool = Self::start(path, retention, to_outbox, now)?;
        Ok((spool, SpoolOutbox::new(woken, new_sources)))
    }

    /// Opens the journal at `path` as the database itself: nothing is trimmed, and nothing goes
    /// elsewhere. Where it is damaged, rows go to the stand-in from the start.
    ///
    /// # Errors
    /// The file can't be opened or made.
    pub fn open_database(path: &Path, now: UtcDateTime) -> Result<Self, Error> {
        Self::start(path, Retention::FOREVER, None, now)
    }

    fn start(
        path: &Path,
        retention: Retention,
        to_outbox: Option<ToOutbox>,
        now: UtcDateTime,
    ) -> Result<Self, Error> {
        let mut notices = vec![];
        // First, since another process that can't use the journal has this one locked.
        let left = open_left(path, retention, to_outbox.as_ref(), now, &mut notices)?;
        let opened = open_file(path, retention, now, to_outbox.as_ref(), &mut notices);
        let (file, error) = match opened {
            Ok(file) => (Some(file), None),
            Err(error) if is_final(&error) || files::check_is_file(path).is_err() => {
                return Err(error);
            }
            Err(error) if to_outbox.is_none() && !error.is_damage() => return Err(error),
            Err(error) => (None, Some(error)),
        };
        let state = match (file, left) {
            (Some(file), None) => State::File(file),
            (file, Some(stand_in)) => State::StandIn { stand_in, file },
            (None, None) => {
                let stand_in = open_stand_in(path, retention, error.as_ref(), to_outbox.as_ref())?;
                State::StandIn { stand_in, file: None }
            }
        };
        let mut spool = Self {
            path: path.to_owned(),
            retention,
            state,
            recovery: None,
            orphans: vec![],
            recovery_failed: None,
            notices,
            to_outbox,
        };
        match error {
            Some(error) => {
                if error.is_damage() {
                    spool.recover_on_opening(now);
                }
                spool.leave_file(error)?;
            }
            None if spool.has_stand_in() => spool.maintain(now)?,
            None => {}
        }
        Ok(spool)
    }

    /// Stores records: in the file, where a killed process loses none of them, or else in its
    /// stand-in.
    ///
    /// # Errors
    /// Neither a file nor memory takes them.
    pub fn append(&mut self, records: &[PackRecord]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(|journal| journal.append(records).map(drop))
    }

    /// Stores events: in the file, or else in its stand-in, from where they move along with rows.
    ///
    /// # Errors
    /// Neither a file nor memory takes them.
    pub fn put_events(&mut self, events: &[Event]) -> Result<(), Error> {
        self.write(|journal| journal.put_events(events))
    }

    fn write(&mut self, write: impl Fn(&mut Journal) -> Result<(), Error>) -> Result<(), Error> {
        // Thrice at most: file, stand-in, memory.
        loop {
            match write(self.journal()) {
                Ok(()) => return Ok(()),
                Err(error) if self.is_in_memory() => return Err(error),
                Err(error) if self.has_stand_in() => self.leave_stand_in(error)?,
                Err(error) => self.leave_file(error)?,
            }
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

    /// What ends the outbox's [`wait`](SpoolOutbox::wait) from another thread; `None` if there is
    /// no outbox.
    pub fn outbox_waker(&self) -> Option<OutboxWaker> {
        self.to_outbox.as_ref().map(|to_outbox| OutboxWaker(Arc::downgrade(&to_outbox.wake)))
    }

    /// Whether the file was found to be damaged, by whoever read or wrote it, or was recovered,
    /// another file or none is at its path, or its log was deleted, so that
    /// [`maintain`](Self::maintain) should not wait for its time.
    pub fn is_damaged(&self, now: UtcDateTime) -> bool {
        let is_file_missing =
            |file: &Writer| file.journal.is_replaced() || file.journal.is_log_deleted();
        self.is_to_be_recovered(now)
            || self.recovery.as_ref().is_some_and(RecoveryThread::is_finished)
            || match &self.state {
                State::File(writer) | State::StandIn { stand_in: writer, .. } => {
                    is_file_missing(writer)
                }
            }
    }

    fn is_to_be_recovered(&self, now: UtcDateTime) -> bool {
        let Some(file) = self.file() else { return false };
        // What replaced the file is no worse for its damage.
        file.journal.is_damaged()
            && !file.journal.is_replaced()
            && !self.has_recovery_failed_lately(now)
    }

    /// Whether rows go to memory at present.
    pub fn is_in_memory(&self) -> bool {
        matches!(&self.state, State::StandIn { stand_in, .. } if stand_in.journal.is_in_memory())
    }

    /// Whether a damaged file is being recovered, and [`maintain`](Self::maintain) has not taken it
    /// over yet. A recovery that ends with the process is done again by the next one.
    pub fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// Rows that are not delivered and end with the process, those set aside in memory included.
    pub fn only_in_memory(&self) -> u64 {
        let memory = match &self.state {
            State::StandIn { stand_in, .. } if stand_in.journal.is_in_memory() => {
                rows(&stand_in.outbox) + stand_in.outbox.count_set_aside().unwrap_or(0)
            }
            State::File(_) | State::StandIn { .. } => 0,
        };
        let deleted = self.orphans.iter().filter(|orphan| orphan.stand_in.is_none());
        memory + deleted.map(|orphan| rows(&orphan.outbox)).sum::<u64>()
    }

    /// Rows that are not delivered, as far as they can be counted.
    pub fn waiting(&self) -> u64 {
        let stand_in = match &self.state {
            State::StandIn { stand_in, .. } if !stand_in.journal.is_in_memory() => {
                rows(&stand_in.outbox)
            }
            State::File(_) | State::StandIn { .. } => 0,
        };
        let left = self.orphans.iter().filter(|orphan| orphan.stand_in.is_some());
        self.file().map_or(0, |file| rows(&file.outbox))
            + stand_in
            + left.map(|orphan| rows(&orphan.outbox)).sum::<u64>()
            + self.only_in_memory()
    }

    /// Whether a power loss would cost no row but those in memory.
    pub fn is_synced(&self) -> bool {
        let (State::File(writer) | State::StandIn { stand_in: writer, .. }) = &self.state;
        writer.journal.is_in_memory() || writer.journal.is_synced()
    }

    /// Syncs what was appended to file or stand-in to the disk, if anything was since the last
    /// time.
    ///
    /// # Errors
    /// Neither can be synced, and there is no memory either.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.is_synced() {
            return Ok(());
        }
        match self.journal().checkpoint() {
            Err(error) if self.has_stand_in() => self.leave_stand_in(error),
            Err(error) => self.leave_file(error),
            Ok(()) => Ok(()),
        }
    }

    /// Syncs what was appended to the disk, trims what need not be kept, and goes back from the
    /// stand-in to the file when it can be written again. To be called once a minute or so, and at
    /// the end.
    ///
    /// # Errors
    /// The file can't be written, and there is no memory either.
    pub fn maintain(&mut self, now: UtcDateTime) -> Result<(), Error> {
        if self.is_to_be_recovered(now) {
            self.recover(now)?;
        }
        self.end_recovery(now);
        if let State::File(file) = &mut self.state
            && let Err(error) = checkpoint_and_trim(&mut file.journal, now, &mut self.notices)
        {
            self.leave_file(error)?;
        }
        // Twice, since a file that is open may turn out to be deleted: the next one is made at
        // once, for the program may be about to end.
        for _ in 0..2 {
            if !self.has_stand_in() || self.is_recovering() {
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
        if let State::StandIn { stand_in, .. } = &mut self.state
            && let Err(error) = checkpoint_and_trim(&mut stand_in.journal, now, &mut self.notices)
        {
            match self.is_in_memory() {
                true => self.notices.push(Notice::Postponed(error)),
                false => self.leave_stand_in(error)?,
            }
        }
        Ok(())
    }

    /// The journal that rows go into at present.
    fn journal(&mut self) -> &mut Journal {
        let (State::File(writer) | State::StandIn { stand_in: writer, .. }) = &mut self.state;
        &mut writer.journal
    }

    /// The file, if it is open.
    fn file(&self) -> Option<&Writer> {
        match &self.state {
            State::File(file) => Some(file),
            State::StandIn { file, .. } => file.as_deref(),
        }
    }

    fn has_stand_in(&self) -> bool {
        matches!(self.state, State::StandIn { .. })
    }

    /// From now on rows go to the stand-in, because of `error`.
    fn leave_file(&mut self, error: Error) -> Result<(), Error> {
        let is_gone = matches!(error, Error::Gone { .. });
        self.turn_to_stand_in(&error)?;
        if !is_for_memory(&error) {
            // What replaced the file can't be written for a longer time.
            self.leave_memory();
        }
        self.notices.push(self.in_stand_in(error));
        if is_gone && let Some(file) = self.close_file() {
            // The rows can still be read, and go into the file that is made in its place.
            let Writer { outbox, _alive, .. } = *file;
            self.orphans.push(Orphan { outbox, stand_in: None, _alive });
        }
        Ok(())
    }

    /// From now on rows go to memory, because of an error of the stand-in.
    fn leave_stand_in(&mut self, error: Error) -> Result<(), Error> {
        let to_outbox = self.to_outbox.as_ref();
        if let State::StandIn { stand_in, .. } = &mut self.state {
            let memory = Writer::stand_in(Journal::in_memory(IN_MEMORY)?, to_outbox)?;
            let Writer { journal, outbox, _alive } = *mem::replace(stand_in, memory);
            // Another file, or none, is at its path: its rows end with the process.
            let is_deleted = journal.is_replaced();
            let stand_in = if is_deleted { None } else { Some(journal) };
            self.orphans.push(Orphan { outbox, stand_in, _alive });
        }
        self.notices.push(Notice::InMemory(error));
        Ok(())
    }

    /// The notice that rows go to the stand-in.
    fn in_stand_in(&self, error: Error) -> Notice {
        match &self.state {
            State::StandIn { stand_in, .. } => match stand_in.journal.path() {
                Some(path) => Notice::InStandIn { error, path: path.to_owned() },
                None => Notice::InMemory(error),
            },
            State::File(_) => Notice::Postponed(error),
        }
    }

    /// Has rows go to the stand-in, if they don't yet. The file stays open.
    fn turn_to_stand_in(&mut self, error: &Error) -> Result<(), Error> {
        if self.has_stand_in() {
            return Ok(());
        }
        let to_outbox = self.to_outbox.as_ref();
        let stand_in = open_stand_in(&self.path, self.retention, Some(error), to_outbox)?;
        let before = mem::replace(&mut self.state, State::StandIn { stand_in, file: None });
        if let (State::StandIn { file, .. }, State::File(writer)) = (&mut self.state, before) {
            *file = Some(writer);
        }
        Ok(())
    }

    /// Takes away the file, if rows go to the stand-in and it is open nevertheless.
    fn close_file(&mut self) -> Option<Box<Writer>> {
        match &mut self.state {
            State::StandIn { file, .. } => file.take(),
            State::File(_) => None,
        }
    }

    /// Begins to make a new file of what can be read of the damaged one. It goes into use with
    /// [`return_to_file`](Self::return_to_file).
    fn recover(&mut self, now: UtcDateTime) -> Result<(), Error> {
        if !self.has_stand_in() {
            self.leave_file(Error::Damaged { path: self.path.clone() })?;
        }
        self.leave_memory();
        // The file must be closed. Its source in the outbox ends when the new one is there.
        drop(self.close_file());
        let retention = self.retention;
        self.start_recovery(now, move |path| {
            let (journal, recovery) = Journal::recover(path, retention, now)?;
            Ok((journal, Some(recovery)))
        });
        Ok(())
    }

    /// Has rows go to a file that stands in for the journal, instead of memory, if one can be
    /// written by now.
    fn leave_memory(&mut self) {
        let to_outbox = self.to_outbox.as_ref();
        let all = to_outbox.is_none();
        if let State::StandIn { stand_in, .. } = &mut self.state
            && stand_in.journal.is_in_memory()
            && let Ok(journal) = stand_in::open(&self.path, self.retention)
            && let Ok(mut file) = Writer::stand_in(journal, to_outbox)
            // Rows that have moved though others have not are recognised at the next try.
            && move_rows(&mut stand_in.outbox, &mut file, all, true).is_ok()
        {
            *stand_in = file;
            if !all {
                // Those of a deleted file would end with the process, too. A whole database is left
                // where it is until it can be moved to its place.
                self.orphans.retain_mut(|orphan| {
                    orphan.stand_in.is_some()
                        || move_rows(&mut orphan.outbox, stand_in, all, false).is_err()
                });
            }
        }
    }

    /// Begins to recover a file that opening it showed to be damaged.
    fn recover_on_opening(&mut self, now: UtcDateTime) {
        let retention = self.retention;
        self.start_recovery(now, move |path| Journal::open_or_recover(path, retention, now));
    }

    fn start_recovery(
        &mut self,
        now: UtcDateTime,
        recover: impl FnOnce(&Path) -> Result<(Journal, Option<Recovery>), Error> + Send + 'static,
    ) {
        match RecoveryThread::start(&self.path, recover) {
            Ok(recovery) => self.recovery = Some(recovery),
            Err(error) => self.recovery_has_failed(error, now),
        }
    }

    /// Takes over the new file, if the recovery has ended.
    fn end_recovery(&mut self, now: UtcDateTime) {
        let Some(recovery) = self.recovery.take_if(|recovery| recovery.is_finished()) else {
            return;
        };
        let file = recovery.join().and_then(|(journal, recovery)| {
            self.recovery_failed = None;
            self.notices.extend(recovery.map(Notice::Recovered));
            Writer::file(journal, self.to_outbox.as_ref())
        });
        match file {
            Ok(writer) => self.put_file(writer),
            Err(error) => self.recovery_has_failed(error, now),
        }
    }

    fn recovery_has_failed(&mut self, error: Error, now: UtcDateTime) {
        self.recovery_failed = Some(now);
        self.notices.push(self.in_stand_in(error));
    }

    fn has_recovery_failed_lately(&self, now: UtcDateTime) -> bool {
        // Either way, since the clock may be set.
        self.recovery_failed.is_some_and(|failed| (now - failed).abs() < RECOVERY_RETRY)
    }

    /// Moves the rows of the stand-in into the file, which is opened or made if need be.
    fn return_to_file(&mut self, now: UtcDateTime) -> Result<(), Error> {
        if self.file().is_none() {
            let writer = self.reopen(now)?;
            self.put_file(writer);
        }
        let State::StandIn { stand_in, file: Some(file) } = &mut self.state else { return Ok(()) };
        // Before anything goes into it, so that nothing does if it was deleted.
        file.journal.checkpoint()?;
        let mut rows = 0;
        // In the database itself there is nothing that is delivered.
        let all = self.to_outbox.is_none();
        let mut moved_stand_ins = vec![];
        while let Some(orphan) = self.orphans.first_mut() {
            let is_stand_in = orphan.stand_in.is_some();
            match move_rows(&mut orphan.outbox, file, all, is_stand_in) {
                Ok(moved) => {
                    rows += moved;
                    moved_stand_ins.extend(orphan.stand_in.take());
                }
                Err(MoveError::Write(error)) => return Err(error),
                // The next start tries to recover it.
                Err(MoveError::Read(error)) if is_stand_in => {
                    self.notices.push(Notice::Postponed(error));
                }
                Err(MoveError::Read(error)) => self.notices.push(Notice::OrphansLost(error)),
            }
            self.orphans.remove(0);
        }
        let mut is_moved = true;
        match move_rows(&mut stand_in.outbox, file, all, true) {
            Ok(moved) => rows += moved,
            Err(MoveError::Read(error)) if !stand_in.journal.is_in_memory() => {
                is_moved = false;
                self.notices.push(Notice::Postponed(error));
            }
            Err(error) => return Err(error.into_error()),
        }
        file.journal.try_write()?;
        checkpoint_and_trim(&mut file.journal, now, &mut self.notices)?;
        // Their rows are on the disk.
        moved_stand_ins.into_iter().for_each(stand_in::remove);
        self.notices.push(Notice::InFile { rows });
        if let Some(file) = self.close_file()
            && let State::StandIn { stand_in, .. } =
                mem::replace(&mut self.state, State::File(file))
            && is_moved
        {
            stand_in::remove(stand_in.journal);
        }
        Ok(())
    }

    fn reopen(&mut self, now: UtcDateTime) -> Result<Box<Writer>, Error> {
        let journal = Journal::open(&self.path, self.retention);
        if journal.as_ref().is_err_and(Error::is_damage) && !self.has_recovery_failed_lately(now) {
            self.recover_on_opening(now);
        }
        Writer::file(journal?, self.to_outbox.as_ref())
    }

    fn put_file(&mut self, writer: Box<Writer>) {
        if let State::StandIn { file, .. } = &mut self.state {
            *file = Some(writer);
        }
    }
}

impl Writer {
    fn file(journal: Journal, to_outbox: Option<&ToOutbox>) -> Result<Box<Self>, Error> {
        Self::new(journal, false, to_outbox)
    }

    fn stand_in(journal: Journal, to_outbox: Option<&ToOutbox>) -> Result<Box<Self>, Error> {
        Self::new(journal, true, to_outbox)
    }

    /// Has the outbox deliver from `journal`, too.
    fn new(
        mut journal: Journal,
        is_stand_in: bool,
        to_outbox: Option<&ToOutbox>,
    ) -> Result<Box<Self>, Error> {
        let alive = Arc::new(());
        if let Some(ToOutbox { sources, database, .. }) = to_outbox {
            if let Some(database) = database {
                // On a full disk, say: it is noted when the file is opened the next time.
                let _ = journal.note_destination(database);
            }
            let source = Source::new(&journal, is_stand_in, Arc::downgrade(&alive))?;
            // If the outbox has gone the rows wait in the journal.
            let _ = sources.send(source);
        }
        let outbox = journal.outbox()?;
        Ok(Box::new(Self { journal, outbox, _alive: alive }))
    }
}

fn rows(outbox: &Outbox) -> u64 {
    outbox.waiting().unwrap_or(0)
}

/// Whether opening the file would fail for ever, so that memory is no way out.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::InUse { .. } | Error::Foreign { .. } | Error::Version { .. })
}

/// Opens the file. One that is damaged is recovered only if it may turn out to be no journal, which
/// must show at the start.
fn open_file(
    path: &Path,
    retention: Retention,
    now: UtcDateTime,
    to_outbox: Option<&ToOutbox>,
    notices: &mut Vec<Notice>,
) -> Result<Box<Writer>, Error> {
    let opened = match Journal::open(path, retention) {
        Err(error) if error.is_damage() && !files::has_lock(path) => {
            Journal::open_or_recover(path, retention, now)
        }
        opened => opened.map(|journal| (journal, None)),
    };
    let (journal, recovery) = opened?;
    notices.extend(recovery.map(Notice::Recovered));
    Writer::file(journal, to_outbox)
}

/// Whether no file is to stand in: in place of a deleted journal a new one is made at once, and on a
/// full disk no file can be.
fn is_for_memory(error: &Error) -> bool {
    error.is_full() || matches!(error, Error::Gone { .. })
}

/// Opens the stand-in: a file where one can be written, else memory.
fn open_stand_in(
    path: &Path,
    retention: Retention,
    error: Option<&Error>,
    to_outbox: Option<&ToOutbox>,
) -> Result<Box<Writer>, Error> {
    if !error.is_some_and(is_for_memory)
        && let Ok(journal) = stand_in::open(path, retention)
    {
        return Writer::stand_in(journal, to_outbox);
    }
    Writer::stand_in(Journal::in_memory(IN_MEMORY)?, to_outbox)
}

/// Opens the stand-in that a killed process has left behind.
fn open_left(
    path: &Path,
    retention: Retention,
    to_outbox: Option<&ToOutbox>,
    now: UtcDateTime,
    notices: &mut Vec<Notice>,
) -> Result<Option<Box<Writer>>, Error> {
    match stand_in::open_left(path, retention, now) {
        Ok(Some((journal, recovery))) => {
            notices.extend(recovery.map(Notice::Recovered));
            Writer::stand_in(journal, to_outbox).map(Some)
        }
        Ok(None) => Ok(None),
        Err(error @ Error::InUse { .. }) => Err(error),
        // It stays where it is, for the next start.
        Err(error) => {
            notices.push(Notice::Postponed(error));
            Ok(None)
        }
    }
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

/// Moves what `from` has not delivered (or all that it has, out of a file that stands in for the
/// journal), what was set aside there, and its events, into `to`; returns the number of rows that
/// were not there yet.
fn move_rows(
    from: &mut Outbox,
    to: &mut Writer,
    all: bool,
    is_stand_in: bool,
) -> Result<usize, MoveError> {
    let mut rows = 0;
    // All rows of a stand-in: one that was delivered from there may have the time of another row in
    // the journal, which the database took it for. It is delivered again, at a time of its own.
    let all = all || (is_stand_in && !from.is_in_memory());
    let first = if all { Sequence::default() } else { from.cursor() };
    let mut last = first;
    loop {
        let batch = from.rows_after(last, BATCH).map_err(MoveError::Read)?;
        if batch.records.is_empty() {
            break;
        }
        rows += to.journal.adopt(&batch.records).map_err(MoveError::Write)?;
        last = batch.last;
    }
    // In a journal they are not delivered: it may come back to its path, with its disk.
    if is_stand_in && last != first {
        // First, or a power loss could keep the cursor without the rows.
        to.journal.checkpoint().map_err(MoveError::Write)?;
        let _ = from.delivered(last);
    }
    for row in from.rows_set_aside().map_err(MoveError::Read)? {
        to.outbox.set_aside_row(&row).map_err(MoveError::Write)?;
    }
    let events = from.events().map_err(MoveError::Read)?;
    to.journal.put_events(&events).map_err(MoveError::Write)?;
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
