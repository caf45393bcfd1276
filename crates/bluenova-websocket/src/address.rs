use std::{fmt, net::Ipv4Addr, net::Ipv6Addr, str::FromStr};

/// The port that a battery's web interface listens on.
pub const DEFAULT_PORT: u16 = 9000;

/// The path at which a battery's console is.
pub const DEFAULT_PATH: &str = "/ws/";

/// Longest name in DNS.
const LONGEST_NAME: usize = 253;

/// Where a battery is: `HOST[:PORT][/PATH]`, with an IPv6 address in brackets.
///
/// ```
/// use bluenova_websocket::Address;
///
/// let address: Address = "10.0.0.2".parse()?;
/// assert_eq!(address.to_string(), "10.0.0.2:9000/ws/");
///
/// let address: Address = "[fe80::1%eth0]:8000/console".parse()?;
/// assert_eq!(address.host(), "fe80::1%eth0");
/// assert_eq!(address.authority(), "[fe80::1]:8000");
///
/// let error = "::1".parse::<Address>().unwrap_err();
/// assert_eq!(error.to_string(), r#""::1": an IPv6 address goes in brackets, as in [::1]:9000"#);
/// # Ok::<(), bluenova_websocket::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
    path: String,
}

impl Address {
    /// Name or IP address, as given; IPv6 without brackets, with the scope id if there is one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path of the console, beginning with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and port as a browser writes them into `Host` and `Origin`: without a scope id, which
    /// means something on this machine only, and without port 80, which HTTP has by default.
    pub fn authority(&self) -> String {
        let host = match self.host.split_once('%') {
            Some((ip, _scope)) => ip,
            None => &self.host,
        };
        match (host.contains(':'), self.port) {
            (true, 80) => format!("[{host}]"),
            (true, port) => format!("[{host}]:{port}"),
            (false, 80) => host.to_owned(),
            (false, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, path } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}{path}")
        } else {
            write!(f, "{host}:{port}{path}")
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(AddressError::Scheme(scheme.to_owned()));
        }
        let (host, rest) = if let Some(bracketed) = text.strip_prefix('[') {
            let (host, rest) =
                bracketed.split_once(']').ok_or_else(|| AddressError::Brackets(text.to_owned()))?;
            (ipv6(host)?, rest)
        } else {
            let authority = text.find('/').map_or(text, |at| &text[..at]);
            if authority.matches(':').count() > 1 {
                return Err(AddressError::BareIpv6(authority.to_owned()));
            }
            let end = authority.find(':').unwrap_or(authority.len());
            (name(&text[..end])?, &text[end..])
        };
        let (port, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, DEFAULT_PATH),
        };
        Ok(Self { host, port: parse_port(port)?, path: parse_path(path)? })
    }
}

/// Why a text is not the address of a battery.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is a scheme, as in a URL.
    #[error("leave out {0:?} and ://; an address is HOST[:PORT][/PATH]")]
    Scheme(String),
    /// There is nothing where the host should be.
    #[error("the host is missing; an address is HOST[:PORT][/PATH]")]
    NoHost,
    /// Not a host name.
    #[error(
        "{0:?} is not a host name; it has letters, digits, '-', '_' and single dots, at most 253 \
         in all"
    )]
    Host(String),
    /// Looks like an IPv4 address but is none.
    #[error("{0:?} is not an IPv4 address; that is four numbers from 0 to 255 with dots between")]
    Ipv4(String),
    /// More than one colon outside brackets.
    #[error("{0:?}: an IPv6 address goes in brackets, as in [::1]:9000")]
    BareIpv6(String),
    /// In brackets, but not an IPv6 address.
    #[error(
        "{0:?} in brackets is not an IPv6 address; allowed is one as in [::1] or [fe80::1%eth0]"
    )]
    Ipv6(String),
    /// The bracket after an IPv6 address is missing.
    #[error("{0:?}: the closing bracket is missing; an IPv6 address is written as in [::1]:9000")]
    Brackets(String),
    /// Not a port.
    #[error("{0:?} is not a port; that is a number from 1 to 65535 after a colon")]
    Port(String),
    /// Not a path.
    #[error("{0:?} is not a path; it has visible ASCII characters other than '#', the rest as %XX")]
    Path(String),
}

fn name(text: &str) -> Result<String, AddressError> {
    if text.is_empty() {
        return Err(AddressError::NoHost);
    }
    let in_label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    // The dot at the end of a fully qualified name makes no label.
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    if text.len() > LONGEST_NAME || !labels.all(|l| !l.is_empty() && l.bytes().all(in_label)) {
        return Err(AddressError::Host(text.to_owned()));
    }
    // No top-level domain is a number, so this is a mistyped IP address, not a name to look up.
    let last = text.rsplit('.').next().unwrap_or(text);
    let is_number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    if is_number && text.parse::<Ipv4Addr>().is_err() {
        return Err(AddressError::Ipv4(text.to_owned()));
    }
    Ok(text.to_owned())
}

