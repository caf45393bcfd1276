use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bluenova_record::{PackRecord, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use time::UtcDateTime;

use crate::address::{Access, Address};
use crate::connection::{JournalConnection, JournalState};
use crate::destination;
use crate::events::{self, Event};
use crate::files::{self, Lock, WriteAheadLog};
use crate::migrations::{self, VERSION};
use crate::recover::{self, Recovery};
use crate::salvage;
use crate::schema::{self, SLOTS, Statements};
use crate::{Error, Outbox, Reader, Retention, Sequence, SetAside};

/// Rows that one call of [`Journal::trim`] deletes at most, so that it takes well under a second
/// on a slow machine. A single battery brings six to sixty a minute.
const TRIM_ROWS: u32 = 4096;

/// Rows that are evicted at a time while the database is beyond its bound.
const BOUND_ROWS: u32 = 64;

/// The part of their age by which rows are let outlive it, so that many go at a time. Deleting them
/// one by one would cost as many writes as storing them.
const GRACE: u32 = 32;

/// The one writer of a journal.
///
/// Dropping it closes the file; a killed process closes it just as well.
#[derive(Debug)]
pub struct Journal {
    connection: JournalConnection,
    retention: Retention,
    head: WritePosition,
    unsynced: Unsynced,
    /// `None` in memory. The lock is dropped last, after the connection.
    files: Option<(WriteAheadLog, Lock)>,
}

/// What [`Journal::append`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Sequence of the last record, or of the last one ever if there was none.
    pub last: Sequence,
    /// Records that were stored with a time up to a second later than theirs, because their battery
    /// had a row of that time already, or may have had: the clock went back.
    pub moved: u64,
}

/// How many rows [`Journal::trim`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Rows that had been delivered.
    pub delivered: u64,
    /// Rows that were evicted, since the bound was reached before they could be delivered.
    pub undelivered: u64,
}

/// What a power loss would undo.
#[derive(Clone, Copy, Debug, Default)]
struct Unsynced {
    /// Rows or events were stored.
    rows: bool,
    /// Rows were moved out of their slots, which must not be overwritten before.
    a_move: bool,
}

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It is new: where its time is in use, the clock was set back.
    Assembler,
    /// It was stored in another journal, and may be here already.
    Journal,
}

