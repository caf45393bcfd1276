//! `bluenovalistener demo`: records two simulated batteries by the same code as real ones.

use std::{
    env,
    error::Error,
    fs::{self, File, TryLockError},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use bluenova_console::Interval;
use bluenova_record::ErrorChain;
use bluenova_simulator::{Battery as SimulatedBattery, Pace, Server};
use log::warn;
use time::UtcDateTime;

use crate::{
    args::{Args, Demo},
    console, logging,
    page::{self, BindError},
    pipeline::{self, StartError},
    service_manager::ServiceManager,
    settings::{
        self, Battery, BatteryArguments, LogSettings, Settings, SettingsError, Store,
        state_directory, whole_number,
    },
    signals,
};
use view::View;

mod history;
mod view;

const NAMES: [&str; 2] = ["north", "south"];

/// What is allowed for `--seconds`, for errors.
const SECONDS_ALLOWED: &str = "a whole number of seconds, 1 to 86400,";

/// Address of the page, unless another one is given or this one is in use.
const USUAL_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);

/// Runs the demonstration until Ctrl-C, or for the seconds given.
///
/// # Errors
/// The state directory can't be written, or another demo uses it.
pub(crate) fn run(args: &Args, options: &Demo) -> Result<(), Box<dyn Error>> {
    refuse_listening_options(args)?;
    let length = options
        .seconds
        .as_deref()
        .map(|given| whole_number("--seconds", given, 1..=86_400, SECONDS_ALLOWED))
        .transpose()?
        .map(|seconds| Duration::from_secs(u64::from(seconds)));
    let http = settings::http(args)?;

    let directory = state_directory(|name| env::var(name).ok());
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let _lock = lock(&directory)?;
    let mut log_settings = LogSettings::resolve(args)?;
    // Standard output belongs to the view.
    log_settings.file.get_or_insert_with(|| directory.join("demo.log"));
    let log = logging::start(&log_settings)?;

    let page = listen_for_browsers(http)?;
    let path = directory.join("demo.sqlite");
    let (_server, addresses) = serve(with_history(&path))?;
    let settings = settings(&addresses, &path, args, http)?;
    let (observer, stored) = mpsc::channel();
    let signals = signals::channel()?;
    let pipeline =
        pipeline::start(&settings, ServiceManager::default(), Some(page), Some(observer)).map_err(
            |error| match error {
                StartError::InUse(error) => {
                    format!("{error}: another demo is running; end it first")
                }
                error => ErrorChain(&error).to_string(),
            },
        )?;

    console::print(&format!(
        "Two simulated batteries, recorded every second into {}\nLog in {}. Ctrl-C ends it.\n",
        path.display(),
        log_settings.file.unwrap_or_default().display()
    ));
    if let Some(page) = pipeline.page() {
        console::print(&format!("See them at {page}\n"));
    }
    let end = length.map(|length| Instant::now() + length);
    let mut view = View::new();
    let shown = loop {
        let ended = end.is_some_and(|end| Instant::now() >= end) || signals.try_recv().is_ok();
        if ended || pipeline.is_broken() {
            break Ok(());
        }
        let next = stored.recv_timeout(Duration::from_millis(200));
        if let Err(error) = view.show(next.into_iter().chain(stored.try_iter())) {
            break Err(error);
        }
        log.flush();
    };
    let stopped = pipeline.stop();
    let rows = view.rows() + stored.try_iter().count() as u64;
    console::print(&format!("\n{} recorded.\n", console::rows(rows)));
    log.flush();
    shown?;
    Ok(stopped?)
}

fn refuse_listening_options(args: &Args) -> Result<(), SettingsError> {
    for (option, given) in [
        ("-b", !args.battery.is_empty()),
        ("-d", args.database.is_some()),
        ("-u", args.user.is_some()),
        ("-i", args.interval.is_some()),
        ("--journal", args.journal.is_some()),
        ("--keep", args.keep.is_some()),
        ("--mqtt", args.mqtt.is_some()),
        ("--daemon", args.daemon),
    ] {
        if given {
            return Err(SettingsError::NotTogether { option, other: "demo" });
        }
    }
    Ok(())
}

fn settings(
    addresses: &[SocketAddr; 2],
    path: &Path,
    args: &Args,
    http: Option<SocketAddr>,
) -> Result<Settings, Box<dyn Error>> {
    let batteries = NAMES
        .iter()
        .zip(addresses)
        .map(|(name, address)| {
            Ok(Battery { name: (*name).to_owned(), address: address.to_string().parse()? })
        })
        .collect::<Result<_, Box<dyn Error>>>()?;
    let interval = Interval::from_seconds(1).ok_or("a second is an interval")?;
    let store = Store::Sqlite { path: path.to_owned() };
    let http_hosts = settings::http_hosts(args)?;
    let limits = settings::limits(args)?;
    let sync = settings::sync(args)?;
    let battery_arguments = BatteryArguments::default();
    let raw = args.raw;
    Ok(Settings {
        batteries,
        battery_arguments,
        store,
        interval,
        sync,
        raw,
        http,
        http_hosts,
        limits,
        mqtt: None,
    })
}

/// Lock of the one demo that uses `directory`, held until the file is closed. The journal has a
/// lock of its own, but the week of history is made before it is there.
fn lock(directory: &Path) -> Result<File, String> {
    let path = directory.join("demo.lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(format!(
            "another demo is running, with its rows in {}; end it first, by Ctrl-C in its terminal",
            directory.display()
        )),
        // Where files can't be locked, the journal's lock is left.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// The batteries to record: as a week of history leaves them that is made now, or as those go on
/// that an earlier demo has left.
fn with_history(path: &Path) -> [SimulatedBattery; 2] {
    let now = UtcDateTime::now();
    if history::is_missing(path, now) {
        console::print("A week of history is simulated first, this once.\n");
        match history::make(path, now) {
            Ok(batteries) => return batteries,
            Err(error) => warn!("no history was made: {}", ErrorChain(&*error)),
        }
    }
    history::go_on(path, now).unwrap_or_else(|error| {
        warn!("the batteries begin anew: {}", ErrorChain(&error));
        SimulatedBattery::pair(now)
    })
}

/// Serves both batteries, each on a free port of 127.0.0.1.
fn serve(
    [first, second]: [SimulatedBattery; 2],
) -> Result<(Server, [SocketAddr; 2]), bluenova_simulator::Error> {
    // Several cycles a second, so that each row of a second has a value in every column.
    let (any_port, pace) = ((Ipv4Addr::LOCALHOST, 0).into(), Pace::Free { speed: 4.0 });
    let mut server = Server::bind(any_port, first, pace)?;
    let second = server.add(any_port, second, pace)?;
    let addresses = [server.local_addr(), second.local_addr()];
    Ok((server, addresses))
}

/// At the address that was given; else at the usual one, or, where that is in use, at a free port.
fn listen_for_browsers(given: Option<SocketAddr>) -> Result<TcpListener, BindError> {
    let usual = match given {
        Some(address) => return page::bind(address),
        None => page::bind(USUAL_ADDRESS),
    };
    usual.or_else(|error| {
        console::print(&format!("{}; using a free port instead\n", ErrorChain(&error)));
        page::bind(SocketAddr::new(USUAL_ADDRESS.ip(), 0))
    })
}
