use std::{io::Write, net::TcpStream};

use bluenova_websocket::{Connection, Deadlines, MESSAGE_LIMIT};

use crate::server::{Server, accept, client_frame, frame, hold, long, next, request, short};

/// Sends `frames` in the same segment as the answer to the handshake, and after it; and a frame
/// more, to see that nothing else came of them.
fn check(mut frames: Vec<u8>, expected: &[&str]) {
    frames.extend(frame(0x81, b"the end"));
    for together in [true, false] {
        let frames = frames.clone();
        let server = Server::start(move |mut stream| {
            let (_, answer) = request(&mut stream);
            if together {
                stream.write_all(&[answer.as_bytes(), &frames].concat()).unwrap();
            } else {
                stream.write_all(answer.as_bytes()).unwrap();
                stream.write_all(&frames).unwrap();
            }
            hold(&mut stream);
        });
        let mut connection = server.open(long()).unwrap();
        for text in expected {
            assert_eq!(next(&mut connection).unwrap(), *text, "together: {together}");
        }
        assert_eq!(next(&mut connection).unwrap(), "the end", "together: {together}");
        drop(connection);
        server.join();
    }
}

#[test]
fn text_and_binary() {
    check(frame(0x81, b"SOC: 63"), &["SOC: 63"]);
    check(frame(0x82, b"SOC: 63\r\n"), &["SOC: 63\r\n"]);
    check(frame(0x81, "Temp: 24 °C".as_bytes()), &["Temp: 24 °C"]);
    check(frame(0x81, b""), &[""]);
}

