//! `--http`: what the program says of itself to browsers, while it listens to batteries.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
};

use bluenova_simulator::{Control, Fault, Message, Pace};
use bluenova_test_support::{Answer, Cluster, Mode, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

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

#[track_caller]
fn check_problem(problems: &[String], start: &str, says: &str) {
    let [problem] = problems else { panic!("there should be one problem: {problems:?}") };
    assert!(problem.starts_with(start) && problem.contains(says), "{problem}: {start} … {says}");
}

#[test]
fn health_tells_of_a_battery_that_is_silent_or_gone() {
    let server = talking_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&[&["-b", &at, "-d", &database], &SECOND[..]].concat());
    let page = page(&mut listener);
    assert_eq!(wait_for_health(page, true), [""; 0]);

    control.fault(Fault::Silence).unwrap();
    check_problem(&wait_for_health(page, false), "attic: no data for ", "though it is connected");
    control.fault(Fault::Healthy).unwrap();
    assert_eq!(wait_for_health(page, true), [""; 0]);

    drop(server);
    check_problem(&wait_for_health(page, false), "attic: no data for ", ", not connected: ");
    // The last words are those of the latest attempt.
    wait_until("the reason is told", TIME_LIMIT, || get(page, "/healthz").body.contains("refused"));
    let battery = get(page, "/api/batteries").json()["batteries"][0].clone();
    assert_eq!((&battery["connected"], &battery["stale"]), (&false.into(), &true.into()));
    assert!(battery["redials"].as_u64() > Some(0), "{battery}");
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
    wait_until("a row is delivered", TIME_LIMIT, || delivery()["delivered"].as_u64() > Some(0));
    assert_eq!((&delivery()["stuck"], &delivery()["trouble"]), (&false.into(), &Value::Null));

    cluster.stop(Mode::Fast);
    let problem = wait_for_health(page, false);
    check_problem(&problem, "homeauto on /", ": has taken no row for ");
    assert_eq!(delivery()["stuck"], true);
    let trouble = delivery()["trouble"].as_str().unwrap().to_owned();
    assert!(
        problem[0].ends_with(&trouble) && trouble.contains("homeauto"),
        "{problem:?} {trouble}"
    );
    cluster.start_again();
    wait_for_health(page, true);
    assert_eq!(delivery()["trouble"], Value::Null);

    // One attempt takes longer to fail than rows may wait.
    let stopped = Stopped::server(&cluster);
    check_problem(&wait_for_health(page, false), "homeauto on /", "it doesn't answer");
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
    let mut listener = home.listen(&[&args, &SECOND[..]].concat());
    let page = page(&mut listener);

    let yet = problems(&get(page, "/healthz"));
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
    wait_until("both are stale", TIME_LIMIT, || problems(&get(page, "/healthz")).len() == 2);
    let delivery = get(page, "/api/batteries").json()["storage"]["delivery"].clone();
    assert!(delivery["delivered"].as_u64() >= Some(2), "{delivery}");
    assert_eq!((&delivery["stuck"], &delivery["waiting_for_s"]), (&false.into(), &0.0.into()));
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
    // For longer than an address whose rows are never the first could pass for fresh.
    for _ in 0..5 {
        listener.wait_for(": stored ");
        let answer = get(page, "/healthz");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let told = get(page, "/api/batteries").json();
    let batteries = told["batteries"].as_array().unwrap();
    let [battery] = &batteries[..] else { panic!("{batteries:?}") };
    assert_eq!(battery["names"], Value::from(vec!["cable", "radio"]));
    assert_eq!(told["storage"]["delivery"], Value::Null);
    let rows = battery["rows"].as_u64().unwrap();
    let log = listener.stop().log;
    let logged = (stored(&log, "cable").len() + stored(&log, "radio").len()) as u64;
    // One more may have come after we asked, and another when it ended.
    assert!((rows..=rows + 2).contains(&logged), "{rows} {}", log.join("\n"));
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
fn an_address_that_is_taken_is_told_before_anything_begins() {
    let taken = TcpListener::bind(loopback()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::new();
    for mode in [&[][..], &["-daemon"], &["demo"]] {
        let args = match mode {
            ["demo"] => vec!["--http", &address, "demo"],
            _ => [&["-b", "127.0.0.1:1", "-d", "sqlite:db", "--http", &address], mode].concat(),
        };
        let ended = home.run(&args);
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains(&format!("--http {address} can't be listened on")), "{said}");
        assert!(said.contains("in use"), "{said}");
        assert!(!crate::support::exists(&home.path("db")), "{args:?}");
    }
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
    assert!(code == Some(1) && line.starts_with("NOT OK "), "{code:?} {line}");
    assert!(line.contains(&address) && line.contains("another program"), "{line}");
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
    wait_for_health(page, true);
    let told = get(page, "/api/batteries").json();
    assert_eq!(told["bank"]["fresh"], 2, "{told}");
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
