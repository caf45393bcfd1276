//! Delivers records into the `battery_pack` table of a PostgreSQL database, each exactly once.
//!
//! [`Settings`] says where the database is, in the words that users of libpq know. [`Sink`] is one
//! open connection to the table; [`Courier`] keeps one on a thread of its own, and never waits longer
//! than it was told to. A batch may be sent again whenever it is not certain that it
//! arrived: a row is known by its time and its battery, and what is there already is not added
//! again, even where a first attempt is still under way, and without a unique key on the table.
//!
//! ```no_run
//! use bluenova_postgres::{Retry, Settings, Sink};
//! use bluenova_record::PackRecord;
//! use time::UtcDateTime;
//!
//! let settings = Settings::resolve("homeauto", None, |name| std::env::var(name).ok())?;
//! let mut sink = Sink::connect(&settings)?;
//! let batch = [PackRecord::new(UtcDateTime::UNIX_EPOCH, 0x9F3C_07B2)];
//! match sink.deliver(&batch) {
//!     Ok(delivered) => println!("{} new rows, {} known", delivered.added, delivered.known),
//!     Err(error) if error.retry() == Retry::Soon => println!("{error}; trying again"),
//!     Err(error) => println!("{error}; somebody has to look at this"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod connect;
mod conninfo;
mod courier;
mod error;
mod limits;
mod password;
mod place;
mod settings;
mod sink;
mod table;
mod tls;
mod words;

pub use courier::{Courier, Deadlines};
pub use error::{Error, Retry};
pub use settings::{Settings, SettingsError};
pub use sink::{Delivered, Sink};
pub use table::schema;

/// First half of the key of every advisory lock that is taken here, so that ours don't meet those
/// of other programs in the same database: `BNov` in ASCII.
const LOCK_CLASS: i32 = 0x424E_6F76;
