use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::TICK;

/// Least time from one read to the next, unless bytes fill the buffer faster than that. A battery
/// sends its lines one by one; if each woke the thread, that would take most of the CPU time.
const GATHERING: Duration = Duration::from_millis(TICK.as_millis() as u64 / 2);

/// TCP stream on which no call takes much longer than a tick.
///
/// Its errors are those that tungstenite expects: `WouldBlock` is "nothing came", and any other is
/// the end.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    next_read: Instant,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        Ok(Self { stream, next_read: Instant::now() })
    }

    /// Ends the writing side of the connection.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let now = Instant::now();
        thread::sleep(self.next_read.saturating_duration_since(now));
        let read = self.stream.read(buffer);
        if read.as_ref().is_ok_and(|size| *size < buffer.len()) {
            self.next_read = now.max(self.next_read) + GATHERING;
        }
        match read {
            // A signal ends the tick early, so that the caller sees its stop flag.
            Err(e) if timed_out(&e) || e.kind() == io::ErrorKind::Interrupted => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            result => result,
        }
    }
}

impl Write for Socket {
    /// Fails with `WriteZero` when there was no room for a tick.
    ///
    /// We write a few bytes now and then. If they don't even fit into the buffers of two systems,
    /// then the other side has long ceased to read, and there's no use in trying again.
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            return match self.stream.write(buffer) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(e) if timed_out(&e) => Err(io::ErrorKind::WriteZero.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => result,
            };
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Whether the socket's own time-out ended the call. POSIX has `EAGAIN` for that; its `ETIMEDOUT`
/// means that the other side no longer acknowledges what we sent.
fn timed_out(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock => true,
        io::ErrorKind::TimedOut => cfg!(windows),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Socket::new(stream).unwrap(), listener.accept().unwrap().0)
    }

    #[test]
    fn lines_are_gathered() {
        let (mut socket, mut battery) = pair();
        let began = Instant::now();
        for n in 0..3 {
            battery.write_all(b"line").unwrap();
            assert_eq!(socket.read(&mut [0; 8]).unwrap(), 4);
            assert!(began.elapsed() >= n * GATHERING, "read {n} was too early");
        }
    }

    #[test]
    fn a_flood_is_read_without_a_pause() {
        let (mut socket, mut battery) = pair();
        let began = Instant::now();
        battery.write_all(&[0; 2000]).unwrap();
        for _ in 0..2000 {
            assert_eq!(socket.read(&mut [0]).unwrap(), 1);
        }
        assert!(began.elapsed() < 1000 * GATHERING);
    }
}
