//! `bluenovalistener check`: tries everything once, and reports what is fine, and what to do about
//! what is not.

use std::{
    collections::HashMap,
    env,
    error::Error,
    io::ErrorKind,
    net::SocketAddr,
    path::Path,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use bluenova_console::{Line, parse};
use bluenova_http::is_served_at;
use bluenova_journal::{
    Error::{Foreign, InUse},
    Journal, Leftover, Retention, leftovers,
};
use bluenova_mqtt::SessionError;
use bluenova_postgres::{Deadlines, Sink};
use bluenova_record::{ErrorChain, PackRecord, Timestamp};
use bluenova_websocket::Connection;
use time::UtcDateTime;

use crate::{
    args::Args,
    console::{self, rows},
    options_file, page,
    settings::{Battery, LogSettings, Mqtt, Settings, Store},
    threads::{
        MqttError, check_broker, clock_is_set, describe, what_to_look_at, what_to_look_at_there,
    },
};

mod files;

/// Deadline for a battery to send its MCU ID. It sends all its values about once a second.
const BATTERY_DEADLINE: Duration = Duration::from_secs(10);

/// Batteries that are tried at the same time: one after the other, a thousand would take hours.
const BATTERIES_AT_A_TIME: usize = 200;

/// Deadline for a page on this machine to answer.
const PAGE_DEADLINE: Duration = Duration::from_secs(2);

/// Runs all checks.
///
/// # Errors
/// The command line is wrong, or something is not fine.
pub(crate) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let log = LogSettings::resolve(args)?;
    if let Some(odd) = options_file::oddity(|name| env::var(name).ok()) {
        show("WARNING", "options", &Err(odd));
    }
    let mut fine = report("clock", clock());
    fine &= report_batteries(&settings.batteries);
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
    // Without log file or page the listener records all the same.
    if let Some(path) = &log.file {
        show("WARNING", "log", &files::log_file(path, &log));
    } else if let Some(warning) = LogSettings::without_effect(args) {
        show("WARNING", "log", &Err(warning));
    }
    if let Some(address) = settings.http {
        show("WARNING", "page", &page_address(address));
    }
    if let Some(mqtt) = &settings.mqtt {
        show("WARNING", "MQTT", &broker(mqtt, &settings.store));
    }
    if fine {
        Ok(())
    } else {
        Err("not everything is fine: see the lines that begin with NOT OK".into())
    }
}

/// Tries the batteries, many at a time, and shows them in their order; returns whether all are
/// fine.
fn report_batteries(batteries: &[Battery]) -> bool {
    let (mut fine, mut by_mcu_id) = (true, HashMap::new());
    for some in batteries.chunks(BATTERIES_AT_A_TIME) {
        thread::scope(|scope| {
            let ask = |battery| {
                thread::Builder::new().spawn_scoped(scope, move || ask_for_mcu_id(battery))
            };
            let tries: Vec<_> = some.iter().map(ask).collect();
            for (battery, thread) in some.iter().zip(tries) {
                let mcu_id = match thread.map(ScopedJoinHandle::join) {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) => Err("the check has panicked".to_owned()),
                    Err(error) => Err(format!("no thread can be started to try it: {error}")),
                };
                fine &= report_battery(battery, mcu_id, &mut by_mcu_id);
            }
        });
    }
    fine
}

/// Shows what a battery has answered; `by_mcu_id` has those before it.
fn report_battery<'a>(
    battery: &'a Battery,
    mcu_id: Result<u32, String>,
    by_mcu_id: &mut HashMap<u32, &'a str>,
) -> bool {
    let what = format!("battery {}", battery.name);
    let id = match mcu_id {
        Ok(id) => id,
        Err(wrong) => return report(&what, Err(wrong)),
    };
    report(&what, Ok(format!("MCU ID {id:08X} at ws://{}", battery.address)));
    if let Some(other) = by_mcu_id.get(&id) {
        let twin = format!(
            "it has the MCU ID of {other}, so both addresses lead to one battery. Its rows are \
             stored once; if there are two batteries, one of the addresses is wrong"
        );
        show("WARNING", &what, &Err(twin));
    }
    by_mcu_id.entry(id).or_insert(&battery.name);
    true
}

/// What is fine, or what isn't and what to do about it: the rest of a line of output.
type Finding = Result<String, String>;

/// Shows what rows depend on; returns whether it is fine.
fn report(what: &str, finding: Finding) -> bool {
    show("NOT OK", what, &finding);
    finding.is_ok()
}

