//! What tests and benchmarks share: a throwaway PostgreSQL [`Cluster`], [`Shards`] of three, a
//! [`PgBouncer`] before it, a [`Mosquitto`] for MQTT, a [`Prometheus`], the documentation's SQL
//! ([`documented_sql`]), a [`Proxy`] that fails on demand, stopped processes ([`Frozen`]), a
//! [`ReservedPort`], a [`Browser`], [`get`] for HTTP, disks after a power cut ([`DiskRecord`]),
//! [`wait_until`] with its [`TIME_LIMIT`], [`Cleanup`] after tests that are killed, and a
//! [`sample_row`].
//!
//! ```no_run
//! use bluenova_test_support::Cluster;
//!
//! let cluster = Cluster::start();
//! cluster.create_database("homeauto");
//! let answer: i32 = cluster.client("homeauto").query_one("SELECT 42", &[]).unwrap().get(0);
//! assert_eq!(answer, 42);
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod browser;
mod cleanup;
mod cluster;
mod documented;
mod frozen;
mod http;
mod mosquitto;
mod pgbouncer;
mod port;
mod power_cut;
mod programs;
mod prometheus;
mod proxy;
mod sample;
mod shards;

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

pub use browser::Browser;
pub use cleanup::Cleanup;
pub use cluster::{Cluster, Mode, SUPERUSER};
pub use documented::{documented_sections, documented_sql};
pub use frozen::Frozen;
pub use http::{Answer, get};
pub use mosquitto::{Mosquitto, Received, Subscriber};
pub use pgbouncer::PgBouncer;
pub use port::ReservedPort;
pub use power_cut::{DiskHistory, DiskRecord};
pub use prometheus::Prometheus;
pub use proxy::{Point, Proxy};
pub use sample::sample_row;
pub use shards::Shards;

/// Time within which a test expects anything to happen. It is long, so that it passes only where
/// something never happens, however busy the machine is.
pub const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Returns as soon as `condition` holds; asks every few milliseconds.
///
/// # Panics
/// Names `what` when the condition doesn't hold within `at_most`.
pub fn wait_until(what: &str, at_most: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + at_most;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {at_most:?} in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A program that only root may run to any effect, `mount` say: by way of `sudo` for others.
pub fn as_root(program: &str) -> Command {
    if nix::unistd::Uid::effective().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}
