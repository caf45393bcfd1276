//! How the program puts things for people to read.

use std::{
    borrow::Cow,
    error::Error,
    io::{self, Write},
    time::Duration,
};

pub(crate) use bluenova_http::duration;
use time::UtcDateTime;

/// Prints to the standard output. Unlike `print!` this doesn't panic where nobody reads it.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// An error with all that caused it, on one line: a server may have had a part in its words.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    escaped(&text).into_owned()
}

/// Text with its control characters escaped, so that it stays on its line and does nothing to the
/// terminal.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

/// The first characters of a text.
pub(crate) fn start(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}

/// For how long something has been so, as an addition to a sentence; nothing if it is new.
pub(crate) fn since(length: Duration) -> String {
    if length < Duration::from_secs(1) {
        return String::new();
    }
    format!(", for {} now", duration(length))
}

/// A time stamp as it stands in the table, in UTC.
pub(crate) fn timestamp(time: UtcDateTime) -> String {
    let micros = time.microsecond();
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    let (hour, minute, second) = time.as_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}{fraction}", time.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escaped("SOC: 63 \u{1b}[2J\r\0ü"), "SOC: 63 \\u{1b}[2J\\r\\u{0}ü");
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!(start("äöü", 2), "äö");
        assert_eq!(start("äöü", 9), "äöü");
    }

    #[test]
    fn durations() {
        for (seconds, text) in
            [(0, "0 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
