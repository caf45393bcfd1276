//! Old logs of BlueNova batteries in, CSV out.
//!
//! [`LogLines`] splits a log into lines, [`LogParser`] reads them: those of the first listener, a C
//! program, and those of ours. From the first listener's come whole records; from console lines of
//! both, logged with `-r`, [`Replay`] makes records as a listener would have. [`LocalClock`]
//! resolves the local time of their lines.
//!
//! [`CsvWriter`] writes rows as CSV, with the [`columns`] that were asked for.
//!
//! There is no I/O here but [`Read`](std::io::Read) and [`Write`](std::io::Write), and no clock.
//! Damage in a log costs at most the value, the line or the record that it is about.
#![forbid(unsafe_code)]

mod block;
mod csv;
mod damage;
mod lines;
mod log;
mod owners;
mod replay;
mod stamp;
mod zone;

pub use csv::{ColumnsError, CsvWriter, columns};
pub use damage::Damage;
pub use lines::{LogLine, LogLines};
pub use log::{Event, LogParser, LoggedRecord, NO_MCU_ID};
pub use owners::RecordOwners;
pub use replay::{Replay, Replayed};
pub use stamp::Stamp;
pub use zone::{LocalClock, Offsets, Position, RecordTimes};