/// Sequences of the last rows; the database has the same at the end of each transaction.
#[derive(Clone, Copy, Debug)]
struct WritePosition {
    /// The last row in `history`.
    settled: i64,
    /// The last row.
    last: i64,
}

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

    /// Closes the journal, and removes the lock file if opening it has made one.
    pub fn close_as_found(self) {
        let Self { connection, files, .. } = self;
        drop(connection);
        if let Some((log, lock)) = files {
            drop(log);
            lock.withdraw();
        }
    }

    /// Removes the journal's files, whose rows are not needed any more. A journal in memory only
    /// ends.
    ///
    /// It is done before it is closed, and thus unlocked: no other process opens it meanwhile.
    ///
    /// # Errors
    /// If a file can't be removed, or if another one is in its place.
    pub fn remove(self) -> Result<(), Error> {
        let Some(path) = self.path() else { return Ok(()) };
        if self.is_replaced() {
            return Err(Error::Gone { path: path.to_owned() });
        }
        recover::remove(path)?;
        // A lock that stays behind does no harm.
        let _ = std::fs::remove_file(files::beside(path, ".lock"));
        Ok(())
    }

    /// Stores records, all of them or none.
    ///
    /// Times are kept in microseconds. No record is refused and none overwritten: where its battery
    /// has a row of that time already, it takes the next microsecond that is free. Where rows of
    /// such a time are trimmed and forgotten, it takes one within the next second that none of them
    /// is likely to have had, so that the database to which they went takes it for a new row.
    ///
    /// # Errors
    /// If the file can't be written ([`Error::is_full`]) or is damaged.
    pub fn append(&mut self, records: &[PackRecord]) -> Result<Appended, Error> {
        self.sync_move()?;
        self.try_append(records, Origin::Assembler)
            .map_err(|source| self.connection.error("append to", source))
    }

    /// Stores rows of another journal, all of them or none, except those that are here already: one
    /// of the same battery, time and values is the same row. Returns how many it stored.
    ///
    /// Where its battery has a row of that time with other values, a row takes the next microsecond
    /// that is free. Giving the same rows again changes nothing.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn adopt(&mut self, rows: &[PackRecord]) -> Result<u64, Error> {
        self.sync_move()?;
        let before = self.head.last;
        self.try_append(rows, Origin::Journal)
            .map_err(|source| self.connection.error("append to", source))?;
        Ok(u64::try_from(self.head.last - before).unwrap_or(0))
    }

    /// Stores events, all of them or none. One that is there already, by time, kind and battery, is
    /// not stored twice, and lasts as long as the longer one of the two.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn put_events(&mut self, events: &[Event]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let stored = immediate(&mut self.connection.sqlite).and_then(|transaction| {
            events::put(&transaction, events)?;
            transaction.commit()
        });
        self.unsynced.rows |= stored.is_ok();
        stored.map_err(|source| self.connection.error("append to", source))
    }

    /// Notes for which database the rows are, so that they can be found and delivered even if
    /// nobody opens this journal again: see [`leftovers`](crate::leftovers). `database` has no
    /// password in it.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn note_destination(&mut self, database: &str) -> Result<(), Error> {
        destination::write(&mut self.connection.sqlite, database)
            .map_err(|source| self.connection.error("write to", source))
    }

    /// Writes something that changes nothing, to find out whether the file can be written.
    ///
    /// # Errors
    /// If it can't, or if the file is damaged.
    pub fn try_write(&mut self) -> Result<(), Error> {
        let written = immediate(&mut self.connection.sqlite).and_then(|transaction| {
            transaction.execute("UPDATE progress SET settled = settled", ())?;
            transaction.commit()
        });
        written.map_err(|source| self.connection.error("write to", source))
    }

    /// Makes what was appended so far safe against power loss.
    ///
    /// If the write-ahead log was deleted, everything goes from there to the file:
    /// SQLite has the log open until the journal is closed, and nobody else finds it.
    ///
    /// # Errors
    /// If the disk can't, or if the file is not there any more.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        let Some((log, _)) = &self.files else { return Ok(()) };
        log.sync()?;
        self.unsynced = Unsynced::default();
        if log.is_deleted() { self.empty_log() } else { Ok(()) }
    }

    /// Whether a power loss would cost nothing that was appended so far. A journal in memory never
    /// is.
    pub fn is_synced(&self) -> bool {
        self.files.is_some() && !self.unsynced.rows
    }

    /// Deletes delivered rows that are older at `now` than is to be kept, and the oldest rows,
    /// delivered or not, while the database is beyond its bound.
    ///
    /// A call deletes some thousands of rows at most, and is cheap when there is nothing to do.
    /// Nothing is deleted until the oldest row is 1/32 older than that: many rows at a time cost
    /// little. Rows are deleted in the order in which they came, so that one from before the clock
    /// went back may keep others for a while.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn trim(&mut self, now: UtcDateTime) -> Result<Trimmed, Error> {
        self.try_trim(now).map_err(|source| self.connection.error("trim", source))
    }

    /// A new connection for the thread that forwards rows. There should be one such thread.
    ///
    /// # Errors
    /// If the file can't be opened once more.
    pub fn outbox(&self) -> Result<Outbox, Error> {
        Outbox::new(&self.connection)
    }

    /// A new connection for a thread that looks at rows.
    ///
    /// # Errors
    /// If the file can't be opened once more.
    pub fn reader(&self) -> Result<Reader, Error> {
        Reader::new(&self.connection)
    }

    /// A new connection for looking at the rows that are set aside.
    ///
    /// # Errors
    /// If the file can't be opened once more.
    pub fn set_aside(&self) -> Result<SetAside, Error> {
        SetAside::new(&self.connection)
    }

    /// The absolute path of the file, to which a symbolic link may have led; `None` in memory.
    pub fn path(&self) -> Option<&Path> {
        self.connection.address.path()
    }

    /// Whether this journal ends with the process.
    pub fn is_in_memory(&self) -> bool {
        self.path().is_none()
    }

    /// Whether this journal, or an outbox or reader that it made, met damage.
    ///
    /// The call that met it had an error ([`Error::is_damage`]); [`recover`](Self::recover) is the
    /// answer.
    pub fn is_damaged(&self) -> bool {
        self.connection.state.is_damaged()
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

    /// Whether there is a row of that battery and time.
    pub(crate) fn contains(&self, record: &PackRecord) -> Result<bool, Error> {
        is_taken(&self.connection.sqlite, record, self.head.settled)
            .map_err(|source| self.connection.error("read", source))
    }

    /// Whether another file, or none, is at the path. [`checkpoint`](Self::checkpoint) fails then.
    pub(crate) fn is_replaced(&self) -> bool {
        self.files.as_ref().is_some_and(|(log, _)| log.is_replaced())
    }

    /// Whether the log was deleted: see [`checkpoint`](Self::checkpoint).
    pub(crate) fn is_log_deleted(&self) -> bool {
        self.files.as_ref().is_some_and(|(log, _)| log.is_deleted())
    }

    /// Brings everything from the log to the file, and does without a log until it is opened again.
    pub(crate) fn merge_log(self) -> Result<(), Error> {
        self.connection
            .sqlite
            .pragma_update(None, "journal_mode", "delete")
            .map_err(|source| self.connection.error("write", source))
    }

    /// Brings everything from the log to the file, unless somebody reads it, and begins it anew.
    fn empty_log(&self) -> Result<(), Error> {
        self.connection
            .sqlite
            .query_row("PRAGMA wal_checkpoint(truncate)", (), |_| Ok(()))
            .map_err(|source| self.connection.error("write the log of", source))
    }

    /// The sequence of the last row that was stored.
    pub fn last(&self) -> Sequence {
        Sequence(self.head.last)
    }

    /// How many rows were ever stored.
    pub(crate) fn rows(&self) -> u64 {
        u64::try_from(self.head.last).unwrap_or(0)
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

    /// Syncs the log if rows have moved out of their slots since it was, so that they are on the
    /// disk, here or there, whatever part of the log a power loss tears.
    fn sync_move(&mut self) -> Result<(), Error> {
        if self.unsynced.a_move
            && let Some((log, _)) = &self.files
        {
            log.sync_data()?;
        }
        self.unsynced.a_move = false;
        Ok(())
    }

    fn try_append(&mut self, records: &[PackRecord], origin: Origin) -> rusqlite::Result<Appended> {
        let mut head = self.head;
        let free = SLOTS - (head.last - head.settled);
        if i64::try_from(records.len()).unwrap_or(i64::MAX) > free {
            return self.append_to_history(records, origin);
        }
        let mut moved = 0;
        let transaction = immediate(&mut self.connection.sqlite)?;
        for record in records {
            let next = WritePosition { last: head.last + 1, ..head };
            let sql = &self.connection.sql;
            let Some(record) = with_free_time(&transaction, sql, record, next, origin)? else {
                continue;
            };
            head = next;
            moved += u64::from(matches!(record, Cow::Owned(_)));
            let mut put = transaction.prepare_cached(&self.connection.sql.put_recent)?;
            schema::put(&mut put, &[head.last % SLOTS, head.last], &record)?;
        }
        transaction.commit()?;
        self.unsynced.rows |= head.last > self.head.last;
        self.head = head;
        Ok(Appended { last: Sequence(head.last), moved })
    }

    /// Moves the recent rows on and puts `records` behind them.
    fn append_to_history(
        &mut self,
        records: &[PackRecord],
        origin: Origin,
    ) -> rusqlite::Result<Appended> {
        let WritePosition { settled, mut last } = self.head;
        let mut moved = 0;
        let delivered = self.connection.state.delivered();
        let transaction = immediate(&mut self.connection.sqlite)?;
        transaction.prepare_cached(&self.connection.sql.move_recent)?.execute([settled])?;
        for record in records {
            // All rows are in `history` now, and looked for there.
            let next = WritePosition { settled: last + 1, last: last + 1 };
            let sql = &self.connection.sql;
            let Some(record) = with_free_time(&transaction, sql, record, next, origin)? else {
                continue;
            };
            last = next.last;
            moved += u64::from(matches!(record, Cow::Owned(_)));
            let mut put = transaction.prepare_cached(&self.connection.sql.put_history)?;
            schema::put(&mut put, &[last], &record)?;
        }
        transaction
            .prepare_cached(
                "INSERT INTO battery
                 SELECT mcu_id, count(*), max(sequence), '' FROM history WHERE sequence > ?
                 GROUP BY mcu_id
                 ON CONFLICT DO UPDATE
                 SET stored = stored + excluded.stored, newest = excluded.newest",
            )?
            .execute([settled])?;
        transaction
            .prepare_cached("UPDATE progress SET settled = ?, delivered = max(delivered, ?)")?
            .execute((last, delivered))?;
        transaction.commit()?;
        self.connection.state.was_stored(delivered);
        self.unsynced.rows |= last > self.head.last;
        self.unsynced.a_move = true;
        self.head = WritePosition { settled: last, last };
        Ok(Appended { last: Sequence(last), moved })
    }

    fn try_trim(&mut self, now: UtcDateTime) -> rusqlite::Result<Trimmed> {
        let mut trimmed = Trimmed::default();
        let mut rows_left = TRIM_ROWS;
        if let Some(keep) = self.retention.keep
            && let Some(last) = self.last_outdated(now, keep)?
        {
            trimmed = self.delete_through(last)?;
            rows_left -= u32::try_from(trimmed.delivered).unwrap_or(0).min(rows_left);
        }
        if let Some(bound) = self.retention.bound {
            let mut bound = bound;
            if bytes_in_use(&self.connection.sqlite)? > bound {
                // That is worth finding out only then: it takes reading them.
                bound += bytes_not_of_rows(&self.connection.sqlite)?;
            }
            while rows_left >= BOUND_ROWS && bytes_in_use(&self.connection.sqlite)? > bound {
                let Some(last) = self.last_of_oldest(BOUND_ROWS)? else { break };
                trimmed.add(self.delete_through(last)?);
                rows_left -= BOUND_ROWS;
            }
        }
        Ok(trimmed)
    }

    /// The last delivered row that is to be deleted for its age.
    fn last_outdated(&mut self, now: UtcDateTime, keep: Duration) -> rusqlite::Result<Option<i64>> {
        let (Some(cutoff), Some(overdue)) = (before(now, keep), before(now, keep + keep / GRACE))
        else {
            return Ok(None);
        };
        let overdue = Timestamp(overdue).to_string();
        // Rows are deleted from `history` only.
        if self.recent_has_older(&overdue)? {
            self.append_to_history(&[], Origin::Assembler)?;
        }
        let mut statement = self.connection.sqlite.prepare_cached(
            "SELECT sequence, insert_time_utc FROM history
             WHERE sequence <= ? ORDER BY sequence LIMIT ?",
        )?;
        let mut rows = statement.query((self.connection.state.delivered(), TRIM_ROWS))?;
        let mut limit = overdue;
        let mut last = None;
        while let Some(row) = rows.next()? {
            if row.get_ref(1)?.as_str()? >= limit.as_str() {
                break;
            }
            if last.is_none() {
                limit = Timestamp(cutoff).to_string();
            }
            last = Some(row.get(0)?);
        }
        Ok(last)
    }

    fn recent_has_older(&self, time: &str) -> rusqlite::Result<bool> {
        self.connection
            .sqlite
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM recent WHERE sequence > ? AND insert_time_utc < ?)",
            )?
            .query_row((self.head.settled, time), |row| row.get(0))
    }

    fn last_of_oldest(&self, rows: u32) -> rusqlite::Result<Option<i64>> {
        self.connection
            .sqlite
            .prepare_cached(
                "SELECT max(sequence)
                 FROM (SELECT sequence FROM history ORDER BY sequence LIMIT ?)",
            )?
            .query_row([rows], |row| row.get(0))
    }

    fn delete_through(&mut self, last: i64) -> rusqlite::Result<Trimmed> {
        let delivered_through = self.connection.state.delivered();
        let detail = if self.is_in_memory() { "from memory" } else { "from the journal" };
        let transaction = immediate(&mut self.connection.sqlite)?;
        if last > delivered_through {
            events::put_evicted(&transaction, delivered_through, last, detail)?;
        }
        transaction
            .prepare_cached(
                "UPDATE battery
                 SET stored = stored - gone.n, trimmed = max(trimmed, gone.latest)
                 FROM (
                     SELECT mcu_id, count(*) AS n, max(insert_time_utc) AS latest
                     FROM history WHERE sequence <= ? GROUP BY mcu_id
                 ) AS gone
                 WHERE battery.mcu_id = gone.mcu_id",
            )?
            .execute([last])?;
        let mut delete = transaction.prepare_cached("DELETE FROM history WHERE sequence <= ?")?;
        let delivered = delete.execute([last.min(delivered_through)])?;
        let undelivered = delete.execute([last])?;
        drop(delete);
        transaction.commit()?;
        Ok(Trimmed { delivered: delivered as u64, undelivered: undelivered as u64 })
    }
}

