//! Records the console of BlueNova batteries, one row per interval, and never loses a row.

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use bluenova_record::ErrorChain;

use crate::{args::Args, settings::SettingsError};

mod args;
mod commands;
mod console;
mod daemon;
mod file_limit;
mod logging;
mod options_file;
mod page;
mod pipeline;
mod service_manager;
mod settings;
mod signals;
mod threads;

/// Exit code where nothing but another command line helps. The service manager doesn't start the
/// program again then: `RestartPreventExitStatus` in the service file.
const WRONG_COMMAND_LINE: u8 = 2;

fn main() -> ExitCode {
    let args = match Args::read(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(exit) if exit.status.is_ok() => {
            console::print(&exit.output);
            return ExitCode::SUCCESS;
        }
        Err(exit) => {
            let why = format!("{}\nTry --help.", exit.output.trim_end());
            return failed(&why, WRONG_COMMAND_LINE);
        }
    };
    match commands::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&ErrorChain(error.as_ref()).to_string(), exit_code(error.as_ref())),
    }
}

fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref::<SettingsError>() {
        Some(error) if error.is_final() => WRONG_COMMAND_LINE,
        _ => 1,
    }
}

fn failed(why: &str, code: u8) -> ExitCode {
    let mut why = format!("bluenovalistener: {why}\n");
    if code == WRONG_COMMAND_LINE
        && let Some(remark) = options_file::remark(|name| env::var(name).ok())
    {
        why += &(remark + "\n");
    }
    // If standard error is closed, the exit code still reports the failure.
    let _ = io::stderr().write_all(why.as_bytes());
    code.into()
}
