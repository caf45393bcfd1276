//! `--mqtt`, with a real Mosquitto.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use bluenova_simulator::{Message, Server};
use bluenova_test_support::{Mosquitto, Received, Subscriber, wait_until};
use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;

use crate::{
    rows::{Cell, Row, postgres_rows, said},
    support::{
        Home, Listener, TIME_LIMIT, count, named, obedient_battery, output, shared_cluster,
        talking_battery, text,
    },
};

const ATTIC: &str = "10ABCDEF";
const CELLAR: &str = "20ABCDEF";

/// The user `solar` with the password `secret`, as `mosquitto_passwd` writes it.
const PASSWORDS: &str = "solar:$7$101$Ymx1ZW5vdmF0ZXN0$\
    HsG4UItTnZGc4gy9Zk+25dTYL4VDuULk7vASvc7aUmJuh7m1gK2U+IUEL+Ga\
    ZFKEr8nUks7JbhElQ4VAN5q9CA==\n";

/// A broker, a battery, and the arguments that bring them together.
struct Scene {
    broker: Mosquitto,
    attic: Server,
    home: Home,
    /// Seconds of an interval.
    interval: &'static str,
}

impl Scene {
    fn new() -> Self {
        Self::of(Mosquitto::start(), talking_battery(1), "1")
    }

    /// A battery that sends a cycle when it is told to, in an interval that doesn't end.
    fn in_one_interval() -> Self {
        Self::of(Mosquitto::start(), obedient_battery(1), "86400")
    }

    fn of(broker: Mosquitto, attic: Server, interval: &'static str) -> Self {
        Self { broker, attic, home: Home::new(), interval }
    }

    fn args(&self) -> Vec<String> {
        self.args_with(&self.broker.url())
    }

    fn args_with(&self, url: &str) -> Vec<String> {
        let (battery, database) = (named("attic", self.attic.local_addr()), self.home.sqlite("db"));
        let interval = self.interval;
        ["-i", interval, "-b", &battery, "-d", &database, "--mqtt", url].map(str::to_owned).to_vec()
    }

    fn listen(&self) -> Listener {
        self.listen_with(&[])
    }

    fn listen_with(&self, more: &[&str]) -> Listener {
        let args = self.args();
        self.home.listen(
            &args.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>(),
        )
    }

    /// Messages that the broker keeps, once they fulfil a condition.
    #[track_caller]
    fn kept_when(
        &self,
        what: &str,
        is_met: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> BTreeMap<String, String> {
        kept_when(&self.broker, what, is_met)
    }
}

#[track_caller]
fn kept_when(
    broker: &Mosquitto,
    what: &str,
    is_met: impl Fn(&BTreeMap<String, String>) -> bool,
) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    wait_until(what, TIME_LIMIT, || {
        kept = broker.kept();
        is_met(&kept)
    });
    kept
}

fn state(battery: &str) -> String {
    format!("bluenova/{battery}/state")
}

fn availability(battery: &str) -> String {
    format!("bluenova/{battery}/availability")
}

fn config(battery: &str) -> String {
    format!("homeassistant/device/bluenova_{battery}/config")
}

fn json(message: &Received) -> Value {
    serde_json::from_str(&message.payload).unwrap()
}

/// What is kept of the listener itself: the content of its only topic.
fn listener_in(kept: &BTreeMap<String, String>) -> Option<&String> {
    let mut of_listeners = kept.iter().filter(|(topic, _)| topic.starts_with("bluenova/listener/"));
    let found = of_listeners.next();
    assert_eq!(of_listeners.next(), None);
    found.map(|(_, content)| content)
}

/// The next message that fulfils a condition.
#[track_caller]
fn next(subscriber: &mut Subscriber, is_it: impl Fn(&Received) -> bool) -> Received {
    let started = Instant::now();
    loop {
        let message = subscriber.next_message();
        if is_it(&message) {
            return message;
        }
        assert!(started.elapsed() < TIME_LIMIT, "no such message");
    }
}

/// Whether a state has the values of a row, and no other ones but those that follow from them.
#[track_caller]
fn same_values(state: &Value, row: &Row) {
    for (name, cell) in row {
        let value = &state[name];
        let is_same = match cell {
            Cell::Null => value.is_null(),
            Cell::Int(number) => value == number,
            Cell::Real(number) => value.as_f64().map(|value| value as f32) == Some(*number),
            Cell::Text(text) => value == text,
        };
        assert!(is_same, "{name} is {value} instead of {cell:?}");
    }
    assert_eq!(state.as_object().unwrap().len(), row.len() + 2 + 6 + 9);
}

