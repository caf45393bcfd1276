//! The subcommands, one per file. Without a subcommand the program listens.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
};

use crate::{
    args::{Args, Mode},
    console,
    settings::{Settings, Store},
};

mod check;
mod demo;
mod export;
mod gaps;
mod generate;
mod import;
mod listen;
mod output;
mod report;
mod resend;
mod set_aside;

/// The database and the journal of the listener's options, for a subcommand that uses both.
/// `without_server` is the answer where there is no server.
///
/// # Errors
/// There is no server or no such journal, or the options are wrong.
fn server_and_journal(
    args: &Args,
    subcommand: &str,
    without_server: &str,
) -> Result<(Box<bluenova_postgres::Settings>, PathBuf), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let Store::Postgres { server, journal, .. } = settings.store else {
        return Err(without_server.into());
    };
    if !journal.exists() {
        return Err(no_journal(&journal, subcommand, true).into());
    }
    Ok((server, journal))
}

/// The error of a subcommand that has found no journal, or no file of `-d sqlite:`, where there
/// is no server.
fn no_journal(path: &Path, subcommand: &str, has_server: bool) -> String {
    let path = path.display();
    if !has_server {
        return format!(
            "there is no file {path}: no listener has recorded into it yet, or its path in -d is \
             another one"
        );
    }
    format!(
        "there is no journal {path}; give the listener's options with {subcommand}, and --journal \
         with the path in the first line of its log if it runs as another user"
    )
}

/// Runs the subcommand of the command line.
///
/// # Errors
/// The subcommand failed; the error is worded for the terminal.
pub(crate) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    if args.version {
        console::print(concat!("bluenovalistener ", env!("CARGO_PKG_VERSION"), "\n"));
        return Ok(());
    }
    match &args.mode {
        None => listen::run(args),
        Some(Mode::Demo(options)) => demo::run(args, options),
        Some(Mode::Check(_)) => check::run(args),
        Some(Mode::Export(options)) => export::run(args, options),
        Some(Mode::Gaps(options)) => gaps::run(args, options),
        Some(Mode::Generate(options)) => generate::run(options),
        Some(Mode::Import(options)) => import::run(args, options),
        Some(Mode::Report(options)) => report::run(args, options),
        Some(Mode::Resend(options)) => resend::run(args, options),
        Some(Mode::SetAside(options)) => set_aside::run(args, options),
        Some(Mode::Schema(_)) => {
            console::print(&bluenova_postgres::schema());
            Ok(())
        }
    }
}
