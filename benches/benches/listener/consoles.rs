//! The consoles of a large fleet, for little CPU time.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use bluenova_benches::START;
use bluenova_simulator::{Battery, Profile};
use tungstenite::handshake::server::{Request, Response};

/// Time between two looks at the clock.
const TICK: Duration = Duration::from_millis(10);

/// Number of writes in which the lines of a second leave.
const WRITES: u32 = 10;

/// The batteries, all at one port, each at a path of its own and at the real rate, 45 lines a
/// second.
///
/// The simulator's own server looks at each of its sockets a hundred times a second, which takes
/// more CPU time than a listener. This one only writes, ten times a second to each client; each
/// line is a text frame of its own.
pub(crate) struct Consoles {
    address: SocketAddr,
    status: Arc<Status>,
}

#[derive(Default)]
struct Status {
    connected: AtomicU64,
    /// How far the writing is behind its time, in milliseconds; the most since it was last asked.
    late: AtomicU64,
    is_over: AtomicBool,
}

/// A battery, and the client that reads its console.
struct Console {
    battery: Battery,
    client: TcpStream,
    /// The frames of this second, and where each line ends.
    frames: Vec<u8>,
    ends: Vec<usize>,
    text: String,
    /// Writes that were made of this second, and the time of the next one.
    written: u32,
    due: Instant,
}

impl Consoles {
    /// Serves a battery at each path that is asked for.
    pub(crate) fn start() -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let status = Arc::new(Status::default());
        let (sender, consoles) = mpsc::channel();
        let (ours, theirs) = (Arc::clone(&status), Arc::clone(&status));
        thread::spawn(move || accept(&listener, &sender, &ours));
        thread::spawn(move || write(&consoles, &theirs));
        Self { address, status }
    }

    /// The batteries from number `first` on, as arguments of a listener.
    pub(crate) fn batteries(&self, first: usize, count: usize) -> Vec<String> {
        (first..first + count).map(|n| format!("no{n}={}/ws/{n}", self.address)).collect()
    }

    /// Number of clients that have connected so far.
    pub(crate) fn connected(&self) -> u64 {
        self.status.connected.load(Ordering::Relaxed)
    }

    /// How far lines were behind their time since this was last asked.
    pub(crate) fn late(&self) -> Duration {
        Duration::from_millis(self.status.late.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Consoles {
    fn drop(&mut self) {
        self.status.is_over.store(true, Ordering::Relaxed);
        // Its thread waits for a client.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, consoles: &Sender<Console>, status: &Status) {
    while let Ok((stream, _)) = listener.accept() {
        if status.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut number = None;
        #[expect(clippy::result_large_err, reason = "tungstenite has it so")]
        let read_path = |request: &Request, response: Response| {
            number = request.uri().path().rsplit('/').next().and_then(|n| n.parse().ok());
            Ok(response)
        };
        stream.set_nodelay(true).expect("it is a socket");
        let socket = tungstenite::accept_hdr(stream, read_path).expect("it says hello");
        let client = socket.get_ref().try_clone().expect("there are descriptors");
        let number = number.expect("the path ends in a number");
        _ = consoles.send(Console::new(number, client));
        status.connected.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes what is due, until the fleet is dropped.
fn write(arrivals: &Receiver<Console>, status: &Status) {
    let mut consoles: Vec<Console> = vec![];
    while !status.is_over.load(Ordering::Relaxed) {
        consoles.extend(arrivals.try_iter());
        let now = Instant::now();
        // A client that is gone dials anew.
        consoles.retain_mut(|console| console.due > now || console.write(status).is_ok());
        thread::sleep(TICK.saturating_sub(now.elapsed()));
    }
}

impl Console {
    fn new(number: u64, client: TcpStream) -> Self {
        Self {
            battery: Battery::new(Profile::new(number, START)),
            client,
            frames: vec![],
            ends: vec![],
            text: String::new(),
            written: WRITES,
            due: Instant::now(),
        }
    }

    fn write(&mut self, status: &Status) -> io::Result<()> {
        let late = self.due.elapsed().as_millis();
        status.late.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.written == WRITES {
            self.print();
        }
        let lines = |writes: u32| self.ends.len() * writes as usize / WRITES as usize;
        let end = |lines: usize| lines.checked_sub(1).map_or(0, |last| self.ends[last]);
        let part = end(lines(self.written))..end(lines(self.written + 1));
        self.client.write_all(&self.frames[part])?;
        self.written += 1;
        self.due += Duration::from_secs(1) / WRITES;
        Ok(())
    }

    /// Prints the next second, a text frame for each line.
    fn print(&mut self) {
        let Self { battery, frames, ends, text, .. } = self;
        frames.clear();
        ends.clear();
        text.clear();
        battery.advance(Duration::from_secs(1));
        battery.print_cycle(text);
        for line in text.split_inclusive('\n') {
            frames.extend([0x81, u8::try_from(line.len()).expect("lines are short")]);
            frames.extend(line.as_bytes());
            ends.push(frames.len());
        }
        self.written = 0;
    }
}