#[test]
fn the_values_are_those_of_the_rows_and_the_document_is_right() {
    let cluster = shared_cluster();
    cluster.create_database("mqtt");
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("#");
    let [attic, cellar] = [1, 2].map(talking_battery);
    let home = Home::new();
    let (in_attic, in_cellar) =
        (named("attic", attic.local_addr()), named("cellar", cellar.local_addr()));
    let (url, broker_url) = (cluster.url("mqtt"), broker.url());
    let args = ["-i", "1", "-b", &in_attic, "-b", &in_cellar, "-d", &url, "--mqtt", &broker_url];
    let mut listener = home.listen(&args);
    listener.wait_for(&format!("MQTT: connected to {broker_url}/bluenova"));

    let mut topics = BTreeSet::new();
    let mut states = BTreeMap::<String, Vec<Value>>::new();
    let mut banks = vec![];
    while [ATTIC, CELLAR].iter().any(|id| states.get(*id).is_none_or(|states| states.len() < 3)) {
        let message = subscriber.next_message();
        topics.insert(message.topic.clone());
        let Some(of) = message.topic.strip_suffix("/state") else { continue };
        match of.strip_prefix("bluenova/").unwrap() {
            id @ (ATTIC | CELLAR) => states.entry(id.to_owned()).or_default().push(json(&message)),
            _ => banks.push(json(&message)),
        }
    }
    let kept = broker.kept();
    listener.stop();

    let mut client = cluster.client("mqtt");
    let mut rows = BTreeMap::new();
    for state in states.values().flatten() {
        let stamp = state["insert_time_utc"].as_str().unwrap();
        let key = (stamp.replace('T', " ").replace('Z', ""), state["mcu_id"].as_i64().unwrap());
        wait_until("the row of a state is in the table", TIME_LIMIT, || {
            rows = postgres_rows(&mut client);
            rows.contains_key(&key)
        });
        same_values(state, &rows[&key]);
    }
    assert!(banks.iter().all(|bank| bank["batteries"] == 2), "{banks:?}");
    // A second may lack a value that comes before it or behind it.
    let unknown =
        |state: &&Value| state.as_object().unwrap().values().filter(|it| it.is_null()).count();
    let state = states[ATTIC].iter().min_by_key(unknown).unwrap();
    the_document_is_right(&topics, &kept, state, &banks[0]);
}

/// docs/home-assistant.md names the topics, values, entities and defaults that there are.
fn the_document_is_right(
    topics: &BTreeSet<String>,
    kept: &BTreeMap<String, String>,
    state: &Value,
    bank: &Value,
) {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/home-assistant.md");
    let document = fs::read_to_string(document).unwrap();
    let id = topics
        .iter()
        .find_map(|topic| topic.strip_prefix("bluenova/listener/")?.strip_suffix("/availability"));
    let id = id.unwrap();
    assert_eq!(id.len(), 8);

    // The table of topics has them all, and says which are kept.
    let table = document.lines().filter_map(|line| {
        let (topic, rest) = line.strip_prefix("| `")?.split_once("` |")?;
        let is_topic = topic.starts_with("bluenova/") || topic.starts_with("homeassistant/");
        is_topic.then(|| {
            (topic.replace("9F3C07B2", ATTIC).replace("ID", id), rest.ends_with("| yes |"))
        })
    });
    let table: BTreeMap<String, bool> = table.collect();
    let of_cellar_or_bank = |topic: &str| {
        topic.contains(CELLAR) || topic.starts_with("homeassistant/device/bluenova_bank")
    };
    let published: BTreeSet<_> =
        topics.iter().filter(|topic| !of_cellar_or_bank(topic)).cloned().collect();
    assert_eq!(published, table.keys().cloned().collect());
    for (topic, is_kept) in &table {
        assert_eq!(kept.contains_key(topic), *is_kept, "{topic}");
    }

    // The state in the document has values of the state, in the same order.
    let example = document.split_once("```json\n").unwrap().1.split_once('\n').unwrap().0;
    let example: Value = serde_json::from_str(example).unwrap();
    for (name, value) in example.as_object().unwrap().iter().filter(|(name, _)| *name != "…") {
        let real = &state[name];
        let is_kind = std::mem::discriminant(real) == std::mem::discriminant(value);
        assert!(is_kind, "{name} is {value} in the document, and {real}");
    }
    for name in ["power_w", "cell_spread_mv", "cell_lowest", "errors_present", "breaker_open"] {
        assert!(!state[name].is_null() && example.get(name).is_some(), "{name}");
    }
    for name in bank.as_object().unwrap().keys() {
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }

    // The entities of the automations are entities of a device.
    let device: Value = serde_json::from_str(&kept[&config(ATTIC)]).unwrap();
    let components = device["components"].as_object().unwrap().values();
    let entities: BTreeSet<&str> =
        components.filter_map(|component| component["default_entity_id"].as_str()).collect();
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named: BTreeSet<&str> = document
        .match_indices("sensor.attic_")
        .map(|(at, _)| {
            let rest = &document[at + "sensor.".len()..];
            let end = rest.find(|c| !is_of_name(c)).unwrap();
            &document[at..at + "sensor.".len() + end]
        })
        .collect();
    assert!(named.len() >= 4, "{named:?}");
    assert!(named.is_subset(&entities), "{named:?} {entities:?}");
}