fn ipv6(text: &str) -> Result<String, AddressError> {
    let (ip, scope) = match text.split_once('%') {
        Some((ip, scope)) => (ip, Some(scope)),
        None => (text, None),
    };
    let is_interface =
        |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_graphic() && !b"%/[]".contains(&b));
    if ip.parse::<Ipv6Addr>().is_err() || !scope.is_none_or(is_interface) {
        return Err(AddressError::Ipv6(text.to_owned()));
    }
    Ok(text.to_owned())
}

/// Parses nothing, or the port with its colon.
fn parse_port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    text.strip_prefix(':')
        // `u16` would take a sign.
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|&port| port != 0)
        .ok_or_else(|| AddressError::Port(text.trim_start_matches(':').to_owned()))
}

fn parse_path(text: &str) -> Result<String, AddressError> {
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        Ok(text.to_owned())
    } else {
        Err(AddressError::Path(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses() {
        for (given, full, authority) in [
            ("10.0.0.2", "10.0.0.2:9000/ws/", "10.0.0.2:9000"),
            ("10.0.0.2:80", "10.0.0.2:80/ws/", "10.0.0.2"),
            ("10.0.0.2/", "10.0.0.2:9000/", "10.0.0.2:9000"),
            (
                "Battery-1.local:1/a/b?c=d:e%20",
                "Battery-1.local:1/a/b?c=d:e%20",
                "Battery-1.local:1",
            ),
            ("my_battery", "my_battery:9000/ws/", "my_battery:9000"),
            ("example.org.", "example.org.:9000/ws/", "example.org.:9000"),
            ("b/[::1]", "b:9000/[::1]", "b:9000"),
            ("[::1]", "[::1]:9000/ws/", "[::1]:9000"),
            ("[::1]:65535", "[::1]:65535/ws/", "[::1]:65535"),
            ("[::1]:80", "[::1]:80/ws/", "[::1]"),
            ("[::ffff:10.0.0.2]/x", "[::ffff:10.0.0.2]:9000/x", "[::ffff:10.0.0.2]:9000"),
            ("[fe80::1%eth0]:9000/ws/", "[fe80::1%eth0]:9000/ws/", "[fe80::1]:9000"),
        ] {
            let address: Address = given.parse().unwrap_or_else(|e| panic!("{given}: {e}"));
            assert_eq!(address.to_string(), full, "{given}");
            assert_eq!(address.authority(), authority, "{given}");
            assert_eq!(full.parse(), Ok(address), "{given}");
        }
    }

    #[test]
    fn bad_addresses() {
        use AddressError::*;
        let long = "a".repeat(254);
        for (given, expected) in [
            ("", NoHost),
            (":9000", NoHost),
            ("/ws/", NoHost),
            ("ws://10.0.0.2", Scheme("ws".into())),
            ("http://10.0.0.2:9000/ws/", Scheme("http".into())),
            ("a b", Host("a b".into())),
            ("a..b", Host("a..b".into())),
            (".", Host(".".into())),
            ("user@host", Host("user@host".into())),
            ("host#", Host("host#".into())),
            ("bätterie", Host("bätterie".into())),
            ("a\r\nb", Host("a\r\nb".into())),
            ("::1]", BareIpv6("::1]".into())),
            (&long, Host(long.clone())),
            ("10.0.0.256", Ipv4("10.0.0.256".into())),
            ("10.1", Ipv4("10.1".into())),
            ("9000", Ipv4("9000".into())),
            ("::1", BareIpv6("::1".into())),
            ("fe80::1%eth0/ws/", BareIpv6("fe80::1%eth0".into())),
            ("host:1:2", BareIpv6("host:1:2".into())),
            ("[::1", Brackets("[::1".into())),
            ("[]", Ipv6(String::new())),
            ("[10.0.0.2]", Ipv6("10.0.0.2".into())),
            ("[fe80::1%]", Ipv6("fe80::1%".into())),
            ("[fe80::1%a b]", Ipv6("fe80::1%a b".into())),
            ("[::1]9000", Port("9000".into())),
            ("[::1]:", Port(String::new())),
            ("host:", Port(String::new())),
            ("host:0", Port("0".into())),
            ("host:65536", Port("65536".into())),
            ("host:+90", Port("+90".into())),
            ("host:http/ws/", Port("http".into())),
            ("host/a b", Path("/a b".into())),
            ("host/a#b", Path("/a#b".into())),
            ("host/ä", Path("/ä".into())),
            ("host/a\r\nX: y", Path("/a\r\nX: y".into())),
        ] {
            let error = given.parse::<Address>().map(|a| a.to_string()).unwrap_err();
            assert_eq!(error, expected, "{given:?}");
            assert!(!error.to_string().contains(char::is_control), "{given:?}");
        }
    }
}
