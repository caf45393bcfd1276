//! What the command line and the environment mean, resolved before any work begins.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bluenova_console::Interval;
use bluenova_status::{LimitError, Limits};
use bluenova_websocket::{Address, AddressError};

use crate::args::{Args, nearest};

mod battery;
mod journal_path;
mod log;
mod mqtt;
mod time_argument;

pub(crate) use battery::{Battery, BatteryArguments};
use journal_path::journal_name;
pub(crate) use journal_path::{import_journal, state_directory};
pub(crate) use log::LogSettings;
use log::log_file;
pub(crate) use mqtt::{Mqtt, PasswordError, listener_id};
pub(crate) use time_argument::{day_argument, time_argument};

const DEFAULT_DATABASE: &str = "homeauto";
const DEFAULT_INTERVAL: &str = "10";
const DEFAULT_KEEP_DAYS: &str = "7";
const DEFAULT_SYNC: &str = "10";

/// Settings of the listener.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The batteries, as files had them when the program started.
    pub(crate) batteries: Vec<Battery>,
    pub(crate) battery_arguments: BatteryArguments,
    pub(crate) store: Store,
    pub(crate) interval: Interval,
    /// How old a row may become until it is synced to the disk.
    pub(crate) sync: Duration,
    pub(crate) raw: bool,
    /// Address of the page; `None`: there is no page.
    pub(crate) http: Option<SocketAddr>,
    /// Host names of the page, besides `localhost`.
    pub(crate) http_hosts: Vec<String>,
    /// Beyond which values a battery has a problem.
    pub(crate) limits: Arc<Limits>,
    /// Where the batteries are published; `None`: nowhere.
    pub(crate) mqtt: Option<Mqtt>,
}

