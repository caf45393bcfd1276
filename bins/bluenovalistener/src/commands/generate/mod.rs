//! `bluenovalistener generate`: what a package has beside the program, made from the definitions
//! of the command line.

use std::{env, error::Error};

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};
use time::{Date, UtcDateTime};

use crate::{
    args::{Args, Generate},
    console,
};

mod bash;
mod defaults;
mod fish;
mod manual;
#[cfg(test)]
mod tests;
mod zsh;

/// An option or a switch.
type Flag = FlagInfo<'static>;

/// Prints what was asked for.
///
/// # Errors
/// There is no such thing, or `$SOURCE_DATE_EPOCH` isn't a time.
pub(crate) fn run(options: &Generate) -> Result<(), Box<dyn Error>> {
    let command = Args::get_args_info();
    let text = match options.what.as_str() {
        "man" => manual::page(&command, date(|name| env::var(name).ok())?),
        "bash" => bash::completion(&command),
        "zsh" => zsh::completion(&command),
        "fish" => fish::completion(&command),
        "defaults" => defaults::file(&command),
        other => {
            let error = format!("generate {other:?}: man, bash, zsh, fish or defaults is allowed");
            return Err(error.into());
        }
    };
    console::print(&text);
    Ok(())
}

/// The day of the manual page: that of the sources, for builds that anyone can repeat, else today.
fn date(env: impl Fn(&str) -> Option<String>) -> Result<Date, String> {
    let Some(given) = env("SOURCE_DATE_EPOCH") else { return Ok(UtcDateTime::now().date()) };
    let time = given.parse().ok().and_then(|it| UtcDateTime::from_unix_timestamp(it).ok());
    time.map(UtcDateTime::date).ok_or_else(|| format!("$SOURCE_DATE_EPOCH {given:?} is no time"))
}

/// What a shell may complete the value of an option, or an argument, to.
enum Values {
    File,
    /// One of these.
    Words(Vec<&'static str>),
    /// Anything.
    Any,
}

impl Values {
    /// Those of an argument of this name: `0|1`, `prefix|off`, `file`, …
    fn of(name: &'static str) -> Self {
        match name {
            "file" | "path" | "file.html" => Self::File,
            _ if name.contains('|') => Self::Words(name.split('|').filter(is_literal).collect()),
            _ => Self::Any,
        }
    }
}

/// Whether a part of `prefix|off` or `name|id` is typed as it is.
fn is_literal(part: &&str) -> bool {
    !["prefix", "name", "id"].contains(part)
}

/// The name of the value of an option; `None` for a switch.
fn value_name(flag: &Flag) -> Option<&'static str> {
    match flag.kind {
        FlagInfoKind::Switch => None,
        FlagInfoKind::Option { arg_name } => Some(arg_name),
    }
}

fn may_be_repeated(flag: &Flag) -> bool {
    flag.optionality == Optionality::Repeating
}

/// `-b`, if there is one, and `--battery`.
fn names(flag: &Flag) -> Vec<String> {
    // For an option with a short name only, argh has it twice.
    let long = flag.long.to_owned();
    flag.short.map(|short| format!("-{short}")).into_iter().chain([long]).collect()
}

/// Options of a subcommand that the listener doesn't have.
fn own_flags(
    command: &CommandInfoWithArgs,
    subcommand: &CommandInfoWithArgs,
) -> impl Iterator<Item = &'static Flag> {
    let (all, of_listener) = (subcommand.flags, command.flags);
    all.iter().filter(move |flag| of_listener.iter().all(|other| other.long != flag.long))
}

/// The beginning of a description, which fits into a line of a shell's menu.
fn in_short(description: &str) -> &str {
    let ends = [": ", "; ", " (", ". ", ", as "];
    let end = ends.iter().filter_map(|end| description.find(end)).min();
    description[..end.unwrap_or(description.len())].trim_end_matches('.')
}
