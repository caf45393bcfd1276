//! What surrounds the database: its folder, its lock, its log.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use time::UtcDateTime;

use crate::Error;

/// Renames a damaged database and its log to `PATH.damaged-YYYYMMDDTHHMMSS`, and tells the name.
///
/// The journal must be closed. The new name is one that no file has yet.
///
/// # Errors
/// Where a file cannot be renamed; the database has its old name then.
pub fn set_aside(path: &Path, now: UtcDateTime) -> io::Result<PathBuf> {
    let aside = free_name(path, now);
    // The database goes last: whatever interrupts this, the next try finds it.
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn free_name(path: &Path, now: UtcDateTime) -> PathBuf {
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second) = now.as_hms();
    let month = u8::from(month);
    let stamp = format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}");
    let mut aside = beside(path, &format!(".damaged-{stamp}"));
    let mut n = 2;
    while aside.symlink_metadata().is_ok() {
        aside = beside(path, &format!(".damaged-{stamp}-{n}"));
        n += 1;
    }
    aside
}

/// Creates the folders that `path` needs; they are for their owner only.
pub(crate) fn create_folder_of(path: &Path) -> Result<(), Error> {
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| Error::Io {
        action: "create folder",
        path: folder.to_owned(),
        source,
    })
}

/// The right to write to a journal, until dropped.
///
/// The lock is on a file of its own, which is never removed: SQLite's own locks are for the length
/// of a transaction, and POSIX drops them when any descriptor of the file is closed.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(journal: &Path) -> Result<Self, Error> {
        let path = beside(journal, ".lock");
        let error = |source| Error::Io { action: "lock", path: path.clone(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse { path: journal.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        write_pid(&mut file).map_err(error)?;
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// `None` if the holder has not come to writing it yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

/// SQLite's write-ahead log of an open journal, and the means to tell whether the journal's file
/// is still the one at its path.
///
/// No lock of SQLite is on the log itself, so that a descriptor of our own does no harm.
#[derive(Debug)]
pub(crate) struct Log {
    journal: PathBuf,
    identity: (u64, u64),
    file: File,
}

impl Log {
    /// To be called after the first transaction, which creates the log.
    pub(crate) fn open(journal: &Path) -> Result<Self, Error> {
        let path = beside(journal, "-wal");
        let file =
            File::open(&path).map_err(|source| Error::Io { action: "open", path, source })?;
        let identity = identity(journal).map_err(|source| Error::Io {
            action: "look at",
            path: journal.to_owned(),
            source,
        })?;
        let folder = folder_of(journal);
        // Both files must have their names after a power loss.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| Error::Io {
            action: "sync",
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self { journal: journal.to_owned(), identity, file })
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        let io = |source| Error::Io { action: "sync", path: self.journal.clone(), source };
        match identity(&self.journal) {
            Ok(identity) if identity == self.identity => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => return Err(Error::Gone { path: self.journal.clone() }),
        }
        self.file.sync_data().map_err(io)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
