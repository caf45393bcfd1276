//! Digits, eight at a time, in the bytes of one machine word. This is where a parser of numbers
//! spends its time, and the only place where ours is clever: docs/performance.md says what that
//! brings. Whatever doesn't fit its forms is `None`, and goes the long way.

/// Digits at the start of some bytes, with a decimal point in front of the last ones perhaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digits {
    /// What they make without the point: below 100,000,000.
    pub(crate) number: i32,
    /// How many of them stand behind the point.
    pub(crate) scale: u8,
    /// Bytes that they take, the point included.
    pub(crate) len: usize,
}

impl Digits {
    /// Reads at most eight digits; a point ends them like anything else.
    #[inline(always)]
    pub(crate) fn whole(bytes: &[u8]) -> Option<Self> {
        let word = word(bytes);
        let len = count(word);
        if len == 0 || (len == WORD && bytes.len() > WORD) {
            return None;
        }
        Some(Self { number: value(word, len), scale: 0, len })
    }

    /// Reads at most seven digits, of which at least one stands in front of a point, and one
    /// behind it if there is one.
    #[inline(always)]
    pub(crate) fn decimal(bytes: &[u8]) -> Option<Self> {
        let word = word(bytes);
        let point = count(word);
        if point == 0 || point == WORD {
            return None;
        }
        let in_front = (1 << (8 * point)) - 1;
        let behind = word >> (8 * point);
        if behind as u8 != b'.' {
            return Some(Self { number: value(word, point), scale: 0, len: point });
        }
        // Closes the gap.
        let word = word & in_front | word >> 8 & !in_front;
        let digits = count(word);
        if digits == point || (digits == WORD - 1 && bytes.len() > WORD) {
            return None;
        }
        Some(Self { number: value(word, digits), scale: (digits - point) as u8, len: digits + 1 })
    }
}

/// The eight digits of `C07) T: 21, V: 3311`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellDigits {
    /// Two digits.
    pub(crate) number: u8,
    /// Two digits.
    pub(crate) temperature: i16,
    /// Four digits.
    pub(crate) millivolts: i32,
}

impl CellDigits {
    /// Reads a line of exactly this form.
    #[inline(always)]
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        const FORM: [Form; 3] =
            [Form::new(b"C..) T: "), Form::new(b".., V: ."), Form::new(b" V: ....")];

        // The third word overlaps the second one.
        let line: &[u8; 19] = line.try_into().ok()?;
        let words = [word(&line[..8]), word(&line[8..16]), word(&line[11..])];
        // Number and temperature, two digits each, in front of the four of the voltage.
        let digits = words[0] >> 8 & 0xFFFF | (words[1] & 0xFFFF) << 16 | words[2] >> 32 << 32;
        if !Form::fit(&FORM, &words) || count(digits) != WORD {
            return None;
        }
        let pairs = join_digits(digits ^ ZEROS);
        Some(Self {
            number: pairs as u8,
            temperature: (pairs >> 16) as u8 as i16,
            millivolts: (join_pairs(pairs) >> 32) as i32,
        })
    }
}

/// The ten digits of `DEBUG: ADC[2]: 2002 = 1613.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdcDigits {
    /// One digit.
    pub(crate) channel: u8,
    /// Four digits.
    pub(crate) raw: i32,
    /// Five digits, the last one of which stands behind the point.
    pub(crate) tenths_of_millivolts: i32,
}

impl AdcDigits {
    /// Reads a line of exactly this form.
    #[inline(always)]
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        const FORM: [Form; 4] = [
            Form::new(b"DEBUG: A"),
            Form::new(b"DC[.]: ."),
            Form::new(b"... = .."),
            Form::new(b"= ....!."),
        ];

        // The fourth word overlaps the third one.
        let line: &[u8; 28] = line.try_into().ok()?;
        let words = [word(&line[..8]), word(&line[8..16]), word(&line[16..24]), word(&line[20..])];
        // Four digits each.
        let digits = words[1] >> 56 | (words[2] & 0xFF_FFFF) << 8 | words[3] >> 16 << 32;
        let [channel, tenths] = [line[11], line[27]].map(|digit| digit.wrapping_sub(b'0'));
        if !Form::fit(&FORM, &words) || count(digits) != WORD || channel > 9 || tenths > 9 {
            return None;
        }
        let fours = join_pairs(join_digits(digits ^ ZEROS));
        let tenths_of_millivolts = (fours >> 32) as i32 * 10 + i32::from(tenths);
        Some(Self { channel, raw: fours as u32 as i32, tenths_of_millivolts })
    }
}

const WORD: usize = 8;

const ZEROS: u64 = u64::from_le_bytes(*b"00000000");

/// The first eight bytes, the very first one lowest, and zeros behind their end.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // They overlap, and agree where they do.
        let [first, last] = [first, last].map(|four| u64::from(u32::from_le_bytes(*four)));
        return first | last << (8 * (bytes.len() - 4));
    }
    match *bytes {
        [a, b, c] => u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]),
        [a, b] => u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]),
        [a] => u64::from(a),
        _ => 0,
    }
}

/// How many digits stand at the start.
#[inline(always)]
const fn count(word: u64) -> usize {
    // A digit is 0 to 9 now, and anything else more, so that the addition reaches the highest bit
    // in the others only. If it carries over, that is behind the first one of those.
    let values = word ^ ZEROS;
    let others = values.wrapping_add(0x7676_7676_7676_7676) | values;
    ((others & 0x8080_8080_8080_8080).trailing_zeros() / 8) as usize
}

