use std::path::Path;
use std::sync::Arc;

use bluenova_record::PackRecord;
use rusqlite::Connection;
use time::UtcDateTime;

use crate::address::{Access, Address};
use crate::connection::JournalConnection;
use crate::schema;
use crate::statistics::{self, StoredStatistics};
use crate::{Error, Event, Sequence, SetAsideRow, events, set_aside};

/// Delivered rows after which the outbox writes its cursor itself, while a backlog drains. In
/// quiet times the journal does that along with its own writes, every hundred rows or so.
const MAX_LAG: i64 = 1000;

/// The rows that another database has not acknowledged yet.
///
/// [`delivered`](Self::delivered) takes effect at once for the journal and its outboxes, and is
/// written to the file a little later, to save writes: a process that is killed in between sends
/// up to 1000 rows again when it is back. Dropping the outbox writes it, too.
#[derive(Debug)]
pub struct Outbox {
    connection: JournalConnection,
}

/// Which rows to read.
#[derive(Clone, Copy, PartialEq)]
enum Rows {
    All,
    NotSetAside,
}

/// Some rows of an [`Outbox`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The records, in the order in which they were appended; empty if all are delivered.
    pub records: Arc<[PackRecord]>,
    /// What to give [`Outbox::delivered`] once all of them are.
    pub last: Sequence,
    /// Whether the outbox was set back behind these rows: they were delivered before.
    pub is_again: bool,
    /// Number of rows that are left out, or that lack a value, since the file is damaged there.
    pub damaged: u64,
    /// The sequence of each record.
    sequences: Vec<i64>,
}

impl Batch {
    /// What to give [`Outbox::delivered`] once the first `rows` records are.
    ///
    /// Damaged rows that were left out behind them are passed over.
    pub fn through(&self, rows: usize) -> Sequence {
        self.sequences.get(rows).map_or(self.last, |next| Sequence(next - 1))
    }
}

impl Batch {
    pub(crate) fn none_after(last: Sequence) -> Self {
        Self { last, ..Self::default() }
    }

    fn ending_at(self, last: i64) -> Self {
        let rows = self.sequences.partition_point(|sequence| *sequence <= last);
        let records = self.records[..rows].into();
        let sequences = self.sequences[..rows].to_vec();
        Self { records, sequences, last: Sequence(last), ..self }
    }
}

impl Outbox {
    pub(crate) fn new(journal: &JournalConnection) -> Result<Self, Error> {
        let connection = journal.again(Access::Write)?;
        // The first query opens the log, by its name: it must be the one that is there now, though
        // the file is deleted before its rows are asked for. An error will come again then.
        let _ = connection.sqlite.query_row("SELECT settled FROM progress", (), |_| Ok(()));
        Ok(Self { connection })
    }

    pub(crate) fn with(connection: JournalConnection) -> Self {
        Self { connection }
    }

    pub(crate) fn connection(&self) -> &JournalConnection {
        &self.connection
    }

    /// The outbox of a journal that is there, whether or not a process has it open.
    pub(crate) fn of_existing(path: &Path) -> Result<Self, Error> {
        let address = Address::of_existing(path)?;
        let (connection, _) = address.connect_to_journal(Access::Write)?;
        let connection = JournalConnection::new(connection, address, Arc::default());
        let delivered = connection
            .sqlite
            .query_row("SELECT delivered FROM progress", (), |row| row.get(0))
            .map_err(|source| connection.error("read", source))?;
        connection.state.raise_delivered(delivered);
        connection.state.was_stored(delivered);
        Ok(Self { connection })
    }

