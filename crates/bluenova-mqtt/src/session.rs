//! A connection to a broker, by the crate `rumqttc`.
//!
//! That crate is made for programs that poll it all the time, and has habits that matter here:
//!
//! - A call that times out drops what it was doing. While it connects, the next call begins anew;
//!   while it writes, a message is lost. So calls with a short limit are made only while there is
//!   nothing to write, and those that write have the limit after which the session ends.
//! - After an error it connects again and sends what it has. Here the session ends: by then there
//!   are newer values.
//! - It writes before it reads. Answers to many messages are read between them.
//! - It asks the broker for a sign of life only after a time without a message *to* it. A listener
//!   that publishes all the time would write to a frozen broker until the system's buffers are
//!   full. So the session asks, too.

use std::{
    io,
    net::TcpStream,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rumqttc::{
    Client, Connection, Event, Incoming, LastWill, MqttOptions, Outgoing, Publish, PublishOptions,
    QoS, RecvTimeoutError, SubAck, SubscribeReasonCode, TlsConfiguration, Transport,
};

use crate::{Broker, Message, SessionError, dial::dial, trust::encryption};

/// Seconds without a message in one direction after which the broker is asked for a sign of life.
const KEEP_ALIVE_S: u16 = 15;

/// Time in which a connection must be made, and in which a broker must take a message or
/// acknowledge one.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Time without an answer after which answers are read between messages.
const READ_AFTER: Duration = Duration::from_secs(1);

/// Messages that the broker has not acknowledged yet: a few, for they are kept until it has.
const IN_FLIGHT: u16 = 8;

/// Messages that are read at once, for the same reason.
const READ_AT_ONCE: usize = 4;

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
    /// User and password, where the broker asks for them.
    pub login: Option<Login>,
    /// File with the certificates to trust, in PEM; `None`: those that the system trusts.
    pub trusted: Option<PathBuf>,
    /// What the broker publishes when the connection ends without [`Session::close`].
    pub last_will: Message,
    /// Topic to subscribe to.
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

/// A connection to a broker, driven by the thread that calls it. After an error it has ended.
pub struct Session {
    client: Client,
    connection: Connection,
    subscription: Option<String>,
    /// A topic that is never subscribed to.
    last_will: String,
    /// When a message was given to the connection that isn't written yet.
    unwritten_since: Option<Instant>,
    /// Answers that the broker owes.
    owed: u32,
    /// When it began to owe them, or gave the last one.
    owed_since: Instant,
    /// When something was received last.
    heard: Instant,
    /// Content of the last message on the topic of the subscription.
    received: Option<Vec<u8>>,
    has_ended: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("subscription", &self.subscription).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, logs in and subscribes to the topic of the options. It takes half a minute at
    /// most.
    ///
    /// # Errors
    /// Any: the broker is away, refuses, or can't be trusted.
    pub fn open(options: &SessionOptions) -> Result<Self, SessionError> {
        let (client, mut connection) = Client::builder(mqtt_options(options)?)
            .capacity(1)
            .try_build()
            .map_err(SessionError::Client)?;
        connection.eventloop.network_options.set_connection_timeout(DEADLINE.as_secs());
        // The connection has its own deadline; this one is never the first.
        match connection.recv_timeout(3 * DEADLINE) {
            Ok(event) => drop(event.map_err(SessionError::at_start)?),
            Err(_) => return Err(SessionError::NoAnswer),
        }
        let mut session = Self {
            client,
            connection,
            subscription: options.subscription.clone(),
            last_will: options.last_will.topic.clone(),
            unwritten_since: None,
            owed: 0,
            owed_since: Instant::now(),
            heard: Instant::now(),
            received: None,
            has_ended: false,
        };
        if let Some(topic) = options.subscription.clone() {
            let subscribed = session.client.try_subscribe(topic, QoS::AtMostOnce);
            subscribed.map_err(SessionError::Message)?;
            session.owes();
            session.flush()?;
        }
        Ok(session)
    }

    /// Sends a message. While the broker doesn't take the ones before it, it waits.
    ///
    /// # Errors
    /// The connection has ended, or the broker takes nothing any more.
    pub fn publish(&mut self, message: Message) -> Result<(), SessionError> {
        if self.owed > 0 && self.owed_since.elapsed() >= READ_AFTER {
            self.receive(Duration::from_millis(1))?;
        }
        let Message { topic, payload, is_retained } = message;
        let qos = if is_retained { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let options = PublishOptions::new(qos).retain(is_retained);
        let taken = self.client.try_publish(topic, payload, options);
        taken.map_err(SessionError::Message)?;
        if is_retained {
            self.owes();
        }
        self.write()
    }

    /// Sends and receives for that long; returns the content of the last message that was published
    /// on the topic of the subscription.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn advance(&mut self, length: Duration) -> Result<Option<Vec<u8>>, SessionError> {
        let end = Instant::now() + length;
        if self.owed == 0 && self.heard.elapsed().as_secs() >= KEEP_ALIVE_S.into() {
            // The broker must answer, and nothing changes.
            let asked = self.client.try_unsubscribe(self.last_will.as_str());
            asked.map_err(SessionError::Message)?;
            self.owes();
        }
        let mut left = length;
        loop {
            self.receive(left)?;
            left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(self.received.take());
            }
        }
    }

    /// Waits until the broker has acknowledged all that it is to keep.
    ///
    /// # Errors
    /// The connection has ended, or the broker acknowledges nothing any more.
    pub fn flush(&mut self) -> Result<(), SessionError> {
        while self.owed > 0 {
            self.receive(DEADLINE)?;
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
        self.client.try_disconnect().map_err(SessionError::Message)?;
        self.write()
    }

    /// The broker is to answer what is sent next.
    fn owes(&mut self) {
        if self.owed == 0 {
            self.owed_since = Instant::now();
        }
        self.owed += 1;
    }

    /// Waits until what was given to the connection is written.
    fn write(&mut self) -> Result<(), SessionError> {
        self.unwritten_since = Some(Instant::now());
        while self.unwritten_since.is_some() {
            self.receive(DEADLINE)?;
        }
        Ok(())
    }

    /// Waits for the next event of the connection, for that long at most.
    fn receive(&mut self, at_most: Duration) -> Result<(), SessionError> {
        if self.has_ended {
            return Err(SessionError::Closed);
        }
        let result = self.next_event(at_most).and_then(|event| match event {
            Some(event) => self.handle(&event),
            None => Ok(()),
        });
        self.has_ended = result.is_err();
        result
    }

    fn next_event(&mut self, at_most: Duration) -> Result<Option<Event>, SessionError> {
        let owed_since = (self.owed > 0).then_some(self.owed_since);
        let waits_since = owed_since.into_iter().chain(self.unwritten_since).min();
        let left = waits_since.map(|since| DEADLINE.saturating_sub(since.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(SessionError::Frozen);
        }
        match self.connection.recv_timeout(left.map_or(at_most, |left| left.min(at_most))) {
            Ok(event) => Ok(Some(event?)),
            Err(RecvTimeoutError::Timeout { .. }) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(SessionError::Closed),
        }
    }

    fn handle(&mut self, event: &Event) -> Result<(), SessionError> {
        match event {
            Event::Outgoing(Outgoing::Publish(_) | Outgoing::Disconnect) => {
                self.unwritten_since = None;
            }
            Event::Outgoing(_) => {}
            Event::Incoming(packet) => {
                self.heard = Instant::now();
                self.handle_incoming(packet)?;
            }
        }
        Ok(())
    }

    fn handle_incoming(&mut self, packet: &Incoming) -> Result<(), SessionError> {
        match packet {
            Incoming::Publish(message) if self.is_subscribed(message) => {
                self.received = Some(message.payload.to_vec());
            }
            Incoming::SubAck(answer) if is_refusal(answer) => {
                let topic = self.subscription.clone().unwrap_or_default();
                return Err(SessionError::SubscriptionRefused(topic));
            }
            Incoming::PubAck(_) | Incoming::SubAck(_) | Incoming::UnsubAck(_) => {
                self.owed = self.owed.saturating_sub(1);
                self.owed_since = Instant::now();
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a message is one on the topic of the subscription, and new: one that the broker has
    /// kept from earlier times comes with each subscription.
    fn is_subscribed(&self, message: &Publish) -> bool {
        let subscription = self.subscription.as_ref().map(String::as_bytes);
        subscription == Some(message.topic.as_ref()) && !message.retain
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
        .set_inflight(IN_FLIGHT)
        .set_read_batch_size(READ_AT_ONCE)
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
        let config = Arc::new(encryption(trusted.as_deref())?);
        mqtt.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    let stream = dial(broker.host(), broker.port(), DEADLINE)?;
    stream.set_nodelay(true).map_err(SessionError::Broken)?;
    stream.set_nonblocking(true).map_err(SessionError::Broken)?;
    let stream = Mutex::new(Some(stream));
    mqtt.set_socket_connector(move |_, _| std::future::ready(take(&stream)));
    Ok(mqtt)
}

/// The socket for a connection; there is one, so that nothing connects again by itself.
fn take(stream: &Mutex<Option<TcpStream>>) -> io::Result<tokio::net::TcpStream> {
    let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
    tokio::net::TcpStream::from_std(stream.ok_or(io::ErrorKind::NotConnected)?)
}
