//! `-b @FILE`: batteries that come and go while the program runs.

use std::{fs, net::TcpListener, process::Command, sync::mpsc::Receiver};

use bluenova_simulator::{Control, Event, Pace, Server};
use bluenova_test_support::wait_until;
use nix::sys::signal::Signal;

use crate::{
    page::address,
    rows::{postgres_rows, sqlite_rows},
    support::{
        Home, Listener, TIME_LIMIT, battery, count, get, loopback, named, shared_cluster, stored,
        talking_battery, text,
    },
};

const ATTIC: i64 = 0x10AB_CDEF;
const CELLAR: i64 = 0x20AB_CDEF;

/// A battery, and the connections that it has had.
struct Watched {
    server: Server,
    control: Control,
    events: Receiver<Event>,
}

impl Watched {
    fn new(seed: u64) -> Self {
        let server = talking_battery(seed);
        let control = server.control();
        let events = control.events().unwrap();
        Self { server, control, events }
    }

    fn line(&self, name: &str) -> String {
        named(name, self.server.local_addr())
    }

    /// Waits until the listener has the battery's MCU ID: from then on there is a row to store.
    #[track_caller]
    fn is_heard(&self, listener: &mut Listener, name: &str) {
        self.control.wait_for_clients(1, TIME_LIMIT).unwrap();
        listener.wait_for(&format!("{name}: RX: MCU ID"));
        listener.wait_for(&format!("{name}: RX: "));
    }

    /// Numbers of connections that came and went since the last call.
    fn connections(&self) -> (usize, usize) {
        let events: Vec<_> = self.events.try_iter().collect();
        let came = events.iter().filter(|event| matches!(event, Event::Connected { .. })).count();
        (came, events.len() - came)
    }
}

/// Writes the file of batteries.
fn write(home: &Home, lines: &[&str]) {
    fs::write(home.path("fleet"), lines.join("\n")).unwrap();
}

/// Writes the file of batteries, has the program read it, and waits for what it says of it.
#[track_caller]
fn change(home: &Home, listener: &mut Listener, lines: &[&str], says: &str) -> String {
    write(home, lines);
    listener.signal(Signal::SIGHUP);
    listener.wait_for(says)
}

/// An interval that doesn't end while a test runs: a row is the last one of its battery.
const LONG: [&str; 5] = ["-b", "@fleet", "-i", "86400", "-r"];

#[test]
fn batteries_come_and_go_at_sighup_and_others_are_left_alone() {
    let [attic, cellar, shed] = [1, 2, 3].map(Watched::new);
    let home = Home::new();
    let database = home.sqlite("db");
    let [in_attic, in_cellar, in_shed] =
        [attic.line("attic"), cellar.line("cellar"), shed.line("shed")];
    write(&home, &["# the first two", &in_attic, &in_cellar]);
    let mut listener = home.listen(&[&LONG[..], &["-d", &database]].concat());
    let began = listener.wait_for("every 86400 s into ");
    assert!(began.contains(&format!("2 batteries (-b @{}", home.path("fleet").display())));
    attic.is_heard(&mut listener, "attic");
    cellar.is_heard(&mut listener, "cellar");

    let said = "batteries: 1 added, 1 removed, 1 as before";
    change(&home, &mut listener, &[&in_shed, &in_attic], said);
    shed.is_heard(&mut listener, "shed");
    assert_eq!(cellar.connections(), (1, 1));
    let batteries = sqlite_rows(&home.path("db")).into_keys().map(|(_, mcu_id)| mcu_id);
    assert_eq!(batteries.collect::<Vec<_>>(), [CELLAR], "the interval under way is stored");
    assert_eq!(count(listener.log(), "cellar: removed"), 1);

    // Nothing changes, then a name.
    change(&home, &mut listener, &[&in_attic, &in_shed], "0 added, 0 removed, 2 as before");
    let in_loft = attic.line("loft");
    change(&home, &mut listener, &[&in_loft, &in_shed], "1 added, 1 removed, 1 as before");
    attic.is_heard(&mut listener, "loft");
    assert_eq!(attic.connections(), (2, 1));
    assert_eq!(shed.connections(), (1, 0));
    let ended = listener.stop();
    for (name, rows) in [("attic", 1), ("cellar", 1), ("loft", 1), ("shed", 1)] {
        assert_eq!(stored(&ended.log, name).len(), rows, "{name}");
    }
}