    /// The oldest rows that are not delivered, `limit` at most. Those that are set aside already
    /// are left out.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn undelivered(&mut self, limit: usize) -> Result<Batch, Error> {
        let cursor = self.cursor();
        let batch = self.deliverable_after(cursor, limit)?;
        if batch.records.is_empty() && batch.damaged == 0 && batch.last > cursor {
            // All of them are set aside. If that can't be written down they are read again.
            let _ = self.delivered(batch.last);
        }
        Ok(batch)
    }

    /// The oldest rows after a sequence, delivered ones too, even if the file has been deleted.
    pub(crate) fn rows_after(&self, after: Sequence, limit: usize) -> Result<Batch, Error> {
        self.try_rows_after(after, limit, Rows::All)
            .map_err(|source| self.connection.error("read", source))
    }

    /// The oldest rows after a sequence, delivered ones too, without those that are set aside.
    pub(crate) fn deliverable_after(&self, after: Sequence, limit: usize) -> Result<Batch, Error> {
        self.try_rows_after(after, limit, Rows::NotSetAside)
            .map_err(|source| self.connection.error("read", source))
    }

    /// The oldest rows after a sequence that are delivered, without those that are set aside. None
    /// of them are left if the batch ends at `after`.
    pub(crate) fn delivered_after(&self, after: Sequence, limit: usize) -> Result<Batch, Error> {
        self.rows_between(after, self.cursor(), limit)
    }

    /// The oldest rows that are not delivered, none after `last`.
    pub(crate) fn undelivered_through(&self, last: Sequence, limit: usize) -> Result<Batch, Error> {
        self.rows_between(self.cursor(), last, limit)
    }

    fn rows_between(
        &self,
        after: Sequence,
        Sequence(end): Sequence,
        limit: usize,
    ) -> Result<Batch, Error> {
        let limit = limit.min(usize::try_from(end - after.0).unwrap_or(0));
        if limit == 0 {
            return Ok(Batch::none_after(after));
        }
        // Where rows are trimmed or set aside, others come in their place.
        let batch = self.deliverable_after(after, limit)?;
        Ok(if batch.last.0 > end { batch.ending_at(end) } else { batch })
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        self.connection.address.path().is_none()
    }

    /// The last row that is delivered.
    pub(crate) fn cursor(&self) -> Sequence {
        Sequence(self.connection.state.delivered())
    }

    /// Moves the cursor back to `last`: the rows behind it are to be delivered again. They are not
    /// trimmed for their age meanwhile. The file keeps the cursor that it has, so that a process
    /// that is killed has to find out again.
    pub(crate) fn set_back(&mut self, last: Sequence) {
        self.connection.state.set_back(last.0);
    }

    /// Moves the cursor to `last`: the rows up to there are delivered. It never moves it back.
    ///
    /// # Errors
    /// If that could not be written to the file; the rows count as delivered all the same, as long
    /// as the process lasts.
    pub fn delivered(&mut self, last: Sequence) -> Result<(), Error> {
        self.connection.state.raise_delivered(last.0);
        if self.connection.state.lag() >= MAX_LAG { self.flush() } else { Ok(()) }
    }

    /// Writes the cursor to the file.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.connection.state.lag() <= 0 {
            return Ok(());
        }
        let delivered = self.connection.state.delivered();
        self.connection
            .sqlite
            .execute("UPDATE progress SET delivered = max(delivered, ?)", [delivered])
            .map_err(|source| self.connection.error("write the progress of", source))?;
        self.connection.state.was_stored(delivered);
        Ok(())
    }

    /// How many rows are not delivered, without counting them.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn waiting(&self) -> Result<u64, Error> {
        let state = &self.connection.state;
        waiting(&self.connection.sqlite, |stored| state.cursor(stored))
            .map_err(|source| self.connection.error("read", source))
    }

    /// Sets aside a row that the other database rejected, with the reason: once it is
    /// [`delivered`](Self::delivered) as well, it blocks no other row and is not lost.
    ///
    /// Neither age nor bound deletes it. Where it was set aside before, since `now` or earlier,
    /// the new reason counts; of a message, the first thousand characters are kept.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn set_aside(
        &mut self,
        record: &PackRecord,
        sqlstate: &str,
        message: &str,
        now: UtcDateTime,
    ) -> Result<(), Error> {
        self.set_aside_row(&SetAsideRow {
            record: record.clone(),
            sqlstate: sqlstate.to_owned(),
            message: message.to_owned(),
            since: now,
            is_retried: false,
        })
    }

    /// Does what [`set_aside`](Self::set_aside) does, also with a row that is retried.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn set_aside_row(&mut self, row: &SetAsideRow) -> Result<(), Error> {
        set_aside::put(&self.connection, row)
            .map_err(|source| self.connection.error("set a row aside in", source))
    }

    /// Removes a row that was set aside and is delivered after all.
    pub(crate) fn remove_set_aside(&mut self, record: &PackRecord) -> Result<(), Error> {
        set_aside::remove(&self.connection, record)
            .map_err(|source| self.connection.error("take a row out of", source))
    }

    /// The newest row that is not delivered.
    pub(crate) fn newest(&self) -> Result<Option<PackRecord>, Error> {
        let last = last(&self.connection.sqlite);
        let last = last.map_err(|source| self.connection.error("read", source))?;
        if last <= self.cursor().0 {
            return Ok(None);
        }
        let batch = self.rows_after(Sequence(last - 1), 1)?;
        Ok(batch.records.first().cloned())
    }

    /// The rows that are set aside, even if the file has been deleted.
    pub(crate) fn rows_set_aside(&self) -> Result<Vec<SetAsideRow>, Error> {
        set_aside::rows(&self.connection).map_err(|source| self.connection.error("read", source))
    }

    /// The events, even if the file has been deleted.
    pub(crate) fn events(&self) -> Result<Vec<Event>, Error> {
        events::read(&self.connection.sqlite)
            .map_err(|source| self.connection.error("read", source))
    }

    /// The states and days, even if the file has been deleted.
    pub(crate) fn statistics(&self) -> Result<StoredStatistics, Error> {
        statistics::all(&self.connection.sqlite)
            .map_err(|source| self.connection.error("read", source))
    }

    /// How many rows are set aside.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn count_set_aside(&self) -> Result<u64, Error> {
        set_aside::count(&self.connection.sqlite)
            .map_err(|source| self.connection.error("read", source))
    }

    fn try_rows_after(&self, after: Sequence, limit: usize, rows: Rows) -> rusqlite::Result<Batch> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (mut records, mut sequences, mut damaged) = (vec![], vec![], 0);
        let Sequence(mut last) = after;
        // One transaction, so that no row comes or goes between the questions.
        let transaction = self.connection.sqlite.unchecked_transaction()?;
        let mut select = transaction.prepare_cached(&self.connection.sql.select_after)?;
        let leaves_out = rows == Rows::NotSetAside && set_aside::count(&transaction)? > 0;
        loop {
            let before = last;
            let mut rows = select.query((before, limit))?;
            while let Some(row) = rows.next()? {
                let row = schema::read_row(row)?;
                check_next(&transaction, last, row.sequence)?;
                last = row.sequence;
                damaged += u64::from(row.is_damaged);
                let sql = &self.connection.sql;
                if let Some(record) = row.record
                    && !(leaves_out && set_aside::contains(&transaction, sql, &record)?)
                {
                    records.push(record);
                    sequences.push(row.sequence);
                }
            }
            // An empty batch means that nothing waits, so rows that are damaged don't make one.
            if last == before {
                check_last(&transaction)?;
            }
            if !records.is_empty() || last == before {
                let (records, last) = (records.into(), Sequence(last));
                return Ok(Batch { records, last, is_again: false, damaged, sequences });
            }
        }
    }
}

