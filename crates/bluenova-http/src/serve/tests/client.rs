use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
};

use super::{HttpServer, MINUTE};

/// A client that sends what a test gives it.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(server: &HttpServer) -> Self {
        Self::try_connect(server).unwrap()
    }

    pub(crate) fn try_connect(server: &HttpServer) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server.local_addr(), MINUTE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(MINUTE))?;
        stream.set_write_timeout(Some(MINUTE))?;
        Ok(Self { stream, unread: vec![] })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends the plainest request for a path.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer(true).unwrap().expect("an answer")
    }

    /// The next answer; `None`: the server has closed before it.
    pub(crate) fn try_answer(&mut self, with_body: bool) -> io::Result<Option<Answer>> {
        let end = loop {
            if let Some(start) = find(&self.unread, b"\r\n\r\n") {
                break start + 4;
            }
            if !self.read()? {
                assert!(self.unread.is_empty(), "cut off: {:?}", self.unread.escape_ascii());
                return Ok(None);
            }
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer { status, head, body: vec![] };
        let length = answer.header("Content-Length").map_or(0, |length| length.parse().unwrap());
        if with_body {
            while self.unread.len() < length {
                if !self.read()? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            answer.body = self.unread.drain(..length).collect();
        }
        Ok(Some(answer))
    }

    /// Checks that the server closes in order, without sending any more.
    pub(crate) fn assert_closed(&mut self) {
        let more = self.read().unwrap();
        assert!(!more && self.unread.is_empty(), "{:?}", self.unread.escape_ascii());
    }

    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads until the server closes or resets the connection.
    pub(crate) fn drain(&mut self) -> Vec<u8> {
        loop {
            match self.read() {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("it wasn't closed; read {:?}", self.unread.escape_ascii())
                }
                Ok(false) | Err(_) => return std::mem::take(&mut self.unread),
            }
        }
    }

    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 65536];
        let count = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = header.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value);
        assert_eq!(values.next(), None, "{name} twice");
        value
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
