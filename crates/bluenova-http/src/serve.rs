//! A small blocking HTTP/1.1 server for GET and HEAD, with a deadline and a bound on everything.
//!
//! It is our own, on top of `httparse`, since the small servers there are can be held up by slow
//! clients: tiny_http, and rouille on it, know no time-outs, and oxhttp's are for each read, so that
//! a byte now and then holds a connection for ever. oxhttp also reads bodies without limit, prints
//! to stderr, and can't be stopped.
//!
//! One thread accepts; each connection has a thread of its own for as long as it lasts. When all
//! [`places`] are taken, whoever has kept us waiting the longest has to leave.

mod connection;
mod places;
mod request;
mod response;
mod seldom;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use connection::{refuse, serve};
use places::{Entry, Place, Places};
pub(crate) use request::{Method, Request};
pub(crate) use response::Response;
use seldom::Seldom;

/// The stack of a connection's thread: what a drawn plot and SQLite need, several times.
const STACK: usize = 1024 * 1024;

/// How long nothing is accepted after that failed; at the limit of open files it would fail at
/// once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long stopping may take.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// How long one attempt to wake the accepting thread may take.
const WAKE_LIMIT: Duration = Duration::from_millis(250);

/// What clients may take of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections that are served at a time.
    pub(crate) connections: usize,
    /// For a whole request, from its first byte on; before that, as long again for the first byte
    /// of a new connection.
    pub(crate) request: Duration,
    /// For the first byte of any further request on the same connection.
    pub(crate) idle: Duration,
    /// For taking a whole response.
    pub(crate) response: Duration,
    /// How long a client may let us wait before its connection can be ended for a new one.
    pub(crate) spared: Duration,
    /// For the client to close, after our last response to it.
    pub(crate) linger: Duration,
    /// Bytes of responses that wait for their clients to take them.
    pub(crate) answers: usize,
}

impl Default for Limits {
    /// 32 connections; 5 s for a request, 15 s idle, 10 s for a response; spared for 250 ms, and a
    /// second to close; 32 MiB of responses, each of which has a few at most.
    fn default() -> Self {
        Self {
            connections: 32,
            request: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            response: Duration::from_secs(10),
            spared: Duration::from_millis(250),
            linger: Duration::from_secs(1),
            answers: 32 * 1024 * 1024,
        }
    }
}

/// Serves until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    places: Arc<Places>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection, and waits up to two seconds for the threads. One whose page isn't
    /// made by then ends by itself later; its answer goes nowhere.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        let deadline = Instant::now() + STOP_LIMIT;
        // Connections go first: should files have run out, waking takes one of theirs.
        let empty = self.places.close(deadline);
        while !acceptor.is_finished() && Instant::now() < deadline {
            self.wake();
            // That was enough, unless files or the queue of connections are full.
            thread::sleep(Duration::from_millis(1));
        }
        if !acceptor.is_finished() || !empty {
            log::warn!("threads that serve {} are still busy, and left alone", self.address);
        } else if acceptor.join().is_err() {
            log::error!("the thread that accepts connections to {} panicked", self.address);
        }
    }

    /// Nothing but a connection ends a blocking `accept`.
    fn wake(&self) {
        let mut address = self.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        if let Err(error) = TcpStream::connect_timeout(&address, WAKE_LIMIT) {
            log::debug!("cannot connect to {address} to stop it: {error}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves what `handler` makes of each request.
///
/// The handler is called from several threads at a time. If it panics, its client gets status 500
/// and the others notice nothing.
///
/// # Errors
/// The listener has no address, or the system gives no thread.
pub(crate) fn start(
    listener: TcpListener,
    limits: Limits,
    handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> io::Result<Server> {
    listener.set_nonblocking(false)?;
    let address = listener.local_addr()?;
    let places = Arc::new(Places::new(limits.connections, limits.spared, limits.answers));
    let service = Arc::new(Service { limits, handler: Box::new(handler), panics: Seldom::new() });
    let acceptor = thread::Builder::new().name(format!("http {address}")).spawn({
        let places = Arc::clone(&places);
        move || accept(&listener, &places, &service)
    })?;
    Ok(Server { address, places, acceptor: Some(acceptor) })
}

/// What all connections share.
struct Service {
    limits: Limits,
    handler: Box<dyn Fn(&Request) -> Response + Send + Sync>,
    /// When a panic of the handler was logged.
    panics: Seldom,
}

/// Accepts connections until the places are closed.
fn accept(listener: &TcpListener, places: &Arc<Places>, service: &Arc<Service>) {
    let failures = Seldom::new();
    loop {
        let accepted = listener.accept();
        if places.closed() {
            return;
        }
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = receive(stream, peer, places, service)
                    && failures.due()
                {
                    log::warn!("no thread to answer {peer} over HTTP: {error}");
                }
            }
            // The client has changed its mind. That took one from the queue, so it's no reason to
            // pause, which would be a way to keep others out.
            Err(error) if gone(&error) => {}
            Err(error) => {
                if failures.due() {
                    log::warn!("cannot accept connections over HTTP, trying on: {error}");
                }
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Gives a new connection its place and thread. Whatever fails, it is closed.
fn receive(
    stream: TcpStream,
    peer: SocketAddr,
    places: &Arc<Places>,
    service: &Arc<Service>,
) -> io::Result<()> {
    let (place, talk): (Place, fn(&Place, &Service)) = match places.enter(stream) {
        Entry::Served(place) => (place, serve),
        Entry::Refused(place) => (place, refuse),
        Entry::Closed => return Ok(()),
    };
    let service = Arc::clone(service);
    thread::Builder::new()
        .name(format!("http {peer}"))
        .stack_size(STACK)
        .spawn(move || talk(&place, &service))?;
    Ok(())
}
