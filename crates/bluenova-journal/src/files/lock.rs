//! The lock of the one writer of a journal, and the files that the journal was in.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::ops::Deref;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::left_logs::free_left_log;
use super::{Identity, beside, directory_of, identity, rename, resolve, sync_directory_of};
use crate::Error;

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
    file: LockedFile,
    path: PathBuf,
    journal: PathBuf,
    is_new: bool,
    /// Of the last time that the journal was open.
    identities: Option<Identities>,
}

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
        let file = LockedFile(file);
        let mut lock = Self { file, path, journal: journal.to_owned(), is_new, identities };
        if let Ok(log) = File::open(beside(journal, "-wal"))
            && let Err(error) = lock_log(log, journal)
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

/// Whether there is a lock file, and so was a journal.
pub(crate) fn has_lock(journal: &Path) -> bool {
    resolve(journal).is_ok_and(|path| beside(&path, ".lock").exists())
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
            Ok(()) => drop(LockedFile(file)),
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io { action: "lock", path, source });
            }
        }
    }
    Ok(false)
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

/// What root makes in somebody's directory, to check things, must not lock them out.
fn give_to_owner_of_directory(file: &File, journal: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let directory = fs::metadata(directory_of(journal))?;
    fchown(file, Some(directory.uid()), Some(directory.gid()))
}

/// A file with a lock, which ends when the value is dropped.
///
/// Closing the file would not do: a child that the process is starting meanwhile has a copy of the
/// descriptor, and so the lock, until it executes its program.
#[derive(Debug)]
pub(super) struct LockedFile(File);

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Where that fails, the lock ends with the descriptors.
        let _ = self.0.unlock();
    }
}

/// Locks the log of a journal until the file is dropped.
///
/// Closing a file drops no lock of this kind that another descriptor has. Some file systems have
/// no such locks, or none on a file that is read only: there `.lock` has to do.
pub(super) fn lock_log(log: File, journal: &Path) -> Result<LockedFile, Error> {
    match lock(&log, || thread::sleep(LOCK_RETRY)) {
        Err(TryLockError::WouldBlock) => {
            Err(Error::InUse { path: journal.to_owned(), holder: None })
        }
        Ok(()) | Err(TryLockError::Error(_)) => Ok(LockedFile(log)),
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
            loop {
                // It doesn't wait for as long as a busy machine may take.
                match Lock::take(&path) {
                    Err(Error::InUse { .. }) => {}
                    taken => break taken.unwrap(),
                }
            }
        });
        waiting.wait();
        // Whether it waits by then or not.
        thread::sleep(LOCK_RETRY * 5);
        first.withdraw();
        let other = other.join().unwrap();
        assert!(matches!(Lock::take(&journal), Err(Error::InUse { .. })));
        drop(other);
    }

    /// A process that is being started has copies of all descriptors, as if they were duplicated.
    #[test]
    fn a_lock_ends_though_a_child_has_a_copy_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let log = beside(&journal, "-wal");
        File::create(&log).unwrap();
        let lock = Lock::take(&journal).unwrap();
        let log = lock_log(File::open(&log).unwrap(), &journal).unwrap();
        let _copies = [lock.file.try_clone().unwrap(), log.try_clone().unwrap()];
        assert!(is_in_use(&journal).unwrap());
        drop((log, lock));
        assert!(!is_in_use(&journal).unwrap());
        let _again = Lock::take(&journal).unwrap();
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
