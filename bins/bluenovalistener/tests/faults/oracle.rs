//! What must be in the database, according to batteries that count, the program's log, and its
//! journal.
//!
//! A battery sends a running number in a column of its row, and what follows from that number in
//! others. So a row shows which message it was made from, and whether it is whole; and the time of
//! each message is stored here.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_simulator::{Control, Message, Pace, Server};
use bluenova_test_support::wait_until;
use nix::sys::signal::Signal;
use postgres::Client;
use time::UtcDateTime;

use crate::{
    rows::{Cell, Row, Rows, postgres_rows, row, same_row, sqlite_rows, stamp, volts},
    support::{Ended, Home, Listener, TIME_LIMIT, battery, count, loopback, named, stored},
};

/// Within that time of the end of a fault a fresh row must be in the database.
pub(crate) const RECOVERY: Duration = Duration::from_secs(90);

/// How often each battery sends its next number.
const PACE: Duration = Duration::from_millis(50);

/// How old the values of a row may be by its stamp: the interval, and time for a busy machine. That
/// none is older than its interval, its number shows, which stands in no other row.
const FRESH: time::Duration = time::Duration::seconds(61);

/// How long after the end of an interval its row must be in the journal.
const RECORDED_BY: time::Duration = time::Duration::SECOND;

/// The MCU ID of the first battery; the others count on.
const FIRST_ID: u32 = 0x2000_0000;

/// Batteries that count. No two of them ever send the same number.
pub(crate) struct Batteries {
    // It ends when it is dropped.
    _server: Server,
    controls: Vec<Control>,
    orders: Sender<Order>,
    sender: JoinHandle<Sent>,
}

enum Order {
    Pause,
    SendOnce,
    Resume,
}

/// What the batteries have sent: the time of each number. They take turns.
pub(crate) struct Sent {
    times: Vec<UtcDateTime>,
    batteries: usize,
}

impl Batteries {
    pub(crate) fn start(batteries: usize) -> Self {
        Self::start_at(loopback(), batteries)
    }

    pub(crate) fn start_at(address: std::net::SocketAddr, batteries: usize) -> Self {
        let mut server = Server::bind(address, battery(1), Pace::Lockstep).unwrap();
        let mut controls = vec![server.control()];
        for _ in 1..batteries {
            controls.push(server.add(address, battery(1), Pace::Lockstep).unwrap());
        }
        let (orders, received) = mpsc::channel();
        let sent_to = controls.clone();
        let sender = thread::spawn(move || send(&sent_to, &received));
        Self { _server: server, controls, orders, sender }
    }

    /// From now on they send nothing.
    pub(crate) fn pause(&self) {
        self.orders.send(Order::Pause).unwrap();
    }

    /// Each sends a single number.
    pub(crate) fn send_once(&self) {
        self.orders.send(Order::SendOnce).unwrap();
    }

    /// From now on they count again.
    pub(crate) fn resume(&self) {
        self.orders.send(Order::Resume).unwrap();
    }

    /// What they have sent, now that they send nothing more.
    pub(crate) fn end(self) -> Sent {
        drop(self.orders);
        self.sender.join().unwrap()
    }
}

pub(crate) fn mcu_id(battery: usize) -> u32 {
    FIRST_ID + u32::try_from(battery).unwrap()
}

fn name(battery: usize) -> String {
    format!("no{battery}")
}

fn send(controls: &[Control], orders: &Receiver<Order>) -> Sent {
    let mut sent = Sent { times: vec![], batteries: controls.len() };
    let mut is_paused = false;
    loop {
        match orders.recv_timeout(PACE) {
            Ok(Order::Pause) => is_paused = true,
            Ok(Order::Resume) => is_paused = false,
            Ok(Order::SendOnce) => sent.count_on(controls),
            Err(RecvTimeoutError::Disconnected) => return sent,
            Err(RecvTimeoutError::Timeout) if is_paused => {}
            Err(RecvTimeoutError::Timeout) => sent.count_on(controls),
        }
    }
}

