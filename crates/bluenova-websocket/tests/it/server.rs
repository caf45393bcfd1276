//! A server of raw bytes, and what a test says to it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_websocket::{Address, Connection, Deadlines, Error};
use tungstenite::handshake::derive_accept_key;

/// After so long a test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One visitor is served, by a script.
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
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
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

    /// What the script came to.
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

/// Reads until the visitor has gone; returns the unmasked frames that it sent, opcode byte and
/// payload.
pub(crate) fn hold(stream: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    std::iter::from_fn(|| client_frame(stream)).collect()
}

/// The next frame of the visitor; `None` when there are no more.
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
    while started.elapsed() < PATIENCE {
        if let Some(text) = connection.read()? {
            return Ok(text.into_owned());
        }
    }
    panic!("nothing came within {PATIENCE:?}");
}

/// Short enough for a test, long enough for a busy machine.
pub(crate) fn short() -> Deadlines {
    Deadlines {
        connect: Duration::from_secs(5),
        handshake: Duration::from_millis(500),
        ping_after: Duration::from_millis(250),
        give_up_after: Duration::from_millis(750),
    }
}
