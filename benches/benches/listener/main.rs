//! What the listener costs as a whole: the release binary itself, on the CPU and in memory.
//!
//! ```text
//! cargo bench -p bluenova-benches --bench listener -- flood
//! cargo bench -p bluenova-benches --bench listener -- fleet 1 1000 5000
//! ```
//!
//! The figures come from `/proc`, so that this is for Linux.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark without its material is over")]

use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use bluenova_benches::{START, build_listener, console};
use bluenova_simulator::{Battery, Pace, Profile, Server};
use rusqlite::Connection;
use tungstenite::protocol::WebSocketConfig;

/// Messages of a flood. Linux counts CPU time in hundredths of a second, of which the bare loop
/// takes some 70.
const MESSAGES: u64 = 20_000_000;

/// How often a flood is sent to each. The machine isn't equally fast all the time.
const ROUNDS: usize = 5;

/// Frames that go to the socket at once.
const CHUNK: usize = 64 * 1024;

/// How long a fleet is measured, once all have connected.
const MEASURED: Duration = Duration::from_secs(40);

/// Seconds per row.
const INTERVAL: u64 = 10;

/// Batteries that one thread of the simulator serves.
const PER_SERVER: usize = 1250;

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (what, sizes) = args.split_first().map_or(("", &[][..]), |(what, rest)| (what, rest));
    let listener = build_listener();
    if what != "fleet" {
        flood(&listener);
    }
    if what != "flood" {
        let sizes: Vec<usize> = sizes.iter().map(|n| n.parse().expect("a number")).collect();
        for size in if sizes.is_empty() { vec![1, 1000] } else { sizes } {
            fleet(&listener, size);
        }
    }
}

/// CPU time per console message, beside a bare loop around `tungstenite`'s `read`.
fn flood(listener: &Path) {
    let frames = frames();
    for _ in 0..ROUNDS {
        let bare = nanoseconds_per_message(bare_loop(frames.clone()));
        let ours = nanoseconds_per_message(listener_in_flood(listener, frames.clone()));
        println!(
            "flood of {MESSAGES} messages: listener {ours:.1} ns of CPU per message, \
             bare loop {bare:.1} ns, ratio {:.2}",
            ours / bare
        );
    }
}

fn bare_loop(frames: Vec<u8>) -> Duration {
    let (address, server) = serve(frames);
    let stream = TcpStream::connect(address).expect("it listens");
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .max_message_size(Some(64 * 1024))
        .max_frame_size(Some(64 * 1024));
    let url = format!("ws://{address}/ws/");
    let (mut socket, _) =
        tungstenite::client::client_with_config(url, stream, Some(config)).expect("it is ours");
    let before = cpu("/proc/thread-self/stat");
    // The pong to its ping shows the server that all has arrived.
    while let Ok(message) = socket.read() {
        std::hint::black_box(message);
    }
    server.join().expect("it ends");
    cpu("/proc/thread-self/stat") - before
}

fn listener_in_flood(program: &Path, frames: Vec<u8>) -> Duration {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let (address, server) = serve(frames);
    let listener = Listener::start(program, directory.path(), &[address]);
    let before = listener.cpu();
    server.join().expect("it ends");
    listener.cpu() - before
}

fn nanoseconds_per_message(time: Duration) -> f64 {
    time.as_nanos() as f64 / MESSAGES as f64
}

/// The console as a server sends it: a text frame per line, not masked.
fn frames() -> Vec<u8> {
    let mut frames = vec![];
    for line in console(256).split_inclusive('\n') {
        frames.extend([0x81, u8::try_from(line.len()).expect("lines are short")]);
        frames.extend(line.as_bytes());
    }
    frames
}

/// Floods the first client with `frames` over and over, and closes once that has read them all.
fn serve(frames: Vec<u8>) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let lines = console(256).lines().count() as u64;
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("somebody comes");
        let socket = tungstenite::accept(stream).expect("it says hello");
        let mut stream = socket.get_ref().try_clone().expect("there are descriptors");
        for _ in 0..MESSAGES / lines {
            for chunk in frames.chunks(CHUNK) {
                stream.write_all(chunk).expect("it reads");
            }
        }
        stream.write_all(&[0x89, 0]).expect("it reads");
        let mut pong = [0; 6];
        stream.read_exact(&mut pong).expect("it answers");
    });
    (address, thread)
}

