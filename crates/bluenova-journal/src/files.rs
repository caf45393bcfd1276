//! The files around the database: its directory, its lock, its write-ahead log.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bluenova_record::Timestamp;
use nix::fcntl::OFlag;
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
    let names = [aside.clone(), beside(&aside, "-wal")];
    Ok(names.into_iter().find(|name| name.exists()).unwrap_or(aside))
}

/// Damaged files that are kept, with their logs: a disk that fails brings one after the other.
const DAMAGED_FILES: usize = 3;

/// Removes all damaged files but the newest, and returns how many it removed. `aside`, which was
/// made just now, is kept whatever the clock was when the others were.
pub(crate) fn remove_old_damaged(path: &Path, aside: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory_of(path)) else { return 0 };
    let names = entries.flatten().filter_map(|entry| damaged_file(path, &entry.path()));
    let newest = damaged_file(path, aside);
    let others: BTreeSet<_> = names.filter(|name| newest.as_ref() != Some(name)).collect();
    let mut removed = 0;
    for old in others.iter().rev().skip(DAMAGED_FILES - 1) {
        let results = ["-wal", "-shm", ""].map(|suffix| fs::remove_file(beside(old, suffix)));
        removed += u64::from(results.iter().any(Result::is_ok));
    }
    removed
}

/// The damaged file, by the name that [`free_name`] gave it, to which `file` belongs.
fn damaged_file(path: &Path, file: &Path) -> Option<PathBuf> {
    let stem = beside(path, ".damaged-");
    let stamp = file.to_str()?.strip_prefix(stem.to_str()?)?;
    let suffix = ["-wal", "-shm"].into_iter().find(|suffix| stamp.ends_with(suffix));
    let stamp = stamp.strip_suffix(suffix.unwrap_or_default())?;
    let is_ours = stamp.bytes().all(|byte| byte.is_ascii_digit() || b"T-".contains(&byte));
    is_ours.then(|| beside(&stem, stamp))
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

/// The logs that were set aside since their file was replaced, oldest first, by the names that
/// their files would have.
pub(crate) fn left_logs(path: &Path) -> Vec<PathBuf> {
    let names = (1..=LEFT_LOGS).map(|n| left_log(path, n));
    names.filter(|name| beside(name, "-wal").exists()).collect()
}

fn left_log(path: &Path, n: u32) -> PathBuf {
    beside(path, &format!(".left-{n}"))
}

/// The name of the next log that is set aside.
fn free_left_log(path: &Path) -> PathBuf {
    let free = (1..LEFT_LOGS).find(|&n| !beside(&left_log(path, n), "-wal").exists());
    beside(&left_log(path, free.unwrap_or(LEFT_LOGS)), "-wal")
}

/// Copies the log beside the journal to the name of one that was set aside: see [`left_logs`].
///
/// SQLite would end at the first frame of it that is damaged, and write over what is behind.
/// Whatever interrupts this, the log is as it was; a copy that is there already is not made again.
///
/// # Errors
/// If the log can't be read, or its copy not be written and synced.
pub(crate) fn copy_torn_log(path: &Path) -> Result<(), Error> {
    let log = beside(path, "-wal");
    let partial = beside(path, ".left-wal");
    let error = |source| Error::Io { action: "copy", path: log.clone(), source };
    for left in left_logs(path) {
        if have_same_content(&log, &beside(&left, "-wal")).map_err(error)? {
            return Ok(());
        }
    }
    let copied = copy_and_sync(&log, &partial).map_err(error);
    copied.inspect_err(|_| {
        // The disk may be full, and it is made anew the next time.
        let _ = fs::remove_file(&partial);
    })?;
    rename(&partial, &free_left_log(path))?;
    sync_directory_of(path);
    Ok(())
}

fn copy_and_sync(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = File::create(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()
}

pub(crate) fn sync_file(path: &Path) -> Result<(), Error> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| Error::Io { action: "sync", path: path.to_owned(), source })
}

fn have_same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    let length = one.metadata()?.len();
    if other.metadata()?.len() != length {
        return Ok(false);
    }
    let (mut a, mut b) = ([0; 4096], [0; 4096]);
    for offset in (0..length).step_by(a.len()) {
        let part = usize::try_from(length - offset).unwrap_or(a.len()).min(a.len());
        one.read_exact_at(&mut a[..part], offset)?;
        other.read_exact_at(&mut b[..part], offset)?;
        if a[..part] != b[..part] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many logs may be set aside at a time: each is read, and removed, by the next program that
/// has the journal open.
const LEFT_LOGS: u32 = 99;

/// Lock of the one writer of a journal, held until dropped.
///
/// It is on a file of its own, which stays as long as the journal: SQLite's own locks are for the
/// length of a transaction, and POSIX drops them when any descriptor of the file is closed.
///
/// Somebody may remove that file, or put the directory elsewhere; so the log, which no lock of
/// SQLite is on, is locked besides.
///
/// The lock file holds the process ID of the writer, and which files the journal, its log and the
/// index of that are. SQLite goes by names: it would read the log of a file that was deleted, or
/// replaced by an older copy, as that of the file that has its name now.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    journal: PathBuf,
    is_new: bool,
    /// Of the last time that the journal was open.
    identities: Option<Identities>,
}

