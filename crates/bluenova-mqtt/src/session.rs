//! A connection to a broker, by the crate `rumqttc`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rumqttc::{
    Client, Connection, ConnectionError, Event, Incoming, LastWill, MqttOptions, Outgoing,
    PublishOptions, QoS, RecvTimeoutError, SubAck, SubscribeReasonCode, TlsConfiguration,
    Transport,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{Broker, Message};

/// Seconds without a message after which the broker is asked whether it is still there; after as
/// many again it isn't.
const KEEP_ALIVE_S: u16 = 15;

/// Length of a call that waits for the connection.
const TICK: Duration = Duration::from_millis(100);

/// Time in which a broker must take a message, or acknowledge one.
const DEADLINE: Duration = Duration::from_secs(10);

/// Messages on their way from this thread to the connection: a few, for they take memory.
const CAPACITY: usize = 8;

/// Largest message that is sent, in bytes: an announcement has some 20,000.
const MAX_SENT: usize = 1 << 18;

/// Largest message that is read, in bytes: only Home Assistant's birth message is asked for.
const MAX_RECEIVED: usize = 1 << 14;

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The broker.
    pub broker: Broker,
    /// Identifies the client at the broker, which ends another connection of the same one.
    pub client_id: String,
    /// Password of the broker's user.
    pub login: Option<Login>,
    /// File with the certificates to trust, in PEM; `None`: those that the system trusts.
    pub trusted: Option<PathBuf>,
    /// What the broker publishes when the connection ends without [`Session::close`].
    pub last_will: Message,
    /// Topic to listen to.
    pub subscription: Option<String>,
}

/// User and password at a broker. `Debug` doesn't show the password.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password, if the user has one.
    pub password: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why there is no session, or none any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The client can't be made.
    #[error("no connection can be begun")]
    Client(#[source] rumqttc::ClientBuildError),
    /// The file of certificates can't be used.
    #[error("the certificates in {} can't be read", .path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate to trust.
    #[error("there are no certificates to trust{}", in_file(.0.as_deref()))]
    NothingTrusted(Option<PathBuf>),
    /// TLS can't be used.
    #[error("TLS can't be used")]
    Tls(#[source] rustls::Error),
    /// The connection can't be made, or has ended.
    #[error(transparent)]
    Connection(Box<ConnectionError>),
    /// The broker refuses the client.
    #[error("the broker refuses the connection: {0}")]
    Refused(&'static str),
    /// The broker doesn't let the client listen to a topic.
    #[error("the broker doesn't let it listen to {0}")]
    SubscriptionRefused(String),
    /// The broker takes no message, or doesn't acknowledge one.
    #[error("the broker has taken nothing for {} s", DEADLINE.as_secs())]
    Frozen,
    /// The connection was closed.
    #[error("the connection is closed")]
    Closed,
}

fn in_file(path: Option<&Path>) -> String {
    path.map_or_else(|| " on this system".to_owned(), |path| format!(" in {}", path.display()))
}

impl From<ConnectionError> for SessionError {
    fn from(error: ConnectionError) -> Self {
        use rumqttc::ConnectReturnCode as Code;
        Self::Refused(match error {
            ConnectionError::ConnectionRefused(Code::BadUserNamePassword) => {
                "user or password is wrong"
            }
            ConnectionError::ConnectionRefused(Code::NotAuthorized) => {
                "it isn't allowed; user or password may be missing or wrong"
            }
            ConnectionError::ConnectionRefused(Code::ServiceUnavailable) => "it isn't available",
            ConnectionError::ConnectionRefused(Code::BadClientId) => {
                "it doesn't like the client id"
            }
            ConnectionError::ConnectionRefused(Code::RefusedProtocolVersion) => {
                "it doesn't speak MQTT 3.1.1"
            }
            error => return Self::Connection(Box::new(error)),
        })
    }
}

/// A connection to a broker, driven by the thread that calls it.
pub struct Session {
    client: Client,
    connection: Connection,
    subscription: Option<String>,
    /// Messages that the connection has not taken yet.
    queued: usize,
    /// Messages that the broker has not acknowledged yet.
    unacknowledged: usize,
    /// A message has come on the topic listened to, with this content.
    received: Option<Vec<u8>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("subscription", &self.subscription).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, logs in and listens to the topic of the options. It takes some seconds at most.
    ///
    /// # Errors
    /// Any: the broker is away, refuses, or can't be trusted.
    pub fn open(options: &SessionOptions) -> Result<Self, SessionError> {
        let (client, connection) = Client::builder(mqtt_options(options)?)
            .capacity(CAPACITY)
            .try_build()
            .map_err(SessionError::Client)?;
        let mut session = Self {
            client,
            connection,
            subscription: options.subscription.clone(),
            queued: 0,
            unacknowledged: 0,
            received: None,
        };
        session.wait_for(|_, event| matches!(event, Event::Incoming(Incoming::ConnAck(_))))?;
        if let Some(topic) = &options.subscription {
            // There is room: nothing was sent yet.
            let subscribed = session.client.try_subscribe(topic.clone(), QoS::AtMostOnce);
            subscribed.map_err(|_| SessionError::Closed)?;
        }
        Ok(session)
    }

    /// Sends a message. While the broker doesn't take the ones before it, it waits.
    ///
    /// # Errors
    /// The connection has ended, or the broker takes nothing any more.
    pub fn publish(&mut self, message: Message) -> Result<(), SessionError> {
        let qos = if message.is_retained { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        if self.queued >= CAPACITY {
            self.wait_for(|session, _| session.queued < CAPACITY)?;
        }
        let options = PublishOptions::new(qos).retain(message.is_retained);
        self.client
            .try_publish(message.topic, message.payload, options)
            .map_err(|_| SessionError::Closed)?;
        self.queued += 1;
        self.unacknowledged += usize::from(message.is_retained);
        Ok(())
    }

    /// Sends and receives for that long; returns the content of the last message that has come.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn advance(&mut self, length: Duration) -> Result<Option<Vec<u8>>, SessionError> {
        let end = Instant::now() + length;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.next_event(left)?;
        }
        Ok(self.received.take())
    }

    /// Waits until the broker has acknowledged all that it is to keep.
    ///
    /// # Errors
    /// The connection has ended, or the broker acknowledges nothing any more.
    pub fn flush(&mut self) -> Result<(), SessionError> {
        if self.queued > 0 || self.unacknowledged > 0 {
            self.wait_for(|session, _| session.queued == 0 && session.unacknowledged == 0)?;
        }
        Ok(())
    }

    /// Ends the session with a last message, so that the broker doesn't publish the last will.
    ///
    /// # Errors
    /// The connection has ended, or the broker doesn't acknowledge the message; it publishes the
    /// last will then.
    pub fn close(mut self, last: Message) -> Result<(), SessionError> {
        self.publish(last)?;
        self.flush()?;
        self.client.try_disconnect().map_err(|_| SessionError::Closed)?;
        self.wait_for(|_, event| matches!(event, Event::Outgoing(Outgoing::Disconnect)))
    }

    /// Sends and receives until an event has the condition fulfilled. Each event that isn't a ping
    /// shows that the broker is alive.
    fn wait_for(
        &mut self,
        is_fulfilled: impl Fn(&Self, &Event) -> bool,
    ) -> Result<(), SessionError> {
        let mut progress = Instant::now();
        loop {
            match self.next_event(TICK)? {
                Some(event) if is_fulfilled(self, &event) => return Ok(()),
                Some(Event::Incoming(_) | Event::Outgoing(Outgoing::Publish(_))) => {
                    progress = Instant::now();
                }
                _ if progress.elapsed() > DEADLINE => return Err(SessionError::Frozen),
                _ => {}
            }
        }
    }

    /// The next thing that happens on the connection; `None` if nothing has within that time.
    fn next_event(&mut self, timeout: Duration) -> Result<Option<Event>, SessionError> {
        let event = match self.connection.recv_timeout(timeout) {
            Ok(event) => event?,
            Err(RecvTimeoutError::Timeout { .. }) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(SessionError::Closed),
        };
        match &event {
            Event::Outgoing(Outgoing::Publish(_)) => self.queued = self.queued.saturating_sub(1),
            Event::Incoming(Incoming::PubAck(_)) => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
            }
            Event::Incoming(Incoming::Publish(message)) => {
                self.received = Some(message.payload.to_vec());
            }
            Event::Incoming(Incoming::SubAck(answer)) if is_refusal(answer) => {
                let topic = self.subscription.clone().unwrap_or_default();
                return Err(SessionError::SubscriptionRefused(topic));
            }
            _ => {}
        }
        Ok(Some(event))
    }
}

