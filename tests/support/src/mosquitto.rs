use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rumqttc::{Client, Connection, Event, Incoming, MqttOptions, QoS};

use crate::{Cleanup, Frozen, ReservedPort, TIME_LIMIT, programs::program, wait_until};

/// An MQTT broker, gone when the value is dropped or the process dies.
///
/// It listens on two free TCP ports of 127.0.0.1: one for the program under test, with the settings
/// of the test, and one that lets the test look on without any password.
#[derive(Debug)]
pub struct Mosquitto {
    directory: PathBuf,
    port: ReservedPort,
    port_to_look_on: ReservedPort,
    child: Child,
    _cleanup: Cleanup,
}

/// A client of a broker that subscribes.
pub struct Subscriber {
    connection: Connection,
    // Without it the connection ends.
    _client: Client,
}

/// A message that a broker has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: String,
    /// Whether the broker had kept it from before the subscription.
    pub is_kept: bool,
}

impl Mosquitto {
    /// Starts a broker that lets everybody in.
    ///
    /// # Panics
    /// Where Mosquitto isn't installed or doesn't start.
    pub fn start() -> Self {
        Self::start_with("allow_anonymous true", &[])
    }

    /// Starts a broker with `settings` for the port under test, as in its `mosquitto.conf`, and
    /// with files of these names and contents. In the settings, `{directory}` is where they are.
    ///
    /// # Panics
    /// Where Mosquitto isn't installed or doesn't start.
    pub fn start_with(settings: &str, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("bluenova-mosquitto").tempdir_in("/tmp");
        let directory = directory.expect("/tmp is writable").keep();
        let path = directory.display().to_string();
        for (name, content) in files {
            fs::write(directory.join(name), content).expect("the directory is writable");
        }
        let (port, port_to_look_on) = (ReservedPort::new(), ReservedPort::new());
        // No limits for the one who looks on: a test is to see every message.
        let config = format!(
            "per_listener_settings true\nmax_queued_messages 0\nmax_inflight_messages 0\n\
             listener {} 127.0.0.1\nallow_anonymous true\n\
             listener {} 127.0.0.1\n{}\n{}",
            port_to_look_on.number(),
            port.number(),
            if nix::unistd::Uid::effective().is_root() { "user root" } else { "" },
            settings.replace("{directory}", &path),
        );
        fs::write(directory.join("mosquitto.conf"), config).expect("the directory is writable");
        let cleanup = Cleanup::new(STOP_AND_REMOVE, &[directory.as_os_str()]);
        let child = launch(&directory, port.address());
        Self { directory, port, port_to_look_on, child, _cleanup: cleanup }
    }

    /// Port under test.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// URL of the port under test, as `--mqtt` takes it.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.port.address())
    }

    /// Kills it, as a crash or a power cut does.
    pub fn kill(&mut self) {
        // Once the process was waited for, its number may be another's.
        let _ = fs::remove_file(self.directory.join("pid"));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, on the same ports, with nothing kept.
    ///
    /// # Panics
    /// Where it doesn't start.
    pub fn start_again(&mut self) {
        self.kill();
        self.child = launch(&self.directory, self.port.address());
    }

    /// Lets it stand still.
    pub fn freeze(&self) -> Frozen {
        Frozen::process(self.child.id())
    }

    /// Subscribes to topics, on the port that needs no password.
    ///
    /// # Panics
    /// Where the broker doesn't answer.
    pub fn subscribe(&self, filter: &str) -> Subscriber {
        Subscriber::new(self.port_to_look_on.number(), filter)
    }

    /// Connects as the client with this id and hangs up, so that the broker ends the connection of
    /// another client with that id.
    ///
    /// # Panics
    /// Where the broker doesn't answer.
    pub fn connect_as(&self, id: &str) {
        drop(client_with_id(id, self.port_to_look_on.number()));
    }

    /// The messages that the broker keeps, by topic.
    ///
    /// # Panics
    /// Where the broker doesn't answer.
    pub fn kept(&self) -> BTreeMap<String, String> {
        let mut subscriber = self.subscribe("#");
        // It is sent what is kept first, and then what comes.
        let marker = "bluenova-test-support/marker";
        self.publish(marker, "", false);
        let mut kept = BTreeMap::new();
        loop {
            let message = subscriber.next_message();
            if message.topic == marker {
                return kept;
            }
            if message.is_kept {
                kept.insert(message.topic, message.payload);
            }
        }
    }

    /// Publishes a message, as another client of the broker.
    ///
    /// # Panics
    /// Where the broker doesn't answer.
    pub fn publish(&self, topic: &str, payload: &str, is_retained: bool) {
        let (client, mut connection) = client(self.port_to_look_on.number());
        let options = rumqttc::PublishOptions::new(QoS::AtLeastOnce).retain(is_retained);
        client.try_publish(topic, payload.to_owned(), options).expect("there is room");
        wait_for(&mut connection, TIME_LIMIT, |event| {
            matches!(event, Event::Incoming(Incoming::PubAck(_))).then_some(())
        })
        .expect("the broker acknowledges");
    }
}

