//! The recovery of a damaged journal, and the thread that does it.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use time::{Duration, UtcDateTime};

use super::writer::Writer;
use super::{Notice, Spool};
use crate::{Error, Journal, Recovery};

/// How soon after a recovery that failed the next one may be tried: it reads the whole file.
const RECOVERY_RETRY: Duration = Duration::HOUR;

/// A journal, and what was done if it was damaged.
type Recovered = (Journal, Option<Recovery>);

/// Recovery of a damaged journal, which reads all of a file that may be large, and so has a thread
/// of its own.
///
/// Dropping it leaves the thread alone: it ends with the process, which does no more harm than
/// being killed.
#[derive(Debug)]
pub(super) struct RecoveryThread {
    path: PathBuf,
    thread: JoinHandle<Result<Recovered, Error>>,
}

impl RecoveryThread {
    pub(super) fn start(
        path: &Path,
        recover: impl FnOnce(&Path) -> Result<Recovered, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let (path, for_thread) = (path.to_owned(), path.to_owned());
        let builder = Builder::new().name("recovery".to_owned());
        match builder.spawn(move || recover(&for_thread)) {
            Ok(thread) => Ok(Self { path, thread }),
            Err(source) => Err(Error::Io { action: "start a thread to recover", path, source }),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of the recovery.
    pub(super) fn join(self) -> Result<Recovered, Error> {
        let Self { path, thread } = self;
        thread.join().unwrap_or_else(|_| {
            let source = io::Error::other("the thread has panicked");
            Err(Error::Io { action: "recover", path, source })
        })
    }
}

impl Spool {
    /// Begins to make a new file of what can be read of the damaged one. It goes into use with
    /// [`return_to_file`](Self::return_to_file).
    pub(super) fn recover(&mut self, now: UtcDateTime) -> Result<(), Error> {
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

    /// Begins to recover a file that opening it showed to be damaged.
    pub(super) fn recover_on_opening(&mut self, now: UtcDateTime) {
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
    pub(super) fn end_recovery(&mut self, now: UtcDateTime) {
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

    pub(super) fn has_recovery_failed_lately(&self, now: UtcDateTime) -> bool {
        // Either way, since the clock may be set.
        self.recovery_failed.is_some_and(|failed| (now - failed).abs() < RECOVERY_RETRY)
    }
}
