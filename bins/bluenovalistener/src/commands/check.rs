//! `bluenovalistener check`: tries everything once, and reports what is fine, and what to do about
//! what is not.

use std::{
    env,
    error::Error,
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process,
    time::{Duration, Instant},
};

use bluenova_console::{Line, parse};
use bluenova_http::is_served_at;
use bluenova_journal::{Journal, Leftover, Retention, leftovers};
use bluenova_postgres::{Deadlines, Sink};
use bluenova_record::{ErrorChain, PackRecord, Timestamp};
use bluenova_websocket::Connection;
use nix::fcntl::OFlag;
use time::UtcDateTime;

use crate::{
    args::Args,
    console::{self, rows},
    page,
    settings::{Battery, LogSettings, Settings, Store},
    threads::{clock_is_set, describe, is_unreachable},
};

/// Deadline for a battery to send its MCU ID. It sends all its values about once a second.
const BATTERY_DEADLINE: Duration = Duration::from_secs(10);

/// Deadline for a page on this machine to answer.
const PAGE_DEADLINE: Duration = Duration::from_secs(2);

/// Runs all checks.
///
/// # Errors
/// The command line is wrong, or something is not fine.
pub(crate) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let log = LogSettings::resolve(args)?;
    let mut fine = report("clock", clock());
    for battery in &settings.batteries {
        fine &= report(&format!("battery {}", battery.name), listen_to(battery));
    }
    match &settings.store {
        Store::Postgres { server, journal, .. } => {
            fine &= report("journal", open(journal, true));
            for found in leftovers(journal) {
                fine &= report("journal", leftover(&found, &server.to_string()));
            }
            fine &= report("database", database(server));
        }
        Store::Sqlite { path } => fine &= report("database", open(path, false)),
    }
    if let Some(path) = &log.file {
        fine &= report("log", log_file(path, log.size));
    }
    if let Some(address) = settings.http {
        fine &= report("page", page_address(address));
    }
    if fine {
        Ok(())
    } else {
        Err("not everything is fine: see the lines that begin with NOT OK".into())
    }
}

/// What is fine, or what isn't and what to do about it: the rest of a line of output.
type Finding = Result<String, String>;

fn report(what: &str, finding: Finding) -> bool {
    match &finding {
        Ok(found) => console::print(&format!("ok      {what}: {found}\n")),
        Err(wrong) => console::print(&format!("NOT OK  {what}: {wrong}\n")),
    }
    finding.is_ok()
}

fn clock() -> Finding {
    let now = UtcDateTime::now();
    let shown = format!("{} UTC", Timestamp(now.truncate_to_second()));
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
            format!("{}; is the battery switched on, and in this network?", ErrorChain(&error))
        })?;
    let started = Instant::now();
    let (mut lines, mut known) = (0_u32, 0_u32);
    while started.elapsed() < BATTERY_DEADLINE {
        let message = connection.read().map_err(|error| ErrorChain(&error).to_string())?;
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
        0 => format!("connected to ws://{address}, but it sends nothing"),
        _ => format!(
            "connected to ws://{address}, but none of its {lines} lines ({known} of known kinds) \
             has an MCU ID; without it no row is stored"
        ),
    })
}

/// Checks whether the journal can be written. One that isn't there yet is not made. If it is
/// `on_the_way` to PostgreSQL, its rows are counted too.
fn open(path: &Path, on_the_way: bool) -> Finding {
    let shown = path.display();
    // Tables would be made in an empty file.
    if fs::metadata(path).map_or(0, |found| found.len()) == 0 {
        return can_be_made(path).map(|()| format!("the listener will create {shown}"));
    }
    let tried = Journal::open(path, Retention::FOREVER).and_then(|mut journal| {
        journal.try_write()?;
        if !on_the_way {
            return Ok((0, 0));
        }
        let outbox = journal.outbox()?;
        Ok((outbox.waiting()?, outbox.count_set_aside()?))
    });
    match tried {
        Ok((waiting, set_aside)) => {
            let waiting = match waiting {
                0 => String::new(),
                count => format!("; {} to be delivered", rows(count)),
            };
            let set_aside = match set_aside {
                0 => String::new(),
                count => format!("; {} set aside, which `set-aside` lists", rows(count)),
            };
            Ok(format!("{shown} can be written{waiting}{set_aside}"))
        }
        Err(error @ bluenova_journal::Error::InUse { .. }) => {
            Ok(format!("{error}: a listener is running"))
        }
        Err(error) if error.is_damage() => Err(format!(
            "DAMAGED, or no journal at all: {}; the listener saves what can be read when it \
             starts, and keeps the file as {shown}.damaged- and the time",
            ErrorChain(&error)
        )),
        Err(error) => Err(format!(
            "{}; see to {shown} and its directory: owner, permissions, free space",
            ErrorChain(&error)
        )),
    }
}

