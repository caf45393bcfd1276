//! A real server on a free port, asked over real sockets.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod api;
mod metrics;
mod support;
