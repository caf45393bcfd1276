//! Puts a new journal in the place of a damaged one.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::files::{
    self, Lock, WriteAheadLog, beside, keep_damaged, remove_old_damaged, rename, sync_directory_of,
};
use crate::salvage::{DamagedJournal, RowLocation, SalvagedContents};
use crate::{BATCH, Error, Journal, Retention, salvage};

/// What a new journal is called until it takes the place of the damaged one.
const COMPLETE: &str = ".recovered";

/// Outcome of the recovery of a damaged journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Where the damaged file is kept.
    pub aside: PathBuf,
    /// Rows that were legible, delivered ones too.
    pub rows: u64,
    /// Rows that were not delivered and are lost, going by the gaps in their numbers; `None` where
    /// that is unknown.
    pub lost: Option<u64>,
    /// Older damaged files that were removed: the newest three are kept.
    pub removed: u64,
}

/// Opens a journal, or a new one in its place if it is damaged.
pub(crate) fn open(
    path: &Path,
    lock: &Lock,
    retention: Retention,
    now: UtcDateTime,
) -> Result<(Journal, WriteAheadLog, Option<Recovery>), Error> {
    let interrupted =
        if is_to_be_finished(path) { Some(install_complete(path, now)?) } else { None };
    match Journal::in_file(path, retention) {
        Err(error) if error.is_damage() => {
            let recovery = replace(path, lock, now)?;
            let (journal, log) = Journal::in_file(path, retention)?;
            Ok((journal, log, Some(recovery)))
        }
        Err(error) => Err(error),
        Ok((journal, log)) => {
            let rows = journal.rows();
            let recovery = interrupted.map(|aside| {
                let removed = remove_old_damaged(path, &aside);
                Recovery { aside, rows, lost: None, removed }
            });
            Ok((journal, log, recovery))
        }
    }
}

/// Copies what is legible to a new journal, and puts that in the place of the damaged one.
pub(crate) fn replace(path: &Path, lock: &Lock, now: UtcDateTime) -> Result<Recovery, Error> {
    if is_to_be_finished(path) {
        install_complete(path, now)?;
    }
    let image = DamagedJournal::open(path).map_err(|source| io_error("read", path, source))?;
    let contents = image.contents();
    if lock.is_new() && !is_ours(&image, &contents) {
        return Err(Error::Foreign { path: path.to_owned() });
    }
    let fresh = beside(path, ".recovering");
    remove(&fresh)?;
    let copied = copy(&image, &contents, &fresh).inspect_err(|_| {
        // The disk may be full, and it is made anew the next time.
        let _ = remove(&fresh);
    })?;
    // Each name is on the disk before the next one changes: a power loss must not leave the new
    // file beside the old log.
    files::sync_file(&fresh)?;
    rename(&fresh, &beside(path, COMPLETE))?;
    sync_directory_of(path);
    let aside = install_complete(path, now)?;
    let lost = copied.lost.filter(|&lost| lost <= image.pages().into());
    let removed = remove_old_damaged(path, &aside);
    Ok(Recovery { aside, rows: copied.rows, lost, removed })
}

/// Stores the rows of the logs that were set aside ([`Lock::set_foreign_log_aside`],
/// [`files::copy_torn_log`]), as far as they are not in the journal already, and removes these
/// logs.
pub(crate) fn adopt_left_logs(journal: &mut Journal) -> Result<(), Error> {
    let Some(path) = journal.path() else { return Ok(()) };
    for left in files::left_logs(path) {
        // What can't be read must not keep the journal from being written.
        let Ok(image) = DamagedJournal::open(&left) else { continue };
        let contents = image.contents();
        for batch in contents.rows.chunks(BATCH) {
            // All versions: a number may have been given twice, in the place of a row that was
            // lost.
            let rows: Vec<_> = batch.iter().filter_map(|&row| image.record(row)).collect();
            journal.adopt(&rows)?;
        }
        let mut outbox = journal.outbox()?;
        for row in &contents.set_aside {
            outbox.set_aside_row(row)?;
        }
        journal.put_events(&contents.events)?;
        journal.adopt_statistics(&contents.statistics)?;
        journal.checkpoint()?;
        remove(&left)?;
    }
    Ok(())
}

/// Whether the journal at `path` has rows that SQLite alone does not find, or would write over:
/// behind a tear of its log, or in logs that were set aside.
pub(crate) fn has_torn_log(path: &Path) -> bool {
    salvage::is_log_broken(path) || !files::left_logs(path).is_empty()
}

