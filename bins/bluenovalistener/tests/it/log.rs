//! The log: its files, its lines, its times.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

use bluenova_simulator::{Control, Message, Server};
use bluenova_test_support::wait_until;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    rows::sqlite_rows,
    support::{
        Home, Killed, Listener, TIME_LIMIT, count, named, obedient_battery, talking_battery,
    },
};

/// A program that logs what a battery says, and the battery.
fn logs(home: &Home, options: &[&str]) -> (Listener, Server) {
    let server = obedient_battery(1);
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let mut args = vec!["-b", &at, "-d", &database, "-l", "x.log", "-r"];
    args.extend(options);
    let listener = home.listen(&args);
    server.control().wait_for_clients(1, TIME_LIMIT).unwrap();
    (listener, server)
}

fn line(bytes: impl AsRef<[u8]>) -> Message {
    Message::Text(bytes.as_ref().to_vec())
}

/// What the battery said, as a log has it.
fn raw(log: &str) -> Vec<&str> {
    log.lines().filter_map(|line| line.split_once("attic: RX: ")).map(|(_, raw)| raw).collect()
}

fn files(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.path(".")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut logs: Vec<String> = names.filter(|name| name.starts_with("x.log")).collect();
    logs.sort();
    logs
}

/// Without rotation.
const NEVER: &[&str] = &["-m", "0"];

/// Logs some hundred lines, and looks at the files that there are then.
#[track_caller]
fn check_files(options: &[&str], expected: &[&str]) {
    let home = Home::new();
    let said: Vec<String> = (0..150).map(|n| format!("line {n} {}", "x".repeat(n % 40))).collect();
    // The second run goes on where the first one has stopped.
    for half in said.chunks(100) {
        let (mut listener, server) = logs(&home, options);
        for text in half {
            server.control().send(line(text)).unwrap();
        }
        let last = half.last().unwrap();
        wait_until("all is logged", TIME_LIMIT, || {
            raw(&home.read("x.log")).contains(&last.as_str())
        });
        assert!(listener.log().is_empty(), "{:?}", listener.log());
        listener.stop();
    }
    assert_eq!(files(&home), expected, "{options:?}");

    // The newest files hold the newest lines, without a gap.
    let mut all = String::new();
    for name in expected.iter().rev() {
        let text = home.read(name);
        if options != NEVER {
            assert!(text.len() <= 2048, "{name} has {} bytes", text.len());
            assert!(text.len() >= 1900 || *name == "x.log", "{name} has {} bytes", text.len());
        }
        all.push_str(&text);
    }
    let kept = raw(&all);
    let newest: Vec<&str> = said.iter().map(String::as_str).collect();
    assert!(!kept.is_empty() && newest.ends_with(&kept), "{kept:?}");
    if options == NEVER {
        assert_eq!(kept.len(), said.len());
    }
}

#[test]
fn files_are_rotated_at_their_size() {
    check_files(&["-m", "2K", "-n", "3"], &["x.log", "x.log.1", "x.log.2", "x.log.3"]);
}

#[test]
fn as_many_old_files_are_kept_as_wanted() {
    check_files(&["--log-size=2048", "--log-keep=1"], &["x.log", "x.log.1"]);
}

#[test]
fn no_old_file_is_kept_where_none_is_wanted() {
    check_files(&["--log-size=2k", "--log-keep", "0"], &["x.log"]);
}

#[test]
fn without_a_size_nothing_is_rotated() {
    check_files(NEVER, &["x.log"]);
}

#[test]
fn a_rotation_that_fails_is_logged_once_and_costs_no_line() {
    let home = Home::new();
    fs::create_dir(home.path("x.log.1")).unwrap();
    let (listener, server) = logs(&home, &["-m", "2K", "-n", "1", "-f", "1"]);
    let said: Vec<String> = (0..150).map(|n| format!("line {n} {}", "x".repeat(40))).collect();
    for text in &said {
        server.control().send(line(text)).unwrap();
    }
    let control = server.control();
    until_seen(&control, &home, "the last line");
    let log = home.read("x.log");
    let (last, lines) =
        raw(&log).split_last().map(|(last, lines)| (*last, lines.to_vec())).unwrap();
    assert_eq!((lines.len(), last), (said.len(), "the last line"));
    assert!(lines == said);
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("rotated")).collect();
    let [warning] = warnings[..] else { panic!("{warnings:?}") };
    for word in [" WARN ", "x.log", "Is a directory", "-m 0"] {
        assert!(warning.contains(word), "{warning}");
    }

    fs::remove_dir(home.path("x.log.1")).unwrap();
    for text in &said[..50] {
        control.send(line(text)).unwrap();
    }
    wait_until("it is rotated", TIME_LIMIT, || home.path("x.log.1").is_file());
    listener.stop();
    assert_eq!(count(&[home.read("x.log")], "rotated"), 0);
}

