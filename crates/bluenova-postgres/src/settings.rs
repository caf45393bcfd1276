use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use postgres::{
    Config,
    config::{Host, SslMode},
};

/// Where the database is and who we are to it, as users of libpq say it.
///
/// `Display` is for people, as in `homeauto on db.example:5433`. Neither it nor `Debug` shows the
/// password.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Complete but for the host, which may be left open.
    config: Config,
}

impl Settings {
    /// Puts the settings together.
    ///
    /// `database` is a name, a URL (`postgresql://` or `postgres://`), or a conninfo string
    /// (`host=db.example dbname=homeauto`). What it leaves open comes from `env`, which looks up
    /// a variable of the environment: `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`,
    /// `PGAPPNAME`, `PGCONNECT_TIMEOUT`. `user` comes before all other ways to name the user, who
    /// is `homeauto` where nothing is said.
    ///
    /// Where nobody names a host, the one that is asked is found anew at each connect: the Unix
    /// socket in /var/run/postgresql or /tmp, else localhost.
    ///
    /// # Errors
    /// Where something isn't understood, or asks for encryption, which there is none of yet.
    pub fn resolve(
        database: &str,
        user: Option<&str>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        // libpq too takes an empty variable for one that isn't set.
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let mut config = parse(database, &env)?;
        fill_in_place(&mut config, &env)?;
        fill_in_person(&mut config, user, &env);
        fill_in_manners(&mut config, &env)?;
        refuse_encryption(&config, &env)?;
        Ok(Self { config })
    }

    /// A text that is the same whenever database, host, port and user are, and has no password in
    /// it: to name a file after.
    pub fn identity(&self) -> String {
        format!("{}@{}/{}", self.user(), places(&self.config), self.database())
    }

    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// What to connect to at this moment, and the words for it.
    pub(crate) fn for_now(&self) -> (Config, String) {
        let mut config = self.config.clone();
        if names_no_host(&config) {
            match socket_folder(&["/var/run/postgresql", "/tmp"], first_port(&config)) {
                Some(folder) => config.host_path(folder),
                None => config.host("localhost"),
            };
        }
        let target = format!("{} on {}", self.database(), places(&config));
        (config, target)
    }

    fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.database(), places(&self.config))
    }
}

