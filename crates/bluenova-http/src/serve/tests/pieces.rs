//! Responses that come in pieces.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Client, HttpServer, Limits, MINUTE, assert_due, serve_with, short, unhurried, wait_for_threads,
};
use crate::serve::{Piece, Response};

/// A server whose bodies are `first`, and then what `next` makes: it is given the number of pieces
/// that it has made.
fn serve_pieces(
    limits: Limits,
    next: impl Fn(usize) -> Piece + Send + Sync + Clone + 'static,
) -> HttpServer {
    serve_with(limits, move |request| {
        let (mut made, next) = (0, next.clone());
        let response = Response::new(200, "text/plain", request.path.clone().into_bytes());
        response.followed_by(move || {
            made += 1;
            next(made - 1)
        })
    })
}

/// Two pieces, one of them empty.
fn two(made: usize) -> Piece {
    match made {
        0 => Piece::More(vec![]),
        1 => Piece::More(b"0123456789abcdef".to_vec()),
        _ => Piece::End,
    }
}

/// What the client gets behind the head, until the server closes.
fn body(server: &HttpServer, request: &str) -> (String, String) {
    let mut client = Client::connect(server);
    client.send(request);
    let text = String::from_utf8(client.drain()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn pieces_are_chunks_for_clients_that_take_them() {
    let server = serve_pieces(unhurried(), two);
    let request = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /bc HTTP/1.1\r\nHost: h\r\n\
                   Connection: close\r\n\r\n";
    let (head, bodies) = body(&server, request);
    assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head}");
    assert!(!head.contains("Content-Length"), "{head}");
    let (first, second) = bodies.split_once("HTTP/1.1 200 OK").unwrap();
    assert_eq!(first, "2\r\n/a\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    assert!(
        second.ends_with("\r\n\r\n3\r\n/bc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"),
        "{second}"
    );
}

#[test]
fn the_end_of_the_connection_is_that_of_the_pieces_for_others() {
    let server = serve_pieces(unhurried(), two);
    let (head, body) = body(&server, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert!(!head.contains("Transfer-Encoding") && !head.contains("Content-Length"), "{head}");
    assert_eq!(body, "/a0123456789abcdef");
}

#[test]
fn who_asks_for_the_head_gets_no_piece() {
    let server = serve_pieces(unhurried(), |_| panic!("none is made"));
    let (head, body) = body(&server, "HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head}");
    assert_eq!(body, "");
}

#[test]
fn pieces_that_break_off_have_no_end() {
    let broken = |made| if made == 0 { Piece::More(b"x".to_vec()) } else { Piece::Broken };
    // As a panic, but the hook doesn't print it.
    let panics = |made| if made == 0 { two(1) } else { resume_unwind(Box::new("for the test")) };
    for server in [serve_pieces(unhurried(), broken), serve_pieces(unhurried(), panics)] {
        let (_, body) = body(&server, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(body.starts_with("2\r\n/a\r\n") && !body.contains("\r\n0\r\n"), "{body}");
        wait_for_threads(&server, 0);
    }
}

/// Pieces without end, of a mebibyte each, which are counted.
fn endless(made: Arc<AtomicUsize>) -> impl Fn(usize) -> Piece + Send + Sync + Clone + 'static {
    move |_| {
        made.fetch_add(1, Ordering::Relaxed);
        Piece::More(vec![b'x'; 1 << 20])
    }
}

#[test]
fn a_piece_is_made_when_the_one_before_is_taken_and_in_time() {
    let made = Arc::<AtomicUsize>::default();
    let limits = Limits { response: short().response, ..unhurried() };
    let server = serve_pieces(limits, endless(Arc::clone(&made)));
    let started = Instant::now();
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    // The response has begun.
    client.stream.peek(&mut [0]).unwrap();
    wait_for_threads(&server, 0);
    assert_due(started, short().response);
    // The systems of both ends buffer some.
    let made = made.load(Ordering::Relaxed);
    assert!((1..20).contains(&made), "{made}");
    assert!(client.drain().len() <= made << 20);
}

#[test]
fn all_pieces_have_a_deadline_however_quickly_they_are_taken() {
    let limits = Limits { pieces: Duration::from_millis(300), ..unhurried() };
    let server = serve_pieces(limits, endless(Arc::default()));
    let started = Instant::now();
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.drain().len() > 100);
    assert_due(started, limits.pieces);
    wait_for_threads(&server, 0);
}

#[test]
fn pieces_end_with_their_client_or_the_server() {
    let made = Arc::<AtomicUsize>::default();
    let server = serve_pieces(unhurried(), endless(Arc::clone(&made)));
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for_threads(&server, 1);
    drop(client);
    wait_for_threads(&server, 0);

    // Before there is a client: as many pieces as the systems buffer are made at once.
    let before = made.load(Ordering::Relaxed);
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let started = Instant::now();
    while made.load(Ordering::Relaxed) == before {
        assert!(started.elapsed() < MINUTE);
        std::thread::yield_now();
    }
    server.stop();
    assert!(started.elapsed() < MINUTE);
    client.drain();
}
