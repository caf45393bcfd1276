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

/// Most bytes that wait for a client. One that does not read loses the lines beyond, as the reader
/// of a serial console does.
const MAX_QUEUED: usize = 2 << 20;

/// Longest request in bytes.
const MAX_REQUEST: usize = 8 << 10;

/// Time-out of a client's request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time-out of a client that was answered with something else than a WebSocket.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

const HOME_PAGE: &str =
    "A simulated BlueNova battery. Its console is a WebSocket at /ws/ of this address.\n";

/// One connection to a battery, from accept to close. Nothing in it blocks.
#[derive(Debug)]
pub(crate) struct Client {
    peer: SocketAddr,
    state: State,
    /// Whether the handshake was done.
    pub(crate) is_connected: bool,
    /// Lines that were queued for it.
    pub(crate) lines: u64,
}

#[derive(Debug)]
enum State {
    Request { stream: BufferedStream, received: Vec<u8>, deadline: Instant },
    Connected(Box<WebSocket<BufferedStream>>),
    Refused { stream: BufferedStream, deadline: Instant },
    Closed,
}

impl Client {
    pub(crate) fn new(tcp: TcpStream, peer: SocketAddr, now: Instant) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        // Lines must leave one by one, at the model's pace.
        tcp.set_nodelay(true)?;
        let stream = BufferedStream { tcp, out: vec![], sent: 0 };
        let state = State::Request { stream, received: vec![], deadline: now + REQUEST_TIMEOUT };
        Ok(Self { peer, state, is_connected: false, lines: 0 })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Queues frames; whole or not at all.
    pub(crate) fn queue(&mut self, frames: &[u8]) {
        if let State::Connected(socket) = &mut self.state
            && socket.can_write()
            && socket.get_ref().queued() < MAX_QUEUED
        {
            socket.get_mut().out.extend_from_slice(frames);
            self.lines += 1;
        }
    }

    /// Sends what is queued and reads what has arrived.
    pub(crate) fn poll(&mut self, now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Request { stream, received, deadline } if now < deadline => {
                receive_request(stream, received, deadline, now)
            }
            State::Connected(socket) => read_and_write(socket),
            State::Refused { stream, deadline } if now < deadline => {
                finish_refusal(stream, deadline)
            }
            _ => State::Closed,
        };
        self.is_connected |= matches!(self.state, State::Connected(_));
    }

    /// Starts to close the connection as the protocol has it.
    pub(crate) fn close(&mut self) {
        match &mut self.state {
            // Writing does not fail: an error of the socket comes out in the next poll.
            State::Connected(socket) => _ = socket.close(None),
            state => *state = State::Closed,
        }
    }
}

fn receive_request(
    mut stream: BufferedStream,
    mut received: Vec<u8>,
    deadline: Instant,
    now: Instant,
) -> State {
    let mut chunk = [0; 1024];
    loop {
        match stream.tcp.read(&mut chunk) {
            Ok(0) => return State::Closed,
            Ok(n) => received.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return State::Closed,
        }
        if received.len() > MAX_REQUEST {
            break;
        }
    }
    let answer = match Request::try_parse(&received) {
        Ok(None) if received.len() <= MAX_REQUEST => {
            return State::Request { stream, received, deadline };
        }
        Ok(Some((length, request))) => match answer(&request, &mut stream.out) {
            None => {
                let early = received.split_off(length);
                return read_and_write(Box::new(WebSocket::from_partially_read(
                    stream,
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
    stream.out = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes();
    finish_refusal(stream, now + REFUSAL_TIMEOUT)
}

/// Writes the answer of a WebSocket to `out`, or returns status and text of another answer.
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

fn read_and_write(mut socket: Box<WebSocket<BufferedStream>>) -> State {
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(WebSocketError::Io(e)) if e.kind() == ErrorKind::WouldBlock => break,
            Err(_) => {
                // The answer to a Close frame may still wait.
                _ = socket.get_mut().send_queued();
                return State::Closed;
            }
        }
    }
    match socket.get_mut().send_queued() {
        Ok(()) => State::Connected(socket),
        Err(_) => State::Closed,
    }
}

/// Sends the rest of an answer, and waits until the client closes: closed before, the connection
/// could be reset, and the client's system would discard the answer.
fn finish_refusal(mut stream: BufferedStream, deadline: Instant) -> State {
    if stream.send_queued().is_err() {
        return State::Closed;
    }
    if stream.queued() == 0 && stream.tcp.shutdown(Shutdown::Write).is_err() {
        return State::Closed;
    }
    match stream.read(&mut [0; 512]) {
        Ok(0) => State::Closed,
        Err(e) if e.kind() != ErrorKind::WouldBlock => State::Closed,
        _ => State::Refused { stream, deadline },
    }
}

/// Non-blocking socket with a queue before it: writing always succeeds, and everything leaves in
/// the order in which it was written.
#[derive(Debug)]
struct BufferedStream {
    tcp: TcpStream,
    out: Vec<u8>,
    /// Bytes at the start of `out` that were sent.
    sent: usize,
}

impl BufferedStream {
    /// Bytes that wait to be sent.
    fn queued(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends what the socket takes.
    fn send_queued(&mut self) -> io::Result<()> {
        while self.queued() > 0 {
            match self.tcp.write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        // Moving the rest to the front is worth it only if it is the smaller part.
        if self.queued() <= self.sent {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}

impl Read for BufferedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.read(buffer)
    }
}

impl Write for BufferedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_queued()
    }
}