/// Stores these rows in the journal, for a program that is not its one writer. Where the journal is
/// in use that was done, or the log was just being written.
pub(crate) fn store_torn_log(path: &Path) -> Result<(), Error> {
    if !has_torn_log(path) {
        return Ok(());
    }
    match Journal::open(path, Retention::FOREVER) {
        Ok(_) | Err(Error::InUse { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a recovery was interrupted when it had but to rename files.
pub(crate) fn is_to_be_finished(path: &Path) -> bool {
    beside(path, COMPLETE).exists()
}

fn install_complete(path: &Path, now: UtcDateTime) -> Result<PathBuf, Error> {
    let aside = keep_damaged(path, now)?;
    sync_directory_of(path);
    rename(&beside(path, COMPLETE), path)?;
    sync_directory_of(path);
    Ok(aside)
}

impl Journal {
    /// Whether a file that can't be opened because of [damage](Error::is_damage) was a journal, so
    /// that [`open_or_recover`](Self::open_or_recover) replaces it. Otherwise that fails, and
    /// leaves the file alone. Nothing is written.
    pub fn is_recoverable(path: &Path) -> bool {
        let Ok(path) = files::resolve(path) else { return false };
        let was_in_use = beside(&path, ".lock").symlink_metadata().is_ok();
        let is_ours = |image: DamagedJournal| is_ours(&image, &image.contents());
        was_in_use || DamagedJournal::open(&path).is_ok_and(is_ours)
    }
}

/// Whether something in the file shows that it ever was a journal.
fn is_ours(image: &DamagedJournal, contents: &SalvagedContents) -> bool {
    !contents.rows.is_empty() || image.has_our_header()
}

struct CopiedRows {
    rows: u64,
    lost: Option<u64>,
}

fn copy(
    image: &DamagedJournal,
    contents: &SalvagedContents,
    path: &Path,
) -> Result<CopiedRows, Error> {
    let (mut journal, log) = Journal::in_file(path, Retention::FOREVER)?;
    let is_delivered = |row: &RowLocation| contents.delivered >= Some(row.sequence);
    let (delivered, waiting) = contents.rows.split_at(contents.rows.partition_point(is_delivered));
    copy_rows(image, delivered, &mut journal)?;
    let rows_delivered = journal.rows();
    let mut outbox = journal.outbox()?;
    outbox.delivered(journal.last())?;
    copy_rows(image, waiting, &mut journal)?;
    for row in &contents.set_aside {
        outbox.set_aside_row(row)?;
    }
    journal.put_events(&contents.events)?;
    journal.adopt_statistics(&contents.statistics)?;
    outbox.flush()?;
    drop((outbox, log));

    let rows = journal.rows();
    journal.merge_log()?;
    let numbers = contents.delivered.and_then(|cursor| numbers_after(cursor, delivered, waiting));
    let lost = numbers.map(|numbers| numbers.saturating_sub(rows - rows_delivered));
    Ok(CopiedRows { rows, lost })
}

/// How many rows there once were after the cursor; `None` if that is no sensible number, since the
/// last one isn't.
fn numbers_after(cursor: i64, delivered: &[RowLocation], waiting: &[RowLocation]) -> Option<u64> {
    let before = match (delivered.last(), waiting.first()) {
        // If nothing is left of those before, the first of those after may have been trimmed.
        (None, Some(first)) => first.sequence.checked_sub(1)?,
        _ => cursor,
    };
    let last = waiting.last().map_or(cursor, |last| last.sequence);
    u64::try_from(last.checked_sub(before)?).ok()
}

fn copy_rows(
    image: &DamagedJournal,
    rows: &[RowLocation],
    journal: &mut Journal,
) -> Result<(), Error> {
    let mut batch: Vec<PackRecord> = vec![];
    let mut in_batch = HashSet::new();
    let versions = rows.chunk_by(|a, b| a.sequence == b.sequence);
    for record in versions.flat_map(|versions| image.newest(versions)) {
        // A time is given once in a journal: this is a row that was copied already.
        let is_new = in_batch.insert((record.insert_time_utc, record.mcu_id));
        if is_new && !journal.contains(&record)? {
            batch.push(record);
        }
        if batch.len() == BATCH {
            journal.append(&batch)?;
            batch.clear();
            in_batch.clear();
        }
    }
    journal.append(&batch)?;
    Ok(())
}

/// Removes a database and its logs: SQLite has a `-journal` while it turns to a `-wal`.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    for suffix in ["-journal", "-wal", "-shm", ""] {
        let path = beside(path, suffix);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &path, source));
            }
            _ => {}
        }
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, path: path.to_owned(), source }
}
