//! A TCP connection to a broker.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::SessionError;

/// Connects to the first address of a host that answers. Of the time left, each address gets the
/// same share: one that never answers (IPv6, often) leaves some to those after it.
pub(crate) fn dial(host: &str, port: u16, limit: Duration) -> Result<TcpStream, SessionError> {
    let started = Instant::now();
    let addresses = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => look_up(host.to_owned(), port, limit)?,
    };
    let no_address = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let error = SessionError::Lookup { host: host.to_owned(), source: no_address };
    connect(&addresses, started, limit).unwrap_or(Err(error))
}

/// `None` if there are no addresses.
fn connect(
    addresses: &[SocketAddr],
    started: Instant,
    limit: Duration,
) -> Option<Result<TcpStream, SessionError>> {
    let mut result = None;
    for (address, shares) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let shares = u32::try_from(shares).unwrap_or(u32::MAX);
        let share = limit.saturating_sub(started.elapsed()) / shares;
        // `connect_timeout` takes no zero.
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Some(Ok(stream)),
            Err(source) => result = Some(Err(SessionError::Connect { address: *address, source })),
        }
    }
    result
}

/// Looks a name up on a thread of its own, which is left behind where the lookup hangs: nothing can
/// end it.
fn look_up(host: String, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, SessionError> {
    let (sender, receiver) = mpsc::channel();
    let name = host.clone();
    let work = move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody waits any more where it took too long.
        let _ = sender.send(addresses);
    };
    let thread = thread::Builder::new().name("look up broker".to_owned());
    thread.spawn(work).map_err(SessionError::Thread)?;
    match receiver.recv_timeout(limit) {
        Ok(addresses) => addresses.map_err(|source| SessionError::Lookup { host, source }),
        Err(_) => Err(SessionError::LookupTimedOut { host, limit }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use bluenova_test_support::ReservedPort;

    use super::*;

    #[test]
    fn the_first_address_that_answers_is_taken() {
        let (nobody, listener) = (ReservedPort::new(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (refuses, answers) = (nobody.address(), listener.local_addr().unwrap());
        // It is reserved for documents: nothing answers there, or the system has no route to it.
        let silent = SocketAddr::from(([192, 0, 2, 1], 1883));
        let connect = |addresses: &[SocketAddr]| {
            connect(addresses, Instant::now(), Duration::from_secs(20))
                .map(|result| result.map(|stream| stream.peer_addr().unwrap()))
        };
        assert!(matches!(connect(&[refuses, answers]), Some(Ok(peer)) if peer == answers));
        assert!(matches!(connect(&[silent, answers]), Some(Ok(peer)) if peer == answers));
        let Some(Err(SessionError::Connect { address, .. })) = connect(&[silent, refuses]) else {
            panic!("nothing answers");
        };
        assert_eq!(address, refuses);
        assert!(connect(&[]).is_none());
    }

    #[test]
    fn hosts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            assert!(dial(host, port, Duration::from_secs(60)).is_ok(), "{host}");
        }
    }
}
