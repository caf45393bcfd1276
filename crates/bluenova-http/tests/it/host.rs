//! The names under which the page is served.

use bluenova_status::{LiveStatus, Shared, StorageStatus};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use time::UtcDateTime;

/// All that is answered to a request with that version and those headers.
fn ask(address: SocketAddr, target: &str, rest: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {target} HTTP/{rest}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_name_that_is_not_the_listeners_is_answered_with_421() {
    let status = LiveStatus {
        started: Instant::now(),
        interval: Duration::from_secs(10),
        batteries: Shared::default(),
        storage: Shared::new(StorageStatus::default()),
        delivery: None,
    };
    let snapshot = move || status.snapshot(UtcDateTime::now(), Instant::now());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let names = ["battery.lan".to_owned()];
    let server = bluenova_http::start_with_names(listener, names, snapshot).unwrap();
    let address = server.local_addr();
    for target in ["/", "/api/batteries", "/healthz", "/metrics", "/nothing"] {
        for host in ["evil.example", "evil.example:9080", ""] {
            let answer = ask(address, target, &format!("1.1\r\nHost: {host}\r\n"));
            assert!(answer.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{answer}");
            let says = format!("isn't served under the name \"{host}\"");
            assert!(answer.contains(&says) && answer.contains("--http-host"), "{answer}");
        }
    }
    let localhost = format!("localhost:{}", address.port());
    for host in [&address.to_string(), &localhost, "[::1]:80", "Battery.lan", "battery.lan:80"] {
        let answer = ask(address, "/healthz", &format!("1.1\r\nHost: {host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    assert!(ask(address, "/healthz", "1.0\r\n").starts_with("HTTP/1.1 200 "));
    let old = ask(address, "/healthz", "1.0\r\nHost: evil.example\r\n");
    assert!(old.starts_with("HTTP/1.1 421 "), "{old}");
    let whole = ask(address, "http://evil.example/healthz", "1.1\r\nHost: localhost\r\n");
    assert!(whole.starts_with("HTTP/1.1 421 "), "{whole}");
    server.stop();
}
