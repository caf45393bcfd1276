//! The address of a broker, as it stands on the command line.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use percent_encoding::percent_decode_str;

/// First part of all topics, unless the URL has another one.
const DEFAULT_PREFIX: &str = "bluenova";

/// Longest prefix in bytes: topics have some 40 bytes more, and brokers allow 65,535.
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

/// Why a text is not the URL of a broker. No message repeats what may be a password: the text
/// before the `@`, or behind a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Neither `mqtt://` nor `mqtts://` stands at its beginning.
    #[error(
        "a broker's URL is mqtt://[USER@]HOST[:PORT][/PREFIX], or mqtts:// in place of mqtt://"
    )]
    Scheme,
    /// The URL has a password, which everybody on the machine could read.
    #[error(
        "no password belongs in the URL; --mqtt-password-file or BLUENOVA_MQTT_PASSWORD has it"
    )]
    Password,
    /// The user's name is empty, has a slash, or isn't UTF-8 where `%` is decoded.
    #[error("the user's name before the @ is empty, not UTF-8, or has a / (write it as %2F)")]
    User,
    /// Not a host.
    #[error("{0:?} is no host: a name, an IPv4 address, or an IPv6 address in brackets is")]
    Host(String),
    /// Not a port.
    #[error("the port behind the host's colon is no number from 1 to 65535")]
    Port,
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
        let (is_encrypted, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(BrokerError::Scheme),
        };
        // The last @, since a password may have one, and a slash too: neither may be shown as a
        // part of the host or of the prefix.
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
    if user.is_empty() || text.contains('/') || user.contains(char::is_control) {
        return Err(BrokerError::User);
    }
    Ok(user.into_owned())
}

/// Host and port of `HOST[:PORT]`.
fn parse_authority(text: &str) -> Result<(String, Option<&str>), BrokerError> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, port)) => (ip, port),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_bracketed = text.starts_with('[');
    let is_host = if is_bracketed { host.parse::<Ipv6Addr>().is_ok() } else { is_name(host) };
    match port.strip_prefix(':') {
        _ if !is_host => Err(BrokerError::Host(host.to_owned())),
        // An IPv6 address without brackets.
        Some(port) if port.contains(':') => Err(BrokerError::Host(host.to_owned() + ":…")),
        None if !port.is_empty() => Err(BrokerError::Host(host.to_owned())),
        port => Ok((host.to_owned(), port)),
    }
}

fn is_name(host: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.len() <= 253 && host.chars().all(is_allowed)
}

fn parse_port(text: &str) -> Result<u16, BrokerError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| *port > 0 && is_number).ok_or(BrokerError::Port)
}

fn parse_prefix(text: &str) -> Result<String, BrokerError> {
    if text.is_empty() {
        return Ok(DEFAULT_PREFIX.to_owned());
    }
    let decoded = percent_decode_str(text).decode_utf8();
    topic_prefix(&decoded.map_err(|_| BrokerError::Prefix(text.to_owned()))?)
}