/// Memory and CPU of one process that listens to `size` batteries, each at the real rate.
fn fleet(listener: &Path, size: usize) {
    let (servers, addresses) = batteries(size);
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let listener = Listener::start(listener, directory.path(), &addresses);
    let database = listener.database.clone();
    let deadline = Instant::now() + Duration::from_secs(120);
    while owners(&database) < size {
        assert!(Instant::now() < deadline, "{} of {size} only", owners(&database));
        thread::sleep(Duration::from_millis(500));
    }
    let (cpu, written, rows_before) = (listener.cpu(), listener.written(), rows(&database));
    let start = Instant::now();
    thread::sleep(MEASURED);
    let share = (listener.cpu() - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let rows = rows(&database) - rows_before;
    let written = (listener.written() - written) as f64 / rows as f64;
    let peak = listener.peak_kib();
    drop(listener);
    drop(servers);
    println!(
        "fleet of {size}: peak {peak} KiB, {:.1} s of CPU per battery and day, \
         {rows} rows in {MEASURED:?}, {written:.0} bytes written per row, {} intervals missing",
        share * 86_400.0 / size as f64,
        missing(&database)
    );
}

fn batteries(size: usize) -> (Vec<Server>, Vec<SocketAddr>) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let pace = Pace::Free { speed: 1.0 };
    let battery = |seed| Battery::new(Profile::new(seed as u64, START));
    let (mut servers, mut addresses) = (vec![], vec![]);
    for n in 0..size {
        if n % PER_SERVER == 0 {
            let server = Server::bind(any, battery(n), pace).expect("loopback has a free port");
            addresses.push(server.local_addr());
            servers.push(server);
        } else if let Some(server) = servers.last_mut() {
            let control = server.add(any, battery(n), pace).expect("loopback has a free port");
            addresses.push(control.local_addr());
        }
    }
    (servers, addresses)
}

fn query(database: &Path, sql: &str) -> i64 {
    let answer = || -> rusqlite::Result<Option<i64>> {
        Connection::open(database)?.query_row(sql, (), |row| row.get(0))
    };
    // It may not be there yet.
    answer().ok().flatten().unwrap_or(0)
}

fn owners(database: &Path) -> usize {
    query(database, "SELECT count(DISTINCT mcu_id) FROM battery_pack") as usize
}

fn rows(database: &Path) -> i64 {
    query(database, "SELECT count(*) FROM battery_pack")
}

/// Rows that should stand between the first and the last one of a battery, and don't.
fn missing(database: &Path) -> i64 {
    let whole = format!("strftime('%s', insert_time_utc) / {INTERVAL}");
    query(
        database,
        &format!(
            "SELECT sum(last - first + 1 - rows) FROM
                 (SELECT max({whole}) AS last, min({whole}) AS first,
                         count(DISTINCT {whole}) AS rows
                  FROM battery_pack GROUP BY mcu_id)"
        ),
    )
}

/// The program under test; it is stopped as a user stops it.
struct Listener {
    child: Child,
    database: PathBuf,
}

impl Listener {
    fn start(program: &Path, directory: &Path, batteries: &[SocketAddr]) -> Self {
        let database = directory.join("bluenova.db");
        let mut command = Command::new(program);
        for battery in batteries {
            command.args(["-b", &battery.to_string()]);
        }
        let child = command
            .args(["-i", &INTERVAL.to_string()])
            .args(["-d", &format!("sqlite:{}", database.display())])
            .args(["-l", &directory.join("log").display().to_string()])
            .stderr(File::create(directory.join("stderr")).expect("it can be written"))
            .spawn()
            .expect("it was built");
        Self { child, database }
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    fn cpu(&self) -> Duration {
        cpu(&self.proc("stat"))
    }

    fn peak_kib(&self) -> u64 {
        number_behind(&self.proc("status"), "VmHWM:")
    }

    fn written(&self) -> u64 {
        number_behind(&self.proc("io"), "write_bytes:")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        _ = Command::new("kill").arg(id).status();
        _ = self.child.wait();
    }
}

/// User and system time of a process or thread; Linux counts it in hundredths of a second.
fn cpu(stat: &str) -> Duration {
    let stat = fs::read_to_string(stat).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in brackets");
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(10 * ticks)
}

fn number_behind(file: &str, label: &str) -> u64 {
    let text = fs::read_to_string(file).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {label} in {file}"))
}
