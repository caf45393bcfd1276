//! The manual page, in mdoc(7).

use argh::{CommandInfoWithArgs, Optionality};
use bluenova_status::limits::{LIMITS, Limit};
use time::Date;

use super::{Flag, may_be_repeated, value_name};

/// The page, as of `date`.
pub(super) fn page(command: &CommandInfoWithArgs, date: Date) -> String {
    let date = format!("{} {}, {}", date.month(), date.day(), date.year());
    let synopsis: String = command.flags.iter().map(optional).collect();
    let limits: String = limits()
        .map(|(limit, meaning)| format!(".It Li {}\n{}", escaped(&limit), filled(meaning)))
        .collect();
    let subcommands: String = command.commands.iter().map(|it| subcommand(&it.command)).collect();
    include_str!("manual.mdoc")
        .replace("@DATE@\n", &(date + "\n"))
        .replace("@SYNOPSIS@\n", &synopsis)
        .replace("@DESCRIPTION@\n", &filled(command.description))
        .replace("@OPTIONS@\n", &items(command.flags))
        .replace("@LIMITS@\n", &limits)
        .replace("@SUBCOMMANDS@\n", &subcommands)
}

/// Each limit as it is given on the command line, with its unit, and what it is a limit of.
pub(super) fn limits() -> impl Iterator<Item = (String, &'static str)> {
    LIMITS.iter().map(|limit| {
        let Limit { name, unit, meaning, .. } = limit;
        (format!("{name}={} {unit}", limit.default_values()), *meaning)
    })
}

fn subcommand(info: &CommandInfoWithArgs) -> String {
    let flags: String = info.flags.iter().map(optional).collect();
    let positionals: String = info
        .positionals
        .iter()
        .map(|it| {
            let argument = format!("Ar {}", escaped(it.name));
            match it.optionality {
                Optionality::Required => format!(".{argument}\n"),
                _ => format!(".Op {argument} ...\n"),
            }
        })
        .collect();
    let (name, text) = (info.name, filled(info.description));
    let list = match info.flags.iter().any(is_shown) {
        true => format!(".Bl -tag -width Ds\n{}.El\n", items(info.flags)),
        false => String::new(),
    };
    format!(".It Ic {name} Xo\n{flags}{positionals}.Xc\n{text}{list}")
}

/// The entries of a list of options.
fn items(flags: &'static [Flag]) -> String {
    let item = |flag: &Flag| {
        let short = flag.short.map(|it| format!("Fl {it} , ")).unwrap_or_default();
        format!(".It {short}{}\n{}", long(flag), filled(flag.description))
    };
    flags.iter().filter(|it| is_shown(it)).map(item).collect()
}

/// An option in a synopsis, by its short name if it has one.
fn optional(flag: &Flag) -> String {
    let (Some(short), value) = (flag.short, value(flag)) else {
        let dots = if may_be_repeated(flag) { " ..." } else { "" };
        return if is_shown(flag) { format!(".Op {}{dots}\n", long(flag)) } else { String::new() };
    };
    let dots = if may_be_repeated(flag) { " ..." } else { "" };
    format!(".Op Fl {short}{value}{dots}\n")
}

/// Help is everywhere, and described once, in the text.
fn is_shown(flag: &Flag) -> bool {
    flag.long != "--help"
}

fn long(flag: &Flag) -> String {
    format!("Fl \\-{}{}", flag.long.trim_start_matches('-'), value(flag))
}

fn value(flag: &Flag) -> String {
    value_name(flag).map(|name| format!(" Ar {}", escaped(name))).unwrap_or_default()
}

/// A text in lines that are as short as mdoc has them, with a new line for each sentence.
fn filled(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        let word = escaped(word);
        if !line.is_empty() && line.len() + 1 + word.len() > 72 {
            lines += &protected(&std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += &word;
        if word.ends_with(['.', '!', '?']) || word.ends_with(".)") {
            lines += &protected(&std::mem::take(&mut line));
        }
    }
    lines + &if line.is_empty() { String::new() } else { protected(&line) }
}

/// A line that isn't taken for a macro.
fn protected(line: &str) -> String {
    let escape = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{escape}{line}\n")
}

/// A dash of an option is a minus sign for roff, or it couldn't be copied.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e");
    if text.starts_with(['-', '(']) || text.contains("--") {
        text.replace('-', "\\-")
    } else {
        text
    }
}
