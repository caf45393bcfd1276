//! `bluenovalistener check`: tries everything once, and says what is fine and what to do about
//! what is not.

use std::{
    env,
    error::Error,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use bluenova_console::{Line, parse};
use bluenova_journal::{Journal, Retention};
use bluenova_postgres::{Courier, Deadlines};
use bluenova_record::PackRecord;
use bluenova_websocket::Connection;
use nix::unistd::AccessFlags;
use time::UtcDateTime;

use crate::{
    args::Args,
    battery::clock_is_set,
    page,
    settings::{Battery, Settings, Store},
    text,
};

/// How long a battery may take to say who it is. It says all it has about once a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a page on this machine may take for an answer.
const PAGE_PATIENCE: Duration = Duration::from_secs(2);

/// Runs all checks.
///
/// # Errors
/// The command line is wrong, or something is not fine.
pub(crate) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let mut fine = tell("clock", clock());
    for battery in &settings.batteries {
        fine &= tell(&format!("battery {}", battery.name), listen_to(battery));
    }
    match &settings.store {
        Store::Postgres { server, journal, .. } => {
            fine &= tell("journal", open(journal));
            fine &= tell("database", database(server));
        }
        Store::Sqlite { path } => fine &= tell("database", open(path)),
    }
    if let Some(address) = settings.http {
        fine &= tell("page", listen_for_browsers(address));
    }
    if fine { Ok(()) } else { Err("not everything is fine".into()) }
}

/// What is fine, or what isn't and what to do about it.
type Finding = Result<String, String>;

fn tell(what: &str, finding: Finding) -> bool {
    match &finding {
        Ok(found) => text::print(&format!("ok      {what}: {found}\n")),
        Err(wrong) => text::print(&format!("NOT OK  {what}: {wrong}\n")),
    }
    finding.is_ok()
}

fn clock() -> Finding {
    let now = UtcDateTime::now();
    let shown = format!("{} UTC", text::timestamp(now.truncate_to_second()));
    if clock_is_set(now) {
        Ok(shown)
    } else {
        Err(format!("{shown}; nothing is recorded until it is set, by NTP for instance"))
    }
}

fn listen_to(battery: &Battery) -> Finding {
    let address = &battery.address;
    let mut connection = Connection::open(address, bluenova_websocket::Deadlines::default())
        .map_err(|error| {
            format!("{}; is the battery switched on, and in this network?", text::chain(&error))
        })?;
    let started = Instant::now();
    let (mut lines, mut known) = (0_u32, 0_u32);
    while started.elapsed() < PATIENCE {
        let message = connection.read().map_err(|error| text::chain(&error))?;
        for line in message.as_deref().unwrap_or_default().lines() {
            lines += 1;
            match parse(line) {
                Ok(Line::McuId(id)) => {
                    connection.close();
                    return Ok(format!("MCU ID {id:08X} at ws://{address}"));
                }
                Ok(Line::Other(_)) | Err(_) => {}
                Ok(_) => known += 1,
            }
        }
    }
    Err(match lines {
        0 => format!("connected to ws://{address}, but it says nothing"),
        _ => format!(
            "connected to ws://{address}, but none of its {lines} lines ({known} of known kinds) \
             is an MCU ID; without it no row is stored"
        ),
    })
}

/// Whether the journal can be written. One that isn't there yet is not made.
fn open(path: &Path) -> Finding {
    let shown = path.display();
    if !path.exists() {
        return folder_can_be_written(path).map(|()| format!("{shown} will be made"));
    }
    match Journal::open(path, Retention::FOREVER).and_then(|mut journal| journal.try_write()) {
        Ok(()) => Ok(format!("{shown} can be written")),
        Err(error @ bluenova_journal::Error::InUse { .. }) => {
            Ok(format!("{error}; no doubt a listener that is running"))
        }
        Err(error) if error.is_damage() => {
            Ok(format!("{}; the listener will save what can be read", text::chain(&error)))
        }
        Err(error) => Err(format!("{}; see to the file and its folder", text::chain(&error))),
    }
}

/// The folder, or the first above it that is there.
fn folder_can_be_written(path: &Path) -> Result<(), String> {
    let folder = path.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    nix::unistd::access(folder, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| format!("{}: {error}; see to its permissions", folder.display()))
}

fn database(server: &bluenova_postgres::Settings) -> Finding {
    let mut courier = Courier::new(server.clone(), Deadlines::default());
    courier.connect().map_err(|error| match error.sqlstate() {
        Some(_) => text::chain(&error),
        None => format!("{}; is the server running, and listening there?", text::chain(&error)),
    })?;
    // Inserted for real, but rolled back.
    let row = PackRecord::new(UtcDateTime::now(), 0);
    courier.probe(&row).map_err(|error| text::chain(&error))?;
    let notes: String = courier.take_notes().iter().map(|note| format!("; but {note}")).collect();
    Ok(format!("rows can be inserted into battery_pack of {server}{notes}"))
}

fn listen_for_browsers(address: SocketAddr) -> Finding {
    let error = match page::bind(address) {
        Ok(_) => return Ok(format!("browsers can be listened to at {address}")),
        Err(error) => error,
    };
    if is_a_listener(address).unwrap_or(false) {
        return Ok(format!("{address} has a page already; no doubt a listener that is running"));
    }
    let advice = match error.source.kind() {
        ErrorKind::AddrInUse => "another program has that port; choose another one",
        ErrorKind::AddrNotAvailable => "choose an address of this machine",
        ErrorKind::PermissionDenied => "choose a port from 1024 on",
        _ => "choose another address",
    };
    Err(format!("{}; {advice}", text::chain(&error)))
}

/// Whether a listener answers there.
fn is_a_listener(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PAGE_PATIENCE)?;
    stream.set_read_timeout(Some(PAGE_PATIENCE))?;
    let port = address.port();
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).contains("\"problems\":["))
}
