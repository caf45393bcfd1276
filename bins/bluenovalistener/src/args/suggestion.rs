use super::options_first::{OF_SUBCOMMANDS, SWITCHES, WITH_VALUE, WORDS, has_value};
use super::without_passwords;

/// An argument that is no option, and the one that may be meant.
pub(super) fn no_option(argument: &str) -> String {
    let shown = format!("{:?} is no option", without_passwords(argument));
    let known = WITH_VALUE.iter().flatten().chain(&SWITCHES).chain(&OF_SUBCOMMANDS);
    let mut known = known.chain(&["-daemon"]).filter(|name| name.len() > 2);
    let name = argument.split('=').next().unwrap_or(argument);
    let is_beginning = |known: &str| name.len() > 4 && known.starts_with(name);
    if let Some(known) = known.find(|known| distance(name, known) <= 2 || is_beginning(known)) {
        return format!("{shown}; did you mean {known}?");
    }
    if let Some(known) = WORDS.iter().find(|known| argument.trim_start_matches('-') == **known) {
        return format!("{shown}; did you mean {known}?");
    }
    match argument.get(..2).filter(|name| has_value(name)) {
        Some(name) => format!("{shown}; a blank stands between {name} and its value"),
        None => shown,
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
