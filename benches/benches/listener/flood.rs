use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use bluenova_benches::console;
use tungstenite::protocol::WebSocketConfig;

use crate::program::{Listener, cpu};

/// Messages of a flood. Linux counts CPU time in hundredths of a second, of which the bare loop
/// takes some 70.
const MESSAGES: u64 = 20_000_000;

/// How often a flood is sent to each. The machine isn't equally fast all the time.
const ROUNDS: usize = 5;

/// Frames that go to the socket at once.
const CHUNK: usize = 64 * 1024;

/// CPU time per console message, beside a bare loop around `tungstenite`'s `read`.
pub(crate) fn flood(listener: &Path) {
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
    let database = directory.path().join("bluenova.db");
    let listener = Listener::to_sqlite(program, &database, &[address.to_string()]);
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
