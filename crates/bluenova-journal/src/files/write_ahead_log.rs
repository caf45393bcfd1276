//! The write-ahead log of an open journal.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::lock::{LockedFile, lock_log};
use super::{Identity, beside, directory_of, identity, sync_directory_of};
use crate::Error;

/// Write-ahead log of an open journal. It also checks that the journal's file is still the one at
/// its path.
///
/// No lock of SQLite is on the log itself, so that a descriptor of our own does no harm.
#[derive(Debug)]
pub(crate) struct WriteAheadLog {
    /// The path by which the journal was opened, which may be a symbolic link to it.
    journal: PathBuf,
    identity: Identity,
    file: LockedFile,
}

impl WriteAheadLog {
    /// To be called after the first transaction, which creates the log.
    pub(crate) fn open(journal: &Path) -> Result<Self, Error> {
        let path = beside(journal, "-wal");
        let file =
            File::open(&path).map_err(|source| Error::Io { action: "open", path, source })?;
        let file = lock_log(file, journal)?;
        let identity = identity(journal).map_err(|source| Error::Io {
            action: "look at",
            path: journal.to_owned(),
            source,
        })?;
        sync_directory_of(journal);
        Ok(Self { journal: journal.to_owned(), identity, file })
    }

    /// The same log, of a journal that was opened by another path.
    pub(crate) fn opened_by(self, journal: &Path) -> Self {
        Self { journal: journal.to_owned(), ..self }
    }

    /// Whether another file is at the path, or none. It is not, while the directory is away:
    /// somebody may be about to put it elsewhere.
    pub(crate) fn is_replaced(&self) -> bool {
        match identity(&self.journal) {
            Ok(identity) => identity != self.identity,
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound && directory_of(&self.journal).is_dir()
            }
        }
    }

    /// Whether the log has no name any more while the file has, so that its rows would end with the
    /// process.
    pub(crate) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
            && identity(&self.journal).is_ok_and(|identity| identity == self.identity)
    }

    /// Syncs the log, if the journal is still at its path.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        match identity(&self.journal) {
            Ok(identity) if identity == self.identity => self.sync_data(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.sync_error(error)),
            _ => Err(Error::Gone { path: self.journal.clone() }),
        }
    }

    pub(crate) fn sync_data(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|source| self.sync_error(source))
    }

    fn sync_error(&self, source: io::Error) -> Error {
        Error::Io { action: "sync", path: self.journal.clone(), source }
    }
}
