//! `--http`: what the program says of itself to browsers, while it listens to batteries.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use bluenova_simulator::{Control, Fault, Message, Pace};
use bluenova_test_support::{Answer, Cluster, Mode, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use tungstenite::handshake::derive_accept_key;

use crate::{
    outages::Stopped,
    support::{
        Home, Listener, TIME_LIMIT, battery, count, get, loopback, named, obedient_battery,
        shared_cluster, stored, talking_battery, text,
    },
};

/// Values are stale after three intervals of a second.
const SECOND: [&str; 4] = ["-i", "1", "--http", "127.0.0.1:0"];

/// Where a program says that its page is.
#[track_caller]
fn page(listener: &mut Listener) -> SocketAddr {
    address(&listener.wait_for("page at "))
}

#[track_caller]
pub(crate) fn address(line: &str) -> SocketAddr {
    let (_, address) = line.split_once("http://").unwrap_or_else(|| panic!("no page in {line:?}"));
    address.trim_end().trim_end_matches('/').parse().unwrap()
}

/// Asks for the health until all is well, or not.
#[track_caller]
fn wait_for_health(page: SocketAddr, ok: bool) -> Vec<String> {
    let mut answer = None;
    wait_until(&format!("health is {ok}"), TIME_LIMIT, || {
        let got = get(page, "/healthz");
        assert_eq!(got.status == 200, got.json()["ok"], "{}", got.body);
        let is_so = got.status == if ok { 200 } else { 503 };
        answer = Some(got);
        is_so
    });
    problems(&answer.unwrap())
}

fn problems(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let problems = json["problems"].as_array().unwrap();
    problems.iter().map(|problem| problem.as_str().unwrap().to_owned()).collect()
}

/// Waits until there is this problem, and no other. On a busy machine a battery may be late first.
#[track_caller]
fn wait_for_problem(page: SocketAddr, start: &str, says: &str) {
    wait_until(&format!("{start} … {says}"), TIME_LIMIT, || {
        let answer = get(page, "/healthz");
        let problems = problems(&answer);
        assert_eq!(answer.status == 200, problems.is_empty(), "{}", answer.body);
        matches!(&problems[..], [it] if it.starts_with(start) && it.contains(says))
    });
}

#[test]
fn health_tells_of_a_battery_that_is_silent_or_gone() {
    let server = talking_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&[&["-b", &at, "-d", &database], &SECOND[..]].concat());
    let page = page(&mut listener);
    listener.wait_for("attic: stored");
    assert_eq!(wait_for_health(page, true), [""; 0]);

    control.fault(Fault::Silence).unwrap();
    wait_for_problem(page, "attic: no data for ", "though it is connected");
    control.fault(Fault::Healthy).unwrap();
    assert_eq!(wait_for_health(page, true), [""; 0]);

    drop(server);
    wait_for_problem(page, "attic: no data for ", ", not connected: ");
    // The last words are those of the latest attempt.
    wait_until("the reason is told", TIME_LIMIT, || get(page, "/healthz").body.contains("refused"));
    let battery = get(page, "/api/batteries").json()["batteries"][0].clone();
    assert_eq!((&battery["connected"], &battery["stale"]), (&false.into(), &true.into()));
    assert!(battery["redials"].as_u64() > Some(0), "{battery}");
    listener.stop();
}

#[test]
fn values_that_come_with_the_handshake_are_fresh() {
    let server = TcpListener::bind(loopback()).unwrap();
    let at = named("attic", server.local_addr().unwrap());
    let home = Home::new();
    // There is no row yet, so that the values are those of a sample.
    let args = ["-b", &at, "-i", "86400", "-d", &home.sqlite("db"), "--http", "127.0.0.1:0"];
    let mut listener = home.listen(&args);
    let page = page(&mut listener);
    let (mut battery, _) = server.accept().unwrap();
    let mut request = vec![];
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        battery.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    let request = text(&request);
    let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap().lines().next().unwrap();
    // Answer and text arrive at once, and nothing after them.
    let lines = "MCU ID: 10ABCDEF\r\nSOC: 63\r\nMCU ID: 10ABCDEF\r\nMCU ID: 10ABCDEF\r\n";
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    let text_frame = [0x81, u8::try_from(lines.len()).unwrap()];
    battery.write_all(&[answer.as_bytes(), &text_frame, lines.as_bytes()].concat()).unwrap();
    wait_until("the state of charge is shown", TIME_LIMIT, || {
        let battery = get(page, "/api/batteries").json()["batteries"][0].clone();
        let values = &battery["under_way"];
        values["values"]["soc"] == 63 && values["age_s"].as_u64() < Some(60)
    });
    listener.stop();
}

