use std::{
    any::Any,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    Method, Request, Response, Service,
    places::Place,
    request::{Connection, HEAD_LIMIT, Received, Refusal, parse},
};

/// After so many requests a connection is closed, so that a client who asks without a pause has
/// to queue up again like all others.
pub(crate) const REQUEST_LIMIT: usize = 100;

/// How much is written at a time. Some systems count the time-out of a write anew whenever a part
/// of it has gone, so that no write may have many parts.
const CHUNK: usize = 16 * 1024;

/// How much a client may still send after our last response to it, in bytes.
const LINGER_LIMIT: usize = 256 * 1024;

/// Answers one request after the other, until one of both sides has enough.
pub(crate) fn serve(place: &Place, service: &Service) {
    // Waiting for more to send at once is for those who write in small pieces.
    _ = place.stream().set_nodelay(true);
    if !place.waits() {
        return;
    }
    let mut talk = Talk { place, service, unread: vec![] };
    // The first request is what the connection was made for, so it's due at once.
    let mut patience = service.limits.request;
    for count in 1..=REQUEST_LIMIT {
        let Some(mut answer) = talk.next(patience) else { return };
        if count == REQUEST_LIMIT {
            answer.connection = Connection::Close;
        }
        if answer.write(place.stream(), service.limits.response).is_err() {
            return;
        }
        place.has_handed_over();
        if answer.connection == Connection::Close {
            break;
        }
        patience = service.limits.idle;
    }
    linger(place.stream(), service.limits.linger);
}

/// Says that there is no room.
pub(crate) fn refuse(place: &Place, service: &Service) {
    let response = Response::plain(503).with("Retry-After", "1");
    let answer = Answer { response, method: Method::Get, connection: Connection::Close };
    if answer.write(place.stream(), service.limits.linger).is_ok() {
        linger(place.stream(), service.limits.linger);
    }
}

struct Talk<'a> {
    place: &'a Place,
    service: &'a Service,
    /// What was read and not yet answered; never longer than a head may be.
    unread: Vec<u8>,
}

impl Talk<'_> {
    /// The answer to the next request; `None`: there is nobody to answer to.
    fn next(&mut self, patience: Duration) -> Option<Answer> {
        match self.request(patience).transpose()? {
            Ok(received) => self.answer(&received),
            Err(Refusal { status, method }) => {
                let mut response = Response::plain(status);
                if status == 405 {
                    response = response.with("Allow", "GET, HEAD");
                }
                Some(Answer { response, method, connection: Connection::Close })
            }
        }
    }

    /// Waits up to `patience` for a request to begin, and then as long as a request may take.
    fn request(&mut self, patience: Duration) -> Result<Option<Received>, Refusal> {
        let limit = self.service.limits.request;
        let begun = !self.unread.is_empty();
        let mut deadline = Instant::now() + if begun { limit } else { patience };
        loop {
            if let Some(received) = parse(&self.unread)? {
                self.unread.drain(..received.length);
                return Ok(Some(received));
            }
            let begun = !self.unread.is_empty();
            match self.read(deadline) {
                Ok(0) => return Ok(None),
                Ok(_) if begun => {}
                Ok(_) => deadline = Instant::now() + limit,
                Err(error) if begun && error.kind() == ErrorKind::TimedOut => {
                    return Err(Refusal { status: 408, method: Method::Get });
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads what comes next, and returns how much that was.
    fn read(&mut self, deadline: Instant) -> io::Result<usize> {
        let before = self.unread.len();
        self.unread.resize(HEAD_LIMIT, 0);
        let result = read(self.place.stream(), &mut self.unread[before..], deadline);
        self.unread.truncate(before + result.as_ref().map_or(0, |&count| count));
        result
    }

    fn answer(&self, received: &Received) -> Option<Answer> {
        if !self.place.works() {
            return None;
        }
        let Received { request, connection, .. } = received;
        let made = catch_unwind(AssertUnwindSafe(|| (self.service.handler)(request)));
        let (response, connection) = match made {
            Ok(response) => (response, *connection),
            Err(panic) => {
                self.report(request, &*panic);
                (Response::plain(500), Connection::Close)
            }
        };
        // The client may be slow to take it.
        let goes_on = self.place.hands_over(response.body.len());
        goes_on.then_some(Answer { response, method: request.method, connection })
    }

    fn report(&self, request: &Request, panic: &(dyn Any + Send)) {
        if self.service.panics.due() {
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
    connection: Connection,
}

impl Answer {
    fn write(&self, stream: &TcpStream, limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        let body = match self.method {
            Method::Get if self.response.has_body() => &*self.response.body,
            Method::Get | Method::Head => &[],
        };
        let mut start = self.response.head(match self.connection {
            Connection::Close => "close",
            Connection::KeepAlive => "keep-alive",
        });
        // All of a small response goes in one piece.
        let (first, rest) = body.split_at(body.len().min(CHUNK));
        start.extend_from_slice(first);
        write(stream, &start, deadline)?;
        rest.chunks(CHUNK).try_for_each(|chunk| write(stream, chunk, deadline))
    }
}

/// Ends our side, and lets the client end its own. If we closed while it is still sending, its
/// system would throw away the response before it could read it.
fn linger(stream: &TcpStream, limit: Duration) {
    let deadline = Instant::now() + limit;
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut left = LINGER_LIMIT;
    let mut scrap = [0; 4096];
    while left > 0 {
        match read(stream, &mut scrap, deadline) {
            Ok(0) | Err(_) => return,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}

fn read(mut stream: &TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(buffer) {
            Err(error) if again(&error) => {}
            result => return result,
        }
    }
}

fn write(mut stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if again(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time left, which is never nothing: to a socket that would mean for ever.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Whether the call ended without a reason of the connection's own: its time-out, which the
/// deadline is the judge of, or a signal.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
