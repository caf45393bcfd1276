use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bluenova_test_support::{ReservedPort, TIME_LIMIT};
use bluenova_websocket::{Address, Connection, Deadlines, Dial, Error};

use crate::server::{Server, accept, frame, hold, long, next, request};

/// What comes of a handshake to which `answer` is the answer.
fn open(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> Result<(), Error> {
    open_with(long(), answer)
}

fn open_with(
    deadlines: Deadlines,
    answer: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> Result<(), Error> {
    let server = Server::start(|mut stream| {
        answer(&mut stream);
        // So that a client that goes on reading fails otherwise than by the end of the stream.
        hold(&mut stream);
    });
    let result = server.open(deadlines).map(drop);
    server.join();
    result
}

fn answer(text: &'static str) -> Result<(), Error> {
    open(move |stream| {
        request(stream);
        // The client may have seen enough before the end.
        let _ = stream.write_all(text.as_bytes());
    })
}

#[test]
fn other_answers_than_101() {
    for (text, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nno ws",
            "the handshake was refused with HTTP 404 Not Found",
        ),
        ("HTTP/1.1 200 Fine\r\n\r\n<html>", "the handshake was refused with HTTP 200 OK"),
        ("HTTP/1.1 599 \x1b[2J\r\n\r\n", "there is no WebSocket server at that address"),
        ("HTTP/1.1 599 Odd\r\n\r\n", "the handshake was refused with HTTP 599"),
        ("HTTP/1.1 304 Same\r\n\r\n", "the handshake was refused with HTTP 304 Not Modified"),
        (
            "HTTP/1.1 301 Gone\r\nLocation: http://10.0.0.3/\"\tws\r\n\r\n",
            "the handshake was redirected with HTTP 301 Moved Permanently to \
             \"http://10.0.0.3/\\\"\\tws\"",
        ),
        (
            "HTTP/1.0 101 Old\r\nUpgrade: websocket\r\n\r\n",
            "there is no WebSocket server at that address",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "there is no WebSocket server at that address",
        ),
        (
            "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n\r\n",
            "there is no WebSocket server at that address",
        ),
        (
            "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "there is no WebSocket server at that address",
        ),
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "there is no WebSocket server at that address"),
        ("\0\x01\x02", "there is no WebSocket server at that address"),
    ] {
        let error = answer(text).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text:?}: {error:?}");
    }
}

#[test]
fn what_another_server_says_is_explained_in_plain_words() {
    // SSH; TLS, which refuses what isn't TLS.
    for text in ["SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{46}"] {
        let error = answer(text).unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "its answer isn't HTTP (invalid HTTP version)");
        assert!(source.source().is_none(), "it isn't repeated");
    }
}

