//! What the command line and the environment mean, resolved before any work begins.

use std::{
    collections::HashSet,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bluenova_console::Interval;
use bluenova_websocket::{Address, AddressError};

use crate::args::Args;

const DEFAULT_BATTERY: &str = "10.0.0.2";
const DEFAULT_DATABASE: &str = "homeauto";
const DEFAULT_INTERVAL: &str = "10";
const DEFAULT_KEEP_DAYS: &str = "7";
const DEFAULT_LOG_KEEP: &str = "5";
const DEFAULT_LOG_SIZE: &str = "50M";

/// Everything that listening needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) batteries: Vec<Battery>,
    pub(crate) store: Store,
    pub(crate) interval: Interval,
    pub(crate) raw: bool,
    /// Where the page is; `None` is nowhere.
    pub(crate) http: Option<SocketAddr>,
}

/// A battery to listen to.
#[derive(Clone, Debug)]
pub(crate) struct Battery {
    /// What people read in the log.
    pub(crate) name: String,
    pub(crate) address: Address,
}

/// Where rows are stored.
#[derive(Debug)]
pub(crate) enum Store {
    /// In PostgreSQL, by way of the journal.
    Postgres { server: Box<bluenova_postgres::Settings>, journal: PathBuf, keep: Duration },
    /// In an SQLite file that is journal and database in one.
    Sqlite { path: PathBuf },
}

/// Where and how to log.
#[derive(Debug)]
pub(crate) struct LogSettings {
    /// `None` is the console.
    pub(crate) file: Option<PathBuf>,
    /// Old files to keep.
    pub(crate) keep: u32,
    /// Bytes at which the file is rotated; `None` is never.
    pub(crate) size: Option<u64>,
    pub(crate) flush_each_line: bool,
}

/// What is wrong with the command line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{option} {given:?}: {allowed} is allowed")]
    NotAllowed { option: &'static str, given: String, allowed: &'static str },
    #[error("-b {given:?}")]
    Address { given: String, source: AddressError },
    #[error("-b {given:?}: a name is 1 to 32 letters, digits, and marks but `=`, `:`, `/`, `[`")]
    Name { given: String },
    #[error("-b: battery {0} is given twice")]
    SameAddress(Address),
    #[error("-b: two batteries are named {0:?}")]
    SameName(String),
    #[error("-d {given:?}")]
    Database { given: String, source: bluenova_postgres::SettingsError },
    #[error("-d sqlite:PATH: the path is missing")]
    NoSqlitePath,
    #[error("{option} can't be given together with {other}")]
    NotTogether { option: &'static str, other: &'static str },
    #[error("{option} {path:?}: not to be resolved")]
    Path { option: &'static str, path: String, source: std::io::Error },
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
            allowed: "1 to 86400 seconds",
        })?;
        let batteries = batteries(&args.battery)?;
        let store = store(args, &batteries, env)?;
        Ok(Self { batteries, store, interval, raw: args.raw, http: http(args)? })
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Battery { name, address }) in self.batteries.iter().enumerate() {
            write!(f, "{}{name} (ws://{address})", if n == 0 { "" } else { ", " })?;
        }
        write!(f, " every {} s into ", self.interval.seconds())?;
        match &self.store {
            Store::Postgres { server, journal, .. } => {
                write!(f, "{server}, by way of the journal {}", journal.display())
            }
            Store::Sqlite { path } => write!(f, "{}", path.display()),
        }
    }
}

impl LogSettings {
    /// # Errors
    /// What was given isn't allowed; the error says what is.
    pub(crate) fn resolve(args: &Args) -> Result<Self, SettingsError> {
        Ok(Self {
            file: args.log_file.as_deref().map(|path| absolute("-l", path)).transpose()?,
            keep: whole_number(
                "-n",
                args.log_keep.as_deref().unwrap_or(DEFAULT_LOG_KEEP),
                0..=1000,
                "0 to 1000 files",
            )?,
            size: match args.log_size.as_deref().unwrap_or(DEFAULT_LOG_SIZE) {
                "0" => None,
                given => Some(size(given).ok_or_else(|| SettingsError::NotAllowed {
                    option: "-m",
                    given: given.to_owned(),
                    allowed: "a number of bytes, with suffix K, M or G perhaps,",
                })?),
            },
            flush_each_line: match args.log_flush.as_deref() {
                None | Some("0") => false,
                Some("1") => true,
                Some(given) => {
                    return Err(SettingsError::NotAllowed {
                        option: "-f",
                        given: given.to_owned(),
                        allowed: "0 or 1",
                    });
                }
            },
        })
    }
}