/// Which file the journal is, and which its log and the index of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identities {
    journal: Identity,
    log: Identity,
    index: Identity,
}

impl Identities {
    fn of(journal: &Path) -> io::Result<Self> {
        Ok(Self {
            journal: identity(journal)?,
            log: identity(&beside(journal, "-wal"))?,
            index: identity(&beside(journal, "-shm"))?,
        })
    }

    /// Whether the log beside the journal is the one that another file had there.
    fn has_foreign_log(self, journal: &Path) -> bool {
        self.is_foreign(journal, "-wal", self.log)
    }

    fn has_foreign_index(self, journal: &Path) -> bool {
        self.is_foreign(journal, "-shm", self.index)
    }

    fn is_foreign(self, journal: &Path, suffix: &str, before: Identity) -> bool {
        identity(&beside(journal, suffix)).is_ok_and(|now| now == before)
            && identity(journal).ok() != Some(self.journal)
    }
}

/// Whether what lies beside the journal is of another file, which was replaced.
pub(crate) fn has_foreign_files(journal: &Path) -> bool {
    let lock = File::open(beside(journal, ".lock"));
    let identities = lock.ok().and_then(|mut file| read_lock(&mut file).1);
    identities.is_some_and(|identities| {
        identities.has_foreign_log(journal) || identities.has_foreign_index(journal)
    })
}

/// Device and number of a file.
type Identity = (u64, u64);

impl Lock {
    pub(crate) fn take(journal: &Path) -> Result<Self, Error> {
        // Whoever had the lock may have removed the file: the lock must be on the one that others
        // find.
        for _ in 0..LOCK_TRIES {
            let lock = Self::take_once(journal)?;
            if lock.file.metadata().is_ok_and(|file| file.nlink() > 0) {
                return Ok(lock);
            }
        }
        Self::take_once(journal)
    }

