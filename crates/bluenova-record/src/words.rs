//! How times, errors and foreign text are put for people to read: in one way, in all crates.

use core::error::Error;
use core::fmt::{self, Display, Write};

use time::UtcDateTime;

/// A time as it stands in the table, in UTC: `2026-11-22 16:50:10`, with six decimals where they
/// are not zero. From the year 0 on it sorts as text, and SQLite's date functions read it.
///
/// ```
/// use bluenova_record::Timestamp;
/// use time::{Duration, UtcDateTime};
///
/// let start = UtcDateTime::UNIX_EPOCH;
/// assert_eq!(Timestamp(start).to_string(), "1970-01-01 00:00:00");
/// let later = start + Duration::milliseconds(1500);
/// assert_eq!(Timestamp(later).to_string(), "1970-01-01 00:00:01.500000");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Timestamp(pub UtcDateTime);

impl Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute, second, micro) = self.0.as_hms_micro();
        let month = u8::from(month);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
        if micro == 0 { Ok(()) } else { write!(f, ".{micro:06}") }
    }
}

/// An error and all its sources on one line, as for a log: `outer: inner: innermost`.
///
/// The texts are [`Escaped`]: a server or a battery may have had a part in them.
#[derive(Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(self.0))?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {}", Escaped(error))?;
            source = error.source();
        }
        Ok(())
    }
}

/// Text with its control characters escaped, so that it stays on its line and does nothing to a
/// terminal; and those that separate lines or change the direction of writing.
///
/// ```
/// use bluenova_record::Escaped;
///
/// assert_eq!(Escaped("SOC: 63 \u{1b}[2J\r\0ü").to_string(), "SOC: 63 \\u{1b}[2J\\r\\u{0}ü");
/// assert_eq!(Escaped("\u{202e}36 :COS").to_string(), "\\u{202e}36 :COS");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<T>(pub T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(EscapingWriter(f), "{}", self.0)
    }
}

struct EscapingWriter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for EscapingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_escaped(*c)) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", c.escape_default())?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Whether a character is a control character, ends a line, or changes the direction of writing.
fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The first `chars` characters of `text`, or all of it if there are fewer.
///
/// ```
/// assert_eq!(bluenova_record::first_chars("äöü", 2), "äö");
/// assert_eq!(bluenova_record::first_chars("äöü", 9), "äöü");
/// ```
pub fn first_chars(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<&'static Layer>);

    impl Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.map(|layer| layer as _)
        }
    }

    #[test]
    fn what_deceives_a_reader_is_escaped() {
        for c in
            "\u{200e}\u{200f}\u{61c}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{85}".chars()
        {
            assert_eq!(Escaped(c).to_string(), c.escape_default().to_string());
        }
        for plain in ["ü", "°C", "\u{200d}", "\u{2027}", "…", "🔋", "שלום"] {
            assert_eq!(Escaped(plain).to_string(), plain);
        }
    }

    #[test]
    fn errors_are_chained_on_one_line() {
        static CAUSE: Layer = Layer("no\nroom", None);
        let error = Layer("cannot write", Some(&CAUSE));
        assert_eq!(ErrorChain(&error).to_string(), "cannot write: no\\nroom");
        assert_eq!(ErrorChain(&CAUSE).to_string(), "no\\nroom");
    }
}
