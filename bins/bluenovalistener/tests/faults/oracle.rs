//! Who knows what must be in the database: batteries that count, the program's own words, and its
//! journal.
//!
//! A battery says a running number in a column of its row, and what follows from that number in
//! others. So a row tells which of the battery's sentences it was made from, and whether it is
//! whole; and the battery knows when it said it.

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

/// How often each battery says its next number.
const PACE: Duration = Duration::from_millis(50);

/// How old the values of a row may be by its stamp: the interval, and time for a busy machine. That
/// none is older than its interval, its number shows, which stands in no other row.
const FRESH: time::Duration = time::Duration::seconds(61);

/// How long after the end of an interval its row must be in the journal.
const RECORDED_BY: time::Duration = time::Duration::milliseconds(500);

/// The MCU ID of the first battery; the others count on.
const FIRST_ID: u32 = 0x2000_0000;

/// Batteries that count. No two of them ever say the same number.
pub(crate) struct Batteries {
    // It ends when it is dropped.
    _server: Server,
    controls: Vec<Control>,
    orders: Sender<Order>,
    teller: JoinHandle<Said>,
}

enum Order {
    Silence,
    Word,
    Speech,
}

/// What the batteries have said: the time of each number. They take turns.
pub(crate) struct Said {
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
        let told = controls.clone();
        let teller = thread::spawn(move || tell(&told, &received));
        Self { _server: server, controls, orders, teller }
    }

    /// From now on they say nothing.
    pub(crate) fn fall_silent(&self) {
        self.orders.send(Order::Silence).unwrap();
    }

    /// Each says a single number.
    pub(crate) fn speak_once(&self) {
        self.orders.send(Order::Word).unwrap();
    }

    /// From now on they count again.
    pub(crate) fn speak(&self) {
        self.orders.send(Order::Speech).unwrap();
    }

    /// What they have said, now that they say nothing more.
    pub(crate) fn end(self) -> Said {
        drop(self.orders);
        self.teller.join().unwrap()
    }
}

pub(crate) fn mcu_id(battery: usize) -> u32 {
    FIRST_ID + u32::try_from(battery).unwrap()
}

fn name(battery: usize) -> String {
    format!("no{battery}")
}

fn tell(controls: &[Control], orders: &Receiver<Order>) -> Said {
    let mut said = Said { times: vec![], batteries: controls.len() };
    let mut is_silent = false;
    loop {
        match orders.recv_timeout(PACE) {
            Ok(Order::Silence) => is_silent = true,
            Ok(Order::Speech) => is_silent = false,
            Ok(Order::Word) => said.count_on(controls),
            Err(RecvTimeoutError::Disconnected) => return said,
            Err(RecvTimeoutError::Timeout) if is_silent => {}
            Err(RecvTimeoutError::Timeout) => said.count_on(controls),
        }
    }
}

