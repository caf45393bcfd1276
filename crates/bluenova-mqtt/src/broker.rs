//! The address of a broker, as it stands on the command line.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use percent_encoding::percent_decode_str;

/// First part of all topics, unless the URL has another one.
const DEFAULT_PREFIX: &str = "bluenova";

/// Most bytes of a prefix: the topics behind it have some 40 more, and brokers allow 65,535.
const PREFIX_BYTES: usize = 200;

/// A broker, and the prefix of the topics there: `mqtt[s]://[USER@]HOST[:PORT][/PREFIX]`.
///
/// ```
/// use bluenova_mqtt::Broker;
///
/// let broker: Broker = "mqtt://solar@nas".parse()?;
/// assert_eq!((broker.host(), broker.port(), broker.user()), ("nas", 1883, Some("solar")));
/// assert_eq!(broker.prefix(), "bluenova");
/// let broker: Broker = "mqtts://[::1]/home/batteries".parse()?;
/// assert_eq!(broker.to_string(), "mqtts://[::1]:8883/home/batteries");
/// # Ok::<(), bluenova_mqtt::BrokerError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    is_encrypted: bool,
    user: Option<String>,
    host: String,
    port: u16,
    prefix: String,
}

/// Why a text is not the URL of a broker. None of them repeats the text before the `@`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Neither `mqtt://` nor `mqtts://` stands at its beginning.
    #[error("a broker is mqtt://HOST or mqtts://HOST: [USER@]HOST[:PORT][/PREFIX] behind it")]
    Scheme,
    /// The URL has a password, which everybody on the machine could read.
    #[error(
        "no password belongs in the URL; --mqtt-password-file or BLUENOVA_MQTT_PASSWORD has it"
    )]
    Password,
    /// The user's name is empty, or not UTF-8 where `%` is decoded.
    #[error("the name before the @ is empty or not UTF-8")]
    User,
    /// Not a host.
    #[error("{0:?} is no host: a name, an IPv4 address, or an IPv6 address in brackets is")]
    Host(String),
    /// Not a port.
    #[error("{0:?} is no port; 1 to 65535 are")]
    Port(String),
    /// Not usable in a topic.
    #[error(
        "{0:?} is no prefix of topics: it has words of any characters but +, # and control \
         characters, with a single / between two, {PREFIX_BYTES} bytes in all, and no $ in front"
    )]
    Prefix(String),
}

impl Broker {
    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// The user to log in as.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Name or IP address; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// First part of the topics, without a slash at either end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_encrypted, user, host, port, prefix } = self;
        f.write_str(if *is_encrypted { "mqtts://" } else { "mqtt://" })?;
        if let Some(user) = user {
            write!(f, "{user}@")?;
        }
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{host}{close}:{port}/{prefix}")
    }
}

impl FromStr for Broker {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let (scheme, rest) = text.split_once("://").ok_or(BrokerError::Scheme)?;
        let (is_encrypted, default_port) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(BrokerError::Scheme),
        };
        // A user's name may have a slash only as %2F, so that the first one begins the prefix; in a
        // password it may stand as it is, which must not be taken for a prefix and shown.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(parse_user(user)?), rest),
            None => (None, rest),
        };
        let (authority, prefix) = match rest.split_once('/') {
            Some((authority, prefix)) => (authority, prefix),
            None => (rest, ""),
        };
        let (host, port) = parse_authority(authority)?;
        let port = port.map_or(Ok(default_port), parse_port)?;
        Ok(Self { is_encrypted, user, host, port, prefix: parse_prefix(prefix)? })
    }
}

fn parse_user(text: &str) -> Result<String, BrokerError> {
    if text.contains(':') {
        return Err(BrokerError::Password);
    }
    let user = percent_decode_str(text).decode_utf8().map_err(|_| BrokerError::User)?;
    if user.is_empty() || user.contains(char::is_control) {
        return Err(BrokerError::User);
    }
    Ok(user.into_owned())
}

/// Host and port of `HOST[:PORT]`.
fn parse_authority(text: &str) -> Result<(String, Option<&str>), BrokerError> {
    let no_host = || BrokerError::Host(text.to_owned());
    if let Some(bracketed) = text.strip_prefix('[') {
        let (ip, rest) = bracketed.split_once(']').ok_or_else(no_host)?;
        let _: Ipv6Addr = ip.parse().map_err(|_| no_host())?;
        let port = if rest.is_empty() {
            None
        } else {
            rest.strip_prefix(':').map(Some).ok_or_else(no_host)?
        };
        return Ok((ip.to_owned(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(is_name) {
        return Err(no_host());
    }
    Ok((host.to_owned(), port))
}

fn parse_port(text: &str) -> Result<u16, BrokerError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| *port > 0 && is_number);
    port.ok_or_else(|| BrokerError::Port(text.to_owned()))
}

/// Reads a prefix of topics; the default one where the text is empty.
pub(crate) fn parse_prefix(text: &str) -> Result<String, BrokerError> {
    let prefix = text.strip_suffix('/').unwrap_or(text);
    if prefix.is_empty() && text.is_empty() {
        return Ok(DEFAULT_PREFIX.to_owned());
    }
    if is_topic(prefix) { Ok(prefix.to_owned()) } else { Err(BrokerError::Prefix(text.to_owned())) }
}

/// Whether topics may begin with this text and a slash.
pub(crate) fn is_topic(text: &str) -> bool {
    text.len() <= PREFIX_BYTES
        && !text.starts_with('$')
        && text.split('/').all(|word| !word.is_empty())
        && !text.contains(|c: char| matches!(c, '+' | '#') || c.is_control())
}
