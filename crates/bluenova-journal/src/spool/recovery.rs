//! The thread that recovers a damaged journal.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use crate::{Error, Journal, Recovery};

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