/// Reads a first part of topics, as `--mqtt-discovery` takes it; a slash at its end is dropped.
///
/// # Errors
/// [`BrokerError::Prefix`] where no topic may begin with it.
pub fn topic_prefix(text: &str) -> Result<String, BrokerError> {
    let prefix = text.strip_suffix('/').unwrap_or(text);
    let is_prefix = prefix.len() <= PREFIX_BYTES
        && !prefix.starts_with('$')
        && prefix.split('/').all(|word| !word.is_empty())
        && !prefix.contains(|c: char| matches!(c, '+' | '#') || c.is_control());
    if is_prefix { Ok(prefix.to_owned()) } else { Err(BrokerError::Prefix(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, expected) in [
            ("mqtt://nas", "mqtt://nas:1883/bluenova"),
            ("mqtt://nas/", "mqtt://nas:1883/bluenova"),
            ("MQTTS://nas", "mqtts://nas:8883/bluenova"),
            ("mqtt://solar@nas:1884/home/batteries/", "mqtt://solar@nas:1884/home/batteries"),
            ("mqtt://10.0.0.5:65535", "mqtt://10.0.0.5:65535/bluenova"),
            ("mqtt://[::1]:1884/b", "mqtt://[::1]:1884/b"),
            ("mqtts://[fd00::5]", "mqtts://[fd00::5]:8883/bluenova"),
            ("mqtt://my_nas.local.", "mqtt://my_nas.local.:1883/bluenova"),
            ("mqtt://nas/Ga%72age ü", "mqtt://nas:1883/Garage ü"),
        ] {
            let broker: Broker = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(broker.to_string(), expected, "{url}");
        }
        let broker: Broker = "mqtt://a%2Fb%40c%3Ad@nas".parse().unwrap();
        assert_eq!((broker.user(), broker.host()), (Some("a/b@c:d"), "nas"));
    }

    #[test]
    fn bad_urls() {
        use BrokerError::{Host, Password, Port, Prefix, Scheme, User};
        let host = |text: &str| Host(text.to_owned());
        let prefix = |text: &str| Prefix(text.to_owned());
        let long = "x".repeat(254);
        for (url, expected) in [
            ("", Scheme),
            ("nas", Scheme),
            ("nas:1883", Scheme),
            ("mqtt:nas", Scheme),
            ("http://nas", Scheme),
            ("tcp://nas:1883", Scheme),
            (" mqtt://nas", Scheme),
            ("mqtt://", host("")),
            ("mqtt://:1883", host("")),
            ("mqtt:///prefix", host("")),
            ("mqtt://my nas", host("my nas")),
            ("mqtt://nas?keepalive=5", host("nas?keepalive=5")),
            (&format!("mqtt://{long}"), host(&long)),
            ("mqtt://fe80::1", host("fe80:…")),
            ("mqtt://::1", host("")),
            ("mqtt://[::1", host("[")),
            ("mqtt://[nas]", host("nas")),
            ("mqtt://[10.0.0.5]", host("10.0.0.5")),
            ("mqtt://[::1]1883", host("::1")),
            ("mqtt://nas:", Port),
            ("mqtt://nas:0", Port),
            ("mqtt://nas:65536", Port),
            ("mqtt://nas:+1883", Port),
            ("mqtt://nas:mqtt", Port),
            ("mqtt://[::1]:", Port),
            ("mqtt://@nas", User),
            ("mqtt://%FF@nas", User),
            ("mqtt://%00@nas", User),
            ("mqtt://nas/pre@fix", User),
            ("mqtt://solar:secret@nas", Password),
            ("mqtt://:secret@nas", Password),
            ("mqtt://nas//", prefix("/")),
            ("mqtt://nas//b", prefix("/b")),
            ("mqtt://nas/a//b", prefix("a//b")),
            ("mqtt://nas/b//", prefix("b//")),
            ("mqtt://nas/#", prefix("#")),
            ("mqtt://nas/a/+/b", prefix("a/+/b")),
            ("mqtt://nas/%23", prefix("#")),
            ("mqtt://nas/%FF", prefix("%FF")),
            ("mqtt://nas/a%0Ab", prefix("a\nb")),
            ("mqtt://nas/$SYS", prefix("$SYS")),
            (&format!("mqtt://nas/{long}"), prefix(&long)),
        ] {
            assert_eq!(url.parse::<Broker>(), Err(expected), "{url}");
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for url in [
            "mqtt://solar:secret@nas",
            "mqtt://solar:sec/ret@nas",
            "mqtt://solar:s@secret@nas",
            "mqtt://solar:s#secret@nas:x",
            "mqtt://solar:secret%40nas",
            "mqtt://solar:secret",
            "mqtt://so lar:secret",
            "mqtt://solar:x:secret",
            "mqtt:solar:secret@nas",
            "tcp://solar:secret@nas",
        ] {
            let error = url.parse::<Broker>().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("secret"), "{url}: {shown}");
        }
    }

    #[test]
    fn prefixes_of_discovery() {
        assert_eq!(topic_prefix("homeassistant/"), Ok("homeassistant".to_owned()));
        assert_eq!(topic_prefix(""), Err(BrokerError::Prefix(String::new())));
        assert_eq!(topic_prefix("a#"), Err(BrokerError::Prefix("a#".to_owned())));
    }
}
