use std::{fmt, io, net::SocketAddr, time::Duration};

use bluenova_record::first_chars;
use tungstenite::{
    error::{CapacityError, ProtocolError},
    http::StatusCode,
};

use crate::MESSAGE_LIMIT;

/// Characters kept of a text that the other side sent for people to read.
const QUOTED: usize = 120;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no connection, or no longer one.
///
/// What the battery sent is cut short and escaped in messages. The `source()` is not part of the
/// message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system gave no thread to connect on.
    #[error("can't start a thread to connect")]
    Thread(#[source] io::Error),
    /// The name has no address, or the name service failed.
    #[error("can't find the address of {host}")]
    Lookup {
        /// Name that was looked up.
        host: String,
        /// Error of the name service.
        source: io::Error,
    },
    /// The name service took too long.
    #[error("no address for {host} found within {limit:?}")]
    LookupTimedOut {
        /// Name that was looked up.
        host: String,
        /// The deadline.
        limit: Duration,
    },
    /// None of the addresses could be connected to.
    #[error("can't connect to {address}{}", OfSeveral(*.tried))]
    Connect {
        /// The address tried last.
        address: SocketAddr,
        /// Number of addresses tried.
        tried: usize,
        /// Error of the last one.
        source: io::Error,
    },
    /// None of the addresses answered in time.
    #[error("no answer from {address}{} within {limit:?}", OfSeveral(*.tried))]
    ConnectTimedOut {
        /// The address tried last.
        address: SocketAddr,
        /// Number of addresses tried.
        tried: usize,
        /// The deadline, for all addresses together.
        limit: Duration,
    },
    /// Connected, but the handshake was not over in time.
    #[error("connected, but the WebSocket handshake was not done within {limit:?}")]
    HandshakeTimedOut {
        /// The deadline.
        limit: Duration,
    },
    /// The handshake was answered with another HTTP status than 101.
    #[error("the handshake was refused with HTTP {}", Status(*.status))]
    Refused {
        /// HTTP status code.
        status: u16,
    },
    /// The handshake was answered with an HTTP redirect, which is not followed.
    #[error("the handshake was redirected with HTTP {} to {location:?}", Status(*.status))]
    Redirected {
        /// HTTP status code.
        status: u16,
        /// Where to, cut short, not escaped.
        location: String,
    },
    /// The answer to the handshake was not one of a WebSocket server.
    #[error("there is no WebSocket server at that address")]
    NotWebSocket(#[source] Source),
    /// The battery closed the connection with a Close frame.
    #[error("the battery closed the connection{}", CloseReason(*.code, .reason))]
    Closed {
        /// Status code of RFC 6455, section 7.4.
        code: Option<u16>,
        /// The battery's reason, cut short, not escaped; often empty.
        reason: String,
    },
    /// The connection ended without a Close frame.
    #[error("the battery ended the connection without a Close frame")]
    HungUp,
    /// No complete frame came in time, not even in answer to a ping.
    #[error("the battery was silent for {limit:?}")]
    Silent {
        /// The deadline.
        limit: Duration,
    },
    /// The battery reads nothing, so that the send buffer is full.
    #[error("the battery doesn't read what is sent to it")]
    NotReading,
    /// A message is longer than [`MESSAGE_LIMIT`], by so much that it isn't skipped.
    #[error("a message is longer than {MESSAGE_LIMIT} bytes")]
    TooLong,
    /// The battery broke the WebSocket protocol.
    #[error("the battery broke the WebSocket protocol")]
    Protocol(#[source] Source),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// There was an error before, or [`close`](crate::Connection::close).
    #[error("the connection has ended already")]
    Over,
}

impl Error {
    pub(crate) fn not_web_socket(why: &'static str) -> Self {
        Self::NotWebSocket(why.into())
    }

    /// Error of a failed handshake.
    pub(crate) fn in_handshake(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Io(error) => Self::in_io(error),
            tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete) => Self::HungUp,
            // "Attack attempt detected" would alarm people for no good reason.
            tungstenite::Error::AttackAttempt => {
                Self::not_web_socket("the answer is too long or comes in too many pieces")
            }
            tungstenite::Error::Protocol(ProtocolError::HttparseError(error)) => {
                Self::NotWebSocket(format!("its answer isn't HTTP ({error})").into())
            }
            other => Self::NotWebSocket(inner(other)),
        }
    }

    /// Error after the handshake.
    pub(crate) fn in_frames(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Io(error) => Self::in_io(error),
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Self::HungUp
            }
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooLong,
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => Self::Over,
            other => Self::Protocol(inner(other)),
        }
    }

    pub(crate) fn in_io(error: io::Error) -> Self {
        match error.kind() {
            // So `Socket` reports it.
            io::ErrorKind::WriteZero => Self::NotReading,
            // So `Incoming` does.
            io::ErrorKind::FileTooLarge => Self::TooLong,
            _ => Self::Io(error),
        }
    }
}

/// The start of the peer's text, for a message.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let start = first_chars(&text, QUOTED);
    let ellipsis = if start.len() < text.len() { "…" } else { "" };
    format!("{start}{ellipsis}")
}

/// The cause below tungstenite's own heading, which repeats ours.
fn inner(error: tungstenite::Error) -> Source {
    match error {
        tungstenite::Error::Protocol(error) => error.into(),
        tungstenite::Error::Capacity(error) => error.into(),
        tungstenite::Error::HttpFormat(error) => error.into(),
        other => other.into(),
    }
}

struct OfSeveral(usize);

impl fmt::Display for OfSeveral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | 1 => Ok(()),
            tried => write!(f, " (the last of {tried} addresses)"),
        }
    }
}

struct Status(u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = StatusCode::from_u16(self.0).ok().and_then(|status| status.canonical_reason());
        match known {
            Some(reason) => write!(f, "{} {reason}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

struct CloseReason<'a>(Option<u16>, &'a str);

impl fmt::Display for CloseReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(None, _) => Ok(()),
            Self(Some(code), "") => write!(f, " with code {code}"),
            Self(Some(code), reason) => write!(f, " with code {code}: {reason:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_peer_are_cut_and_escaped() {
        let long = "ö".repeat(500);
        for (sent, shown) in [
            (&b"going away"[..], r#": "going away""#),
            (b"", ""),
            (b"\x1b[2J\r\n\"\0\xff", r#": "\u{1b}[2J\r\n\"\0�""#),
            (long.as_bytes(), &format!(": \"{}…\"", "ö".repeat(120))),
        ] {
            let error = Error::Closed { code: Some(1001), reason: quote(sent) };
            assert_eq!(
                error.to_string(),
                format!("the battery closed the connection with code 1001{shown}")
            );
        }
    }

    #[test]
    fn messages_name_what_they_are_about() {
        let address = SocketAddr::from(([10, 0, 0, 2], 9000));
        let limit = Duration::from_secs(10);
        for (error, message) in [
            (
                Error::ConnectTimedOut { address, tried: 1, limit },
                "no answer from 10.0.0.2:9000 within 10s",
            ),
            (
                Error::ConnectTimedOut { address, tried: 2, limit },
                "no answer from 10.0.0.2:9000 (the last of 2 addresses) within 10s",
            ),
            (Error::Refused { status: 404 }, "the handshake was refused with HTTP 404 Not Found"),
            (Error::Refused { status: 799 }, "the handshake was refused with HTTP 799"),
            (
                Error::Redirected { status: 302, location: "http://x/\n".into() },
                r#"the handshake was redirected with HTTP 302 Found to "http://x/\n""#,
            ),
        ] {
            assert_eq!(error.to_string(), message);
        }
    }
}
