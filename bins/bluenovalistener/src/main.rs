//! Records the console of BlueNova batteries, one row per interval, and never loses a row.

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use flexi_logger::LoggerHandle;
use log::{error, info};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    args::{Args, Mode},
    daemon::Starting,
    listen::Running,
    settings::{LogSettings, Settings},
};

mod args;
mod battery;
mod check;
mod daemon;
mod delivery;
mod demo;
mod forwarder;
mod link;
mod listen;
mod logging;
mod outage;
mod page;
mod recorder;
mod set_aside;
mod settings;
mod status;
mod storage;
mod text;

fn main() -> ExitCode {
    let args = match Args::read(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(exit) if exit.status.is_ok() => {
            text::print(&exit.output);
            return ExitCode::SUCCESS;
        }
        Err(exit) => {
            return failed(&format!("{}\nTry --help.", exit.output.trim_end()));
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&text::chain(error.as_ref())),
    }
}

fn failed(why: &str) -> ExitCode {
    // Where nobody reads it any more, the exit code still tells.
    let _ = writeln!(io::stderr(), "bluenovalistener: {why}");
    ExitCode::FAILURE
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    if args.version {
        text::print(concat!("bluenovalistener ", env!("CARGO_PKG_VERSION"), "\n"));
        return Ok(());
    }
    match &args.mode {
        None => listen(args),
        Some(Mode::Demo(options)) => demo::run(args, options),
        Some(Mode::Check(_)) => check::run(args),
        Some(Mode::SetAside(options)) => set_aside::run(args, options),
        Some(Mode::Schema(_)) => {
            text::print(&bluenova_postgres::schema());
            Ok(())
        }
    }
}

fn listen(args: &Args) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let log_settings = LogSettings::resolve(args)?;
    if args.daemon && log_settings.file.is_none() {
        let _ = writeln!(io::stderr(), "bluenovalistener: without -l a daemon has no log");
    }
    let starting = if args.daemon { Some(daemon::detach()?) } else { None };

    let log = logging::start(&log_settings)?;
    let signals = signals()?;
    info!("bluenovalistener {}: {settings}", env!("CARGO_PKG_VERSION"));
    let ended = work(&settings, starting, &signals, &log);
    match &ended {
        Ok(()) => info!("ended"),
        Err(error) => error!("ended: {}", text::chain(error.as_ref())),
    }
    log.flush();
    ended
}

fn work(
    settings: &Settings,
    starting: Option<Starting>,
    signals: &Receiver<i32>,
    log: &LoggerHandle,
) -> Result<(), Box<dyn Error>> {
    // Before anything begins, so that a daemon's parent can tell that the place is taken.
    let page = settings.http.map(page::bind).transpose()?;
    let running = listen::start(settings, page, None)?;
    if let Some(starting) = starting {
        starting.done()?;
    }
    wait(signals, &running, log);
    if running.stop() { Ok(()) } else { Err("a thread failed; see the log".into()) }
}

/// Signals arrive on a thread of their own.
fn signals() -> Result<Receiver<i32>, std::io::Error> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// Waits until the program is told to end, or can't go on.
fn wait(signals: &Receiver<i32>, running: &Running, log: &LoggerHandle) {
    while !running.is_broken() {
        match signals.recv_timeout(Duration::from_secs(1)) {
            // The log's thread does it; where it can't, there is nowhere to say so.
            Ok(SIGHUP) => drop(log.reopen_output()),
            Ok(_) => return,
            // What is in the log's buffer is seen within a second.
            Err(RecvTimeoutError::Timeout) => log.flush(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    error!("a thread has ended that should go on");
}
