//! Moves rows from one journal to another.

use super::writer::Writer;
use crate::{BATCH, Error, Outbox, Sequence};

/// Which journal failed while rows moved from one to another.
pub(super) enum MoveError {
    Read(Error),
    Write(Error),
}

impl MoveError {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Read(error) | Self::Write(error) => error,
        }
    }
}

/// Moves what `from` has not delivered (or all that it has, out of a file that stands in for the
/// journal), what was set aside there, its events, states and days, into `to`; returns the number
/// of rows that were not there yet.
pub(super) fn move_rows(
    from: &mut Outbox,
    to: &mut Writer,
    all: bool,
    is_stand_in: bool,
) -> Result<usize, MoveError> {
    let mut rows = 0;
    // All rows of a stand-in: one that was delivered from there may have the time of another row in
    // the journal, which the database took it for. It is delivered again, at a time of its own.
    let all = all || (is_stand_in && !from.is_in_memory());
    let first = if all { Sequence::default() } else { from.cursor() };
    let mut last = first;
    loop {
        let batch = from.rows_after(last, BATCH).map_err(MoveError::Read)?;
        if batch.records.is_empty() {
            break;
        }
        rows += to.journal.adopt(&batch.records).map_err(MoveError::Write)?;
        last = batch.last;
    }
    // In a journal they are not delivered: it may come back to its path, with its disk.
    if is_stand_in && last != first {
        // First, or a power loss could keep the cursor without the rows.
        to.journal.checkpoint().map_err(MoveError::Write)?;
        let _ = from.delivered(last);
    }
    for row in from.rows_set_aside().map_err(MoveError::Read)? {
        to.outbox.set_aside_row(&row).map_err(MoveError::Write)?;
    }
    let events = from.events().map_err(MoveError::Read)?;
    to.journal.put_events(&events).map_err(MoveError::Write)?;
    let statistics = from.statistics().map_err(MoveError::Read)?;
    to.journal.adopt_statistics(&statistics).map_err(MoveError::Write)?;
    Ok(usize::try_from(rows).unwrap_or(usize::MAX))
}