    fn take_once(journal: &Path) -> Result<Self, Error> {
        let path = beside(journal, ".lock");
        let is_new = path.symlink_metadata().is_err();
        let error = |source| Error::Io { action: "lock", path: path.clone(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&path)
            .map_err(error)?;
        check_is_ours(&file).map_err(error)?;
        if is_new {
            give_to_owner_of_directory(&file, journal).map_err(error)?;
        }
        match lock(&file, || thread::sleep(LOCK_RETRY)) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (holder, _) = read_lock(&mut file);
                return Err(Error::InUse { path: journal.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        let (_, identities) = read_lock(&mut file);
        let mut lock = Self { file, path, journal: journal.to_owned(), is_new, identities };
        if let Ok(log) = File::open(beside(journal, "-wal"))
            && let Err(error) = lock_log(&log, journal)
        {
            lock.withdraw();
            return Err(error);
        }
        lock.write()?;
        Ok(lock)
    }

    /// Renames the log beside the journal if it is the one of another file, which was at this path
    /// when the journal was open last. Its rows are still to be read: see [`left_logs`]. Its index
    /// is removed; who has them open keeps them.
    ///
    /// A log that came along with its file, as in a copy of the directory, is another one, too.
    pub(crate) fn set_foreign_log_aside(&self) -> Result<(), Error> {
        let Some(before) = self.identities else { return Ok(()) };
        if before.has_foreign_index(&self.journal) {
            let index = beside(&self.journal, "-shm");
            fs::remove_file(&index).map_err(|source| Error::Io {
                action: "remove",
                path: index,
                source,
            })?;
        }
        if !before.has_foreign_log(&self.journal) {
            return Ok(());
        }
        rename(&beside(&self.journal, "-wal"), &free_left_log(&self.journal))?;
        sync_directory_of(&self.journal);
        Ok(())
    }

    /// Writes down which files the journal is in, once it is open, and syncs that.
    pub(crate) fn write_identities(&mut self) -> Result<(), Error> {
        self.identities = Identities::of(&self.journal).ok();
        self.write()?;
        // Numbers of files are given again: those of before could make this log a foreign one.
        self.file.sync_data().map_err(|source| Error::Io {
            action: "sync",
            path: self.path.clone(),
            source,
        })
    }

    fn write(&mut self) -> Result<(), Error> {
        let mut text = format!("{}\n", std::process::id());
        if let Some(Identities { journal, log, index }) = self.identities {
            for (device, number) in [journal, log, index] {
                text.push_str(&format!("{device} {number}\n"));
            }
        }
        // At once, and cut afterwards: whatever interrupts this, the identities are there.
        let written = self
            .file
            .write_all_at(text.as_bytes(), 0)
            .and_then(|()| self.file.set_len(text.len() as u64));
        written.map_err(|source| Error::Io { action: "lock", path: self.path.clone(), source })
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

/// Whether there is a lock file, and so was a journal.
pub(crate) fn has_lock(journal: &Path) -> bool {
    resolve(journal).is_ok_and(|path| beside(&path, ".lock").exists())
}

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

/// Fails if writing to the lock file would be writing to something else: whoever may write to the
/// directory must not choose what a program of another user overwrites.
fn check_is_ours(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    match metadata.is_file() && metadata.nlink() <= 1 {
        true => Ok(()),
        false => Err(io::Error::other("it is a link to another file, or none")),
    }
}

/// Whether a process has the journal open. This takes the locks for a moment, shared with others
/// that look.
pub(crate) fn is_in_use(journal: &Path) -> Result<bool, Error> {
    for suffix in [".lock", "-wal"] {
        let path = beside(journal, suffix);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::Io { action: "open", path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io { action: "lock", path, source });
            }
        }
    }
    Ok(false)
}

/// Whether both paths lead to the same file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    identity(one).is_ok_and(|one| identity(other).is_ok_and(|other| one == other))
}

/// What root makes in somebody's directory, to check things, must not lock them out.
fn give_to_owner_of_directory(file: &File, journal: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let directory = fs::metadata(directory_of(journal))?;
    fchown(file, Some(directory.uid()), Some(directory.gid()))
}

/// Locks the log of a journal until the file is dropped.
///
/// Closing a file drops no lock of this kind that another descriptor has. Some file systems have
/// no such locks, or none on a file that is read only: there `.lock` has to do.
fn lock_log(log: &File, journal: &Path) -> Result<(), Error> {
    match lock(log, || thread::sleep(LOCK_RETRY)) {
        Err(TryLockError::WouldBlock) => {
            Err(Error::InUse { path: journal.to_owned(), holder: None })
        }
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Locks a file. A process that looks whether it is locked ([`is_in_use`]) has a lock on it for a
/// moment, which passes.
fn lock(file: &File, mut wait: impl FnMut()) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => wait(),
            result => return result,
        }
    }
    file.try_lock()
}

const LOCK_TRIES: u32 = 50;
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Process ID and identities in a lock file, as far as they were written.
fn read_lock(file: &mut File) -> (Option<u32>, Option<Identities>) {
    let mut text = String::new();
    if file.take(256).read_to_string(&mut text).is_err() {
        return (None, None);
    }
    let mut lines = text.lines();
    let process = lines.next().and_then(|line| line.parse().ok());
    let mut identity = || {
        let (device, number) = lines.next()?.split_once(' ')?;
        Some((device.parse().ok()?, number.parse().ok()?))
    };
    let identities = match (identity(), identity(), identity()) {
        (Some(journal), Some(log), Some(index)) => Some(Identities { journal, log, index }),
        _ => None,
    };
    (process, identities)
}

/// Write-ahead log of an open journal. It also checks that the journal's file is still the one at
/// its path.
///
/// No lock of SQLite is on the log itself, so that a descriptor of our own does no harm.
#[derive(Debug)]
pub(crate) struct WriteAheadLog {
    /// The path by which the journal was opened, which may be a symbolic link to it.
    journal: PathBuf,
    identity: Identity,
    file: File,
}

impl WriteAheadLog {
    /// To be called after the first transaction, which creates the log.
    pub(crate) fn open(journal: &Path) -> Result<Self, Error> {
        let path = beside(journal, "-wal");
        let file =
            File::open(&path).map_err(|source| Error::Io { action: "open", path, source })?;
        lock_log(&file, journal)?;
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    /// As `check` does, where it has made the lock file.
    #[test]
    fn a_lock_file_that_is_removed_meanwhile_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let first = Lock::take(&journal).unwrap();
        let (path, waiting) = (journal.clone(), Arc::new(Barrier::new(2)));
        let begins = Arc::clone(&waiting);
        let other = thread::spawn(move || {
            begins.wait();
            Lock::take(&path).unwrap()
        });
        waiting.wait();
        // Whether it waits by then or not.
        thread::sleep(LOCK_RETRY * 5);
        first.withdraw();
        let other = other.join().unwrap();
        assert!(matches!(Lock::take(&journal), Err(Error::InUse { .. })));
        drop(other);
    }

    #[test]
    fn who_looks_does_not_keep_a_program_from_starting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = File::create(&path).unwrap();
        let mut who_looks = Some(File::open(&path).unwrap());
        who_looks.as_ref().unwrap().lock_shared().unwrap();
        lock(&file, || who_looks = None).unwrap();
        let other = File::open(&path).unwrap();
        let mut tries = 0;
        assert!(matches!(lock(&other, || tries += 1), Err(TryLockError::WouldBlock)));
        assert_eq!(tries, LOCK_TRIES);
    }
}
