//! The grammar. A few bytes of each line tell which prefix it may have; it is compared with that one,
//! and read by the parser of its value. Most values have a short way for the forms that a battery
//! writes day in, day out, and a long way for everything else; both give the same where the short
//! one gives anything, which the tests below check.

use nom::{
    Finish, Parser,
    bytes::complete::{tag, take_till1, take_until},
    error::ErrorKind as NomKind,
};

use crate::{
    AdcChannel, CellNumber, Decimal, ErrorKind, Line, Millivolts, ParseError, Salvage,
    digits::{AdcDigits, CellDigits, last_whole},
    kind::Kind,
    line::{infix, prefix},
};

/// Parses one line of the console, without or with its line end.
///
/// A line counts only if a known prefix stands at its very start, to the letter; all others are
/// [`Line::Other`]. What follows the value, a unit say, is ignored: that goes for the fraction of
/// a whole number too.
///
/// # Errors
/// A malformed value behind a known prefix.
///
/// ```
/// use bluenova_console::{Line, parse};
///
/// assert_eq!(parse("SOC: 63 %\r\n"), Ok(Line::StateOfCharge(63)));
/// assert_eq!(parse("balancing done"), Ok(Line::Other("balancing done")));
/// assert!(parse("SOC: ??").is_err());
/// ```
#[inline]
pub fn parse(line: &str) -> Result<Line<'_>, ParseError> {
    let line = without_line_end(line);
    match usual_line(line) {
        Some(known) => Ok(known),
        None => any_line(line, &mut Nobody),
    }
}

/// Takes what a line says. The parser calls it where it knows which kind of line that is, so that
/// an inlined `match` on the kind costs nothing: done afterwards, it is a second branch that can be
/// mispredicted.
pub(crate) trait Take {
    fn take(&mut self, line: &Line<'_>);
}

struct Nobody;

impl Take for Nobody {
    #[inline(always)]
    fn take(&mut self, _: &Line<'_>) {}
}

#[inline(always)]
fn taken<'a>(line: Line<'a>, taker: &mut impl Take) -> Result<Line<'a>, ParseError> {
    taker.take(&line);
    Ok(line)
}

/// `C07) T: 21, V: 3311` with just as many digits: a third of all lines have this form.
#[inline(always)]
pub(crate) fn usual_line(line: &str) -> Option<Line<'static>> {
    let CellDigits { number, temperature, millivolts } = CellDigits::read(line.as_bytes())?;
    let voltage = Millivolts(Decimal::short(millivolts, 0));
    Some(Line::Cell { cell: CellNumber::new(number)?, temperature, voltage })
}

/// Returns the line of a number behind its prefix, if it is that. These are macros, since the
/// compiler doesn't always inline a parser that is passed as a function.
macro_rules! number {
    ($line:ident, $taker:ident, $prefix:ident, $value:ident, $known:ident) => {
        if $line.starts_with(prefix::$prefix) {
            return match $value($line.as_bytes(), prefix::$prefix.len()) {
                Ok(value) => taken(Line::$known(value), $taker),
                Err(fault) => malformed($line, prefix::$prefix, fault, None),
            };
        }
    };
}

/// Returns the line of a text behind its prefix, if it is that.
macro_rules! text {
    ($line:ident, $taker:ident, $prefix:ident, $value:ident, $known:ident) => {
        if let Some(input) = $line.strip_prefix(prefix::$prefix) {
            return match $value(text_behind_blanks(input)) {
                Ok(value) => taken(Line::$known(value), $taker),
                Err(fault) => malformed($line, prefix::$prefix, fault, None),
            };
        }
    };
}

/// Returns the line that is known by its start alone, if it is that.
macro_rules! sign {
    ($line:ident, $taker:ident, $prefix:ident, $known:ident) => {
        if $line.starts_with(prefix::$prefix) {
            return taken(Line::$known, $taker);
        }
    };
}

