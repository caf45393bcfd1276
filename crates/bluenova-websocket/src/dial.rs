use std::{
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::{Address, Connection, Deadlines, Error, handshake::shake_hands, socket::Socket};

/// A connection that is being made.
///
/// It is made on a thread of its own: the caller can go on with its work, and a name lookup that
/// hangs, which nothing can end, is left behind. A thread that was left behind, because its
/// deadline passed or the `Dial` was dropped, ends when the system returns from the lookup.
#[derive(Debug)]
pub struct Dial {
    host: String,
    /// Deadline of the lookup. The steps after it keep theirs by themselves.
    limit: Duration,
    started: Instant,
    looked_up: bool,
    progress: Receiver<Progress>,
}

impl Dial {
    /// Starts to connect.
    ///
    /// # Errors
    /// [`Error::Thread`] where the system gives no thread; all others come from
    /// [`wait`](Self::wait).
    pub fn start(address: &Address, deadlines: Deadlines) -> Result<Self, Error> {
        Self::start_with(address, deadlines, look_up)
    }

    /// Waits for the connection, but not longer than `at_most`; `None`: not yet.
    ///
    /// # Errors
    /// Whatever kept the connection from being made. Once there was a result, there is only
    /// [`Error::Over`].
    pub fn wait(&mut self, at_most: Duration) -> Option<Result<Connection, Error>> {
        let started = Instant::now();
        loop {
            let mut timeout = at_most.saturating_sub(started.elapsed());
            if !self.looked_up {
                timeout = timeout.min(self.limit.saturating_sub(self.started.elapsed()));
            }
            match self.progress.recv_timeout(timeout) {
                Ok(Progress::LookedUp) => self.looked_up = true,
                Ok(Progress::Done(result)) => return Some(*result),
                Err(RecvTimeoutError::Timeout) if self.lookup_timed_out() => {
                    let host = self.host.clone();
                    return Some(Err(Error::LookupTimedOut { host, limit: self.limit }));
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Err(Error::Over)),
            }
        }
    }

    fn start_with<L>(address: &Address, deadlines: Deadlines, look_up: L) -> Result<Self, Error>
    where
        L: FnOnce(&Address) -> io::Result<Vec<SocketAddr>> + Send + 'static,
    {
        let started = Instant::now();
        let host = address.host().to_owned();
        let address = address.clone();
        let (sender, progress) = mpsc::channel();
        let dial = move || {
            let addresses = look_up(&address);
            if sender.send(Progress::LookedUp).is_err() {
                // Nobody waits for the connection any more.
                return;
            }
            let result = addresses
                .map_err(|source| Error::Lookup { host: address.host().to_owned(), source })
                .and_then(|addresses| connect(&addresses, started, deadlines.connect))
                .and_then(|(stream, peer)| open(stream, peer, &address, deadlines));
            // Where nobody waits, the connection ends here.
            let _ = sender.send(Progress::Done(Box::new(result)));
        };
        thread::Builder::new().name(format!("dial {host}")).spawn(dial).map_err(Error::Thread)?;
        Ok(Self { host, limit: deadlines.connect, started, looked_up: false, progress })
    }

    fn lookup_timed_out(&self) -> bool {
        !self.looked_up && self.started.elapsed() >= self.limit
    }
}

#[derive(Debug)]
enum Progress {
    LookedUp,
    Done(Box<Result<Connection, Error>>),
}

fn look_up(address: &Address) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = (address.host(), address.port()).to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// Connects to the first address that answers. Of the time left, each address gets the same share,
/// so that one that never answers (IPv6, often) leaves some to those after it.
fn connect(
    addresses: &[SocketAddr],
    started: Instant,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Error> {
    // Returned only where there are no addresses, which `look_up` has ruled out.
    let mut result = Err(Error::Over);
    for (&address, tried) in addresses.iter().zip(1..) {
        let shares = u32::try_from(addresses.len() + 1 - tried).unwrap_or(u32::MAX);
        let share = limit.saturating_sub(started.elapsed()) / shares;
        // `connect_timeout` takes no zero.
        match TcpStream::connect_timeout(&address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok((stream, address)),
            Err(source) => {
                log::debug!("can't connect to {address}: {source}");
                result = Err(match source.kind() {
                    io::ErrorKind::TimedOut => Error::ConnectTimedOut { address, tried, limit },
                    _ => Error::Connect { address, tried, source },
                });
            }
        }
    }
    result
}

fn open(
    stream: TcpStream,
    peer: SocketAddr,
    address: &Address,
    deadlines: Deadlines,
) -> Result<Connection, Error> {
    let mut socket = Socket::new(stream).map_err(Error::Io)?;
    let early = shake_hands(&mut socket, address, deadlines.handshake)?;
    Ok(Connection::new(socket, early, peer, deadlines))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::TcpListener;

    use bluenova_test_support::{ReservedPort, TIME_LIMIT};

    fn address() -> Address {
        "battery".parse().unwrap()
    }

    #[test]
    fn a_hanging_lookup_ends_at_the_deadline_and_its_thread_later() {
        let limit = Duration::from_millis(50);
        let deadlines = Deadlines { connect: limit, ..Deadlines::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let battery = listener.local_addr().unwrap();
        let (release, hang) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel::<()>();
        let mut dial = Dial::start_with(&address(), deadlines, move |_| {
            let _ended = ended;
            let _ = hang.recv();
            Ok(vec![battery])
        })
        .unwrap();

        let error = dial.wait(Duration::MAX).unwrap().unwrap_err();
        assert!(matches!(error, Error::LookupTimedOut { .. }), "{error:?}");

        drop(dial);
        drop(release);
        let end = end.recv_timeout(TIME_LIMIT);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected), "the lookup went on");
        listener.set_nonblocking(true).unwrap();
        let grace = Instant::now() + Duration::from_millis(50);
        while Instant::now() < grace {
            assert!(listener.accept().is_err(), "nobody was waiting any more");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn every_address_is_tried() {
        let [first, second] = [ReservedPort::new(), ReservedPort::new()];
        let (open, shut) = (first.address(), second.address());
        let listener = TcpListener::bind(open).unwrap();
        let limit = TIME_LIMIT;
        let (_, peer) = connect(&[shut, open], Instant::now(), limit).unwrap();
        assert_eq!(peer, open);
        drop(listener);

        match connect(&[open, shut], Instant::now(), limit).unwrap_err() {
            Error::Connect { address, tried, source } => {
                assert_eq!((address, tried), (shut, 2));
                assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failed_lookup_names_the_host() {
        let lookup = |_: &Address| Err(io::Error::other("no such host"));
        let mut dial = Dial::start_with(&address(), Deadlines::default(), lookup).unwrap();
        let error = dial.wait(Duration::MAX).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "can't find the address of battery");
        let again = dial.wait(Duration::MAX).unwrap().unwrap_err();
        assert!(matches!(again, Error::Over), "{again:?}");
    }
}
