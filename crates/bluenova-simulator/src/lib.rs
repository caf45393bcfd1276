//! A simulated BlueNova battery, to run, test and demonstrate listeners with.
//!
//! [`Battery`] is the model: 16 cells, the sun that charges them and the household that drains
//! them, and the console that it prints. [`Server`] serves batteries as real ones do, one console
//! line per WebSocket message, and [`Control`] makes [`Fault`]s happen while it runs.
//! [`serve_pair`] does all of that for two batteries of one bank.
//!
//! [`KnownBattery`] is another model, to prove estimates with: a [`PackTruth`] says what it
//! consists of, and it yields the samples of a month within seconds, without a console.
//!
//! ```
//! use bluenova_simulator::{Battery, Fault, Pace, Profile, Server};
//! use time::UtcDateTime;
//!
//! let battery = Battery::new(Profile::new(1, UtcDateTime::UNIX_EPOCH));
//! let server = Server::bind(([127, 0, 0, 1], 0).into(), battery, Pace::Free { speed: 1.0 })?;
//! let control = server.control();
//! println!("connect to {}", control.url());
//! control.fault(Fault::Silence)?;
//! server.stop();
//! # Ok::<(), bluenova_simulator::Error>(())
//! ```
#![forbid(unsafe_code)]

mod battery;
mod cell;
mod client;
mod conditions;
mod console;
mod endpoint;
mod error;
mod fault;
mod household;
mod known;
mod server;
mod site;
mod texts;
mod truth;

pub use battery::{Battery, Profile};
pub use console::{AdcReading, Snapshot};
pub use error::{Error, UnknownFault};
pub use fault::Fault;
pub use known::{Flows, KnownBattery};
pub use server::{Control, Event, Message, Pace, Server, serve_pair};
pub use truth::{CellTruth, Defect, PackTruth, RcPair, Sensors, SocHabit, Weakness};

/// The path of the console on a battery's web server.
const PATH: &str = "/ws/";
