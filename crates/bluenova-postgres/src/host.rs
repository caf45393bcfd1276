//! The hosts on which the server may be.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use postgres::config::Host as HostName;

use crate::{SettingsError, parameters::Parameters};

/// A host to try, as the settings name it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Host {
    /// `None` where the settings name no host.
    pub(crate) name: Option<HostName>,
    /// Address to connect to without looking the name up.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

const PORT: u16 = 5432;

/// Directories of the server's Unix socket: the one that distributions set, and PostgreSQL's own
/// default.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

impl Host {
    /// All hosts that are named, in that order, or else one without a name.
    pub(crate) fn all(parameters: &mut Parameters<'_>) -> Result<Vec<Self>, SettingsError> {
        let default_port = parameters.variable("PGPORT");
        let names: Vec<Option<HostName>> =
            list(parameters.take("host"), |_, name| parse_name(name))?;
        let addresses = list(parameters.take("hostaddr"), |name, address| {
            address.parse().map_err(|_| SettingsError::value(name, address, "an IP address"))
        })?;
        let ports: Vec<Option<u16>> = list(parameters.take("port"), parse_port)?;
        // A list with gaps came from a URL; the variable fills them.
        let default_port = match default_port.as_deref().and_then(|ports| ports.split(',').next()) {
            Some(port) => parse_port("PGPORT", port)?,
            None => PORT,
        };

        let count = names.len().max(addresses.len()).max(1);
        if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
            return Err(SettingsError::Addresses {
                hosts: names.len(),
                addresses: addresses.len(),
            });
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(SettingsError::Ports { hosts: count, ports: ports.len() });
        }
        let host = |i| Self {
            name: names.get(i).cloned().flatten(),
            address: addresses.get(i).copied().flatten(),
            port: ports.get(i).or(ports.first()).copied().flatten().unwrap_or(default_port),
        };
        Ok((0..count).map(host).collect())
    }

    /// The host with a name: without one it is the Unix socket, where there is one at present, or
    /// else localhost.
    pub(crate) fn with_default_name(&self) -> Self {
        let mut host = self.clone();
        if host.name.is_none() && host.address.is_none() {
            host.name = Some(match socket_directory(&SOCKET_DIRECTORIES, self.port) {
                Some(directory) => HostName::Unix(directory),
                None => HostName::Tcp("localhost".to_owned()),
            });
        }
        host
    }

    /// The socket's file, where the connection is over a Unix socket.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        match (&self.name, self.address) {
            (Some(HostName::Unix(directory)), None) => Some(socket_file(directory, self.port)),
            _ => None,
        }
    }

    /// Whether the connection never leaves the machine, and is never encrypted.
    pub(crate) fn is_socket(&self) -> bool {
        self.socket().is_some()
    }

    /// The name, or the address where there is none.
    fn name_or_address(&self) -> Option<String> {
        match &self.name {
            Some(HostName::Tcp(name)) => Some(name.clone()),
            Some(HostName::Unix(directory)) => Some(directory.display().to_string()),
            None => self.address.map(|address| address.to_string()),
        }
    }

    /// The names under which the host may stand in a password file.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.name_or_address().into_iter().collect();
        if let Some(HostName::Unix(directory)) = &self.name
            && SOCKET_DIRECTORIES.iter().any(|usual| Path::new(usual) == directory)
        {
            names.push("localhost".to_owned());
        }
        names
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name_or_address() {
            Some(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Some(name) => write!(f, "{name}:{}", self.port),
            None => write!(f, "this machine:{}", self.port),
        }
    }
}

/// The items of a comma-separated list; `None` stands for an empty one.
fn list<T>(
    parameter: Option<(String, String)>,
    parse: impl Fn(&str, &str) -> Result<T, SettingsError>,
) -> Result<Vec<Option<T>>, SettingsError> {
    let Some((name, value)) = parameter else { return Ok(vec![]) };
    let items = value.split(',').map(str::trim);
    items
        .map(|item| if item.is_empty() { Ok(None) } else { parse(&name, item).map(Some) })
        .collect()
}

fn parse_name(name: &str) -> Result<HostName, SettingsError> {
    if name.starts_with('/') {
        Ok(HostName::Unix(PathBuf::from(name)))
    } else if name.contains('@') {
        Err(SettingsError::StrayAt)
    } else {
        Ok(HostName::Tcp(name.to_owned()))
    }
}

fn parse_port(name: &str, port: &str) -> Result<u16, SettingsError> {
    let parsed = port.trim().parse().ok().filter(|&port| port > 0);
    parsed.ok_or_else(|| SettingsError::value(name, port, "a port, 1 to 65535"))
}

fn socket_file(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

/// The first one of `directories` that has a server's Unix socket.
fn socket_directory(directories: &[impl AsRef<Path>], port: u16) -> Option<PathBuf> {
    let has_socket = |directory: &&Path| socket_file(directory, port).exists();
    directories.iter().map(AsRef::as_ref).find(has_socket).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_looked_for_whenever_it_is_needed() {
        let directory =
            std::env::temp_dir().join(format!("bluenova-socket-{}", std::process::id()));
        let socket = directory.join(".s.PGSQL.5433");
        std::fs::create_dir_all(&directory).unwrap();
        let directories = [Path::new("/nowhere"), &directory];
        assert_eq!(socket_directory(&directories, 5433), None);
        std::fs::write(&socket, "").unwrap();
        assert_eq!(socket_directory(&directories, 5433).as_ref(), Some(&directory));
        assert_eq!(socket_directory(&directories, 5432), None);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(socket_directory(&directories, 5433), None);
    }

    #[test]
    fn the_usual_socket_is_localhost_to_a_password_file() {
        for (name, names) in [
            ("/tmp", &["/tmp", "localhost"][..]),
            ("/var/run/postgresql", &["/var/run/postgresql", "localhost"]),
            ("/tmp/mine", &["/tmp/mine"]),
            ("db.example", &["db.example"]),
        ] {
            let name = Some(parse_name(name).unwrap());
            assert_eq!(Host { name, address: None, port: 1 }.names(), names);
        }
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(Host { name: None, address, port: 1 }.names(), ["127.0.0.1"]);
    }
}
