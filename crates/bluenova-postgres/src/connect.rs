//! From settings to a session: one host after the other, encrypted or not.

use std::{error::Error as _, io};

use postgres::{Client, Config, error::DbError};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    Error, Retry, Settings,
    error::{CONNECTING, Cause},
    host::Host,
    password::{self, FileLookup},
    table,
    tls::{self, Encryption},
};

/// A session that has just begun.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// The database and the host, for messages.
    pub(crate) target: String,
    /// Warnings for people, although the session has begun.
    pub(crate) warnings: Vec<String>,
}

/// Tries the hosts in order, while `is_trying`, which is called before each, returns true.
///
/// Where all fail, the error is the last one that a person can do something about, or else the last
/// one, with the reasons of the others.
pub(crate) fn connect(
    settings: &Settings,
    hosts: &[Host],
    is_trying: impl Fn(&Host) -> bool,
) -> Result<Session, Error> {
    let mut failures = vec![];
    for host in hosts.iter().take_while(|host| is_trying(host)) {
        let host = host.with_default_name();
        match connect_to(&host, settings) {
            Ok(session) => return Ok(session),
            Err(error) => failures.push((host, error)),
        }
    }
    let foremost = failures.iter().rposition(|(_, error)| error.retry() == Retry::Hold);
    let Some((_, error)) = foremost.map(|index| failures.remove(index)).or_else(|| failures.pop())
    else {
        return Err(Error::new(CONNECTING, &settings.to_string(), Cause::Cancelled));
    };
    let others = failures.iter().map(|(host, error)| format!("{host}: {}", error.reason()));
    Err(error.with_others(others))
}

fn connect_to(host: &Host, settings: &Settings) -> Result<Session, Error> {
    let target = format!("{} on {host}", settings.database());
    let encryption = if host.is_socket() { &Encryption::NONE } else { settings.encryption() };
    let (connector, tls_warning) =
        encryption.connector().map_err(|e| Error::new(CONNECTING, &target, e))?;

    let file = settings.password_file();
    let lookup = file.map(|file| password::look_up(file, host, settings)).unwrap_or_default();
    let mut config = settings.config_for(host);
    // The default would log them. They are of the kind "relation already exists, skipping".
    config.notice_callback(|_| {});
    if let Some(password) = &lookup.password {
        config.password(password);
    }
    let client = begin(&mut config, encryption, connector).map_err(|e| {
        let remedy = remedy(&e, &lookup, host, settings);
        Error::new(CONNECTING, &target, e).with_remedy(remedy)
    })?;
    Ok(Session {
        client,
        target,
        warnings: lookup.warning.into_iter().chain(tls_warning).collect(),
    })
}

fn begin(
    config: &mut Config,
    encryption: &Encryption,
    connector: MakeRustlsConnect,
) -> Result<Client, postgres::Error> {
    let (first, fallback) = encryption.modes();
    match (config.ssl_mode(first).connect(connector.clone()), fallback) {
        (Err(error), Some(mode)) if is_about_encryption(&error) => {
            config.ssl_mode(mode).connect(connector).map_err(|_| error)
        }
        (result, _) => result,
    }
}

/// Whether the connection may succeed with encryption instead of without, or the reverse.
fn is_about_encryption(error: &postgres::Error) -> bool {
    // The server's rules (pg_hba.conf) may demand encryption, or have no entry for it.
    error.code().is_some_and(|code| code.code() == "28000") || objection(error).is_some()
}

/// What a person should do about the error.
fn remedy(
    error: &postgres::Error,
    lookup: &FileLookup,
    host: &Host,
    settings: &Settings,
) -> Option<String> {
    if let Some(answer) = error.as_db_error() {
        return refusal_remedy(answer, lookup, host, settings);
    }
    if let Some(socket) = host.socket().filter(|_| is_missing(error)) {
        return Some(format!(
            "there is no socket {}: start the server, or name its host and port (PGHOST, PGPORT)",
            socket.display()
        ));
    }
    let file = settings.password_file();
    // In the crate these errors differ by nothing but their text.
    match error.source()?.to_string().as_str() {
        "password missing" => {
            let advice = password::advice(file, host, settings);
            Some(lookup.warning.iter().chain([&advice]).cloned().collect::<Vec<_>>().join("; "))
        }
        "server does not support TLS" => {
            Some("switch it on there (ssl = on), or use sslmode=prefer".to_owned())
        }
        _ => objection(error).and_then(tls::advice),
    }
}

/// What a person should do where the server refuses the session.
fn refusal_remedy(
    answer: &DbError,
    lookup: &FileLookup,
    host: &Host,
    settings: &Settings,
) -> Option<String> {
    let (user, database) = (settings.user(), settings.database());
    // Messages are in the server's language; the routine of its source is not.
    match (answer.code().code(), answer.routine()) {
        ("3D000", _) => {
            Some(format!("create it: `sudo -u postgres createdb -O '{user}' '{database}'`"))
        }
        ("28P01", _) => {
            let source = match (settings.password_source(), settings.password_file()) {
                (Some(source), _) => format!("the password is that of {source}"),
                (None, Some(file)) if lookup.password.is_some() => {
                    format!("the password is the one in {}, line {}", file.display(), lookup.line)
                }
                _ => return None,
            };
            let role = table::quoted(user);
            Some(format!(
                "{source}; correct it there, or set another on the server: \
                 `sudo -u postgres psql -c '\\password {role}'`"
            ))
        }
        ("28000", Some("auth_failed")) if host.is_socket() => Some(format!(
            "over the socket the server lets in the system user of that name alone: run as that \
             user (`sudo -u '{user}' bluenovalistener …`), name yours by --user, or give {user} a \
             password and connect by TCP (-d postgresql://{user}@localhost/{database})"
        )),
        ("28000", Some("InitializeSessionUserId")) => {
            Some(format!("create that user: `sudo -u postgres createuser '{user}'`"))
        }
        // The rules are about the user; what lacks otherwise is the client's certificate.
        ("28000", Some("ClientAuthentication")) if !answer.message().contains(user) => {
            Some("name your certificate and its key by sslcert and sslkey".to_owned())
        }
        ("28000", Some("ClientAuthentication")) => Some(format!(
            "add a line to the server's pg_hba.conf, `host {database} {user} samenet \
             scram-sha-256` say, and run `sudo -u postgres psql -c 'SELECT pg_reload_conf()'`"
        )),
        _ => None,
    }
}

/// Whether there is nothing at the address.
fn is_missing(error: &postgres::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
}

fn objection(error: &postgres::Error) -> Option<&rustls::Error> {
    error.source().and_then(tls::objection)
}
