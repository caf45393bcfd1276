//! `bluenovalistener check`: tries everything once, and says what is fine and what to do about
//! what is not.

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use bluenova_console::{Line, parse};
use bluenova_journal::{Journal, Retention};
use bluenova_postgres::Sink;
use bluenova_record::PackRecord;
use bluenova_websocket::{Connection, Deadlines};
use time::UtcDateTime;

use crate::{
    args::Args,
    battery::clock_is_set,
    settings::{Battery, Settings, Store},
    text,
};

/// How long a battery may take to say who it is. It says all it has about once a second.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let mut connection = Connection::open(address, Deadlines::default()).map_err(|error| {
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

fn open(path: &std::path::Path) -> Finding {
    match Journal::open(path, Retention::FOREVER) {
        Ok(_) => Ok(format!("{} can be written", path.display())),
        Err(error @ bluenova_journal::Error::InUse { .. }) => {
            Ok(format!("{error}; no doubt a listener that is running"))
        }
        Err(error) => Err(format!(
            "{}; see to its folder, or name another with --journal",
            text::chain(&error)
        )),
    }
}

fn database(server: &bluenova_postgres::Settings) -> Finding {
    let mut sink = Sink::connect(server).map_err(|error| match error.sqlstate() {
        Some(_) => text::chain(&error),
        None => format!("{}; is the server running, and listening there?", text::chain(&error)),
    })?;
    // Inserted for real, but rolled back.
    let row = PackRecord::new(UtcDateTime::now(), 0);
    sink.probe(&row).map_err(|error| text::chain(&error))?;
    let notes: String = sink.notes().iter().map(|note| format!("; but {note}")).collect();
    Ok(format!("rows can be inserted into battery_pack of {server}{notes}"))
}
