//! Damaged files, which are kept under another name.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bluenova_record::Timestamp;
use time::UtcDateTime;

use super::{beside, directory_of};
use crate::Error;

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
