//! The session with a real Mosquitto, and with servers that aren't a broker.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod encryption;
mod frozen;
mod logins;
mod messages;
mod other_servers;

use std::time::Duration;

use bluenova_mqtt::{Login, Message, Session, SessionError, SessionOptions};
use bluenova_record::ErrorChain;

const WILL: &str = "bluenova/listener/L/availability";
const BIRTH: &str = "homeassistant/status";

fn options(url: &str) -> SessionOptions {
    SessionOptions {
        broker: url.parse().unwrap(),
        client_id: "bluenova-L".to_owned(),
        login: None,
        trusted: None,
        last_will: retained(WILL, "offline"),
        subscription: Some(BIRTH.to_owned()),
    }
}

fn login(user: &str, password: Option<&str>) -> Option<Login> {
    Some(Login { user: user.to_owned(), password: password.map(ToOwned::to_owned) })
}

fn retained(topic: &str, payload: &str) -> Message {
    Message { is_retained: true, ..state(topic, payload) }
}

fn state(topic: &str, payload: &str) -> Message {
    Message { topic: topic.to_owned(), payload: payload.into(), is_retained: false }
}

/// Why there is no session, as people read it.
fn refusal(options: &SessionOptions) -> String {
    match Session::open(options) {
        Ok(_) => panic!("there is a session"),
        Err(error) => shown(&error),
    }
}

fn shown(error: &SessionError) -> String {
    ErrorChain(error).to_string()
}

/// Drives a session until it ends.
fn end_of(session: &mut Session) -> SessionError {
    loop {
        if let Err(error) = session.advance(Duration::from_millis(100)) {
            return error;
        }
    }
}
