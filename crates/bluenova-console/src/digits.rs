//! Digits, eight at a time, in the bytes of one machine word. This is where a parser of numbers
//! spends its time; docs/performance.md says what the cleverness brings. It pays from four digits on;
//! fewer, and the few numbers with a point, are read one by one. Whatever doesn't fit the forms here
//! is `None`, and goes the long way.

/// The whole number without a sign that stands from `at` to the end of a line: one to eight digits.
#[inline(always)]
pub(crate) fn last_whole(line: &[u8], at: usize) -> Option<i32> {
    let len = line.get(at..)?.len();
    if len == 0 || len > WORD {
        return None;
    }
    // What stands in front of the digits becomes zeros.
    let in_front = 8 * (WORD - len);
    let digits = (last_word(line)? ^ ZEROS) >> in_front << in_front;
    if others(digits) != 0 {
        return None;
    }
    let fours = join_pairs(join_digits(digits));
    Some((fours.wrapping_mul(1 + (10_000 << 32)) >> 32) as i32)
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

        // The length alone would tell it from most others, but not always from noise, and noise
        // can't be foreseen.
        if line.first() != Some(&b'C') {
            return None;
        }
        // The third word overlaps the second one.
        let line: &[u8; 19] = line.try_into().ok()?;
        let words = [word(line, 0), word(line, 8), word(line, 11)];
        // Number and temperature, two digits each, in front of the four of the voltage.
        let digits = words[0] >> 8 & 0xFFFF | (words[1] & 0xFFFF) << 16 | words[2] >> 32 << 32;
        let digits = digits ^ ZEROS;
        if !Form::fit(&FORM, &words) || others(digits) != 0 {
            return None;
        }
        let pairs = join_digits(digits);
        Some(Self {
            number: pairs as u8,
            temperature: (pairs >> 16) as u8 as i16,
            millivolts: (join_pairs(pairs) >> 32) as i32,
        })
    }
}

/// The digits of `DEBUG: ADC[2]: 2002 = 1613.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdcDigits {
    /// One digit; whatever else stood in its place is above 9.
    pub(crate) channel: u8,
    /// One to four digits.
    pub(crate) raw: i32,
    /// Two to five digits, the last one of which stands behind the point.
    pub(crate) tenths_of_millivolts: i32,
}

impl AdcDigits {
    /// Reads a line of this form with nothing behind it.
    #[inline(always)]
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        const START: [Form; 2] = [Form::new(b"DEBUG: A"), Form::new(b"DC[.]: .")];
        const CHANNEL: usize = 11;
        const RAW: usize = 15;
        const BETWEEN: u64 = (u32::from_le_bytes(*b" = 0") ^ ZEROS as u32) as u64;
        const POINT: u8 = b'.' ^ b'0';

        let start: &[u8; RAW + WORD] = line.first_chunk()?;
        let words = [word(start, 0), word(start, 8)];
        let raw = word(start, RAW) ^ ZEROS;
        let raw_len = (others(raw).trailing_zeros() / 8) as usize;
        let whole_len = line.len().wrapping_sub(RAW + raw_len + " = ".len() + ".5".len());
        if !(1..=4).contains(&raw_len) || !(1..=4).contains(&whole_len) {
            return None;
        }
        let between = raw >> (8 * raw_len) & 0xFF_FFFF;
        let end = last_word(line)? ^ ZEROS;
        let [.., point, tenth] = end.to_le_bytes();
        // Four digits each, with zeros in front.
        let raw = (raw as u32) << (8 * (4 - raw_len));
        let in_front = 8 * (4 - whole_len);
        let whole = (end >> 16) as u32 >> in_front << in_front;
        let digits = u64::from(raw) | u64::from(whole) << 32;
        let fits = Form::fit(&START, &words) && between == BETWEEN && point == POINT;
        if !fits || tenth > 9 || others(digits) != 0 {
            return None;
        }
        let fours = join_pairs(join_digits(digits));
        Some(Self {
            channel: start[CHANNEL].wrapping_sub(b'0'),
            raw: fours as u32 as i32,
            tenths_of_millivolts: (fours >> 32) as i32 * 10 + i32::from(tenth),
        })
    }
}

const WORD: usize = 8;

const ZEROS: u64 = u64::from_le_bytes(*b"00000000");