#[test]
fn health_tells_of_a_database_that_is_away_or_hangs() {
    let mut cluster = Cluster::start();
    cluster.create_database("homeauto");
    let url = cluster.url("homeauto");
    let server = talking_battery(1);
    let home = Home::new();
    let at = named("attic", server.local_addr());
    let mut listener = home.listen(&[&["-b", &at, "-d", &url], &SECOND[..]].concat());
    let page = page(&mut listener);
    wait_for_health(page, true);
    let delivery = || get(page, "/api/batteries").json()["storage"]["delivery"].clone();
    wait_until("a row is delivered, and none waits for long", TIME_LIMIT, || {
        let it = delivery();
        it["delivered"].as_u64() > Some(0) && it["stuck"] == false && it["trouble"].is_null()
    });

    cluster.stop(Mode::Fast);
    wait_for_problem(page, "homeauto on /", " (they are safe in the journal): ");
    // The reason may change, which one answer has the same in both.
    let answer = get(page, "/api/batteries");
    let delivery_then = answer.json()["storage"]["delivery"].clone();
    assert_eq!(delivery_then["stuck"], true);
    let trouble = delivery_then["trouble"].as_str().unwrap();
    let problems = problems(&answer);
    let is_told = problems.iter().any(|problem| problem.ends_with(trouble));
    assert!(is_told && trouble.contains("homeauto"), "{problems:?} {trouble}");
    cluster.start_again();
    wait_for_health(page, true);
    assert_eq!(delivery()["trouble"], Value::Null);

    // One attempt takes longer to fail than rows may wait.
    let stopped = Stopped::server(&cluster);
    wait_for_problem(page, "homeauto on /", "it doesn't answer");
    drop(stopped);
    wait_for_health(page, true);
    listener.stop();
}

#[test]
fn rows_in_memory_are_told() {
    let server = talking_battery(1);
    let home = Home::new();
    std::fs::write(home.path("file"), "no directory").unwrap();
    let nowhere = format!("host={} dbname=x", home.path("no").display());
    let at = named("attic", server.local_addr());
    let args = ["-b", &at, "-d", &nowhere, "--journal", "file/journal.sqlite"];
    let mut listener = home.listen(&[&args, &SECOND[..]].concat());
    let page = page(&mut listener);
    let storage = || get(page, "/api/batteries").json()["storage"].clone();
    wait_until("rows are in memory", TIME_LIMIT, || {
        storage()["rows_only_in_memory"].as_u64() >= Some(2)
    });
    assert!(storage()["trouble"].as_str().unwrap().contains("/file"), "{}", storage());
    let problems = problems(&get(page, "/healthz"));
    assert!(problems.iter().any(|it| it.contains(" in memory only: ")), "{problems:?}");
    assert_eq!(listener.end(nix::sys::signal::Signal::SIGTERM).status.code(), Some(1), "lost");
}

/// Lets a battery say something that makes a row.
fn say(control: &Control, lines: &str) {
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    control.send(Message::Text(lines.into())).unwrap();
}