/// The sequence of the last row.
pub(crate) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    let last: Option<i64> = connection.query_row(
        "SELECT max(coalesce((SELECT max(sequence) FROM recent), 0), settled) FROM progress",
        (),
        |row| row.get(0),
    )?;
    Ok(last.unwrap_or(0))
}

/// How many rows are behind the cursor, which `cursor` makes of what the database has.
pub(crate) fn waiting(
    connection: &Connection,
    cursor: impl Fn(i64) -> i64,
) -> rusqlite::Result<u64> {
    let stored = connection
        .prepare_cached("SELECT delivered FROM progress")?
        .query_row((), |row| row.get(0))?;
    let cursor = cursor(stored);
    // Rows are deleted in their order, so that there is no gap behind the oldest one.
    let (settled, last, oldest): (i64, Option<i64>, Option<i64>) = connection
        .prepare_cached(
            "SELECT settled, (SELECT max(sequence) FROM recent),
                 (SELECT min(sequence) FROM history WHERE sequence > ?)
             FROM progress",
        )?
        .query_row([cursor], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let before_oldest = oldest.map_or(settled, |oldest| oldest - 1);
    let waiting = last.unwrap_or(0).max(settled) - before_oldest.max(cursor);
    Ok(u64::try_from(waiting).unwrap_or(0))
}

/// Fails if `sequence` can't be the row after `before`.
///
/// SQLite finds nothing amiss where a bad byte hides rows or gives one another number. But numbers
/// have no gaps, other than one where the oldest rows were trimmed.
fn check_next(connection: &Connection, before: i64, sequence: i64) -> rusqlite::Result<()> {
    if before.checked_add(1) == Some(sequence) {
        return Ok(());
    }
    let is_oldest = sequence > before
        && connection
            .prepare_cached(
                "SELECT ?1 <= settled + 1
                     AND NOT EXISTS (SELECT 1 FROM history WHERE sequence < ?1)
                 FROM progress",
            )?
            .query_row([sequence], |row| row.get(0))?;
    if is_oldest { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

/// Fails if the last rows of `history` are hidden.
fn check_last(connection: &Connection) -> rusqlite::Result<()> {
    let tallies = connection
        .prepare_cached(
            "SELECT coalesce((SELECT max(sequence) FROM history) = settled, 1) FROM progress",
        )?
        .query_row((), |row| row.get(0))?;
    if tallies { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // If it fails, rows are only sent again.
        let _ = self.flush();
    }
}