/// One message, so that a row is never made from two numbers.
fn sentence(mcu_id: u32, number: usize) -> String {
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

/// A program that listens to the batteries, through all of its lives.
pub(crate) struct Post {
    home: Home,
    args: Vec<String>,
    /// Makes the command another one: in a network of its own, for instance.
    wrap: fn(Command) -> Command,
    names: Vec<String>,
    listener: Option<Listener>,
    /// Since when it has heard all batteries in its present life, as far as we know.
    hears_since: Option<UtcDateTime>,
    lives: Vec<Life>,
}

/// One life of the program, from start to end.
struct Life {
    log: Vec<String>,
    /// Throughout this it heard all batteries.
    heard: Option<(UtcDateTime, UtcDateTime)>,
}

impl Post {
    /// Starts the program, and waits until it hears all `batteries`.
    pub(crate) fn start(batteries: &Batteries, database: &str) -> Self {
        let mut post = Self::new(batteries, database);
        post.launch();
        post.wait_until_it_hears();
        post
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
        Self { home, args, wrap, names, listener: None, hears_since: None, lives: vec![] }
    }

    pub(crate) fn wrapped(self, wrap: fn(Command) -> Command) -> Self {
        Self { wrap, ..self }
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

    pub(crate) fn wait_until_it_hears(&mut self) {
        wait_until("it hears all batteries", TIME_LIMIT, || self.hears());
    }

    /// Lets it run for that long, and not a moment longer.
    pub(crate) fn runs_for(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.hears();
            thread::sleep(Duration::from_millis(5).min(end - Instant::now().min(end)));
        }
    }

    fn hears(&mut self) -> bool {
        if self.hears_since.is_none() {
            let log = self.listener.as_mut().unwrap().log();
            let hears = |name: &String| count(log, &format!(" {name}: connected to ws://")) > 0;
            self.hears_since = self.names.iter().all(hears).then(UtcDateTime::now);
        }
        self.hears_since.is_some()
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
        self.bury(until, ended);
    }

    /// SIGTERM, after which it must end well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let until = UtcDateTime::now();
        let ended = self.listener.take().unwrap().stop();
        self.bury(until, ended);
    }

    fn bury(&mut self, until: UtcDateTime, ended: Ended) {
        let heard = self.hears_since.take().map(|since| (since, until));
        self.lives.push(Life { log: ended.log, heard });
    }

    /// What it has said in its lives that are over.
    pub(crate) fn log(&self) -> Vec<&str> {
        self.lives.iter().flat_map(|life| &life.log).map(String::as_str).collect()
    }

    /// The rows of its journal.
    pub(crate) fn journal(&self) -> Rows {
        sqlite_rows(&self.home.path("journal.sqlite"))
    }

    /// The rows that it said it had stored.
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
             REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_resent()",
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

/// Rows that need not be in the table: set aside, or gone with it.
pub(crate) type Exceptions = BTreeSet<(String, i64)>;

/// Compares what the batteries have said, and what the `posts`, all of them stopped, have recorded,
/// with what is in the table. Gives the number of rows.
#[track_caller]
pub(crate) fn check(client: &mut Client, said: &Said, posts: &[&Post]) -> usize {
    check_except(client, said, posts, &Exceptions::new())
}

#[track_caller]
pub(crate) fn check_except(
    client: &mut Client,
    said: &Said,
    posts: &[&Post],
    exceptions: &Exceptions,
) -> usize {
    let rows = undoubled_rows(client);
    let journals: Vec<Rows> = posts.iter().map(|post| post.journal()).collect();
    for (post, journal) in posts.iter().zip(&journals) {
        // What was said to be stored is there, and so is what was stored without a word.
        let recorded: BTreeSet<_> =
            post.stored().into_iter().chain(journal.keys().cloned()).collect();
        let missing: Vec<_> = recorded
            .iter()
            .filter(|key| !rows.contains_key(*key) && !exceptions.contains(*key))
            .collect();
        assert!(missing.is_empty(), "not in the table: {missing:?}\n{}", post.log().join("\n"));
        heard_is_there(said, post, &rows, exceptions);
    }
    let mut numbers = BTreeMap::new();
    for (key, row) in &rows {
        said.is_whole(key, row);
        said.is_in_time(key, row);
        let is_recorded = journals.iter().any(|journal| journal.get(key) == Some(row));
        assert!(is_recorded, "{key:?} is in no journal: {row:?}");
        // Two posts may hear a number on different sides of an interval's end.
        if let Some(earlier) = numbers.insert(number_of(row), key)
            && posts.len() == 1
        {
            panic!("{earlier:?} and {key:?} have the same number");
        }
    }
    rows.len()
}

/// The same where the journal does not hold all that was recorded, since its file is what suffers.
#[track_caller]
pub(crate) fn check_without_journal(client: &mut Client, said: &Said, post: &Post) -> usize {
    let rows = undoubled_rows(client);
    let missing: Vec<_> = post.stored().into_iter().filter(|key| !rows.contains_key(key)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}\n{}", post.log().join("\n"));
    heard_is_there(said, post, &rows, &Exceptions::new());
    check_numbers(said, &rows);
    rows.iter().for_each(|(key, row)| said.is_in_time(key, row));
    rows.len()
}

/// What holds even where no clock can be trusted: each number is there once at most, with the
/// values that follow from it. Gives the numbers in the order of the stamps.
#[track_caller]
pub(crate) fn check_numbers(said: &Said, rows: &Rows) -> Vec<usize> {
    let numbers: Vec<usize> = rows.iter().map(|(key, row)| said.is_whole(key, row)).collect();
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

/// Each interval of which a post heard the half or more, until its end, is there: the end of a
/// process costs no more than the interval under way.
#[track_caller]
fn heard_is_there(said: &Said, post: &Post, rows: &Rows, exceptions: &Exceptions) {
    for (since, until) in post.lives.iter().filter_map(|life| life.heard) {
        let half_past = (since + time::Duration::milliseconds(500)).replace_nanosecond(0).unwrap();
        let ends = (1..).map(|n| half_past + time::Duration::seconds(n));
        for end in ends.take_while(|end| *end + RECORDED_BY < until) {
            for name in &post.names {
                let battery: usize = name[2..].parse().unwrap();
                let key = (stamp(end), i64::from(mcu_id(battery)));
                let is_there = rows.contains_key(&key) || exceptions.contains(&key);
                assert!(
                    is_there || !said.spoke(battery, since, end),
                    "{key:?} was heard and not recorded, from {since} to {until}\n{}",
                    post.log().join("\n")
                );
            }
        }
    }
}

impl Said {
    /// Each battery says its next number.
    fn count_on(&mut self, controls: &[Control]) {
        for (battery, control) in controls.iter().enumerate() {
            let sentence = sentence(mcu_id(battery), self.times.len());
            self.times.push(UtcDateTime::now());
            control.send(Message::Text(sentence.into())).unwrap();
        }
    }

    /// Whether the battery spoke throughout the second that ends there, or what was left of it, and
    /// until its row had to be recorded. Where it did not, it was told not to, or the whole machine
    /// stood still, and so did whoever was to hear it.
    fn spoke(&self, battery: usize, since: UtcDateTime, end: UtcDateTime) -> bool {
        let (from, to) = (since.max(end - time::Duration::SECOND), end + RECORDED_BY);
        let first = self.times.partition_point(|time| *time < from);
        let last = self.times.partition_point(|time| *time < to);
        let own = (first..last).filter(|number| number % self.batteries == battery);
        let mut latest = from;
        for time in own.map(|number| self.times[number]).chain([to]) {
            if time - latest > PACE * 5 {
                return false;
            }
            latest = time;
        }
        true
    }

    /// Whether a battery has said what a row tells, and all of it. Gives the number.
    #[track_caller]
    fn is_whole(&self, key: &(String, i64), row: &Row) -> usize {
        let number = number_of(row);
        assert!(number < self.times.len(), "{key:?}: nobody said {number}");
        same_row(&format!("{key:?}"), row, &row_of(number));
        assert_eq!(key.1, i64::from(mcu_id(number % self.batteries)), "{number} is another's");
        number
    }

    /// Whether it said so in time.
    #[track_caller]
    fn is_in_time(&self, key: &(String, i64), row: &Row) {
        let number = number_of(row);
        let time = self.times[number];
        // Times compare as text, once all have their fraction.
        let ended = if key.0.len() == 19 { format!("{}.000000", key.0) } else { key.0.clone() };
        let [said, latest] = [time, time + FRESH].map(|time| {
            format!("{}.{:06}", stamp(time.replace_nanosecond(0).unwrap()), time.microsecond())
        });
        assert!(said <= ended, "{key:?}: {number} was said later, {said}");
        assert!(ended <= latest, "{key:?}: {number} was said long before, {said}");
    }
}
