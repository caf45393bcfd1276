use std::{
    borrow::Cow,
    io::{self, Read},
    net::SocketAddr,
    time::{Duration, Instant},
};

use tungstenite::{
    Bytes, Message,
    protocol::{
        CloseFrame, Role, WebSocketConfig, WebSocketContext,
        frame::{Utf8Bytes, coding::CloseCode},
    },
};

use crate::{
    Address, Deadlines, Dial, Error, MESSAGE_LIMIT, TICK, error::quote, incoming::Incoming,
    socket::Socket,
};

/// Bytes that one read takes from the socket at most.
const READ_BUFFER: usize = 8 * 1024;

/// Bytes of pongs that may wait to be sent.
const WRITE_BUFFER: usize = 1024;

/// A connection to a battery's console.
///
/// It holds about 9 KiB while it has nothing to read.
#[derive(Debug)]
pub struct Connection {
    peer: SocketAddr,
    deadlines: Deadlines,
    incoming: Incoming<Socket>,
    protocol: WebSocketContext,
    /// The last message; empty while reading, so that its part of the read buffer can be reused.
    message: Bytes,
    /// The end of the last frame before the last ping.
    pinged: Option<Instant>,
    /// Messages skipped since this was last asked.
    skipped: u64,
    over: bool,
}

impl Connection {
    /// Connects, and waits until that is done.
    ///
    /// # Errors
    /// Whatever kept the connection from being made.
    pub fn open(address: &Address, deadlines: Deadlines) -> Result<Self, Error> {
        let mut dial = Dial::start(address, deadlines)?;
        loop {
            if let Some(result) = dial.wait(Duration::MAX) {
                return result;
            }
        }
    }

    /// The address that was connected to.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The text of the next message; `None`: nothing came for about a [`TICK`].
    ///
    /// This is [`advance`](Self::advance) and [`text`](Self::text) in one.
    ///
    /// # Errors
    /// The connection is over, also for all later calls.
    pub fn read(&mut self) -> Result<Option<Cow<'_, str>>, Error> {
        Ok(self.advance()?.then(|| self.text()))
    }

    /// Goes on to the next message; `false`: nothing came for about a [`TICK`].
    ///
    /// Pings are answered, and sent, in here, so this must be called again and again.
    ///
    /// # Errors
    /// The connection is over, also for all later calls.
    pub fn advance(&mut self) -> Result<bool, Error> {
        if self.over {
            return Err(Error::Over);
        }
        // The last message's part of the read buffer is free for the next ones.
        self.message = Bytes::new();
        match self.next_message() {
            Ok(Some(message)) => {
                self.message = message;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                self.over = true;
                Err(error)
            }
        }
    }

    /// The text of this message, all its fragments joined; text and binary messages alike. Empty
    /// where there is none.
    ///
    /// Bytes that are not UTF-8 are replaced by U+FFFD; only then is the text a copy.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.message)
    }

    /// Number of messages longer than [`MESSAGE_LIMIT`] that were skipped since this was last
    /// called. What came right behind one that was in fragments may be lost with it.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Whether the last [`advance`](Self::advance) had to ask the system for bytes. If not, its
    /// message had come together with the one before.
    ///
    /// A caller who looks at the clock only when this is true has read at most 8 KiB since it last
    /// did, and the start of a message that they complete.
    pub fn waited(&self) -> bool {
        self.incoming.in_tick()
    }

    /// Sends a Close frame, and waits for the answer; two [`TICK`]s at most for each.
    pub fn close(&mut self) {
        if self.over {
            return;
        }
        self.over = true;
        let normal = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let sent = self.protocol.close(&mut self.incoming, Some(normal)).is_ok();
        if sent && self.incoming.get_mut().finish().is_ok() {
            self.read_to_end();
        }
    }

    /// `early` is what came together with the end of the handshake.
    pub(crate) fn new(
        socket: Socket,
        mut early: Vec<u8>,
        peer: SocketAddr,
        deadlines: Deadlines,
    ) -> Self {
        let incoming = Incoming::new(socket, &mut early);
        let protocol = WebSocketContext::from_partially_read(early, Role::Client, Some(config()));
        Self {
            peer,
            deadlines,
            incoming,
            protocol,
            message: Bytes::new(),
            pinged: None,
            skipped: 0,
            over: false,
        }
    }

    fn next_message(&mut self) -> Result<Option<Bytes>, Error> {
        self.incoming.start_tick();
        loop {
            match self.protocol.read(&mut self.incoming) {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    return Ok(Some(message.into_data()));
                }
                Ok(Message::Close(frame)) => {
                    // The connection is over, whether or not our answer arrives.
                    let _ = self.protocol.flush(&mut self.incoming);
                    return Err(closed(frame));
                }
                // A pong leaves with the next turn.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.nothing_came().map(|()| None);
                }
                Err(error) => match Error::in_frames(error) {
                    Error::TooLong if self.incoming.skip_message() => {
                        self.skipped += 1;
                        // The old one may not be asked again after a message too long.
                        self.protocol = WebSocketContext::new(Role::Client, Some(config()));
                    }
                    error => return Err(error),
                },
            }
        }
    }

    /// Sends a ping, or gives the connection up, where the silence has lasted that long; otherwise
    /// shrinks the read buffer.
    fn nothing_came(&mut self) -> Result<(), Error> {
        let silence = self.incoming.silence();
        let limit = self.deadlines.give_up_after;
        if silence >= limit {
            return Err(Error::Silent { limit });
        }
        let last_frame = Some(self.incoming.last_frame());
        if silence >= self.deadlines.ping_after && self.pinged != last_frame {
            self.pinged = last_frame;
            let ping = Message::Ping(Bytes::new());
            self.protocol.write(&mut self.incoming, ping).map_err(Error::in_frames)?;
        }
        // The read buffer grows with the messages, but does not shrink again. Here it is empty, and
        // no message is under way, so that a new one can replace it.
        if self.incoming.between_messages() && self.incoming.take_largest() > READ_BUFFER / 2 {
            self.protocol = WebSocketContext::new(Role::Client, Some(config()));
        }
        Ok(())
    }

    /// Reads what is still under way, the answer to the Close frame last. If it were left unread,
    /// the system would reset the connection, and the reset may overtake our Close frame.
    fn read_to_end(&mut self) {
        let started = Instant::now();
        let mut discarded = [0; 512];
        while started.elapsed() < TICK {
            match self.incoming.get_mut().read(&mut discarded) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Pings and pongs are sent at once.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT))
}

