//! Connections to servers that do as they please.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod endings;
mod handshakes;
mod messages;
mod server;
mod silence;
