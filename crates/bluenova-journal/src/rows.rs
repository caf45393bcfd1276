use std::path::Path;
use std::sync::Arc;

use bluenova_record::{TABLE, Timestamp};
use time::UtcDateTime;

use crate::address::{Access, Address};
use crate::connection::JournalConnection;
use crate::{Batch, Error, Outbox, Sequence, outbox};

/// The rows that a journal has when it is opened, in the order in which they were appended,
/// delivered or not.
///
/// It only reads, and needs no lock: any process may write the journal meanwhile.
#[derive(Debug)]
pub struct JournalRows {
    /// Its cursor is at the last row.
    outbox: Outbox,
}

impl JournalRows {
    /// Opens the journal at `path`.
    ///
    /// # Errors
    /// As for [`Reader::open`](crate::Reader::open).
    pub fn open(path: &Path) -> Result<Self, Error> {
        let address = Address::of_existing(path)?;
        let (connection, _) = address.connect_to_journal(Access::Read)?;
        let connection = JournalConnection::new(connection, address, Arc::default());
        let last = outbox::last(&connection.sqlite);
        let last = last.map_err(|source| connection.error("read", source))?;
        connection.state.raise_delivered(last);
        // So that it is never written.
        connection.state.was_stored(last);
        Ok(Self { outbox: Outbox::with(connection) })
    }

    /// The position before the first row of that time or a later one. Rows that were appended
    /// behind it while the clock was set back may be older.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn before(&self, time: UtcDateTime) -> Result<Sequence, Error> {
        let connection = self.outbox.connection();
        let first: Option<i64> = connection
            .sqlite
            .query_row(
                &format!("SELECT min(sequence) FROM {TABLE} WHERE insert_time_utc >= ?"),
                [Timestamp(time).to_string()],
                |row| row.get(0),
            )
            .map_err(|source| connection.error("read", source))?;
        Ok(first.map_or(self.outbox.cursor(), |first| Sequence(first).back(1)))
    }

    /// Number of rows after a sequence, those that are set aside included.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn count_after(&self, after: Sequence) -> Result<u64, Error> {
        let connection = self.outbox.connection();
        let Sequence(last) = self.outbox.cursor();
        let count = |after| outbox::waiting(&connection.sqlite, |_| after);
        let counted = count(after.0).and_then(|from| Ok(from.saturating_sub(count(last)?)));
        counted.map_err(|source| connection.error("read", source))
    }

    /// The oldest rows after a sequence, `limit` at most, without those that are set aside. There
    /// are no more if the batch ends at `after`.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn after(&self, after: Sequence, limit: usize) -> Result<Batch, Error> {
        self.outbox.delivered_after(after, limit)
    }
}
