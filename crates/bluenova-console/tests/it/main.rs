//! The parser and the assembler against the protocol.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod api;
mod assemble;
mod console_to_csv;
mod parse;
mod roundtrip;
mod splitter;
