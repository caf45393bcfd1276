//! Publishes BlueNova batteries by MQTT, with Home Assistant's discovery.
//!
//! A [`Publisher`] decides, from one [`Status`](bluenova_status::Status) of the listener to the
//! next, which messages are due. It keeps no queue: what a broker doesn't take is out of date by
//! the time that it would. A [`Session`] is a connection to a [`Broker`], which takes them. It is
//! driven by the thread that calls it.
#![forbid(unsafe_code)]

mod announced;
mod broker;
mod dial;
mod discovery;
mod entities;
mod publisher;
mod session;
mod session_error;
mod state;
mod topics;
mod trust;

pub use announced::Announced;
pub use broker::{Broker, BrokerError, topic_prefix};
pub use discovery::Discovery;
pub use publisher::{Message, Output, Publisher};
pub use session::{Login, Session, SessionOptions};
pub use session_error::SessionError;
pub use topics::Topics;