#[test]
fn the_api_tells_what_each_battery_said() {
    let cluster = shared_cluster();
    cluster.create_database("page");
    let url = cluster.url("page");
    let mut server = obedient_battery(1);
    let south = server.add(loopback(), battery(2), Pace::Lockstep).unwrap();
    let north = server.control();
    let home = Home::new();
    let [at_north, at_south] =
        [named("north", north.local_addr()), named("south", south.local_addr())];
    let args = ["-b", &at_north, "-b", &at_south, "-d", &url];
    let started = Instant::now();
    let mut listener = home.listen(&[&args, &SECOND[..]].concat());
    let page = page(&mut listener);

    // Nothing is missed before the first interval has ended, and three more.
    let healthy = get(page, "/healthz").status == 200;
    assert!(healthy || started.elapsed() > Duration::from_secs(4));
    let starting = &get(page, "/api/batteries").json()["batteries"][0];
    assert!(starting["first_row_due_in_s"].as_f64() <= Some(1.0), "{starting}");
    let yet = wait_for_health(page, false);
    assert_eq!(yet.len(), 2, "{yet:?}");
    assert!(yet[0].starts_with("north: no data yet"), "{yet:?}");
    let before = get(page, "/api/batteries").json();
    assert_eq!(before["batteries"][1]["battery"], Value::Null);
    assert_eq!(before["batteries"][1]["latest"], Value::Null);

    say(&north, "MCU ID: 9F3C07B2\nVpack: 53000\nCurrent: -2.5\nSOC: 63\nSOC: ?\nINFO: BAD CRC");
    say(&south, "MCU ID: 1\nVpack: 51500\nCurrent: 2\nSOC: 65\nErrors: \"<b>\"");
    listener.wait_until_said("north: stored ");
    listener.wait_until_said("south: stored ");
    let told = get(page, "/api/batteries").json();
    let expected = [
        ("north", "9F3C07B2", &north, 53.0, -132.5, Value::Null, 1),
        ("south", "00000001", &south, 51.5, 103.0, "<b>".into(), 0),
    ];
    for (at, (name, id, control, volts, watts, errors, malformed)) in expected.iter().enumerate() {
        let battery = &told["batteries"][at];
        assert_eq!(battery["names"], Value::from(vec![*name]), "{battery}");
        let address = format!("{}/ws/", control.local_addr());
        assert_eq!(battery["addresses"], Value::from(vec![address]), "{battery}");
        assert_eq!(battery["battery"], *id, "{battery}");
        assert_eq!(battery["connected"], true, "{battery}");
        assert_eq!(battery["malformed_lines"], *malformed, "{battery}");
        assert!(battery["rows"].as_u64() > Some(0), "{battery}");
        assert_eq!(battery["power_w"], *watts, "{battery}");
        assert_eq!(battery["latest"]["v_pack"], *volts, "{battery}");
        assert_eq!(battery["latest"]["errors"], *errors, "{battery}");
    }
    assert_eq!(told["batteries"].as_array().unwrap().len(), 2);
    assert_eq!(told["interval_s"], 1.0);

    // Nobody says anything more. That is the batteries' fault, not the database's.
    let stale = |problem: &String| problem.contains(": no data for ");
    wait_until("both are stale, and all is delivered", TIME_LIMIT, || {
        let answer = get(page, "/api/batteries");
        let problems = problems(&answer);
        let delivery = answer.json()["storage"]["delivery"].clone();
        problems.len() == 2
            && problems.iter().all(stale)
            && delivery["delivered"].as_u64() >= Some(2)
            && delivery["stuck"] == false
            && delivery["waiting_for_s"] == 0.0
    });
    listener.stop();
}

