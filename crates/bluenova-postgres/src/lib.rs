//! Delivers records into the `battery_pack` table of a PostgreSQL database, each exactly once.
//!
//! [`Settings`] holds the connection parameters, in libpq's terms. [`Sink`] takes rows and returns
//! how many were added, how many were in the table already, and which one was rejected; it connects
//! by itself and never waits longer than its [`Deadlines`]. A batch may be sent again whenever it
//! is not certain that it arrived: a row is identified by its time and its battery, and one that is
//! in the table is not added again, even where a first attempt is still under way, with or without
//! a unique index on the table.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use bluenova_postgres::{Deadlines, Retry, Settings, Sink};
//! use bluenova_record::PackRecord;
//! use time::UtcDateTime;
//!
//! let settings = Settings::resolve("homeauto", None, |name| std::env::var(name).ok())?;
//! let mut sink = Sink::new(settings, Deadlines::default());
//! let rows: Arc<[PackRecord]> = [PackRecord::new(UtcDateTime::UNIX_EPOCH, 0x9F3C_07B2)].into();
//! let mut dealt_with = 0;
//! while dealt_with < rows.len() {
//!     match sink.deliver(&rows, dealt_with) {
//!         Ok(delivered) => {
//!             dealt_with += delivered.rows;
//!             println!("{} new rows, {} known", delivered.added, delivered.known);
//!             if let Some(rejected) = delivered.rejected {
//!                 println!("one row is rejected: {}", rejected.reason);
//!             }
//!         }
//!         Err(error) if error.retry() == Retry::Soon => println!("{error}; trying again"),
//!         Err(error) => return Err(error.into()),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`TableReader`] copies rows out of the table, as CSV.
//! [`row_times`] looks which rows the table has, and changes nothing.
#![forbid(unsafe_code)]

mod client_certificate;
mod connect;
mod connection;
mod conninfo;
mod copy_out;
mod encoding;
mod error;
mod host;
mod insert;
mod limits;
mod parameters;
mod password;
mod row_times;
mod service;
mod settings;
mod sink;
mod statement;
mod table;
mod tls;

pub use connection::Deadlines;
pub use copy_out::{TableReader, TableSelection};
pub use error::{Error, Retry};
pub use row_times::row_times;
pub use settings::{Settings, SettingsError};
pub use sink::{BATCH, Delivered, Rejected, Sink};
pub use table::schema;

/// First half of the key of all our advisory locks, so that they differ from those of other
/// programs in the same database: `BNov` in ASCII.
const LOCK_CLASS: i32 = 0x424E_6F76;