/// Reads a whole number within `range`, which `allowed` says in words.
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

/// Where the page is, if that is given. Names of other machines would have to be looked up.
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

fn batteries(given: &[String]) -> Result<Vec<Battery>, SettingsError> {
    let mut batteries = match given {
        [] => vec![battery(DEFAULT_BATTERY)?],
        given => given.iter().map(|text| battery(text)).collect::<Result<_, _>>()?,
    };
    // Several batteries behind one host need a name each.
    let hosts: Vec<String> = batteries.iter().map(|battery| battery.name.clone()).collect();
    for battery in &mut batteries {
        let unnamed = battery.name == battery.address.host();
        if unnamed && hosts.iter().filter(|host| **host == battery.name).count() > 1 {
            battery.name = battery.address.to_string();
        }
    }
    let mut addresses = HashSet::new();
    let mut names = HashSet::new();
    for battery in &batteries {
        if !addresses.insert(battery.address.to_string()) {
            return Err(SettingsError::SameAddress(battery.address.clone()));
        }
        if !names.insert(&battery.name) {
            return Err(SettingsError::SameName(battery.name.clone()));
        }
    }
    Ok(batteries)
}

/// Reads `[NAME=]HOST[:PORT][/PATH]`.
fn battery(given: &str) -> Result<Battery, SettingsError> {
    // An equals sign further on belongs to the path.
    let (name, address) = match given.find(['=', ':', '/', '[']) {
        Some(at) if given[at..].starts_with('=') => (Some(&given[..at]), &given[at + 1..]),
        _ => (None, given),
    };
    let address: Address = address
        .parse()
        .map_err(|source| SettingsError::Address { given: given.to_owned(), source })?;
    let name = name.unwrap_or(address.host());
    if name.is_empty()
        || name.chars().count() > 32 && name != address.host()
        || name.contains(char::is_control)
    {
        return Err(SettingsError::Name { given: given.to_owned() });
    }
    Ok(Battery { name: name.to_owned(), address })
}

fn store(
    args: &Args,
    batteries: &[Battery],
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
        return Ok(Store::Sqlite { path: absolute("-d sqlite:", path)? });
    }
    let server = bluenova_postgres::Settings::resolve(database, args.user.as_deref(), &env)
        .map_err(|source| SettingsError::Database { given: without_password(database), source })?;
    let journal = match &args.journal {
        Some(path) => absolute("--journal", path)?,
        None => state_folder(env).join(journal_name(batteries, &server.identity())),
    };
    // The journal must remember a day's stamps, for when the clock is set back.
    let days = args.keep.as_deref().unwrap_or(DEFAULT_KEEP_DAYS);
    let days = whole_number("--keep", days, 1..=3650, "1 to 3650 days")?;
    let keep = Duration::from_secs(u64::from(days) * 86_400);
    Ok(Store::Postgres { server: Box::new(server), journal, keep })
}

/// A URL or conninfo that can't be read may hold a password all the same.
fn without_password(database: &str) -> String {
    if database.contains(['=', '@', ':']) { "…".to_owned() } else { database.to_owned() }
}

fn absolute(option: &'static str, path: &str) -> Result<PathBuf, SettingsError> {
    std::path::absolute(path).map_err(|source| SettingsError::Path {
        option,
        path: path.to_owned(),
        source,
    })
}

