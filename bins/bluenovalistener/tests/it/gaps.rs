//! `gaps`: why a row is missing, with the real program and the smallest input.

use bluenova_journal::{Event, EventKind, Reader};
use bluenova_simulator::{Control, Message, Pace, Server};
use bluenova_test_support::{Cluster, Mode, wait_until};
use nix::sys::signal::Signal;
use postgres::Client;
use serde_json::Value;
use time::UtcDateTime;

use crate::support::{
    Home, Listener, TIME_LIMIT, battery, named, obedient_battery, shared_cluster, talking_battery,
    text, young_second,
};

const SECONDS: time::Duration = time::Duration::SECOND;

/// A gap: when it ends, how many intervals it has, and its cause.
type Found = (UtcDateTime, u64, String);

fn run(home: &Home, args: &[&str], more: &[&str]) -> String {
    let output = home.run(&[args, &["gaps"], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn json(home: &Home, args: &[&str], more: &[&str]) -> Value {
    let text = run(home, args, &[&["--json"], more].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn gaps(home: &Home, args: &[&str]) -> Vec<Found> {
    let answer = json(home, args, &[]);
    let gaps = answer["gaps"].as_array().unwrap();
    let sum: u64 = gaps.iter().map(|gap| gap["intervals"].as_u64().unwrap()).sum();
    assert_eq!(answer["missing"], sum, "{answer}");
    gaps.iter()
        .map(|gap| {
            let to = gap["to"].as_str().unwrap();
            let to =
                time::OffsetDateTime::parse(to, &time::format_description::well_known::Rfc3339);
            let intervals = gap["intervals"].as_u64().unwrap();
            (to.unwrap().to_utc(), intervals, gap["cause"].as_str().unwrap().to_owned())
        })
        .collect()
}

/// The cause of the interval that ends then.
fn cause_at(gaps: &[Found], end: UtcDateTime) -> Option<&str> {
    let holds = |(to, intervals, _): &&Found| {
        let from = *to - SECONDS * i32::try_from(*intervals).unwrap();
        from < end && end <= *to
    };
    gaps.iter().find(holds).map(|(_, _, cause)| cause.as_str())
}

/// The end of an interval that is over, with all intervals up to two before it: nothing at its
/// edges matters there.
fn later(after: UtcDateTime) -> UtcDateTime {
    let end = young_second(after + SECONDS * 3);
    end - SECONDS
}

fn say(control: &Control, lines: &str) {
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    control.send(Message::Text(lines.as_bytes().to_vec())).unwrap();
}

fn events(home: &Home) -> Vec<Event> {
    Reader::open(home.path("db")).unwrap().events().unwrap()
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

/// Until the rows that are expected by now are there.
fn settled(after: UtcDateTime) {
    young_second(after + SECONDS * 5);
}

#[test]
fn a_killed_listener_did_not_run() {
    let server = talking_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1"];
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    listener.wait_for("attic: stored");
    let seen = events(&home);
    let began = [EventKind::Started, EventKind::Connected, EventKind::Identified];
    assert_eq!(kinds(&seen), began);
    assert!(seen[0].detail.starts_with("version ") && seen[0].detail.ends_with("every 1 s"));
    assert_eq!((seen[2].battery.as_deref(), seen[2].mcu_id), (Some("attic"), Some(0x10AB_CDEF)));
    listener.end(Signal::SIGKILL);
    let killed = later(UtcDateTime::now());
    // Nobody has come back yet.
    settled(killed);
    assert_eq!(cause_at(&gaps(&home, &args), killed), Some("not_running"));

    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    let found = gaps(&home, &args);
    assert_eq!(cause_at(&found, killed), Some("not_running"), "{found:?}");
    listener.stop();
    let stopped = later(UtcDateTime::now());
    settled(stopped);
    let found = gaps(&home, &args);
    assert_eq!(cause_at(&found, stopped), Some("not_running"), "{found:?}");
    let all = [&began[..], &began, &[EventKind::Stopped]].concat();
    assert_eq!(kinds(&events(&home)), all);
    let printed = run(&home, &args, &[]);
    assert!(printed.contains("attic 10ABCDEF  the listener didn't run\n"), "{printed}");
}

#[test]
fn intervals_that_were_longer_are_no_gaps() {
    let server = talking_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let every = |seconds| ["-b", &at, "-d", &database, "-i", seconds];
    let mut listener = home.listen(&every("4"));
    listener.wait_for("attic: stored");
    listener.wait_for("attic: stored");
    listener.stop();
    let found = gaps(&home, &every("1"));
    assert!(found.iter().all(|(_, _, cause)| cause != "unknown"), "{found:?}");
}

#[test]
fn a_battery_may_be_away() {
    let server = talking_battery(1);
    let address = server.local_addr();
    let home = Home::new();
    let (at, database) = (named("attic", address), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1"];
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    drop(server);
    listener.wait_for("not reachable");
    let away = later(UtcDateTime::now());
    let server = Server::bind(address, battery(1), Pace::Free { speed: 4.0 }).unwrap();
    listener.wait_for("attic: connected");
    listener.wait_for("attic: stored");
    settled(away);
    let found = gaps(&home, &args);
    assert_eq!(cause_at(&found, away), Some("not_connected"), "{found:?}");
    let answer = json(&home, &args, &[]);
    let refused = |gap: &Value| gap["error"].as_str().is_some_and(|it| it.contains("refused"));
    assert!(answer["gaps"].as_array().unwrap().iter().any(refused), "{answer}");
    let printed = run(&home, &args, &[]);
    assert!(printed.contains("no connection: "), "{printed}");
    let last = printed.lines().last().unwrap();
    assert!(last.contains(" % of "), "{last}");

    // Only what is asked for, and nothing that is still to come.
    let from = (away - SECONDS).unix_timestamp();
    let [from, to] = [from, from + 1].map(|seconds| {
        let time = UtcDateTime::from_unix_timestamp(seconds).unwrap();
        bluenova_record::Rfc3339(time).to_string()
    });
    let answer = json(&home, &args, &["--from", &from, "--to", &to]);
    assert_eq!((&answer["missing"], &answer["intervals"]), (&1.into(), &1.into()), "{answer}");
    assert_eq!(answer["gaps"][0]["from"], from);
    // A change is one event, whatever the number of attempts.
    listener.stop();
    let lost = kinds(&events(&home));
    let lost = lost.iter().filter(|kind| **kind == EventKind::NotConnected).count();
    assert!((1..=2).contains(&lost), "{lost}");
    drop(server);
}

#[test]
fn a_battery_may_be_silent() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1"];
    let mut listener = home.listen(&args);
    say(&control, "MCU ID: 1");
    listener.wait_for("attic: stored");
    let silent = later(UtcDateTime::now());
    listener.wait_for("sent no text");
    settled(silent);
    wait_until("the event is there", TIME_LIMIT, || {
        kinds(&events(&home)).contains(&EventKind::Silent)
    });
    let found = gaps(&home, &args);
    assert_eq!(cause_at(&found, silent), Some("silent"), "{found:?}");
    listener.stop();
}

#[test]
fn a_battery_may_send_no_mcu_id() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1"];
    let mut listener = home.listen(&args);
    say(&control, "SOC: 12");
    listener.wait_for("no MCU ID");
    let nameless = later(UtcDateTime::now());
    settled(nameless);
    let answer = json(&home, &args, &[]);
    let gap = &answer["gaps"][0];
    assert_eq!((&gap["battery"], &gap["names"][0]), (&Value::Null, &"attic".into()), "{answer}");
    assert_eq!(cause_at(&gaps(&home, &args), nameless), Some("no_mcu_id"), "{answer}");
    listener.stop();
}

#[test]
fn without_a_journal_there_is_an_error() {
    let home = Home::new();
    let output = home.run(&["-d", &home.sqlite("db"), "gaps"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no file "), "{}", text(&output.stderr));
    for wrong in [&["--from", "soon"][..], &["--to", "x"], &["--from", "0s"]] {
        let mut listener = home.listen(&["-b", "127.0.0.1:1", "-d", &home.sqlite("db")]);
        listener.wait_for("not reachable");
        listener.stop();
        let output = home.run(&[&["-d", &home.sqlite("db"), "gaps"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(wrong[0]), "{}", text(&output.stderr));
    }
}

/// The journal `db` of a listener that has found a battery at some time.
fn journal_since(home: &Home, found: UtcDateTime) {
    let mut journal =
        bluenova_journal::Journal::open(&home.path("db"), bluenova_journal::Retention::FOREVER);
    let event = Event {
        battery: Some("attic".to_owned()),
        mcu_id: Some(7),
        ..Event::new(found, EventKind::Identified, "")
    };
    journal.as_mut().unwrap().put_events(&[event]).unwrap();
}

#[test]
fn a_time_before_the_listener_s_is_not_counted() {
    let home = Home::new();
    journal_since(&home, UtcDateTime::now() - time::Duration::minutes(10));
    let args = ["-d", &home.sqlite("db"), "-i", "60"];
    let printed = run(&home, &args, &["--from", "5d"]);
    let last = printed.lines().last().unwrap();
    let (share, since) = last.split_once("; before ").expect(last);
    // Of the intervals that are over, the first one being under way when the battery was found.
    assert!(share.starts_with("0.00 % of ") && share.contains(" min"), "{last}");
    assert!(since.ends_with(" no battery had a row or an event"), "{last}");
    // What is all counted needs no remark.
    let printed = run(&home, &args, &["--from", "5m"]);
    assert!(printed.lines().last().unwrap().ends_with(" s"), "{printed}");
    // And of what is not at all, there is no share.
    let printed = run(&home, &args, &["--from", "5h", "--to", "4h"]);
    assert_eq!(printed, "no battery had a row or an event in 1 h\n");
}

/// A listener whose rows are in PostgreSQL, with a battery that says what it is told.
struct Delivering {
    home: Home,
    args: Vec<String>,
    server: Server,
    listener: Listener,
}

impl Delivering {
    fn start(cluster: &Cluster, database: &str) -> Self {
        let server = obedient_battery(1);
        let home = Home::new();
        let (at, url) = (named("attic", server.local_addr()), cluster.url(database));
        let args = ["-b", &at, "-d", &url, "-i", "1", "--journal", "db"];
        let listener = home.listen(&args);
        let args = args.map(str::to_owned).to_vec();
        Self { home, args, server, listener }
    }

    /// Has a row stored; returns its time.
    fn row(&mut self, soc: u8) -> UtcDateTime {
        say(&self.server.control(), &format!("MCU ID: 1\nSOC: {soc}"));
        let line = self.listener.wait_for(&format!("  {soc} %"));
        let (_, stored) = line.split_once("stored ").unwrap();
        let stamp = stored.split_once(" UTC").unwrap().0.replace(' ', "T") + "Z";
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(&stamp, format).unwrap().to_utc()
    }

    fn gaps(&self) -> Vec<Found> {
        gaps(&self.home, &Vec::from_iter(self.args.iter().map(String::as_str)))
    }

    fn print(&self) -> String {
        run(&self.home, &Vec::from_iter(self.args.iter().map(String::as_str)), &[])
    }

    fn wait_for_cause(&self, end: UtcDateTime, cause: Option<&str>) {
        settled(end);
        wait_until(&format!("{cause:?} at {end}"), TIME_LIMIT, || {
            cause_at(&self.gaps(), end) == cause
        });
    }
}

fn database(cluster: &Cluster, name: &str) -> Client {
    cluster.create_database(name);
    let mut client = cluster.client(name);
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    client
}

#[test]
fn a_row_may_be_missing_in_the_table() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "gaps_deleted");
    let mut delivering = Delivering::start(cluster, "gaps_deleted");
    let [first, second, third] = [12, 13, 14].map(|soc| delivering.row(soc));
    delivering.wait_for_cause(third, None);
    assert_eq!(cause_at(&delivering.gaps(), second), None);
    client.execute("DELETE FROM battery_pack WHERE soc = 13", &[]).unwrap();
    let found = delivering.gaps();
    assert_eq!(cause_at(&found, second), Some("not_in_table"), "{found:?}");
    assert_eq!(cause_at(&found, first), None, "{found:?}");
    assert!(delivering.print().contains("resend delivers it"));
    // The table is all that is looked at; nothing was written there.
    let rows: i64 = client.query_one("SELECT count(*) FROM battery_pack", &[]).unwrap().get(0);
    assert_eq!(rows, 2);
    delivering.listener.stop();
}

#[test]
fn a_row_may_be_rejected() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "gaps_rejected");
    client.batch_execute("ALTER TABLE battery_pack ADD CONSTRAINT odd CHECK (soc <> 13)").unwrap();
    let mut delivering = Delivering::start(cluster, "gaps_rejected");
    let [_, rejected, _] = [12, 13, 14].map(|soc| delivering.row(soc));
    delivering.listener.wait_until_said("set aside");
    delivering.wait_for_cause(rejected, Some("set_aside"));
    delivering.listener.stop();
}

#[test]
fn rows_may_wait_for_the_server() {
    let mut cluster = Cluster::start();
    drop(database(&cluster, "homeauto"));
    let mut delivering = Delivering::start(&cluster, "homeauto");
    let first = delivering.row(12);
    delivering.wait_for_cause(first, None);
    // The table is there and can't be written: rows wait.
    let mut client = cluster.client("homeauto");
    client.batch_execute("ALTER TABLE battery_pack RENAME COLUMN soc TO sod").unwrap();
    let second = delivering.row(13);
    delivering.wait_for_cause(second, Some("waiting"));
    assert_eq!(cause_at(&delivering.gaps(), first), None);

    // Without a server the journal alone is looked at.
    drop(client);
    cluster.stop(Mode::Fast);
    let printed = delivering.print();
    let note = printed.lines().next().unwrap();
    assert!(note.starts_with("can't connect to homeauto on "), "{printed}");
    assert!(note.contains("Only the journal is looked at"), "{printed}");
    let found = delivering.gaps();
    assert_eq!(cause_at(&found, second), None, "{found:?}");
    let Delivering { home, listener, .. } = delivering;
    listener.stop();
    assert!(kinds(&events(&home)).contains(&EventKind::ServerAway));
}

/// The most memory that the program had while it listed the gaps of so many days, in KiB.
#[cfg(target_os = "linux")]
fn memory_for(days: u32) -> u64 {
    const BATTERIES: u32 = 10;
    let cluster = shared_cluster();
    let name = format!("gaps_of_{days}_days");
    let mut client = database(cluster, &name);
    client
        .batch_execute(&format!(
            "INSERT INTO battery_pack (insert_time_utc, mcu_id)
             SELECT '2026-01-01'::timestamp + n * interval '10 s', id
             FROM generate_series(1, {days} * 8640) n, generate_series(1, {BATTERIES}) id
             WHERE (n + id) % 100 <> 0"
        ))
        .unwrap();
    let home = Home::new();
    let mut journal =
        bluenova_journal::Journal::open(&home.path("db"), bluenova_journal::Retention::FOREVER);
    let start = UtcDateTime::from_unix_timestamp(1_767_225_600).unwrap();
    let events: Vec<_> = (1..=BATTERIES)
        .map(|id| Event {
            battery: Some(format!("battery {id}")),
            mcu_id: Some(id),
            ..Event::new(start, EventKind::Identified, "")
        })
        .collect();
    journal.as_mut().unwrap().put_events(&events).unwrap();
    drop(journal);

    let to = bluenova_record::Rfc3339(start + time::Duration::DAY * days).to_string();
    let url = cluster.url(&name);
    let args = ["-d", &url, "--journal", "db", "gaps", "--from", "2026-01-01", "--to", &to];
    // Its peak can be read as long as it is there; it stays until its output is read.
    let mut command = home.command(&args);
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut child = crate::support::Killed(child);
    let mut output = std::io::BufReader::new(child.0.stdout.take().unwrap());
    let (mut peak, mut line, mut lines) = (0, String::new(), 0);
    while std::io::BufRead::read_line(&mut output, &mut line).unwrap() > 0 {
        lines += 1;
        if lines % 500 == 0 {
            peak = peak.max(peak_of(child.0.id()));
        }
        if !line.contains("battery") {
            break;
        }
        line.clear();
    }
    assert!(line.starts_with("98.99 % of ") || line.starts_with("99.00 % of "), "{line}");
    assert!(lines > 800 * days && peak > 0, "{lines} lines");
    peak
}

#[cfg(target_os = "linux")]
fn peak_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[test]
#[cfg(target_os = "linux")]
fn many_days_take_no_more_memory_than_one() {
    let [one, many] = [1, 8].map(memory_for);
    assert!(many < one + 2048, "{one} KiB for a day, {many} KiB for eight");
}