/// What is in a journal that a listener with other options has left behind: not fine if it takes a
/// person to have it delivered.
fn leftover(found: &Result<Leftover, bluenova_journal::Error>, server: &str) -> Finding {
    let text = describe(found.as_ref(), server);
    match found {
        Ok(Leftover { database: Some(_), .. }) => Ok(text),
        _ => Err(text),
    }
}

/// Checks whether a file can be made, in its directory or in a new one: by a file that is removed
/// at once, in the first directory that exists.
fn can_be_made(path: &Path) -> Result<(), String> {
    let directory = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
    try_writing_in(directory).map_err(|error| {
        let (shown, parent) = (path.display(), path.parent().unwrap_or(path).display());
        format!(
            "{shown} can't be made: {error}. Make the directory {parent}, on a disk with free \
             space, and give it to the user that runs the listener"
        )
    })
}

/// Writes a file of a few blocks, as the start of a journal has, and removes it.
fn try_writing_in(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".bluenovalistener-check-{}", process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let written = file.write_all(&[0; 64 * 1024]).and_then(|()| file.sync_all());
    fs::remove_file(&path)?;
    written
}

/// Checks whether the log file can be written, and rotated.
fn log_file(path: &Path, size: Option<u64>) -> Finding {
    let shown = path.display();
    let parent = path.parent().unwrap_or(path);
    let directory = parent.display();
    let advice = "give it to the user that runs the listener, or choose another file with -l";
    let found = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(format!("{shown} is a directory")),
        Ok(found) => {
            OpenOptions::new()
                .append(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(path)
                .map_err(|error| format!("{shown} can't be written: {error}; {advice}"))?;
            Some(found)
        }
        Err(_) if !parent.exists() => {
            return Err(format!("there is no directory {directory} for {shown}; make it"));
        }
        Err(_) => None,
    };
    let rotates = size.is_some() && found.as_ref().is_none_or(fs::Metadata::is_file);
    // The target of a symbolic link is rotated, not the link.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let in_directory = try_writing_in(real.parent().unwrap_or(parent));
    match (found, in_directory) {
        (Some(_), Err(error)) if rotates => Err(format!(
            "{shown} can be written, but not rotated: {error} in {directory}. Give the directory \
             to the user that runs the listener, or leave the rotation to logrotate with -m 0"
        )),
        (None, Err(error)) => {
            Err(format!("{shown} can't be made: {error} in {directory}; {advice}"))
        }
        (Some(_), _) => Ok(format!("{shown} can be written")),
        (None, Ok(())) => Ok(format!("the listener will create {shown}")),
    }
}

fn database(server: &bluenova_postgres::Settings) -> Finding {
    let mut sink = Sink::new(server.clone(), Deadlines::default());
    sink.connect().map_err(|error| {
        let why = ErrorChain(&error);
        if is_unreachable(&error) {
            format!("{why}; is the server running, and reachable from here?")
        } else {
            why.to_string()
        }
    })?;
    // The row is inserted and rolled back.
    let row = PackRecord::new(UtcDateTime::now(), 0);
    sink.probe(&row).map_err(|error| ErrorChain(&error).to_string())?;
    let warnings = sink.take_warnings();
    let warnings: String = warnings.iter().map(|warning| format!("; but {warning}")).collect();
    Ok(format!("rows can be inserted into battery_pack of {server}{warnings}"))
}

fn page_address(address: SocketAddr) -> Finding {
    let error = match page::bind(address) {
        Ok(_) if address.ip().is_loopback() => return Ok(format!("{address} is free")),
        Ok(_) => {
            return Ok(format!(
                "{address} is free; but other machines can reach it, and it has no password"
            ));
        }
        Err(error) => error,
    };
    if is_served_at(address, PAGE_DEADLINE).unwrap_or(false) {
        return Ok(format!("{address} has the page of a listener that is running"));
    }
    let advice = match error.source.kind() {
        ErrorKind::AddrInUse => "another program has that port; choose another port",
        ErrorKind::AddrNotAvailable => "choose an address of this machine",
        ErrorKind::PermissionDenied => "choose a port from 1024 on",
        _ => "choose another address",
    };
    Err(format!("{}; {advice}", ErrorChain(&error)))
}
