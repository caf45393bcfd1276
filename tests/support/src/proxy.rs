use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Cluster, SUPERUSER};

/// A TCP proxy before a [`Cluster`] that fails on demand.
///
/// It understands as much of PostgreSQL's protocol as it takes to fail at a given [`Point`].
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// The point of a session at which a [`Proxy`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before a connection goes on to the server. To the client it stands already.
    Accept,
    /// Before the first messages of a connection are forwarded.
    StartUp,
    /// Before the parameters of a prepared statement are forwarded: the rows of an insert.
    Rows,
    /// Before a lone `COMMIT` is forwarded.
    Commit,
    /// After the server has answered a lone `COMMIT`, before the client gets the answer.
    Answer,
    /// Anywhere, at any byte.
    Anywhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Freeze(Point),
    Cut(Point),
}

impl Proxy {
    /// Starts on a free port of 127.0.0.1, and forwards everything.
    ///
    /// # Panics
    /// Where there is no free port.
    pub fn start(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let server = cluster.socket_dir().join(format!(".s.PGSQL.{}", cluster.port()));
        let shared = Arc::new(Shared::default());
        let acceptor = spawn("proxy", {
            let shared = Arc::clone(&shared);
            move || accept(&listener, &server, &shared)
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of a database, through the proxy, as the superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Lets nothing pass `point` any more; connections stay open.
    pub fn freeze(&self, point: Point) {
        self.shared.change(|state| state.fault = Some(Fault::Freeze(point)));
    }

    /// Closes every connection, on both sides, that gets to `point`.
    pub fn cut(&self, point: Point) {
        self.shared.change(|state| state.fault = Some(Fault::Cut(point)));
    }

    /// Forwards everything again, and first what was held back.
    pub fn heal(&self) {
        self.shared.change(|state| state.fault = None);
    }

    /// Closes every connection now.
    pub fn cut_all(&self) {
        self.shared.change(|state| state.lines.values().for_each(Line::cut));
    }

    /// Makes each answer of the server come later by that much, which is what a round trip takes.
    pub fn delay(&self, round_trip: Duration) {
        self.shared.change(|state| state.delay = round_trip);
    }

    /// How often a freeze or cut has hit since the start.
    pub fn hits(&self) -> usize {
        self.shared.lock().hits
    }

    /// Connections that stand.
    pub fn connections(&self) -> usize {
        self.shared.lock().lines.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.is_over = true;
            state.lines.values().for_each(Line::cut);
        });
        // It waits for connections, and looks whether it is over after each.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    delay: Duration,
    hits: usize,
    is_over: bool,
    lines: HashMap<usize, Line>,
    newest: usize,
}

/// Both ends of a connection, to cut it by.
struct Line {
    client: TcpStream,
    server: UnixStream,
}

impl Line {
    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits where it's frozen; an error stands for the end of the connection. `None` is a point at
    /// which nothing but [`Point::Anywhere`] happens.
    fn pass(&self, point: Option<Point>) -> io::Result<()> {
        let is_here = |at: Point| at == Point::Anywhere || Some(at) == point;
        let mut state = self.lock();
        let mut is_hit = false;
        loop {
            match state.fault {
                _ if state.is_over => return Err(io::ErrorKind::ConnectionAborted.into()),
                Some(Fault::Cut(at)) if is_here(at) => {
                    state.hits += 1;
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Some(Fault::Freeze(at)) if is_here(at) => {
                    state.hits += usize::from(!is_hit);
                    is_hit = true;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                _ => return Ok(()),
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).expect("threads are to be had")
}

fn accept(listener: &TcpListener, server: &PathBuf, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.lock().is_over {
            return;
        }
        // Where the server is away, the client sees the end of its connection.
        if let Ok(client) = client
            && shared.pass(Some(Point::Accept)).is_ok()
            && let Ok(server) = UnixStream::connect(server)
        {
            // The last resort of a proxy that is out of file descriptors.
            let _ = forward(&client, &server, shared);
        }
    }
}

/// Forwards on two threads of its own, until one of the ends closes.
fn forward(client: &TcpStream, server: &UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let ends = || io::Result::Ok(Line { client: client.try_clone()?, server: server.try_clone()? });
    let (kept, mut questions, mut answers) = (ends()?, ends()?, ends()?);
    let mut number = 0;
    shared.change(|state| {
        state.newest += 1;
        number = state.newest;
        state.lines.insert(number, kept);
    });
    let is_committing = Arc::new(AtomicBool::new(false));
    let (shared, other) = (Arc::clone(shared), Arc::clone(shared));
    let other_committing = Arc::clone(&is_committing);
    spawn("proxy questions", move || {
        let _ = ask(&mut questions, &shared, &is_committing);
        questions.cut();
        shared.lock().lines.remove(&number);
    });
    spawn("proxy answers", move || {
        let _ = answer(&mut answers, &other, &other_committing);
        answers.cut();
    });
    Ok(())
}

/// Requests that come before the one that begins a session: encryption, of two kinds.
const BEFORE_START_UP: [[u8; 4]; 2] = [80877103_u32.to_be_bytes(), 80877104_u32.to_be_bytes()];

fn ask(line: &mut Line, shared: &Shared, is_committing: &AtomicBool) -> io::Result<()> {
    loop {
        let message = read_message(&mut line.client, 0)?;
        shared.pass(Some(Point::StartUp))?;
        line.server.write_all(&message)?;
        if !BEFORE_START_UP.iter().any(|code| message[4..].starts_with(code)) {
            break;
        }
    }
    loop {
        let message = read_message(&mut line.client, 1)?;
        let point = match message[0] {
            b'B' => Some(Point::Rows),
            b'Q' if &message[5..] == b"COMMIT\0" => Some(Point::Commit),
            _ => None,
        };
        shared.pass(point)?;
        is_committing.store(point == Some(Point::Commit), Ordering::SeqCst);
        line.server.write_all(&message)?;
    }
}

fn answer(line: &mut Line, shared: &Shared, is_committing: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = line.server.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        shared.pass(is_committing.load(Ordering::SeqCst).then_some(Point::Answer))?;
        thread::sleep(shared.lock().delay);
        line.client.write_all(&buffer[..read])?;
    }
}

/// A message with its length, before which comes a type of `type_bytes`: none in the start-up.
fn read_message(from: &mut impl Read, type_bytes: usize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; type_bytes + 4];
    from.read_exact(&mut message)?;
    let mut length = [0; 4];
    length.copy_from_slice(&message[type_bytes..]);
    // It counts itself, but not the type.
    let length = u32::from_be_bytes(length) as usize;
    if !(4..1 << 30).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.resize(type_bytes + length, 0);
    from.read_exact(&mut message[type_bytes + 4..])?;
    Ok(message)
}