impl Trimmed {
    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.undelivered += other.undelivered;
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

/// A transaction that may write from its start: one that began reading could be refused later.
fn immediate(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
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

/// `record`, which is to be the last row; or a copy of it at another time within the next second,
/// where its battery has a row of that time, or may have had one that was trimmed. `None` if it is
/// a row of another journal that is here already.
fn with_free_time<'a>(
    transaction: &Transaction<'_>,
    sql: &Statements,
    record: &'a PackRecord,
    head: WritePosition,
    origin: Origin,
) -> rusqlite::Result<Option<Cow<'a, PackRecord>>> {
    let mut record = Cow::Borrowed(record);
    // A row of another journal may have been delivered from there, at its own time.
    if origin == Origin::Assembler && is_trimmed(transaction, &record)? {
        // No two rows that lie near to each other get the same.
        let micros = time::Duration::microseconds(head.last % 999_983 + 1);
        move_by(&mut record, micros);
    }
    while is_taken(transaction, &record, head.settled)? {
        if origin == Origin::Journal && is_stored(transaction, sql, &record)? {
            return Ok(None);
        }
        move_by(&mut record, time::Duration::MICROSECOND);
    }
    Ok(Some(record))
}

fn move_by(record: &mut Cow<'_, PackRecord>, by: time::Duration) {
    let later = record.insert_time_utc.checked_add(by);
    record.to_mut().insert_time_utc = later.unwrap_or(UtcDateTime::MIN);
}

