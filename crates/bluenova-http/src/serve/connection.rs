use std::{
    any::Any,
    borrow::Cow,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    Limits, Method, Piece, Request, Response, Service,
    connections::ClientConnection,
    request::{HEAD_LIMIT, Persistence, Received, Refusal, parse},
    response::{Framing, Rest},
};

/// Bytes that are written at a time. Some systems start the time-out of a write again whenever a
/// part of it has gone, so no write may have many parts.
const CHUNK: usize = 16 * 1024;

/// Bytes that a client may still send after our last response to it.
const LINGER_LIMIT: usize = 256 * 1024;

/// Time that refusing a connection may take. Meanwhile no other one is accepted.
const REFUSAL_LIMIT: Duration = Duration::from_millis(50);

/// Answers one request after the other, until client or server ends the connection.
pub(crate) fn serve(connection: &ClientConnection, service: &Service) {
    // Responses are written in large pieces, so there is nothing to wait for.
    _ = connection.stream().set_nodelay(true);
    let mut exchange = Exchange { connection, service, unread: vec![] };
    // A connection is made for a request, which is due at once.
    let mut time_to_begin = service.limits.request;
    loop {
        let Some(mut answer) = exchange.next(time_to_begin) else { return };
        if answer.write(connection.stream(), service.limits.response).is_err() {
            return;
        }
        connection.has_responded();
        if let Some(rest) = answer.rest()
            && exchange.write_rest(rest, answer.framing).is_err()
        {
            return;
        }
        if answer.persistence == Persistence::Close {
            break;
        }
        time_to_begin = service.limits.idle;
    }
    linger(connection.stream(), Instant::now() + service.limits.linger);
}

/// Answers that there are too many connections.
pub(crate) fn refuse(stream: &TcpStream) {
    let response = Response::plain(503).with("Retry-After", "1");
    let answer = Answer::closing(response, Method::Get);
    if answer.write(stream, REFUSAL_LIMIT).is_ok() {
        linger(stream, Instant::now() + REFUSAL_LIMIT);
    }
}

/// Requests and responses on one connection.
struct Exchange<'a> {
    connection: &'a ClientConnection,
    service: &'a Service,
    /// What was read and not yet answered; never longer than a head may be.
    unread: Vec<u8>,
}