/// Bytes, with suffix K, M or G perhaps.
fn size(given: &str) -> Option<u64> {
    let (digits, unit) = match given.char_indices().last()? {
        (at, 'k' | 'K') => (&given[..at], 1 << 10),
        (at, 'm' | 'M') => (&given[..at], 1 << 20),
        (at, 'g' | 'G') => (&given[..at], 1 << 30),
        _ => (given, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|size| *size > 0)
}

/// Where programs of this user keep what must outlive them.
pub(crate) fn state_folder(env: impl Fn(&str) -> Option<String>) -> PathBuf {
    let absolute = |name: &str| {
        env(name).map(PathBuf::from).filter(|path| path.is_absolute() && path != Path::new("/"))
    };
    // systemd lists several folders with colons between them.
    let of_systemd = env("STATE_DIRECTORY")
        .and_then(|list| list.split(':').next().map(PathBuf::from))
        .filter(|path| path.is_absolute());
    of_systemd
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("bluenova")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/bluenova")))
        .unwrap_or_else(|| {
            let linux = cfg!(target_os = "linux");
            PathBuf::from(if linux { "/var/lib/bluenova" } else { "/var/db/bluenova" })
        })
}

/// A name of its own for each set of batteries and database, so that several listeners run side by
/// side.
fn journal_name(batteries: &[Battery], database: &str) -> String {
    let mut parts: Vec<String> =
        batteries.iter().map(|battery| battery.address.to_string()).collect();
    parts.sort();
    parts.push(database.to_owned());
    format!("journal-{:016x}.sqlite", fnv1a(&parts.join("\n")))
}

/// FNV-1a: the standard library's hash may change from release to release, and then the journal
/// would be another one.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> Result<Settings, SettingsError> {
        let args = Args::read(line.split_whitespace().map(Into::into)).expect(line);
        Settings::resolve(&args, |name| (name == "HOME").then(|| "/home/me".to_owned()))
    }

    #[track_caller]
    fn names(line: &str, expected: &[(&str, &str)]) {
        let settings = settings(line).expect(line);
        let names: Vec<_> = settings
            .batteries
            .iter()
            .map(|battery| (battery.name.as_str(), battery.address.to_string()))
            .collect();
        let names: Vec<_> = names.iter().map(|(name, address)| (*name, address.as_str())).collect();
        assert_eq!(names, expected, "{line}");
    }

    #[track_caller]
    fn refused(line: &str, says: &str) {
        let args = Args::read(line.split_whitespace().map(Into::into)).expect(line);
        let error = Settings::resolve(&args, |_| None)
            .map(drop)
            .and_then(|()| LogSettings::resolve(&args).map(drop))
            .expect_err(line);
        let error = crate::text::chain(&error);
        assert!(error.contains(says), "{line}: {error:?} lacks {says:?}");
    }

    #[test]
    fn batteries_have_names() {
        names("", &[("10.0.0.2", "10.0.0.2:9000/ws/")]);
        names("-b bat.lan:90", &[("bat.lan", "bat.lan:90/ws/")]);
        names("-b attic=10.0.0.3/x?a=b", &[("attic", "10.0.0.3:9000/x?a=b")]);
        names("-b 10.0.0.3/x?a=b", &[("10.0.0.3", "10.0.0.3:9000/x?a=b")]);
        names("-b six=[::1]:1", &[("six", "[::1]:1/ws/")]);
        names(
            "-b h:1 -b h:2 -b other",
            &[("h:1/ws/", "h:1/ws/"), ("h:2/ws/", "h:2/ws/"), ("other", "other:9000/ws/")],
        );
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_what_is() {
        for given in ["0", "86401", "-1", "x", "1.5", "99999999999", ""] {
            refused(&format!("--interval={given}"), "1 to 86400 seconds is allowed");
        }
        refused("-n x", "-n \"x\": 0 to 1000 files is allowed");
        refused("-m 5X", "-m \"5X\"");
        refused("-m 99999999999G", "K, M or G");
        refused("-f 2", "0 or 1 is allowed");
        refused("--keep 0", "1 to 3650 days");
        refused("-b a=h -b b=h", "battery h:9000/ws/ is given twice");
        refused("-b a=h -b a=i", "two batteries are named \"a\"");
        refused("-b =h", "a name is");
        refused("-b h:0", "-b \"h:0\"");
        refused("-b h:70000", "-b \"h:70000\"");
        refused("-b ::1", "-b \"::1\"");
        refused("-d sqlite:", "the path is missing");
        refused("-d sqlite:x -u me", "-u can't be given together with -d sqlite:PATH");
        refused("-d sqlite:x --journal y", "--journal can't be given");
    }

    #[test]
    fn the_page_is_nowhere_unless_its_place_is_given() {
        assert_eq!(settings("").unwrap().http, None);
        for (given, expected) in [
            ("127.0.0.1:9080", "127.0.0.1:9080"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:9080", "[::1]:9080"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
            ("[fe80::1%2]:80", "[fe80::1%2]:80"),
        ] {
            let http = settings(&format!("--http {given}")).expect(given).http;
            assert_eq!(http.map(|address| address.to_string()).as_deref(), Some(expected));
        }
        for given in [
            "9080",
            ":9080",
            "127.0.0.1",
            "localhost",
            "::1:9080",
            "[::1]",
            "localhost:x",
            "127.0.0.1:65536",
            "127.0.0.1:9080/",
            "http://127.0.0.1:9080",
            "battery.lan:9080",
            "",
        ] {
            refused(&format!("--http={given}"), "127.0.0.1:9080 or [::1]:9080, is allowed");
        }
    }

    #[test]
    fn a_password_is_never_repeated() {
        let args = ["-d", "postgresql://u:secret@h:notaport/x"].map(Into::into);
        let args = Args::read(args.into_iter()).unwrap();
        let error = Settings::resolve(&args, |_| None).unwrap_err();
        assert!(!crate::text::chain(&error).contains("secret"));
        let shown = settings("-d postgresql://u:secret@h/x").unwrap().to_string();
        assert!(!shown.contains("secret"), "{shown}");
        for wrong in ["u:secret@h/x", "postgresql:/u:secret@h/x", "host=h,password=secret"] {
            let args = Args::read(["-d", wrong].map(Into::into).into_iter()).unwrap();
            let error = crate::text::chain(&Settings::resolve(&args, |_| None).unwrap_err());
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn sizes() {
        for (given, bytes) in
            [("7", Some(7)), ("2k", Some(2048)), ("50M", Some(52_428_800)), ("1G", Some(1 << 30))]
        {
            assert_eq!(size(given), bytes, "{given}");
        }
        for given in ["", "K", "-1", "1KB", "1 M", "0K"] {
            assert_eq!(size(given), None, "{given}");
        }
    }

    #[test]
    fn the_state_folder_is_the_first_that_is_set() {
        let folder = |set: &[(&str, &str)]| {
            let env = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            state_folder(env).to_str().unwrap().to_owned()
        };
        let home = ("HOME", "/home/me");
        let xdg = ("XDG_STATE_HOME", "/xdg");
        assert_eq!(folder(&[("STATE_DIRECTORY", "/var/lib/b:/x"), xdg, home]), "/var/lib/b");
        assert_eq!(folder(&[xdg, home]), "/xdg/bluenova");
        assert_eq!(folder(&[home]), "/home/me/.local/state/bluenova");
        assert_eq!(folder(&[("HOME", "/"), ("XDG_STATE_HOME", "relative")]), folder(&[]));
        assert!(folder(&[]).starts_with("/var/"));
    }

    #[test]
    fn each_set_of_batteries_and_database_has_a_journal_of_its_own() {
        let journal = |line: &str| match settings(line).expect(line).store {
            Store::Postgres { journal, .. } => journal,
            Store::Sqlite { path } => path,
        };
        assert_eq!(journal("-b x=a -b b"), journal("-b b -b y=a"));
        assert_ne!(journal("-b a"), journal("-b b"));
        assert_ne!(journal("-d a"), journal("-d b"));
        assert_eq!(journal("--journal /x/y"), Path::new("/x/y"));
        assert!(journal("").starts_with("/home/me/.local/state/bluenova"));
    }
}