#[test]
fn several_at_once_and_none() {
    let lines: Vec<String> = (0..500).map(|n| format!("C{n:02}) T: 21, V: 3311")).collect();
    let frames = lines.iter().flat_map(|line| frame(0x81, line.as_bytes())).collect();
    check(frames, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    check(vec![], &[]);
}

#[test]
fn fragments_are_joined() {
    let parts = [
        frame(0x01, b"SO"),
        frame(0x00, b""),
        frame(0x89, b"ping between"),
        frame(0x00, b"C: "),
        frame(0x8A, b"pong between"),
        frame(0x80, b"63"),
        frame(0x02, b"SOC:"),
        frame(0x80, b" 64"),
    ];
    check(parts.concat(), &["SOC: 63", "SOC: 64"]);
    // A character may lie across fragments.
    check([frame(0x01, b"\xC2"), frame(0x80, b"\xB0")].concat(), &["°"]);
}

#[test]
fn bad_bytes_cost_their_line_only() {
    let parts = [
        frame(0x81, b"S\xFFC: 63"),
        frame(0x81, b"SOC: 64"),
        frame(0x01, b"S\xC3"),
        frame(0x80, b"C: 65"),
        frame(0x81, b"\0\x01\x1b[2J\x7f"),
        frame(0x81, b"SOC: 66"),
    ];
    let expected = ["S\u{FFFD}C: 63", "SOC: 64", "S\u{FFFD}C: 65", "\0\x01\x1b[2J\x7f", "SOC: 66"];
    check(parts.concat(), &expected);
}

#[test]
fn up_to_the_limit_every_length_passes() {
    for length in [125, 126, 127, 0xFFFF, MESSAGE_LIMIT] {
        let long = "x".repeat(length);
        let parts = [
            frame(0x81, long.as_bytes()),
            frame(0x81, b"between"),
            frame(0x01, &long.as_bytes()[1..]),
            frame(0x80, b"x"),
            frame(0x81, b"after"),
        ];
        check(parts.concat(), &[&long, "between", &long, "after"]);
    }
}

#[test]
fn a_message_too_long_costs_itself() {
    for long in [MESSAGE_LIMIT + 1, 1 << 20] {
        let long = vec![b'x'; long];
        for too_long in [
            frame(0x81, &long),
            [frame(0x01, b"begun"), frame(0x89, b""), frame(0x80, &long)].concat(),
            [frame(0x01, &long), frame(0x89, b""), frame(0x00, b"y"), frame(0x80, b"")].concat(),
        ] {
            let parts = [frame(0x81, b"before"), too_long, frame(0x81, b"SOC: 63")];
            check(parts.concat(), &["before", "SOC: 63"]);
        }
    }
}

#[test]
fn many_fragments_too_long_together_cost_no_connection() {
    let fragments = [frame(0x01, &[b'x'; 1000]), frame(0x00, &[b'x'; 1000]).repeat(70)].concat();
    let server = Server::start(move |mut stream| {
        accept(&mut stream);
        stream.write_all(&[fragments, frame(0x80, b"x")].concat()).unwrap();
        stream.write_all(&frame(0x81, b"may be lost").repeat(2000)).unwrap();
        stream.write_all(&frame(0x81, b"last")).unwrap();
        hold(&mut stream);
    });
    let mut connection = server.open(long()).unwrap();
    while next(&mut connection).unwrap() != "last" {}
    assert_eq!((connection.take_skipped(), connection.take_skipped()), (1, 0));
    drop(connection);
    server.join();
}

/// Reads up to the pong. A server that stands still for a while is pinged before.
fn pass_pings(stream: &mut TcpStream) {
    loop {
        match client_frame(stream).unwrap() {
            (0x89, ping) => assert!(ping.is_empty()),
            pong => return assert_eq!(pong, (0x8A, b"?".to_vec())),
        }
    }
}

#[test]
fn a_quiet_moment_after_a_long_message_loses_nothing() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        for round in 0..3 {
            stream.write_all(&frame(0x81, &[b'x'; MESSAGE_LIMIT])).unwrap();
            // The ping shows that the long one was read; its pong, that the buffer may be empty.
            stream.write_all(&frame(0x89, b"?")).unwrap();
            pass_pings(&mut stream);
            // The reader's quiet moment comes with a message half there, or with none.
            let (head, tail) = (frame(0x01, b"hal"), frame(0x80, b"ves"));
            if round > 0 {
                stream.write_all(&head[..round * 2]).unwrap();
                assert_eq!(client_frame(&mut stream).unwrap(), (0x89, vec![]), "quiet");
                stream.write_all(&head[round * 2..]).unwrap();
            } else {
                assert_eq!(client_frame(&mut stream).unwrap(), (0x89, vec![]), "quiet");
                stream.write_all(&head).unwrap();
            }
            stream.write_all(&tail).unwrap();
        }
        hold(&mut stream);
    });
    let ping_soon = Deadlines { ping_after: short().ping_after, ..long() };
    let mut connection = server.open(ping_soon).unwrap();
    for _ in 0..3 {
        assert_eq!(next(&mut connection).unwrap().len(), MESSAGE_LIMIT);
        assert_eq!(next(&mut connection).unwrap(), "halves");
    }
    drop(connection);
    server.join();
}

#[test]
fn the_request_is_what_a_browser_would_send() {
    let server = Server::start(|mut stream| {
        let (request, answer) = request(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        request
    });
    let authority = server.address;
    let connection = server.open(long()).unwrap();
    assert_eq!(connection.peer_addr(), authority);
    let request = server.join();
    assert!(request.starts_with("GET /ws/ HTTP/1.1\r\n"), "{request}");
    for header in [
        format!("Host: {authority}"),
        format!("Origin: http://{authority}"),
        "Upgrade: websocket".to_owned(),
        "Connection: Upgrade".to_owned(),
        "Sec-WebSocket-Version: 13".to_owned(),
    ] {
        assert_eq!(request.lines().filter(|line| *line == header).count(), 1, "{header}");
    }
    assert!(!request.contains("Sec-WebSocket-Protocol"), "{request}");
}

#[test]
fn a_ping_is_answered() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        stream.write_all(&frame(0x89, &[7; 125])).unwrap();
        client_frame(&mut stream)
    });
    let mut connection = server.open(long()).unwrap();
    while connection.read().is_ok_and(|message| message.is_none()) {}
    assert_eq!(server.join(), Some((0x8A, vec![7; 125])));
}

#[test]
fn a_connection_goes_to_any_thread() {
    fn is_send<T: Send + 'static>() {}
    is_send::<Connection>();
}
