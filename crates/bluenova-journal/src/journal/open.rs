//! Opens a journal, makes it, or recovers it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use time::UtcDateTime;

use super::{Journal, Unsynced, WritePosition, bytes_in_use, immediate};
use crate::address::{Access, Address};
use crate::connection::{JournalConnection, JournalState};
use crate::files::{self, Lock, WriteAheadLog};
use crate::migrations::{self, VERSION};
use crate::recover::{self, Recovery};
use crate::{Error, Retention, salvage};

impl Journal {
    /// Opens the journal at `path`, or creates it along with the directories that it needs.
    ///
    /// A journal that an older version of this crate made gets the tables of this version, with all
    /// that is in it. That is done in one transaction: whatever interrupts it leaves the journal as
    /// it was.
    ///
    /// # Errors
    /// If another process has it open, if the file is something else, or if it or its directory
    /// can't be read and written. A journal that is damaged may open nevertheless, and show it
    /// later: see [`Error::is_damage`].
    pub fn open(path: &Path, retention: Retention) -> Result<Self, Error> {
        let (given, path, lock) = take(path)?;
        match Self::in_file(&path, retention) {
            Ok((journal, log)) => journal.with_files(log.opened_by(&given), lock),
            Err(error) => {
                if matches!(error, Error::Foreign { .. }) || error.is_damage() {
                    lock.withdraw();
                }
                Err(error)
            }
        }
    }

    /// Opens the journal at `path` as [`open`](Self::open) does; if it is seen to be damaged, puts
    /// a new one in its place, with every row that is still legible.
    ///
    /// Rows that were not delivered yet are waiting there again, and so are all if it is unknown
    /// which they are: delivering a row twice must do no harm. The damaged file is kept as
    /// `PATH.damaged-YYYYMMDDTHHMMSS`, with its log, and so are the two before it. Until the new
    /// journal is complete nothing is renamed, so that being killed in between costs no more than
    /// doing it again.
    ///
    /// Looking at all of a large file at each start would take too long, so this finds what SQLite
    /// finds on opening it, and what its own counts show. Other damage shows when the rows are
    /// used: then [`Error::is_damage`] is true, and [`recover`](Self::recover) is the answer.
    ///
    /// A file in which nothing shows that it ever was a journal (no row, no header, no lock beside
    /// it) is [`Error::Foreign`], and is left alone.
    ///
    /// # Errors
    /// As for [`open`](Self::open); or if the new journal can't be written, and then everything is
    /// as it was.
    pub fn open_or_recover(
        path: &Path,
        retention: Retention,
        now: UtcDateTime,
    ) -> Result<(Self, Option<Recovery>), Error> {
        let (given, path, lock) = take(path)?;
        match recover::open(&path, &lock, retention, now) {
            Ok((journal, log, recovery)) => {
                match journal.with_files(log.opened_by(&given), lock) {
                    // It showed when rows of a log that was set aside were to be stored.
                    Err(error) if error.is_damage() => {
                        let (journal, recovery) = Self::recover(&given, retention, now)?;
                        Ok((journal, Some(recovery)))
                    }
                    opened => opened.map(|journal| (journal, recovery)),
                }
            }
            Err(error) => {
                if matches!(error, Error::Foreign { .. }) {
                    lock.withdraw();
                }
                Err(error)
            }
        }
    }

    /// Does what [`open_or_recover`](Self::open_or_recover) does with a damaged journal, even if
    /// opening it would not show the damage.
    ///
    /// It is for a program that met damage in a journal in use. That journal must be dropped first,
    /// since it holds the lock, and its outboxes and readers should be: they go on
    /// with the file that is put aside, and what an outbox has delivered there meanwhile will be
    /// delivered again.
    ///
    /// # Errors
    /// As for [`open_or_recover`](Self::open_or_recover).
    pub fn recover(
        path: &Path,
        retention: Retention,
        now: UtcDateTime,
    ) -> Result<(Self, Recovery), Error> {
        let (given, path, lock) = take(path)?;
        let recovery = recover::replace(&path, &lock, now)?;
        let (journal, log) = Self::in_file(&path, retention)?;
        Ok((journal.with_files(log.opened_by(&given), lock)?, recovery))
    }

