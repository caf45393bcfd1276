//! The bodies of the threads, from a battery's console to PostgreSQL, and their loggers.

mod battery;
mod clock;
mod connection_events;
mod connection_log;
mod delivery_trouble;
mod disk_watch;
mod events;
mod forwarder;
mod held_rows;
mod insights;
mod leftovers;
mod mqtt;
mod outage;
mod owner_log;
mod recorder;
mod retry_schedule;
mod spool_log;

pub(crate) use battery::{Assembled, BatteryOutputs, BatteryThread};
pub(crate) use clock::clock_is_set;
pub(crate) use connection_log::what_to_look_at;
pub(crate) use delivery_trouble::what_to_look_at_there;
pub(crate) use disk_watch::{DiskWatch, RecorderInput, RecorderMessage, RecorderProgress};
pub(crate) use events::NewEvent;
pub(crate) use forwarder::Forwarder;
pub(crate) use insights::{CatchUp, InsightSource, Insights, stored_insight};
pub(crate) use leftovers::describe;
pub(crate) use mqtt::{MqttError, MqttThread, check_broker};
pub(crate) use recorder::{Recorder, RecorderInputs};