/// Why settings can't be used.
// The text is never repeated: there may be a password in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There is no name.
    #[error("the name of the database is empty")]
    Empty,
    /// It isn't a URL or conninfo string after all.
    #[error("can't read the address of the database (a name, a URL or key=value pairs)")]
    Address(#[source] postgres::Error),
    /// The first one of two ends the password.
    #[error("there is an @ too many in the database's URL; in a password, write %40 for it")]
    StrayAt,
    /// There must be one port for all hosts, or one for each.
    #[error("{ports} ports for {hosts} hosts; name one for all, or one for each")]
    Ports {
        /// How many hosts there are.
        hosts: usize,
        /// How many ports there are.
        ports: usize,
    },
    /// A variable of the environment can't be used.
    #[error("{name} is {value:?}; it must be {allowed}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it may be set to.
        allowed: &'static str,
    },
    /// Encryption is asked for.
    #[error(
        "{0} asks for an encrypted connection, which this version cannot make; a Unix socket, a \
         tunnel, or sslmode=disable does without"
    )]
    Encryption(&'static str),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const PORT: u16 = 5432;

/// libpq's rule for what is a name and what is more.
fn parse(database: &str, env: &impl Fn(&str) -> Option<String>) -> Result<Config, SettingsError> {
    let is_url = ["postgresql://", "postgres://"].iter().any(|scheme| database.starts_with(scheme));
    let config = if is_url {
        // The parser would fill in 5432, and nobody could tell any more that it did.
        let port = env("PGPORT").unwrap_or_else(|| PORT.to_string());
        fill_in_url_port(database, &port).parse()
    } else if database.contains('=') {
        database.parse()
    } else if database.is_empty() {
        return Err(SettingsError::Empty);
    } else {
        let mut config = Config::new();
        config.dbname(database);
        Ok(config)
    };
    config.map_err(SettingsError::Address)
}

/// Gives `port` to each host of the URL that has none.
fn fill_in_url_port(url: &str, port: &str) -> String {
    let scheme = url.find("://").map_or(0, |at| at + 3);
    let start = url[scheme..].find('@').map_or(scheme, |at| scheme + at + 1);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let hosts: Vec<String> = url[start..end]
        .split(',')
        .map(|host| {
            let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
            if host.is_empty() || after_address.contains(':') {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            }
        })
        .collect();
    format!("{}{}{}", &url[..start], hosts.join(","), &url[end..])
}

fn fill_in_place(
    config: &mut Config,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<(), SettingsError> {
    if names_no_host(config)
        && let Some(hosts) = env("PGHOST")
    {
        for host in hosts.split(',') {
            config.host(host);
        }
    }
    if config.get_ports().is_empty() {
        let value = env("PGPORT").unwrap_or_else(|| PORT.to_string());
        for port in value.split(',') {
            let port = port.trim().parse().ok().filter(|&port| port > 0);
            config.port(port.ok_or_else(|| SettingsError::Variable {
                name: "PGPORT",
                value: value.clone(),
                allowed: "a port, 1 to 65535",
            })?);
        }
    }
    let is_stray = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
    if config.get_hosts().iter().any(is_stray) {
        return Err(SettingsError::StrayAt);
    }
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len()).max(1);
    let ports = config.get_ports().len();
    if ports != 1 && ports != hosts {
        return Err(SettingsError::Ports { hosts, ports });
    }
    Ok(())
}

fn fill_in_person(config: &mut Config, user: Option<&str>, env: &impl Fn(&str) -> Option<String>) {
    let named = config.get_user().filter(|name| !name.is_empty()).map(str::to_owned);
    let user = user
        .map(str::to_owned)
        .or(named)
        .or_else(|| env("PGUSER"))
        .unwrap_or_else(|| "homeauto".to_owned());
    if config.get_dbname().is_none_or(str::is_empty) {
        // Without any word libpq takes the user's name.
        config.dbname(&env("PGDATABASE").unwrap_or_else(|| user.clone()));
    }
    config.user(&user);
    if config.get_password().is_none()
        && let Some(password) = env("PGPASSWORD")
    {
        config.password(password);
    }
}

fn fill_in_manners(
    config: &mut Config,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<(), SettingsError> {
    if config.get_application_name().is_none() {
        let name = env("PGAPPNAME");
        config.application_name(name.as_deref().unwrap_or("bluenovalistener"));
    }
    if config.get_connect_timeout().is_none() {
        let timeout = match env("PGCONNECT_TIMEOUT") {
            None => CONNECT_TIMEOUT,
            Some(value) => match value.trim().parse() {
                // "For ever" to libpq, but not to us, who have something else to do.
                Ok(..=0) => CONNECT_TIMEOUT,
                Ok(seconds @ 1..) => Duration::from_secs(i64::unsigned_abs(seconds)),
                Err(_) => {
                    return Err(SettingsError::Variable {
                        name: "PGCONNECT_TIMEOUT",
                        value,
                        allowed: "a number of seconds",
                    });
                }
            },
        };
        config.connect_timeout(timeout);
    }
    // The crate's own time is two hours, as the system's; that's two hours without a row.
    if config.get_keepalives_idle() >= Duration::from_secs(2 * 60 * 60) {
        config.keepalives_idle(Duration::from_secs(30));
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(Duration::from_secs(10));
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
    Ok(())
}

/// Silently doing without what was asked for would be worse than not connecting.
fn refuse_encryption(
    config: &Config,
    env: &impl Fn(&str) -> Option<String>,
) -> Result<(), SettingsError> {
    let wanted = env("PGSSLMODE");
    match config.get_ssl_mode() {
        SslMode::Disable => Ok(()),
        SslMode::Require => Err(SettingsError::Encryption("sslmode=require")),
        _ if matches!(wanted.as_deref(), Some("require" | "verify-ca" | "verify-full")) => {
            Err(SettingsError::Encryption("PGSSLMODE"))
        }
        _ => Ok(()),
    }
}

fn names_no_host(config: &Config) -> bool {
    config.get_hosts().is_empty() && config.get_hostaddrs().is_empty()
}

fn first_port(config: &Config) -> u16 {
    config.get_ports().first().copied().unwrap_or(PORT)
}

/// `host:port`, or several of them with commas.
fn places(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    });
    let mut hosts: Vec<String> = hosts.collect();
    // Where both are given, the address is what is connected to.
    if hosts.is_empty() {
        hosts.extend(config.get_hostaddrs().iter().map(ToString::to_string));
    }
    if hosts.is_empty() {
        hosts.push("this machine".to_owned());
    }
    let ports = config.get_ports();
    let pairs = hosts.iter().enumerate().map(|(i, host)| {
        let port = ports.get(i).or(ports.first()).unwrap_or(&PORT);
        format!("{host}:{port}")
    });
    pairs.collect::<Vec<_>>().join(",")
}

/// The first one of `folders` that has a server's Unix socket.
fn socket_folder(folders: &[impl AsRef<Path>], port: u16) -> Option<PathBuf> {
    let has_socket = |folder: &&Path| folder.join(format!(".s.PGSQL.{port}")).exists();
    folders.iter().map(AsRef::as_ref).find(has_socket).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `environment` is `NAME=value` with spaces between.
    fn resolve(
        database: &str,
        user: Option<&str>,
        environment: &str,
    ) -> Result<Settings, SettingsError> {
        Settings::resolve(database, user, |name| {
            let mut pairs = environment.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(n, value)| (n == name).then(|| value.to_owned()))
        })
    }

    #[test]
    fn what_is_said_counts_before_what_is_left_open() {
        let open = "homeauto@this machine:5432/homeauto";
        for (database, user, environment, expected) in [
            ("homeauto", None, "", open),
            ("homeauto", None, "PGHOST= PGPORT= PGUSER= PGDATABASE=", open),
            ("homeauto", None, "PGDATABASE=other", open),
            ("house", None, "PGUSER=eve PGPORT=5433", "eve@this machine:5433/house"),
            ("house", Some("ada"), "PGUSER=eve", "ada@this machine:5432/house"),
            ("house", None, "PGHOST=db.example", "homeauto@db.example:5432/house"),
            ("house", None, "PGHOST=/tmp", "homeauto@/tmp:5432/house"),
            ("house", None, "PGHOST=::1", "homeauto@[::1]:5432/house"),
            ("house", None, "PGHOST=a,/b PGPORT=1", "homeauto@a:1,/b:1/house"),
            ("house", None, "PGHOST=a,/b PGPORT=1,2", "homeauto@a:1,/b:2/house"),
            ("postgresql://", None, "", open),
            ("postgres:///house", None, "PGPORT=1 PGHOST=h", "homeauto@h:1/house"),
            ("postgres:///house?port=2", None, "PGPORT=1 PGHOST=h", "homeauto@h:2/house"),
            ("postgresql://h", None, "PGDATABASE=house", "homeauto@h:5432/house"),
            ("postgresql://bob@h", None, "PGUSER=eve", "bob@h:5432/bob"),
            ("postgresql://bob@h/house", Some("ada"), "", "ada@h:5432/house"),
            ("postgresql://:pw@h/house", None, "PGUSER=eve", "eve@h:5432/house"),
            ("postgresql://bob:p@h:7/house", None, "PGHOST=g PGPORT=8", "bob@h:7/house"),
            ("postgresql://h,[::1]:7/house", None, "PGPORT=8", "homeauto@h:8,[::1]:7/house"),
            ("postgresql://[::1]?dbname=x", None, "PGPORT=8", "homeauto@[::1]:8/x"),
            ("postgresql://%2Ftmp/house", None, "", "homeauto@/tmp:5432/house"),
            ("postgresql:///house?host=/tmp&port=3", None, "", "homeauto@/tmp:3/house"),
            ("dbname=house", None, "PGHOST=h PGUSER=eve", "eve@h:5432/house"),
            ("host=h port=3", None, "PGDATABASE=house PGPORT=9", "homeauto@h:3/house"),
            ("host='/tmp/a b' user=bob", None, "", "bob@/tmp/a b:5432/bob"),
            ("hostaddr=127.0.0.1 dbname=x", None, "PGHOST=h", "homeauto@127.0.0.1:5432/x"),
        ] {
            let settings = resolve(database, user, environment).expect(database);
            assert_eq!(settings.identity(), expected, "{database:?} {user:?} {environment:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (database, environment, expected) in [
            ("", "", "the name of the database is empty"),
            ("port=x", "", "can't read the address of the database"),
            ("hots=h", "", "can't read the address of the database"),
            ("postgresql://h:99999/x", "", "can't read the address of the database"),
            ("postgresql://u:sesame@s@h/x", "", "there is an @ too many"),
            ("x", "PGPORT=0", "PGPORT is \"0\"; it must be a port"),
            ("x", "PGPORT=abc", "PGPORT is \"abc\"; it must be a port"),
            ("x", "PGHOST=a PGPORT=1,2", "2 ports for 1 hosts"),
            ("host=a,b,c port=1,2", "", "2 ports for 3 hosts"),
            ("x", "PGCONNECT_TIMEOUT=soon", "PGCONNECT_TIMEOUT is \"soon\""),
            ("postgresql://h/x?sslmode=require", "", "sslmode=require asks for an encrypted"),
            ("sslmode=require", "", "sslmode=require asks for an encrypted"),
            ("x", "PGSSLMODE=verify-full", "PGSSLMODE asks for an encrypted"),
        ] {
            let error = resolve(database, None, environment).expect_err(database).to_string();
            assert!(error.starts_with(expected), "{database:?} {environment:?}: {error}");
            assert!(!error.contains("sesame"), "{error}");
        }
        assert!(resolve("sslmode=disable", None, "PGSSLMODE=require").is_ok());
        assert!(resolve("sslmode=prefer", None, "PGSSLMODE=prefer").is_ok());
    }

    #[test]
    fn a_connection_attempt_always_has_an_end() {
        for (database, environment, seconds) in [
            ("x", "", 10),
            ("x", "PGCONNECT_TIMEOUT=0", 10),
            ("x", "PGCONNECT_TIMEOUT=-1", 10),
            ("x", "PGCONNECT_TIMEOUT=3", 3),
            ("dbname=x connect_timeout=4", "PGCONNECT_TIMEOUT=3", 4),
            ("dbname=x connect_timeout=0", "", 10),
        ] {
            let settings = resolve(database, None, environment).expect(database);
            let expected = Duration::from_secs(seconds);
            assert_eq!(settings.config.get_connect_timeout(), Some(&expected), "{environment}");
        }
    }

    #[test]
    fn the_rest_is_filled_in() {
        let settings = resolve("x", None, "PGPASSWORD=sesame PGAPPNAME=panel").unwrap();
        assert_eq!(settings.config.get_password(), Some(&b"sesame"[..]));
        assert_eq!(settings.config.get_application_name(), Some("panel"));
        let settings = resolve("postgresql://:own@/x", None, "PGPASSWORD=sesame").unwrap();
        assert_eq!(settings.config.get_password(), Some(&b"own"[..]));
        assert_eq!(settings.config.get_application_name(), Some("bluenovalistener"));
        assert!(settings.config.get_keepalives());
        assert_eq!(settings.config.get_keepalives_idle(), Duration::from_secs(30));
    }

    #[test]
    fn the_password_is_never_shown() {
        for database in ["postgresql://u:sesame@h/x", "host=h dbname=x user=u password=sesame"] {
            let settings = resolve(database, None, "").unwrap();
            assert_eq!(settings.to_string(), "x on h:5432");
            for text in [format!("{settings:?}"), settings.identity()] {
                assert!(!text.contains("sesame"), "{text}");
            }
        }
    }

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
}