/// Eight bytes from `at` on, the very first one lowest.
#[inline(always)]
fn word<const N: usize>(line: &[u8; N], at: usize) -> u64 {
    line[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// The last eight bytes.
#[inline(always)]
fn last_word(line: &[u8]) -> Option<u64> {
    line.last_chunk().map(|eight| u64::from_le_bytes(*eight))
}

/// The highest bit of each byte that is not the value of a digit, and no other bits.
#[inline(always)]
const fn others(word: u64) -> u64 {
    // What is more than 9 reaches the highest bit, by the addition if not before. Where that carries
    // over, it spoils bytes behind the first such one only.
    (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080
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
    /// `.` stands for a digit.
    const fn new(form: &[u8; WORD]) -> Self {
        let (mut text, mut mask) = (*form, [0xFF; WORD]);
        let mut at = 0;
        while at < WORD {
            if form[at] == b'.' {
                (text[at], mask[at]) = (0, 0);
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
    use std::format;

    use proptest::prelude::*;

    use super::*;

    fn is_still_read_if_spoilt<const N: usize>(mut line: [u8; N], at: usize, byte: u8) -> bool {
        let same = line[at] == byte || (line[at].is_ascii_digit() && byte.is_ascii_digit());
        line[at] = byte;
        let is_read = CellDigits::read(&line).is_some() || AdcDigits::read(&line).is_some();
        same == is_read
    }

    #[test]
    fn forms_that_go_the_long_way() {
        for line in ["Vpack: ", "Vpack:  53017", "Vpack: -53017", "Vpack: 53.17", "Vpack: 53017 mV"]
        {
            assert_eq!(last_whole(line.as_bytes(), "Vpack: ".len()), None, "{line:?}");
        }
        for (line, at) in [("", 0), ("", 1), ("1234567", 0), ("123456789", 0), ("12345678", 9)] {
            assert_eq!(last_whole(line.as_bytes(), at), None, "{line:?}");
        }
        for line in ["", "C07) T: 2, V: 3311", "C07) T: 21, V: 331x", "C07) T: 21; V: 3311"] {
            assert_eq!(CellDigits::read(line.as_bytes()), None, "{line:?}");
        }
        for line in [
            "",
            "DEBUG: ADC[2]: 9 = 2.5",
            "DEBUG: ADC[2]: 20022 = 1613.5",
            "DEBUG: ADC[2]: 2002 = 11613.5",
            "DEBUG: ADC[2]: 2002 = 1613.55",
            "DEBUG: ADC[2]: 2002 = 1613",
            "DEBUG: ADC[2]: 2002 = .5",
            "DEBUG: ADC[2]:  = 1613.5",
            "DEBUG: ADC[2]: 2002 = -613.5",
            "DEBUG: ADC[2]: 2002 = 1613.5 ",
            "DEBUG: ADC[22]: 2002 = 1613.5",
        ] {
            assert_eq!(AdcDigits::read(line.as_bytes()), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn at_the_end_of_a_line(
            number in 0_i32..100_000_000,
            width in 1_usize..9,
            prefix in "[ -~]{7,9}",
        ) {
            let line = format!("{prefix}{number:0width$}");
            prop_assert_eq!(last_whole(line.as_bytes(), prefix.len()), Some(number));
        }

        #[test]
        fn of_a_cell(number in 0_u8..100, temperature in 0_i16..100, millivolts in 0_i32..10_000) {
            let line = format!("C{number:02}) T: {temperature:02}, V: {millivolts:04}");
            let digits = CellDigits { number, temperature, millivolts };
            prop_assert_eq!(CellDigits::read(line.as_bytes()), Some(digits));
        }

        #[test]
        fn of_the_converter(
            channel in 0_u8..10,
            raw in 0_i32..10_000,
            tenths in 0_i32..100_000,
            (raw_width, width) in (2_usize..5, 1_usize..5),
        ) {
            let (whole, tenth) = (tenths / 10, tenths % 10);
            let line = format!("DEBUG: ADC[{channel}]: {raw:0raw_width$} = {whole:0width$}.{tenth}");
            let digits = AdcDigits { channel, raw, tenths_of_millivolts: tenths };
            prop_assert_eq!(AdcDigits::read(line.as_bytes()), Some(digits));
        }

        #[test]
        fn of_a_spoilt_converter(at in 0_usize..27, byte: u8) {
            // The channel's digit is for others to check.
            prop_assume!(at != 11);
            prop_assert!(is_still_read_if_spoilt(*b"DEBUG: ADC[2]: 202 = 1613.5", at, byte));
        }

        #[test]
        fn of_a_spoilt_cell(at in 0_usize..19, byte: u8) {
            prop_assert!(is_still_read_if_spoilt(*b"C07) T: 21, V: 3311", at, byte));
        }
    }
}
