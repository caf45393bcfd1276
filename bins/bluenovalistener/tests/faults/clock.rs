//! Scenario 14: a clock that jumps, creeps or isn't set. It is `libfaketime`'s, put before the
//! system's in the program's calls.

use std::{fs, path::PathBuf, process::Command, thread, time::Duration};

use bluenova_test_support::wait_until;
use postgres::Client;
use time::UtcDateTime;

use crate::{
    oracle::{
        Batteries, Program, RECOVERY, check, check_numbers, mcu_id, prepare, resent, undoubled_rows,
    },
    rounds,
    rows::{Rows, stamp},
    support::{
        Home, Listener, count, named, output, shared_cluster, talking_battery, text, young_second,
    },
};

/// Where the program reads how many seconds its clock is ahead.
const AHEAD: &str = "ahead";

/// What `gaps` says of the first one.
const NOT_SET: &str = "the clock was not set";

/// A row may be made of an interval that a step back has made longer, but not of much more.
const LONGEST_INTERVAL: usize = 4;

/// How many numbers two batteries send in a second.
const NUMBERS: usize = 40;

/// Gives the program a clock that can be set.
fn with_clock(mut command: Command) -> Command {
    let ahead = command.get_current_dir().unwrap().join(AHEAD);
    command
        .env("LD_PRELOAD", libfaketime())
        .env("FAKETIME_TIMESTAMP_FILE", ahead)
        .env("FAKETIME_NO_CACHE", "1")
        // Back-off and deadlines are as long as ever.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

fn libfaketime() -> PathBuf {
    let directories = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    directories
        .map(|directory| directory.join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists())
        .expect("this test needs libfaketime; `./test` installs it, or `apt-get install faketime`")
}

/// Sets the clock of the program that has this home.
fn set_ahead(home: &Home, seconds: f64) {
    // Renamed, since the program may read at any moment.
    fs::write(home.path("new"), format!("{seconds:+.3}")).unwrap();
    fs::rename(home.path("new"), home.path(AHEAD)).unwrap();
}

#[test]
fn s14_a_clock_that_jumps_costs_no_row_and_doubles_none() {
    let cluster = shared_cluster();
    cluster.create_database("clock");
    let mut client = cluster.client("clock");
    prepare(&mut client);
    let batteries = Batteries::start(2);
    let mut program = Program::new(&batteries, &cluster.url("clock")).wrapped(with_clock);
    set_ahead(program.home(), 0.0);
    program.launch();
    program.wait_until_connected();
    program.records(4);
    for ahead in [-3600.0, 86_400.0, 0.0, -4.0] {
        set_ahead(program.home(), ahead);
        program.records(4);
    }
    let mut random = fastrand::Rng::with_seed(14);
    for _ in 0..rounds(12, 400) {
        set_ahead(program.home(), random.f64() * 1.5 - 5.0);
        thread::sleep(Duration::from_millis(random.u64(100..600)));
    }
    // The next runs get times again that the last one has used.
    program.kill();
    set_ahead(program.home(), -9.0);
    program.launch();
    program.wait_until_connected();
    program.records(4);
    program.stop();
    set_ahead(program.home(), -14.0);
    program.launch();
    program.wait_until_connected();
    program.records(4);
    set_ahead(program.home(), 0.0);
    a_new_number_arrives(&mut client);
    program.stop();

    let sent = batteries.end();
    let rows = undoubled_rows(&mut client);
    let mut numbers = check_numbers(&sent, &rows);
    numbers.sort_unstable();
    for battery in 0..2 {
        let its: Vec<_> = numbers.iter().copied().filter(|n| n % 2 == battery).collect();
        for pair in its.windows(2) {
            let is_short = pair[1] - pair[0] < LONGEST_INTERVAL * NUMBERS;
            // A start may take its time on a busy machine.
            let was_connected = program.was_connected(sent.time(pair[0]), sent.time(pair[1]));
            assert!(is_short || !was_connected, "nothing between {pair:?}");
        }
    }
    assert_eq!(rows, program.journal());
    // What was stored when it was killed may not have been sent.
    let stored = count(&program.log(), ": stored ");
    assert!((stored..=stored + 2).contains(&rows.len()), "{stored} stored, {} rows", rows.len());
    let moved = rows.keys().filter(|(stamp, _)| stamp.ends_with("00001")).count();
    println!("clock: {} rows, {moved} moved, {} batches resent", rows.len(), resent(&mut client));
    assert!(moved > 0, "no time came twice");
}

/// Stamps do not show what is new here.
fn a_new_number_arrives(client: &mut Client) {
    let mut newest = || {
        let newest = client.query_one("SELECT max(health) FROM battery_pack", &[]);
        newest.unwrap().get::<_, Option<f32>>(0)
    };
    let before = newest();
    // That one may have been on its way.
    wait_until("two more rows arrive", RECOVERY, || newest() > before.map(|n| n + NUMBERS as f32));
}

#[test]
fn s14_a_clock_that_is_not_set_is_waited_for() {
    let cluster = shared_cluster();
    cluster.create_database("clock_not_set");
    let mut client = cluster.client("clock_not_set");
    prepare(&mut client);
    let batteries = Batteries::start(1);
    let mut program = Program::new(&batteries, &cluster.url("clock_not_set")).wrapped(with_clock);
    // As a machine without a battery of its own has it after a power failure.
    let since_1970 = UtcDateTime::now().unix_timestamp();
    set_ahead(program.home(), -since_1970 as f64);
    program.launch();
    program.listener().wait_for("nothing is recorded until it is set");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(undoubled_rows(&mut client), Rows::new());
    assert_eq!(count(program.listener().log(), ": stored "), 0);

    let set = stamp(UtcDateTime::now().replace_nanosecond(0).unwrap());
    set_ahead(program.home(), 0.0);
    program.listener().wait_for("the clock is set");
    program.wait_until_connected();
    program.records(3);
    a_new_number_arrives(&mut client);
    program.stop();
    assert!(
        program.journal().keys().all(|(stamp, id)| *stamp > set && *id == i64::from(mcu_id(0)))
    );
    assert_eq!(count(&program.log(), "nothing is recorded"), 1, "{}", program.log().join("\n"));
    check(&mut client, &batteries.end(), &[&program]);
}

/// Nobody knows what time it was, but how long it lasted.
#[test]
fn s14_a_clock_that_was_not_set_explains_what_is_missing() {
    let server = talking_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1"];
    set_ahead(&home, -UtcDateTime::now().unix_timestamp() as f64);
    let mut listener = Listener::start(with_clock(home.command(&args)));
    listener.wait_for("attic: connected");
    young_second(UtcDateTime::now() + time::Duration::seconds(4));
    set_ahead(&home, 0.0);
    listener.wait_for("attic: stored");
    // Forward by ten minutes, which no row is of.
    set_ahead(&home, 600.0);
    listener.wait_for("attic: stored");
    listener.wait_for("attic: stored");
    let to = bluenova_record::Rfc3339(UtcDateTime::now() + time::Duration::minutes(9)).to_string();
    let gaps = with_clock(home.command(&[&args[..], &["gaps", "--json", "--to", &to]].concat()));
    let answer = text(&output(gaps).stdout);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    listener.stop();

    let gaps = answer["gaps"].as_array().unwrap();
    let [first, forward] = [gaps.first(), gaps.last()].map(Option::unwrap);
    assert_eq!((&first["cause"], &first["text"]), (&"clock_not_set".into(), &NOT_SET.into()));
    assert!((2..60).contains(&first["intervals"].as_u64().unwrap()), "{answer}");
    assert_eq!(forward["cause"], "clock_not_set", "{answer}");
    let text = forward["text"].as_str().unwrap();
    assert!(text.starts_with("the clock was set forward by "), "{answer}");
    assert!((500..600).contains(&forward["intervals"].as_u64().unwrap()), "{answer}");
}
