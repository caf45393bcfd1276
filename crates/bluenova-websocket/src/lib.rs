//! A blocking WebSocket connection to a BlueNova battery, with a deadline on everything.
//!
//! An [`Address`] says where a battery is; a [`Connection`] to it yields the text of its console,
//! message by message. Parsing the text and dialling again are left to the caller. A
//! [`Dial`] makes the connection on a thread of its own, for callers with something else to do
//! meanwhile.
//!
//! ```no_run
//! use bluenova_websocket::{Address, Connection, Deadlines};
//!
//! let address: Address = "10.0.0.2".parse()?;
//! let mut connection = Connection::open(&address, Deadlines::default())?;
//! loop {
//!     match connection.read()? {
//!         Some(text) => println!("{}", text.trim_end().escape_debug()),
//!         None => { /* A tick has passed: look at the clock, and at the stop flag. */ }
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod address;
mod connection;
mod dial;
mod error;
mod frames;
mod handshake;
mod incoming;
mod socket;

use std::time::Duration;

pub use address::{Address, AddressError, DEFAULT_PATH, DEFAULT_PORT};
pub use connection::Connection;
pub use dial::Dial;
pub use error::Error;

/// How long [`Connection::read`] waits for a message before it returns without one. Right after a
/// message it waits for half of that first, so that lines which come one by one are read together.
pub const TICK: Duration = Duration::from_millis(200);

/// The longest message taken, in bytes; longer ones are skipped. A console line has less than a
/// hundred.
pub const MESSAGE_LIMIT: usize = 64 * 1024;

/// Deadlines of a connection, each kept to the tick: up to two [`TICK`]s late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For looking up the name and connecting to one of all its addresses.
    pub connect: Duration,
    /// For the WebSocket handshake that follows.
    pub handshake: Duration,
    /// After so long without a complete frame a ping is sent, once.
    pub ping_after: Duration,
    /// After so long without a complete frame the connection is given up.
    pub give_up_after: Duration,
}

impl Default for Deadlines {
    /// 10 s to connect, 10 s for the handshake, a ping after 20 s, given up after 40 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            ping_after: Duration::from_secs(20),
            give_up_after: Duration::from_secs(40),
        }
    }
}
