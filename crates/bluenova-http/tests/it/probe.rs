//! Whether a listener's page is at an address.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use bluenova_http::is_served_at;
use bluenova_test_support::ReservedPort;

use crate::support::Listener;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_listeners_page_is_one_whatever_its_health() {
    let listener = Listener::start();
    assert!(is_served_at(listener.address(), MINUTE).unwrap());
    listener.change(|status| status.storage.trouble = Some("disk full".into()));
    assert_eq!(listener.json("/healthz").0, 503);
    assert!(is_served_at(listener.address(), MINUTE).unwrap());
}

/// The address of a program that sends `answer` to the first client, and closes.
fn other(answer: String) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1000]);
        let _ = stream.write_all(answer.as_bytes());
    });
    address
}

#[test]
fn others_are_none() {
    for answer in [
        String::new(),
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found".to_owned(),
        "HTTP/1.1 200 OK\r\n\r\n{\"status\": \"ok\"}".to_owned(),
        "x".repeat(64 * 1024),
    ] {
        let start = answer.chars().take(60).collect::<String>();
        assert!(!is_served_at(other(answer), MINUTE).unwrap(), "{start}");
    }
}

#[test]
fn a_program_that_does_not_answer_is_an_error_in_time() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let error = is_served_at(address, Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let nobody = ReservedPort::new();
    let error = is_served_at(nobody.address(), MINUTE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
