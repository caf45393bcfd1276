//! From settings to a session: one host after the other, encrypted or not.

use std::error::Error as _;

use postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    Error, Retry, Settings,
    courier::Leash,
    error::CONNECTING,
    password::{self, Found},
    place::Place,
    tls::{self, Encryption},
};

/// A session that has just begun.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// Words for where it leads to.
    pub(crate) target: String,
    /// What people should know, although it has begun.
    pub(crate) notes: Vec<String>,
}

/// Tries the hosts in order. Where none takes us, the error is the last one about which somebody
/// can do something, or else the last one, with the reasons of the others.
pub(crate) fn connect(settings: &Settings, leash: &Leash) -> Result<Session, Error> {
    let mut failures = vec![];
    for (index, place) in settings.places().iter().enumerate().take_while(|_| !leash.is_cut()) {
        leash.is_at(index);
        let place = place.for_now();
        match connect_to(&place, settings) {
            Ok(session) => return Ok(session),
            Err(error) => {
                log::debug!("{error}");
                failures.push((place, error));
            }
        }
    }
    let foremost = failures.iter().rposition(|(_, error)| error.retry() == Retry::Hold);
    let Some((_, error)) = foremost.map(|index| failures.remove(index)).or_else(|| failures.pop())
    else {
        return Err(Error::unwanted(CONNECTING, &settings.to_string()));
    };
    let others = failures.iter().map(|(place, error)| format!("{place}: {}", error.reason()));
    Err(error.with_others(others))
}

fn connect_to(place: &Place, settings: &Settings) -> Result<Session, Error> {
    let target = format!("{} on {place}", settings.database());
    let encryption = if place.is_socket() { &Encryption::NONE } else { settings.encryption() };
    let (connector, tls_note) =
        encryption.connector().map_err(|e| Error::new(CONNECTING, &target, e))?;

    let file = settings.password_file();
    let found = file.map(|file| password::look_up(file, place, settings)).unwrap_or_default();
    let mut config = settings.config_for(place);
    config.notice_callback(|notice| log::debug!("PostgreSQL: {notice}"));
    if let Some(password) = &found.password {
        config.password(password);
    }
    let client = begin(&mut config, encryption, connector).map_err(|e| {
        let remedy = remedy(&e, &found, place, settings);
        Error::new(CONNECTING, &target, e).with_remedy(remedy)
    })?;
    Ok(Session { client, target, notes: found.note.into_iter().chain(tls_note).collect() })
}

fn begin(
    config: &mut Config,
    encryption: &Encryption,
    connector: MakeRustlsConnect,
) -> Result<Client, postgres::Error> {
    let (first, fallback) = encryption.ways();
    match (config.ssl_mode(first).connect(connector.clone()), fallback) {
        (Err(error), Some(mode)) if is_about_encryption(&error) => {
            config.ssl_mode(mode).connect(connector).map_err(|_| error)
        }
        (result, _) => result,
    }
}

/// Whether more or less of it might do.
fn is_about_encryption(error: &postgres::Error) -> bool {
    // The server's rules (pg_hba.conf) may ask for it, or have none for it.
    error.code().is_some_and(|code| code.code() == "28000") || objection(error).is_some()
}

/// What somebody should do about it.
fn remedy(
    error: &postgres::Error,
    found: &Found,
    place: &Place,
    settings: &Settings,
) -> Option<String> {
    let file = settings.password_file();
    if let Some(code) = error.code() {
        return match code.code() {
            "3D000" => Some("create it, for example with `createdb`".to_owned()),
            "28P01" if found.password.is_some() => {
                file.map(|file| format!("the password is the one in {}", file.display()))
            }
            _ => None,
        };
    }
    // The crate tells these apart by nothing but the text.
    match error.source()?.to_string().as_str() {
        "password missing" => {
            let advice = password::advice(file, place, settings);
            Some(found.note.iter().chain([&advice]).cloned().collect::<Vec<_>>().join("; "))
        }
        "server does not support TLS" => {
            Some("switch it on there (ssl = on), or say sslmode=prefer".to_owned())
        }
        _ => objection(error).and_then(tls::advice),
    }
}

fn objection(error: &postgres::Error) -> Option<&rustls::Error> {
    error.source().and_then(tls::objection)
}
