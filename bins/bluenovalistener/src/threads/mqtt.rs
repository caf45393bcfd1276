use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bluenova_http::RateLimit;
use bluenova_journal as journal;
use bluenova_mqtt::{
    Announced, Discovery, Message, Output, Publisher, Session, SessionError, SessionOptions, Topics,
};
use bluenova_record::ErrorChain;
use bluenova_status::{LiveStatus, duration};
use log::{info, warn};
use time::UtcDateTime;

use super::outage::{Outage, REMINDER};
use crate::settings::{Mqtt, PasswordError, listener_id};

/// Back-off between two attempts to connect in seconds; the last one stays.
const BACK_OFF: [u64; 7] = [1, 2, 5, 10, 20, 30, 60];

/// How often the batteries are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Length of a call that waits for the broker: the end of the program waits as long.
const TICK: Duration = Duration::from_millis(200);

/// Publishes the batteries until the program ends. It keeps no messages: after an outage the broker
/// gets the values of that moment.
pub(crate) struct MqttThread {
    settings: Mqtt,
    status: LiveStatus,
    publisher: Publisher,
    options: SessionOptions,
    journal: PathBuf,
    stop: Arc<AtomicBool>,
    outage: Option<Outage<String>>,
    unnoted: RateLimit<()>,
}

/// Why there is no connection to the broker, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MqttError {
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl MqttThread {
    pub(crate) fn new(settings: Mqtt, status: LiveStatus, stop: Arc<AtomicBool>) -> Self {
        let journal = status.storage.get().journal;
        let id = listener_id(&journal);
        let topics = Topics::new(settings.broker.prefix(), &id);
        let discovery = settings
            .discovery
            .as_deref()
            .map(|prefix| Discovery::new(prefix, env!("CARGO_PKG_VERSION"), status.interval));
        let subscription = discovery.as_ref().map(Discovery::birth_topic);
        let publisher = Publisher::new(topics, discovery, announced(&journal));
        let options = session_options(&settings, &id, publisher.farewell(), subscription);
        Self {
            settings,
            status,
            publisher,
            options,
            journal,
            stop,
            outage: None,
            unnoted: RateLimit::new(REMINDER),
        }
    }

    pub(crate) fn run(mut self) {
        let mut attempt = 0;
        while !self.stopping() {
            let ended = self.connect().and_then(|session| {
                attempt = 0;
                Ok(self.serve(session)?)
            });
            if let Err(error) = ended {
                self.log_error(&error);
            }
            self.back_off(Duration::from_secs(BACK_OFF[attempt]));
            attempt = (attempt + 1).min(BACK_OFF.len() - 1);
        }
    }

    fn connect(&mut self) -> Result<Session, MqttError> {
        self.options.login = self.settings.login()?;
        let session = Session::open(&self.options)?;
        let broker = &self.settings.broker;
        match self.outage.take() {
            None => info!("MQTT: connected to {broker}"),
            Some(outage) => {
                info!("MQTT: {broker} is back after {}", duration(outage.lasted()));
            }
        }
        Ok(session)
    }

    /// Publishes until the connection or the program ends.
    fn serve(&mut self, mut session: Session) -> Result<(), SessionError> {
        self.publisher.connected();
        while !self.stopping() {
            let status = self.status.snapshot(UtcDateTime::now(), Instant::now());
            let mut output = Connected {
                session: &mut session,
                journal: &self.journal,
                unnoted: &mut self.unnoted,
            };
            self.publisher.publish(&status, &mut output)?;
            drop(status);
            let looked = Instant::now();
            while !self.stopping() && looked.elapsed() < LOOK_EVERY {
                if session.advance(TICK)?.as_deref() == Some(b"online") {
                    info!("MQTT: Home Assistant has started; the batteries are announced to it");
                    self.publisher.home_assistant_started();
                }
            }
        }
        session.close(self.publisher.farewell())
    }

    fn log_error(&mut self, error: &MqttError) {
        let broker = &self.settings.broker;
        let error = ErrorChain(error).to_string();
        let is_new = self.outage.is_none();
        let outage = self.outage.get_or_insert_with(Outage::begin);
        if outage.is_due(error.clone()) {
            let what = if is_new { "Recording goes on; it is tried again" } else { "Trying again" };
            warn!("MQTT: {broker}: {error}. {what}");
        }
    }

    fn back_off(&self, length: Duration) {
        let end = Instant::now() + length;
        while !self.stopping() && Instant::now() < end {
            thread::sleep(TICK);
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Connects to the broker once, as the listener does, under another name, and publishes nothing.
///
/// # Errors
/// The broker is away, refuses the connection, or can't be trusted.
pub(crate) fn check_broker(settings: &Mqtt, journal: &Path) -> Result<(), MqttError> {
    let id = format!("{}-check", listener_id(journal));
    let topics = Topics::new(settings.broker.prefix(), &id);
    let farewell = Publisher::new(topics, None, BTreeMap::new()).farewell();
    let farewell = Message { is_retained: false, ..farewell };
    let options = session_options(settings, &id, farewell.clone(), None);
    let session = Session::open(&SessionOptions { login: settings.login()?, ..options })?;
    Ok(session.close(farewell)?)
}

fn session_options(
    settings: &Mqtt,
    id: &str,
    last_will: Message,
    subscription: Option<String>,
) -> SessionOptions {
    SessionOptions {
        broker: settings.broker.clone(),
        client_id: format!("bluenova-{id}"),
        login: None,
        trusted: settings.trusted.clone(),
        last_will,
        subscription,
    }
}

/// What was announced in earlier runs.
fn announced(path: &PathBuf) -> BTreeMap<String, Announced> {
    match journal::Announced::open(path).and_then(|announced| announced.all()) {
        Ok(all) => all
            .into_iter()
            .map(|(topic, text)| (topic, serde_json::from_str(&text).unwrap_or_default()))
            .collect(),
        Err(error) => {
            let error = ErrorChain(&error);
            warn!("MQTT: {error}. Batteries that are gone stay in Home Assistant until later");
            BTreeMap::new()
        }
    }
}

/// A connection to the broker, and the journal that remembers what was announced on it.
struct Connected<'a> {
    session: &'a mut Session,
    journal: &'a PathBuf,
    unnoted: &'a mut RateLimit<()>,
}

impl Connected<'_> {
    fn note(&mut self, note: impl FnOnce(&journal::Announced) -> Result<(), journal::Error>) {
        let noted = journal::Announced::open(self.journal).and_then(|announced| note(&announced));
        if let Err(error) = noted
            && self.unnoted.is_due((), Instant::now())
        {
            let error = ErrorChain(&error);
            warn!("MQTT: {error}. A battery that goes may stay in Home Assistant");
        }
    }
}

impl Output for Connected<'_> {
    type Error = SessionError;

    fn publish(&mut self, message: Message) -> Result<(), SessionError> {
        self.session.publish(message)
    }

    fn remember(&mut self, topic: &str, announced: &Announced) {
        // Such a value always has a JSON text.
        let text = serde_json::to_string(announced).unwrap_or_default();
        self.note(|journal| journal.put(topic, &text));
    }

    fn forget(&mut self, topics: &[String]) -> Result<(), SessionError> {
        self.session.flush()?;
        self.note(|journal| topics.iter().try_for_each(|topic| journal.remove(topic)));
        Ok(())
    }
}
