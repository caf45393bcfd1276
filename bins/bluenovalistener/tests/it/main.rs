//! The program as its users run it: with batteries, databases, signals and files.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod command_line;
mod daemon;
mod end_to_end;
mod export;
mod fleet;
mod foreign_server;
mod gaps;
mod import;
mod log;
mod mqtt;
mod options_file;
mod outages;
mod page;
mod problems;
mod report;
mod resend;
mod rows;
mod service_manager;
mod statistics;
mod strange_lines;
mod support;
