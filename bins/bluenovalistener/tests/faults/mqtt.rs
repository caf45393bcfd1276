//! Scenarios 22 to 25: a broker that is away or hangs, many batteries, and long intervals.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_simulator::{Battery, Control, Pace, Profile, Server};
use bluenova_test_support::{Mosquitto, wait_until};
use serde_json::Value;
use time::UtcDateTime;

use crate::{
    is_full,
    oracle::RECOVERY,
    process::Process,
    rounds, seconds,
    support::{Home, TIME_LIMIT, count, loopback, named, obedient_battery},
};

/// What the program may take more after outages than before the first one. In the short form, with
/// a start of a few seconds, that includes what it takes once.
const GROWTH_KIB: u64 = 1 << 10;
const GROWTH_IN_SHORT_FORM_KIB: u64 = 3 << 10;

/// The most that MQTT may add here. The pages of the program's file don't count, since a program
/// without optimizations is several times as large; its stacks are larger, too.
/// `docs/performance.md` has what the release binary takes.
const ADDED_KIB: u64 = 1280;

/// Batteries in one server. Their MCU IDs count from 1.
fn batteries(count: u32, pace: Pace) -> (Server, Vec<Control>) {
    let battery = |mcu_id: u32| {
        let mut profile = Profile::new(mcu_id.into(), UtcDateTime::UNIX_EPOCH);
        profile.mcu_id = mcu_id;
        Battery::new(profile)
    };
    let mut server = Server::bind(loopback(), battery(1), pace).unwrap();
    let mut controls = vec![server.control()];
    for mcu_id in 2..=count {
        controls.push(server.add(loopback(), battery(mcu_id), pace).unwrap());
    }
    (server, controls)
}

/// Writes a file of these batteries, for `-b @fleet`.
fn write_fleet(home: &Home, controls: &[Control]) {
    let lines: Vec<String> = controls
        .iter()
        .enumerate()
        .map(|(n, control)| named(&format!("no{n}"), control.local_addr()))
        .collect();
    fs::write(home.path("fleet"), lines.join("\n")).unwrap();
}

