//! The files around the database: its directory, its lock, its write-ahead log.

mod damaged;
mod left_logs;
mod lock;
mod write_ahead_log;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use crate::Error;
use crate::migrations::PAGE_BYTES;
pub(crate) use damaged::{keep_damaged, remove_old_damaged};
pub(crate) use left_logs::{copy_torn_log, left_logs};
pub(crate) use lock::{Lock, has_foreign_files, has_lock, is_in_use};
pub(crate) use write_ahead_log::WriteAheadLog;

/// The absolute path of the file to which `path` leads: SQLite has the log and its index beside
/// that, and not beside a symbolic link to it.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..MAX_LINKS {
        // The file that a link leads to need not be there yet.
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path = directory_of(&path).join(target);
    }
    Err(io::Error::other("there are too many symbolic links"))
}

/// Symbolic links that lead to each other, as many as Linux follows.
const MAX_LINKS: u32 = 40;

/// Fails if `path` can't be that of a file: it is a directory or says that it is one, or it is a
/// FIFO, which would hold up who opens it, or a device.
pub(crate) fn check_is_file(path: &Path) -> io::Result<()> {
    let names_directory = path.as_os_str().as_bytes().ends_with(b"/");
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Err(io::Error::other("it is no regular file")),
        Err(_) if names_directory => Err(io::ErrorKind::IsADirectory.into()),
        Err(_) => Ok(()),
    }
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

pub(crate) fn sync_file(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| Error::Io { action: "sync", path: path.to_owned(), source })
}

/// Device and number of a file.
type Identity = (u64, u64);

/// Bytes that this process may use on the disk of a journal; `None` where the file system does not
/// say.
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

/// Whether both paths lead to the same file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    identity(one).is_ok_and(|one| identity(other).is_ok_and(|other| one == other))
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Has files keep the names that they have now after a power loss. Some file systems can't sync a
/// directory, and keep the names without.
pub(crate) fn sync_directory_of(path: &Path) {
    let _ = File::open(directory_of(path)).and_then(|directory| directory.sync_all());
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| Error::Io {
        action: "rename",
        path: from.to_owned(),
        source,
    })
}

pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