fn closed(frame: Option<CloseFrame>) -> Error {
    match frame {
        Some(CloseFrame { code, reason }) => {
            Error::Closed { code: Some(code.into()), reason: quote(reason.as_bytes()) }
        }
        None => Error::Closed { code: None, reason: String::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::{
        collections::VecDeque,
        io::Write,
        net::{Ipv4Addr, TcpListener, TcpStream},
    };

    /// Gives one piece per read, and a pause after each.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.pop_front() else { return Ok(0) };
            if piece.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            buffer[..piece.len()].copy_from_slice(&piece);
            self.0.push_front(vec![]);
            Ok(piece.len())
        }
    }

    impl Write for Pieces {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn texts(early: &[u8], pieces: &[&[u8]]) -> Vec<String> {
        let pieces = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| piece.to_vec());
        let mut early = early.to_vec();
        let mut incoming = Incoming::new(Pieces(pieces.collect()), &mut early);
        let mut protocol =
            WebSocketContext::from_partially_read(early, Role::Client, Some(config()));
        let mut texts = vec![];
        loop {
            match protocol.read(&mut incoming) {
                Ok(Message::Binary(bytes)) => {
                    texts.push(String::from_utf8_lossy(&bytes).into_owned());
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => match Error::in_frames(error) {
                    Error::HungUp => return texts,
                    other => panic!("{other:?}"),
                },
                Ok(other) => panic!("{other:?}"),
            }
        }
    }

    /// A connection past its handshake, with which `early` came, and the battery's end of it.
    fn connection(early: &[u8]) -> (Connection, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (battery, peer) = listener.accept().unwrap();
        let socket = Socket::new(stream).unwrap();
        (Connection::new(socket, early.to_vec(), peer, Deadlines::default()), battery)
    }

    #[test]
    fn messages_that_came_together_are_waited_for_once() {
        let (mut connection, mut battery) = connection(b"\x81\x01a\x81\x01b\x81");
        let mut check = |expected| {
            let came = connection.advance().unwrap();
            let text = came.then(|| connection.text().into_owned());
            assert_eq!((text.as_deref(), connection.waited()), expected);
        };
        check((Some("a"), false));
        check((Some("b"), false));
        check((None, true));
        battery.write_all(b"\x01c\x89\x00\x81\x01d\x81\x01e").unwrap();
        check((Some("c"), true));
        check((Some("d"), false));
        check((Some("e"), false));
        check((None, true));
        battery.write_all(b"\x81\x01f").unwrap();
        check((Some("f"), true));
    }

    #[test]
    fn every_cutting_gives_the_same_texts() {
        let long = [b'x'; 126];
        let stream: Vec<u8> = [
            &b"\x81\x07SOC: 63"[..],
            b"\x81\x04\xC3\xA4\xC3\xB6",
            b"\x01\x02\xC3\xA4\x89\x01!\x00\x01\xC3\x80\x01\xB6",
            b"\x81\x03a\xFFb\x82\x00\x01\x01\xC3\x80\x01b",
            b"\x82\x7E\x00\x7E",
            &long,
            b"\x8A\x00\x81\x03\x00\r\n",
        ]
        .concat();
        let expected =
            ["SOC: 63", "äö", "äö", "a\u{FFFD}b", "", "\u{FFFD}b", &"x".repeat(126), "\0\r\n"];
        for first in 0..=stream.len() {
            for second in [first, (first + 1).min(stream.len()), stream.len()] {
                let pieces = [&stream[first..second], &stream[second..]];
                let given = texts(&stream[..first], &pieces);
                assert_eq!(given, expected, "cut at {first} and {second}");
            }
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(texts(b"", &bytes), expected, "byte by byte");
    }
}
