//! Dashboards and alert rules: every query of every panel and variable on a real PostgreSQL or a
//! real Prometheus, expanded as Grafana does that.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod alerts;
mod dashboard;
mod household;
mod macros;
mod postgresql;
mod prometheus;

#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod support;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