#[test]
fn a_file_with_an_error_changes_nothing() {
    let attic = Watched::new(1);
    let home = Home::new();
    let database = home.sqlite("db");
    let in_attic = attic.line("attic");
    write(&home, &[&in_attic]);
    let mut listener = home.listen(&[&LONG[..], &["-d", &database]].concat());
    attic.is_heard(&mut listener, "attic");
    for (lines, says) in [
        (&["new=127.0.0.1:1", "", "=x"][..], "fleet, line 3: \"=x\": the name before = is missing"),
        (&["a=h", "b=h"], "fleet, line 1 and "),
        (&["# empty"], "there is no battery in this file"),
    ] {
        let line = change(&home, &mut listener, lines, says);
        assert!(line.contains("The batteries stay as they are"), "{line}");
    }
    fs::remove_file(home.path("fleet")).unwrap();
    listener.signal(Signal::SIGHUP);
    listener.wait_for("the file can't be read");
    attic.is_heard(&mut listener, "attic");
    assert_eq!(attic.connections(), (1, 0));
    change(&home, &mut listener, &[&in_attic], "0 added, 0 removed, 1 as before");
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "new: "), 0, "{:?}", ended.log);

    // At the start it is the end.
    write(&home, &["a=h", "b=h:0"]);
    let output = home.run(&["-b", "@fleet", "-d", &database]);
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("fleet, line 2: \"b=h:0\""), "{error}");
}

#[test]
fn unnamed_batteries_keep_their_names_when_others_of_their_host_come() {
    let [one, two] = [1, 2].map(Watched::new);
    let home = Home::new();
    let database = home.sqlite("db");
    let [at, other] = [&one, &two].map(|watched| watched.server.local_addr().to_string());
    write(&home, &[&at]);
    let mut listener = home.listen(&[&LONG[..], &["-d", &database]].concat());
    one.is_heard(&mut listener, "127.0.0.1");
    change(&home, &mut listener, &[&other, &at], "1 added, 0 removed, 1 as before");
    two.is_heard(&mut listener, &format!("{other}/ws/"));
    // A name that another battery has now can't be kept.
    let named = named("127.0.0.1", "localhost:1");
    change(&home, &mut listener, &[&at, &named], "2 added, 2 removed, 0 as before");
    one.is_heard(&mut listener, &format!("{at}/ws/"));
    listener.stop();
    assert_eq!((one.connections(), two.connections()), ((2, 2), (1, 1)));
}

#[test]
fn the_journal_of_a_file_of_batteries_stays_and_its_rows_arrive() {
    let cluster = shared_cluster();
    cluster.create_database("fleet");
    let (url, mut client) = (cluster.url("fleet"), cluster.client("fleet"));
    let [attic, cellar] = [1, 2].map(Watched::new);
    let home = Home::new();
    let (in_attic, in_cellar) = (attic.line("attic"), cellar.line("cellar"));
    let journal = |line: &str| line.split_once("by way of the journal ").unwrap().1.to_owned();

    // Rows of a listener with the same batteries on its command line are found, too.
    let by_option = ["-b", &in_attic, "-i", "86400", "-r", "-d", &url];
    let mut listener = home.listen(&[&by_option[..], &["-u", "nobody_like_that"]].concat());
    let of_option = journal(&listener.wait_for("by way of the journal"));
    attic.is_heard(&mut listener, "attic");
    listener.wait_until_said("Rows are safe");
    listener.stop();

    write(&home, &[&in_attic, &in_cellar]);
    let args = [&LONG[..], &["-d", &url]].concat();
    let mut listener = home.listen(&args);
    let first = journal(&listener.wait_for("by way of the journal"));
    attic.is_heard(&mut listener, "attic");
    cellar.is_heard(&mut listener, "cellar");
    change(&home, &mut listener, &[&in_attic], "0 added, 1 removed, 1 as before");
    let mut delivered = |expected: &[i64]| {
        let mut ids = vec![];
        wait_until(&format!("rows of {expected:?} arrive"), TIME_LIMIT, || {
            ids = postgres_rows(&mut client).keys().map(|(_, mcu_id)| *mcu_id).collect();
            ids.sort_unstable();
            ids == expected
        });
    };
    delivered(&[ATTIC, CELLAR]);
    listener.stop();
    delivered(&[ATTIC, ATTIC, CELLAR]);

    let mut listener = home.listen(&args);
    let second = journal(&listener.wait_for("by way of the journal"));
    assert_eq!(first, second);
    assert_ne!(first, of_option);
    listener.stop();
}

