//! The file beside the journal that stands in for it.

use std::path::{Path, PathBuf};

use time::UtcDateTime;

use crate::files::{self, beside};
use crate::{Error, Journal, Recovery, Retention};

/// The stand-in of a journal: a journal, too, which is locked and synced as that is.
///
/// It is open only while the journal can't be written; a killed process leaves it behind.
pub(super) fn path(journal: &Path) -> Result<PathBuf, Error> {
    let resolved = files::resolve(journal);
    let resolved = resolved.map_err(|source| Error::Io {
        action: "open",
        path: journal.to_owned(),
        source,
    })?;
    Ok(beside(&resolved, ".stand-in"))
}

/// Opens the stand-in of a journal, or makes it.
pub(super) fn open(journal: &Path, retention: Retention) -> Result<Journal, Error> {
    Journal::open(&path(journal)?, retention)
}

/// Opens the stand-in that a killed process has left behind; `None` if there is none.
///
/// # Errors
/// [`Error::InUse`], with the path of the journal, if another process records into it.
pub(super) fn open_left(
    journal: &Path,
    retention: Retention,
    now: UtcDateTime,
) -> Result<Option<(Journal, Option<Recovery>)>, Error> {
    let path = path(journal)?;
    if !path.exists() && !beside(&path, "-wal").exists() {
        return Ok(None);
    }
    match Journal::open_or_recover(&path, retention, now) {
        Err(Error::InUse { holder, .. }) => Err(Error::InUse { path: journal.to_owned(), holder }),
        opened => opened.map(Some),
    }
}

/// Removes a stand-in whose rows have moved.
///
/// What stays behind does no harm: its rows are
/// recognised when they are moved once more.
pub(super) fn remove(stand_in: Journal) {
    let _ = stand_in.remove();
}
