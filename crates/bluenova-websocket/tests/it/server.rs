//! A server of raw bytes, and the client's side of a test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_test_support::TIME_LIMIT;
use bluenova_websocket::{Address, Connection, Deadlines, Error};
use tungstenite::handshake::derive_accept_key;

/// Server of one client, by a script.
pub(crate) struct Server<T> {
    pub(crate) address: SocketAddr,
    script: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    pub(crate) fn start(script: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script).unwrap()
    }

    pub(crate) fn start_at(
        address: &str,
        script: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let script = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
            script(stream)
        });
        Ok(Self { address, script })
    }

    pub(crate) fn open(&self, deadlines: Deadlines) -> Result<Connection, Error> {
        Connection::open(&self.address(), deadlines)
    }

    pub(crate) fn address(&self) -> Address {
        self.address.to_string().parse().unwrap()
    }

    /// The result of the script.
    pub(crate) fn join(self) -> T {
        self.script.join().unwrap()
    }
}

/// Reads the request and returns it, with the answer that accepts it.
pub(crate) fn request(stream: &mut TcpStream) -> (String, String) {
    let mut request = vec![];
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    (request, answer)
}

pub(crate) fn accept(stream: &mut TcpStream) {
    let (_, answer) = request(stream);
    stream.write_all(answer.as_bytes()).unwrap();
}

/// Reads until the client has gone; returns the unmasked frames that it sent, opcode byte and
/// payload.
pub(crate) fn hold(stream: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    std::iter::from_fn(|| client_frame(stream)).collect()
}

/// The next frame of the client; `None` when there are no more.
pub(crate) fn client_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).ok()?;
    let [opcode, length, key @ ..] = head;
    assert!((0x80..=0xFD).contains(&length), "masked, and not longer than a control frame");
    let mut payload = vec![0; usize::from(length & 0x7F)];
    stream.read_exact(&mut payload).ok()?;
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    Some((opcode, payload))
}

/// A frame as a server sends it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![first];
    if length < 126 {
        frame.push(u8::try_from(length).unwrap());
    } else if let Ok(length) = u16::try_from(length) {
        frame.push(126);
        frame.extend(length.to_be_bytes());
    } else {
        frame.push(127);
        frame.extend(u64::try_from(length).unwrap().to_be_bytes());
    }
    frame.extend(payload);
    frame
}

/// The next text, however many ticks it takes.
pub(crate) fn next(connection: &mut Connection) -> Result<String, Error> {
    let started = Instant::now();
    while started.elapsed() < TIME_LIMIT {
        if let Some(text) = connection.read()? {
            return Ok(text.into_owned());
        }
    }
    panic!("nothing came within {TIME_LIMIT:?}");
}

/// Deadlines that pass only where something never happens.
pub(crate) fn long() -> Deadlines {
    Deadlines {
        connect: TIME_LIMIT,
        handshake: TIME_LIMIT,
        ping_after: TIME_LIMIT,
        give_up_after: TIME_LIMIT * 2,
    }
}

/// Deadlines of silence that a test can wait for.
pub(crate) fn short() -> Deadlines {
    Deadlines {
        ping_after: Duration::from_millis(250),
        give_up_after: Duration::from_millis(750),
        ..long()
    }
}

/// Calls `attempt` with deadlines of silence that double each time, from [`short`] on, until it
/// succeeds: a busy machine may stand still for longer than the first ones.
pub(crate) fn succeeds_at_last(attempt: impl Fn(Deadlines) -> Result<(), String>) {
    let mut deadlines = short();
    while let Err(failure) = attempt(deadlines) {
        assert!(deadlines.give_up_after < TIME_LIMIT, "{failure}");
        deadlines.ping_after *= 2;
        deadlines.give_up_after *= 2;
    }
}