#[test]
fn s22_a_broker_that_is_away_or_hangs_costs_neither_memory_nor_rows() {
    let mut broker = Mosquitto::start();
    let (_server, controls) = batteries(20, Pace::Free { speed: 4.0 });
    let home = Home::new();
    write_fleet(&home, &controls);
    let (database, url) = (home.sqlite("db"), broker.url());
    let args = ["-b", "@fleet", "-i", "1", "-d", &database, "--mqtt", &url];
    let mut listener = home.listen(&args);
    let process = Process(listener.pid());
    listener.wait_for("MQTT: connected");
    wait_until("all batteries are online", RECOVERY, || is_online(&broker));
    // The end of the second under way: intervals after it have to be there.
    let connected = (UtcDateTime::now() + time::Duration::SECOND).replace_nanosecond(0).unwrap();
    let connected = bluenova_record::Rfc3339(connected).to_string();
    let watch = StallWatch::start();
    thread::sleep(seconds(5, 60));
    let before = process.memory();
    let outages = rounds(1, 5);
    for _ in 0..outages {
        broker.kill();
        thread::sleep(seconds(3, 45));
        broker.start_again();
        wait_until("the listener is back", RECOVERY, || is_online(&broker));
        let frozen = broker.freeze();
        thread::sleep(seconds(3, 90));
        drop(frozen);
        wait_until("the listener is back", RECOVERY, || is_online(&broker));
    }
    let after = process.memory();
    println!("mqtt: {before} KiB before, {after} KiB after {outages} outages of each sort");
    let growth = if is_full() { GROWTH_KIB } else { GROWTH_IN_SHORT_FORM_KIB };
    assert!(after <= before + growth, "{before} KiB became {after} KiB");
    let ended = listener.stop();
    let warnings = count(&ended.log, "WARN");
    assert!((1..=2 + 4 * outages).contains(&warnings), "{:#?}", ended.log);

    let output = home.run(&["-b", "@fleet", "-i", "1", "-d", &database, "gaps", "--json"]);
    let gaps: Value = serde_json::from_slice(&output.stdout).unwrap();
    let missing: Vec<_> = gaps["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|gap| gap["cause"] != "not_running" && gap["cause"] != "no_mcu_id")
        .filter(|gap| gap["to"].as_str() > Some(&connected))
        .collect();
    // Batteries that stand still for most of a second are missing themselves.
    let stalled = watch.longest() > Duration::from_millis(500);
    assert!(missing.is_empty() || stalled, "{missing:#?}");
}

/// A thread that notices whether the machine lets this process stand still.
struct StallWatch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl StallWatch {
    fn start() -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (mut longest, mut last) = (Duration::ZERO, Instant::now());
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
                let now = Instant::now();
                longest = longest.max(now - last);
                last = now;
            }
            longest
        });
        Self { is_over, thread }
    }

    /// The longest time for which it did not run.
    fn longest(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn is_online(broker: &Mosquitto) -> bool {
    let kept = broker.kept();
    let batteries = kept.iter().filter(|(topic, content)| {
        topic.starts_with("bluenova/000000") && content.as_str() == "online"
    });
    batteries.count() == 20
}

#[test]
fn s23_each_of_many_batteries_is_announced_and_has_a_state() {
    let number = rounds(100, 1000);
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("bluenova/+/state");
    let (_server, controls) = batteries(u32::try_from(number).unwrap(), Pace::Lockstep);
    let home = Home::new();
    write_fleet(&home, &controls);
    let (database, url) = (home.sqlite("db"), broker.url());
    // The first values of so long an interval are published at once.
    let args = ["-b", "@fleet", "-i", "86400", "-d", &database, "--mqtt", &url];
    let mut listener = home.listen(&args);
    listener.wait_for("MQTT: connected");
    let mut sent = BTreeMap::new();
    for (control, mcu_id) in controls.iter().zip(1_u32..) {
        control.wait_for_clients(1, RECOVERY).unwrap();
        let snapshot = control.step().unwrap();
        // A cycle of the console is known to be whole when the next one begins.
        control.step().unwrap();
        let values = (i64::from(snapshot.soc), i64::from(snapshot.temp));
        sent.insert(mcu_id, (Some(values.0), Some(values.1)));
    }
    let started = Instant::now();
    let mut states = BTreeMap::new();
    while states.len() < number {
        let message = subscriber.next_message();
        let state: Value = serde_json::from_str(&message.payload).unwrap();
        let mcu_id = u32::try_from(state["mcu_id"].as_u64().unwrap()).unwrap();
        assert_eq!(message.topic, format!("bluenova/{mcu_id:08X}/state"));
        let values = (state["soc"].as_i64(), state["temp"].as_i64());
        assert_eq!(values, sent[&mcu_id], "{mcu_id:08X}");
        states.insert(mcu_id, state);
    }
    println!("mqtt: {number} batteries have a state after {:.1?}", started.elapsed());
    println!("mqtt: {} KiB at most", Process(listener.pid()).peak_memory());
    let mut kept = BTreeMap::new();
    wait_until("all are announced", RECOVERY, || {
        kept = broker.kept();
        let is_complete = |mcu_id| {
            let config = format!("homeassistant/device/bluenova_{mcu_id:08X}/config");
            let availability = kept.get(&format!("bluenova/{mcu_id:08X}/availability"));
            kept.contains_key(&config) && availability.is_some_and(|content| content == "online")
        };
        // The bank and the listener have three topics.
        states.keys().all(is_complete) && kept.len() >= 2 * number + 3
    });
    assert_eq!(kept.len(), 2 * number + 3);
    listener.stop();
}

#[test]
fn s24_mqtt_takes_little_memory() {
    let broker = Mosquitto::start();
    let (_server, controls) = batteries(2, Pace::Free { speed: 1.0 });
    let url = broker.url();
    let [without, with] = [&[][..], &["--mqtt", &url]].map(|more| {
        let home = Home::new();
        write_fleet(&home, &controls);
        let database = home.sqlite("db");
        let args = ["-b", "@fleet", "-i", "2", "-d", &database];
        let mut listener = home.listen(&[&args[..], more].concat());
        for _ in 0..rounds(4, 30) {
            listener.wait_for("no0: stored");
            listener.wait_for("no1: stored");
        }
        let memory = Process(listener.pid()).own_memory();
        listener.stop();
        memory
    });
    println!("mqtt: {without} KiB without, {with} KiB with MQTT");
    assert!(with <= without + ADDED_KIB, "{with} KiB instead of {without} KiB");
}

#[test]
fn s25_a_long_interval_has_a_state_every_30_s() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("bluenova/+/state");
    let battery = obedient_battery(1);
    let home = Home::new();
    let (in_attic, database, url) =
        (named("attic", battery.local_addr()), home.sqlite("db"), broker.url());
    let args = ["-i", "86400", "-b", &in_attic, "-d", &database, "--mqtt", &url];
    let mut listener = home.listen(&args);
    listener.wait_for("MQTT: connected");
    battery.control().wait_for_clients(1, TIME_LIMIT).unwrap();
    let mut times = vec![];
    while times.len() < rounds(2, 6) {
        battery.control().step().unwrap();
        if let Some(message) = subscriber.next_within(Duration::from_millis(500)) {
            let state: Value = serde_json::from_str(&message.payload).unwrap();
            times.push((Instant::now(), state["insert_time_utc"].clone()));
        }
    }
    // The one behind the announcement is that of before.
    times.dedup_by(|later, earlier| later.1 == earlier.1);
    // The second one comes soon, since the first one may lack values.
    for pair in times[1..].windows(2) {
        let apart = pair[1].0 - pair[0].0;
        assert!((20..45).contains(&apart.as_secs()), "{times:?}");
    }
    assert_eq!(count(listener.log(), "stored"), 0);
    listener.stop();
}
