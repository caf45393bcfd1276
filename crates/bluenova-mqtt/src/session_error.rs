//! Why there is no session, in words for people.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use bluenova_record::{Escaped, first_chars};
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, mqttbytes};
use rustls::CertificateError;

use crate::session::DEADLINE;

/// Characters kept of a text that has something of the broker in it.
const QUOTED: usize = 120;

/// Why there is no session, or none any more. The `source()` is not part of the message.
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
    #[error("there are no certificates to trust{}", InFile(.0))]
    NothingTrusted(Option<PathBuf>),
    /// TLS can't be used.
    #[error("TLS can't be used")]
    Tls(#[source] rustls::Error),
    /// The system gave no thread to look the name up on.
    #[error("can't start a thread to connect")]
    Thread(#[source] io::Error),
    /// The name has no address, or the name service failed.
    #[error("can't find the address of {host}")]
    Lookup {
        /// Name that was looked up.
        host: String,
        /// Error of the name service.
        source: io::Error,
    },
    /// The name service took too long.
    #[error("no address for {host} found within {limit:?}")]
    LookupTimedOut {
        /// Name that was looked up.
        host: String,
        /// The deadline.
        limit: Duration,
    },
    /// None of the addresses could be connected to.
    #[error("can't connect to {address}")]
    Connect {
        /// The address tried last.
        address: SocketAddr,
        /// Error of the last one.
        source: io::Error,
    },
    /// Connected, but the broker isn't to be trusted.
    #[error("the broker's certificate can't be trusted{}", Advice(.0))]
    Certificate(#[source] rustls::Error),
    /// Connected, but there is no encryption.
    #[error("the broker doesn't answer in TLS; a port without TLS has a URL with mqtt://")]
    NotEncrypted(#[source] io::Error),
    /// Connected, but the broker doesn't answer.
    #[error("connected, but no answer to the login within {} s", DEADLINE.as_secs())]
    NoAnswer,
    /// Connected, and disconnected instead of an answer.
    #[error("the broker closes the connection at once; a port with TLS has a URL with mqtts://")]
    HungUpAtOnce,
    /// The broker refuses the client.
    #[error("the broker refuses the connection: {0}")]
    Refused(&'static str),
    /// The broker doesn't let the client subscribe to a topic.
    #[error("the broker doesn't let it subscribe to {0}; allow the user to read that topic")]
    SubscriptionRefused(String),
    /// The broker takes no message, or doesn't acknowledge one.
    #[error("the broker has not answered for {} s", DEADLINE.as_secs())]
    Frozen,
    /// The broker has closed the connection.
    #[error("the broker has closed the connection")]
    HungUp,
    /// The connection is broken.
    #[error("the connection to the broker is broken")]
    Broken(#[source] io::Error),
    /// What was received is no MQTT, or nothing that a broker may send.
    #[error("what answers there is no broker, or breaks the rules of MQTT 3.1.1 ({0})")]
    Protocol(String),
    /// The message can't be sent.
    #[error("a message to the broker can't be sent")]
    Message(#[source] rumqttc::ClientError),
    /// There was an error before.
    #[error("the connection to the broker has ended already")]
    Closed,
}

impl SessionError {
    /// Error before the broker's answer to the login.
    pub(crate) fn at_start(error: ConnectionError) -> Self {
        match Self::from(error) {
            Self::HungUp => Self::HungUpAtOnce,
            // So it comes where the broker has not read everything.
            Self::Broken(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Self::HungUpAtOnce
            }
            error => error,
        }
    }
}

impl From<ConnectionError> for SessionError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ConnectionRefused(code) => Self::Refused(refusal(code)),
            ConnectionError::Tls(rumqttc::TlsError::Io(error)) => in_handshake(error),
            ConnectionError::NetworkTimeout => Self::NoAnswer,
            ConnectionError::FlushTimeout
            | ConnectionError::DisconnectTimeout
            | ConnectionError::MqttState(StateError::AwaitPingResp) => Self::Frozen,
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::HungUp,
            ConnectionError::Io(error)
            | ConnectionError::MqttState(
                StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
            ) => Self::Broken(error),
            // A packet may be part of the message.
            error => {
                let text = error.to_string();
                Self::Protocol(Escaped(first_chars(&text, QUOTED)).to_string())
            }
        }
    }
}

fn refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::BadUserNamePassword => "user or password is wrong",
        ConnectReturnCode::NotAuthorized => {
            "it isn't allowed; user or password may be missing or wrong"
        }
        ConnectReturnCode::ServiceUnavailable => "it isn't available now",
        ConnectReturnCode::BadClientId => "it doesn't accept the client id",
        ConnectReturnCode::RefusedProtocolVersion => "it doesn't have MQTT 3.1.1",
        ConnectReturnCode::Success => "no reason given",
    }
}

/// Error of the TLS handshake.
fn in_handshake(error: io::Error) -> SessionError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(objection @ rustls::Error::InvalidCertificate(_)) => {
            SessionError::Certificate(objection.clone())
        }
        Some(rustls::Error::InvalidMessage(_)) => SessionError::NotEncrypted(error),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                SessionError::NotEncrypted(error)
            }
            _ => SessionError::Broken(error),
        },
        Some(_) => SessionError::Broken(error),
    }
}

/// What to do about a certificate.
struct Advice<'a>(&'a rustls::Error);

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CertificateError as Error;
        let rustls::Error::InvalidCertificate(reason) = self.0 else { return Ok(()) };
        f.write_str(match reason {
            // The latter: of an authority with the same name, that was made anew.
            Error::UnknownIssuer | Error::BadSignature => {
                "; name the certificate of the authority that signed it by --mqtt-ca"
            }
            Error::NotValidForName | Error::NotValidForNameContext { .. } => {
                "; use a name in the URL that the certificate has"
            }
            Error::Expired | Error::ExpiredContext { .. } => "; give the broker a new one",
            Error::NotValidYet | Error::NotValidYetContext { .. } => {
                "; set the clocks of both machines right"
            }
            // An authority's own certificate, or one of version 1.
            Error::Other(_) => "; give the broker one that is made for servers",
            _ => "",
        })
    }
}

struct InFile<'a>(&'a Option<PathBuf>);

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => write!(f, " in {}", path.display()),
            None => f.write_str(" on this system; name a file by --mqtt-ca"),
        }
    }
}