impl Subscriber {
    fn new(port: u16, filter: &str) -> Self {
        let (client, mut connection) = client(port);
        client.try_subscribe(filter, QoS::AtMostOnce).expect("there is room");
        wait_for(&mut connection, TIME_LIMIT, |event| {
            matches!(event, Event::Incoming(Incoming::SubAck(_))).then_some(())
        })
        .expect("the broker answers");
        Self { connection, _client: client }
    }

    /// The next message.
    ///
    /// # Panics
    /// Where none comes.
    pub fn next_message(&mut self) -> Received {
        self.next_within(TIME_LIMIT).expect("a message comes")
    }

    /// The next message that has this topic; those before it are dropped.
    ///
    /// # Panics
    /// Where none comes.
    pub fn next_on(&mut self, topic: &str) -> Received {
        let started = Instant::now();
        loop {
            let message = self.next_message();
            if message.topic == topic {
                return message;
            }
            assert!(started.elapsed() < TIME_LIMIT, "no message on {topic}");
        }
    }

    /// The next message, if one comes within that time.
    ///
    /// # Panics
    /// Where the connection ends.
    pub fn next_within(&mut self, limit: Duration) -> Option<Received> {
        wait_for(&mut self.connection, limit, |event| match event {
            Event::Incoming(Incoming::Publish(message)) => Some(Received {
                topic: String::from_utf8_lossy(&message.topic).into_owned(),
                payload: String::from_utf8_lossy(&message.payload).into_owned(),
                is_kept: message.retain,
            }),
            _ => None,
        })
    }
}

fn client(port: u16) -> (Client, Connection) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let id = format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    client_with_id(&id, port)
}

fn client_with_id(id: &str, port: u16) -> (Client, Connection) {
    let mut options = MqttOptions::new(id, ("127.0.0.1", port));
    options.set_max_packet_size(1 << 20, 1 << 20);
    // A test may look at something else for a long time.
    options.set_keep_alive(0);
    let (client, mut connection) = Client::builder(options).capacity(10).build();
    wait_for(&mut connection, TIME_LIMIT, |event| {
        matches!(event, Event::Incoming(Incoming::ConnAck(_))).then_some(())
    })
    .expect("the broker answers");
    (client, connection)
}

/// The first event that `choose` takes.
fn wait_for<T>(
    connection: &mut Connection,
    limit: Duration,
    choose: impl Fn(Event) -> Option<T>,
) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let left = end.checked_duration_since(Instant::now())?;
        let event = connection.recv_timeout(left).ok()?;
        let event = event.unwrap_or_else(|e| panic!("the connection to the broker ended: {e}"));
        if let Some(found) = choose(event) {
            return Some(found);
        }
    }
}

/// Kills the process whose number is in a file, and removes the directory `$1`.
const STOP_AND_REMOVE: &str = r#"
    if [ -e "$1/pid" ]; then
        kill -KILL "$(cat "$1/pid")"
    fi
    rm -rf "$1"
"#;

fn launch(directory: &Path, address: SocketAddr) -> Child {
    let log = fs::File::create(directory.join("log")).expect("the directory is writable");
    let mut command = Command::new(program("mosquitto"));
    command.arg("-c").arg(directory.join("mosquitto.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("can't run {command:?}: {e}"));
    let pid = child.id().to_string();
    fs::write(directory.join("pid"), pid).expect("the directory is writable");
    wait_until("Mosquitto answers", TIME_LIMIT, || {
        let has_ended = child.try_wait().expect("it is our child").is_some();
        let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
        assert!(!has_ended, "Mosquitto does not start:\n{}", log());
        TcpStream::connect(address).is_ok()
    });
    child
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}