#[test]
fn a_row_that_is_set_aside_is_a_problem_until_it_is_retried() {
    let cluster = shared_cluster();
    cluster.create_database("page_set_aside");
    let mut client = cluster.client("page_set_aside");
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    client.batch_execute("ALTER TABLE battery_pack ADD CONSTRAINT odd CHECK (soc <> 13)").unwrap();
    let server = obedient_battery(1);
    let home = Home::new();
    let (at, url) = (named("attic", server.local_addr()), cluster.url("page_set_aside"));
    let args = ["-b", &at, "-d", &url, "--journal", "journal.sqlite"];
    let mut listener = home.listen(&[&args, &SECOND[..]].concat());
    let page = page(&mut listener);
    // A row is rejected for its content only if the server takes others.
    for soc in [12, 13, 14] {
        say(&server.control(), &format!("MCU ID: 1\nSOC: {soc}"));
        listener.wait_for(&format!("  {soc} %"));
    }
    listener.wait_until_said("set aside");
    let metric = |line: &str| get(page, "/metrics").body.lines().any(|there| there == line);
    wait_until("it is counted", TIME_LIMIT, || metric("bluenova_rows_set_aside 1"));
    let says = |problems: &[String]| problems.iter().any(|it| it.starts_with("1 row is set aside"));
    let health = get(page, "/healthz");
    assert_eq!(health.status, 503);
    assert!(says(&problems(&health)), "{}", health.body);
    assert!(says(&problems(&get(page, "/api/batteries"))));

    client.batch_execute("ALTER TABLE battery_pack DROP CONSTRAINT odd").unwrap();
    let retried = home.run(&[&args[..], &["set-aside", "--retry"]].concat());
    assert_eq!(retried.status.code(), Some(0), "{}", text(&retried.stderr));
    wait_until("none is counted", TIME_LIMIT, || metric("bluenova_rows_set_aside 0"));
    assert!(!says(&problems(&get(page, "/healthz"))));
    listener.stop();
}

#[test]
fn what_a_battery_reports_is_a_problem() {
    let server = obedient_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "10", SECOND[2], SECOND[3]]);
    let page = page(&mut listener);
    let lines = "MCU ID: 1\nBreaker: OPEN\nErrors: \"HOT\"";
    say(&server.control(), lines);
    listener.wait_for("attic: stored");
    // One of them may be garbled; the same in the next row isn't.
    assert_eq!(wait_for_health(page, true), [""; 0]);
    wait_until("the battery's words are problems", TIME_LIMIT, || {
        say(&server.control(), lines);
        get(page, "/healthz").status == 503
    });
    assert_eq!(wait_for_health(page, false), ["attic says: HOT", "attic: the breaker is OPEN"]);
    listener.stop();
}

#[test]
fn a_battery_with_two_addresses_is_one() {
    let mut server = talking_battery(1);
    let second = server.add(loopback(), battery(1), Pace::Free { speed: 4.0 }).unwrap();
    let home = Home::new();
    let [at_cable, at_radio] =
        [named("cable", server.local_addr()), named("radio", second.local_addr())];
    let database = home.sqlite("db");
    let args = ["-b", &at_cable, "-b", &at_radio, "-d", &database];
    let mut listener = home.listen(&[&args, &SECOND[..]].concat());
    let page = page(&mut listener);
    wait_for_health(page, true);
    // For longer than an address whose rows are never the first could pass for fresh. On a busy
    // machine the battery may be late, and that begins anew.
    let (mut well, started) = (0, Instant::now());
    while well < 5 {
        listener.wait_for(": stored ");
        let answer = get(page, "/healthz");
        well = if answer.status == 200 { well + 1 } else { 0 };
        assert!(started.elapsed() < TIME_LIMIT, "{}", answer.body);
    }
    let logged = |log: &[String]| (stored(log, "cable").len() + stored(log, "radio").len()) as u64;
    let before = logged(listener.log());
    let told = get(page, "/api/batteries").json();
    let batteries = told["batteries"].as_array().unwrap();
    let [battery] = &batteries[..] else { panic!("{batteries:?}") };
    assert_eq!(battery["names"], Value::from(vec!["cable", "radio"]));
    assert_eq!(told["storage"]["delivery"], Value::Null);
    let rows = battery["rows"].as_u64().unwrap();
    let log = listener.stop().log;
    // Those that were logged before we asked, and of those after it some.
    assert!((before..=logged(&log)).contains(&rows), "{before} {rows} {}", log.join("\n"));
}