/// A line of any form, without its end. `taker` gets what is known, not noise.
#[inline(always)]
pub(crate) fn any_line<'a>(line: &'a str, taker: &mut impl Take) -> Result<Line<'a>, ParseError> {
    match Kind::of(line.as_bytes()) {
        Kind::McuId => number!(line, taker, MCU_ID, hexadecimal, McuId),
        Kind::UnitCount => number!(line, taker, UNIT_COUNT, small_int, UnitCount),
        Kind::UnitRank => number!(line, taker, UNIT_RANK, small_int, UnitRank),
        Kind::CellCount => number!(line, taker, CELL_COUNT, small_int, CellCount),
        Kind::PackVoltage => number!(line, taker, PACK_VOLTAGE, millivolts, PackVoltage),
        Kind::PackCurrent => number!(line, taker, PACK_CURRENT, decimal, PackCurrent),
        Kind::PackTemperature => number!(line, taker, PACK_TEMPERATURE, small_int, PackTemperature),
        Kind::CellVoltageMax => number!(line, taker, CELL_VOLTAGE_MAX, millivolts, CellVoltageMax),
        Kind::CellVoltageMin => number!(line, taker, CELL_VOLTAGE_MIN, millivolts, CellVoltageMin),
        Kind::StateOfCharge => number!(line, taker, STATE_OF_CHARGE, small_int, StateOfCharge),
        Kind::StateOfHealth => number!(line, taker, STATE_OF_HEALTH, decimal, StateOfHealth),
        Kind::Errors => text!(line, taker, ERRORS, quoted, Errors),
        Kind::SystemState => text!(line, taker, SYSTEM_STATE, rest_of_line, SystemState),
        Kind::Breaker => text!(line, taker, BREAKER, rest_of_line, Breaker),
        Kind::ChargeState => text!(line, taker, CHARGE_STATE, first_word, ChargeState),
        Kind::AdcPackVoltage => number!(line, taker, ADC_PACK_VOLTAGE, millivolts, AdcPackVoltage),
        Kind::Adc => {
            if let Some(adc) = usual_adc(line) {
                return taken(adc, taker);
            }
            if let Some(adc) = adc(line, taker) {
                return adc;
            }
        }
        Kind::BadCrc => sign!(line, taker, BAD_CRC, BadCrc),
        Kind::CellFrameUnparsable => sign!(line, taker, CELL_FRAME_UNPARSABLE, CellFrameUnparsable),
        Kind::CellReadingRejected => sign!(line, taker, CELL_READING_REJECTED, CellReadingRejected),
        Kind::EnergyAnnounced => sign!(line, taker, ENERGY_ANNOUNCED, EnergyAnnounced),
        Kind::EnergyWritten => number!(line, taker, ENERGY_WRITTEN, decimal, EnergyWritten),
        Kind::CellOrOther => {
            if let [b'C', b'0'..=b'9', ..] = line.as_bytes()
                && let Some(cell) = cell(line, taker)
            {
                return cell;
            }
        }
    }
    Ok(Line::Other(line))
}

/// What is left, and the value.
type Parsed<'a, T> = Result<(&'a [u8], T), Fault>;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Fault {
    kind: ErrorKind,
    /// Bytes of the line from the fault on.
    left: usize,
}

#[cold]
fn fault(kind: ErrorKind, input: &[u8]) -> Fault {
    let kind = if input.is_empty() { ErrorKind::MissingValue } else { kind };
    Fault { kind, left: input.len() }
}

impl<I: AsRef<[u8]>> nom::error::ParseError<I> for Fault {
    /// nom's own parsers look for separators only, and for words.
    fn from_error_kind(input: I, _: NomKind) -> Self {
        fault(ErrorKind::MissingSeparator, input.as_ref())
    }

    fn append(_: I, _: NomKind, other: Self) -> Self {
        other
    }
}

#[cold]
fn malformed<'a>(
    line: &str,
    prefix: &'static str,
    fault: Fault,
    salvage: Option<Salvage>,
) -> Result<Line<'a>, ParseError> {
    Err(ParseError { prefix, kind: fault.kind, offset: line.len() - fault.left, salvage })
}

