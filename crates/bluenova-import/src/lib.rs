//! Adds to a database the rows of old logs that it lacks.
//!
//! [`LogSeries::find`] puts rotated files in the order of time, and [`LogZone`] has the local time
//! of logs that don't show it. [`Import`] reads the logs on a thread of its own, leaves out each
//! row that the battery has already, or one close by, and adds the others to a [`RowStore`]: an
//! SQLite file, or PostgreSQL by way of a journal, from which the next import or a listener
//! delivers what one that was killed has left. The days of the batteries, worked out of the same
//! logs, go to the journal. [`Imported`] has what came of it, by battery and
//! day, and the [`Findings`] about damaged lines and files.
//!
//! [`LogReadings`] hands out what logs have of each battery, samples too, and adds nothing.
//!
//! ```
//! use bluenova_console::Interval;
//! use bluenova_import::{Destination, Import, LogSeries, LogZone, RowStore};
//! use time::UtcDateTime;
//!
//! # let directory = tempfile::tempdir()?;
//! # let (log, path) = (directory.path().join("x.log"), directory.path().join("x.sqlite"));
//! std::fs::write(
//!     &log,
//!     "2026-11-22 11:50:01.000 +00:00 INFO  home: RX: MCU ID: 9F3C07B2\n\
//!      2026-11-22 11:50:02.000 +00:00 INFO  home: RX: SOC: 63\n\
//!      2026-11-22 11:50:11.000 +00:00 INFO  home: RX: SOC: 62\n",
//! )?;
//! let zone = LogZone::resolve(Some("Europe/Berlin"))?;
//! let logs = LogSeries::find(&[&log], &zone)?;
//! let destination = Destination::Sqlite { path: &path };
//! let mut store = RowStore::open(&destination, false, UtcDateTime::now)?;
//! let interval = Interval::from_seconds(10).ok_or("too short")?;
//! let import = Import { logs, zone, interval, now: UtcDateTime::now() };
//! let imported = import.run(&mut store, |progress| println!("{} rows", progress.added));
//! imported.ended?;
//! store.finish()?;
//! assert_eq!(imported.tallies.values().map(|tally| tally.added).sum::<u64>(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod collector;
mod days;
mod delivery;
mod error;
mod files;
mod findings;
mod import;
mod read;
mod readings;
mod store;
mod taken;
mod zone;

pub use days::{merge_days, stored_day};
pub use error::ImportError;
pub use files::{LogFileError, LogSeries};
pub use findings::{Findings, FoundDamage};
pub use import::{Import, ImportProgress, Imported, RowTally};
pub use readings::{LogReading, LogReadings};
pub use store::{Destination, RejectedRows, RowStore};
pub use zone::{LogZone, LogZoneError};