#[test]
fn the_page_shows_the_batteries_that_are_there_and_gaps_why_one_is_not() {
    let [attic, cellar] = [1, 2].map(talking_battery);
    let home = Home::new();
    let database = home.sqlite("db");
    let in_attic = named("attic", attic.local_addr());
    let in_cellar = named("cellar", cellar.local_addr());
    let args = ["-b", "@fleet", "-d", &database, "-i", "5"];
    write(&home, &[&in_attic]);
    let mut listener = home.listen(&[&args[..], &["--http", "127.0.0.1:0"]].concat());
    let page = address(&listener.wait_for("page at "));
    let names = || {
        let json = get(page, "/api/batteries").json();
        let batteries = json["batteries"].as_array().unwrap();
        let named = batteries.iter().filter(|battery| battery["names"].as_array() != Some(&vec![]));
        named.map(|battery| battery["names"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["attic"]);
    // For so long that a first row since the start would be overdue.
    for _ in 0..5 {
        listener.wait_for("attic: stored");
    }
    change(&home, &mut listener, &[&in_cellar, &in_attic], "1 added, 0 removed, 1 as before");
    assert_eq!(names(), ["cellar", "attic"]);
    let health = get(page, "/healthz");
    assert_eq!(health.status, 200, "a battery that was added is no alarm: {}", health.body);
    listener.wait_for("cellar: stored");

    change(&home, &mut listener, &[&in_cellar], "0 added, 1 removed, 1 as before");
    assert_eq!(names(), ["cellar"]);
    for _ in 0..3 {
        listener.wait_for("cellar: stored");
    }
    assert!(!get(page, "/metrics").body.contains("name=\"attic\""));
    let output = home.run(&[&args[..], &["gaps", "--json"]].concat());
    let gaps: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of_attic: Vec<_> = gaps["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["battery"] == "10ABCDEF")
        .map(|gap| gap["cause"].as_str().unwrap())
        .collect();
    assert_eq!(of_attic.last(), Some(&"not_listened_to"), "{gaps}");
    listener.stop();
}

#[test]
fn check_tries_each_battery_of_a_file() {
    let [attic, cellar] = [1, 2].map(talking_battery);
    let home = Home::new();
    let database = home.sqlite("db");
    let in_attic = named("attic", attic.local_addr());
    let in_cellar = named("cellar", cellar.local_addr());
    write(&home, &[&in_attic, "nobody=127.0.0.1:1", &in_cellar]);
    let output = home.run(&["-b", "@fleet", "-d", &database, "check"]);
    let said = text(&output.stdout);
    let batteries: Vec<_> = said.lines().filter(|line| line.contains(" battery ")).collect();
    let starts = ["ok      battery attic: MCU ID 10ABCDEF", "NOT OK  battery nobody: ", "ok      "];
    assert_eq!(batteries.len(), starts.len(), "{said}");
    for (line, start) in batteries.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert!(batteries[2].contains("battery cellar: MCU ID 20ABCDEF"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn check_says_that_two_addresses_lead_to_one_battery() {
    let mut server = talking_battery(1);
    let again = server.add(loopback(), battery(1), Pace::Free { speed: 4.0 }).unwrap();
    let other = talking_battery(2);
    let home = Home::new();
    let database = home.sqlite("db");
    let [attic, cellar, shed] = [
        named("attic", server.local_addr()),
        named("cellar", other.local_addr()),
        named("shed", again.local_addr()),
    ];
    let args = ["-b", &attic, "-b", &cellar, "-b", &shed, "-d", &database, "check"];
    let output = home.run(&args);
    let said = text(&output.stdout);
    let warnings: Vec<_> = said.lines().filter(|line| line.starts_with("WARNING")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].starts_with("WARNING battery shed: it has the MCU ID of attic,"), "{said}");
    // Nothing is wrong with the rows.
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn check_does_not_try_batteries_one_after_the_other() {
    // Each takes the deadline of a handshake, which none of them answers.
    let deaf: Vec<_> = (0..30).map(|_| TcpListener::bind(loopback()).unwrap()).collect();
    let home = Home::new();
    let database = home.sqlite("db");
    let lines: Vec<_> = deaf.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
    write(&home, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let output = home.run(&["-b", "@fleet", "-d", &database, "check"]);
    let said = text(&output.stdout);
    let order: Vec<_> = said.lines().filter(|line| line.starts_with("NOT OK")).collect();
    assert_eq!(order.len(), lines.len(), "{said}");
    for (line, address) in order.iter().zip(&lines) {
        assert!(line.contains(&format!("battery {address}/ws/: ")), "{line}");
    }
}

#[test]
fn a_low_limit_of_open_files_is_raised_for_many_batteries() {
    let pace = Pace::Free { speed: 1.0 };
    let mut server = Server::bind(loopback(), battery(1), pace).unwrap();
    let mut controls = vec![server.control()];
    controls.extend((0..99).map(|_| server.add(loopback(), battery(1), pace).unwrap()));
    let home = Home::new();
    let lines: Vec<_> = controls.iter().map(|it| it.local_addr().to_string()).collect();
    write(&home, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let listen = |limit: &str| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
        shell.args([env!("CARGO_BIN_EXE_bluenovalistener"), "-b", "@fleet", "-i", "86400"]);
        shell.args(["-d", &home.sqlite("db")]).current_dir(home.directory()).env_clear();
        Listener::start(shell)
    };
    let mut listener = listen("ulimit -S -n 64");
    for control in &controls {
        control.wait_for_clients(1, TIME_LIMIT).unwrap();
    }
    assert_eq!(count(listener.log(), "too few"), 0);
    listener.stop();
    let mut listener = listen("ulimit -S -n 64; ulimit -H -n 200");
    listener.wait_for("have 200 files and sockets open, too few for 100 batteries");
    listener.stop();
}
