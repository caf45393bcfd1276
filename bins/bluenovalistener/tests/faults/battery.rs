//! Scenario 19: whatever a battery does, it is dialled again in time, memory stays flat, and the
//! rows of another battery in the same process are unharmed.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_simulator::{Control, Event, Fault, Message, Pace, Server};
use bluenova_test_support::{ReservedPort, TIME_LIMIT, wait_until};
use postgres::Client;

use crate::{
    is_full,
    oracle::{Batteries, Program, check_except, fresh_row, mcu_id, prepare},
    process::Process,
    seconds,
    support::{battery, loopback, named, shared_cluster},
};

/// The program's back-off between two dials while it gets no line, in seconds.
const BACK_OFF: [u64; 12] = [1, 1, 2, 2, 3, 3, 5, 5, 10, 10, 30, 60];

/// The program's deadline for a silent battery, in seconds. It dials again a second later.
const SILENCE: u64 = 40;

/// All kinds of bad batteries.
struct BadBatteries {
    /// These are given up after [`SILENCE`].
    quiet: [BadBattery; 3],
    flood: BadBattery,
    /// These fail at once, without a line.
    wrong: [BadBattery; 5],
    /// So does this one, but after some lines.
    reset: BadBattery,
    _simulators: Server,
}

impl BadBatteries {
    fn new() -> Self {
        let mut simulators =
            Server::bind(loopback(), battery(1), Pace::Free { speed: 4.0 }).unwrap();
        let talking = simulators.local_addr();
        let mut simulated = || simulators.add(loopback(), battery(1), Pace::Lockstep).unwrap();
        Self {
            quiet: [
                BadBattery::battery("silence", simulated(), falls_silent),
                BadBattery::battery("half-open", simulated(), hangs()),
                BadBattery::battery("drip", simulated(), drips()),
            ],
            flood: BadBattery::battery("flood", simulated(), floods()),
            wrong: [
                BadBattery::battery("endless", simulated(), endless),
                BadBattery::server("error", answers("HTTP/1.1 503 Out of Order\r\n\r\n")),
                BadBattery::server("redirect", answers(REDIRECT)),
                BadBattery::server("mail", answers("220 battery.example ESMTP\r\n")),
                BadBattery::server(
                    "headers",
                    answers_for_ever("HTTP/1.1 101 Switching Protocols\r\nX: "),
                ),
            ],
            reset: BadBattery::server("reset", resets(talking)),
            _simulators: simulators,
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut BadBattery> {
        let others = [&mut self.flood, &mut self.reset];
        self.quiet.iter_mut().chain(&mut self.wrong).chain(others)
    }

    fn go_on_for(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        self.all().for_each(BadBattery::go_on);
        thread::sleep(Duration::from_millis(10));
    }

    /// Goes on until all that fail at once were dialled often enough to see the back-off.
    fn go_on_until_dialled_often(&mut self) {
        wait_until("they are dialled often", TIME_LIMIT, || {
            self.go_on();
            self.wrong.iter().chain([&self.reset]).all(|bad| bad.dials.len() > 3)
        });
    }

    #[track_caller]
    fn were_redialled_in_time(&self, launched: Instant) {
        for wrong in &self.wrong {
            wrong.was_redialled_after(&BACK_OFF, launched);
        }
        self.reset.was_redialled_after(&[1], launched);
        assert_eq!(self.flood.dials.len(), 1, "its connection was good enough");
        for quiet in &self.quiet {
            let least = if is_full() { 2 } else { 1 };
            assert!(quiet.dials.len() >= least, "{}: {:?}", quiet.name, quiet.dials);
            quiet.was_redialled_after(&[SILENCE], launched);
        }
    }
}

/// A bad battery, and when it was dialled.
struct BadBattery {
    name: &'static str,
    address: SocketAddr,
    dialled: Box<dyn FnMut() -> bool>,
    dials: Vec<Instant>,
    /// What it does when it was dialled (`true`), and all the time.
    acts: Box<dyn FnMut(bool)>,
}

impl BadBattery {
    /// Does bad things to connections.
    fn server(
        name: &'static str,
        treat: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let server = BadServer::start(treat);
        Self {
            name,
            address: server.address,
            dialled: Box::new(move || server.dials.try_recv().is_ok()),
            dials: vec![],
            acts: Box::new(|_| {}),
        }
    }

    /// Does bad things once the handshake is done.
    fn battery(
        name: &'static str,
        control: Control,
        mut acts: impl FnMut(&Control, bool) + 'static,
    ) -> Self {
        let events = control.events().unwrap();
        let dialled =
            move || events.try_iter().any(|event| matches!(event, Event::Connected { .. }));
        Self {
            name,
            address: control.local_addr(),
            dialled: Box::new(dialled),
            dials: vec![],
            acts: Box::new(move |dialled| acts(&control, dialled)),
        }
    }

    fn go_on(&mut self) {
        let dialled = (self.dialled)();
        if dialled {
            self.dials.push(Instant::now());
        }
        (self.acts)(dialled);
    }

    /// Checks that the back-off between the dials was kept. A dial may be noticed late, and may be
    /// late, but it is never early.
    #[track_caller]
    fn was_redialled_after(&self, back_off: &[u64], launched: Instant) {
        let now = Instant::now();
        let (name, dials) = (self.name, &self.dials);
        let mut earliest = launched;
        for (i, dial) in dials.iter().enumerate() {
            assert!(*dial >= earliest, "{name}: dial {i} was early: {dials:?}");
            let back_off = Duration::from_secs(back_off[i.min(back_off.len() - 1)]);
            let gap = dials.get(i + 1).unwrap_or(&now).duration_since(*dial);
            assert!(gap < back_off + TIME_LIMIT, "{name}: {gap:?} after dial {i}: {dials:?}");
            earliest += back_off;
        }
    }
}

/// Accepts connections until dropped, and treats each on a thread of its own.
struct BadServer {
    address: SocketAddr,
    dials: Receiver<()>,
    over: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl BadServer {
    fn start(treat: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, dials) = mpsc::channel();
        let (over, treat) = (Arc::new(AtomicBool::new(false)), Arc::new(treat));
        let is_over = Arc::clone(&over);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) || sender.send(()).is_err() {
                    break;
                }
                let treat = Arc::clone(&treat);
                // It ends with the connection, which the program's end ends in any case.
                thread::spawn(move || treat(stream));
            }
        });
        Self { address, dials, over, acceptor: Some(acceptor) }
    }
}

