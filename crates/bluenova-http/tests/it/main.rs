//! History and plots of a journal, and a real server on a free port, asked over real sockets.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod api;
mod csv;
mod events;
mod fleet;
mod gaps;
mod history;
mod host;
mod metrics;
mod plots;
mod probe;
mod rows;
mod support;