impl Exchange<'_> {
    /// The answer to the next request; `None`: the client has gone, or its connection was closed.
    fn next(&mut self, time_to_begin: Duration) -> Option<Answer> {
        match self.request(time_to_begin).transpose()? {
            Ok(received) => self.answer(&received),
            Err(Refusal { status, method }) => {
                let mut response = Response::plain(status);
                if status == 405 {
                    response = response.with("Allow", "GET, HEAD");
                }
                Some(Answer::closing(response, method))
            }
        }
    }

    /// Waits up to `time_to_begin` for the first byte of a request, and then as long as a request
    /// may take.
    fn request(&mut self, time_to_begin: Duration) -> Result<Option<Received>, Refusal> {
        let limit = self.service.limits.request;
        let has_begun = !self.unread.is_empty();
        let mut deadline = Instant::now() + if has_begun { limit } else { time_to_begin };
        loop {
            if let Some(received) = parse(&self.unread)? {
                self.unread.drain(..received.length);
                return Ok(Some(received));
            }
            let has_begun = !self.unread.is_empty();
            match self.read(deadline) {
                Ok(0) => return Ok(None),
                Ok(_) if has_begun => {}
                Ok(_) => deadline = Instant::now() + limit,
                Err(error) if has_begun && error.kind() == ErrorKind::TimedOut => {
                    return Err(Refusal { status: 408, method: Method::Get });
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads more bytes, and returns how many.
    fn read(&mut self, deadline: Instant) -> io::Result<usize> {
        let before = self.unread.len();
        self.unread.resize(HEAD_LIMIT, 0);
        let result = read(self.connection.stream(), &mut self.unread[before..], deadline);
        self.unread.truncate(before + result.as_ref().map_or(0, |&count| count));
        result
    }

    fn answer(&self, received: &Received) -> Option<Answer> {
        if !self.connection.prepares() {
            return None;
        }
        let Received { request, persistence, takes_chunks, .. } = received;
        let result = catch_unwind(AssertUnwindSafe(|| (self.service.handler)(request)));
        let (response, persistence) = match result {
            Ok(response) => (response, *persistence),
            Err(panic) => {
                self.report(request, &*panic);
                (Response::plain(500), Persistence::Close)
            }
        };
        let framing = match (&response.rest, takes_chunks) {
            (None, _) => Framing::Length,
            (Some(_), true) => Framing::Chunks,
            (Some(_), false) => Framing::Close,
        };
        let persistence = if framing == Framing::Close { Persistence::Close } else { persistence };
        let is_open = self.connection.responds(response.body.len());
        is_open.then_some(Answer { response, method: request.method, persistence, framing })
    }

    /// Writes the further pieces of a body, each of which is made when the client has taken the one
    /// before it.
    ///
    /// # Errors
    /// The client doesn't take them in time, the connection was closed, or the pieces break off.
    fn write_rest(&self, mut rest: Rest, framing: Framing) -> io::Result<()> {
        let Limits { response, pieces, .. } = self.service.limits;
        let end = Instant::now() + pieces;
        loop {
            if !self.connection.prepares() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            let piece = catch_unwind(AssertUnwindSafe(|| rest.next())).unwrap_or(Piece::Broken);
            let (bytes, is_last) = match piece {
                Piece::More(bytes) => (framed(&bytes, framing), false),
                Piece::End if framing == Framing::Chunks => (b"0\r\n\r\n".to_vec(), true),
                Piece::End => (vec![], true),
                Piece::Broken => return Err(ErrorKind::UnexpectedEof.into()),
            };
            if !self.connection.responds(bytes.len()) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            let deadline = end.min(Instant::now() + response);
            write_body(self.connection.stream(), &bytes, deadline)?;
            self.connection.has_responded();
            if is_last {
                return Ok(());
            }
        }
    }

    fn report(&self, request: &Request, panic: &(dyn Any + Send)) {
        if self.service.panic_is_due() {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let text = text.unwrap_or("no text");
            log::error!("the answer to {:?} over HTTP panicked: {text}", request.path);
        }
    }
}

/// A response to one request.
struct Answer {
    response: Response,
    method: Method,
    persistence: Persistence,
    framing: Framing,
}

impl Answer {
    /// A response after which the connection is closed.
    fn closing(response: Response, method: Method) -> Self {
        Self { response, method, persistence: Persistence::Close, framing: Framing::Length }
    }

    /// What the client is to get besides, taken out of it.
    fn rest(&mut self) -> Option<Rest> {
        self.response.rest.take().filter(|_| self.method == Method::Get)
    }

    fn write(&self, stream: &TcpStream, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        let connection = match self.persistence {
            Persistence::Close => "close",
            Persistence::KeepAlive => "keep-alive",
        };
        let mut start = self.response.head(connection, self.framing);
        let body = match (self.method, self.framing) {
            (Method::Head, _) => Cow::Borrowed(&[][..]),
            (Method::Get, Framing::Chunks) => framed(&self.response.body, Framing::Chunks).into(),
            (Method::Get, _) => Cow::Borrowed(&*self.response.body),
        };
        // All of a small response goes in one piece.
        let (first, rest) = body.split_at(body.len().min(CHUNK));
        start.extend_from_slice(first);
        write(stream, &start, deadline)?;
        write_body(stream, rest, deadline)
    }
}

/// A piece of a body as it is sent. An empty chunk would end the body.
fn framed(piece: &[u8], framing: Framing) -> Vec<u8> {
    if framing != Framing::Chunks || piece.is_empty() {
        return piece.to_vec();
    }
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn write_body(stream: &TcpStream, bytes: &[u8], deadline: Instant) -> io::Result<()> {
    bytes.chunks(CHUNK).try_for_each(|chunk| write(stream, chunk, deadline))
}

/// Ends our side, and waits for the client to end its own. If we closed while it is still sending,
/// its system would throw away the response before the client could read it.
fn linger(stream: &TcpStream, deadline: Instant) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut left = LINGER_LIMIT;
    let mut discarded = [0; 4096];
    while left > 0 {
        match read(stream, &mut discarded, deadline) {
            Ok(0) | Err(_) => return,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}

/// Reads what has arrived, or waits for it until the deadline.
pub(crate) fn read(
    mut stream: &TcpStream,
    buffer: &mut [u8],
    deadline: Instant,
) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(time_until(deadline)?))?;
        match stream.read(buffer) {
            Err(error) if is_to_be_repeated(&error) => {}
            result => return result,
        }
    }
}

/// Writes all of `bytes` until the deadline.
pub(crate) fn write(mut stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(time_until(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if is_to_be_repeated(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time until a deadline. It is never zero, which a socket would take for no time-out at all.
fn time_until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Whether a call ended by its time-out, which is a matter of the deadline, or by a signal.
fn is_to_be_repeated(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