fn show(if_wrong: &str, what: &str, finding: &Finding) {
    let (label, text) = match finding {
        Ok(found) => ("ok", found),
        Err(wrong) => (if_wrong, wrong),
    };
    let text = text.replace('\n', "\n        ");
    console::print(&format!("{label:<7} {what}: {text}\n"));
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

/// Connects to a battery and waits for its MCU ID. The error is worded for the terminal.
pub(super) fn ask_for_mcu_id(battery: &Battery) -> Result<u32, String> {
    let address = &battery.address;
    let mut connection = Connection::open(address, bluenova_websocket::Deadlines::default())
        .map_err(|error| format!("{}. {}", ErrorChain(&error), what_to_look_at(&error)))?;
    let started = Instant::now();
    let (mut lines, mut known) = (0_u32, 0_u32);
    while started.elapsed() < BATTERY_DEADLINE {
        let message = connection.read().map_err(|error| ErrorChain(&error).to_string())?;
        for line in message.as_deref().unwrap_or_default().lines() {
            lines += 1;
            match parse(line) {
                Ok(Line::McuId(id)) => {
                    connection.close();
                    return Ok(id);
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
    // A file would be made, or tables in an empty one.
    if files::is_missing_or_empty(path) {
        if files::has_log(path) {
            return Err(format!(
                "DAMAGED: {shown} is missing or empty, but its log {shown}-wal is there; the \
                 listener saves the rows of the log when it starts"
            ));
        }
        return files::can_be_made(path).map(|()| format!("the listener will create {shown}"));
    }
    let tried = Journal::open(path, Retention::FOREVER).and_then(|mut journal| {
        let counts = try_writing(&mut journal, on_the_way);
        journal.close_as_found();
        counts
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
        Err(error @ InUse { .. }) => Ok(format!("{error}: a listener is running")),
        Err(error) if error.is_damage() && Journal::is_recoverable(path) => Err(format!(
            "DAMAGED: {}; the listener saves what can be read when it \
             starts, and keeps the file as {shown}.damaged- and the time",
            ErrorChain(&error)
        )),
        Err(error) if error.is_damage() || matches!(error, Foreign { .. }) => Err(format!(
            "{shown} is not a journal, but a file of something else. The listener doesn't start \
             with it, and leaves it alone; choose another path"
        )),
        Err(error) if path.is_dir() => {
            Err(format!("{}; choose the path of a file, in it perhaps", ErrorChain(&error)))
        }
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

/// Tries to write; returns how many rows wait, and how many are set aside, if it `counts`.
fn try_writing(journal: &mut Journal, counts: bool) -> Result<(u64, u64), bluenova_journal::Error> {
    journal.try_write()?;
    if !counts {
        return Ok((0, 0));
    }
    let outbox = journal.outbox()?;
    Ok((outbox.waiting()?, outbox.count_set_aside()?))
}

fn database(server: &bluenova_postgres::Settings) -> Finding {
    let mut sink = Sink::dry_run(server.clone(), Deadlines::default());
    sink.connect().map_err(|error| {
        let why = ErrorChain(&error);
        let look_at = what_to_look_at_there(&error).map(|look_at| format!(". {look_at}"));
        format!("{why}{}", look_at.unwrap_or_default())
    })?;
    // The row is inserted and rolled back.
    let row = PackRecord::new(UtcDateTime::now(), 0);
    sink.probe(&row).map_err(|error| ErrorChain(&error).to_string())?;
    let warnings = sink.take_warnings();
    let warnings: String = warnings.iter().map(|warning| format!("; {warning}")).collect();
    let advice = sink.index_advice().map_err(|error| ErrorChain(&error).to_string())?;
    let advice = advice.map(|advice| format!(". {advice}")).unwrap_or_default();
    Ok(format!("rows can be inserted into battery_pack of {server}{warnings}{advice}"))
}

fn broker(mqtt: &Mqtt, store: &Store) -> Finding {
    let (Store::Postgres { journal, .. } | Store::Sqlite { path: journal }) = store;
    let connected = check_broker(mqtt, journal);
    connected.map_err(|error| {
        let (chain, advice) = (ErrorChain(&error), broker_advice(&error));
        let broker = &mqtt.broker;
        format!("{broker}: {chain}. {advice}The listener records without it, and tries it again")
    })?;
    let announced = match &mqtt.discovery {
        Some(prefix) => format!("; batteries are announced under {prefix}/"),
        None => String::new(),
    };
    let exposed = mqtt.exposed_password().map(|it| format!("; but {it}")).unwrap_or_default();
    Ok(format!("{} takes messages{announced}{exposed}", mqtt.broker))
}

/// What to look at where a broker can't be connected to, with a blank behind it.
fn broker_advice(error: &MqttError) -> &'static str {
    match error {
        MqttError::Session(SessionError::Lookup { .. } | SessionError::LookupTimedOut { .. }) => {
            "Is the name right? The broker's IP address, in place of it, needs no name service. "
        }
        MqttError::Session(SessionError::Connect { .. }) => {
            "Does the broker run, and are address and port right? "
        }
        _ => "",
    }
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
        ErrorKind::AddrInUse => "another program has that port: end it, or choose another port",
        ErrorKind::AddrNotAvailable => "choose an address that this machine has, or will have",
        ErrorKind::PermissionDenied => "choose a port from 1024 on",
        _ => "choose another address",
    };
    Err(format!(
        "{}; {advice}. The listener records without the page, and tries the address every {} s",
        ErrorChain(&error),
        page::RETRY_AFTER.as_secs()
    ))
}
