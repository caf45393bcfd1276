//! Shows a BlueNova listener to browsers and to Prometheus: a page, plots, JSON, metrics and
//! health.
//!
//! [`Status`] is what the listener knows of itself at one moment; [`start`] asks for one at each
//! request, reads the past from the journal, and serves both. Nothing that a client sends changes
//! anything, and whatever clients do costs neither the recording nor each other much. [`history`]
//! and [`plots`] are what it makes of the past, for those who have no server to run.
//!
//! ```no_run
//! use std::net::TcpListener;
//!
//! # fn status() -> bluenova_http::Status { unimplemented!() }
//! # fn main() -> std::io::Result<()> {
//! let server = bluenova_http::start(TcpListener::bind("127.0.0.1:9080")?, status)?;
//! println!("http://{}", server.local_addr());
//! // … until the program is to end:
//! server.stop();
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod api;
mod bank;
mod downsample;
mod error;
mod history;
mod json;
mod metrics;
mod page;
mod plots;
mod query;
mod routes;
mod serve;
mod status;

use std::io;
use std::net::TcpListener;

use routes::Turn;
use serve::Limits;

pub use error::HistoryError;
pub use history::{History, history};
pub use plots::{Plots, plots};
pub use serve::Server;
pub use status::{
    Battery, CellBus, Connection, Delivery, Latest, Status, Storage, duration, stale_after,
};

/// Serves what `status` tells, to whoever connects to `listener`.
///
/// `status` is called for each request, from several threads at a time. If it panics, that request
/// gets no answer.
///
/// # Errors
/// The listener has no address, or the system gives no thread.
pub fn start(
    listener: TcpListener,
    status: impl Fn() -> Status + Send + Sync + 'static,
) -> io::Result<Server> {
    let turn = Turn::default();
    serve::start(listener, Limits::default(), move |request| {
        routes::answer(request, &status(), &turn)
    })
}
