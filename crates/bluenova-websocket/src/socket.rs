use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
};

use crate::TICK;

/// TCP stream on which no call takes longer than a tick.
///
/// Its errors are those that tungstenite expects: `WouldBlock` is "nothing came", and any other is
/// the end.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        Ok(Self(stream))
    }

    /// Ends the writing side of the connection.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
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
            return match self.0.write(buffer) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(e) if timed_out(&e) => Err(io::ErrorKind::WriteZero.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => result,
            };
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
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