#[test]
fn a_file_that_is_cut_by_another_program_is_rotated_at_its_size_all_the_same() {
    let home = Home::new();
    let (listener, server) = logs(&home, &["-m", "2K", "-n", "1", "-f", "1"]);
    let control = server.control();
    for n in 0..3 {
        until_seen(&control, &home, &format!("line {n} {}", "x".repeat(500)));
        // So logrotate does it with `copytruncate`.
        File::options().write(true).open(home.path("x.log")).unwrap().set_len(0).unwrap();
    }
    until_seen(&control, &home, &format!("short {}", "x".repeat(1200)));
    assert_eq!(files(&home), ["x.log"], "its size was never reached");
    until_seen(&control, &home, &format!("long {}", "x".repeat(1200)));
    assert_eq!(files(&home), ["x.log", "x.log.1"]);
    listener.stop();
    let old = home.read("x.log.1");
    assert!(raw(&old)[0].starts_with("short ") && !old.contains('\0'), "{old:?}");
    assert!(old.len() < 2048);
}

/// Lets the battery say a line, and waits until it is in the file.
fn until_seen(control: &Control, home: &Home, text: &str) -> Duration {
    control.send(line(text)).unwrap();
    let start = Instant::now();
    wait_until(&format!("{text:?} is seen"), TIME_LIMIT, || home.read("x.log").contains(text));
    start.elapsed()
}

#[test]
fn each_line_is_flushed_where_that_is_wanted() {
    let home = Home::new();
    let (_listener, server) = logs(&home, &["-f", "1"]);
    // With flushes of the other kind, all but the first line take about a second.
    let mut lines = 0;
    let mut at_once = || {
        lines += 1;
        let took = until_seen(&server.control(), &home, &format!("line {lines}."));
        took < Duration::from_millis(500)
    };
    at_once();
    wait_until("three lines in a row are seen at once", TIME_LIMIT, || {
        at_once() && at_once() && at_once()
    });
}

#[test]
fn lines_are_flushed_after_a_while() {
    let home = Home::new();
    let (_listener, server) = logs(&home, &["-f", "0"]);
    let took: Vec<Duration> =
        (0..3).map(|n| until_seen(&server.control(), &home, &format!("line {n}"))).collect();
    // Otherwise the other test could not fail.
    assert!(took.iter().any(|took| *took > Duration::from_millis(300)), "{took:?}");
}

#[test]
fn sighup_reopens_the_file() {
    let home = Home::new();
    let (listener, server) = logs(&home, &["-f", "1"]);
    until_seen(&server.control(), &home, "first");
    fs::rename(home.path("x.log"), home.path("x.old")).unwrap();
    server.control().send(line("second")).unwrap();
    wait_until("the old file is used", TIME_LIMIT, || home.read("x.old").contains("second"));
    listener.signal(Signal::SIGHUP);
    wait_until("there is a new file", TIME_LIMIT, || !files(&home).is_empty());
    until_seen(&server.control(), &home, "third");
    listener.stop();
    assert_eq!(raw(&home.read("x.old")), ["first", "second"]);
    assert_eq!(raw(&home.read("x.log")), ["third"]);
}

#[test]
fn a_console_may_be_asked_to_reopen_and_may_go_away() {
    let server = talking_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1"];
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    listener.signal(Signal::SIGHUP);
    listener.wait_for("attic: stored");
    listener.stop();

    let before = sqlite_rows(&home.path("db")).len();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = home.command(&args);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut deaf = Killed(command.spawn().unwrap());
    drop((reader, command));
    wait_until("rows come all the same", TIME_LIMIT, || {
        sqlite_rows(&home.path("db")).len() >= before + 2
    });
    assert!(deaf.0.try_wait().unwrap().is_none());
}

#[test]
fn a_console_that_nobody_reads_costs_no_row() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", control.local_addr()), home.sqlite("db"));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = home.command(&["-b", &at, "-d", &database, "-i", "1", "-r"]);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut stuck = Killed(command.spawn().unwrap());
    drop(command);
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    // More than a pipe holds, and then more lines than anybody would keep for it.
    for _ in 0..4 {
        control.send(line([b'x'; 60_000])).unwrap();
    }
    control.send(line("x\n".repeat(4200))).unwrap();
    control.send(line("MCU ID: 1\nSOC: 5")).unwrap();
    wait_until("a row comes", TIME_LIMIT, || !sqlite_rows(&home.path("db")).is_empty());

    kill(Pid::from_raw(stuck.0.id().cast_signed()), Signal::SIGTERM).unwrap();
    wait_until("it ends", TIME_LIMIT, || stuck.0.try_wait().unwrap().is_some());
    drop(reader);
}

