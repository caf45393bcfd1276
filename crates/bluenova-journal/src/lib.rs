//! The local SQLite file of a BlueNova listener: history, outbox and embedded database.
//!
//! [`Journal`] is the one writer: it appends records, makes them safe against power loss at each
//! [`checkpoint`](Journal::checkpoint), and trims what is old. [`Outbox`] has the rows that another
//! database has not acknowledged yet; [`Reader`] reads the rows, from another process too. Each has
//! a connection of its own, so that each can live on a thread of its own.
//!
//! A program that must never lose a row uses [`Spool`]: the journal in its file, its stand-in while
//! the file can't be written, and recovery on a thread of its own; [`SpoolOutbox`] has the rows of
//! all of these.
//!
//! A row is in the file when [`append`](Journal::append) returns: killing the process at any
//! moment loses none.
//!
//! ```
//! use bluenova_journal::{Journal, Retention};
//! use bluenova_record::PackRecord;
//! use time::UtcDateTime;
//!
//! # fn main() -> Result<(), bluenova_journal::Error> {
//! let mut journal = Journal::in_memory(Retention::default())?;
//! let mut outbox = journal.outbox()?;
//!
//! journal.append(&[PackRecord::new(UtcDateTime::UNIX_EPOCH, 0x9F3C_07B2)])?;
//!
//! let batch = outbox.undelivered(100)?;
//! assert_eq!(batch.records.len(), 1);
//! outbox.delivered(batch.last)?; // once the other database has committed them
//! assert_eq!(outbox.waiting()?, 0);
//! assert_eq!(journal.reader()?.count(0x9F3C_07B2)?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! [`Event`]s of the listener explain why a row is missing; the newest [`MAX_EVENTS`] are kept.
//!
//! [`Announced`] is what was announced by MQTT, and must be taken back one day.
//!
//! [`StoredInsight`] and [`StoredDay`] are what was worked out of the samples of a battery, as
//! text: its state, and its days, which are kept for ever.
//!
//! [`leftovers`] finds the journals that nobody opens any more, with rows that nobody delivers.
//!
//! # The file
//!
//! Anything that reads SQLite finds all rows in `battery_pack`: the columns of
//! [`COLUMNS`](bluenova_record::COLUMNS) and a `sequence`. That is a view, and what lies below it
//! keeps an SD card alive. Inserted one by one into an indexed table, a record of some 370 bytes
//! costs 3.4 KiB of writes, since SQLite writes whole pages and each record touches four: its own,
//! the page above it, the index and the file header. Hence:
//!
//! - A record first overwrites one of the 128 fixed slots of `recent`, which touches one page of
//!   512 bytes. When the slots are used up, all of them move to `history` in one
//!   transaction, and so does the progress of the outbox, which costs nothing then.
//! - A voltage is kept as a whole number of millivolts, two or three bytes instead of eight, where
//!   that loses nothing.
//! - A checkpoint syncs the write-ahead log, which is all that safety needs. The log's pages reach
//!   their places in the file much later, many records at a time.
//!
//! The tables have a version, which is the file's `user_version`. [`Journal::open`] brings those of
//! an older version up to date, and refuses a newer one ([`Error::Version`]).
//!
//! `tests/it/writes.rs` measures what a record costs, and what it may cost.
//!
//! # What can go wrong with it
//!
//! - **A row that the other database rejects** goes to [`Outbox::set_aside`], with the reason, and
//!   counts as delivered. [`SetAside`] lists such rows and removes them, from another process
//!   too while the journal is in use.
//! - **A full disk, or one that can't be written**, costs the call that it fails, and nothing that
//!   was accepted; the same [`Journal`] goes on once there is space ([`Error::is_full`]).
//! - **A file that is deleted or replaced** is [`Error::Gone`] at the next checkpoint. Outboxes
//!   have it still: open a new journal, [`adopt`](Journal::adopt) what an old outbox holds, and
//!   drop that. The log beside it is never read as that of the new file.
//! - **A loss of power** costs what was appended after the last checkpoint. It may leave the log
//!   torn, where SQLite ends: transactions behind that are found all the same, and it is no damage.
//! - **A damaged file** ([`Error::is_damage`]): a program starts with [`Journal::open_or_recover`].
//!   Whichever call of journal, outbox or reader meets damage later, the program drops all of them
//!   and goes on with [`Journal::recover`]. Rows are found page by page then, not by way of the
//!   tables, so that what is lost is what was damaged. Since SQLite keeps no checksums, a value
//!   that became another one goes unnoticed.
//! - **A clock that jumps** costs nothing: [`Journal::append`] gives no two rows of a battery the
//!   same time, those included that were trimmed.
#![forbid(unsafe_code)]

mod address;
mod announced;
mod connection;
mod destination;
mod error;
mod events;
mod files;
mod gaps;
mod history;
mod journal;
mod leftover;
mod migrations;
mod outbox;
mod reader;
mod recover;
mod row_times;
mod rows;
mod salvage;
mod schema;
mod set_aside;
mod spool;
mod statistics;
mod value;

use std::fmt;
use std::time::Duration;

pub use announced::Announced;
pub use error::{Error, SqliteError};
pub use events::{Event, EventKind, MAX_EVENTS};
pub use gaps::{
    Gap, GapBattery, GapCause, GapFinder, MissingIntervals, RowShare, RowsOutsideTable,
    gaps_in_journal, gaps_of, percent,
};
pub use history::{RowSelection, rows_passed};
pub use journal::{Appended, Journal, Trimmed};
pub use leftover::{Leftover, LeftoverOutbox, leftovers, other_journals};
pub use outbox::{Batch, Outbox};
pub use reader::Reader;
pub use recover::Recovery;
pub use row_times::{RowTime, SetAsideTime};
pub use rows::JournalRows;
pub use set_aside::{SetAside, SetAsideRow};
pub use spool::{Notice, OutboxWaker, Spool, SpoolOutbox, Waiting, Wake};
pub use statistics::{ALL_DATES, DayWriter, StoredDay, StoredInsight};

/// Rows that are moved or handed on in one transaction: enough to make it worth its price, few
/// enough to take well under a second.
pub const BATCH: usize = 1000;

/// How much a [`Journal`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long delivered rows are kept; `None` for ever.
    pub keep: Option<Duration>,
    /// How many bytes of the database may be in use before the oldest rows are evicted, undelivered
    /// ones too; `None` for no bound. Anything below 256 KiB leaves little more than the empty
    /// tables.
    pub bound: Option<u64>,
}

impl Retention {
    /// Nothing is ever trimmed: the file is the database, not the way to one.
    pub const FOREVER: Self = Self { keep: None, bound: None };
}

impl Default for Retention {
    /// Seven days, and 256 MiB: months of one battery.
    fn default() -> Self {
        Self { keep: Some(Duration::from_secs(7 * 86_400)), bound: Some(256 << 20) }
    }
}

/// Position of a row in the order in which rows were appended.
///
/// It grows by one with each row, and is never used again once its row was trimmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(i64);

impl Sequence {
    /// The position that many rows before, or before the first row where there are not so many.
    pub fn back(self, rows: u64) -> Self {
        Self(self.0.saturating_sub_unsigned(rows).max(0))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
