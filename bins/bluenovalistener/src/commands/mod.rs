//! The subcommands, one per file. Without a subcommand the program listens.

use std::error::Error;

use crate::{
    args::{Args, Mode},
    console,
};

mod check;
mod demo;
mod import;
mod listen;
mod set_aside;

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
        Some(Mode::Import(options)) => import::run(args, options),
        Some(Mode::SetAside(options)) => set_aside::run(args, options),
        Some(Mode::Schema(_)) => {
            console::print(&bluenova_postgres::schema());
            Ok(())
        }
    }
}