#[test]
fn a_long_location_is_cut() {
    let location = "x".repeat(5000);
    let error = open(move |stream| {
        request(stream);
        write!(stream, "HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n").unwrap();
    })
    .unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn endless_answers() {
    for endless in ["X: y\r\n".repeat(100_000), "X".repeat(600_000)] {
        let error = open(move |stream| {
            request(stream);
            let _ = write!(stream, "HTTP/1.1 101 OK\r\nX: {endless}");
        })
        .unwrap_err();
        assert!(matches!(error, Error::NotWebSocket(_)), "{error:?}");
    }
}

#[test]
fn an_answer_that_never_comes_or_comes_in_drips() {
    let drips: [fn(&mut TcpStream); 2] = [
        |_| {},
        |stream| {
            for byte in b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        },
    ];
    let deadlines = Deadlines { handshake: Duration::from_millis(500), ..long() };
    for drip in drips {
        let started = Instant::now();
        let error = open_with(deadlines, move |stream| {
            request(stream);
            drip(stream);
        })
        .unwrap_err();
        assert!(matches!(error, Error::HandshakeTimedOut { .. }), "{error:?}");
        assert!(started.elapsed() >= deadlines.handshake, "{:?}", started.elapsed());
    }
}

#[test]
fn hanging_up_instead_of_an_answer() {
    for said in ["", "HTTP/1.1 101 Sw"] {
        let server = Server::start(|mut stream| {
            request(&mut stream);
            stream.write_all(said.as_bytes()).unwrap();
        });
        let error = server.open(long()).unwrap_err();
        assert!(matches!(error, Error::HungUp), "{error:?}");
        server.join();
    }
}

#[test]
fn odd_answers_that_will_do() {
    let odd: [fn(&str) -> String; 4] = [
        |answer| answer.replace("\r\n", "\n"),
        |answer| answer.replace("Connection: Upgrade", "connection: keep-alive, UPGRADE"),
        |answer| answer.replace("Upgrade: websocket", "Upgrade: WebSocket\r\nServer: a\tb\u{FF}"),
        |answer| answer.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: console\r\n\r\n"),
    ];
    for odd in odd {
        let server = Server::start(move |mut stream| {
            let (_, answer) = request(&mut stream);
            // A frame that looks like the end of a head, and one that needs care.
            let frames = [frame(0x81, b"\r\n\r\n"), frame(0x81, b"\xFF")].concat();
            stream.write_all(&[odd(&answer).as_bytes(), &frames].concat()).unwrap();
            hold(&mut stream);
        });
        let mut connection = server.open(long()).unwrap();
        assert_eq!(next(&mut connection).unwrap(), "\r\n\r\n");
        assert_eq!(next(&mut connection).unwrap(), "\u{FFFD}");
        drop(connection);
        server.join();
    }
}

#[test]
fn nobody_listens() {
    let nobody = ReservedPort::new();
    let shut = nobody.address();
    let address: Address = shut.to_string().parse().unwrap();
    match Connection::open(&address, long()).unwrap_err() {
        Error::Connect { address, tried, source } => {
            assert_eq!((address, tried), (shut, 1));
            assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_that_does_not_resolve() {
    let address: Address = "name.invalid".parse().unwrap();
    let deadlines = Deadlines { connect: Duration::from_secs(5), ..long() };
    let error = Connection::open(&address, deadlines).unwrap_err();
    // Where there is no name server, the lookup may take longer.
    match &error {
        Error::Lookup { host, .. } | Error::LookupTimedOut { host, .. } => {
            assert_eq!(host, "name.invalid");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_of_several_addresses() {
    let server = Server::start(|mut stream| accept(&mut stream));
    // Often ::1 comes first, where nobody listens.
    let address: Address = format!("localhost:{}", server.address.port()).parse().unwrap();
    let connection = Connection::open(&address, long()).unwrap();
    assert_eq!(connection.peer_addr(), server.address);
    server.join();
}

#[test]
fn ipv6() {
    let served = Server::start_at("[::1]:0", |mut stream| {
        let (request, answer) = request(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        request
    });
    let server = match served {
        Err(e) if matches!(e.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported) => {
            eprintln!("this system has no IPv6: {e}");
            return;
        }
        other => other.unwrap(),
    };
    let authority = server.address;
    assert!(authority.to_string().starts_with("[::1]:"));
    server.open(long()).unwrap();
    assert!(server.join().contains(&format!("\r\nHost: {authority}\r\n")));
}

#[test]
fn the_caller_can_do_something_else_meanwhile() {
    let (go_on, wait) = mpsc::channel::<()>();
    let server = Server::start(move |mut stream| {
        let _ = wait.recv();
        accept(&mut stream);
        stream.write_all(&frame(0x81, b"SOC: 63")).unwrap();
    });
    let mut dial = Dial::start(&server.address(), long()).unwrap();
    for at_most in [0, 1, 20] {
        assert!(dial.wait(Duration::from_millis(at_most)).is_none());
    }
    drop(go_on);
    let mut connection = dial.wait(TIME_LIMIT).unwrap().unwrap();
    assert_eq!(next(&mut connection).unwrap(), "SOC: 63");
    server.join();
}

#[test]
fn nothing_stays_of_a_dropped_dial() {
    let (asked, is_asked) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let server = Server::start(move |mut stream| {
        let (_, answer) = request(&mut stream);
        asked.send(()).unwrap();
        let _ = wait.recv();
        stream.write_all(answer.as_bytes()).unwrap();
        stream.read(&mut [0])
    });
    let mut dial = Dial::start(&server.address(), long()).unwrap();
    is_asked.recv_timeout(TIME_LIMIT).unwrap();
    assert!(dial.wait(Duration::from_millis(20)).is_none());
    drop(dial);
    drop(go_on);
    assert_eq!(server.join().unwrap(), 0, "the connection was closed");
}
