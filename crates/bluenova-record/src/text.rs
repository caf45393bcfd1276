use core::{fmt, ops::Deref};

use arrayvec::ArrayString;

/// Room for 32 characters of four bytes each, the widest text column.
const BYTES: usize = 128;

/// Text that fits a `VARCHAR(CHARS)` column, kept inline.
///
/// What does not fit does not cost the row: text is cut at `CHARS` characters (not bytes), and
/// NUL, which PostgreSQL cannot hold, is dropped.
///
/// ```
/// use bluenova_record::Text;
///
/// assert_eq!(Text::<5>::new("überladen").as_str(), "überl");
/// assert_eq!(Text::<5>::new("O\0K").as_str(), "OK");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Text<const CHARS: usize>(ArrayString<BYTES>);

impl<const CHARS: usize> Text<CHARS> {
    const FITS: () = assert!(CHARS * 4 <= BYTES, "a text column is at most 32 characters wide");

    /// The part of `text` that fits.
    pub fn new(text: &str) -> Self {
        let () = Self::FITS;
        // Whatever a battery says in earnest.
        if text.len() <= CHARS
            && !text.bytes().any(|byte| byte == 0)
            && let Ok(all) = ArrayString::from(text)
        {
            return Self(all);
        }
        let mut fitting = ArrayString::new();
        for c in text.chars().filter(|&c| c != '\0').take(CHARS) {
            fitting.push(c);
        }
        Self(fitting)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const CHARS: usize> Deref for Text<CHARS> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const CHARS: usize> fmt::Debug for Text<CHARS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const CHARS: usize> fmt::Display for Text<CHARS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "serde")]
impl<const CHARS: usize> serde::Serialize for Text<CHARS> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de, const CHARS: usize> serde::Deserialize<'de> for Text<CHARS> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const CHARS: usize>;

        impl<const CHARS: usize> serde::de::Visitor<'_> for Visitor<CHARS> {
            type Value = Text<CHARS>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text::new(text))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::prelude::v1::*;

    use super::*;

    #[test]
    fn is_cut_at_characters_and_loses_nul() {
        let widest = "🔋".repeat(40);
        for (given, kept) in [
            ("", ""),
            ("NONE", "NONE"),
            ("0123456789abcdefX", "0123456789abcdef"),
            ("ÄÖÜäöüßÄÖÜäöüßÄÖÜ", "ÄÖÜäöüßÄÖÜäöüßÄÖ"),
            ("\0A\0B\0", "AB"),
            (&widest, &"🔋".repeat(16)),
        ] {
            assert_eq!(Text::<16>::new(given).as_str(), kept, "{given:?}");
        }
        assert_eq!(Text::<32>::new(&widest).chars().count(), 32);
    }
}
