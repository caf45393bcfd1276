//! The model over days and seeds; the server with real clients; each fault.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod faults;
mod known;
mod listener;
mod model;
mod server;

use bluenova_simulator::{Battery, Control, Pace, Profile, Server};
use bluenova_test_support::TIME_LIMIT;
use listener::Listener;
use time::UtcDateTime;

fn battery(seed: u64) -> Battery {
    Battery::new(Profile::new(seed, UtcDateTime::UNIX_EPOCH))
}

/// A server of one battery, and one client of it.
fn served(pace: Pace) -> (Server, Control, Listener) {
    let server = Server::bind(loopback(), battery(1), pace).unwrap();
    let control = server.control();
    let listener = Listener::connect(&control);
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    (server, control, listener)
}

fn loopback() -> std::net::SocketAddr {
    ([127, 0, 0, 1], 0).into()
}
