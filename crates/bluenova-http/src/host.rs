//! The names under which the page is served.
//!
//! A name of a foreign site can be made to lead to this machine (DNS rebinding). A browser then
//! takes the page for that site's own, and lets its scripts read it. The name is in the header
//! `Host`, so requests for names that aren't the listener's are refused. An IP address can't be
//! rebound.

use std::net::{Ipv4Addr, Ipv6Addr};

const LOCALHOST: &str = "localhost";

/// Names besides `localhost` under which the page is served.
#[derive(Debug, Default)]
pub(crate) struct HostNames(Vec<String>);

impl HostNames {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| without_dot(&name).to_owned()).collect())
    }

    /// Whether a request for `host`, with or without a port, is answered.
    pub(crate) fn allow(&self, host: &str) -> bool {
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split_once(']').is_some_and(|(ip, port)| {
                let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
                // Some clients send the zone of a link-local address along.
                let ip = ip.split_once('%').map_or(ip, |(ip, _zone)| ip);
                is_port && ip.parse::<Ipv6Addr>().is_ok()
            });
        }
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        let name = without_dot(name);
        let is_ours = |ours: &str| ours.eq_ignore_ascii_case(name);
        is_number(port)
            && (name.parse::<Ipv4Addr>().is_ok()
                || is_ours(LOCALHOST)
                || self.0.iter().any(|ours| is_ours(ours)))
    }
}

/// The dot at the end of a whole domain name means nothing here.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether there are only digits; none is the default port.
fn is_number(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_own_names_are_served() {
        let names = HostNames::new(["Battery.lan".to_owned(), "nas.".to_owned()]);
        for host in [
            "127.0.0.1",
            "192.168.1.2:9080",
            "[::1]",
            "[fe80::1]:9080",
            "[fe80::1%2]:9080",
            "localhost",
            "LOCALHOST:9080",
            "localhost.",
            "battery.lan",
            "BATTERY.LAN.:80",
            "nas:",
        ] {
            assert!(names.allow(host), "{host}");
        }
        for host in [
            "",
            ":80",
            ".",
            "evil.example",
            "evil.example:9080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.battery.lan",
            "battery",
            "127.0.0.1:x",
            "127.0.0.1:80:80",
            "user@localhost",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[evil.example]",
            "[evil.example%::1]",
            "::1",
            "localhost ",
            "localhost..",
        ] {
            assert!(!names.allow(host), "{host}");
        }
        assert!(!HostNames::default().allow("battery.lan"));
    }
}