/// One message, so that a row is never made from two numbers.
fn message(mcu_id: u32, number: usize) -> String {
    let (soc, temp) = (number % 101, number % 97);
    format!(
        "MCU ID: {mcu_id:08X}\nVpack: {number}\nSOC: {soc}\nTemp: {temp}\n\
         Errors: \"E{number}\"\nSOH: {number}\n"
    )
}

/// The row that follows from a number. Numbers stay well below 2^24, up to which each is a `REAL`.
fn row_of(number: usize) -> Row {
    row(&[
        ("health", Cell::Real(number as f32)),
        ("v_pack", volts(number)),
        ("soc", Cell::Int((number % 101) as i64)),
        ("temp", Cell::Int((number % 97) as i64)),
        ("errors", Cell::Text(format!("E{number}"))),
    ])
}

fn number_of(row: &Row) -> usize {
    match row["health"] {
        Cell::Real(number) => number as usize,
        ref other => panic!("no number: {other:?}"),
    }
}

/// The program as it listens to the batteries, through all of its runs.
pub(crate) struct Program {
    home: Home,
    args: Vec<String>,
    /// Makes the command another one: in a network of its own, for instance.
    wrap: fn(Command) -> Command,
    names: Vec<String>,
    listener: Option<Listener>,
    /// When it was seen to be connected to all batteries in its present run.
    connected_since: Option<UtcDateTime>,
    runs: Vec<Run>,
}

/// One run of the program, from start to end.
struct Run {
    log: Vec<String>,
    /// Throughout this time it was connected to all batteries.
    connected: Option<(UtcDateTime, UtcDateTime)>,
}

impl Program {
    /// Starts the program, and waits until it is connected to all `batteries`.
    pub(crate) fn start(batteries: &Batteries, database: &str) -> Self {
        let mut program = Self::new(batteries, database);
        program.launch();
        program.wait_until_connected();
        program
    }

    /// Starts nothing yet.
    pub(crate) fn new(batteries: &Batteries, database: &str) -> Self {
        Self::listening_to(batteries, 0..batteries.controls.len(), database)
    }

    /// Listens to some of the batteries only; starts nothing yet.
    pub(crate) fn listening_to(
        batteries: &Batteries,
        some: impl Iterator<Item = usize>,
        database: &str,
    ) -> Self {
        let home = Home::new();
        let journal = home.path("journal.sqlite").display().to_string();
        let mut args =
            ["-i", "1", "-d", database, "--journal", &journal].map(str::to_owned).to_vec();
        let mut names = vec![];
        for battery in some {
            let name = name(battery);
            args.extend(["-b".to_owned(), named(&name, batteries.controls[battery].local_addr())]);
            names.push(name);
        }
        let wrap = |command| command;
        Self { home, args, wrap, names, listener: None, connected_since: None, runs: vec![] }
    }

    pub(crate) fn wrapped(self, wrap: fn(Command) -> Command) -> Self {
        Self { wrap, ..self }
    }

    /// Leaves the path of the journal to the program.
    pub(crate) fn with_journal_of_its_own(mut self) -> Self {
        let at = self.args.iter().position(|arg| arg == "--journal").unwrap();
        self.args.drain(at..at + 2);
        self
    }

    /// From the next start on it dials the batteries at this `host`.
    pub(crate) fn dials(&mut self, host: &str) {
        for arg in &mut self.args {
            if let Some((name, port)) = arg
                .split_once('=')
                .zip(arg.rsplit_once(':'))
                .filter(|((name, _), _)| self.names.iter().any(|own| own == name))
                .map(|((name, _), (_, port))| (name, port))
            {
                *arg = named(name, format!("{host}:{port}"));
            }
        }
    }

