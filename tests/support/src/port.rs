use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// A TCP port of this machine that is nobody else's as long as this value lives.
///
/// Whoever connects to it is refused until something listens there. That may end and begin again:
/// meanwhile the system gives the port to nobody, neither for a listener nor for the near end of a
/// connection, since there is a socket on it that doesn't listen. Linux lets a server listen beside
/// that if both sockets have `SO_REUSEADDR`, as those of Rust, C and Go servers usually do.
#[derive(Debug)]
pub struct ReservedPort {
    socket: Socket,
}

impl ReservedPort {
    /// A port of 127.0.0.1.
    ///
    /// # Panics
    /// Where there is no free port.
    pub fn new() -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into()).expect("loopback has free ports")
    }

    /// A port of another address of this machine.
    ///
    /// # Errors
    /// Where there is no such address.
    pub fn at(address: IpAddr) -> std::io::Result<Self> {
        let any = SocketAddr::from((address, 0));
        let socket = Socket::new(Domain::for_address(any), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&any.into())?;
        Ok(Self { socket })
    }

    /// The address with the port.
    pub fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().expect("it is bound");
        address.as_socket().expect("it is one of the internet")
    }

    /// The port.
    pub fn number(&self) -> u16 {
        self.address().port()
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        Self::new()
    }
}
