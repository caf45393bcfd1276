use std::{
    io::{Cursor, Read},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bluenova_simulator::Control;
use bluenova_test_support::TIME_LIMIT;
use tungstenite::{
    Error, Message, WebSocket,
    protocol::frame::{FrameHeader, coding::OpCode},
};

/// A client that is not ours: tungstenite's, on a socket with a deadline.
pub(crate) struct Listener(pub(crate) WebSocket<TcpStream>);

impl Listener {
    pub(crate) fn connect(control: &Control) -> Self {
        Self::connect_to(control.local_addr())
    }

    pub(crate) fn connect_to(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{address}/ws/"), tcp).unwrap();
        Self(socket)
    }

    /// The next message that is not a pong.
    pub(crate) fn message(&mut self) -> Result<Message, Error> {
        loop {
            match self.0.read()? {
                Message::Pong(_) => {}
                message => return Ok(message),
            }
        }
    }

    pub(crate) fn line(&mut self) -> String {
        match self.message() {
            Ok(Message::Text(line)) => line.to_string(),
            other => panic!("no line: {other:?}"),
        }
    }

    /// Everything until the Close frame.
    pub(crate) fn lines_to_the_end(&mut self) -> Vec<String> {
        let mut lines = vec![];
        loop {
            match self.message() {
                Ok(Message::Text(line)) => lines.push(line.to_string()),
                Ok(Message::Close(_)) => return lines,
                other => panic!("neither line nor end: {other:?}"),
            }
        }
    }

    pub(crate) fn ping(&mut self, text: &'static str) {
        self.0.send(Message::Ping(text.into())).unwrap();
    }

    /// The next thing that arrives within `at_most`.
    pub(crate) fn within(&mut self, at_most: Duration) -> Option<Message> {
        self.0.get_ref().set_read_timeout(Some(at_most)).unwrap();
        let read = self.0.read();
        self.0.get_ref().set_read_timeout(Some(TIME_LIMIT)).unwrap();
        match read {
            Ok(message) => Some(message),
            Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(e) => panic!("{e}"),
        }
    }

    /// The frames that arrive from now on until the connection ends, whatever is in them.
    pub(crate) fn raw_frames(self) -> Vec<(OpCode, bool, Vec<u8>)> {
        let mut bytes = vec![];
        // The end may be a reset.
        _ = self.0.into_inner().read_to_end(&mut bytes);
        let mut frames = vec![];
        let mut cursor = Cursor::new(bytes);
        while let Some((header, length)) = FrameHeader::parse(&mut cursor).unwrap() {
            let mut payload = vec![0; length as usize];
            cursor.read_exact(&mut payload).unwrap();
            frames.push((header.opcode, header.is_final, payload));
        }
        frames
    }
}
