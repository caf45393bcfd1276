//! The journal in its file, the stand-in for it, and the way back.

mod changes;
mod moving;
mod notice;
mod outbox;
mod recovery;
mod stand_in;
mod writer;

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, TrySendError};

use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::{Error, Event, Journal, Outbox, Retention, StoredDay, StoredInsight, files};
pub use notice::Notice;
pub use outbox::{OutboxWaker, SpoolOutbox, Waiting, Wake};
use recovery::RecoveryThread;
use writer::{ToOutbox, Writer, open_file, open_left, open_stand_in};

/// Calls of [`Journal::trim`] in one go. Each does a bounded amount of work; all of them together
/// are more than any fleet brings in a minute.
const TRIMS: u32 = 64;

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

    /// Stores what is known of batteries, and their days: see [`Journal::merge_statistics`]. From
    /// the stand-in they move along with rows; in memory states are not stored, since they would
    /// end with the process.
    ///
    /// # Errors
    /// Neither a file nor memory takes them.
    pub fn merge_statistics(
        &mut self,
        insights: &[StoredInsight],
        days: &[StoredDay],
        merge: impl Fn(&StoredDay, &StoredDay) -> StoredDay,
    ) -> Result<(), Error> {
        self.write(|journal| {
            let insights = if journal.is_in_memory() { &[] } else { insights };
            journal.merge_statistics(insights, days, &merge)
        })
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
}

fn rows(outbox: &Outbox) -> u64 {
    outbox.waiting().unwrap_or(0)
}

/// Whether opening the file would fail for ever, so that memory is no way out.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::InUse { .. } | Error::Foreign { .. } | Error::Version { .. })
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