    /// Gives the program further arguments.
    pub(crate) fn with(mut self, args: impl IntoIterator<Item = String>) -> Self {
        self.args.extend(args);
        self
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The arguments with which it listens.
    pub(crate) fn args(&self) -> Vec<&str> {
        self.args.iter().map(String::as_str).collect()
    }

    pub(crate) fn listener(&mut self) -> &mut Listener {
        self.listener.as_mut().unwrap()
    }

    /// Starts it, and waits for nothing.
    pub(crate) fn launch(&mut self) {
        assert!(self.listener.is_none(), "it is running");
        let command = (self.wrap)(self.home.command(&self.args()));
        self.listener = Some(Listener::start(command));
    }

    pub(crate) fn wait_until_connected(&mut self) {
        wait_until("it is connected to all batteries", TIME_LIMIT, || self.is_connected());
    }

    /// Lets it run for that long, and not a moment longer.
    pub(crate) fn runs_for(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.is_connected();
            thread::sleep(Duration::from_millis(5).min(end - Instant::now().min(end)));
        }
    }

    fn is_connected(&mut self) -> bool {
        if self.connected_since.is_none() {
            let log = self.listener.as_mut().unwrap().log();
            let is_connected =
                |name: &String| count(log, &format!(" {name}: connected to ws://")) > 0;
            self.connected_since = self.names.iter().all(is_connected).then(UtcDateTime::now);
        }
        self.connected_since.is_some()
    }

    /// Waits until it has recorded that many more rows.
    #[track_caller]
    pub(crate) fn records(&mut self, rows: usize) {
        for _ in 0..rows {
            self.listener().wait_for(": stored ");
        }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let until = UtcDateTime::now();
        let ended = self.listener.take().unwrap().end(Signal::SIGKILL);
        self.end_run(until, ended);
    }

    /// SIGTERM, after which it must end well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let until = UtcDateTime::now();
        let ended = self.listener.take().unwrap().stop();
        self.end_run(until, ended);
    }

    /// Ends it well, and starts it again as long as rows are left for the next start. Of a server
    /// that takes rows that happens where the last row is a bad one, which is set aside only when
    /// another one is taken, or where damage shows when the recorder has ended.
    #[track_caller]
    pub(crate) fn stop_with_nothing_left(&mut self) {
        for _ in 0..10 {
            self.stop();
            let log = self.runs.last().map(|run| &run.log[..]).unwrap_or_default();
            if count(log, "to be delivered at the next start") == 0 {
                return;
            }
            self.launch();
            self.wait_until_connected();
            self.records(1);
        }
        panic!("its rows are never delivered:\n{}", self.log().join("\n"));
    }

    fn end_run(&mut self, until: UtcDateTime, ended: Ended) {
        let connected = self.connected_since.take().map(|since| (since, until));
        self.runs.push(Run { log: ended.log, connected });
    }

    /// Whether it was connected to all batteries throughout this time, in one of its runs.
    pub(crate) fn was_connected(&self, from: UtcDateTime, to: UtcDateTime) -> bool {
        let mut connected = self.runs.iter().filter_map(|run| run.connected);
        connected.any(|(since, until)| since <= from && to <= until)
    }

    /// The log of its runs that are over.
    pub(crate) fn log(&self) -> Vec<&str> {
        self.runs.iter().flat_map(|run| &run.log).map(String::as_str).collect()
    }

    /// The rows of its journal.
    pub(crate) fn journal(&self) -> Rows {
        sqlite_rows(&self.home.path("journal.sqlite"))
    }

    /// The rows that are stored according to its log.
    fn stored(&self) -> BTreeSet<(String, i64)> {
        let log = self.log();
        let of = |name: &String| {
            let battery: usize = name[2..].parse().unwrap();
            stored(&log, name).into_iter().map(move |stamp| (stamp, mcu_id(battery).into()))
        };
        self.names.iter().flat_map(of).collect()
    }
}

/// Sets the table up, and counts the batches that add no row.
pub(crate) fn prepare(client: &mut Client) {
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    client
        .batch_execute(
            "CREATE TABLE resent (at TIMESTAMPTZ NOT NULL DEFAULT now());
             CREATE FUNCTION count_resent() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 IF NOT EXISTS (SELECT FROM added) THEN
                     INSERT INTO resent DEFAULT VALUES;
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER count_resent AFTER INSERT ON battery_pack
             REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE PROCEDURE count_resent()",
        )
        .unwrap();
}

