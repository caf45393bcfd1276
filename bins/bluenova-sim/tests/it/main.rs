//! The program as a user starts it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

use std::{
    io::{BufRead, BufReader, ErrorKind, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use bluenova_test_support::TIME_LIMIT;

/// A running program that ends with the test.
struct Sim {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Sim {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bluenova-sim"))
            // Every run ends by itself, also where the test is killed.
            .args(["--listen", "127.0.0.1:0", "--seconds", "180"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = out.next().unwrap().unwrap();
        let url = first.split_once(" at ").unwrap().1.to_owned();
        assert!(url.starts_with("ws://127.0.0.1:") && url.ends_with("/ws/"), "{first}");
        Self { child, out, url }
    }

    fn connect(&self) -> tungstenite::WebSocket<TcpStream> {
        let address = self.url.trim_start_matches("ws://").trim_end_matches("/ws/");
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        tungstenite::client(&self.url, tcp).unwrap().0
    }

    fn next_line(&mut self) -> String {
        self.out.next().unwrap().unwrap()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The next line that begins so.
fn wait_for(beginning: &str, client: &mut tungstenite::WebSocket<TcpStream>) -> String {
    loop {
        match client.read() {
            Ok(line) if line.to_text().unwrap().starts_with(beginning) => {
                return line.into_text().unwrap().to_string();
            }
            Ok(_) => {}
            // A read with a time-out ends so when the process was stopped and goes on.
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bluenova-sim")).args(args).output().unwrap()
}

#[test]
fn serves_a_client_and_prints_that_it_comes_and_goes() {
    let mut sim = Sim::start(&["--seed", "7", "--speed", "20"]);
    let mut client = sim.connect();
    let peer = client.get_ref().local_addr().unwrap();
    assert_eq!(sim.next_line(), format!("client {peer} connected"));
    wait_for("MCU ID: ", &mut client);
    wait_for("Vpack: ", &mut client);
    client.close(None).unwrap();
    while client.read().is_ok() {}
    let gone = sim.next_line();
    assert!(gone.starts_with(&format!("client {peer} disconnected after ")), "{gone}");
}

#[test]
fn faults_happen_in_their_order() {
    let mut sim = Sim::start(&["--fault", "drop@0.2", "--fault", "silence"]);
    assert_eq!(sim.next_line(), "fault: silence");
    assert_eq!(sim.next_line(), "fault: drop");
}

#[test]
fn a_fault_of_the_battery_is_on_its_console() {
    let mut sim = Sim::start(&["--speed", "20", "--fault", "breaker"]);
    assert_eq!(sim.next_line(), "fault: breaker");
    let mut client = sim.connect();
    assert!(wait_for("Breaker: ", &mut client).contains("OPEN"));
}

#[test]
fn ends_by_itself() {
    let start = std::time::Instant::now();
    let output = run(&["--listen", "127.0.0.1:0", "--seconds", "1"]);
    assert!(output.status.success());
    assert!(start.elapsed().as_millis() >= 1000, "{:?}", start.elapsed());
}

#[test]
fn prints_help_and_version() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    for option in ["--listen", "--seed", "--speed", "--fault", "--seconds", "--version"] {
        assert!(help.contains(option), "{help}");
    }
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let expected = format!("bluenova-sim {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
}

#[test]
fn bad_arguments_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for (args, named) in [
        (&["--speed", "0"] as &[&str], "0.01 to 10000"),
        (&["--speed", "fast"], "'fast'"),
        (&["--seed", "-1"], "seed"),
        (&["--listen", "9000"], "listen"),
        (&["--fault", "noise@3"], "'noise'"),
        (&["--fault", "drop@soon"], "'soon'"),
        (&["--seconds", "x"], "seconds"),
        (&["--nonsense"], "--nonsense"),
        (&["--listen", &taken], &taken),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("bluenova-sim: ") && error.contains(named), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}
