//! A connection to a journal, and what all connections of one journal share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rusqlite::Connection;

use crate::address::{Access, Address};
use crate::migrations::VERSION;
use crate::recover;
use crate::schema::Statements;
use crate::{Error, Journal, Retention};

/// State that a journal shares with the outboxes and readers that it made.
///
/// It lives as long as any of them, and so does the name that is made of its address in memory: see
/// [`Journal::in_memory`](crate::Journal::in_memory).
// Each number stands for itself, so that no ordering is needed.
#[derive(Debug, Default)]
pub(crate) struct JournalState {
    delivered: AtomicI64,
    stored: AtomicI64,
    damaged: AtomicBool,
}

impl JournalState {
    /// The last row that is delivered: the outbox's cursor.
    ///
    /// The database may lag behind: the journal brings it up to date whenever it writes to that
    /// page anyway, and the outbox when it has come far since.
    pub(crate) fn delivered(&self) -> i64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn raise_delivered(&self, delivered: i64) {
        self.delivered.fetch_max(delivered, Ordering::Relaxed);
    }

    /// Moves the cursor back. The database keeps where it was.
    pub(crate) fn set_back(&self, delivered: i64) {
        self.delivered.fetch_min(delivered, Ordering::Relaxed);
    }

    /// Rows that would be sent again if the process died now; none where the cursor was set back.
    pub(crate) fn lag(&self) -> i64 {
        self.delivered() - self.stored.load(Ordering::Relaxed)
    }

    /// The cursor, where the database has it at `stored`: that, if another process has moved it,
    /// unless it was set back here.
    pub(crate) fn cursor(&self, stored: i64) -> i64 {
        if self.lag() < 0 { self.delivered() } else { self.delivered().max(stored) }
    }

    /// Notes that the database has the cursor up to `delivered`.
    pub(crate) fn was_stored(&self, delivered: i64) {
        self.stored.fetch_max(delivered, Ordering::Relaxed);
    }

    /// Whether any of the connections met damage.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }
}

/// A connection to a journal, with what its owner needs for each statement.
#[derive(Debug)]
pub(crate) struct JournalConnection {
    pub(crate) sqlite: Connection,
    pub(crate) sql: Statements,
    pub(crate) address: Address,
    pub(crate) state: Arc<JournalState>,
}

impl JournalConnection {
    /// A connection that writes to the journal at `path` while another process or thread may have
    /// it open. A journal of an older version is brought to this version first.
    pub(crate) fn beside_writer(path: &Path) -> Result<Self, Error> {
        let address = Address::of_existing(path)?;
        if let Some(path) = address.path() {
            recover::store_torn_log(path)?;
        }
        let (mut connection, version) = address.connect_to_journal(Access::Write)?;
        if version < VERSION {
            drop(connection);
            drop(Journal::open(path, Retention::FOREVER)?);
            (connection, _) = address.connect_to_journal(Access::Write)?;
        }
        Ok(Self::new(connection, address, Arc::default()))
    }

    /// A further connection to the same journal.
    pub(crate) fn again(&self, access: Access) -> Result<Self, Error> {
        let sqlite = self.address.connect(access)?;
        Ok(Self::new(sqlite, self.address.clone(), Arc::clone(&self.state)))
    }

    pub(crate) fn new(sqlite: Connection, address: Address, state: Arc<JournalState>) -> Self {
        Self { sqlite, sql: Statements::new(), address, state }
    }

    /// An error of this journal; damage is noted for all connections.
    pub(crate) fn error(&self, action: &'static str, source: rusqlite::Error) -> Error {
        let error = self.address.error(action, source);
        if error.is_damage() {
            self.state.damaged.store(true, Ordering::Relaxed);
        }
        error
    }
}