#[test]
fn the_values_of_a_long_interval_come_before_its_end() {
    let scene = Scene::in_one_interval();
    let mut subscriber = scene.broker.subscribe("bluenova/+/state");
    let mut listener = scene.listen();
    listener.wait_for("MQTT: connected");
    scene.attic.control().wait_for_clients(1, TIME_LIMIT).unwrap();
    // The first state has the first cycle, which is known to be whole when the next one begins.
    let snapshot = scene.attic.control().step().unwrap();
    scene.attic.control().step().unwrap();
    let state = json(&subscriber.next_message());
    let mut row = said(&[snapshot]);
    // Those come once a minute, so that they are those of the last row, and there is none yet.
    row.extend(["energy_in", "energy_out"].map(|name| (name.to_owned(), Cell::Null)));
    same_values(&state, &row);
    assert_eq!(count(listener.log(), "stored"), 0);
    listener.stop();
}

#[test]
fn the_broker_says_offline_for_a_listener_that_is_killed_and_the_listener_itself_at_its_end() {
    let scene = Scene::new();
    let is_online = |kept: &BTreeMap<String, String>| {
        listener_in(kept).is_some_and(|it| it == "online")
            && kept.get(&availability(ATTIC)).is_some_and(|it| it == "online")
    };
    let listener = scene.listen();
    scene.kept_when("all is online", is_online);
    let mut subscriber = scene.broker.subscribe("bluenova/listener/+/availability");
    assert_eq!(subscriber.next_message().payload, "online");
    listener.end(Signal::SIGKILL);
    // It says twice that it is online.
    let is_offline = |message: &Received| message.payload != "online";
    assert_eq!(next(&mut subscriber, is_offline).payload, "offline");
    let kept = scene.broker.kept();
    assert_eq!(listener_in(&kept).unwrap(), "offline");

    let listener = scene.listen();
    assert_eq!(subscriber.next_message().payload, "online");
    scene.kept_when("all is online", is_online);
    let ended = listener.stop();
    // It was acknowledged before the program ended, and came once.
    let kept = scene.broker.kept();
    assert_eq!(listener_in(&kept).unwrap(), "offline");
    assert_eq!(count(&ended.log, "WARN"), 0, "{:#?}", ended.log);
    assert_eq!(next(&mut subscriber, is_offline).payload, "offline");
    scene.broker.publish("bluenova/listener/marker/availability", "marker", false);
    assert_eq!(subscriber.next_message().payload, "marker");
}

#[test]
fn all_is_announced_again_when_home_assistant_starts() {
    let scene = Scene::new();
    let mut listener = scene.listen();
    let mut subscriber = scene.broker.subscribe("#");
    subscriber.next_on(&state(ATTIC));
    let announced = scene.broker.kept()[&config(ATTIC)].clone();
    for (payload, says) in [("offline", 0), ("online", 1)] {
        scene.broker.publish("homeassistant/status", payload, false);
        let is_birth = |message: &Received| message.topic == "homeassistant/status";
        next(&mut subscriber, is_birth);
        if says == 1 {
            let message = subscriber.next_on(&config(ATTIC));
            assert_eq!(message.payload, announced);
            subscriber.next_on(&state(ATTIC));
        } else {
            // The next state comes without an announcement before it.
            let message = next(&mut subscriber, |message| {
                [config(ATTIC), state(ATTIC)].contains(&message.topic)
            });
            assert_eq!(message.topic, state(ATTIC));
        }
        let said = "MQTT: Home Assistant has started";
        if says == 1 {
            listener.wait_until_said(said);
        }
        assert_eq!(count(listener.log(), said), says);
    }
    // Whoever says so again and again fills no log.
    scene.broker.publish("homeassistant/status", "online", false);
    subscriber.next_on(&config(ATTIC));
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "MQTT: Home Assistant has started"), 1, "{:#?}", ended.log);
}

