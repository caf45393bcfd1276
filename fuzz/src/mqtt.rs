use std::{
    io::{self, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use bluenova_mqtt::{Message, Session, SessionError, SessionOptions};

const BIRTH: &str = "homeassistant/status";

/// The broker's answers to login and subscription.
const PROPER_START: &[u8] = b"\x20\x02\0\0\x90\x03\0\x01\0";

/// Largest packet that a session reads.
const PACKET_LIMIT: usize = 1 << 14;

/// A hostile broker at the other end of a real socket, against the real session.
///
/// The lowest bit of the first byte chooses whether proper answers to login and subscription go
/// before the rest, which is what the broker sends. The upper four set how often that is repeated:
/// 2 to the power of it.
///
/// - The session doesn't panic or hang, and doesn't go on after an error.
/// - A birth message is one that was sent on its topic.
/// - Its errors are fit for a terminal and for a log.
pub fn mqtt_session(data: &[u8]) {
    let Some((&plan, bytes)) = data.split_first() else { return };
    let start = if plan & 1 == 0 { PROPER_START } else { b"" };
    let most = (4 * PACKET_LIMIT).checked_div(bytes.len()).unwrap_or(0).max(1);
    let sent = [start, &bytes.repeat(most.min(1 << (plan >> 4)))].concat();
    // With a listener for each input, the ports would be used up within a minute.
    thread_local! {
        static LISTENER: TcpListener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    }
    let started = Instant::now();
    LISTENER.with(|listener| {
        let url = format!("mqtt://{}", listener.local_addr().expect("it is bound"));
        thread::scope(|scope| {
            // The session may have ended meanwhile.
            scope.spawn(|| _ = play(listener, &sent));
            check_session(&url, &sent);
        });
    });
    assert!(started.elapsed() < Duration::from_secs(60), "hung for {:?}", started.elapsed());
}

fn play(listener: &TcpListener, sent: &[u8]) -> io::Result<()> {
    let (mut peer, _): (TcpStream, _) = listener.accept()?;
    peer.set_nodelay(true)?;
    peer.write_all(sent)?;
    peer.shutdown(Shutdown::Write)?;
    io::copy(&mut peer, &mut io::sink()).map(drop)
}

fn check_session(url: &str, sent: &[u8]) {
    let options = SessionOptions {
        broker: url.parse().expect("a URL"),
        client_id: "bluenova".to_owned(),
        login: None,
        trusted: None,
        last_will: message("bluenova/availability", true),
        subscription: Some(BIRTH.to_owned()),
    };
    let mut session = match Session::open(&options) {
        Ok(session) => session,
        Err(error) => return check_error(&error),
    };
    let error = drive(&mut session, sent).expect_err("the broker ends the connection");
    check_error(&error);
    for result in [session.publish(message("bluenova/state", false)), session.flush()] {
        assert!(matches!(result, Err(SessionError::Closed) | Ok(())), "it goes on: {result:?}");
    }
    assert!(matches!(session.advance(Duration::ZERO), Err(SessionError::Closed)), "it goes on");
}

fn drive(session: &mut Session, sent: &[u8]) -> Result<(), SessionError> {
    session.publish(message("bluenova/availability", true))?;
    session.publish(message("bluenova/state", false))?;
    loop {
        if let Some(birth) = session.advance(Duration::from_secs(1))? {
            assert!(contains(sent, &birth) && contains(sent, BIRTH.as_bytes()), "{birth:?}");
        }
    }
}

fn message(topic: &str, is_retained: bool) -> Message {
    Message { topic: topic.to_owned(), payload: b"{}".to_vec(), is_retained }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

fn check_error(error: &SessionError) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    // Whatever the broker sent is cut at 120 characters, and escaping makes it longer.
    assert!(text.len() < 2000, "{text:?}");
    let is_of_the_broker = matches!(
        error,
        SessionError::HungUp
            | SessionError::HungUpAtOnce
            | SessionError::Refused(_)
            | SessionError::SubscriptionRefused(_)
            | SessionError::Broken(_)
            | SessionError::Protocol(_)
    );
    assert!(is_of_the_broker, "{error:?}");
}
