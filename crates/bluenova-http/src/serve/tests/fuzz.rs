use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{Client, HttpServer, Limits, MINUTE, crowd::persist, serve, unhurried};

static SERVER: LazyLock<HttpServer> = LazyLock::new(|| {
    let request = Duration::from_millis(100);
    serve(Limits { request, idle: request, response: request, ..unhurried() })
});

/// Parts of requests, and what breaks them.
const PARTS: [&str; 26] = [
    "GET ",
    "HEAD ",
    "POST ",
    "PRI * HTTP/2.0",
    "/",
    "/panic",
    "/nothing",
    "%2",
    "%00",
    "?a=b&",
    "#",
    " HTTP/1.1",
    " HTTP/1.0",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "Host: h\r\n",
    "Host",
    ":",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Content-Length: 3\r\n",
    "\0",
    "é",
    "Transfer-Encoding: chunked\r\n",
];

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let requests = vec(select(&PARTS[..]), 0..40).prop_map(|parts| parts.concat().into_bytes());
    prop_oneof![vec(any::<u8>(), 0..10_000), requests]
}

fn pieces(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = vec![];
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at(size.min(rest.len()));
        pieces.push(piece.to_vec());
        rest = more;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn whatever_comes_is_answered_or_closed_in_time(
        bytes in anything(),
        sizes in vec(1_usize..3000, 1..4),
        finishes: bool,
    ) {
        let started = Instant::now();
        let mut client = Client::connect(&SERVER);
        for piece in pieces(&bytes, &sizes) {
            // The server may have refused the start already.
            if client.try_send(piece).is_err() {
                break;
            }
        }
        if finishes {
            _ = client.stream.shutdown(std::net::Shutdown::Write);
        }
        let answer = client.drain();
        prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "));
        prop_assert!(started.elapsed() < MINUTE, "{:?}", started.elapsed());
        // It still answers, once a client isn't too slow for its limits.
        let started = Instant::now();
        while persist(&SERVER, started).body != b"hello" {
            prop_assert!(started.elapsed() < MINUTE);
        }
    }

    #[test]
    fn how_requests_are_cut_makes_no_difference(
        requests in vec((any::<bool>(), "[a-z]{0,9}"), 1..9),
        sizes in vec(1_usize..50, 1..9),
    ) {
        let text: String = requests
            .iter()
            .map(|(head, path)| {
                let method = if *head { "HEAD" } else { "GET" };
                format!("{method} /{path}x HTTP/1.1\r\nHost: h\r\n\r\n")
            })
            .collect();
        let server = serve(unhurried());
        let mut client = Client::connect(&server);
        for piece in pieces(text.as_bytes(), &sizes) {
            client.send(piece);
        }
        client.finish();
        for (head, path) in &requests {
            let answer = client.try_answer(!head).unwrap().unwrap();
            let expected = format!("/{path}x []");
            let length = expected.len().to_string();
            prop_assert_eq!(answer.header("Content-Length"), Some(length.as_str()));
            let expected = if *head { "" } else { &expected };
            prop_assert_eq!(answer.body, expected.as_bytes());
        }
        client.assert_closed();
    }
}
