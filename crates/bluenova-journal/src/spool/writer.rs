//! The journals that rows are written to, each with its source in the outbox.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};

use time::UtcDateTime;

use super::outbox::Source;
use super::{Notice, stand_in};
use crate::{Error, Journal, Outbox, Retention, files};

/// What the stand-in may take in memory: nearly a week of one battery at ten seconds.
pub(super) const IN_MEMORY: Retention =
    Retention { keep: Some(std::time::Duration::ZERO), bound: Some(16 << 20) };

/// A journal that is written to. Its source in the outbox sees when it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) journal: Journal,
    /// To count and move its rows, even if the file has been deleted.
    pub(super) outbox: Outbox,
    pub(super) _alive: Arc<()>,
}

/// The way to the [`SpoolOutbox`].
#[derive(Debug)]
pub(super) struct ToOutbox {
    /// One wake-up is as good as many.
    pub(super) wake: Arc<SyncSender<()>>,
    pub(super) sources: Sender<Source>,
    /// The other database, where its name is known.
    pub(super) database: Option<String>,
}

impl Writer {
    pub(super) fn file(journal: Journal, to_outbox: Option<&ToOutbox>) -> Result<Box<Self>, Error> {
        Self::new(journal, false, to_outbox)
    }

    pub(super) fn stand_in(
        journal: Journal,
        to_outbox: Option<&ToOutbox>,
    ) -> Result<Box<Self>, Error> {
        Self::new(journal, true, to_outbox)
    }

    /// Has the outbox deliver from `journal`, too.
    fn new(
        mut journal: Journal,
        is_stand_in: bool,
        to_outbox: Option<&ToOutbox>,
    ) -> Result<Box<Self>, Error> {
        let alive = Arc::new(());
        if let Some(ToOutbox { sources, database, .. }) = to_outbox {
            if let Some(database) = database {
                // On a full disk, say: it is noted when the file is opened the next time.
                let _ = journal.note_destination(database);
            }
            let source = Source::new(&journal, is_stand_in, Arc::downgrade(&alive))?;
            // If the outbox has gone the rows wait in the journal.
            let _ = sources.send(source);
        }
        let outbox = journal.outbox()?;
        Ok(Box::new(Self { journal, outbox, _alive: alive }))
    }
}

/// Opens the file. One that is damaged is recovered only if it may turn out to be no journal, which
/// must show at the start.
pub(super) fn open_file(
    path: &Path,
    retention: Retention,
    now: UtcDateTime,
    to_outbox: Option<&ToOutbox>,
    notices: &mut Vec<Notice>,
) -> Result<Box<Writer>, Error> {
    let opened = match Journal::open(path, retention) {
        Err(error) if error.is_damage() && !files::has_lock(path) => {
            Journal::open_or_recover(path, retention, now)
        }
        opened => opened.map(|journal| (journal, None)),
    };
    let (journal, recovery) = opened?;
    notices.extend(recovery.map(Notice::Recovered));
    Writer::file(journal, to_outbox)
}

/// Whether no file is to stand in: in place of a deleted journal a new one is made at once, and on
/// a full disk no file can be.
pub(super) fn is_for_memory(error: &Error) -> bool {
    error.is_full() || matches!(error, Error::Gone { .. })
}

/// Opens the stand-in: a file where one can be written, else memory.
pub(super) fn open_stand_in(
    path: &Path,
    retention: Retention,
    error: Option<&Error>,
    to_outbox: Option<&ToOutbox>,
) -> Result<Box<Writer>, Error> {
    if !error.is_some_and(is_for_memory)
        && let Ok(journal) = stand_in::open(path, retention)
    {
        return Writer::stand_in(journal, to_outbox);
    }
    Writer::stand_in(Journal::in_memory(IN_MEMORY)?, to_outbox)
}

/// Opens the stand-in that a killed process has left behind.
pub(super) fn open_left(
    path: &Path,
    retention: Retention,
    to_outbox: Option<&ToOutbox>,
    now: UtcDateTime,
    notices: &mut Vec<Notice>,
) -> Result<Option<Box<Writer>>, Error> {
    match stand_in::open_left(path, retention, now) {
        Ok(Some((journal, recovery))) => {
            notices.extend(recovery.map(Notice::Recovered));
            Writer::stand_in(journal, to_outbox).map(Some)
        }
        Ok(None) => Ok(None),
        Err(error @ Error::InUse { .. }) => Err(error),
        // It stays where it is, for the next start.
        Err(error) => {
            notices.push(Notice::Postponed(error));
            Ok(None)
        }
    }
}
