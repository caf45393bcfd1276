//! Text in the encoding of the database, which may lack characters, or count bytes.

use std::{borrow::Cow, collections::HashSet};

use postgres::error::{DbError, SqlState};

/// Stands for a character that the database's encoding lacks.
const REPLACEMENT: char = '?';

/// Characters that are replaced one by one; with more of them, all outside of ASCII are.
const MAX_LACKING: usize = 32;

/// What the database's encoding can hold, as far as the server's answers have shown.
#[derive(Default)]
pub(crate) struct Encoding {
    /// The encoding is `SQL_ASCII`, in which a character of a `VARCHAR` is a byte.
    counts_bytes: bool,
    lacking: HashSet<char>,
    is_ascii_only: bool,
}

impl Encoding {
    /// The encoding of that name, as the server has it.
    pub(crate) fn new(name: &str) -> Self {
        Self { counts_bytes: name == "SQL_ASCII", ..Self::default() }
    }

    /// Takes note of a character that the server lacks. Returns false if the answer shows nothing
    /// new.
    pub(crate) fn learn(&mut self, answer: &DbError) -> bool {
        let code = answer.code();
        if *code != SqlState::UNTRANSLATABLE_CHARACTER
            && *code != SqlState::CHARACTER_NOT_IN_REPERTOIRE
        {
            return false;
        }
        if let Some(character) = named_character(answer.message())
            && self.lacking.len() < MAX_LACKING
            && self.lacking.insert(character)
        {
            return true;
        }
        let is_new = !self.is_ascii_only;
        self.is_ascii_only = true;
        is_new
    }

    /// The text as a `VARCHAR(limit)` of the database can hold it.
    pub(crate) fn fit<'a>(&self, text: &'a str, limit: usize) -> Cow<'a, str> {
        if text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let is_held = |c: &char| c.is_ascii() || !self.is_ascii_only && !self.lacking.contains(c);
        let replaced = text.chars().map(|c| if is_held(&c) { c } else { REPLACEMENT });
        let mut fitting: String = replaced.collect();
        while self.counts_bytes && fitting.len() > limit {
            fitting.pop();
        }
        Cow::Owned(fitting)
    }
}

/// The character whose bytes in UTF-8 a message has as `0xef 0xbf 0xbd`, in whatever language.
fn named_character(message: &str) -> Option<char> {
    let hex = message.split_whitespace().filter_map(|word| word.strip_prefix("0x"));
    let bytes = hex.map_while(|digits| u8::from_str_radix(digits, 16).ok()).collect();
    String::from_utf8(bytes).ok()?.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_character_is_found_in_any_language() {
        let message = "Zeichen mit Byte-Folge 0xef 0xbf 0xbd in Kodierung »UTF8« hat keine \
                       Entsprechung in Kodierung »LATIN1«";
        assert_eq!(named_character(message), Some('\u{FFFD}'));
        assert_eq!(named_character("no such thing"), None);
        assert_eq!(named_character("0xff 0xfe"), None);
    }

    #[test]
    fn text_is_cut_between_characters_where_bytes_count() {
        let ascii = Encoding::new("SQL_ASCII");
        assert_eq!(ascii.fit("überü", 5), "über");
        assert_eq!(ascii.fit("üüü", 5), "üü");
        assert_eq!(Encoding::new("UTF8").fit("üüüüü", 5), "üüüüü");
    }

    #[test]
    fn what_the_encoding_lacks_is_replaced() {
        let mut encoding = Encoding::new("LATIN1");
        encoding.lacking.insert('€');
        assert_eq!(encoding.fit("5 €, Zoë", 32), "5 ?, Zoë");
        encoding.is_ascii_only = true;
        assert_eq!(encoding.fit("5 €, Zoë", 32), "5 ?, Zo?");
    }
}
