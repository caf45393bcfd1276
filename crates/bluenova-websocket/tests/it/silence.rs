use std::{
    io::Write,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bluenova_websocket::{Deadlines, Error, TICK};

use crate::server::{PATIENCE, Server, accept, client_frame, frame, hold, next, short};

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn is_met_by_one_ping_and_then_by_giving_up() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        hold(&mut stream)
    });
    let mut connection = server.open(short()).unwrap();
    let started = Instant::now();
    let error = next(&mut connection).unwrap_err();
    let took = started.elapsed();
    drop(connection);
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");
    assert!(took + TICK > short().give_up_after && took < PATIENCE - SLACK, "{took:?}");
    assert_eq!(server.join(), [(0x89, vec![])], "one ping");
}

#[test]
fn is_broken_by_a_pong() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        let started = Instant::now();
        while started.elapsed() < short().give_up_after * 2 {
            assert_eq!(client_frame(&mut stream), Some((0x89, vec![])));
            stream.write_all(&frame(0x8A, b"")).unwrap();
        }
        stream.write_all(&frame(0x81, b"still here")).unwrap();
        hold(&mut stream);
    });
    // A busy machine may be late with its pong.
    let deadlines = Deadlines { give_up_after: short().give_up_after + TICK, ..short() };
    let mut connection = server.open(deadlines).unwrap();
    assert_eq!(next(&mut connection).unwrap(), "still here");
    drop(connection);
    server.join();
}

#[test]
fn is_not_broken_by_dripping() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        let mut drip = stream.try_clone().unwrap();
        let drip = thread::spawn(move || {
            // Whole frames at first, then one that never gets to its end.
            let start = frame(0x01, b"a");
            for byte in start.iter().chain(frame(0x00, &[b'x'; 60_000]).iter()) {
                if drip.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let said = hold(&mut stream);
        drip.join().unwrap();
        said
    });
    let mut connection = server.open(short()).unwrap();
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    let error = loop {
        let called = Instant::now();
        match connection.read() {
            Ok(message) => assert_eq!(message, None),
            Err(error) => break error,
        }
        longest = longest.max(called.elapsed());
        assert!(started.elapsed() < PATIENCE, "the deadline was not kept");
    };
    drop(connection);
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");
    assert!(longest < TICK + SLACK / 2, "ticks went on: {longest:?}");
    assert_eq!(server.join(), [(0x89, vec![])], "one ping");
}

#[test]
fn of_a_tick_is_no_error() {
    let (go_on, wait) = mpsc::channel::<()>();
    let server = Server::start(move |mut stream| {
        accept(&mut stream);
        let _ = wait.recv();
        stream.write_all(&frame(0x81, b"SOC: 63")).unwrap();
        hold(&mut stream)
    });
    let mut connection = server.open(Deadlines::default()).unwrap();
    for _ in 0..2 {
        let called = Instant::now();
        assert_eq!(connection.read().unwrap(), None);
        let took = called.elapsed();
        assert!(took > TICK / 2 && took < TICK + SLACK, "{took:?}");
    }
    drop(go_on);
    assert_eq!(next(&mut connection).unwrap(), "SOC: 63");
    drop(connection);
    assert_eq!(server.join(), [], "too early for a ping");
}

#[test]
fn a_peer_that_never_reads_does_not_hold_us() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        let pings = frame(0x89, &[b'x'; 125]).repeat(500);
        while stream.write_all(&pings).is_ok() {}
    });
    let mut connection = server.open(Deadlines::default()).unwrap();
    let started = Instant::now();
    let error = next(&mut connection).unwrap_err();
    assert!(matches!(error, Error::NotReading), "{error:?} after {:?}", started.elapsed());
    drop(connection);
    server.join();
}

#[test]
fn a_flood_of_control_frames_does_not_hold_us_either() {
    let server = Server::start(|mut stream| {
        accept(&mut stream);
        let pongs = frame(0x8A, b"").repeat(1000);
        while stream.write_all(&pongs).is_ok() {}
    });
    let mut connection = server.open(Deadlines::default()).unwrap();
    let called = Instant::now();
    assert_eq!(connection.read().unwrap(), None);
    let took = called.elapsed();
    assert!(took < TICK + SLACK, "{took:?}");
    drop(connection);
    server.join();
}
