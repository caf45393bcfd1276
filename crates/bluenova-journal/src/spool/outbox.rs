use std::mem;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::{Batch, Error, Journal, Outbox, Sequence, SetAsideRow};

/// The rows of a [`Spool`](crate::Spool) that another database has not acknowledged yet, in the
/// file, in its stand-in, and in files that were replaced.
///
/// It lives on a thread of its own, and never holds up the spool.
#[derive(Debug)]
pub struct SpoolOutbox {
    woken: Receiver<()>,
    new_sources: Receiver<Source>,
    /// In the order in which they were opened.
    sources: Vec<Source>,
    /// The source of the last batch, by its writer: others come and go meanwhile.
    current: Weak<()>,
    /// The source that is checked.
    checking: Weak<()>,
    /// Whether sources came or went since [`SpoolOutbox::may_repeat`] was asked.
    has_changed: bool,
}

/// Why [`SpoolOutbox::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Rows were appended, or may be read again.
    Rows,
    /// The time-out has passed.
    TimeOut,
    /// The spool was dropped. What it held can still be delivered.
    Ended,
}

/// How many rows wait for the other database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Rows in a file.
    pub in_file: u64,
    /// Rows that end with the process.
    pub in_memory: u64,
}

/// One journal to deliver from.
#[derive(Debug)]
pub(super) struct Source {
    outbox: Outbox,
    is_stand_in: bool,
    /// Dead as soon as nobody appends to the journal any more.
    writer: Weak<()>,
    /// Up to there the other database was seen to have the rows, or said so in an earlier run.
    checked: Sequence,
    /// Up to there rows are delivered again.
    again_through: Sequence,
    /// Up to there the rows behind those are delivered: new rows don't wait for old ones.
    new_through: Sequence,
}

/// Ends the [`wait`](SpoolOutbox::wait) of an outbox.
#[derive(Clone, Debug)]
pub struct OutboxWaker(pub(super) Weak<SyncSender<()>>);

impl OutboxWaker {
    /// Wakes the outbox, unless the spool was dropped, which did that.
    pub fn wake(&self) {
        if let Some(wake) = self.0.upgrade() {
            // One that was woken already need not be woken again.
            let _ = wake.try_send(());
        }
    }
}

impl SpoolOutbox {
    pub(super) fn new(woken: Receiver<()>, new_sources: Receiver<Source>) -> Self {
        Self {
            woken,
            new_sources,
            sources: vec![],
            current: Weak::new(),
            checking: Weak::new(),
            has_changed: false,
        }
    }

