//! The one short way: a cell's line in its usual form. A third of all lines have it, and reading
//! them so brings a quarter of the time of all lines (docs/performance.md).

use crate::{CellNumber, Decimal, Millivolts};

/// Reads `07) T: 21, V: 3311`, with just as many digits and nothing behind them.
#[inline]
pub(crate) fn cell(input: &str) -> Option<(CellNumber, i16, Millivolts)> {
    let form: &[u8; 18] = input.as_bytes().try_into().ok()?;
    if form[2..7] != *b") T: " || form[9..14] != *b", V: " {
        return None;
    }
    let mut all_digits = true;
    let mut digit = |at: usize| {
        let digit = form[at].wrapping_sub(b'0');
        all_digits &= digit < 10;
        i64::from(digit)
    };
    let number = digit(0) * 10 + digit(1);
    let temperature = digit(7) * 10 + digit(8);
    let millivolts = digit(14) * 1000 + digit(15) * 100 + digit(16) * 10 + digit(17);
    if !all_digits {
        return None;
    }
    let cell = CellNumber::new(number as u8)?;
    Some((cell, temperature as i16, Millivolts(Decimal::new(millivolts, 0)?)))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use proptest::prelude::*;

    use super::*;
    use crate::value;

    proptest! {
        #[test]
        fn gives_what_the_long_way_gives(
            number in 0_u8..20,
            temperature in -9_i16..100,
            rest in "[0-9]{3,5}(\\.[0-9])?",
            spoilt in 0_usize..17,
            byte in "[ -~]",
        ) {
            let line = format!("{number:02}) T: {temperature:02}, V: {rest}");
            let mut spoilt_line = line.clone();
            spoilt_line.replace_range(spoilt..=spoilt, &byte);
            for line in [line, spoilt_line] {
                if let Some(usual) = cell(&line) {
                    let (_, any) = value::any_cell(&line).unwrap();
                    prop_assert_eq!(usual, any, "{:?}", line);
                }
            }
        }

        #[test]
        fn reads_every_cell(
            number in 1_u8..=16,
            temperature in 0_i16..100,
            millivolts in 0_i64..10_000,
        ) {
            let line = format!("{number:02}) T: {temperature:02}, V: {millivolts:04}");
            let voltage = Millivolts(Decimal::new(millivolts, 0).unwrap());
            let expected = (CellNumber::new(number).unwrap(), temperature, voltage);
            prop_assert_eq!(cell(&line), Some(expected));
        }
    }
}
