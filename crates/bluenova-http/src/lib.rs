//! Shows a BlueNova listener to browsers and to Prometheus: a page, plots, JSON, metrics and
//! health.
//!
//! [`start`] takes a snapshot of the status at each request, reads the history from the journal,
//! and serves both. Requests change nothing, and whatever clients do takes little from the
//! recording and from each other. [`history`] and [`plots`] are the same history without a server.
//!
//! ```no_run
//! use std::net::TcpListener;
//! use std::time::{Duration, Instant};
//!
//! use bluenova_status::{BatteryStatus, LiveStatus, Shared, StorageStatus};
//! use time::UtcDateTime;
//!
//! # fn main() -> std::io::Result<()> {
//! let attic = Shared::new(BatteryStatus::new("attic", "10.0.0.2:9000/ws/"));
//! let status = LiveStatus {
//!     started: Instant::now(),
//!     interval: Duration::from_secs(10),
//!     batteries: Shared::new(vec![attic.clone()]),
//!     storage: Shared::new(StorageStatus {
//!         journal: "journal.sqlite".into(),
//!         ..StorageStatus::default()
//!     }),
//!     delivery: None,
//! };
//! let snapshot = move || status.snapshot(UtcDateTime::now(), Instant::now());
//! let server = bluenova_http::start(TcpListener::bind("127.0.0.1:9080")?, snapshot)?;
//! println!("http://{}", server.local_addr());
//! // Later, in the battery's thread:
//! attic.update(|battery| battery.connected());
//! // At the end of the program:
//! server.stop();
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod answer_thread;
mod api;
mod csv;
mod days;
mod days_csv;
mod error;
mod events;
mod gap_json;
mod gaps;
mod gzip;
mod history;
mod host;
mod metrics;
mod page;
mod plots;
mod probe;
mod query;
mod rate_limit;
mod routes;
mod serve;

use bluenova_status::Status;
use std::io;
use std::net::TcpListener;

use host::HostNames;
use routes::AnswerThreads;
use serve::Limits;

pub use error::HistoryError;
pub use gap_json::{GapJson, ShareJson};
pub use gaps::{Gaps, gaps};
pub use history::{History, history};
pub use plots::{Plots, plots};
pub use probe::is_served_at;
pub use rate_limit::RateLimit;
pub use serve::HttpServer;

/// Serves the status to the clients that connect to `listener`, under its IP addresses and as
/// `localhost`.
///
/// `status` is called for each request, from several threads at a time. If it panics, that request
/// is answered with status 500.
///
/// # Errors
/// The listener has no address, or the system can't start a thread.
pub fn start(
    listener: TcpListener,
    status: impl Fn() -> Status + Send + Sync + 'static,
) -> io::Result<HttpServer> {
    start_with_names(listener, [], status)
}

/// Serves the status as [`start`] does, and under the host names `names` too.
///
/// Requests for other names are answered with status 421: by such a name a foreign web site could
/// have a browser in this network read the status (DNS rebinding).
///
/// # Errors
/// The listener has no address, or the system can't start a thread.
pub fn start_with_names(
    listener: TcpListener,
    names: impl IntoIterator<Item = String>,
    status: impl Fn() -> Status + Send + Sync + 'static,
) -> io::Result<HttpServer> {
    let threads = AnswerThreads::start()?;
    let names = HostNames::new(names);
    serve::start(listener, Limits::default(), move |request| match &request.host {
        Some(host) if !names.allow(host) => routes::misdirected(host),
        _ => routes::answer(request, status(), &threads),
    })
}
