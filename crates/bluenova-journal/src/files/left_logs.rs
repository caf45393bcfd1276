//! Write-ahead logs that are set aside, with rows that the journal does not have yet.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{beside, rename, sync_directory_of};
use crate::Error;

/// The logs that were set aside since their file was replaced, oldest first, by the names that
/// their files would have.
pub(crate) fn left_logs(path: &Path) -> Vec<PathBuf> {
    let names = (1..=LEFT_LOGS).map(|n| left_log(path, n));
    names.filter(|name| beside(name, "-wal").exists()).collect()
}

/// How many logs may be set aside at a time: each is read, and removed, by the next program that
/// has the journal open.
const LEFT_LOGS: u32 = 99;

fn left_log(path: &Path, n: u32) -> PathBuf {
    beside(path, &format!(".left-{n}"))
}

/// The name of the next log that is set aside.
pub(super) fn free_left_log(path: &Path) -> PathBuf {
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
