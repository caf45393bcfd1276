//! What each thread does, from a battery's console to PostgreSQL.

mod battery;
mod connection_log;
mod forwarder;
mod outage;
mod owner_log;
mod recorder;
mod spool_log;

pub(crate) use battery::{Assembled, BatteryThread, clock_is_set};
pub(crate) use forwarder::Forwarder;
pub(crate) use recorder::Recorder;