#[test]
fn a_restart_is_no_alarm_and_shows_the_last_row_as_old() {
    let server = talking_battery(1);
    let second = talking_battery(2);
    let home = Home::new();
    let [attic, shed] = [named("attic", server.local_addr()), named("shed", second.local_addr())];
    let database = home.sqlite("db");
    let args = ["-b", &attic, "-b", &shed, "-d", &database];
    let mut listener = home.listen(&[&args, &SECOND[..]].concat());
    listener.wait_until_said("attic: stored");
    listener.wait_until_said("shed: stored");
    listener.stop();

    // An interval of a minute ends later than the batteries say who they are, nearly always.
    let again = ["-i", "60", "--http", "127.0.0.1:0"];
    let mut listener = home.listen(&[&args, &again[..]].concat());
    let page = page(&mut listener);
    let (mut told, mut healthy) = (Value::Null, true);
    wait_until("the last rows are shown", TIME_LIMIT, || {
        healthy &= get(page, "/healthz").status == 200;
        told = get(page, "/api/batteries").json();
        let batteries = told["batteries"].as_array().unwrap();
        assert_eq!(batteries.len(), 2, "{told}");
        batteries.iter().all(|battery| !battery["latest"].is_null())
    });
    assert!(healthy, "{told}");
    assert_eq!(told["problems"], Value::from(vec![Value::Null; 0]));
    for (battery, name) in told["batteries"].as_array().unwrap().iter().zip(["attic", "shed"]) {
        assert_eq!(battery["names"], Value::from(vec![name]), "{told}");
        if battery["rows"] == 0 {
            assert_eq!(battery["stale"], true, "{told}");
            assert!(battery["first_row_due_in_s"].as_f64().is_some(), "{told}");
        }
    }
    listener.stop();
}

#[test]
fn a_page_that_hangs_keeps_nothing_from_being_recorded() {
    let server = talking_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&[&["-b", &at, "-d", &database], &SECOND[..]].concat());
    let page = page(&mut listener);
    listener.wait_for("attic: stored");
    let hanging: Vec<TcpStream> = (0..40)
        .map(|n| {
            let mut stream = TcpStream::connect(page).unwrap();
            let begun: &[u8] = if n % 2 == 0 { b"" } else { b"GET / HTTP/1.1\r\nHost: loc" };
            stream.write_all(begun).unwrap();
            stream
        })
        .collect();
    for _ in 0..4 {
        listener.wait_for("attic: stored");
    }
    assert_eq!(get(page, "/healthz").status, 200);
    let hanging_still: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(page).unwrap()).collect();
    let ended = listener.stop();
    assert_eq!(count(&ended.log, " ERROR "), 0, "{}", ended.log.join("\n"));
    drop((hanging, hanging_still));
}

#[test]
fn an_address_that_is_taken_is_tried_until_it_is_free() {
    let server = talking_battery(1);
    let taken = TcpListener::bind(loopback()).unwrap();
    let page = taken.local_addr().unwrap();
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let http = page.to_string();
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "1", "--http", &http]);
    let said = listener.wait_for(&format!("--http {page} can't be listened on"));
    assert!(said.contains("in use"), "{said}");
    // For longer than it takes to try again.
    for _ in 0..12 {
        listener.wait_for("attic: stored");
    }
    drop(taken);
    listener.wait_for(&format!("page at http://{page}/"));
    assert_eq!(wait_for_health(page, true), [""; 0]);
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "can't be listened on"), 1, "{}", ended.log.join("\n"));
}

#[test]
fn an_address_that_the_machine_lacks_keeps_nothing_from_being_recorded() {
    let server = talking_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    // An address for documentation (RFC 5737), which no machine has.
    let args = ["-b", &at, "-d", &database, "-i", "1", "--http", "192.0.2.1:9080"];
    let mut listener = home.listen(&args);
    listener.wait_for("--http 192.0.2.1:9080 can't be listened on");
    listener.wait_for("attic: stored");
    listener.stop();
}

#[test]
fn an_address_that_is_taken_ends_the_demo_before_anything_begins() {
    let taken = TcpListener::bind(loopback()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::new();
    let ended = home.run(&["--http", &address, "demo"]);
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("--http {address} can't be listened on")), "{said}");
    assert!(said.contains("in use"), "{said}");
    assert!(!crate::support::exists(&home.path("state/bluenova/demo.sqlite")));
}

