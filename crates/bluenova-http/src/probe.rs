//! Whether a listener's page is at an address.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::api::HealthJson;
use crate::serve::{local, read, write};

/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Whether a listener's page answers at `address`: it does if `/healthz` there is a listener's,
/// whatever its health.
///
/// # Errors
/// Nothing accepts connections at `address`, or there was no whole answer within `deadline`.
pub fn is_served_at(address: SocketAddr, deadline: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + deadline;
    let left = deadline.saturating_duration_since(Instant::now());
    let stream = TcpStream::connect_timeout(&local(address), left)?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    write(&stream, request.as_bytes(), deadline)?;
    let mut answer = vec![0; LONGEST_ANSWER];
    let mut length = 0;
    while length < LONGEST_ANSWER {
        match read(&stream, &mut answer[length..], deadline)? {
            0 => break,
            count => length += count,
        }
    }
    let answer = String::from_utf8_lossy(&answer[..length]);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str::<HealthJson>(body).is_ok())
}
