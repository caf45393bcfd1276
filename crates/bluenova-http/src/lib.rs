//! Shows a BlueNova listener to browsers and to Prometheus: a page, plots, JSON, metrics and
//! health.
//!
//! [`Status`] is what the listener knows of itself at one moment.
#![forbid(unsafe_code)]

mod status;

pub use status::{Battery, CellBus, Connection, Delivery, Latest, Status, Storage, duration};