#[test]
fn a_broker_that_is_killed_costs_no_row_and_gets_everything_again() {
    let mut scene = Scene::new();
    let mut listener = scene.listen();
    scene.kept_when("the battery is announced", |kept| kept.contains_key(&config(ATTIC)));
    scene.broker.kill();
    let broker = format!("MQTT: {}/bluenova", scene.broker.url());
    let line = listener.wait_for(&broker);
    assert!(
        line.contains("WARN") && line.ends_with("Recording goes on; it is tried again"),
        "{line}"
    );
    for _ in 0..3 {
        listener.wait_for("attic: stored");
    }
    scene.broker.start_again();
    listener.wait_for(&format!("{broker} is back after"));
    let kept = scene.kept_when("the battery is online", |kept| {
        kept.get(&availability(ATTIC)).is_some_and(|it| it == "online")
    });
    assert!(kept.contains_key(&config(ATTIC)), "{kept:?}");
    scene.broker.subscribe(&state(ATTIC)).next_message();
    let ended = listener.stop();
    // The end of the connection, and that none can be made.
    let warnings = count(&ended.log, &broker) - 1;
    assert!((1..=2).contains(&warnings), "{:#?}", ended.log);
}

#[test]
fn a_broker_that_hangs_holds_up_neither_rows_nor_the_end() {
    let scene = Scene::new();
    // From the start.
    let frozen = scene.broker.freeze();
    let mut listener = scene.listen();
    for _ in 0..2 {
        listener.wait_for("attic: stored");
    }
    listener.stop();
    drop(frozen);
    // In the middle.
    let mut listener = scene.listen();
    listener.wait_for("MQTT: connected");
    let (_frozen, since) = (scene.broker.freeze(), Instant::now());
    for _ in 0..2 {
        listener.wait_for("attic: stored");
    }
    let ended = listener.stop();
    // A machine that took so long for that has a broker that hasn't answered for 10 s.
    let is_noticed = since.elapsed() > Duration::from_secs(9);
    assert!(is_noticed || count(&ended.log, "MQTT: ") == 1, "{:#?}", ended.log);
}

#[test]
fn a_broker_that_hangs_up_again_and_again_is_not_logged_again_and_again() {
    let scene = Scene::new();
    let mut listener = scene.listen();
    listener.wait_for("MQTT: connected");
    // Another client takes its name, as a copy of the machine would.
    let takeover = || {
        let id = scene.broker.kept();
        let id = id.keys().find_map(|topic| {
            topic.strip_prefix("bluenova/listener/")?.strip_suffix("/availability")
        });
        format!("bluenova-{}", id.unwrap())
    };
    scene.kept_when("the listener is online", |kept| {
        listener_in(kept).is_some_and(|it| it == "online")
    });
    let id = takeover();
    let mut subscriber = scene.broker.subscribe("bluenova/listener/+/availability");
    for _ in 0..3 {
        next(&mut subscriber, |message| message.payload == "online");
        scene.broker.connect_as(&id);
        next(&mut subscriber, |message| message.payload == "offline");
    }
    next(&mut subscriber, |message| message.payload == "online");
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "is back after"), 1, "{:#?}", ended.log);
    assert_eq!(count(&ended.log, "WARN"), 2, "{:#?}", ended.log);
}

