//! Where a server may be.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use postgres::config::Host;

use crate::{SettingsError, words::Words};

/// One place to look for the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// Left open where nobody names it.
    pub(crate) host: Option<Host>,
    /// What to connect to in the host's stead.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

const PORT: u16 = 5432;

/// Where distributions let the server make its Unix socket, and PostgreSQL's own choice.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

impl Place {
    /// All that are named, in that order, or else the one that is left open.
    pub(crate) fn all(words: &mut Words<'_>) -> Result<Vec<Self>, SettingsError> {
        let open_port = words.variable("PGPORT");
        let hosts: Vec<Option<Host>> = list(words.take("host"), |_, host| parse_host(host))?;
        let addresses = list(words.take("hostaddr"), |name, address| {
            address.parse().map_err(|_| SettingsError::value(name, address, "an IP address"))
        })?;
        let ports: Vec<Option<u16>> = list(words.take("port"), parse_port)?;
        // A list with gaps came from a URL; the variable fills them.
        let open_port = match open_port.as_deref().and_then(|ports| ports.split(',').next()) {
            Some(port) => parse_port("PGPORT", port)?,
            None => PORT,
        };

        let count = hosts.len().max(addresses.len()).max(1);
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(SettingsError::Addresses {
                hosts: hosts.len(),
                addresses: addresses.len(),
            });
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(SettingsError::Ports { hosts: count, ports: ports.len() });
        }
        let place = |i| Self {
            host: hosts.get(i).cloned().flatten(),
            address: addresses.get(i).copied().flatten(),
            port: ports.get(i).or(ports.first()).copied().flatten().unwrap_or(open_port),
        };
        Ok((0..count).map(place).collect())
    }

    /// What to connect to at this moment: what was left open is the Unix socket, if there is one.
    pub(crate) fn for_now(&self) -> Self {
        let mut place = self.clone();
        if place.host.is_none() && place.address.is_none() {
            place.host = Some(match socket_folder(&SOCKET_FOLDERS, self.port) {
                Some(folder) => Host::Unix(folder),
                None => Host::Tcp("localhost".to_owned()),
            });
        }
        place
    }

    /// Whether the connection never leaves the machine, and is never encrypted.
    pub(crate) fn is_socket(&self) -> bool {
        self.address.is_none() && matches!(self.host, Some(Host::Unix(_)))
    }

    /// The name, or the address where there is none.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.host {
            Some(Host::Tcp(name)) => Some(name.clone()),
            Some(Host::Unix(folder)) => Some(folder.display().to_string()),
            None => self.address.map(|address| address.to_string()),
        }
    }

    /// The names under which a password file may know it.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.name().into_iter().collect();
        if let Some(Host::Unix(folder)) = &self.host
            && SOCKET_FOLDERS.iter().any(|usual| Path::new(usual) == folder)
        {
            names.push("localhost".to_owned());
        }
        names
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Some(name) => write!(f, "{name}:{}", self.port),
            None => write!(f, "this machine:{}", self.port),
        }
    }
}

/// `None` stands for an item that is empty.
fn list<T>(
    word: Option<(String, String)>,
    parse: impl Fn(&str, &str) -> Result<T, SettingsError>,
) -> Result<Vec<Option<T>>, SettingsError> {
    let Some((name, value)) = word else { return Ok(vec![]) };
    let items = value.split(',').map(str::trim);
    items
        .map(|item| if item.is_empty() { Ok(None) } else { parse(&name, item).map(Some) })
        .collect()
}

fn parse_host(host: &str) -> Result<Host, SettingsError> {
    if host.starts_with('/') {
        Ok(Host::Unix(PathBuf::from(host)))
    } else if host.contains('@') {
        Err(SettingsError::StrayAt)
    } else {
        Ok(Host::Tcp(host.to_owned()))
    }
}

fn parse_port(name: &str, port: &str) -> Result<u16, SettingsError> {
    let parsed = port.trim().parse().ok().filter(|&port| port > 0);
    parsed.ok_or_else(|| SettingsError::value(name, port, "a port, 1 to 65535"))
}

/// The first one of `folders` that has a server's Unix socket.
fn socket_folder(folders: &[impl AsRef<Path>], port: u16) -> Option<PathBuf> {
    let has_socket = |folder: &&Path| folder.join(format!(".s.PGSQL.{port}")).exists();
    folders.iter().map(AsRef::as_ref).find(has_socket).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_looked_for_whenever_it_is_needed() {
        let folder = std::env::temp_dir().join(format!("bluenova-socket-{}", std::process::id()));
        let socket = folder.join(".s.PGSQL.5433");
        std::fs::create_dir_all(&folder).unwrap();
        let folders = [Path::new("/nowhere"), &folder];
        assert_eq!(socket_folder(&folders, 5433), None);
        std::fs::write(&socket, "").unwrap();
        assert_eq!(socket_folder(&folders, 5433).as_ref(), Some(&folder));
        assert_eq!(socket_folder(&folders, 5432), None);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(socket_folder(&folders, 5433), None);
    }

    #[test]
    fn the_usual_socket_is_localhost_to_a_password_file() {
        for (host, names) in [
            ("/tmp", &["/tmp", "localhost"][..]),
            ("/var/run/postgresql", &["/var/run/postgresql", "localhost"]),
            ("/tmp/mine", &["/tmp/mine"]),
            ("db.example", &["db.example"]),
        ] {
            let host = Some(parse_host(host).unwrap());
            assert_eq!(Place { host, address: None, port: 1 }.names(), names);
        }
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(Place { host: None, address, port: 1 }.names(), ["127.0.0.1"]);
    }
}
