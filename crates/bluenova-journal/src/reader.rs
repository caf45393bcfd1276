use std::ops::{ControlFlow, Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bluenova_record::{Column, PackRecord, Value};
use rusqlite::{ErrorCode, OptionalExtension};
use time::UtcDateTime;

use crate::address::{Access, Address};
use crate::connection::JournalConnection;
use crate::schema;
use crate::{
    Error, Event, RowSelection, RowTime, Sequence, SetAsideTime, StoredDay, StoredInsight, events,
    files, history, row_times, set_aside, statistics,
};

/// Half of what the writer waits for others. A file is written whoever reads it; a journal in
/// memory is not.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Steps of SQLite's machine, some tens per row, between two looks at the clock. On an SD card each
/// row may be a page that has to be fetched.
const STEPS: i32 = 500;

/// Connection that reads the rows beside the writer.
///
/// Each query is answered from one state of the journal. As long as that takes, the write-ahead
/// log can't begin anew, and grows.
#[derive(Debug)]
pub struct Reader {
    /// Longest time that a query may take, [`history`](Self::history) along with what its caller
    /// does with the rows; then it is [`Error::TimeLimit`]. It is 5 s unless set.
    pub time_limit: Duration,
    connection: JournalConnection,
    deadline: Arc<Deadline>,
}

impl Reader {
    /// Opens the journal at `path` for reading, whoever writes it: this process, another one, or
    /// none.
    ///
    /// That takes a fraction of a millisecond, so that a reader may be opened for each query: one
    /// that is kept stays with its file when another one takes the place of that. The rows are
    /// never written; but as SQLite has it, the write-ahead log and its index are created where
    /// they are missing, since nobody has the journal open, and stay. In a directory that can't be
    /// written, such a journal can't be read.
    ///
    /// # Errors
    /// If there is no file at `path`, if it is something else than a journal of this version, if it
    /// is damaged, or if it can't be read. [`Error::is_timeout`] if another process keeps it
    /// locked for a second.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let address = Address::of_existing(path.as_ref())?;
        let (connection, _) = address.connect_to_journal(Access::Read)?;
        Self::with(JournalConnection::new(connection, address, Arc::default()))
    }

    pub(crate) fn new(journal: &JournalConnection) -> Result<Self, Error> {
        Self::with(journal.again(Access::Read)?)
    }

    /// The row of each battery that was appended last, by `mcu_id`.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn latest(&self) -> Result<Vec<PackRecord>, Error> {
        self.ask(|| self.try_latest())
    }

    /// Calls `each` with the time of each row that a battery has in `times`, in the order of time,
    /// and with the row's values in `columns`, in their order. `None` is `NULL`.
    ///
    /// `times` includes its start, not its end. [`ControlFlow::Break`] ends it early. Rows that are
    /// appended meanwhile are not seen.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use bluenova_journal::{Journal, Retention};
    /// use bluenova_record::{COLUMNS, PackRecord, Value};
    /// use time::{Duration, UtcDateTime};
    ///
    /// # fn main() -> Result<(), bluenova_journal::Error> {
    /// let mut journal = Journal::in_memory(Retention::default())?;
    /// let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0x9F3C_07B2);
    /// record.soc = Some(63);
    /// journal.append(&[record])?;
    ///
    /// let soc = COLUMNS.iter().find(|column| column.name == "soc").unwrap();
    /// let first_hour = UtcDateTime::UNIX_EPOCH..UtcDateTime::UNIX_EPOCH + Duration::HOUR;
    /// journal.reader()?.history(0x9F3C_07B2, first_hour, &[soc], |time, values| {
    ///     assert_eq!((time, values), (UtcDateTime::UNIX_EPOCH, &[Some(Value::SmallInt(63))][..]));
    ///     ControlFlow::Continue(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long. Rows that `each` was given
    /// until then are as they are in the journal. A single value that is damaged is no error: it is
    /// `None`, or if it is the time, its row is left out.
    pub fn history(
        &self,
        mcu_id: u32,
        times: Range<UtcDateTime>,
        columns: &[&Column],
        each: impl FnMut(UtcDateTime, &[Option<Value<'_>>]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.ask(|| history::read(&self.connection.sqlite, mcu_id, times, columns, each))
    }

    /// Calls `each` with time and battery of each row of a selection, in its order, and with the
    /// row's values in `columns`, as [`history`](Self::history) does for one battery.
    ///
    /// Many rows are best read some at a time: [`ControlFlow::Break`] after so many, and a further
    /// call for those [`after`](RowSelection::after) the last one. Between two calls the writer has
    /// the write-ahead log to itself.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use bluenova_journal::{Journal, Retention, RowSelection};
    /// use bluenova_record::{COLUMNS, PackRecord};
    /// use time::UtcDateTime;
    ///
    /// # fn main() -> Result<(), bluenova_journal::Error> {
    /// let mut journal = Journal::in_memory(Retention::default())?;
    /// journal.append(&[2, 1, 3].map(|id| PackRecord::new(UtcDateTime::UNIX_EPOCH, id)))?;
    ///
    /// let reader = journal.reader()?;
    /// let times = UtcDateTime::UNIX_EPOCH..UtcDateTime::MAX;
    /// let mut selection = RowSelection { times, batteries: vec![1, 3], after: None };
    /// let mut found = vec![];
    /// reader.rows(&selection.clone(), &[], |time, mcu_id, _values| {
    ///     found.push(mcu_id);
    ///     selection.after = Some((time, mcu_id));
    ///     ControlFlow::Break(())
    /// })?;
    /// reader.rows(&selection, &[], |_time, mcu_id, _values| {
    ///     found.push(mcu_id);
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(found, [1, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`history`](Self::history) has them.
    pub fn rows(
        &self,
        selection: &RowSelection,
        columns: &[&Column],
        each: impl FnMut(UtcDateTime, u32, &[Option<Value<'_>>]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.ask(|| history::read_selection(&self.connection.sqlite, selection, columns, each))
    }

    /// How many rows a selection has. It takes longer the more there are.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn count_rows(&self, selection: &RowSelection) -> Result<u64, Error> {
        self.ask(|| history::count(&self.connection.sqlite, selection))
    }

    /// How many rows of a battery there are.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn count(&self, mcu_id: u32) -> Result<u64, Error> {
        self.ask(|| self.try_count(mcu_id))
    }

    /// How many rows that were set aside are retried:
    /// [`SetAsideRow::is_retried`](crate::SetAsideRow::is_retried).
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn retried(&self) -> Result<u64, Error> {
        self.ask(|| set_aside::count_retried(&self.connection.sqlite))
    }

    /// How many rows are set aside, those that are retried included: see
    /// [`Outbox::set_aside`](crate::Outbox::set_aside).
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn set_aside(&self) -> Result<u64, Error> {
        self.ask(|| set_aside::count(&self.connection.sqlite))
    }

    /// Calls `each` with the time of each row in `times`, of all batteries, in the order of time.
    /// `times` includes its start, not its end. [`ControlFlow::Break`] ends it early.
    ///
    /// # Errors
    /// As for [`history`](Self::history).
    pub fn row_times(
        &self,
        times: Range<UtcDateTime>,
        each: impl FnMut(RowTime) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.ask(|| row_times::read(&self.connection.sqlite, times, each))
    }

    /// Up to where the rows are delivered, as far as the file says: the outbox writes that down a
    /// little later, at least every thousand rows.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn delivered(&self) -> Result<Sequence, Error> {
        self.ask(|| row_times::delivered(&self.connection.sqlite))
    }

    /// The first `limit` rows behind [`delivered`](Self::delivered).
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn undelivered_times(&self, limit: usize) -> Result<Vec<RowTime>, Error> {
        self.ask(|| row_times::undelivered(&self.connection.sqlite, limit))
    }

    /// Time and battery of the rows that are set aside, in the order of time.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn set_aside_times(&self) -> Result<Vec<SetAsideTime>, Error> {
        self.ask(|| row_times::set_aside(&self.connection.sqlite))
    }

    /// The batteries that have rows here, or had some.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn mcu_ids(&self) -> Result<Vec<u32>, Error> {
        self.ask(|| row_times::mcu_ids(&self.connection.sqlite))
    }

    /// The earliest time of a row.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn oldest(&self) -> Result<Option<UtcDateTime>, Error> {
        self.ask(|| row_times::oldest(&self.connection.sqlite))
    }

    /// Whether a process has the journal open for writing. In memory that is always so.
    ///
    /// # Errors
    /// If that can't be found out.
    pub fn is_in_use(&self) -> Result<bool, Error> {
        self.connection.address.path().map_or(Ok(true), files::is_in_use)
    }

    /// The events, in the order of their beginning; none in journals of older versions.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn events(&self) -> Result<Vec<Event>, Error> {
        self.ask(|| events::read(&self.connection.sqlite))
    }

    /// The longest interval of the listeners that ran in `times`, from one row to the next one;
    /// `None` where no start of them is known.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn longest_interval(&self, times: &Range<UtcDateTime>) -> Result<Option<Duration>, Error> {
        self.ask(|| events::longest_interval(&self.connection.sqlite, times))
    }

    /// What is known of each battery, by `mcu_id`; none in journals of older versions.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn insights(&self) -> Result<Vec<StoredInsight>, Error> {
        self.ask(|| statistics::insights(&self.connection.sqlite))
    }

    /// What is known of a battery.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn insight(&self, mcu_id: u32) -> Result<Option<StoredInsight>, Error> {
        self.ask(|| statistics::insight(&self.connection.sqlite, mcu_id))
    }

    /// The days of a battery between two dates such as `2026-11-27`, both of them included, in
    /// their order; none in journals of older versions.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn days(&self, mcu_id: u32, dates: RangeInclusive<&str>) -> Result<Vec<StoredDay>, Error> {
        self.ask(|| statistics::days(&self.connection.sqlite, mcu_id, &dates))
    }

    fn with(mut connection: JournalConnection) -> Result<Self, Error> {
        let deadline = Arc::new(Deadline::new());
        let passed = Arc::clone(&deadline);
        connection
            .sqlite
            .progress_handler(STEPS, Some(move || passed.has_passed()))
            .map_err(|source| connection.error("open", source))?;
        Ok(Self { time_limit: TIME_LIMIT, connection, deadline })
    }

    /// Runs a query, which ends with an error at the time limit.
    fn ask<T>(&self, query: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, Error> {
        self.deadline.set(self.time_limit);
        query().map_err(|source| match source.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => {
                Error::TimeLimit { path: self.connection.address.name(), limit: self.time_limit }
            }
            _ => self.connection.error("read", source),
        })
    }

    fn try_latest(&self) -> rusqlite::Result<Vec<PackRecord>> {
        // One transaction, so that no row goes between the two queries.
        let transaction = self.connection.sqlite.unchecked_transaction()?;
        let mut newest = transaction.prepare_cached(
            "SELECT max(newest) FROM (
                 SELECT mcu_id, newest FROM battery
                 UNION ALL
                 SELECT mcu_id, sequence FROM recent
                 WHERE sequence > (SELECT settled FROM progress)
             ) GROUP BY mcu_id ORDER BY mcu_id",
        )?;
        let mut one = transaction.prepare_cached(&self.connection.sql.select_one)?;
        let mut latest = vec![];
        let mut sequences = newest.query(())?;
        while let Some(row) = sequences.next()? {
            let sequence: i64 = row.get(0)?;
            let row = one.query_row([sequence], schema::read_row).optional()?;
            latest.extend(row.and_then(|row| row.record));
        }
        Ok(latest)
    }

    fn try_count(&self, mcu_id: u32) -> rusqlite::Result<u64> {
        let count: i64 = self
            .connection
            .sqlite
            .prepare_cached(
                "SELECT coalesce((SELECT stored FROM battery WHERE mcu_id = ?1), 0)
                     + (SELECT count(*) FROM recent
                        WHERE mcu_id = ?1 AND sequence > (SELECT settled FROM progress))",
            )?
            .query_row([mcu_id], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

/// Deadline of a query, for a reader and for SQLite, which asks for it by a callback.
#[derive(Debug)]
struct Deadline {
    epoch: Instant,
    /// Since `epoch`. It stands for itself, so that no ordering is needed.
    nanos: AtomicU64,
}

impl Deadline {
    fn new() -> Self {
        Self { epoch: Instant::now(), nanos: AtomicU64::new(u64::MAX) }
    }

    fn set(&self, limit: Duration) {
        let end = self.epoch.elapsed().saturating_add(limit).as_nanos();
        self.nanos.store(end.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn has_passed(&self) -> bool {
        self.epoch.elapsed().as_nanos() >= self.nanos.load(Ordering::Relaxed).into()
    }
}
