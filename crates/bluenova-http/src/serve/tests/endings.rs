use std::{
    env,
    fs::File,
    io::{Read, Seek},
    iter,
    net::TcpListener,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use log::{LevelFilter, Log, Metadata, Record};

use super::{
    super::ACCEPT_PAUSE, Client, Limits, MINUTE, assert_due, pages, serve, serve_with, start,
    unhurried, wait_for_threads,
};

/// Set for a process that may open few files only.
const FEW_FILES: &str = "BLUENOVA_TEST_FEW_FILES";

#[test]
fn stopping_ends_all_connections_at_once() {
    let server = serve(unhurried());
    let silent = Client::connect(&server);
    let mut slow = Client::connect(&server);
    slow.send("GET / HT");
    let mut idle = Client::connect(&server);
    idle.get("/");
    let mut full = Client::connect(&server);
    full.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for_threads(&server, 4);

    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < MINUTE, "{:?}", started.elapsed());
    for mut client in [silent, slow, idle, full] {
        client.drain();
    }
}

#[test]
fn dropping_stops_and_so_does_any_kind_of_address() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            assert!(address.starts_with('['), "only IPv6 may be missing");
            continue;
        };
        let server = start(listener, unhurried(), pages).unwrap();
        let started = Instant::now();
        drop(server);
        assert!(started.elapsed() < MINUTE, "{address}");
    }
}

#[test]
fn stopping_does_not_wait_for_a_page_that_hangs() {
    let (started, starts) = mpsc::channel();
    let (release, hold) = mpsc::channel::<()>();
    let (ended, ends) = mpsc::channel();
    let hold = Mutex::new(hold);
    let stop = Duration::from_millis(300);
    let server = serve_with(Limits { stop, ..unhurried() }, move |request| {
        started.send(()).unwrap();
        _ = hold.lock().unwrap().recv();
        ended.send(()).unwrap();
        pages(request)
    });
    let mut client = Client::connect(&server);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    starts.recv_timeout(MINUTE).unwrap();
    let stopping = Instant::now();
    server.stop();
    assert_due(stopping, stop);
    assert!(client.drain().is_empty());
    drop(release);
    ends.recv_timeout(MINUTE).expect("it ends by itself later");
}

#[test]
fn stopping_does_not_wait_for_a_connection_to_be_admitted() {
    let limits = Limits { connections: 1, grace: 2 * MINUTE, ..unhurried() };
    let server = serve(limits);
    let _first = Client::connect(&server);
    wait_for_threads(&server, 1);
    let mut second = Client::connect(&server);
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < MINUTE);
    second.drain();
}

/// Runs [`few_files`] in a process of its own, since the limit holds for the whole process.
#[test]
fn running_out_of_files_is_survived() {
    let this = env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", r#"ulimit -n 40 && exec "$0" "$@""#])
        .arg(this)
        .args(["few_files", "--nocapture"])
        .env(FEW_FILES, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("survived"), "{printed}");
}

#[test]
fn few_files() {
    if env::var_os(FEW_FILES).is_none() {
        return;
    }
    log::set_logger(&Counter).unwrap();
    log::set_max_level(LevelFilter::Warn);
    let server = serve(unhurried());
    let mut statistics = File::open("/proc/self/stat").ok();
    let mut files: Vec<_> = iter::from_fn(|| File::open("/dev/null").ok()).take(40).collect();
    assert!(files.len() < 40, "the limit of files is not in force");

    // HttpServer and clients open files too, so that soon there is none left for the server.
    let mut clients = vec![];
    let has_complained = || MESSAGES.load(Ordering::Relaxed) > 0;
    while !has_complained() {
        files.pop().expect("it never ran out of files");
        clients.extend(Client::try_connect(&server).ok());
        // However long it takes to accept the client, or to fail to.
        let started = Instant::now();
        while !has_complained() && server.connections.threads() < clients.len() {
            assert!(started.elapsed() < MINUTE, "{} clients", clients.len());
            thread::sleep(Duration::from_millis(1));
        }
    }
    let before = statistics.as_mut().map(processor_ticks);
    thread::sleep(ACCEPT_PAUSE * 5);
    if let (Some(before), Some(statistics)) = (before, &mut statistics) {
        let ticks = processor_ticks(statistics) - before;
        assert!(
            ticks < 25,
            "{ticks} ticks, of 100 a second at least: it was busy half of the time"
        );
    }
    drop(files);
    let mut last = Client::try_connect(&server).unwrap();
    assert_eq!(last.get("/").status, 200);
    assert_eq!(MESSAGES.load(Ordering::Relaxed), 1, "one for several failures");

    clients.extend(iter::from_fn(|| Client::try_connect(&server).ok()));
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < MINUTE);
    println!("survived");
}

/// Processor time of this process, on systems that have it in a file (Linux).
fn processor_ticks(statistics: &mut File) -> u64 {
    let mut text = String::new();
    statistics.rewind().unwrap();
    statistics.read_to_string(&mut text).unwrap();
    let (_, fields) = text.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

static MESSAGES: AtomicUsize = AtomicUsize::new(0);

struct Counter;

impl Log for Counter {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        MESSAGES.fetch_add(1, Ordering::Relaxed);
        eprintln!("{}", record.args());
    }

    fn flush(&self) {}
}