/// How many batches have added no row since [`prepare`].
pub(crate) fn resent(client: &mut Client) -> i64 {
    client.query_one("SELECT count(*) FROM resent", &[]).unwrap().get(0)
}

/// Waits until a row is in the table that ended after this call, the end of a fault. Gives the time
/// that it took.
#[track_caller]
pub(crate) fn fresh_row(client: &mut Client) -> Duration {
    let (start, end) = (Instant::now(), UtcDateTime::now());
    let end = time::PrimitiveDateTime::new(end.date(), end.time());
    let sql = "SELECT EXISTS (SELECT 1 FROM battery_pack WHERE insert_time_utc > $1)";
    wait_until("a fresh row arrives", RECOVERY, || {
        // There may be no table yet.
        client.query_one(sql, &[&end]).is_ok_and(|row| row.get(0))
    });
    start.elapsed()
}

/// Rows that need not be in the table: those that are set aside.
pub(crate) type Exceptions = BTreeSet<(String, i64)>;

/// Compares what the batteries have sent, and what the `programs`, all of them stopped, have
/// recorded, with what is in the table. Gives the number of rows.
#[track_caller]
pub(crate) fn check(client: &mut Client, sent: &Sent, programs: &[&Program]) -> usize {
    check_except(client, sent, programs, &Exceptions::new())
}

#[track_caller]
pub(crate) fn check_except(
    client: &mut Client,
    sent: &Sent,
    programs: &[&Program],
    exceptions: &Exceptions,
) -> usize {
    let rows = undoubled_rows(client);
    let journals: Vec<Rows> = programs.iter().map(|program| program.journal()).collect();
    for (program, journal) in programs.iter().zip(&journals) {
        // What is stored according to the log is there, and so is what was stored without a line.
        let recorded: BTreeSet<_> =
            program.stored().into_iter().chain(journal.keys().cloned()).collect();
        let missing: Vec<_> = recorded
            .iter()
            .filter(|key| !rows.contains_key(*key) && !exceptions.contains(*key))
            .collect();
        assert!(missing.is_empty(), "not in the table: {missing:?}\n{}", program.log().join("\n"));
        intervals_are_there(sent, program, &rows, exceptions);
    }
    let mut numbers = BTreeMap::new();
    for (key, row) in &rows {
        sent.is_whole(key, row);
        sent.is_in_time(key, row);
        let is_recorded = journals.iter().any(|journal| journal.get(key) == Some(row));
        assert!(is_recorded, "{key:?} is in no journal: {row:?}");
        // Two programs may get a number on different sides of an interval's end.
        if let Some(earlier) = numbers.insert(number_of(row), key)
            && programs.len() == 1
        {
            panic!("{earlier:?} and {key:?} have the same number");
        }
    }
    rows.len()
}

/// The same where the journal does not hold all that was recorded, since its file is what suffers.
#[track_caller]
pub(crate) fn check_without_journal(client: &mut Client, sent: &Sent, program: &Program) -> usize {
    let rows = undoubled_rows(client);
    let missing: Vec<_> =
        program.stored().into_iter().filter(|key| !rows.contains_key(key)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}\n{}", program.log().join("\n"));
    intervals_are_there(sent, program, &rows, &Exceptions::new());
    check_numbers(sent, &rows);
    rows.iter().for_each(|(key, row)| sent.is_in_time(key, row));
    rows.len()
}

/// What holds even where no clock can be trusted: each number is there once at most, with the
/// values that follow from it. Gives the numbers in the order of the stamps.
#[track_caller]
pub(crate) fn check_numbers(sent: &Sent, rows: &Rows) -> Vec<usize> {
    let numbers: Vec<usize> = rows.iter().map(|(key, row)| sent.is_whole(key, row)).collect();
    let distinct: BTreeSet<usize> = numbers.iter().copied().collect();
    assert_eq!(numbers.len(), distinct.len(), "numbers are doubled: {numbers:?}");
    numbers
}

