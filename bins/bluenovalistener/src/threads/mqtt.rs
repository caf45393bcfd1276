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

/// Length of a connection that has lasted. Briefer ones don't reset the back-off, so that a broker
/// that hangs up again and again is dialled less and less often.
const LASTING: Duration = Duration::from_secs(60);

/// Brief connections, one behind the other, from which on a connection is logged only when it has
/// lasted.
const BRIEF: u32 = 2;

/// Least time between two messages that Home Assistant has started.
const BIRTHS_EVERY: Duration = Duration::from_secs(60);

/// How long nothing is written to the journal after that has failed: each try may take seconds, in
/// which the broker hears nothing.
const JOURNAL_RETRY: Duration = Duration::from_secs(60);

/// Publishes the batteries until the program ends. It keeps no messages: after an outage the broker
/// gets the values of that moment.
pub(crate) struct MqttThread {
    settings: Mqtt,
    status: LiveStatus,
    publisher: Publisher,
    options: SessionOptions,
    journal: AnnouncedJournal,
    stop: Arc<AtomicBool>,
    /// Back-offs since a connection has lasted.
    attempt: usize,
    /// Connections since one has lasted.
    brief: u32,
    outage: Option<Outage<String>>,
    /// Any client of the broker may say that Home Assistant has started, and as often as it likes.
    births: RateLimit<()>,
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
    /// Reads from the journal what was announced in earlier runs, which takes long if a disk hangs.
    pub(crate) fn new(settings: Mqtt, status: LiveStatus, stop: Arc<AtomicBool>) -> Self {
        let journal = status.storage.get().journal;
        let batteries = status.batteries.get();
        let addresses: Vec<_> = batteries.iter().map(|battery| battery.get().address).collect();
        let id = listener_id(&journal);
        let topics = Topics::new(settings.broker.prefix(), &id);
        let discovery = settings
            .discovery
            .as_deref()
            .map(|prefix| Discovery::new(prefix, env!("CARGO_PKG_VERSION"), status.interval));
        let publisher = Publisher::new(topics, discovery, announced(&journal, &addresses));
        let options = session_options(&settings, &id, publisher.farewell());
        Self {
            settings,
            status,
            publisher,
            options,
            journal: AnnouncedJournal::new(journal),
            stop,
            attempt: 0,
            brief: 0,
            outage: None,
            births: RateLimit::new(BIRTHS_EVERY),
        }
    }

    pub(crate) fn run(mut self) {
        if let Some(warning) = self.settings.exposed_password() {
            warn!("MQTT: {warning}");
        }
        while !self.stopping() {
            let ended = self.connect().and_then(|session| Ok(self.serve(session)?));
            if let Err(error) = ended
                && !self.stopping()
            {
                self.log_error(&error);
            }
            self.back_off(Duration::from_secs(BACK_OFF[self.attempt]));
            self.attempt = (self.attempt + 1).min(BACK_OFF.len() - 1);
        }
    }

    fn connect(&mut self) -> Result<Session, MqttError> {
        self.options.login = self.settings.login()?;
        let session = Session::open(&self.options)?;
        if self.brief < BRIEF {
            self.log_connected();
        }
        self.brief = self.brief.saturating_add(1);
        Ok(session)
    }

    /// Publishes until the connection or the program ends.
    fn serve(&mut self, mut session: Session) -> Result<(), SessionError> {
        let connected = Instant::now();
        self.publisher.connected();
        while !self.stopping() {
            let status = self.status.snapshot(UtcDateTime::now(), Instant::now());
            let mut output =
                Connected { session: &mut session, journal: &mut self.journal, opened: None };
            self.publisher.publish(&status, &mut output)?;
            drop(status);
            if connected.elapsed() >= LASTING {
                self.has_lasted();
            }
            self.listen(&mut session)?;
        }
        session.close(self.publisher.farewell())
    }

    /// Listens to Home Assistant until it is time to look at the batteries again.
    fn listen(&mut self, session: &mut Session) -> Result<(), SessionError> {
        let looked = Instant::now();
        while !self.stopping() && looked.elapsed() < LOOK_EVERY {
            if session.advance(TICK)?.as_deref() == Some(b"online") {
                if self.births.is_due((), Instant::now()) {
                    info!("MQTT: Home Assistant has started; the batteries are announced to it");
                }
                self.publisher.home_assistant_started();
            }
        }
        Ok(())
    }

    fn has_lasted(&mut self) {
        (self.attempt, self.brief) = (0, 0);
        if self.outage.is_some() {
            self.log_connected();
        }
    }