/// Runs it with a log file that can't be opened after `block`, until `open` has run. Then what was
/// logged before and what is logged after that must arrive, which `read` gives.
#[track_caller]
fn check_late_file(
    path: &str,
    says: &str,
    block: impl FnOnce(&Home),
    open: impl FnOnce(&Home),
    read: impl Fn(&Home) -> String,
) {
    let server = talking_battery(1);
    let home = Home::new();
    block(&home);
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1", "-l", path, "-f", "1"];
    let mut listener = home.listen(&args);
    let said = listener.wait_for("can't be opened");
    assert!(said.contains(path) && said.contains(says), "{said}");
    listener.wait_for("attic: stored");
    assert!(!sqlite_rows(&home.path("db")).is_empty());

    open(&home);
    wait_until("the file has the log", TIME_LIMIT, || read(&home).contains("attic: stored"));
    assert!(read(&home).contains("INFO  bluenovalistener "), "{}", read(&home));
    let before = read(&home).len();
    wait_until("the log goes on", TIME_LIMIT, || {
        read(&home).get(before..).is_some_and(|more| more.contains("attic: stored"))
    });
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "can't be opened"), 1, "{}", ended.log.join("\n"));
    assert!(read(&home).trim_end().ends_with("ended"), "{}", read(&home));
}

#[test]
fn a_log_whose_directory_is_made_later_has_all_lines() {
    check_late_file(
        "later/x.log",
        "No such file",
        |_| (),
        |home| fs::create_dir(home.path("later")).unwrap(),
        |home| home.read("later/x.log"),
    );
}

#[test]
fn a_log_in_place_of_which_is_a_directory_is_written_when_that_is_gone() {
    let make = |home: &Home| fs::create_dir(home.path("x.log")).unwrap();
    check_late_file(
        "x.log",
        "directory",
        make,
        |home| fs::remove_dir(home.path("x.log")).unwrap(),
        |home| home.read("x.log"),
    );
}

#[test]
fn a_log_pipe_may_have_its_reader_later() {
    let server = talking_battery(1);
    let home = Home::new();
    let fifo = home.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1", "-l", "fifo", "-f", "1"];
    let mut listener = home.listen(&args);
    let said = listener.wait_for("can't be opened");
    assert!(said.contains("fifo") && said.contains("it has no reader"), "{said}");
    listener.wait_for("attic: stored");

    // The second reader comes when the first one is gone: what is logged meanwhile waits for it.
    for first in ["INFO  bluenovalistener ", "attic: stored"] {
        let mut lines = BufReader::new(File::open(&fifo).unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains(first)), "{first}");
        assert!(lines.any(|line| line.contains("attic: stored")));
    }
    let rows = sqlite_rows(&home.path("db")).len();
    wait_until("rows come without a reader", TIME_LIMIT, || {
        sqlite_rows(&home.path("db")).len() > rows + 2
    });
    listener.stop();
}

#[test]
fn times_are_local_and_say_so() {
    for (zone, offset) in
        [("Africa/Johannesburg", "+02:00"), ("UTC", "+00:00"), ("NST3:30", "-03:30")]
    {
        let home = Home::new();
        let server = talking_battery(1);
        let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
        let mut command = home.command(&["-b", &at, "-d", &database, "-i", "1"]);
        command.env("TZ", zone);
        let line = Listener::start(command).wait_for("attic: stored ");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, shown, "INFO", "attic:", "stored", _, utc, ..] = words[..] else {
            panic!("{line}")
        };
        assert_eq!(shown, offset, "{zone}");
        let minutes = |time: &str| {
            let part = |at: usize| time[at..at + 2].parse::<i32>().unwrap();
            part(0) * 60 + part(3)
        };
        let difference = minutes(&offset[1..]) * if offset.starts_with('-') { -1 } else { 1 };
        let off = (minutes(local) - minutes(utc) - difference).rem_euclid(24 * 60);
        // The line is written just after the interval's end.
        assert!(off <= 1, "{line}");
    }
}

#[test]
fn raw_lines_are_logged_with_control_characters_escaped() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("attic", control.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-l", "raw.log", "-r", "-f", "1"]);
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    control.send(line(b"SOC: 1 \x1B[2J \x07 \0 \xC2\x9B \t end")).unwrap();
    control.send(line("one\rtwo\r\nthree")).unwrap();
    wait_until("the lines are logged", TIME_LIMIT, || home.read("raw.log").contains("RX: three"));
    assert!(listener.log().is_empty(), "{:?}", listener.log());
    listener.stop();

    let log = fs::read(home.path("raw.log")).unwrap();
    let log = String::from_utf8_lossy(&log);
    let raw: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("RX: ")).map(|l| l.1).collect();
    assert_eq!(raw, ["SOC: 1 \\u{1b}[2J \\u{7} \\u{0} \\u{9b} \\t end", "one\\rtwo", "three"]);
    assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log:?}");
}