/// A cell's line in any form; `None` is another line.
#[inline(never)]
fn cell<'a>(line: &'a str, taker: &mut impl Take) -> Option<Result<Line<'a>, ParseError>> {
    let [b'C', tens @ b'0'..=b'9', ones @ b'0'..=b'9', values @ ..] = line.as_bytes() else {
        return None;
    };
    let values = values.strip_prefix(infix::CELL_TEMPERATURE.as_bytes())?;
    let Some(cell) = CellNumber::new((tens - b'0') * 10 + (ones - b'0')) else {
        let fault = fault(ErrorKind::OutOfRange, &line.as_bytes()[prefix::CELL.len()..]);
        return Some(malformed(line, prefix::CELL, fault, None));
    };
    let temperature = any_small_int(without_blanks(values));
    let behind = temperature.as_ref().map_or(values, |(behind, _)| behind);
    let voltage = behind_separator(infix::CELL_VOLTAGE, behind).and_then(any_millivolts);
    Some(match (temperature, voltage) {
        (Ok((_, temperature)), Ok((_, voltage))) => {
            taken(Line::Cell { cell, temperature, voltage }, taker)
        }
        (Ok((_, temperature)), Err(fault)) => {
            // A number at the very end may have been cut off in its middle.
            let salvage = Salvage::CellTemperature { cell, temperature };
            malformed(line, prefix::CELL, fault, (!behind.is_empty()).then_some(salvage))
        }
        (Err(fault), voltage) => {
            let salvage = voltage.ok().map(|(_, voltage)| Salvage::CellVoltage { cell, voltage });
            malformed(line, prefix::CELL, fault, salvage)
        }
    })
}

/// `DEBUG: ADC[2]: 2002 = 1613.5` with one to four digits, and one behind the point.
#[inline(always)]
fn usual_adc(line: &str) -> Option<Line<'static>> {
    let AdcDigits { channel, raw, tenths_of_millivolts } = AdcDigits::read(line.as_bytes())?;
    let voltage = Millivolts(Decimal::short(tenths_of_millivolts, 1));
    Some(Line::Adc { channel: AdcChannel::new(channel)?, raw, voltage })
}

/// A line of the converter in any form; `None` is another line.
#[inline(never)]
fn adc<'a>(line: &'a str, taker: &mut impl Take) -> Option<Result<Line<'a>, ParseError>> {
    let input = line.strip_prefix(prefix::ADC)?.as_bytes();
    let (behind, number) = match *input {
        [digit @ b'0'..=b'9', ref behind @ ..] if behind.starts_with(b"]") => {
            (behind, u64::from(digit - b'0'))
        }
        _ => {
            let (end, number) = digits(input, 0, 0);
            (&input[end..], number)
        }
    };
    let values = behind.strip_prefix(infix::ADC_RAW.as_bytes())?;
    if behind.len() == input.len() {
        return None;
    }
    let Some(channel) = u8::try_from(number).ok().and_then(AdcChannel::new) else {
        return Some(malformed(line, prefix::ADC, fault(ErrorKind::OutOfRange, input), None));
    };
    Some(match raw_and_voltage(values) {
        Ok((raw, voltage)) => taken(Line::Adc { channel, raw, voltage }, taker),
        Err(fault) => malformed(line, prefix::ADC, fault, None),
    })
}

fn raw_and_voltage(values: &[u8]) -> Result<(i32, Millivolts), Fault> {
    let (behind, raw) = any_int(without_blanks(values))?;
    let (_, voltage) = any_millivolts(behind_separator(infix::ADC_VOLTAGE, behind)?)?;
    Ok((raw, voltage))
}

/// Where the value begins behind `separator`, whatever stands in front of that.
#[inline(always)]
fn behind_separator<'a>(separator: &'static str, input: &'a [u8]) -> Result<&'a [u8], Fault> {
    #[cold]
    fn far<'a>(separator: &'static str, input: &'a [u8]) -> Result<&'a [u8], Fault> {
        let (behind, _) = (take_until(separator), tag(separator)).parse(input).finish()?;
        Ok(behind)
    }

    match input.strip_prefix(separator.as_bytes()) {
        Some(behind) => Ok(without_blanks(behind)),
        None => far(separator, input).map(without_blanks),
    }
}