/// Where rows are stored.
#[derive(Debug)]
pub(crate) enum Store {
    /// In PostgreSQL, by way of the journal.
    Postgres { server: Box<bluenova_postgres::Settings>, journal: PathBuf, keep: Duration },
    /// In an SQLite file that is journal and database in one.
    Sqlite { path: PathBuf },
}

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{option} {given:?}: {allowed} is allowed")]
    NotAllowed { option: &'static str, given: String, allowed: &'static str },
    #[error("{given}")]
    Address { given: String, source: AddressError },
    #[error("{given}: the name before = is missing")]
    NoName { given: String },
    #[error("{given}: for several batteries repeat -b, or give each a line of a file")]
    SeveralBatteries { given: String },
    #[error("{given}: an IPv6 address stands in brackets: {in_brackets}")]
    NoBrackets { given: String, in_brackets: String },
    #[error("{given}: a name is 1 to 32 letters, digits, and marks but `=`, `:`, `/`, `[`")]
    Name { given: String },
    #[error("{origins}: battery {address} is given twice")]
    SameAddress { origins: String, address: Address },
    #[error("{origins}: two batteries are named {name:?}")]
    SameName { origins: String, name: String },
    #[error("-b @FILE: the path of the file is missing")]
    NoBatteryPath,
    #[error("-b @{path}: the file can't be read")]
    BatteryFile { path: String, source: std::io::Error },
    #[error("{path}, line {line}: not UTF-8")]
    NotUtf8 { path: String, line: usize },
    #[error("{origin}: longer than a battery: 1000 bytes at most")]
    LongLine { origin: String },
    #[error("-b @{path}: there is no battery in this file")]
    NoBatteryIn { path: String },
    #[error("-d {given:?}")]
    Database { given: String, source: bluenova_postgres::SettingsError },
    #[error("-d sqlite:PATH: the path is missing")]
    NoSqlitePath,
    #[error("{option} can't be given together with {other}")]
    NotTogether { option: &'static str, other: &'static str },
    #[error("{option} is of no use without {other}")]
    OnlyTogether { option: &'static str, other: &'static str },
    #[error("--limit {error}{}", suggestion(error))]
    Limit { error: LimitError },
    #[error("--limit {name} is given twice")]
    LimitTwice { name: &'static str },
    #[error("--mqtt")]
    Mqtt(#[source] bluenova_mqtt::BrokerError),
    #[error("--mqtt-discovery")]
    MqttDiscovery(#[source] bluenova_mqtt::BrokerError),
    #[error("--mqtt: a password needs a user, as in mqtt://USER@HOST")]
    MqttUser,
    #[error("{option} {path:?}: the path can't be resolved")]
    Path { option: &'static str, path: String, source: std::io::Error },
    #[error("{option} {path:?}: `~` stands for $HOME in front of a slash, and $HOME must be set")]
    NoHome { option: &'static str, path: String },
    #[error("-l {path:?}: the database or journal is in that file")]
    SameFile { path: String },
}

impl SettingsError {
    /// Whether only a change of the options, or of what a file says, helps: another try doesn't. A
    /// file that can't be read may be on a disk that isn't mounted yet.
    pub(crate) fn is_final(&self) -> bool {
        use bluenova_postgres::SettingsError::ServiceFile;
        !matches!(
            self,
            Self::BatteryFile { .. }
                | Self::Path { .. }
                | Self::Database { source: ServiceFile { .. }, .. }
        )
    }
}

impl Settings {
    /// # Errors
    /// What was given isn't allowed; the error says what is.
    pub(crate) fn resolve(
        args: &Args,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let given = args.interval.as_deref().unwrap_or(DEFAULT_INTERVAL);
        let interval = given.parse().ok().and_then(Interval::from_seconds);
        let interval = interval.ok_or_else(|| SettingsError::NotAllowed {
            option: "-i",
            given: given.to_owned(),
            allowed: "a whole number of seconds, 1 to 86400,",
        })?;
        let battery_arguments = BatteryArguments::resolve(&args.battery, &env)?;
        let batteries = battery_arguments.read()?;
        let store = store(args, &battery_arguments, &env)?;
        check_files(&store, log_file(args, &env)?)?;
        Ok(Self {
            batteries,
            battery_arguments,
            store,
            interval,
            sync: sync(args)?,
            raw: args.raw,
            http: http(args)?,
            http_hosts: http_hosts(args)?,
            limits: limits(args)?,
            mqtt: Mqtt::resolve(args, &env)?,
        })
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_batteries(f)?;
        write!(f, " every {} s into ", self.interval.seconds())?;
        match &self.store {
            Store::Postgres { server, journal, .. } => {
                write!(f, "{server}, by way of the journal {}", journal.display())
            }
            Store::Sqlite { path } => write!(f, "{}", path.display()),
        }
    }
}

impl Settings {
    /// Writes the batteries; of those in files, which may be thousands, only their number.
    fn write_batteries(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.battery_arguments.files();
        if !files.is_empty() {
            let files: Vec<_> = files.iter().map(|path| format!("@{}", path.display())).collect();
            let batteries = match self.batteries.len() {
                1 => "1 battery".to_owned(),
                count => format!("{count} batteries"),
            };
            return write!(f, "{batteries} (-b {})", files.join(", "));
        }
        for (n, Battery { name, address }) in self.batteries.iter().enumerate() {
            write!(f, "{}{name} (ws://{address})", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Reads a whole number within `range`, which `allowed` describes.
pub(crate) fn whole_number(
    option: &'static str,
    given: &str,
    range: std::ops::RangeInclusive<u32>,
    allowed: &'static str,
) -> Result<u32, SettingsError> {
    given
        .parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| SettingsError::NotAllowed { option, given: given.to_owned(), allowed })
}

/// How old a row may become until it is synced to the disk.
pub(crate) fn sync(args: &Args) -> Result<Duration, SettingsError> {
    let seconds = args.sync.as_deref().unwrap_or(DEFAULT_SYNC);
    let seconds =
        whole_number("--sync", seconds, 1..=3600, "a whole number of seconds, 1 to 3600,")?;
    Ok(Duration::from_secs(seconds.into()))
}

/// Address of the page, if one is given. Names of other machines would have to be looked up.
pub(crate) fn http(args: &Args) -> Result<Option<SocketAddr>, SettingsError> {
    let Some(given) = args.http.as_deref() else { return Ok(None) };
    let address = match given.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => given.parse().ok(),
    };
    let address = address.ok_or_else(|| SettingsError::NotAllowed {
        option: "--http",
        given: given.to_owned(),
        allowed: "an IP address of this machine (or localhost) and a port, as in 127.0.0.1:9080 \
                  or [::1]:9080,",
    })?;
    Ok(Some(address))
}

/// Host names of the page.
pub(crate) fn http_hosts(args: &Args) -> Result<Vec<String>, SettingsError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    for given in &args.http_host {
        if given.is_empty() || !given.bytes().all(is_allowed) {
            return Err(SettingsError::NotAllowed {
                option: "--http-host",
                given: given.clone(),
                allowed: "a host name without a port, as in battery.lan,",
            });
        }
    }
    Ok(args.http_host.clone())
}

/// The limits, those that are given in place of the default ones.
pub(crate) fn limits(args: &Args) -> Result<Arc<Limits>, SettingsError> {
    let (mut limits, mut names) = (Limits::default(), vec![]);
    for given in &args.limit {
        let name = limits.set(given).map_err(|error| SettingsError::Limit { error })?;
        if names.contains(&name) {
            return Err(SettingsError::LimitTwice { name });
        }
        names.push(name);
    }
    Ok(Arc::new(limits))
}

/// Which limit may be meant by a name that is none.
fn suggestion(error: &LimitError) -> String {
    let LimitError::Name { given } = error else { return String::new() };
    let nearest = nearest(given, bluenova_status::limits::names().into_iter());
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

fn store(
    args: &Args,
    batteries: &BatteryArguments,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Store, SettingsError> {
    let database = args.database.as_deref().unwrap_or(DEFAULT_DATABASE);
    if let Some(path) = database.strip_prefix("sqlite:") {
        let other = "-d sqlite:PATH";
        for (option, given) in [
            ("-u", args.user.is_some()),
            ("--journal", args.journal.is_some()),
            ("--keep", args.keep.is_some()),
        ] {
            if given {
                return Err(SettingsError::NotTogether { option, other });
            }
        }
        if path.is_empty() {
            return Err(SettingsError::NoSqlitePath);
        }
        return Ok(Store::Sqlite { path: absolute("-d sqlite:", path, &env)? });
    }
    let server = bluenova_postgres::Settings::resolve(database, args.user.as_deref(), &env)
        .map_err(|source| SettingsError::Database { given: without_password(database), source })?;
    let journal = match &args.journal {
        Some(path) => absolute("--journal", path, &env)?,
        None => state_directory(&env).join(journal_name(batteries.identity(), &server.identity())),
    };
    // At least a day, so that no stamp is used twice if the clock is set back.
    let days = args.keep.as_deref().unwrap_or(DEFAULT_KEEP_DAYS);
    let days = whole_number("--keep", days, 1..=3650, "a whole number of days, 1 to 3650,")?;
    let keep = Duration::from_secs(u64::from(days) * 86_400);
    Ok(Store::Postgres { server: Box::new(server), journal, keep })
}

/// The name of the database, or `…` for a URL or conninfo, which may hold a password even if it
/// can't be parsed.
fn without_password(database: &str) -> String {
    if database.contains(['=', '@', ':']) { "…".to_owned() } else { database.to_owned() }
}

/// An absolute path. `~/`, which a shell leaves alone behind `=` or `:`, is the home directory.
fn absolute(
    option: &'static str,
    path: &str,
    env: impl Fn(&str) -> Option<String>,
) -> Result<PathBuf, SettingsError> {
    let error = |source| SettingsError::Path { option, path: path.to_owned(), source };
    if path.starts_with('~') {
        let in_home = if path == "~" { Some("") } else { path.strip_prefix("~/") };
        let home = env("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        return match (in_home, home) {
            (Some(in_home), Some(home)) => Ok(home.join(in_home)),
            _ => Err(SettingsError::NoHome { option, path: path.to_owned() }),
        };
    }
    std::path::absolute(path).map_err(error)
}

/// Refuses a log and a database, or journal, in the same file.
fn check_files(store: &Store, log: Option<PathBuf>) -> Result<(), SettingsError> {
    let (Store::Postgres { journal: file, .. } | Store::Sqlite { path: file }) = store;
    // Neither needs to exist. What a path is by way of symbolic links counts too.
    let real = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    match log {
        Some(log) if real(&log) == real(file) => {
            Err(SettingsError::SameFile { path: log.display().to_string() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