/// The number that the first `len` digits make, 1 to 8 of them.
#[inline(always)]
const fn value(word: u64, len: usize) -> i32 {
    // The digits move to the end, with zeros in front.
    let fours = join_pairs(join_digits((word ^ ZEROS) << (8 * (WORD - len))));
    (fours.wrapping_mul(1 + (10_000 << 32)) >> 32) as i32
}

/// Each two neighbours of eight numbers below 10 become one below 100.
#[inline(always)]
const fn join_digits(digits: u64) -> u64 {
    digits.wrapping_mul(1 + (10 << 8)) >> 8 & 0x00FF_00FF_00FF_00FF
}

/// Each two neighbours of four numbers below 100 become one below 10,000.
#[inline(always)]
const fn join_pairs(pairs: u64) -> u64 {
    pairs.wrapping_mul(1 + (100 << 16)) >> 16 & 0x0000_FFFF_0000_FFFF
}

/// What the bytes of a word have to be; any byte does where a digit should stand.
struct Form {
    text: u64,
    mask: u64,
}

impl Form {
    /// `.` stands for a digit, and `!` for a point.
    const fn new(form: &[u8; WORD]) -> Self {
        let (mut text, mut mask) = (*form, [0xFF; WORD]);
        let mut at = 0;
        while at < WORD {
            match form[at] {
                b'.' => (text[at], mask[at]) = (0, 0),
                b'!' => text[at] = b'.',
                _ => {}
            }
            at += 1;
        }
        Self { text: u64::from_le_bytes(text), mask: u64::from_le_bytes(mask) }
    }

    /// Whether all fit; it takes less time to look at all than to stop at one.
    #[inline(always)]
    fn fit<const N: usize>(forms: &[Self; N], words: &[u64; N]) -> bool {
        let differences = forms.iter().zip(words).map(|(form, word)| word & form.mask ^ form.text);
        differences.fold(0, |all, difference| all | difference) == 0
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{format, string::String, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    /// The same, digit by digit.
    fn plainly(text: &str) -> Digits {
        let whole: String = text.chars().take_while(char::is_ascii_digit).collect();
        let fraction: String = match text[whole.len()..].strip_prefix('.') {
            Some(behind) => behind.chars().take_while(char::is_ascii_digit).collect(),
            None => String::new(),
        };
        Digits {
            number: format!("{whole}{fraction}").parse().unwrap(),
            scale: fraction.len().try_into().unwrap(),
            len: whole.len() + usize::from(text[whole.len()..].starts_with('.')) + fraction.len(),
        }
    }

    #[test]
    fn forms_that_go_the_long_way() {
        for text in ["", " 1", "-1", ".5", "x", "123456789"] {
            assert_eq!(Digits::whole(text.as_bytes()), None, "{text:?}");
            assert_eq!(Digits::decimal(text.as_bytes()), None, "{text:?}");
        }
        for text in ["1.", "1. ", "1.x", "1..5", "1234.56789", "12345678"] {
            assert_eq!(Digits::decimal(text.as_bytes()), None, "{text:?}");
        }
        for line in ["", "C07) T: 2, V: 3311", "C07) T: 21, V: 331x", "C07) T: 21; V: 3311"] {
            assert_eq!(CellDigits::read(line.as_bytes()), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn are_what_they_are_digit_by_digit(text in "[0-9]{1,7}([^0-9]\\PC{0,9})?") {
            let text: Vec<u8> = text.bytes().collect();
            let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = std::str::from_utf8(&text[..whole]).unwrap().parse().unwrap();
            prop_assert_eq!(Digits::whole(&text), Some(Digits { number, scale: 0, len: whole }));
        }

        #[test]
        fn with_a_point_too(text in "[0-9]{1,3}\\.[0-9]{1,3}([^0-9]\\PC{0,9})?") {
            prop_assert_eq!(Digits::decimal(text.as_bytes()), Some(plainly(&text)));
        }

        #[test]
        fn of_a_cell(number in 0_u8..100, temperature in 0_i16..100, millivolts in 0_i32..10_000) {
            let line = format!("C{number:02}) T: {temperature:02}, V: {millivolts:04}");
            let digits = CellDigits { number, temperature, millivolts };
            prop_assert_eq!(CellDigits::read(line.as_bytes()), Some(digits));
        }

        #[test]
        fn of_the_converter(channel in 0_u8..10, raw in 0_i32..10_000, tenths in 0_i32..100_000) {
            let (whole, tenth) = (tenths / 10, tenths % 10);
            let line = format!("DEBUG: ADC[{channel}]: {raw:04} = {whole:04}.{tenth}");
            let digits = AdcDigits { channel, raw, tenths_of_millivolts: tenths };
            prop_assert_eq!(AdcDigits::read(line.as_bytes()), Some(digits));
        }

        #[test]
        fn of_a_spoilt_converter(at in 0_usize..28, byte: u8) {
            let mut line = *b"DEBUG: ADC[2]: 2002 = 1613.5";
            let same_kind = line[at] == byte || (line[at].is_ascii_digit() && byte.is_ascii_digit());
            line[at] = byte;
            prop_assert_eq!(AdcDigits::read(&line).is_some(), same_kind);
        }

        #[test]
        fn of_a_spoilt_cell(at in 0_usize..19, byte: u8) {
            let mut line = *b"C07) T: 21, V: 3311";
            let same_kind = line[at] == byte || (line[at].is_ascii_digit() && byte.is_ascii_digit());
            line[at] = byte;
            prop_assert_eq!(CellDigits::read(&line).is_some(), same_kind);
        }
    }
}
