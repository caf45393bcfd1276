use std::{
    io::{ErrorKind, Read, Write},
    sync::mpsc,
    time::Instant,
};

use bluenova_test_support::{TIME_LIMIT, wait_until};
use bluenova_websocket::{Error, TICK};

use crate::server::{Server, accept, client_frame, frame, hold, long, next};

/// The error that `bytes` cause after one good message, and after which the connection is over.
fn end_of(bytes: Vec<u8>) -> Error {
    let server = Server::start(move |mut stream| {
        accept(&mut stream);
        stream.write_all(&[frame(0x81, b"good"), bytes].concat()).unwrap();
        hold(&mut stream);
    });
    let mut connection = server.open(long()).unwrap();
    assert_eq!(next(&mut connection).unwrap(), "good");
    let error = next(&mut connection).unwrap_err();
    for _ in 0..2 {
        let again = connection.read().unwrap_err();
        assert!(matches!(again, Error::Over), "{again:?}");
    }
    connection.close();
    drop(connection);
    server.join();
    error
}

fn source_of(error: &Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

#[test]
fn breaches_of_the_protocol() {
    for (bytes, expected) in [
        (vec![0x81, 0x81, 1, 2, 3, 4, b'x'], "masked"),
        (vec![0x83, 0], "opcode"),
        (vec![0x8B, 0], "opcode"),
        (frame(0xC1, b"compressed"), "Reserved bits"),
        (frame(0x80, b"continues nothing"), "nothing to continue"),
        ([frame(0x01, b"one"), frame(0x81, b"two")].concat(), "more fragments"),
        (frame(0x09, b"fragmented ping"), "Fragmented control"),
        (frame(0x89, &[0; 126]), "too big"),
        (frame(0x88, b"x"), "close sequence"),
        (frame(0x88, b"\x03\xE8\xFF"), "UTF-8"),
    ] {
        let error = end_of(bytes.clone());
        assert!(matches!(error, Error::Protocol(_)), "{bytes:?}: {error:?}");
        assert!(source_of(&error).contains(expected), "{bytes:?}: {}", source_of(&error));
        assert!(!error.to_string().contains(expected), "the source is printed once: {error}");
    }
}

#[test]
fn messages_far_too_long() {
    for bytes in [
        // Only the header: nobody waits for the rest.
        vec![0x82, 127, 0, 0, 0, 0, 2, 0, 0, 0],
        vec![0x81, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        vec![0x89, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
        // No fragment is the last one.
        [frame(0x01, b"x"), frame(0x00, &[b'x'; 1000]).repeat(700)].concat(),
    ] {
        let error = end_of(bytes);
        assert!(matches!(error, Error::TooLong), "{error:?}");
    }
}

#[test]
fn a_close_frame_is_reported_and_answered() {
    for (payload, message) in [
        (&b""[..], "the battery closed the connection"),
        (b"\x03\xE9", "the battery closed the connection with code 1001"),
        (b"\x03\xE9re\nboot", r#"the battery closed the connection with code 1001: "re\nboot""#),
    ] {
        let server = Server::start(|mut stream| {
            accept(&mut stream);
            stream.write_all(&frame(0x88, payload)).unwrap();
            client_frame(&mut stream)
        });
        let mut connection = server.open(long()).unwrap();
        assert_eq!(next(&mut connection).unwrap_err().to_string(), message);
        assert_eq!(server.join(), Some((0x88, payload.to_vec())));
    }
}

#[test]
fn hanging_up() {
    for said in [&b""[..], b"\x81", b"\x81\x05SOC"] {
        let server = Server::start(|mut stream| {
            accept(&mut stream);
            stream.write_all(said).unwrap();
        });
        let mut connection = server.open(long()).unwrap();
        let error = next(&mut connection).unwrap_err();
        assert!(matches!(error, Error::HungUp), "{error:?}");
        server.join();
    }
}

#[test]
fn a_reset() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        stream.write_all(&frame(0x89, b"")).unwrap();
        // A socket closed with something unread is reset.
        stream.peek(&mut [0]).unwrap();
    });
    let mut connection = server.open(long()).unwrap();
    match next(&mut connection).unwrap_err() {
        Error::Io(source) => assert_eq!(source.kind(), ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
    server.join();
}

#[test]
fn a_close_frame_is_not_lost_over_unread_bytes() {
    // A tick may be too short for a busy machine to read them.
    wait_until("the Close frame arrives", TIME_LIMIT, is_closed_well_over_unread_bytes);
}

/// Whether the battery gets a Close frame, and then the end of the connection, not a reset.
fn is_closed_well_over_unread_bytes() -> bool {
    let (gone, wait) = mpsc::channel::<()>();
    let server = Server::start(move |mut stream| {
        accept(&mut stream);
        stream.write_all(&frame(0x81, b"SOC: 63").repeat(5000)).unwrap();
        let _ = wait.recv();
        // On some systems a reset would have taken it away by now.
        (client_frame(&mut stream), stream.read(&mut [0]).map_err(|e| e.kind()))
    });
    let mut connection = server.open(long()).unwrap();
    assert_eq!(next(&mut connection).unwrap(), "SOC: 63");
    connection.close();
    assert!(matches!(connection.read(), Err(Error::Over)));
    connection.close();
    drop(connection);
    drop(gone);
    let close = (0x88, 1000_u16.to_be_bytes().to_vec());
    server.join() == (Some(close), Ok(0))
}

#[test]
fn the_answer_to_a_close_frame_is_waited_for_but_not_for_ever() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        hold(&mut stream);
        // Without an answer: the socket stays open.
        stream
    });
    let mut connection = server.open(long()).unwrap();
    let started = Instant::now();
    connection.close();
    assert!(started.elapsed() > TICK / 2, "{:?}", started.elapsed());
    drop(server.join());
}