#[test]
fn passwords_come_from_a_file_or_the_environment_and_are_never_shown() {
    let settings = "allow_anonymous false\npassword_file {directory}/passwords";
    let broker = Mosquitto::start_with(settings, &[("passwords", PASSWORDS)]);
    let scene = Scene::of(broker, talking_battery(1), "1");
    let url = format!("mqtt://solar@127.0.0.1:{}", scene.broker.port());
    let args = scene.args_with(&url);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let file = [&args[..], &["--mqtt-password-file", "password"]].concat();
    let write = |content: &str| fs::write(scene.home.path("password"), content).unwrap();

    let check = |says: &str| {
        let output = scene.home.run(&[&file[..], &["check"]].concat());
        let said = text(&output.stdout);
        let line = said.lines().find(|line| line.contains("MQTT: ")).unwrap();
        assert!(line.contains(says), "{line}");
        // Rows don't depend on it.
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    };
    check("WARNING MQTT: ");
    check(". The listener records without it, and tries it again");
    check("password can't be read: No such file");
    // As for a pipe, whose other end may never be written to.
    fs::create_dir(scene.home.path("password")).unwrap();
    check("password can't be read: it is no file");
    fs::remove_dir(scene.home.path("password")).unwrap();
    write("\nsecret\n");
    check("has no password: its first line is empty");
    write("Secret");
    check("the broker refuses the connection");

    // A new password counts from the next connection on.
    let mut listener = scene.home.listen(&file);
    let line = listener.wait_for("MQTT: mqtt://solar@");
    assert!(line.contains("the broker refuses the connection"), "{line}");
    write("secret\r\n");
    listener.wait_for("is back after");
    let mut log = listener.stop().log;
    check("ok      MQTT: ");

    let mut command = scene.home.command(&args);
    command.env("BLUENOVA_MQTT_PASSWORD", "secret");
    let mut listener = Listener::start(command);
    listener.wait_for("MQTT: connected to mqtt://solar@127.0.0.1");
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", listener.pid())).unwrap();
    assert!(!arguments.contains("secret"));
    log.extend(listener.stop().log);
    assert_eq!(count(&log, "secret"), 0, "{log:#?}");
}

#[test]
fn check_finds_that_the_user_may_not_subscribe() {
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", broker.local_addr().unwrap());
    let play = thread::spawn(move || {
        let (mut client, _) = broker.accept().unwrap();
        // The login is accepted, the subscription isn't.
        client.write_all(b"\x20\x02\0\0\x90\x03\0\x01\x80").unwrap();
        io::copy(&mut client, &mut io::sink()).unwrap();
    });
    let scene = Scene::new();
    let args = scene.args_with(&url);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = text(&scene.home.run(&[&args[..], &["check"]].concat()).stdout);
    let says = "the broker doesn't let it subscribe to homeassistant/status";
    assert!(said.contains("WARNING MQTT: ") && said.contains(says), "{said}");
    play.join().unwrap();
}

#[test]
fn a_password_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let url = format!("mqtt://solar@127.0.0.1:{}", scene.broker.port());
    let args =
        [scene.args_with(&url), ["--mqtt-password-file", "password"].map(str::to_owned).to_vec()];
    let args = args.concat();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let path = scene.home.path("password");
    fs::write(&path, "secret").unwrap();
    for (mode, expected) in [(0o640, 0), (0o644, 1)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let says = format!("every user here can read the password: chmod 600 {}", path.display());
        let output = scene.home.run(&[&args[..], &["check"]].concat());
        assert_eq!(text(&output.stdout).matches(&says).count(), expected);
        let mut listener = scene.home.listen(&args);
        listener.wait_for("MQTT: connected");
        assert_eq!(count(&listener.stop().log, &says), expected);
    }
}