/// Whether its time is one that rows of its battery had which are trimmed.
fn is_trimmed(connection: &Connection, record: &PackRecord) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM battery WHERE mcu_id = ? AND trimmed >= ?)")?
        .query_row((record.mcu_id, Timestamp(record.insert_time_utc).to_string()), |row| row.get(0))
}

fn is_taken(connection: &Connection, record: &PackRecord, settled: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM history WHERE insert_time_utc = ?1 AND mcu_id = ?2)
                 OR EXISTS (
                     SELECT 1 FROM recent
                     WHERE insert_time_utc = ?1 AND mcu_id = ?2 AND sequence > ?3
                 )
                 OR EXISTS (SELECT 1 FROM set_aside WHERE insert_time_utc = ?1 AND mcu_id = ?2)",
        )?
        .query_row((Timestamp(record.insert_time_utc).to_string(), record.mcu_id, settled), |row| {
            row.get(0)
        })
}

/// Whether there is a row of that battery, time and values.
fn is_stored(
    connection: &Connection,
    sql: &Statements,
    record: &PackRecord,
) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(&sql.select_at)?;
    let time = Timestamp(record.insert_time_utc).to_string();
    let mut rows = select.query((time, record.mcu_id))?;
    while let Some(row) = rows.next()? {
        let stored = schema::read_row(row)?.record;
        // What the journal does not keep of a time does not count.
        let is_same = |stored: PackRecord| {
            PackRecord { insert_time_utc: record.insert_time_utc, ..stored } == *record
        };
        if stored.is_some_and(is_same) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn bytes_in_use(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

/// What rows that are set aside and events take: no row has to go for those.
fn bytes_not_of_rows(connection: &Connection) -> rusqlite::Result<u64> {
    let bytes: Option<i64> = connection.query_row(
        "SELECT sum(pgsize) FROM dbstat('main', 1)
         WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name IN ('set_aside', 'event'))",
        (),
        |row| row.get(0),
    )?;
    Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
}

/// `None` if nothing can be as old as that.
fn before(now: UtcDateTime, keep: Duration) -> Option<UtcDateTime> {
    now.checked_sub(keep.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nth(n: i64) -> PackRecord {
        PackRecord::new(UtcDateTime::from_unix_timestamp(n).unwrap(), 7)
    }

    #[test]
    fn a_full_disk_costs_nothing_that_was_accepted() {
        let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
        journal.connection.sqlite.pragma_update(None, "max_page_count", 400).unwrap();
        let mut accepted = vec![];
        let full = loop {
            let record = nth(accepted.len() as i64);
            match journal.append(std::slice::from_ref(&record)) {
                Ok(_) => accepted.push(record),
                Err(error) => break error,
            }
        };
        assert!(full.is_full() && !full.is_damage(), "{full:?}");
        assert!(accepted.len() > SLOTS as usize, "{}", accepted.len());

        let mut outbox = journal.outbox().unwrap();
        assert_eq!(*outbox.undelivered(usize::MAX).unwrap().records, accepted);
        journal.append(&[nth(-1)]).unwrap_err();

        journal.connection.sqlite.pragma_update(None, "max_page_count", 4000).unwrap();
        for n in -200..0 {
            accepted.push(nth(n));
            journal.append(&[nth(n)]).unwrap();
        }
        assert_eq!(*outbox.undelivered(usize::MAX).unwrap().records, accepted);
        assert_eq!(outbox.waiting().unwrap(), accepted.len() as u64);
        assert_eq!(journal.reader().unwrap().count(7).unwrap(), accepted.len() as u64);
    }
}
