use std::{thread, time::Duration};

use super::{Client, LARGE, serve, unhurried};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_page_has_all_headers() {
    let server = serve(unhurried());
    let answer = Client::connect(&server).get("/a%20b?c=d+e");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, br#"/a b [("c", "d e")]"#);
    let expected = [
        ("Content-Type", "text/plain"),
        ("Content-Length", "19"),
        ("Connection", "keep-alive"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
        (
            "Content-Security-Policy",
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ];
    for (name, value) in expected {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
}

#[test]
fn head_is_get_without_a_body() {
    let server = serve(unhurried());
    let mut client = Client::connect(&server);
    for path in ["/", "/large", "/any?a=b"] {
        let get = client.get(path);
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let head = client.try_answer(false).unwrap().unwrap();
        assert_eq!(head.head, get.head);
    }
    assert_eq!(client.get("/").body, b"hello", "no body was left over");

    client.send("HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.try_answer(false).unwrap().unwrap().status, 413);
    client.assert_closed();
}

#[test]
fn a_large_response_arrives_whole() {
    let server = serve(unhurried());
    let mut client = Client::connect(&server);
    for _ in 0..2 {
        assert!(client.get("/large").body == *LARGE);
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = serve(unhurried());
    let mut client = Client::connect(&server);
    for byte in GET.as_bytes() {
        client.send([*byte]);
        thread::yield_now();
    }
    assert_eq!(client.answer().body, b"hello");
}

#[test]
fn requests_may_come_before_their_answers() {
    let server = serve(unhurried());
    let mut client = Client::connect(&server);
    let requests: String =
        (0..50).map(|index| format!("GET /{index} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    client.send(requests + "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + GET);
    for index in 0..50 {
        assert_eq!(client.answer().body, format!("/{index} []").as_bytes());
    }
    let last = client.answer();
    assert_eq!((&*last.body, last.header("Connection")), (&b"/last []"[..], Some("close")));
    client.assert_closed();
}

#[test]
fn a_client_may_end_its_side_first() {
    let server = serve(unhurried());
    let mut client = Client::connect(&server);
    client.send(GET);
    client.finish();
    assert_eq!(client.answer().body, b"hello");
    client.assert_closed();
}

#[test]
fn the_connection_stays_as_the_version_says() {
    let server = serve(unhurried());
    let table = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
    ];
    for (version, header, stays) in table {
        let mut client = Client::connect(&server);
        client.send(format!("GET / HTTP/{version}\r\nHost: h\r\n{header}\r\n"));
        let answer = client.answer();
        assert_eq!(answer.body, b"hello");
        let expected = if stays { "keep-alive" } else { "close" };
        assert_eq!(answer.header("Connection"), Some(expected), "{version} {header}");
        if stays {
            assert_eq!(client.get("/").body, b"hello");
        } else {
            client.assert_closed();
        }
    }
}

#[test]
fn unsupported_requests_are_refused_and_the_connection_closed() {
    let server = serve(unhurried());
    let table = [
        (400, "nonsense\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
        (405, "DELETE / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        (413, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello".to_owned()),
        (
            413,
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (414, format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(2048))),
        (414, format!("GET /{}", "a".repeat(100_000))),
        (417, "GET / HTTP/1.1\r\nHost: h\r\nExpect: more\r\n\r\n".to_owned()),
        (431, format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(64))),
        (431, format!("GET / HTTP/1.1\r\nHost: {}", "h".repeat(100_000))),
    ];
    for (status, text) in table {
        // What follows is not taken for a request, however it looks.
        let mut client = Client::connect(&server);
        client.send(text.clone() + GET);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{text:.60}");
        assert_eq!(answer.header("Connection"), Some("close"));
        let allow = (status == 405).then_some("GET, HEAD");
        assert_eq!(answer.header("Allow"), allow);
        client.assert_closed();
    }
}

#[test]
fn a_client_that_is_still_sending_can_read_the_refusal() {
    let server = serve(unhurried());
    let mut client = Client::connect(&server);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
    for _ in 0..20 {
        client.send([b'x'; 10_000]);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.answer().status, 405);
    client.assert_closed();
}
