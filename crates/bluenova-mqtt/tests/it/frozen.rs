use std::{
    env, fs,
    process::Command,
    time::{Duration, Instant},
};

use bluenova_mqtt::{Session, SessionError};
use bluenova_test_support::{Mosquitto, TIME_LIMIT};

use crate::{WILL, end_of, options, retained, shown, state};

const FROZEN: &str = "the broker has not answered for 10 s";

/// Memory of this process that is in use, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// In a process of its own, whose memory is measured: other tests take some, too.
#[test]
fn a_frozen_broker_ends_a_session_that_floods_it() {
    let mut test = Command::new(env::current_exe().unwrap());
    test.args(["--exact", "frozen::flood_a_frozen_broker", "--ignored", "--nocapture"]);
    let output = test.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "another test runs it"]
fn flood_a_frozen_broker() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&options(&broker.url())).unwrap();
    let _frozen = broker.freeze();
    let (started, memory_before) = (Instant::now(), memory());
    let payload = "x".repeat(20_000);
    let error = loop {
        if let Err(error) = session.publish(state("bluenova/a/state", &payload)) {
            break error;
        }
        if started.elapsed() > TIME_LIMIT {
            panic!("it takes everything");
        }
    };
    assert_eq!(shown(&error), FROZEN);
    let grown = memory().saturating_sub(memory_before);
    assert!(grown < 32 << 20, "{grown} bytes");
    // The end of a session doesn't wait for the broker.
    let started = Instant::now();
    drop(session);
    assert!(started.elapsed() < Duration::from_secs(9));
}

#[test]
fn a_frozen_broker_ends_a_session_that_waits_for_it() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&options(&broker.url())).unwrap();
    let _frozen = broker.freeze();
    session.publish(retained(WILL, "online")).unwrap();
    assert_eq!(shown(&session.flush().unwrap_err()), FROZEN);
    assert!(matches!(session.flush(), Err(SessionError::Closed)));
}

/// Nothing is to be acknowledged, and the system takes what is written for a long time.
#[test]
fn a_frozen_broker_ends_a_session_that_publishes_little() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&options(&broker.url())).unwrap();
    let _frozen = broker.freeze();
    let started = Instant::now();
    let error = loop {
        let published = session.publish(state("bluenova/a/state", "{}"));
        let advanced = published.and_then(|()| session.advance(Duration::from_secs(1)));
        if let Err(error) = advanced {
            break error;
        }
        assert!(started.elapsed() < 2 * TIME_LIMIT, "the broker's silence isn't noticed");
    };
    assert_eq!(shown(&error), FROZEN);
}

#[test]
fn a_frozen_broker_ends_a_session_that_is_quiet() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&options(&broker.url())).unwrap();
    let _frozen = broker.freeze();
    assert_eq!(shown(&end_of(&mut session)), FROZEN);
}

#[test]
fn a_frozen_broker_answers_no_login() {
    let broker = Mosquitto::start();
    let _frozen = broker.freeze();
    let error = Session::open(&options(&broker.url())).unwrap_err();
    assert_eq!(shown(&error), "connected, but no answer to the login within 10 s");
}

#[test]
fn a_broker_that_stands_still_for_a_moment_loses_nothing() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("bluenova/#");
    let mut session = Session::open(&options(&broker.url())).unwrap();
    let frozen = broker.freeze();
    let payload = "x".repeat(20_000);
    session.publish(retained("bluenova/first", "1")).unwrap();
    // More than it acknowledges at once, while it stands still.
    let thaw = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        drop(frozen);
    });
    for _ in 0..500 {
        session.publish(state("bluenova/a/state", &payload)).unwrap();
        session.publish(retained("bluenova/b", &payload)).unwrap();
    }
    session.flush().unwrap();
    thaw.join().unwrap();
    assert_eq!(subscriber.next_message().topic, "bluenova/first");
    for _ in 0..500 {
        assert_eq!(subscriber.next_message().topic, "bluenova/a/state");
        assert_eq!(subscriber.next_message().topic, "bluenova/b");
    }
}