/// A whole number; its fraction, if there is one, counts as what follows.
#[inline(always)]
fn small_int(line: &[u8], at: usize) -> Result<i16, Fault> {
    let input = &line[at..];
    let (mut end, mut number) = (0, 0);
    // Four digits always fit.
    while let Some(digit @ b'0'..=b'9') = input.get(end)
        && end < 4
    {
        number = number * 10 + i16::from(digit - b'0');
        end += 1;
    }
    if end > 0 && is_plain(&input[end..]) {
        return Ok(number);
    }
    any_small_int(without_blanks(input)).map(|(_, number)| number)
}

#[inline(always)]
fn decimal(line: &[u8], at: usize) -> Result<Decimal, Fault> {
    let input = &line[at..];
    let negative = input.first() == Some(&b'-');
    let unsigned = &input[usize::from(negative)..];
    let (point, number) = few_digits(unsigned, 0, 0);
    let (end, number, scale) = match unsigned.get(point) {
        Some(b'.') => {
            let (end, number) = few_digits(unsigned, point + 1, number);
            (end, number, end - point - 1)
        }
        _ => (point, number, 0),
    };
    let has_digits = point > 0 && (end == point || scale > 0);
    if !has_digits || end > NINE_DIGITS || !is_plain(&unsigned[end..]) {
        return any_decimal(without_blanks(input)).map(|(_, number)| number);
    }
    Ok(Decimal::short(if negative { -number } else { number }, scale as u8))
}

#[inline(always)]
fn millivolts(line: &[u8], at: usize) -> Result<Millivolts, Fault> {
    match last_whole(line, at) {
        Some(number) => Ok(Millivolts(Decimal::short(number, 0))),
        None => decimal(line, at).map(Millivolts),
    }
}

/// So many always fit an `i32`.
const NINE_DIGITS: usize = 9;

/// Reads digits on from `at`; says where they end. The number is wrong if there are too many.
#[inline(always)]
fn few_digits(bytes: &[u8], mut at: usize, mut number: i32) -> (usize, i32) {
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        number = number.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
        at += 1;
    }
    (at, number)
}

/// Whether nothing follows a number, or one of the things that usually do.
#[inline(always)]
fn is_plain(rest: &[u8]) -> bool {
    matches!(rest, [] | [b' ', ..] | [b',', b' ', ..])
}

#[inline(never)]
fn any_small_int(input: &[u8]) -> Parsed<'_, i16> {
    let (rest, number) = any_whole_number(input)?;
    match i16::try_from(number) {
        Ok(number) => Ok((rest, number)),
        Err(_) => Err(fault(ErrorKind::OutOfRange, input)),
    }
}

fn any_int(input: &[u8]) -> Parsed<'_, i32> {
    let (rest, number) = any_whole_number(input)?;
    match i32::try_from(number) {
        Ok(number) => Ok((rest, number)),
        Err(_) => Err(fault(ErrorKind::OutOfRange, input)),
    }
}

fn any_millivolts(input: &[u8]) -> Parsed<'_, Millivolts> {
    any_decimal(input).map(|(rest, number)| (rest, Millivolts(number)))
}

/// A number of any length, whatever follows.
fn any_whole_number(input: &[u8]) -> Parsed<'_, i64> {
    let (unsigned, negative) = sign_of(input);
    let (end, number) = digits(unsigned, 0, 0);
    // The fraction is one of the things that may follow.
    let fraction = unsigned.get(end) == Some(&b'.');
    let behind = if fraction { digits(unsigned, end + 1, 0).0 } else { end };
    if end == 0 || is_garbled(unsigned, behind) {
        return Err(fault(ErrorKind::NotANumber, input));
    }
    Ok((&unsigned[end..], signed(number, negative)))
}

/// A number of any length, whatever follows.
#[inline(never)]
fn any_decimal(input: &[u8]) -> Parsed<'_, Decimal> {
    let (unsigned, negative) = sign_of(input);
    let (point, number) = digits(unsigned, 0, 0);
    let (end, number, scale) = if unsigned.get(point) == Some(&b'.') {
        let (end, number) = digits(unsigned, point + 1, number);
        (end, number, end - point - 1)
    } else {
        (point, number, 0)
    };
    let has_digits = if end > point { scale > 0 } else { end > 0 };
    if !has_digits || unsigned.get(end) == Some(&b'.') || is_garbled(unsigned, end) {
        return Err(fault(ErrorKind::NotANumber, input));
    }
    u8::try_from(scale)
        .ok()
        .and_then(|scale| Decimal::new(signed(number, negative), scale))
        .map(|number| (&unsigned[end..], number))
        .ok_or_else(|| fault(ErrorKind::OutOfRange, input))
}

