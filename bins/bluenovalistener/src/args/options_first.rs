//! Brings arguments into the form and order that argh reads.

use super::suggestion::{no_option, no_subcommand, not_taken};

/// The first listener has `-daemon` with a single dash; argh has neither that nor `--name=value`.
pub(super) fn as_argh_has_it(argument: String) -> Vec<String> {
    let other_name = match argument.as_str() {
        "-daemon" => Some("--daemon"),
        "-h" => Some("--help"),
        "-V" => Some("--version"),
        _ => None,
    };
    if let Some(name) = other_name {
        return vec![name.to_owned()];
    }
    match argument.split_once('=') {
        Some((name, value)) if has_value(name) && name.starts_with("--") => {
            vec![name.to_owned(), value.to_owned()]
        }
        _ => vec![argument],
    }
}

/// Names of the listener's options that have a value, the short one first.
pub(super) const WITH_VALUE: [[&str; 2]; 18] = [
    ["-b", "--battery"],
    ["-d", "--database"],
    ["-u", "--user"],
    ["-i", "--interval"],
    ["-l", "--log-file"],
    ["-n", "--log-keep"],
    ["-m", "--log-size"],
    ["-f", "--log-flush"],
    ["", "--journal"],
    ["", "--keep"],
    ["", "--sync"],
    ["", "--http"],
    ["", "--http-host"],
    ["", "--limit"],
    ["", "--mqtt"],
    ["", "--mqtt-password-file"],
    ["", "--mqtt-ca"],
    ["", "--mqtt-discovery"],
];

/// Those that may be given several times.
const REPEATABLE: [&str; 3] = ["--battery", "--http-host", "--limit"];

pub(super) const SWITCHES: [&str; 5] = ["--daemon", "--raw", "-r", "--version", "--help"];

/// Options of subcommands.
pub(super) const OF_SUBCOMMANDS: [&str; 13] = [
    "--seconds",
    "--since",
    "--retry",
    "--from",
    "--to",
    "--json",
    "--columns",
    "--from-database",
    "-o",
    "--output",
    "--timezone",
    "--dry-run",
    "--from-log",
];

/// Those that have a value.
const OF_SUBCOMMANDS_WITH_VALUE: [&str; 8] =
    ["--seconds", "--since", "--from", "--to", "--columns", "-o", "--output", "--timezone"];

pub(super) fn has_value(name: &str) -> bool {
    OF_SUBCOMMANDS_WITH_VALUE.contains(&name)
        || WITH_VALUE.iter().flatten().any(|known| *known == name)
}

pub(super) const WORDS: [&str; 12] = [
    "check",
    "demo",
    "export",
    "gaps",
    "generate",
    "import",
    "report",
    "resend",
    "schema",
    "set-aside",
    "version",
    "help",
];

/// The listener's options, and the subcommand with what belongs to it, as argh has them.
///
/// # Errors
/// A word is no subcommand, or an option is given twice; the error is worded for the terminal.
pub(super) fn options_first(
    arguments: impl Iterator<Item = String>,
) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut options, mut subcommand) = (vec![], vec![]);
    let mut given: Vec<&str> = vec![];
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let with_value = WITH_VALUE.iter().find(|names| names.contains(&&*argument));
        // Behind these it says which batteries are meant, and -b is the listener's option.
        let chooses = argument == "--battery"
            && subcommand.first().is_some_and(|word| word == "export" || word == "report");
        let is_of_subcommand = OF_SUBCOMMANDS_WITH_VALUE.contains(&argument.as_str());
        if chooses || is_of_subcommand && !subcommand.is_empty() {
            // The value too, which may be `-` or begin with it.
            subcommand.push(argument);
            subcommand.extend(arguments.next());
        } else if let Some([short, long]) = with_value.filter(|_| !argument.is_empty()) {
            if given.contains(long) && !REPEATABLE.contains(long) {
                let name = if short.is_empty() { long } else { short };
                return Err(format!("{name} is given twice"));
            }
            given.push(long);
            options.push(argument);
            options.extend(arguments.next());
        } else if SWITCHES.contains(&argument.as_str()) {
            options.push(argument);
        } else if argument.starts_with('-')
            && argument != "--"
            && !OF_SUBCOMMANDS.contains(&argument.as_str())
        {
            return Err(no_option(&argument));
        } else if !subcommand.is_empty() {
            subcommand.push(argument);
        } else if argument == "version" || argument == "help" {
            options.push(format!("--{argument}"));
        } else if argument == "--" {
            options.push(argument);
        } else if argument.starts_with('-') {
            return Err(not_taken("", &argument));
        } else if WORDS.contains(&argument.as_str()) {
            subcommand.push(argument);
        } else {
            return Err(no_subcommand(&argument));
        }
    }
    Ok((options, subcommand))
}