/// All rows of the table.
#[track_caller]
pub(crate) fn undoubled_rows(client: &mut Client) -> Rows {
    let sql = "SELECT count(*), count(DISTINCT (insert_time_utc, mcu_id)) FROM battery_pack";
    let counts = client.query_one(sql, &[]).unwrap();
    assert_eq!(counts.get::<_, i64>(0), counts.get::<_, i64>(1), "rows are doubled");
    postgres_rows(client)
}

/// Checks that each interval is there of which a program was connected for the half or more, until
/// its end: the end of a process costs no more than the interval under way.
#[track_caller]
fn intervals_are_there(sent: &Sent, program: &Program, rows: &Rows, exceptions: &Exceptions) {
    for (since, until) in program.runs.iter().filter_map(|run| run.connected) {
        let half_past = (since + time::Duration::milliseconds(500)).replace_nanosecond(0).unwrap();
        let ends = (1..).map(|n| half_past + time::Duration::seconds(n));
        for end in ends.take_while(|end| *end + RECORDED_BY < until) {
            for name in &program.names {
                let battery: usize = name[2..].parse().unwrap();
                let key = (stamp(end), i64::from(mcu_id(battery)));
                let is_there = rows.contains_key(&key) || exceptions.contains(&key);
                assert!(
                    is_there || !sent.sent_throughout(battery, since, end),
                    "{key:?} was sent and not recorded, from {since} to {until}\n{}",
                    program.log().join("\n")
                );
            }
        }
    }
}

impl Sent {
    /// Each battery sends its next number.
    fn count_on(&mut self, controls: &[Control]) {
        for (battery, control) in controls.iter().enumerate() {
            let message = message(mcu_id(battery), self.times.len());
            self.times.push(UtcDateTime::now());
            control.send(Message::Text(message.into())).unwrap();
        }
    }

    /// When a number was sent.
    pub(crate) fn time(&self, number: usize) -> UtcDateTime {
        self.times[number]
    }

    /// Whether the battery sent throughout the second that ends there, or what was left of it, and
    /// until its row had to be recorded. Where it did not, it was paused, or the whole machine
    /// stood still, and so did the program.
    fn sent_throughout(&self, battery: usize, since: UtcDateTime, end: UtcDateTime) -> bool {
        let (from, to) = (since.max(end - time::Duration::SECOND), end + RECORDED_BY);
        let first = self.times.partition_point(|time| *time < from);
        let last = self.times.partition_point(|time| *time < to);
        let own = (first..last).filter(|number| number % self.batteries == battery);
        let mut latest = from;
        for time in own.map(|number| self.times[number]).chain([to]) {
            if time - latest > PACE * 3 {
                return false;
            }
            latest = time;
        }
        true
    }

    /// Checks that a battery has sent the values of a row, and all of them. Gives the number.
    #[track_caller]
    fn is_whole(&self, key: &(String, i64), row: &Row) -> usize {
        let number = number_of(row);
        assert!(number < self.times.len(), "{key:?}: nobody sent {number}");
        same_row(&format!("{key:?}"), row, &row_of(number));
        assert_eq!(key.1, i64::from(mcu_id(number % self.batteries)), "{number} is another's");
        number
    }

    /// Checks that they were sent in the row's interval, or not long before.
    #[track_caller]
    fn is_in_time(&self, key: &(String, i64), row: &Row) {
        let number = number_of(row);
        let time = self.times[number];
        // Times compare as text, once all have their fraction.
        let ended = if key.0.len() == 19 { format!("{}.000000", key.0) } else { key.0.clone() };
        let [sent, latest] = [time, time + FRESH].map(|time| {
            format!("{}.{:06}", stamp(time.replace_nanosecond(0).unwrap()), time.microsecond())
        });
        assert!(sent <= ended, "{key:?}: {number} was sent later, {sent}");
        assert!(ended <= latest, "{key:?}: {number} was sent long before, {sent}");
    }
}
