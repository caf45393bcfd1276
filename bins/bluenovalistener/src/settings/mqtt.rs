//! What the command line and the environment say about MQTT.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use bluenova_mqtt::{Broker, Login};

use super::{SettingsError, absolute, journal_path::fnv1a};
use crate::args::Args;

const PASSWORD_VARIABLE: &str = "BLUENOVA_MQTT_PASSWORD";
const DEFAULT_DISCOVERY: &str = "homeassistant";

/// Longest file of a password that is read, in bytes: MQTT allows passwords of 65,535.
const PASSWORD_FILE_BYTES: u64 = 1 << 16;

/// Where batteries are published by MQTT, and how.
#[derive(Clone, Debug)]
pub(crate) struct Mqtt {
    pub(crate) broker: Broker,
    password: Option<Password>,
    /// File of the certificates to trust; `None`: those that the system trusts.
    pub(crate) trusted: Option<PathBuf>,
    /// First part of the topics of Home Assistant's discovery; `None`: devices aren't announced.
    pub(crate) discovery: Option<String>,
}

#[derive(Clone)]
enum Password {
    File(PathBuf),
    Given(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({path:?})"),
            Self::Given(_) => f.write_str("Given(…)"),
        }
    }
}

/// The file of the password has none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("--mqtt-password-file {} can't be read", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("--mqtt-password-file {} has no password: its first line is empty", .path.display())]
    Empty { path: PathBuf },
}

impl Mqtt {
    /// `None` if nothing is published.
    pub(super) fn resolve(
        args: &Args,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let Some(url) = &args.mqtt else {
            for (option, given) in [
                ("--mqtt-password-file", &args.mqtt_password_file),
                ("--mqtt-ca", &args.mqtt_ca),
                ("--mqtt-discovery", &args.mqtt_discovery),
            ] {
                if given.is_some() {
                    return Err(SettingsError::OnlyTogether { option, other: "--mqtt" });
                }
            }
            return Ok(None);
        };
        let broker: Broker = url.parse().map_err(SettingsError::Mqtt)?;
        let password = match &args.mqtt_password_file {
            Some(path) => Some(Password::File(absolute("--mqtt-password-file", path, &env)?)),
            // A service file unsets a variable so.
            None => env(PASSWORD_VARIABLE).filter(|it| !it.is_empty()).map(Password::Given),
        };
        if password.is_some() && broker.user().is_none() {
            return Err(SettingsError::MqttUser);
        }
        let trusted = args.mqtt_ca.as_ref().map(|path| absolute("--mqtt-ca", path, &env));
        if trusted.is_some() && !broker.is_encrypted() {
            return Err(SettingsError::OnlyTogether { option: "--mqtt-ca", other: "mqtts://" });
        }
        Ok(Some(Self {
            broker,
            password,
            trusted: trusted.transpose()?,
            discovery: discovery(args)?,
        }))
    }

    /// User and password. The file of the password is read anew each time, so that a new one counts
    /// from the next connection on.
    ///
    /// # Errors
    /// The file can't be read, or has no password.
    pub(crate) fn login(&self) -> Result<Option<Login>, PasswordError> {
        let Some(user) = self.broker.user().map(ToOwned::to_owned) else { return Ok(None) };
        let password = match &self.password {
            None => None,
            Some(Password::Given(password)) => Some(password.clone()),
            Some(Password::File(path)) => Some(read_password(path)?),
        };
        Ok(Some(Login { user, password }))
    }

    /// What to do about a file of the password that everybody on the machine can read.
    pub(crate) fn exposed_password(&self) -> Option<String> {
        let Some(Password::File(path)) = &self.password else { return None };
        let is_exposed = fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0);
        let path = path.display();
        is_exposed.then(|| format!("every user here can read the password: chmod 600 {path}"))
    }
}

/// The first line of a file.
fn read_password(path: &Path) -> Result<String, PasswordError> {
    let unreadable = |source| PasswordError::Unreadable { path: path.to_owned(), source };
    let text = read_file(path).map_err(unreadable)?;
    let line = text.lines().next().filter(|line| !line.is_empty());
    line.map(ToOwned::to_owned).ok_or_else(|| PasswordError::Empty { path: path.to_owned() })
}

fn read_file(path: &Path) -> io::Result<String> {
    // To open a pipe would wait for somebody who writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    File::open(path)?.take(PASSWORD_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// An id of the listener of this journal on this machine: eight letters and digits, the same at
/// each start. No other listener has the journal, so none has the id.
pub(crate) fn listener_id(journal: &std::path::Path) -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let text = format!("{}\n{}", host.to_string_lossy(), journal.display());
    format!("{:08x}", fnv1a(&text) >> 32)
}

fn discovery(args: &Args) -> Result<Option<String>, SettingsError> {
    match args.mqtt_discovery.as_deref() {
        Some("off") => Ok(None),
        None => Ok(Some(DEFAULT_DISCOVERY.to_owned())),
        Some(prefix) => {
            bluenova_mqtt::topic_prefix(prefix).map(Some).map_err(SettingsError::MqttDiscovery)
        }
    }
}
