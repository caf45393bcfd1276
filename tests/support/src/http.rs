//! A client that asks one thing over HTTP.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What a server has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// All behind the empty line, chunks put together.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is something else.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.body))
    }
}

/// Asks the server at `address` for `target`; `at_most` is the longest pause in its answer.
///
/// # Panics
/// If it doesn't answer, or not in HTTP, or if the chunks of its answer break off.
#[track_caller]
pub fn get(address: SocketAddr, target: &str, at_most: Duration) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(at_most)).unwrap();
    let ask = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{head:?}"));
    let is_chunked = head.contains("\r\nTransfer-Encoding: chunked");
    let body = if is_chunked { whole(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

/// The body that comes in these chunks.
fn whole(mut chunks: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n").expect("there is a chunk");
        let size = usize::from_str_radix(size, 16).expect("it has a size");
        let (chunk, rest) = rest.split_at_checked(size).expect("it is whole");
        chunks = rest.strip_prefix("\r\n").expect("it has an end");
        if size == 0 {
            return body;
        }
        body.push_str(chunk);
    }
}
