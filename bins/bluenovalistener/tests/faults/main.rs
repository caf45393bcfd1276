//! The program's promises under faults: with a real PostgreSQL, real processes, and batteries that
//! count, so that every row differs from every other.
//!
//! Each scenario runs in a short form; with `BLUENOVA_FAULTS=full` in the environment
//! (`./test faults`) it runs as often and as long as it takes to be believed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod backlog;
mod battery;
mod clock;
mod journal;
mod lost_rows;
mod memory;
mod mqtt;
mod oracle;
mod outage;
mod power;
mod process;
mod proxy;
mod server;
mod shards;

#[path = "../it/rows.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod rows;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod support;

use std::{env, time::Duration};

/// Whether to do it all.
pub(crate) fn is_full() -> bool {
    env::var_os("BLUENOVA_FAULTS").is_some_and(|what| what == "full")
}

/// How often to do something.
pub(crate) fn rounds(quick: usize, full: usize) -> usize {
    if is_full() { full } else { quick }
}

/// How long a fault lasts, in seconds.
pub(crate) fn seconds(quick: u64, full: u64) -> Duration {
    Duration::from_secs(if is_full() { full } else { quick })
}
