//! The ways from the journal's file to its stand-in, and back.

use std::mem;

use time::UtcDateTime;

use super::moving::{MoveError, move_rows};
use super::writer::{IN_MEMORY, Writer, is_for_memory, open_stand_in};
use super::{Notice, Orphan, Spool, State, checkpoint_and_trim, stand_in};
use crate::{Error, Journal};

impl Spool {
    /// From now on rows go to the stand-in, because of `error`.
    pub(super) fn leave_file(&mut self, error: Error) -> Result<(), Error> {
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
    pub(super) fn leave_stand_in(&mut self, error: Error) -> Result<(), Error> {
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
    pub(super) fn in_stand_in(&self, error: Error) -> Notice {
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
    pub(super) fn close_file(&mut self) -> Option<Box<Writer>> {
        match &mut self.state {
            State::StandIn { file, .. } => file.take(),
            State::File(_) => None,
        }
    }

    /// Has rows go to a file that stands in for the journal, instead of memory, if one can be
    /// written by now.
    pub(super) fn leave_memory(&mut self) {
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

    /// Moves the rows of the stand-in into the file, which is opened or made if need be.
    pub(super) fn return_to_file(&mut self, now: UtcDateTime) -> Result<(), Error> {
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

    pub(super) fn put_file(&mut self, writer: Box<Writer>) {
        if let State::StandIn { file, .. } = &mut self.state {
            *file = Some(writer);
        }
    }
}
