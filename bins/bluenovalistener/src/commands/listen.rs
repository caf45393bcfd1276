//! Without a subcommand: listens to the batteries until a signal ends it.

use std::{
    env,
    error::Error,
    io::{self, Write},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use bluenova_record::ErrorChain;
use flexi_logger::LoggerHandle;
use log::{error, info};
use signal_hook::consts::SIGHUP;

use crate::{
    args::Args,
    daemon::{self, Starting},
    logging,
    pipeline::{self, Pipeline},
    service_manager::ServiceManager,
    settings::{BatteryArguments, LogSettings, Settings},
    signals,
};

/// Records until SIGTERM or SIGINT.
///
/// # Errors
/// The command line is wrong, the journal is in use, or a thread failed.
pub(crate) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let log_settings = LogSettings::resolve(args)?;
    if args.daemon && log_settings.file.is_none() {
        warn_on_console("a daemon without -l has no log");
    }
    if let Some(warning) = LogSettings::without_effect(args) {
        warn_on_console(&warning);
    }
    let starting = if args.daemon { Some(daemon::detach()?) } else { None };

    let log = logging::start(&log_settings)?;
    let signals = signals::channel()?;
    info!("bluenovalistener {}: {settings}", env!("CARGO_PKG_VERSION"));
    let ended = record(&settings, starting, &signals, &log);
    match &ended {
        Ok(()) => info!("ended"),
        // On the console `main` shows it.
        Err(_) if log_settings.file.is_none() => {}
        Err(error) => error!("ended: {}", ErrorChain(error.as_ref())),
    }
    log.flush();
    ended
}

fn warn_on_console(warning: &str) {
    let _ = writeln!(io::stderr(), "bluenovalistener: {warning}");
}

fn record(
    settings: &Settings,
    starting: Option<Starting>,
    signals: &Receiver<i32>,
    log: &LoggerHandle,
) -> Result<(), Box<dyn Error>> {
    let manager = ServiceManager::from_env(|name| env::var(name).ok());
    let mut pipeline = pipeline::start(settings, manager.clone(), None, None)?;
    if let Some(starting) = starting {
        starting.done()?;
    }
    manager.ready();
    wait(signals, &settings.battery_arguments, &mut pipeline, &manager, log);
    manager.stopping();
    pipeline.stop()?;
    Ok(())
}

/// Waits for a signal that ends the program, or until a thread has ended unexpectedly.
fn wait(
    signals: &Receiver<i32>,
    batteries: &BatteryArguments,
    pipeline: &mut Pipeline,
    manager: &ServiceManager,
    log: &LoggerHandle,
) {
    while !pipeline.is_broken() {
        match signals.recv_timeout(Duration::from_secs(1)) {
            // The log's thread reopens the file; if that fails, there is no log to say so.
            Ok(SIGHUP) => {
                manager.reloading();
                drop(log.reopen_output());
                pipeline.check_table();
                read_batteries(batteries, pipeline);
                manager.ready();
            }
            Ok(_) => return,
            Err(RecvTimeoutError::Timeout) => {
                // So that a logged line is in the file within a second.
                log.flush();
                pipeline.retry_page();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    error!("a thread has ended unexpectedly; ending, so that the program can be started again");
}

/// Reads the files of batteries again, if there are any.
fn read_batteries(batteries: &BatteryArguments, pipeline: &mut Pipeline) {
    if batteries.files().is_empty() {
        return;
    }
    match batteries.read() {
        Ok(batteries) => pipeline.change_batteries(batteries),
        Err(error) => error!(
            "{}. The batteries stay as they are; mend the file, and send SIGHUP again",
            ErrorChain(&error)
        ),
    }
}
