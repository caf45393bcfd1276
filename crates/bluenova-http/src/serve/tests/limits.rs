use std::{
    io::{ErrorKind, Read},
    thread,
    time::{Duration, Instant},
};

use super::{Client, LARGE, Limits, MINUTE, assert_due, serve, short, unhurried, wait_for_threads};

/// Far below every limit.
const DRIP: Duration = Duration::from_millis(10);

#[test]
fn a_request_must_be_whole_in_time_however_slowly_it_comes() {
    let server = serve(Limits { request: short().request, ..unhurried() });
    for fresh in [true, false] {
        let mut started = Instant::now();
        let mut client = Client::connect(&server);
        if !fresh {
            client.get("/");
            started = Instant::now();
        }
        client.stream.set_read_timeout(Some(DRIP)).unwrap();
        client.send("GET / HTTP/1.1\r\nHost: h\r\nX: ");
        let answer = loop {
            // After the refusal the client may still send.
            client.send("x");
            match client.try_answer(true) {
                Ok(answer) => break answer.unwrap(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(started.elapsed() < short().request + MINUTE);
        };
        assert_eq!((answer.status, answer.header("Connection")), (408, Some("close")));
        assert_due(started, short().request);
    }
}

#[test]
fn a_client_that_sends_nothing_is_closed() {
    let server = serve(short());
    let started = Instant::now();
    let mut client = Client::connect(&server);
    client.assert_closed();
    assert_due(started, short().request);

    let mut client = Client::connect(&server);
    let started = Instant::now();
    client.get("/");
    client.assert_closed();
    assert_due(started, short().idle);
    wait_for_threads(&server, 0);
}

#[test]
fn a_request_that_has_begun_does_not_have_the_idle_time() {
    let server = serve(Limits { request: short().request, ..unhurried() });
    let mut client = Client::connect(&server);
    // The beginning of a second request comes with the first.
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET");
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 408);
    client.assert_closed();
}

#[test]
fn a_client_that_never_takes_the_response_is_closed() {
    let server = serve(short());
    let mut client = Client::connect(&server);
    let started = Instant::now();
    client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    // The response has begun.
    client.stream.peek(&mut [0]).unwrap();
    wait_for_threads(&server, 0);
    assert_due(started, short().response);
    assert!(client.drain().len() < LARGE.len());
}

#[test]
fn a_client_that_takes_the_response_drop_by_drop_is_closed() {
    let server = serve(short());
    let mut client = Client::connect(&server);
    let started = Instant::now();
    client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    // The response has begun.
    client.stream.peek(&mut [0]).unwrap();
    while server.connections.threads() > 0 {
        _ = client.stream.read(&mut [0; 4096]).unwrap();
        thread::sleep(DRIP);
        assert!(started.elapsed() < short().response + MINUTE);
    }
    assert_due(started, short().response);
}

#[test]
fn a_client_that_never_closes_is_closed() {
    let server = serve(Limits { linger: Duration::from_millis(300), ..unhurried() });
    let mut client = Client::connect(&server);
    let started = Instant::now();
    client.send("nonsense\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    client.assert_closed();
    // It goes on sending, so that its end can't be foreseen.
    while server.connections.threads() > 0 {
        _ = client.try_send("x");
        thread::sleep(DRIP);
        assert!(started.elapsed() < MINUTE);
    }
    assert_due(started, Duration::from_millis(300));
}

#[test]
fn at_rest_there_are_no_threads_but_one() {
    let server = serve(unhurried());
    for _ in 0..3 {
        let mut client = Client::connect(&server);
        client.get("/");
        assert_eq!(server.connections.threads(), 1);
        drop(client);
        wait_for_threads(&server, 0);
    }
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < MINUTE);
}
