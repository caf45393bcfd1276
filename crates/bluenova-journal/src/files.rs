//! The files around the database: its directory, its lock, its write-ahead log.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bluenova_record::Timestamp;
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use time::UtcDateTime;

use crate::Error;
use crate::migrations::PAGE_BYTES;

/// Renames a damaged database and its log to `PATH.damaged-YYYYMMDDTHHMMSS`, and returns
/// the new name.
///
/// The new name is one that no file has yet. Files that are not there are passed over.
///
/// # Errors
/// Where a file cannot be renamed; the database has its old name then.
pub(crate) fn keep_damaged(path: &Path, now: UtcDateTime) -> Result<PathBuf, Error> {
    let aside = free_name(path, now);
    // The database is the last one: whatever interrupts this, the next try finds it.
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { action: "rename", path: beside(path, suffix), source });
            }
            _ => {}
        }
    }
    Ok(aside)
}

fn free_name(path: &Path, now: UtcDateTime) -> PathBuf {
    let whole_seconds = now.replace_nanosecond(0).unwrap_or(now);
    let stamp = Timestamp(whole_seconds).to_string().replace(['-', ':'], "").replace(' ', "T");
    let mut aside = beside(path, &format!(".damaged-{stamp}"));
    let mut n = 2;
    while aside.symlink_metadata().is_ok() {
        aside = beside(path, &format!(".damaged-{stamp}-{n}"));
        n += 1;
    }
    aside
}

/// Whether the file is too short for a database, but it or its log holds something. SQLite would
/// take it for a new one, write over it and remove the log.
pub(crate) fn is_stub(path: &Path) -> bool {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let length = bytes(path);
    length < PAGE_BYTES.into() && (length > 0 || bytes(&beside(path, "-wal")) > 0)
}

/// Creates the directories that `path` needs; they are for their owner only.
pub(crate) fn create_directory_of(path: &Path) -> Result<(), Error> {
    let directory = directory_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| Error::Io {
        action: "create directory",
        path: directory.to_owned(),
        source,
    })
}

/// Lock of the one writer of a journal, held until dropped.
///
/// It is on a file of its own, which stays as long as the journal: SQLite's own locks are for the
/// length of a transaction, and POSIX drops them when any descriptor of the file is closed.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    path: PathBuf,
    is_new: bool,
}

impl Lock {
    pub(crate) fn take(journal: &Path) -> Result<Self, Error> {
        let path = beside(journal, ".lock");
        let is_new = !path.exists();
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
        Ok(Self { _file: file, path, is_new })
    }

    /// Whether there was no lock file before: then there was no journal here.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Removes a lock file that was made beside a file that is no journal.
    pub(crate) fn withdraw(self) {
        if self.is_new {
            // A file that stays behind does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Bytes that this process may use on the disk of a journal; `None` where the file system does not say.
pub(crate) fn free_space(journal: &Path) -> Option<u64> {
    let status = statvfs(directory_of(journal)).ok()?;
    // The types of these numbers differ from system to system.
    let blocks = match geteuid().is_root() {
        // Some are kept for root.
        true => status.blocks_free() as u64,
        false => status.blocks_available() as u64,
    };
    (status.blocks() > 0).then_some(blocks.saturating_mul(status.fragment_size() as u64))
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

/// Write-ahead log of an open journal. It also checks that the journal's file is still the one at
/// its path.
///
/// No lock of SQLite is on the log itself, so that a descriptor of our own does no harm.
#[derive(Debug)]
pub(crate) struct WriteAheadLog {
    journal: PathBuf,
    identity: (u64, u64),
    file: File,
}

impl WriteAheadLog {
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
        let directory = directory_of(journal);
        // Both files should have their names after a power loss. Some file systems can't sync a
        // directory, and keep the names without.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
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

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