#[test]
fn only_the_names_that_are_given_are_served() {
    let home = Home::new();
    let database = home.sqlite("db");
    let args = ["-b", "127.0.0.1:1", "-d", &database, "--http", "127.0.0.1:0"];
    let names = ["--http-host", "battery.lan", "--http-host=nas"];
    let mut listener = home.listen(&[&args[..], &names].concat());
    let page = page(&mut listener);
    for (host, served) in [("battery.lan", true), ("nas:80", true), ("evil.example", false)] {
        let mut stream = TcpStream::connect(page).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let answer = std::io::read_to_string(stream).unwrap();
        let expected = if served { "HTTP/1.1 200 " } else { "HTTP/1.1 421 " };
        assert!(answer.starts_with(expected), "{host}: {answer}");
    }
    listener.stop();
}

#[test]
fn who_shows_it_to_the_network_is_warned() {
    let home = Home::new();
    for (address, warnings) in [("127.0.0.1:0", 0), ("0.0.0.0:0", 1)] {
        let database = home.sqlite(address);
        let mut listener = home.listen(&["-b", "127.0.0.1:1", "-d", &database, "--http", address]);
        listener.wait_for("page at ");
        let ended = listener.stop();
        let said = count(&ended.log, "anyone in this network can read the page");
        assert_eq!(said, warnings, "{address}: {}", ended.log.join("\n"));
    }
}

#[test]
fn check_tells_whether_the_page_can_be_there() {
    let server = talking_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let check = |address: &str| {
        let ended = home.run(&["-b", &at, "-d", &database, "--http", address, "check"]);
        let said = text(&ended.stdout);
        let line = said.lines().find(|line| line.contains(" page: "));
        (ended.status.code(), line.unwrap_or_else(|| panic!("{said}")).to_owned())
    };
    let (code, line) = check("127.0.0.1:0");
    assert!(code == Some(0) && line.starts_with("ok "), "{code:?} {line}");

    let taken = TcpListener::bind(loopback()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // It takes what it is asked, and hangs up.
    let other = std::thread::spawn(move || drop(taken.accept()));
    let (code, line) = check(&address);
    assert!(code == Some(0) && line.starts_with("WARNING "), "{code:?} {line}");
    assert!(line.contains(&address) && line.contains("another program"), "{line}");
    assert!(line.contains("The listener records without the page"), "{line}");
    other.join().unwrap();

    let mut listener = home.listen(&[&["-b", &at, "-d", &database], &SECOND[..]].concat());
    let address = page(&mut listener).to_string();
    let (code, line) = check(&address);
    assert!(code == Some(0) && line.contains("listener that is running"), "{code:?} {line}");
    listener.stop();
}

#[test]
fn the_demo_shows_itself_to_browsers() {
    let home = Home::new();
    let mut demo = home.listen(&["--http", "localhost:0", "demo"]);
    let page = address(&demo.wait_for("See them at http://127.0.0.1:"));
    wait_until("both are fresh", TIME_LIMIT, || {
        get(page, "/api/batteries").json()["bank"]["fresh"] == 2
    });
    assert_eq!(wait_for_health(page, true), [""; 0]);
    let told = get(page, "/api/batteries").json();
    let names = told["batteries"].as_array().unwrap().iter().map(|battery| &battery["names"][0]);
    assert_eq!(names.collect::<Vec<_>>(), ["north", "south"]);
    assert!(home.read("state/bluenova/demo.log").contains(&format!("page at http://{page}/")));
    assert_eq!(demo.end(Signal::SIGINT).status.code(), Some(0));
}

#[test]
fn the_demo_takes_a_free_port_where_the_usual_one_is_taken() {
    // If it is somebody else's, that will do as well.
    let _taken = TcpListener::bind("127.0.0.1:9080");
    let homes = [Home::new(), Home::new()];
    let demos = homes.each_ref().map(|home| home.listen(&["demo"]));
    let pages = demos.map(|mut demo| {
        let page = address(&demo.wait_for("See them at "));
        assert_eq!(get(page, "/api/batteries").status, 200);
        let says = count(demo.log(), "--http 127.0.0.1:9080 can't be listened on");
        assert_eq!(says, usize::from(page.port() != 9080), "{}", demo.log().join("\n"));
        (page, demo)
    });
    assert_ne!(pages[0].0, pages[1].0);
}