fn is_refusal(answer: &SubAck) -> bool {
    answer.return_codes.contains(&SubscribeReasonCode::Failure)
}

fn mqtt_options(options: &SessionOptions) -> Result<MqttOptions, SessionError> {
    let SessionOptions { broker, client_id, login, trusted, last_will, .. } = options;
    let mut mqtt = MqttOptions::new(client_id.as_str(), (broker.host(), broker.port()));
    mqtt.set_keep_alive(KEEP_ALIVE_S)
        .set_max_packet_size(MAX_RECEIVED, MAX_SENT)
        .set_request_channel_capacity(CAPACITY)
        .set_last_will(LastWill::new(
            last_will.topic.clone(),
            last_will.payload.clone(),
            QoS::AtLeastOnce,
            last_will.is_retained,
        ));
    match login {
        Some(Login { user, password: Some(password) }) => {
            mqtt.set_credentials(user.as_str(), password.clone());
        }
        Some(Login { user, password: None }) => {
            mqtt.set_username(user.as_str());
        }
        None => {}
    }
    if broker.is_encrypted() {
        let config = tls(trusted.as_deref())?;
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))));
    }
    Ok(mqtt)
}

/// Encryption that trusts the certificates in a file, or those that the system trusts.
fn tls(file: Option<&Path>) -> Result<ClientConfig, SessionError> {
    let certificates = match file {
        Some(path) => {
            let failed = |source| SessionError::Certificates { path: path.to_owned(), source };
            let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
            found.collect::<Result<Vec<_>, _>>().map_err(failed)?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(SessionError::NothingTrusted(file.map(ToOwned::to_owned)));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(SessionError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
