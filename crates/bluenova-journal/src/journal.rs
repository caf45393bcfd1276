//! The one writer of a journal.

mod append;
mod open;
mod trim;

use std::path::Path;

use bluenova_record::PackRecord;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use time::UtcDateTime;

use crate::connection::JournalConnection;
use crate::destination;
use crate::events::{self, Event};
use crate::files::{self, Lock, WriteAheadLog};
use crate::recover;
use crate::statistics::{self, StoredStatistics};
use crate::{Error, Outbox, Reader, Retention, Sequence, SetAside, StoredDay, StoredInsight};
use append::{Origin, is_taken};

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
    /// Rows, events, states or days were stored.
    rows: bool,
    /// Rows were moved out of their slots, which must not be overwritten before.
    a_move: bool,
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

    /// Does what [`merge_statistics`](Self::merge_statistics) does, with the version of the higher
    /// rank of each day.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn put_statistics(
        &mut self,
        insights: &[StoredInsight],
        days: &[StoredDay],
    ) -> Result<(), Error> {
        self.merge_statistics(insights, days, statistics::higher_rank)
    }

    /// Stores what is known of batteries, in the place of what was known before, and their days:
    /// all of it or nothing. Of a day that is there already it stores what `merge` makes of the
    /// stored version and the new one.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn merge_statistics(
        &mut self,
        insights: &[StoredInsight],
        days: &[StoredDay],
        merge: impl Fn(&StoredDay, &StoredDay) -> StoredDay,
    ) -> Result<(), Error> {
        if insights.is_empty() && days.is_empty() {
            return Ok(());
        }
        self.write_statistics(|connection| {
            statistics::put_insights(connection, insights)?;
            statistics::put_days(connection, days, &merge)
        })
    }

    /// Stores what another journal has: states that are newer, and days of a rank that is not
    /// lower.
    pub(crate) fn adopt_statistics(&mut self, from: &StoredStatistics) -> Result<(), Error> {
        let StoredStatistics { insights, days } = from;
        if insights.is_empty() && days.is_empty() {
            return Ok(());
        }
        self.write_statistics(|connection| {
            statistics::adopt_insights(connection, insights)?;
            statistics::put_days(connection, days, &statistics::higher_rank)
        })
    }

    fn write_statistics(
        &mut self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), Error> {
        let stored = immediate(&mut self.connection.sqlite).and_then(|transaction| {
            write(&transaction)?;
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
}

/// A transaction that may write from its start: one that began reading could be refused later.
pub(crate) fn immediate(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn bytes_in_use(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::SLOTS;

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
