use std::{
    borrow::Cow,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use bluenova_websocket::{Address, Connection, Deadlines, Dial, Error, MESSAGE_LIMIT};
use tungstenite::handshake::derive_accept_key;

use crate::frames;

const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(120),
    handshake: Duration::from_secs(120),
    ping_after: Duration::from_secs(120),
    give_up_after: Duration::from_secs(120),
};

/// A hostile battery at the other end of a real socket, against the real client.
///
/// The lowest bit of the first byte chooses what the rest is: frames if it is 0, and if it is 1 the
/// answer to the handshake, in which `{accept}` becomes the right key, and what comes behind it.
/// The next bit chooses whether the frames come together with the end of the handshake. The upper
/// four set how often the bytes are repeated: 2 to the power of it.
///
/// - The client doesn't panic or hang, and doesn't go on after an error.
/// - After a proper handshake, its messages are those that a plain reader of frames finds in the
///   same bytes.
/// - Its errors are fit for a terminal and for a log.
pub fn websocket_stream(data: &[u8]) {
    let Some((&plan, bytes)) = data.split_first() else { return };
    let script = Script::new(plan, bytes);
    // With a listener for each input, the ports would be used up within a minute.
    thread_local! {
        static LISTENER: TcpListener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    }
    let started = Instant::now();
    LISTENER.with(|listener| {
        let address = listener.local_addr().expect("it is bound").to_string();
        let address: Address = address.parse().expect("an address");
        let dial = Dial::start(&address, DEADLINES).expect("there are threads");
        let (peer, _) = listener.accept().expect("the client dials");
        thread::scope(|scope| {
            // The client may have hung up meanwhile.
            scope.spawn(|| _ = script.play(peer));
            check_client(dial, &script);
        });
    });
    assert!(started.elapsed() < Duration::from_secs(60), "hung for {:?}", started.elapsed());
}

struct Script {
    /// Whether our own, proper answer to the handshake goes first.
    proper: bool,
    early: bool,
    bytes: Vec<u8>,
}

impl Script {
    fn new(plan: u8, bytes: &[u8]) -> Self {
        /// Enough for a message that is too long.
        const MOST: usize = 3 * MESSAGE_LIMIT;
        let most = MOST.checked_div(bytes.len()).unwrap_or(0).max(1);
        let bytes = bytes.repeat(most.min(1 << (plan >> 4)));
        Self { proper: plan & 1 == 0, early: plan & 2 != 0, bytes }
    }

    /// Plays the battery. Nothing is lost on the way to a client that reads on, since it is the
    /// client who ends the connection.
    fn play(&self, mut peer: TcpStream) -> io::Result<()> {
        peer.set_nodelay(true)?;
        peer.set_read_timeout(Some(DEADLINES.give_up_after))?;
        let key = request_key(&mut peer)?;
        if self.proper {
            let answer = with_key(PROPER_ANSWER, &key);
            let mut parts = vec![answer, self.bytes.clone()];
            if self.early {
                parts = vec![parts.concat()];
            }
            parts.iter().try_for_each(|part| peer.write_all(part))?;
        } else {
            peer.write_all(&with_key(&self.bytes, &key))?;
        }
        peer.shutdown(Shutdown::Write)?;
        io::copy(&mut peer, &mut io::sink()).map(drop)
    }
}

const PROPER_ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Accept: {accept}\r\n\
    \r\n";

fn with_key(answer: &[u8], key: &str) -> Vec<u8> {
    const PLACEHOLDER: &[u8] = b"{accept}";
    let accept = derive_accept_key(key.as_bytes());
    match answer.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER) {
        Some(at) => [&answer[..at], accept.as_bytes(), &answer[at + PLACEHOLDER.len()..]].concat(),
        None => answer.to_vec(),
    }
}

/// Reads the request for the handshake, and returns its key.
fn request_key(peer: &mut TcpStream) -> io::Result<String> {
    let mut request = vec![];
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match peer.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            size => request.extend(&buffer[..size]),
        }
    }
    let request = String::from_utf8(request).expect("the client writes ASCII");
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    Ok(key.expect("the client sends a key").to_owned())
}

fn check_client(mut dial: Dial, script: &Script) {
    match dial.wait(Duration::MAX).expect("it waits as long as it takes") {
        Ok(mut connection) => {
            let messages = read_all(&mut connection);
            if script.proper {
                let (expected, is_all) = frames::messages(&script.bytes);
                assert!(messages.starts_with(&expected), "{messages:?} isn't {expected:?}");
                assert!(messages.len() == expected.len() || !is_all, "{messages:?}");
            }
        }
        Err(error) => {
            assert!(!script.proper, "a proper answer was refused: {error}");
            check_error(&error);
        }
    }
}

fn read_all(connection: &mut Connection) -> Vec<String> {
    let mut messages = vec![];
    let error = loop {
        match connection.read() {
            Ok(message) => messages.extend(message.map(Cow::into_owned)),
            Err(error) => break error,
        }
    };
    check_error(&error);
    assert!(matches!(connection.read(), Err(Error::Over)), "it goes on after {error}");
    connection.close();
    messages
}

fn check_error(error: &Error) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    // Whatever the battery sent is cut at 120 characters, and escaping makes it longer.
    assert!(text.len() < 2000, "{text:?}");
    let is_ours = matches!(error, Error::Thread(_) | Error::Lookup { .. } | Error::Over);
    assert!(!is_ours, "{error:?}");
}
