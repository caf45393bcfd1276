use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use tungstenite::{
    Error as WebSocketError, WebSocket,
    handshake::{
        machine::TryParse,
        server::{Request, create_response, write_response},
    },
    protocol::{Role, WebSocketConfig},
};

use crate::PATH;

/// Bytes that wait for a client at most. A client that does not read loses lines beyond, as the
/// reader of a serial console does.
const OUT_BYTES: usize = 2 << 20;

/// Bytes that a request may have.
const REQUEST_BYTES: usize = 8 << 10;

/// How long a client may take for its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How long the answer to a request that is no WebSocket may take to leave.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

const HOME_PAGE: &str =
    "A simulated BlueNova battery. Its console is a WebSocket at /ws/ of this address.\n";

/// One connection to a battery, from accept to close. Nothing in it blocks.
#[derive(Debug)]
pub(crate) struct Client {
    peer: SocketAddr,
    state: State,
    /// Whether the handshake was done.
    pub(crate) listens: bool,
    /// Lines that were queued for it.
    pub(crate) lines: u64,
}

#[derive(Debug)]
enum State {
    Request { wire: Wire, received: Vec<u8>, deadline: Instant },
    Listening(Box<WebSocket<Wire>>),
    Farewell { wire: Wire, deadline: Instant },
    Gone,
}

impl Client {
    pub(crate) fn new(tcp: TcpStream, peer: SocketAddr, now: Instant) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        // Lines must leave one by one, as they are said.
        tcp.set_nodelay(true)?;
        let wire = Wire { tcp, out: vec![], sent: 0 };
        let state = State::Request { wire, received: vec![], deadline: now + REQUEST_TIME };
        Ok(Self { peer, state, listens: false, lines: 0 })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    /// Queues frames; whole or not at all.
    pub(crate) fn queue(&mut self, frames: &[u8]) {
        if let State::Listening(socket) = &mut self.state
            && socket.can_write()
            && socket.get_ref().waiting() < OUT_BYTES
        {
            socket.get_mut().out.extend_from_slice(frames);
            self.lines += 1;
        }
    }

    /// Sends what waits and takes what has arrived.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Request { wire, received, deadline } if now < deadline => {
                receive_request(wire, received, deadline, now)
            }
            State::Listening(socket) => listen(socket),
            State::Farewell { wire, deadline } if now < deadline => farewell(wire, deadline),
            _ => State::Gone,
        };
        self.listens |= matches!(self.state, State::Listening(_));
    }

    /// Starts to close the connection as the protocol has it.
    pub(crate) fn close(&mut self) {
        match &mut self.state {
            // Writing to a wire does not fail: what its socket says comes out in the next turn.
            State::Listening(socket) => _ = socket.close(None),
            state => *state = State::Gone,
        }
    }
}

fn receive_request(
    mut wire: Wire,
    mut received: Vec<u8>,
    deadline: Instant,
    now: Instant,
) -> State {
    let mut chunk = [0; 1024];
    loop {
        match wire.tcp.read(&mut chunk) {
            Ok(0) => return State::Gone,
            Ok(n) => received.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return State::Gone,
        }
        if received.len() > REQUEST_BYTES {
            break;
        }
    }
    let answer = match Request::try_parse(&received) {
        Ok(None) if received.len() <= REQUEST_BYTES => {
            return State::Request { wire, received, deadline };
        }
        Ok(Some((length, request))) => match answer(&request, &mut wire.out) {
            None => {
                let early = received.split_off(length);
                return listen(Box::new(WebSocket::from_partially_read(
                    wire,
                    early,
                    Role::Server,
                    Some(config()),
                )));
            }
            Some(answer) => answer,
        },
        _ => ("400 Bad Request", "This is not a request for a WebSocket.\n"),
    };
    let (status, body) = answer;
    wire.out = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes();
    farewell(wire, now + FAREWELL_TIME)
}

/// Writes the answer of a WebSocket to `out`, or tells what else to answer.
fn answer(request: &Request, out: &mut Vec<u8>) -> Option<(&'static str, &'static str)> {
    match request.uri().path() {
        PATH => {}
        "/" => return Some(("200 OK", HOME_PAGE)),
        _ => return Some(("404 Not Found", HOME_PAGE)),
    }
    let written = create_response(request).and_then(|response| write_response(out, &response));
    written.err().map(|_| ("400 Bad Request", HOME_PAGE))
}

fn config() -> WebSocketConfig {
    // Clients send pings and pongs only.
    WebSocketConfig::default()
        .read_buffer_size(1 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(4 << 10))
        .max_frame_size(Some(4 << 10))
}

fn listen(mut socket: Box<WebSocket<Wire>>) -> State {
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(WebSocketError::Io(e)) if e.kind() == ErrorKind::WouldBlock => break,
            Err(_) => {
                // The answer to a Close frame may still wait.
                _ = socket.get_mut().pump();
                return State::Gone;
            }
        }
    }
    match socket.get_mut().pump() {
        Ok(()) => State::Listening(socket),
        Err(_) => State::Gone,
    }
}

/// Sends the rest of an answer, and waits for the client to go, so that its system does not throw
/// the answer away.
fn farewell(mut wire: Wire, deadline: Instant) -> State {
    if wire.pump().is_err() {
        return State::Gone;
    }
    if wire.waiting() == 0 && wire.tcp.shutdown(Shutdown::Write).is_err() {
        return State::Gone;
    }
    match wire.read(&mut [0; 512]) {
        Ok(0) => State::Gone,
        Err(e) if e.kind() != ErrorKind::WouldBlock => State::Gone,
        _ => State::Farewell { wire, deadline },
    }
}

/// A non-blocking socket with a queue before it: writing always succeeds, and everything leaves in
/// the order in which it was written.
#[derive(Debug)]
struct Wire {
    tcp: TcpStream,
    out: Vec<u8>,
    /// Bytes at the start of `out` that left.
    sent: usize,
}

impl Wire {
    /// Bytes that wait to leave.
    fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends what the socket takes.
    fn pump(&mut self) -> io::Result<()> {
        while self.waiting() > 0 {
            match self.tcp.write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        // Moving the rest to the front is worth it only if it is the smaller part.
        if self.waiting() <= self.sent {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pump()
    }
}