    /// A journal that lasts as long as it and its outboxes and readers do.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn in_memory(retention: Retention) -> Result<Self, Error> {
        let state = Arc::<JournalState>::default();
        // Databases in memory share the names of the whole process. This one is nobody else's as
        // long as the cursor lives, which is as long as any connection to it does.
        let uri = format!("file:/journal-{:p}?vfs=memdb", Arc::as_ptr(&state));
        Self::at(Address::Memory(uri), retention, state)
    }

    /// Opens a file at an absolute path whose lock is taken. The lock is still to be added.
    pub(crate) fn in_file(
        path: &Path,
        retention: Retention,
    ) -> Result<(Self, WriteAheadLog), Error> {
        if files::is_stub(path) || recover::is_to_be_finished(path) {
            return Err(Error::Damaged { path: path.to_owned() });
        }
        // A loss of power may leave that: transactions behind a tear, where SQLite ends.
        let is_torn = salvage::is_log_broken(path);
        if is_torn {
            files::copy_torn_log(path)?;
        }
        let journal = Self::at(Address::File(path.to_owned()), retention, Arc::default())?;
        let log = WriteAheadLog::open(path)?;
        if is_torn {
            // What is behind the tear would be behind what is written from now on.
            journal.empty_log()?;
        }
        Ok((journal, log))
    }

    /// The journal with its files, and with the rows of logs that were left behind by files that
    /// another one has replaced.
    fn with_files(mut self, log: WriteAheadLog, mut lock: Lock) -> Result<Self, Error> {
        lock.write_identities()?;
        self.files = Some((log, lock));
        recover::adopt_left_logs(&mut self)?;
        Ok(self)
    }

    fn at(address: Address, retention: Retention, state: Arc<JournalState>) -> Result<Self, Error> {
        let mut connection = address.connect(Access::Create)?;
        let version = address.version(&connection)?;
        let action = if version == 0 { "create" } else { "open" };
        let error = |source| address.error(action, source);
        if let Some(path) = address.path()
            && version < VERSION
            && let Some(free) = files::free_space(path)
        {
            let size = bytes_in_use(&connection).map_err(error)?;
            migrations::check_free_space(path, version, size, free)?;
        }
        migrations::migrate(&mut connection, version).map_err(error)?;
        let head = load(&mut connection, &state).map_err(error)?;
        let connection = JournalConnection::new(connection, address, state);
        let unsynced = Unsynced::default();
        Ok(Self { connection, retention, head, unsynced, files: None })
    }
}

/// The absolute form of `path`, the path of the file to which it leads, and the lock on the journal
/// there.
fn take(path: &Path) -> Result<(PathBuf, PathBuf, Lock), Error> {
    let error = |source| Error::Io { action: "open", path: path.to_owned(), source };
    let given = std::path::absolute(path).map_err(error)?;
    let path = files::resolve(&given).map_err(error)?;
    files::check_is_file(&path).map_err(error)?;
    files::create_directory_of(&path)?;
    let lock = Lock::take(&path)?;
    lock.set_foreign_log_aside()?;
    Ok((given, path, lock))
}

/// Reads where the journal stands, in a transaction that fails if it can't be written.
fn load(connection: &mut Connection, state: &JournalState) -> rusqlite::Result<WritePosition> {
    let transaction = immediate(connection)?;
    let (settled, delivered): (i64, i64) =
        transaction.query_row("SELECT settled, delivered FROM progress", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let newest: Option<i64> =
        transaction.query_row("SELECT max(sequence) FROM history", (), |row| row.get(0))?;
    let (recent, last): (i64, Option<i64>) = transaction.query_row(
        "SELECT count(*), max(sequence) FROM recent WHERE sequence > ?",
        [settled],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    transaction.commit()?;
    let last = last.unwrap_or(settled);
    let tallies = newest.is_none_or(|newest| newest == settled)
        && last.checked_sub(settled) == Some(recent)
        && (0..=last).contains(&delivered);
    if !tallies {
        return Err(rusqlite::Error::QueryReturnedNoRows);
    }
    state.raise_delivered(delivered);
    state.was_stored(delivered);
    Ok(WritePosition { settled, last })
}
