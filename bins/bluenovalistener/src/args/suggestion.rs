use super::options_first::{OF_SUBCOMMANDS, SWITCHES, WITH_VALUE, WORDS, has_value};
use super::{Args, without_passwords};
use argh::ArgsInfo;

/// Options of one letter, beside those of [`WITH_VALUE`].
const OTHER_SHORT: [&str; 4] = ["-r", "-o", "-h", "-V"];

/// An argument that is no option, and the one that may be meant.
pub(super) fn no_option(argument: &str) -> String {
    let shown = format!("{:?} is no option", without_passwords(argument));
    let known = WITH_VALUE.iter().flatten().chain(&SWITCHES).chain(&OF_SUBCOMMANDS);
    let known = known.chain(&["-daemon"]).copied().filter(|name| name.len() > 2);
    let name = argument.split('=').next().unwrap_or(argument);
    let is_beginning = |known: &&str| name.len() > 4 && known.starts_with(name);
    let meant = nearest_option(name, known.clone()).or_else(|| known.clone().find(is_beginning));
    if let Some(known) = meant {
        return format!("{shown}; did you mean {known}?");
    }
    if let Some(known) = WORDS.iter().find(|known| argument.trim_start_matches('-') == **known) {
        return format!("{shown}; did you mean {known}?");
    }
    if let Some(name) = argument.get(..2).filter(|name| has_value(name)) {
        return format!("{shown}; a blank stands between {name} and its value");
    }
    if name.chars().count() == 2 && name != "--" {
        let short = WITH_VALUE.iter().map(|[short, _]| *short).filter(|short| !short.is_empty());
        let short: Vec<_> = short.chain(OTHER_SHORT).collect();
        return match short.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(known) => format!("{shown}; did you mean {known}?"),
            None => format!("{shown}; those of one letter are {}", short.join(", ")),
        };
    }
    shown
}

/// The option out of `known` that is like `name`: of one letter or two, another letter makes
/// another option.
fn nearest_option<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let is_near = |(far, known): &(usize, &str)| *far <= if known.len() < 6 { 1 } else { 2 };
    let distances = known.map(|known| (distance(name, known), known));
    distances.filter(is_near).min_by_key(|(far, _)| *far).map(|(_, known)| known)
}

/// An argument that the subcommand `word` doesn't take, and which ones do; without a subcommand
/// before it, the same.
pub(super) fn not_taken(word: &str, argument: &str) -> String {
    let shown = format!("{:?}", without_passwords(argument));
    let is_it = |flag: &argh::FlagInfo<'_>| {
        flag.long == argument || flag.short.is_some_and(|it| argument == format!("-{it}"))
    };
    let mut owners = Args::get_args_info().commands;
    owners.retain(|owner| owner.command.flags.iter().any(is_it));
    // Behind `--` an option is a word, too.
    if !argument.starts_with('-') || owners.iter().any(|owner| owner.name == word) {
        return format!("{shown} is a word too many behind {word}");
    }
    let owners = owners.iter().map(|owner| owner.name).collect::<Vec<_>>().join(", ");
    match word {
        "" => format!("{shown} stands behind the word that it is an option of: {owners}"),
        _ => format!("{shown} is no option of {word}, but of {owners}"),
    }
}

/// A word that is no subcommand, and the one that may be meant.
pub(super) fn no_subcommand(word: &str) -> String {
    let shown = without_passwords(word);
    match WORDS.iter().find(|known| distance(word, known) <= 2) {
        Some(known) => format!("{shown:?} is no subcommand; did you mean {known}?"),
        None => {
            let words = WORDS.join(", ");
            format!("{shown:?} is neither an option nor a subcommand; those are {words}")
        }
    }
}

/// The name out of `known` that is like `given`, if one is.
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.map(|name| (distance(given, name), name));
    distances.min_by_key(|(distance, _)| *distance).filter(|(far, _)| *far <= 2).map(|it| it.1)
}

/// Number of letters to put in, take out or replace in one word to get the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], n + 1);
        for (at, of_other) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *of_other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}
