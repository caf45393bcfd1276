//! Arrays of numbers as text: their bytes, little endian, in base64.
//!
//! A state is written every few minutes to a card that wears out, and most of it are such arrays.
//! So they take a third of what they would as numbers in JSON, and come back exactly. What isn't of
//! that form (another length, a number that isn't finite) is an error when it is read.

use serde::{Deserialize, Deserializer, Serializer, de};

use crate::recent::Recent;

/// What can be packed.
pub(crate) trait Packed: Sized {
    fn put(&self, bytes: &mut Vec<u8>);
    /// Takes it off the front; `None` if it isn't there.
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

pub(crate) fn serialize<T: Packed, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut bytes = vec![];
    value.put(&mut bytes);
    serializer.serialize_str(&text_of(&bytes))
}

pub(crate) fn deserialize<'de, T: Packed, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = bytes_of(&text);
    let value = bytes.and_then(|bytes| {
        let mut bytes = bytes.as_slice();
        T::take(&mut bytes).filter(|_| bytes.is_empty())
    });
    value.ok_or_else(|| de::Error::custom("these are no packed numbers"))
}

macro_rules! packed_integers {
    ($($integer:ty),*) => {$(
        impl Packed for $integer {
            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let (first, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_le_bytes(*first))
            }
        }
    )*};
}
packed_integers!(u8, u16, i16, u32);

impl Packed for f32 {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.to_bits().put(bytes);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        u32::take(bytes).map(Self::from_bits).filter(|value| value.is_finite())
    }
}

impl<T: Packed + Copy + Default, const N: usize> Packed for [T; N] {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.iter().for_each(|item| item.put(bytes));
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut items = [T::default(); N];
        for item in &mut items {
            *item = T::take(bytes)?;
        }
        Some(items)
    }
}

/// The items alone: they end where the text does.
impl<T: Packed + Copy + Default, const N: usize> Packed for Recent<T, N> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.iter().for_each(|item| item.put(bytes));
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut items = Self::default();
        while !bytes.is_empty() {
            items.push(T::take(bytes)?);
        }
        Some(items)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 without padding (RFC 4648).
fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for digit in 0..=three.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

/// `None` if it isn't such a text.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| ALPHABET.iter().position(|letter| *letter == byte);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for byte in four {
            bits = bits << 6 | digit(*byte)?;
        }
        bits <<= 6 * (4 - four.len());
        let count = four.len().checked_sub(1).filter(|count| *count > 0)?;
        bytes.extend(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8][..count]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_text() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (&[0, 255, 254], "AP/+"),
        ] {
            assert_eq!(text_of(bytes), text);
            assert_eq!(bytes_of(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["A", "Zg=", "Zm9vY", "é"] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_come_back_and_what_are_none_does_not() {
        fn back<T: Packed>(text: &str) -> Option<T> {
            deserialize(de::value::StrDeserializer::<de::value::Error>::new(text)).ok()
        }
        let mut bytes = vec![];
        [[0.1_f32, -2.5], [f32::MIN_POSITIVE, 3e38]].put(&mut bytes);
        let text = text_of(&bytes);
        assert_eq!(back(&text), Some([[0.1_f32, -2.5], [f32::MIN_POSITIVE, 3e38]]));
        assert_eq!(back::<[f32; 3]>(&text), None);
        assert_eq!(back::<[f32; 5]>(&text), None);
        assert_eq!(back::<[f32; 1]>(&text_of(&f32::NAN.to_le_bytes())), None);
        let recent: Recent<u16, 3> = back(&text_of(&[1, 0, 2, 0, 3, 0, 4, 0])).unwrap();
        assert_eq!(*recent, [2, 3, 4]);
    }
}