impl Drop for BadServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            _ = acceptor.join();
        }
    }
}

const REDIRECT: &str =
    "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1/ws/\r\nContent-Length: 0\r\n\r\n";

fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut request = vec![];
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    Ok(())
}

/// Says something else than a WebSocket would, and hangs up.
fn answers(answer: &'static str) -> impl Fn(TcpStream) -> io::Result<()> {
    move |mut stream| {
        read_request(&mut stream)?;
        stream.write_all(answer.as_bytes())
    }
}

/// Says something that has no end.
fn answers_for_ever(start: &'static str) -> impl Fn(TcpStream) -> io::Result<()> {
    move |mut stream| {
        read_request(&mut stream)?;
        stream.write_all(start.as_bytes())?;
        loop {
            stream.write_all(&[b'x'; 4096])?;
        }
    }
}

/// Forwards what `battery` sends, and resets the connection in the middle of a frame.
fn resets(battery: SocketAddr) -> impl Fn(TcpStream) -> io::Result<()> {
    move |mut client| {
        let mut request = [0; 4096];
        let length = loop {
            match client.peek(&mut request)? {
                0 => return Ok(()),
                n if request[..n].ends_with(b"\r\n\r\n") => break n,
                _ => thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut server = TcpStream::connect(battery)?;
        server.write_all(&request[..length])?;
        let mut sent = vec![];
        while sent.len() < 1000 {
            let mut chunk = [0; 1000];
            let read = server.read(&mut chunk)?;
            sent.extend_from_slice(&chunk[..read]);
        }
        // Frames are shorter than this.
        client.write_all(&sent[..997])?;
        // The request was looked at only: closing a socket with something unread is a reset.
        Ok(())
    }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ ..=125) => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// A message in fragments, of which none is the last. It is given up long before they are sent.
fn endless(control: &Control, dialled: bool) {
    if dialled {
        let mut frames = frame(0x01, b"Errors: \"");
        frames.extend(frame(0x00, &[b'x'; 1000]).repeat(1000));
        control.send(Message::Raw(frames)).unwrap();
    }
}

/// A frame that comes byte by byte, and would take hours.
fn drips() -> impl FnMut(&Control, bool) {
    let bytes = frame(0x81, &[b'x'; 60_000]);
    let (mut at, mut next) = (0, Instant::now());
    move |control, dialled| {
        if dialled {
            at = 0;
        }
        if Instant::now() >= next {
            control.send(Message::Raw(vec![bytes[at]])).unwrap();
            at += 1;
            next = Instant::now() + Duration::from_millis(250);
        }
    }
}

/// The MCU ID of the battery that falls silent.
const SILENT: u32 = 0x51;

/// One good line, and then nothing but answers to pings.
fn falls_silent(control: &Control, dialled: bool) {
    if dialled {
        control.send(Message::Text(format!("MCU ID: {SILENT:X}\nSOC: 51").into())).unwrap();
    }
}

/// Not even that, for as long as it takes to be given up.
fn hangs() -> impl FnMut(&Control, bool) {
    let mut since = None;
    move |control, dialled| {
        if dialled && since.is_none() {
            control.fault(Fault::HalfOpen).unwrap();
            since = Some(Instant::now());
        }
        if since.is_some_and(|since| since.elapsed() > Duration::from_secs(SILENCE + 4)) {
            control.fault(Fault::Healthy).unwrap();
        }
    }
}

/// The battery with this MCU ID sends 10,000 malformed lines a second, and good ones in between.
const FLOOD: u32 = 0xF100D;

fn floods() -> impl FnMut(&Control, bool) {
    let mut next = Instant::now();
    let flood: Vec<u8> = (0..500)
        .flat_map(|n| frame(0x81, format!("C{:02}) T: ??, V: 33x{n}\r\n", n % 16 + 1).as_bytes()))
        .collect();
    move |control, _| {
        while Instant::now() >= next {
            control.send(Message::Raw(flood.clone())).unwrap();
            control.send(Message::Text(format!("MCU ID: {FLOOD:X}\nSOC: 42").into())).unwrap();
            next += Duration::from_millis(50);
        }
    }
}

#[test]
fn s19_bad_batteries_are_dialled_again_and_do_no_harm_to_a_good_one() {
    let cluster = shared_cluster();
    cluster.create_database("bad_batteries");
    let mut client = cluster.client("bad_batteries");
    prepare(&mut client);
    let mut bad = BadBatteries::new();
    let nobody = ReservedPort::new();
    let refused = nobody.address();
    let good = Batteries::start(1);
    let mut program = Program::new(&good, &cluster.url("bad_batteries"))
        .with(bad.all().flat_map(|bad| ["-b".to_owned(), named(bad.name, bad.address)]))
        .with(["-b".to_owned(), named("refused", refused)]);
    let launched = Instant::now();
    program.launch();
    program.wait_until_connected();

    let lasts = seconds(14, 110);
    let process = Process(program.listener().pid());
    bad.go_on_for(Duration::from_secs(4));
    let (memory, threads) = (process.memory(), process.threads());
    bad.go_on_for(lasts - Duration::from_secs(4));
    let (grown, now) = (process.memory().saturating_sub(memory), process.threads());
    println!("bad batteries: {memory} KiB, {grown} more after {lasts:?}; {threads} threads, {now}");
    assert!(grown < 4096, "from {memory} KiB by {grown} KiB");
    assert!(now < threads + 10, "{threads} threads, {now}");
    bad.go_on_until_dialled_often();
    bad.were_redialled_in_time(launched);

    let late = Server::bind(refused, battery(2), Pace::Lockstep).unwrap();
    late.control().wait_for_clients(1, seconds(5, 60) + TIME_LIMIT).unwrap();
    fresh_row(&mut client);
    program.stop();
    let log = program.log();
    let others: Vec<_> = log.iter().filter(|line| !line.contains(": stored ")).collect();
    // Ten for each that comes and goes.
    assert!(others.len() < 100, "{others:#?}");
    neighbours_rows(&mut client, &bad, lasts.as_secs());

    let ours = i64::from(mcu_id(0));
    let others = program.journal().into_keys().filter(|(_, id)| *id != ours).collect();
    client.execute("DELETE FROM battery_pack WHERE mcu_id <> $1", &[&ours]).unwrap();
    check_except(&mut client, &good.end(), &[&program], &others);
}

/// One row a second of the battery that sends mostly nonsense; of the silent one none but those for
/// its only lines.
fn neighbours_rows(client: &mut Client, bad: &BadBatteries, seconds: u64) {
    let mut count = |what: String| {
        let sql = format!("SELECT count(*) FROM battery_pack WHERE {what}");
        u64::try_from(client.query_one(&sql, &[]).unwrap().get::<_, i64>(0)).unwrap()
    };
    let flooded = count(format!("mcu_id = {FLOOD} AND soc = 42 AND cell_01_t IS NULL"));
    // A busy machine may leave out a second.
    assert!(flooded * 2 > seconds, "{flooded} rows in {seconds} s");
    assert_eq!(count(format!("mcu_id = {FLOOD}")), flooded);
    assert_eq!(count(format!("mcu_id = {SILENT}")), bad.quiet[0].dials.len() as u64);
}
