//! Records the console of BlueNova batteries, one row per interval, and never loses a row.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use bluenova_record::ErrorChain;

use crate::args::Args;

mod args;
mod commands;
mod console;
mod daemon;
mod file_limit;
mod logging;
mod page;
mod pipeline;
mod service_manager;
mod settings;
mod signals;
mod threads;

fn main() -> ExitCode {
    let args = match Args::read(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(exit) if exit.status.is_ok() => {
            console::print(&exit.output);
            return ExitCode::SUCCESS;
        }
        Err(exit) => {
            return failed(&format!("{}\nTry --help.", exit.output.trim_end()));
        }
    };
    match commands::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&ErrorChain(error.as_ref()).to_string()),
    }
}

fn failed(why: &str) -> ExitCode {
    // If standard error is closed, the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "bluenovalistener: {why}");
    ExitCode::FAILURE
}