#[test]
fn encrypted_to_a_broker_with_a_certificate_of_an_authority_of_ones_own() {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let settings = "allow_anonymous true\ncertfile {directory}/broker.crt\n\
                    keyfile {directory}/broker.key";
    let files = [("broker.crt", certificate.as_str()), ("broker.key", &key.serialize_pem())];
    let broker = Mosquitto::start_with(settings, &files);
    let scene = Scene::of(broker, talking_battery(1), "1");
    fs::write(scene.home.path("ca.pem"), authority).unwrap();
    let args = scene.args_with(&format!("mqtts://localhost:{}", scene.broker.port()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let trusting = [&args[..], &["--mqtt-ca", "ca.pem"]].concat();

    let mut listener = scene.home.listen(&trusting);
    listener.wait_for("MQTT: connected to mqtts://localhost");
    scene.broker.subscribe(&state(ATTIC)).next_message();
    listener.stop();

    for (args, says) in [(trusting, "ok      MQTT: mqtts://localhost"), (args, "WARNING MQTT: ")] {
        let output = scene.home.run(&[&args[..], &["check"]].concat());
        assert!(text(&output.stdout).contains(says), "{}", text(&output.stdout));
    }
}

/// Whether the broker keeps the announcement of a battery, and its availability.
fn has(kept: &BTreeMap<String, String>, id: &str) -> [bool; 2] {
    [config(id), availability(id)].map(|topic| kept.contains_key(&topic))
}

fn has_bank(kept: &BTreeMap<String, String>) -> bool {
    kept.keys().any(|topic| topic.contains("bank"))
}

fn both(kept: &BTreeMap<String, String>) -> bool {
    has(kept, ATTIC) == [true; 2] && has(kept, CELLAR) == [true; 2] && has_bank(kept)
}

fn attic_alone(kept: &BTreeMap<String, String>) -> bool {
    has(kept, ATTIC) == [true; 2] && has(kept, CELLAR) == [false; 2] && !has_bank(kept)
}

#[test]
fn a_battery_that_is_taken_off_the_file_or_the_command_line_leaves_nothing_behind() {
    let scene = Scene::new();
    let cellar = talking_battery(2);
    let (in_attic, in_cellar) =
        (named("attic", scene.attic.local_addr()), named("cellar", cellar.local_addr()));
    let write = |lines: &[&str]| fs::write(scene.home.path("fleet"), lines.join("\n")).unwrap();
    let (database, url) = (scene.home.sqlite("db"), scene.broker.url());
    let args = ["-i", "1", "-d", &database, "--mqtt", &url];
    let of_file = [&args[..], &["-b", "@fleet"]].concat();

    write(&[&in_attic, &in_cellar]);
    let listener = scene.home.listen(&of_file);
    scene.kept_when("both are announced, and their bank", both);
    write(&[&in_attic]);
    listener.signal(Signal::SIGHUP);
    scene.kept_when("one is removed at SIGHUP", attic_alone);
    write(&[&in_attic, &in_cellar]);
    listener.signal(Signal::SIGHUP);
    scene.kept_when("it is announced again", both);
    listener.stop();

    let listener = scene.home.listen(&[&args[..], &["-b", &in_attic]].concat());
    scene.kept_when("one is removed by the next start", attic_alone);
    // Home Assistant may have been away.
    let mut subscriber = scene.broker.subscribe(&config(CELLAR));
    scene.broker.publish("homeassistant/status", "online", false);
    let bare = json(&subscriber.next_message());
    assert_eq!(bare["device"]["identifiers"][0], format!("bluenova_{CELLAR}"));
    assert_eq!(subscriber.next_message().payload, "");
    listener.stop();

    let off = ["-b", &in_attic, "--mqtt-discovery", "off"];
    let listener = scene.home.listen(&[&args[..], &off].concat());
    scene.kept_when("no device is announced", |kept| {
        kept.get(&availability(ATTIC)).is_some_and(|it| it == "online")
            && !kept.keys().any(|topic| topic.starts_with("homeassistant/"))
    });
    listener.stop();
}

/// With PostgreSQL, which doesn't answer here, the journal's name depends on the batteries.
#[test]
fn a_battery_that_is_taken_off_is_removed_though_the_journal_is_another_one() {
    let scene = Scene::new();
    let cellar = talking_battery(2);
    let (in_attic, in_cellar) =
        (named("attic", scene.attic.local_addr()), named("cellar", cellar.local_addr()));
    let url = scene.broker.url();
    let listen = |batteries: &[&str]| {
        let args = ["-i", "1", "-d", "host=127.0.0.1 port=1", "--mqtt", &url];
        scene.home.listen(&[&args[..], batteries].concat())
    };
    let listener = listen(&["-b", &in_attic, "-b", &in_cellar]);
    scene.kept_when("both are announced, and their bank", both);
    listener.stop();
    let listener = listen(&["-b", &in_attic]);
    scene.kept_when("one is removed, and the bank", attic_alone);
    listener.stop();
    // Another listener, whose batteries are none of theirs.
    let listener = listen(&["-b", &in_cellar]);
    scene.kept_when("the other one is announced beside it", |kept| {
        has(kept, ATTIC) == [true; 2] && has(kept, CELLAR) == [true; 2] && !has_bank(kept)
    });
    listener.stop();
}

#[test]
fn a_journal_that_remembers_no_announcement_is_logged_and_holds_nothing_up() {
    let scene = Scene::in_one_interval();
    let mut subscriber = scene.broker.subscribe("bluenova/+/state");
    let mut listener = scene.listen();
    listener.wait_for("MQTT: connected");
    let journal = rusqlite::Connection::open(scene.home.path("db")).unwrap();
    journal.execute_batch("DROP TABLE announced").unwrap();
    scene.attic.control().wait_for_clients(1, TIME_LIMIT).unwrap();
    for _ in 0..2 {
        scene.attic.control().step().unwrap();
    }
    assert_eq!(subscriber.next_message().topic, state(ATTIC));
    listener.wait_for("db is damaged. A battery that goes may stay in Home Assistant");
    // Home Assistant starts: the try of before was logged, and the next one isn't due yet.
    scene.broker.publish("homeassistant/status", "online", false);
    subscriber.next_message();
    assert_eq!(count(&listener.stop().log, "may stay in Home Assistant"), 1);
}

#[test]
fn hostile_names_and_texts_stay_inside_their_topics() {
    let broker = Mosquitto::start();
    let mut subscriber = broker.subscribe("#");
    let battery = obedient_battery(1);
    let home = Home::new();
    // The longest name that there may be, of what it may have.
    let name = "#+\"\\$SYS'{{x}}é<b>&%00;@|~*?..xx";
    assert_eq!(name.chars().count(), 32);
    let (with_name, database) = (named(name, battery.local_addr()), home.sqlite("db"));
    let args = ["-i", "1", "-b", &with_name, "-d", &database, "--mqtt", &broker.url()];
    let listener = home.listen(&args);
    battery.control().wait_for_clients(1, TIME_LIMIT).unwrap();
    let errors = "#/+/\"$SYS/\\u0000/é";
    let lines = format!("MCU ID: {ATTIC}\nSOC: 63\nErrors: \"{errors}\"\nBreaker: \"/\"\n");
    let started = Instant::now();
    let mut topics = BTreeSet::new();
    let state = loop {
        battery.control().send(Message::Text(lines.clone().into_bytes())).unwrap();
        let Some(message) = subscriber.next_within(Duration::from_millis(100)) else {
            assert!(started.elapsed() < TIME_LIMIT, "no state comes");
            continue;
        };
        topics.insert(message.topic.clone());
        // Errors are reported for three seconds before they are a problem.
        if message.topic == state(ATTIC) && json(&message)["errors_present"] == true {
            break json(&message);
        }
    };
    assert_eq!(state["soc"], 63);
    assert_eq!(state["breaker_open"], true);
    let stored = state["errors"].as_str().unwrap();
    assert!(stored.starts_with("#/+/"), "{stored}");
    let kept = broker.kept();
    topics.extend(kept.keys().cloned());
    topics.retain(|topic| !topic.starts_with("bluenova/listener/"));
    let expected = [availability(ATTIC), self::state(ATTIC), config(ATTIC)];
    assert_eq!(topics, expected.into());
    let device: Value = serde_json::from_str(&kept[&config(ATTIC)]).unwrap();
    assert_eq!(device["device"]["name"], name);
    listener.stop();
}

#[test]
fn what_is_not_allowed_is_refused_and_no_password_is_shown() {
    let home = Home::new();
    let refused = |args: &[&str], says: &str| {
        let output = output(home.command(&[&["-d", "sqlite:db"], args].concat()));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(says), "{error:?} lacks {says:?}");
        assert!(!error.contains("sesame"), "{error}");
    };
    refused(&["--mqtt", "mqtt://me:sesame@h"], "--mqtt-password-file or BLUENOVA_MQTT_PASSWORD");
    refused(&["--mqtt", "h"], "a broker's URL is mqtt://");
    refused(&["--mqtt", "mqtt://h/#"], "is no prefix of topics");
    refused(&["--mqtt", "mqtt://h", "--mqtt", "mqtt://i"], "--mqtt");
    refused(&["--mqtt", "mqtt://h", "--mqtt-password-file", "f"], "a password needs a user");
    refused(&["--mqtt", "mqtt://h", "--mqtt-ca", "f"], "--mqtt-ca");
    refused(&["--mqtt", "mqtt://h", "--mqtt-discovery", "+"], "--mqtt-discovery");
    refused(&["--mqtt-discovery", "off"], "--mqtt");
    let mut command = home.command(&["-d", "sqlite:db", "--mqtt", "mqtt://h"]);
    command.env("BLUENOVA_MQTT_PASSWORD", "sesame");
    let error = text(&output(command).stderr);
    assert!(error.contains("a password needs a user") && !error.contains("sesame"), "{error}");
}
