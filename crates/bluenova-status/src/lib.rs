//! The status of a BlueNova listener: the newest values of each battery, when they are stale, and
//! where the rows are. No I/O; time is passed in.
//!
//! [`LiveStatus`] is what the threads of a listener keep up to date. Whoever shows it, a page or a
//! broker, takes a snapshot, a [`Status`]. So staleness, the bank's sums and what counts as a
//! problem are the same wherever they are shown.
#![forbid(unsafe_code)]

mod alarms;
pub mod bank;
pub mod limits;
mod problem;
mod shared;
mod status;

pub use limits::{LimitError, Limits, Severity};
pub use problem::{Evidence, Problem};
pub use shared::Shared;
pub use status::{
    BatteryStatus, CellBus, ConnectionState, DeliveryStatus, LiveStatus, Newest, Status,
    StorageStatus, duration, stale_after,
};
