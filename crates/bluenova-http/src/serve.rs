//! A small blocking HTTP/1.1 server for GET and HEAD, with a deadline and a bound on everything.
//!
//! It is our own, on top of `httparse`, since slow clients can hold up the small servers there are:
//! tiny_http, and rouille on it, have no time-outs, and those of oxhttp are for single reads, so
//! that a byte now and then holds a connection for ever. oxhttp also reads bodies without limit,
//! prints to stderr, and can't be stopped.
//!
//! One thread accepts; each connection has a thread to itself for as long as it lasts. A thread
//! that has served a connection serves the next one, in memory that it has used before. When there
//! are as many [`connections`] as are allowed, the one that has waited longest for its client is
//! closed for a new one.

mod connection;
mod connections;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod threads;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::RateLimit;
use connection::refuse;
pub(crate) use connection::{read, write};
use connections::{Admission, Connections};
pub(crate) use request::{Method, Request};
pub(crate) use response::{Piece, Response};
use threads::Threads;

/// Stack of a thread that answers requests: several times what drawing a plot and SQLite need.
pub(crate) const STACK: usize = 1024 * 1024;

/// Pause after accepting failed; at the limit of open files it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Deadline of one attempt to wake the accepting thread.
const WAKE_LIMIT: Duration = Duration::from_millis(250);

/// Period in which a message that clients can cause at will is logged once.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// Bounds on what clients can use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Maximum number of connections.
    pub(crate) connections: usize,
    /// Time for a whole request, from its first byte on. The first byte of a new connection has as
    /// long again.
    pub(crate) request: Duration,
    /// Time for the first byte of each further request.
    pub(crate) idle: Duration,
    /// Time for the client to take a whole response, or each piece of one that comes in pieces.
    pub(crate) response: Duration,
    /// Time for the client to take all pieces.
    pub(crate) pieces: Duration,
    /// Time for which a connection may wait for its client before it can be closed for a new one.
    pub(crate) grace: Duration,
    /// Time for the client to close, after the last response.
    pub(crate) linger: Duration,
    /// Time for all threads to end when the server is stopped.
    pub(crate) stop: Duration,
    /// Maximum number of bytes in responses that clients have not taken yet.
    pub(crate) response_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32,
            request: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            response: Duration::from_secs(10),
            pieces: Duration::from_secs(600),
            grace: Duration::from_millis(250),
            linger: Duration::from_secs(1),
            stop: Duration::from_secs(2),
            // A single response has a few MiB at most.
            response_bytes: 32 * 1024 * 1024,
        }
    }
}

/// A running HTTP server. It is stopped when dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    connections: Arc<Connections>,
    acceptor: Option<JoinHandle<()>>,
    stop_limit: Duration,
}

impl HttpServer {
    /// The address on which it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and waits up to two seconds for the threads. A thread that is still
    /// busy then ends by itself later; its client gets no answer.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        let deadline = Instant::now() + self.stop_limit;
        // Connections are closed first: if no more files can be opened, waking needs one of theirs.
        let have_ended = self.connections.close_all(deadline);
        while !acceptor.is_finished() && Instant::now() < deadline {
            self.wake();
            // Once is enough, unless files have run out or the queue of connections is full.
            thread::sleep(Duration::from_millis(1));
        }
        if !acceptor.is_finished() || !have_ended {
            log::warn!("threads that serve {} are still busy; not waiting longer", self.address);
        } else if acceptor.join().is_err() {
            log::error!("the thread that accepts connections to {} panicked", self.address);
        }
    }

    /// Connects to the server: nothing else ends a blocking `accept`.
    fn wake(&self) {
        let address = local(self.address);
        if let Err(error) = TcpStream::connect_timeout(&address, WAKE_LIMIT) {
            log::debug!("can't connect to {address} to stop it: {error}");
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where this machine connects to what listens on `address`, which may be all addresses.
pub(crate) fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Answers each request with what `handler` returns.
///
/// The handler is called from several threads at a time. If it panics, its client gets status 500
/// and the others are not affected.
///
/// # Errors
/// The listener has no address, or the system can't start a thread.
pub(crate) fn start(
    listener: TcpListener,
    limits: Limits,
    handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> io::Result<HttpServer> {
    listener.set_nonblocking(false)?;
    let address = listener.local_addr()?;
    let connections = Arc::new(Connections::new(limits));
    let panics = Mutex::new(RateLimit::new(LOG_PERIOD));
    let service = Arc::new(Service { limits, handler: Box::new(handler), panics });
    let acceptor = thread::Builder::new().name(format!("http {address}")).spawn({
        let connections = Arc::clone(&connections);
        move || accept(&listener, &connections, &Threads::new(service))
    })?;
    Ok(HttpServer { address, connections, acceptor: Some(acceptor), stop_limit: limits.stop })
}

/// What all connections share.
struct Service {
    limits: Limits,
    handler: Box<dyn Fn(&Request) -> Response + Send + Sync>,
    /// For messages on panics of the handler.
    panics: Mutex<RateLimit<()>>,
}

impl Service {
    fn panic_is_due(&self) -> bool {
        let mut panics = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        panics.is_due((), Instant::now())
    }
}

/// Accepts connections until all are closed.
fn accept(listener: &TcpListener, connections: &Arc<Connections>, threads: &Threads) {
    let mut failures = RateLimit::new(LOG_PERIOD);
    loop {
        let accepted = listener.accept();
        if connections.are_closed() {
            return;
        }
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = receive(stream, connections, threads)
                    && failures.is_due((), Instant::now())
                {
                    log::warn!("can't start a thread to answer {peer} over HTTP: {error}");
                }
            }
            // The client has gone. That took a connection from the queue, so accepting goes on
            // without a pause, by which a client could keep others out.
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                if failures.is_due((), Instant::now()) {
                    log::warn!("can't accept HTTP connections: {error}; trying again");
                }
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Gives a new connection to a thread, or refuses it. If either fails, it is closed.
fn receive(stream: TcpStream, connections: &Arc<Connections>, threads: &Threads) -> io::Result<()> {
    match connections.admit(stream) {
        Admission::Admitted(connection) => threads.serve(connection)?,
        Admission::Full(stream) => refuse(&stream),
        Admission::Closed => {}
    }
    Ok(())
}
