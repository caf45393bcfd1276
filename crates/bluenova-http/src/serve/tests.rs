//! The server on real sockets, one topic a file.

mod client;
mod crowd;
mod endings;
mod fuzz;
mod limits;
mod pieces;
mod requests;

use std::{
    net::TcpListener,
    panic::resume_unwind,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use super::{HttpServer, Limits, Request, Response, start};
use client::Client;

/// Time after which a test has failed, on however busy a machine.
const MINUTE: Duration = Duration::from_secs(60);

/// For limits that are not to end anything in a test.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Larger than what the systems of both ends buffer.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=250).cycle().take(10_000_000).collect());

/// A server of [`pages`].
fn serve(limits: Limits) -> HttpServer {
    serve_with(limits, pages)
}

fn serve_with(
    limits: Limits,
    handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> HttpServer {
    start(TcpListener::bind("127.0.0.1:0").unwrap(), limits, handler).unwrap()
}

fn pages(request: &Request) -> Response {
    match request.path.as_str() {
        "/" => Response::new(200, "text/plain", &b"hello"[..]),
        "/large" => Response::new(200, "application/octet-stream", LARGE.as_slice()),
        // As a panic, but the hook doesn't print it.
        "/panic" => resume_unwind(Box::new("as the test needs it")),
        path => {
            let text = format!("{path} {:?}", request.query);
            Response::new(200, "text/plain", text.into_bytes())
        }
    }
}

/// Waits until that many connections have a thread.
fn wait_for_threads(server: &HttpServer, count: usize) {
    let started = Instant::now();
    while server.connections.threads() != count {
        let threads = server.connections.threads();
        assert!(started.elapsed() < MINUTE, "{threads} threads, not {count}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Limits that are reached in a test. The one for stopping is not.
fn short() -> Limits {
    Limits {
        request: Duration::from_millis(300),
        idle: Duration::from_millis(600),
        response: Duration::from_millis(500),
        ..unhurried()
    }
}

/// Limits of time that no busy machine reaches, and else the usual ones.
fn unhurried() -> Limits {
    Limits {
        request: NEVER,
        idle: NEVER,
        response: NEVER,
        pieces: NEVER,
        stop: MINUTE,
        ..Limits::default()
    }
}

/// Checks that something ended at its limit, not before.
fn assert_due(started: Instant, limit: Duration) {
    let took = started.elapsed();
    assert!(took >= limit && took < limit + MINUTE, "took {took:?}, not {limit:?}");
}
