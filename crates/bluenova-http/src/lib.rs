//! Shows a BlueNova listener to browsers and to Prometheus: a page, plots, JSON, metrics and
//! health.
//!
//! [`Status`] is what the listener knows of itself at one moment. [`history`] and [`plots`] say what its
//! journal knows of a battery's past.
#![forbid(unsafe_code)]

mod downsample;
mod error;
mod history;
mod plots;
mod query;
mod status;

pub use error::HistoryError;
pub use history::{History, history};
pub use plots::{Plots, plots};
pub use status::{Battery, CellBus, Connection, Delivery, Latest, Status, Storage, duration};
