use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use bluenova_mqtt::Session;

use crate::{end_of, options, refusal, retained, shown, state};

const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const SUBACK: &[u8] = &[0x90, 3, 0, 1, 0];

/// A server that sends this to its first client and then reads until the client leaves.
fn server(sends: &'static [&'static [u8]]) -> String {
    slow_server(sends, Duration::ZERO)
}

/// One that takes this long for each answer.
fn slow_server(sends: &'static [&'static [u8]], answers_after: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for bytes in sends {
            read_some(&mut stream);
            thread::sleep(answers_after);
            if stream.write_all(bytes).is_err() {
                return;
            }
        }
        while read_some(&mut stream) {}
    });
    url
}

fn read_some(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 4096]), Ok(1..))
}

#[test]
fn a_slow_broker_is_waited_for() {
    let url = slow_server(&[CONNACK, SUBACK, &[0x40, 2, 0, 2]], Duration::from_secs(2));
    let mut session = Session::open(&options(&url)).unwrap();
    session.publish(retained("bluenova/a", "1")).unwrap();
    session.flush().unwrap();
}

/// What is sent takes longer than the broker may take for an answer, and the answer is there.
#[test]
fn an_answer_is_read_while_a_slow_broker_is_written_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for bytes in [CONNACK, SUBACK, &[0x40, 2, 0, 2]] {
            read_some(&mut stream);
            stream.write_all(bytes).unwrap();
        }
        while read_some(&mut stream) {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let mut session = Session::open(&options(&url)).unwrap();
    session.publish(retained("bluenova/a", "1")).unwrap();
    let (started, payload) = (Instant::now(), "x".repeat(20_000));
    while started.elapsed() < Duration::from_secs(15) {
        session.publish(state("bluenova/a/state", &payload)).unwrap();
    }
}

#[track_caller]
fn check_at_start(sends: &'static [&'static [u8]], expected: &str) {
    let message = refusal(&options(&server(sends)));
    assert!(message.starts_with(expected), "{message}");
    assert!(message.len() < 300 && !message.contains(char::is_control), "{message:?}");
}

#[test]
fn what_is_no_broker_is_said() {
    const PROTOCOL: &str = "what answers there is no broker, or breaks the rules of MQTT 3.1.1 (";
    check_at_start(
        &[b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\n\
            Content-Length: 150\r\nConnection: close\r\n\r\n"],
        PROTOCOL,
    );
    // That is less than it seems to announce.
    check_at_start(&[b"SSH-2.0-OpenSSH_9.2\r\n"], "connected, but no answer to the login");
    check_at_start(&[&[0; 100]], PROTOCOL);
    check_at_start(&[&[0xFF; 100]], PROTOCOL);
    // A packet that isn't the answer.
    check_at_start(&[b"\x30\x08\x00\x01a\x1b[2J\n"], PROTOCOL);
    // Its length is one of 256 MiB.
    check_at_start(&[&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]], PROTOCOL);
    // A session from before, though a new one was asked for.
    check_at_start(&[&[0x20, 2, 1, 0]], PROTOCOL);
    check_at_start(&[&[0x20, 2, 0, 9]], PROTOCOL);
    check_at_start(&[&[0x20, 2, 0, 3]], "the broker refuses the connection: it isn't available");
    check_at_start(&[CONNACK, &[0x90, 3, 0, 1, 0x80]], "the broker doesn't let it subscribe to");
    check_at_start(&[CONNACK, &[0x90, 4, 0, 1, 0, 0]], PROTOCOL);
    check_at_start(&[CONNACK, &[0x40, 2, 0, 1]], PROTOCOL);
}

#[track_caller]
fn check_later(bytes: &'static [u8], expected: &str) {
    let sends = Box::leak(Box::new([CONNACK, SUBACK, bytes]));
    let mut session = Session::open(&options(&server(sends))).unwrap();
    // The server's answer to it is what the test is about.
    let published = session.publish(retained("bluenova/a", "1"));
    let error = published.err().unwrap_or_else(|| end_of(&mut session));
    let message = shown(&error);
    assert!(message.starts_with(expected), "{message}");
    assert!(message.len() < 300 && !message.contains(char::is_control), "{message:?}");
}

#[test]
fn what_no_broker_sends_ends_the_session() {
    const PROTOCOL: &str = "what answers there is no broker, or breaks the rules of MQTT 3.1.1 (";
    // Acknowledgements of what was never sent.
    check_later(&[0x40, 2, 0, 9], PROTOCOL);
    check_later(&[0x40, 2, 0xFF, 0xFF], PROTOCOL);
    check_later(&[0x50, 2, 0, 1], PROTOCOL);
    check_later(&[0x70, 2, 0, 1], PROTOCOL);
    check_later(SUBACK, PROTOCOL);
    check_later(&[0xB0, 2, 0, 1], PROTOCOL);
    // What a client sends.
    check_later(CONNACK, PROTOCOL);
    check_later(&[0xC0, 0], PROTOCOL);
    check_later(&[0xE0, 0], PROTOCOL);
    // A message that is too long, and one that ends within its topic.
    check_later(&[0x30, 0xFF, 0xFF, 0x7F], PROTOCOL);
    check_later(&[0x30, 3, 0, 99, b'a'], PROTOCOL);
    check_later(&[0x36, 5, 0, 1, b'a', 0, 1], PROTOCOL);
}

#[test]
fn messages_that_were_not_asked_for_are_dropped() {
    // With QoS 0, 1 and 2, one of them twice, on another topic and on one that isn't UTF-8.
    const MESSAGES: &[u8] = b"\x30\x04\0\x01ax\x32\x06\0\x01a\0\x01x\x34\x06\0\x01a\0\x02x\
        \x3C\x06\0\x01a\0\x02x\x62\x02\0\x02\x40\x02\0\x02\
        \x30\x1c\0\x14homeassistant/statusonline";
    let sends = Box::leak(Box::new([CONNACK, SUBACK, MESSAGES]));
    let mut session = Session::open(&options(&server(sends))).unwrap();
    session.publish(retained("bluenova/a", "1")).unwrap();
    session.flush().unwrap();
    let birth = loop {
        if let Some(birth) = session.advance(Duration::from_millis(10)).unwrap() {
            break birth;
        }
    };
    assert_eq!(birth, b"online");
}

#[test]
fn a_name_without_an_address() {
    // RFC 6761: such a name never has one.
    let message = refusal(&options("mqtt://broker.invalid"));
    assert!(message.starts_with("can't find the address of broker.invalid: "), "{message}");
}
