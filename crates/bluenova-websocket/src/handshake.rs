use std::time::{Duration, Instant};

use tungstenite::{
    handshake::{
        client::{Response, generate_key},
        derive_accept_key,
        machine::{HandshakeMachine, RoundResult, StageResult},
    },
    http::{
        HeaderMap, StatusCode,
        header::{self, HeaderName},
    },
};

use crate::{Address, Error, error::quote, socket::Socket};

/// Makes the TCP connection a WebSocket connection. Returns the bytes of the first frames that
/// came together with the answer.
///
/// tungstenite's `client` would keep those bytes to itself, unseen by
/// [`FrameTracker`](crate::frames::FrameTracker); that is why its handshake is driven here step by
/// step. Each round reads or writes once, so takes a tick at most.
pub(crate) fn shake_hands(
    socket: &mut Socket,
    address: &Address,
    limit: Duration,
) -> Result<Vec<u8>, Error> {
    let started = Instant::now();
    let key = generate_key();
    let mut machine = HandshakeMachine::start_write(socket, request(address, &key));
    loop {
        machine = match machine.single_round::<Response>().map_err(Error::in_handshake)? {
            RoundResult::WouldBlock(machine) | RoundResult::Incomplete(machine) => machine,
            RoundResult::StageFinished(StageResult::DoneWriting(socket)) => {
                HandshakeMachine::start_read(socket)
            }
            RoundResult::StageFinished(StageResult::DoneReading { result, tail, .. }) => {
                verify(&result, &key)?;
                return Ok(tail);
            }
        };
        if started.elapsed() >= limit {
            return Err(Error::HandshakeTimedOut { limit });
        }
    }
}

/// The request that a browser on the battery's own page would send, as far as is known to matter.
fn request(address: &Address, key: &str) -> String {
    let path = address.path();
    let authority = address.authority();
    format!(
        "GET {path} HTTP/1.1\r\n\
         Host: {authority}\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Origin: http://{authority}\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n\
         \r\n"
    )
}

/// Checks the answer as RFC 6455, section 4.1 has it, except that a sub-protocol or an extension
/// that nobody asked for is left alone: either the frames are in order or they are not.
fn verify(response: &Response, key: &str) -> Result<(), Error> {
    let status = response.status();
    let headers = response.headers();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let location = headers.get(header::LOCATION).filter(|_| status.is_redirection());
        let status = status.as_u16();
        return Err(match location {
            Some(to) => Error::Redirected { status, location: quote(to.as_bytes()) },
            None => Error::Refused { status },
        });
    }
    if !lists(headers, header::UPGRADE, "websocket") {
        return Err(Error::not_web_socket("the answer lacks \"Upgrade: websocket\""));
    }
    if !lists(headers, header::CONNECTION, "upgrade") {
        return Err(Error::not_web_socket("the answer lacks \"Connection: Upgrade\""));
    }
    let accept = derive_accept_key(key.as_bytes());
    if headers.get(header::SEC_WEBSOCKET_ACCEPT).is_none_or(|given| given != accept.as_str()) {
        return Err(Error::not_web_socket("the answer lacks the right \"Sec-WebSocket-Accept\""));
    }
    Ok(())
}

/// Whether one of the header's comma-separated words is `word`.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|given| given.trim().eq_ignore_ascii_case(word))
}
