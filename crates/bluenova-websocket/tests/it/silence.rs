use std::{
    io::Write,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bluenova_test_support::TIME_LIMIT;
use bluenova_websocket::{Error, TICK};

use crate::server::{Server, accept, client_frame, frame, hold, long, next, succeeds_at_last};

#[test]
fn is_met_by_one_ping_and_then_by_giving_up() {
    succeeds_at_last(|deadlines| {
        let server = Server::start(|mut stream| {
            accept(&mut stream);
            hold(&mut stream)
        });
        let started = Instant::now();
        let mut connection = server.open(deadlines).unwrap();
        let error = next(&mut connection).unwrap_err();
        let took = started.elapsed();
        drop(connection);
        assert!(matches!(error, Error::Silent { .. }), "{error:?}");
        assert!(took + TICK > deadlines.give_up_after, "{took:?}");
        one_ping(&server.join())
    });
}

/// What is said to a battery that does not answer. Where the machine stands still at the time, the
/// ping is left out.
fn one_ping(said: &[(u8, Vec<u8>)]) -> Result<(), String> {
    if said == [(0x89, vec![])] { Ok(()) } else { Err(format!("not one ping: {said:?}")) }
}

#[test]
fn is_broken_by_a_pong() {
    succeeds_at_last(|deadlines| {
        let server = Server::start(move |mut stream| {
            accept(&mut stream);
            let started = Instant::now();
            while started.elapsed() < deadlines.give_up_after * 2 {
                let Some(ping) = client_frame(&mut stream) else { return };
                assert_eq!(ping, (0x89, vec![]));
                // The next read notices that the other side has gone.
                let _ = stream.write_all(&frame(0x8A, b""));
            }
            let _ = stream.write_all(&frame(0x81, b"still here"));
            hold(&mut stream);
        });
        let mut connection = server.open(deadlines).unwrap();
        let result = next(&mut connection);
        drop(connection);
        server.join();
        match result {
            Ok(text) => assert_eq!(text, "still here"),
            Err(error) => return Err(format!("{error:?}")),
        }
        Ok(())
    });
}

#[test]
fn is_not_broken_by_dripping() {
    succeeds_at_last(|deadlines| {
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
        let mut connection = server.open(deadlines).unwrap();
        let started = Instant::now();
        let mut ticks = 0;
        let error = loop {
            match connection.read() {
                Ok(message) => assert_eq!(message, None),
                Err(error) => break error,
            }
            ticks += 1;
            assert!(started.elapsed() < TIME_LIMIT * 2, "the deadline was not kept");
        };
        drop(connection);
        assert!(matches!(error, Error::Silent { .. }), "{error:?}");
        one_ping(&server.join())?;
        // A tick that dripping makes longer would be the only one.
        if ticks > 1 { Ok(()) } else { Err(format!("{ticks} ticks")) }
    });
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
    let mut connection = server.open(long()).unwrap();
    for _ in 0..2 {
        let called = Instant::now();
        assert_eq!(connection.read().unwrap(), None);
        assert!(called.elapsed() > TICK / 2, "{:?}", called.elapsed());
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
    let mut connection = server.open(long()).unwrap();
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
    let mut connection = server.open(long()).unwrap();
    // Otherwise it would be read for ever.
    assert_eq!(connection.read().unwrap(), None);
    drop(connection);
    server.join();
}