    /// Waits until [`Spool::wake_outbox`](crate::Spool::wake_outbox) was called since the last
    /// call, or until `time_out` has passed.
    pub fn wait(&mut self, time_out: Option<Duration>) -> Wake {
        // Stand-ins that came and went must not pile up while the other database is away.
        self.take_new_sources();
        let woken = match time_out {
            Some(time_out) => self.woken.recv_timeout(time_out),
            None => self.woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match woken {
            Ok(()) => Wake::Rows,
            Err(RecvTimeoutError::Timeout) => Wake::TimeOut,
            Err(RecvTimeoutError::Disconnected) => Wake::Ended,
        }
    }

    /// The oldest rows that are not delivered, `limit` at most, of the first journal that has some;
    /// none if all are delivered.
    ///
    /// # Errors
    /// A journal in use can't be read or is damaged, and the others have no rows. After damage,
    /// [`Spool::is_damaged`](crate::Spool::is_damaged) is true.
    pub fn undelivered(&mut self, limit: usize) -> Result<Batch, Error> {
        self.take_new_sources();
        let mut unreadable = None;
        let mut at = 0;
        let mut none = Batch::default();
        while let Some((source, later)) = self.sources[at..].split_first_mut() {
            let is_replaced = !source.has_writer()
                && (source.is_stand_in || later.iter().any(|later| !later.is_stand_in));
            match source.undelivered(limit) {
                Ok(batch) if !batch.records.is_empty() => {
                    self.current = Weak::clone(&source.writer);
                    return Ok(batch);
                }
                Ok(batch) => {
                    if batch.damaged > 0 {
                        // Nothing of them can be delivered, and they shall not count as waiting.
                        source.outbox.delivered(batch.last)?;
                    }
                    none.damaged += batch.damaged;
                }
                // What can be read of it is in the journal that has replaced it, or is being
                // recovered.
                Err(_) if !source.has_writer() => {}
                Err(error) => unreadable = Some(error),
            }
            if is_replaced {
                self.sources.remove(at);
                self.has_changed = true;
            } else {
                at += 1;
            }
        }
        unreadable.map_or(Ok(none), Err)
    }

    /// Notes that the rows of the last batch up to `last` are delivered.
    ///
    /// # Errors
    /// That could not be written down; the rows count as delivered all the same, as long as the
    /// process lasts.
    pub fn delivered(&mut self, last: Sequence) -> Result<(), Error> {
        self.current().map_or(Ok(()), |source| source.delivered(last))
    }

    /// Puts a row of the last batch aside, which the other database rejects: see
    /// [`Outbox::set_aside`].
    ///
    /// # Errors
    /// The file can't be written or is damaged.
    pub fn set_aside(
        &mut self,
        record: &PackRecord,
        sqlstate: &str,
        reason: &str,
        since: UtcDateTime,
    ) -> Result<(), Error> {
        let Some(source) = self.current() else { return Ok(()) };
        source.outbox.set_aside(record, sqlstate, reason, since)
    }

    /// Begins to check whether the other database still has the rows of the file that it has
    /// acknowledged. Returns up to where it was seen to have them, at the end of the last check or
    /// before this run; `None` if there is no file that is written.
    pub fn begin_check(&mut self) -> Option<Sequence> {
        self.take_new_sources();
        let mut files = self.sources.iter().rev().filter(|source| !source.is_stand_in);
        let writer = Weak::clone(&files.find(|source| source.has_writer())?.writer);
        self.checking = writer;
        let file = self.checking()?;
        // New rows that were delivered ahead of others may have been lost, too.
        file.new_through = file.again_through;
        Some(file.checked.min(file.outbox.cursor()))
    }

    /// The last row that is delivered of the file that is checked; `None` if the file was replaced
    /// since the check began.
    pub fn last_delivered(&mut self) -> Option<Sequence> {
        self.checking().map(|source| source.outbox.cursor())
    }

    /// The oldest rows after a sequence that are delivered, `limit` at most, without those that are
    /// set aside. There are no more if the batch ends at `after`, which it does, too, if the file
    /// was replaced since the check began.
    ///
    /// # Errors
    /// The file can't be read or is damaged.
    pub fn delivered_after(&mut self, after: Sequence, limit: usize) -> Result<Batch, Error> {
        match self.checking() {
            Some(source) => source.outbox.delivered_after(after, limit),
            None => Ok(Batch::none_after(after)),
        }
    }

    /// Notes that the other database has the rows up to `last`, which the check has looked at.
    pub fn checked(&mut self, last: Sequence) {
        if let Some(source) = self.checking() {
            source.checked = source.checked.max(last);
        }
    }

    /// Has the rows after `last` delivered again. They are not trimmed for their age meanwhile.
    /// Rows that were never delivered don't wait for them.
    ///
    /// Nothing of that is written to the file. Rows are delivered again in their order, so that
    /// after a process was killed it is the last ones of them that are missing, which the next
    /// check finds; and those that were never delivered before count as delivered only after them.
    pub fn set_back(&mut self, last: Sequence) {
        if let Some(source) = self.checking() {
            source.again_through = source.again_through.max(source.outbox.cursor());
            source.new_through = source.again_through;
            source.outbox.set_back(last);
            source.checked = source.checked.min(last);
        }
    }

    /// Whether there are rows to be delivered again, after [`set_back`](Self::set_back).
    pub fn is_set_back(&self) -> bool {
        self.sources.iter().any(Source::is_set_back)
    }

    /// Whether rows that were delivered may come again: there are several files, or were since the
    /// last call, and a row may have moved from one to another while it was delivered.
    pub fn may_repeat(&mut self) -> bool {
        mem::take(&mut self.has_changed) || self.sources.len() > 1
    }

    /// Does what [`set_aside`](Self::set_aside) does, also with a row that is retried.
    ///
    /// # Errors
    /// The file can't be written or is damaged.
    pub fn set_aside_row(&mut self, row: &SetAsideRow) -> Result<(), Error> {
        let Some(source) = self.current() else { return Ok(()) };
        source.outbox.set_aside_row(row)
    }

    /// The rows that were set aside and are retried, as far as they can be read.
    pub fn retried(&mut self) -> Vec<SetAsideRow> {
        self.take_new_sources();
        let rows = self.sources.iter().flat_map(|source| source.outbox.rows_set_aside());
        rows.flatten().filter(|row| row.is_retried).collect()
    }

    /// Removes a row that was set aside and is delivered after all.
    ///
    /// # Errors
    /// A file can't be written or is damaged.
    pub fn remove_set_aside(&mut self, record: &PackRecord) -> Result<(), Error> {
        self.sources.iter_mut().try_for_each(|source| source.outbox.remove_set_aside(record))
    }

    /// The newest row that is not delivered, as far as it can be read.
    pub fn newest(&mut self) -> Option<PackRecord> {
        self.take_new_sources();
        self.sources.iter().rev().find_map(|source| source.outbox.newest().ok().flatten())
    }

    /// Rows that are not delivered, as far as they can be counted.
    pub fn waiting(&mut self) -> Waiting {
        self.take_new_sources();
        let mut waiting = Waiting::default();
        for source in &self.sources {
            let rows = source.outbox.waiting().unwrap_or(0);
            if source.outbox.is_in_memory() {
                waiting.in_memory += rows;
            } else {
                waiting.in_file += rows;
            }
        }
        waiting
    }

    /// Whether rows go to memory at present.
    pub fn is_in_memory(&mut self) -> bool {
        self.take_new_sources();
        self.sources.iter().any(|source| source.outbox.is_in_memory() && source.has_writer())
    }

    /// `None` if the rows are in another source by now, which will have them delivered again.
    fn current(&mut self) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.writer.ptr_eq(&self.current))
    }

    fn checking(&mut self) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.writer.ptr_eq(&self.checking))
    }

    /// Takes what the spool has opened, and closes what it has emptied.
    fn take_new_sources(&mut self) {
        let before = self.sources.len();
        self.sources.extend(self.new_sources.try_iter());
        self.has_changed |= self.sources.len() > before;
        let before = self.sources.len();
        // A file that comes back to its path must not be open from before: SQLite would go on with
        // the index of the log that it had.
        let newest = self.sources.iter().rposition(|source| !source.is_stand_in);
        let mut at = 0;
        self.sources.retain(|source| {
            let is_replaced = !source.is_stand_in && newest.is_some_and(|newest| at < newest);
            at += 1;
            !is_replaced || source.has_writer()
        });
        self.sources.retain(|source| {
            !source.is_stand_in
                || source.has_writer()
                || source.outbox.waiting().is_ok_and(|n| n > 0)
        });
        self.has_changed |= self.sources.len() < before;
    }
}

