use core::fmt;

/// A decimal number exactly as the battery wrote it.
///
/// It is kept as digits and their scale, so that nothing is rounded before somebody asks for a
/// float, and so that `Display` gives the wire form back.
///
/// ```
/// use bluenova_console::Decimal;
///
/// let current = Decimal::new(-4175, 2).unwrap();
/// assert_eq!(current.to_string(), "-41.75");
/// assert_eq!(current.to_f32(), -41.75);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: i64,
    scale: u8,
}

impl Decimal {
    /// Digits that a number may have in all, and behind the point; a battery writes ten at most.
    pub const MAX_DIGITS: u8 = 18;

    /// `digits` / 10^`scale`; `None` past [`MAX_DIGITS`](Self::MAX_DIGITS).
    pub const fn new(digits: i64, scale: u8) -> Option<Self> {
        if digits.unsigned_abs() < 10_u64.pow(Self::MAX_DIGITS as u32) && scale <= Self::MAX_DIGITS
        {
            Some(Self { digits, scale })
        } else {
            None
        }
    }

    /// The `f32` nearest to the number.
    #[inline]
    pub fn to_f32(self) -> f32 {
        nearest_f32(self.digits, self.scale)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.digits < 0 { "-" } else { "" };
        let unit = 10_u64.pow(u32::from(self.scale));
        let digits = self.digits.unsigned_abs();
        write!(f, "{sign}{}", digits / unit)?;
        if self.scale > 0 {
            write!(f, ".{:0width$}", digits % unit, width = usize::from(self.scale))?;
        }
        Ok(())
    }
}

/// A voltage as the console has it: in millivolts, with a fraction perhaps.
///
/// ```
/// use bluenova_console::{Decimal, Millivolts};
///
/// let cell = Millivolts(Decimal::new(3311, 0).unwrap());
/// assert_eq!(cell.volts(), 3.311);
/// assert_eq!(cell.to_string(), "3311");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Millivolts(pub Decimal);

impl Millivolts {
    /// The voltage in volts: the `f32` nearest to the decimal number.
    #[inline]
    pub fn volts(self) -> f32 {
        nearest_f32(self.0.digits, self.0.scale + 3)
    }
}

impl fmt::Display for Millivolts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As text, so that nothing is rounded.
#[cfg(feature = "serde")]
impl serde::Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The `f32` nearest to `digits` / 10^`power`; `power` is 21 at most.
#[inline]
fn nearest_f32(digits: i64, power: u8) -> f32 {
    const EXACT: i64 = 1 << f32::MANTISSA_DIGITS;
    const SMALL_POWERS: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

    // Both sides of this division are exact, so that it gives the nearest f32: every value that a
    // battery writes comes this way.
    if let Some(&divisor) = SMALL_POWERS.get(usize::from(power))
        && (-EXACT..=EXACT).contains(&digits)
    {
        return digits as i32 as f32 / divisor;
    }
    nearest_f32_of_many_digits(digits, power)
}

/// The same in whole numbers, for more digits than an `f32` holds exactly.
#[cold]
fn nearest_f32_of_many_digits(digits: i64, power: u8) -> f32 {
    if digits == 0 {
        return 0.0;
    }
    // 127 bits divided by 70 leave at least 57, more than twice what an f32 keeps, and the lowest
    // one shows whether anything was cut off behind it: rounding that to f32 is right.
    let dividend = u128::from(digits.unsigned_abs());
    let shift = dividend.leading_zeros() - 1;
    let dividend = dividend << shift;
    let divisor = 10_u128.pow(u32::from(power));
    let quotient = (dividend / divisor) | u128::from(dividend % divisor != 0);
    // Powers of two: neither this division nor the last conversion rounds.
    let magnitude = f64::from(quotient as f32) / (1_u128 << shift) as f64;
    let signed = if digits < 0 { -magnitude } else { magnitude };
    signed as f32
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{format, string::ToString};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_print_as_they_came() {
        for (digits, scale, text) in [
            (0, 0, "0"),
            (-5, 1, "-0.5"),
            (-4175, 2, "-41.75"),
            (150, 2, "1.50"),
            (7, 3, "0.007"),
            (999_999_999_999_999_999, 18, "0.999999999999999999"),
        ] {
            assert_eq!(Decimal::new(digits, scale).unwrap().to_string(), text);
        }
        assert_eq!(Decimal::new(1_000_000_000_000_000_000, 0), None);
        assert_eq!(Decimal::new(1, 19), None);
    }

    proptest! {
        // The standard library's parser is the oracle: it rounds right, for any number of digits.
        #[test]
        fn floats_are_the_nearest(
            digits in -999_999_999_999_999_999_i64..=999_999_999_999_999_999,
            cut in 0_u32..18,
            scale in 0_u8..=18,
        ) {
            let digits = digits / 10_i64.pow(cut);
            let number = Decimal::new(digits, scale).unwrap();
            let nearest: f32 = format!("{digits}e-{scale}").parse().unwrap();
            prop_assert_eq!(number.to_f32(), nearest);
            let nearest: f32 = format!("{number}e-3").parse().unwrap();
            prop_assert_eq!(Millivolts(number).volts(), nearest);
            prop_assert_eq!(nearest_f32_of_many_digits(digits, scale), number.to_f32());
        }

        #[test]
        fn every_plausible_voltage_is_the_nearest(
            millivolts in 0_i64..100_000,
            thousandths in 0_i64..1000,
        ) {
            let number = Decimal::new(millivolts * 1000 + thousandths, 3).unwrap();
            let nearest: f32 = format!("{number}e-3").parse().unwrap();
            prop_assert_eq!(Millivolts(number).volts(), nearest);
        }
    }
}
