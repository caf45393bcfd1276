//! The server and real sockets, one topic a file.

mod client;
mod crowd;
mod endings;
mod fuzz;
mod limits;
mod requests;

use std::{
    net::TcpListener,
    panic::resume_unwind,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use super::{Limits, Request, Response, Server, start};
use client::Client;

/// After so long a test has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(3);

/// Larger than what two systems buffer.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=250).cycle().take(10_000_000).collect());

/// A server of the usual pages.
fn serve(limits: Limits) -> Server {
    serve_with(limits, pages)
}

fn serve_with(
    limits: Limits,
    handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> Server {
    start(TcpListener::bind("127.0.0.1:0").unwrap(), limits, handler).unwrap()
}

fn pages(request: &Request) -> Response {
    match request.path.as_str() {
        "/" => Response::new(200, "text/plain", &b"hello"[..]),
        "/large" => Response::new(200, "application/octet-stream", LARGE.as_slice()),
        "/nothing" => Response::plain(204),
        // As a panic, but the hook doesn't print it.
        "/panic" => resume_unwind(Box::new("as the test wants it")),
        path => {
            let text = format!("{path} {:?}", request.query);
            Response::new(200, "text/plain", text.into_bytes())
        }
    }
}

/// Waits until that many connections have a thread.
fn wait_for_threads(server: &Server, count: usize) {
    let started = Instant::now();
    while server.places.threads() != count {
        assert!(started.elapsed() < PATIENCE, "{} threads, not {count}", server.places.threads());
        thread::sleep(Duration::from_millis(1));
    }
}

/// Long enough to hold on a busy machine, short enough for a test.
fn short() -> Limits {
    Limits {
        request: Duration::from_millis(300),
        idle: Duration::from_millis(600),
        response: Duration::from_millis(500),
        ..Limits::default()
    }
}

/// That something ended at its deadline, not before.
fn assert_due(started: Instant, limit: Duration) {
    let took = started.elapsed();
    assert!(took >= limit && took < limit + SLACK, "took {took:?}, not {limit:?}");
}