#[inline(always)]
fn hexadecimal(line: &[u8], at: usize) -> Result<u32, Fault> {
    let input = &line[at..];
    if let Ok(eight) = <&[u8; 8]>::try_from(input)
        && let Some(number) = eight_hexadecimal(eight)
    {
        return Ok(number);
    }
    any_hexadecimal(without_blanks(input)).map(|(_, number)| number)
}

#[inline(always)]
fn eight_hexadecimal(digits: &[u8; 8]) -> Option<u32> {
    let mut number = 0;
    for &digit in digits {
        number = number << 4 | char::from(digit).to_digit(16)?;
    }
    Some(number)
}

#[cold]
fn any_hexadecimal(input: &[u8]) -> Parsed<'_, u32> {
    let digits = input.strip_prefix(b"0x").or_else(|| input.strip_prefix(b"0X")).unwrap_or(input);
    let end = digits.iter().take_while(|digit| digit.is_ascii_alphanumeric()).count();
    let (digits, rest) = digits.split_at(end);
    if digits.is_empty() || is_garbled(rest, 0) {
        return Err(fault(ErrorKind::NotANumber, input));
    }
    let mut number = 0_u64;
    for &digit in digits {
        let Some(digit) = char::from(digit).to_digit(16) else {
            return Err(fault(ErrorKind::NotANumber, input));
        };
        number = number.saturating_mul(16).saturating_add(digit.into());
    }
    match u32::try_from(number) {
        Ok(number) => Ok((rest, number)),
        Err(_) => Err(fault(ErrorKind::OutOfRange, input)),
    }
}

#[inline(always)]
fn quoted(input: &str) -> Result<&str, Fault> {
    let unquoted = |left| Fault { kind: ErrorKind::MissingQuote, left };
    let text = input.strip_prefix('"').ok_or_else(|| unquoted(input.len()))?;
    let end = text.bytes().position(|byte| byte == b'"').ok_or_else(|| unquoted(0))?;
    Ok(&text[..end])
}

#[inline(always)]
fn rest_of_line(input: &str) -> Result<&str, Fault> {
    match input.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] => Ok(input),
        _ => any_rest_of_line(input),
    }
}

#[cold]
fn any_rest_of_line(input: &str) -> Result<&str, Fault> {
    let text = input.trim();
    if text.is_empty() { Err(fault(ErrorKind::MissingValue, b"")) } else { Ok(text) }
}

#[inline(always)]
fn first_word(input: &str) -> Result<&str, Fault> {
    let bytes = input.as_bytes();
    match bytes.iter().position(|byte| !byte.is_ascii_graphic()) {
        None if !input.is_empty() => Ok(input),
        Some(end) if end > 0 && bytes[end] == b' ' => Ok(&input[..end]),
        _ => any_first_word(input),
    }
}

#[cold]
fn any_first_word(input: &str) -> Result<&str, Fault> {
    let (_, word) = take_till1(char::is_whitespace).parse(input).finish()?;
    Ok(word)
}

/// Looks at the last byte first, which nearly always spares it the search; the same goes for blanks
/// below.
#[inline(always)]
pub(crate) fn without_line_end(line: &str) -> &str {
    match line.as_bytes() {
        [.., b'\r' | b'\n'] => line.trim_end_matches(['\r', '\n']),
        _ => line,
    }
}

#[inline(always)]
fn text_behind_blanks(input: &str) -> &str {
    match input.as_bytes() {
        [b' ' | b'\t', ..] => input.trim_start_matches([' ', '\t']),
        _ => input,
    }
}

#[inline(always)]
fn without_blanks(input: &[u8]) -> &[u8] {
    match input {
        [b' ' | b'\t', behind @ ..] => {
            let blanks = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            &behind[blanks..]
        }
        _ => input,
    }
}