impl Waiting {
    /// Rows in file and memory together.
    pub fn total(self) -> u64 {
        self.in_file + self.in_memory
    }
}

impl Source {
    pub(super) fn new(
        journal: &Journal,
        is_stand_in: bool,
        writer: Weak<()>,
    ) -> Result<Self, Error> {
        let outbox = journal.outbox()?;
        let checked = outbox.cursor();
        let again_through = Sequence::default();
        let new_through = again_through;
        Ok(Self { outbox, is_stand_in, writer, checked, again_through, new_through })
    }

    fn is_set_back(&self) -> bool {
        self.outbox.cursor() < self.again_through
    }

    /// The oldest rows that are not delivered, or else the oldest that are to be delivered again.
    fn undelivered(&mut self, limit: usize) -> Result<Batch, Error> {
        while self.is_set_back() {
            let new = self.outbox.deliverable_after(self.new_through, limit)?;
            if !new.records.is_empty() {
                return Ok(new);
            }
            let mut again = self.outbox.undelivered_through(self.again_through, limit)?;
            if !again.records.is_empty() {
                again.is_again = true;
                return Ok(again);
            }
            // All of them are set aside. If that can't be written down they are read again.
            let _ = self.delivered(self.again_through);
        }
        self.outbox.undelivered(limit)
    }

    fn delivered(&mut self, last: Sequence) -> Result<(), Error> {
        if self.is_set_back() && last > self.again_through {
            self.new_through = self.new_through.max(last);
            return Ok(());
        }
        if last != self.again_through {
            return self.outbox.delivered(last);
        }
        if self.is_set_back() {
            // Or else the next check would begin before rows that have been deleted on purpose.
            self.checked = self.checked.max(last);
        }
        self.outbox.delivered(self.new_through.max(last))
    }

    fn has_writer(&self) -> bool {
        self.writer.strong_count() > 0
    }
}
