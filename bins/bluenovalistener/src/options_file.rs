//! The file that a service has its options from, for errors: an owner edits that, and no command
//! line.

use std::fs;

/// Environment variable with the path of the file. The packages' service sets it.
const VARIABLE: &str = "BLUENOVA_OPTIONS_FILE";

const ADVICE: &str = "One pair of double quotes stands around all options, on one line; within \
                      them single quotes may keep a value with a blank together";

/// Where wrong options are from, and what is odd about the quotes there; `None` for those of a
/// command line.
pub(crate) fn remark(env: impl Fn(&str) -> Option<String>) -> Option<String> {
    // A person who runs a subcommand has typed a part of the options.
    let is_service = env("NOTIFY_SOCKET").is_some();
    oddity(&env).or_else(|| {
        let path = env(VARIABLE).filter(|_| is_service)?;
        Some(match line_of_options(&read(&path)) {
            Some((number, _)) => format!("The service's options are in {path}, line {number}."),
            None => format!("The service's options are in {path}."),
        })
    })
}

/// What is odd about the quotes in the file, if anything is.
pub(crate) fn oddity(env: impl Fn(&str) -> Option<String>) -> Option<String> {
    let path = env(VARIABLE)?;
    let (number, odd) = line_of_options(&read(&path))?;
    Some(format!("{path}, line {number}: {}. {ADVICE}.", odd?))
}

fn read(path: &str) -> String {
    // What can't be read can't be remarked on; the options themselves have come from it. A line in
    // another encoding is a line, too.
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The number of the line that counts, and what is odd about its quotes: the first one with odd
/// quotes, since it may go on over those below, else the last one.
fn line_of_options(text: &str) -> Option<(usize, Option<&'static str>)> {
    let with_number = |(number, line): (usize, &str)| {
        let value = line.trim_start().strip_prefix("OPTIONS=")?;
        Some((number, oddity_of(value)))
    };
    let lines: Vec<_> = (1..).zip(text.lines()).filter_map(with_number).collect();
    lines.iter().find(|(_, odd)| odd.is_some()).or(lines.last()).copied()
}

/// What is odd about the quotes of a value, as systemd reads it: quotes at its beginning, and those
/// behind their end, belong to the file; all others to the words that it is split into.
fn oddity_of(value: &str) -> Option<&'static str> {
    let mut characters = value.trim().chars();
    let (mut words, mut quote) = (String::new(), None);
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '"' | '\'') if words.is_empty() => quote = Some(character),
            (Some(open), _) if character == open => {
                if !characters.as_str().is_empty() {
                    return Some("there is something behind the quote that ends the options");
                }
                quote = None;
            }
            (Some('\'') | None, _) => words.push(character),
            // A backslash keeps what is behind it, the end of the line too.
            (Some(_), '\\') => match characters.next() {
                Some(kept) => words.push(kept),
                None => return None,
            },
            (Some(_), _) => words.push(character),
        }
    }
    if quote.is_some() {
        return Some("the quote in front of the options has no end");
    }
    let open = words.chars().fold(None, |open, character| match open {
        None if matches!(character, '"' | '\'') => Some(character),
        Some(quote) if quote == character => None,
        _ => open,
    });
    open.map(|_| "a quote within the options has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_quotes_are_found_where_they_are() {
        const OPEN: Option<&str> = Some("the quote in front of the options has no end");
        const BEHIND: Option<&str> =
            Some("there is something behind the quote that ends the options");
        const WITHIN: Option<&str> = Some("a quote within the options has no end");
        for (value, odd) in [
            (r#""-b 10.0.0.2 -d homeauto""#, None),
            (r#"  '-b 10.0.0.2' "#, None),
            ("-b 10.0.0.2 -d homeauto", None),
            ("", None),
            (r#""""#, None),
            (r#""-b 'the attic=10.0.0.2' -d x""#, None),
            (r#""-b \"the attic=10.0.0.2\"""#, None),
            (r#""-b 10.0.0.2 \"#, None),
            (r#""-b "10.0.0.2"#, BEHIND),
            (r#""-b "10.0.0.2" -d x""#, BEHIND),
            (r#""-b 10.0.0.2"#, OPEN),
            (r#"""#, OPEN),
            ("'-b 10.0.0.2\"", OPEN),
            (r#""-b 'attic=10.0.0.2""#, WITHIN),
            (r#"-b 10.0.0.2""#, WITHIN),
        ] {
            assert_eq!(oddity_of(value), odd, "{value}");
        }
    }

    #[test]
    fn the_line_that_counts_is_named() {
        for (text, found) in [
            ("", None),
            ("# OPTIONS=\"x\"\n", None),
            ("#\nOPTIONS=\"-b a\"\n", Some(2)),
            ("OPTIONS=\"-b a\"\n\n OPTIONS=\"-b c\"\nPGHOST=d\n", Some(3)),
            ("OPTIONS=\"-b a\nOPTIONS=\"-b c\"\n", Some(1)),
        ] {
            assert_eq!(line_of_options(text).map(|(number, _)| number), found, "{text}");
        }
    }
}