/// What stands behind the sign, and whether that is a minus.
#[inline(always)]
fn sign_of(bytes: &[u8]) -> (&[u8], bool) {
    match bytes {
        [b'-', unsigned @ ..] => (unsigned, true),
        [b'+', unsigned @ ..] => (unsigned, false),
        _ => (bytes, false),
    }
}

fn signed(number: u64, negative: bool) -> i64 {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    if negative { -number } else { number }
}

/// Reads digits on from `at`, saturating; says where they end.
fn digits(bytes: &[u8], mut at: usize, mut number: u64) -> (usize, u64) {
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        number = number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        at += 1;
    }
    (at, number)
}

/// Whether what stands at `at`, behind digits, shows that they are not the whole number: a byte that
/// no firmware prints, an exponent, or further digits after a character that doesn't end a number
/// (a comma in place of the point, say). Leaving that out would make it a wrong number.
fn is_garbled(bytes: &[u8], at: usize) -> bool {
    const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();
    match bytes.get(at..).unwrap_or_default() {
        [] | [b' ' | b'\t', ..] => false,
        [first, ..] if first.is_ascii_control() => true,
        [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] => true,
        [first, b'0'..=b'9', ..] => !matches!(first, b'(' | b'[' | b'/'),
        [b'x' | b'X', second, ..] if second.is_ascii_hexdigit() => true,
        rest => rest.starts_with(REPLACEMENT),
    }
}

/// What the short ways give, the long ways give too, errors included.
#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use proptest::prelude::*;

    use super::*;

    /// With the shortest one, a line may have less than eight bytes.
    const PREFIXES: [&str; 3] = ["SOC: ", "Vpack: ", "Write EnergyOut: "];

    const NUMBER: &str = r"[ \t]?[-+]?[0-9]{0,11}([.,][0-9]{0,9})?(\PC{0,3}|, x|e[-+]?5|x[0-9a-f])";

    fn long_way<'a, T>(
        input: &'a str,
        any: impl Fn(&'a [u8]) -> Parsed<'a, T>,
    ) -> Result<T, Fault> {
        any(without_blanks(input.as_bytes())).map(|(_, value)| value)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn of_numbers(value in NUMBER) {
            for prefix in PREFIXES {
                let line = format!("{prefix}{value}");
                let (line, at) = (line.as_bytes(), prefix.len());
                prop_assert_eq!(small_int(line, at), long_way(&value, any_small_int));
                prop_assert_eq!(decimal(line, at), long_way(&value, any_decimal));
                prop_assert_eq!(millivolts(line, at), long_way(&value, any_millivolts));
            }
        }

        #[test]
        fn of_hexadecimal_numbers(value in "[ \t]?(0x)?[0-9a-fA-F]{6,9}\\PC{0,2}") {
            let line = format!("{}{value}", prefix::MCU_ID);
            let number = hexadecimal(line.as_bytes(), prefix::MCU_ID.len());
            prop_assert_eq!(number, long_way(&value, any_hexadecimal));
        }

        #[test]
        fn of_texts(text in r"[ -~]{0,3}(\PC{0,6}|[ -~\t]{0,12})") {
            prop_assert_eq!(rest_of_line(&text), any_rest_of_line(&text));
            prop_assert_eq!(first_word(&text), any_first_word(&text));
        }

        #[test]
        fn of_cells(number in 0_u8..20, celsius in -20_i16..120, rest in r"[0-9]{3,5}(\.[0-9])?") {
            let line = format!("C{number:02}) T: {celsius:02}, V: {rest}");
            if let Some(usual) = usual_line(&line) {
                prop_assert_eq!(cell(&line, &mut Nobody), Some(Ok(usual)));
            }
        }

        #[test]
        fn of_the_converter(
            channel in 0_u8..12,
            raw in 0_i32..20_000,
            rest in r"[0-9]{0,5}(\.[0-9]{0,2})?",
        ) {
            let line = format!("{}{channel}]: {raw} = {rest}", prefix::ADC);
            if let Some(usual) = usual_adc(&line) {
                prop_assert_eq!(adc(&line, &mut Nobody), Some(Ok(usual)));
            }
        }
    }
}
