//! A reserved port is nobody else's, and a server may come and go there.

use std::{
    io::{ErrorKind, Read},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use bluenova_test_support::{ReservedPort, TIME_LIMIT, wait_until};

#[test]
fn a_server_may_come_and_go_at_a_reserved_port() {
    let port = ReservedPort::new();
    for _ in 0..3 {
        // A child that another test is starting may have a copy of the last listener.
        wait_until("who connects is refused", TIME_LIMIT, || {
            let refused = TcpStream::connect(port.address());
            refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        });
        let listener = TcpListener::bind(port.address()).unwrap();
        // Others can't listen beside it.
        let taken = TcpListener::bind(port.address()).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let mut client = TcpStream::connect(port.address()).unwrap();
        let (server, _) = listener.accept().unwrap();
        // The server ends first, so that its end of the connection stays for a while.
        drop((server, listener));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

/// Neither for listeners nor for the near ends of connections.
#[test]
fn a_reserved_port_is_given_to_nobody() {
    let port = ReservedPort::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    assert_ne!(to, port.address());
    for _ in 0..40_000 {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert_ne!(free.local_addr().unwrap(), port.address());
    }
    for _ in 0..1000 {
        let near = TcpStream::connect(to).unwrap();
        listener.accept().unwrap();
        assert_ne!(near.local_addr().unwrap(), port.address());
    }
}