    fn log_connected(&mut self) {
        let broker = &self.settings.broker;
        match self.outage.take() {
            None => info!("MQTT: connected to {broker}"),
            Some(outage) => info!("MQTT: {broker} is back after {}", duration(outage.lasted())),
        }
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

/// Connects and subscribes to the broker once, as the listener does, under another name. What it
/// sends is no listener's: a message that nobody keeps, on a topic of its own.
///
/// # Errors
/// The broker is away, refuses the connection, or can't be trusted.
pub(crate) fn check_broker(settings: &Mqtt, journal: &Path) -> Result<(), MqttError> {
    let id = format!("{}-check", listener_id(journal));
    let topics = Topics::new(settings.broker.prefix(), &id);
    let farewell = Publisher::new(topics, None, BTreeMap::new()).farewell();
    let farewell = Message { is_retained: false, ..farewell };
    let options = session_options(settings, &id, farewell.clone());
    let session = Session::open(&SessionOptions { login: settings.login()?, ..options })?;
    Ok(session.close(farewell)?)
}

fn session_options(settings: &Mqtt, id: &str, last_will: Message) -> SessionOptions {
    SessionOptions {
        broker: settings.broker.clone(),
        client_id: format!("bluenova-{id}"),
        login: None,
        trusted: settings.trusted.clone(),
        last_will,
        subscription: settings.discovery.as_deref().map(Discovery::birth_topic),
    }
}

/// What was announced in earlier runs; those too that had other options, and so another journal, if
/// a battery of them is still here.
fn announced(path: &Path, addresses: &[String]) -> BTreeMap<String, Announced> {
    let is_ours = |texts: &BTreeMap<String, String>| {
        let is_here = |device: Announced| addresses.iter().any(|it| device.was_at(it));
        texts.values().any(|text| is_here(parse(text)))
    };
    let read = journal::Announced::open(path).and_then(|announced| {
        announced.take_over(path, is_ours)?;
        announced.all()
    });
    match read {
        Ok(all) => all.iter().map(|(topic, text)| (topic.clone(), parse(text))).collect(),
        Err(error) => {
            let error = ErrorChain(&error);
            warn!("MQTT: {error}. Batteries that are gone stay in Home Assistant until later");
            BTreeMap::new()
        }
    }
}

fn parse(text: &str) -> Announced {
    serde_json::from_str(text).unwrap_or_default()
}

/// The journal as the place that remembers what was announced. Messages don't depend on it.
struct AnnouncedJournal {
    path: PathBuf,
    retry_at: Option<Instant>,
    errors: RateLimit<()>,
}

impl AnnouncedJournal {
    fn new(path: PathBuf) -> Self {
        Self { path, retry_at: None, errors: RateLimit::new(REMINDER) }
    }

    /// Changes what is remembered, by the connection that was `opened` before, if there is one.
    fn change(
        &mut self,
        opened: &mut Option<journal::Announced>,
        change: impl FnOnce(&journal::Announced) -> Result<(), journal::Error>,
    ) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        let changed = match opened.take() {
            Some(announced) => Ok(announced),
            None => journal::Announced::open(&self.path),
        }
        .and_then(|announced| change(opened.insert(announced)));
        if let Err(error) = changed {
            self.retry_at = Some(Instant::now() + JOURNAL_RETRY);
            if self.errors.is_due((), now) {
                let error = ErrorChain(&error);
                warn!("MQTT: {error}. A battery that goes may stay in Home Assistant");
            }
        }
    }
}

/// A connection to the broker, and the journal that remembers what was announced on it.
struct Connected<'a> {
    session: &'a mut Session,
    journal: &'a mut AnnouncedJournal,
    /// Connection to the journal, for the announcements of one look at the batteries.
    opened: Option<journal::Announced>,
}

impl Output for Connected<'_> {
    type Error = SessionError;

    fn publish(&mut self, message: Message) -> Result<(), SessionError> {
        self.session.publish(message)
    }

    fn flush(&mut self) -> Result<(), SessionError> {
        self.session.flush()
    }

    fn remember(&mut self, topic: &str, announced: &Announced) {
        // Such a value always has a JSON text.
        let text = serde_json::to_string(announced).unwrap_or_default();
        self.journal.change(&mut self.opened, |journal| journal.put(topic, &text));
    }

    fn forget(&mut self, topic: &str) {
        self.journal.change(&mut self.opened, |journal| journal.remove(topic));
    }
}
