//! The grammar. A few bytes of each line tell which prefix it may have; it is compared with that one,
//! and read by the parser of its value.

use nom::{
    Finish, Parser,
    bytes::complete::{tag, take_till1, take_until},
    error::ErrorKind as NomKind,
};

use crate::{
    AdcChannel, CellNumber, Decimal, ErrorKind, Line, Millivolts, ParseError, Salvage,
    digits::{AdcDigits, CellDigits, Digits},
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
    ($line:ident, $taker:ident, $prefix:expr, $value:ident, $known:expr) => {
        if let Some(input) = $line.strip_prefix($prefix) {
            return match $value(without_blanks(input.as_bytes())) {
                Ok((_, value)) => taken($known(value), $taker),
                Err(fault) => malformed($line, $prefix, fault, None),
            };
        }
    };
}

/// Returns the line of a text behind its prefix, if it is that.
macro_rules! text {
    ($line:ident, $taker:ident, $prefix:expr, $value:ident, $known:expr) => {
        if let Some(input) = $line.strip_prefix($prefix) {
            return match $value(input.trim_start_matches([' ', '\t'])) {
                Ok(value) => taken($known(value), $taker),
                Err(fault) => malformed($line, $prefix, fault, None),
            };
        }
    };
}

/// Returns the line that is known by its start alone, if it is that.
macro_rules! sign {
    ($line:ident, $taker:ident, $prefix:expr, $known:expr) => {
        if $line.starts_with($prefix) {
            return taken($known, $taker);
        }
    };
}

/// A line of any form, without its end. `taker` gets what is known, not noise.
#[inline(always)]
pub(crate) fn any_line<'a>(line: &'a str, taker: &mut impl Take) -> Result<Line<'a>, ParseError> {
    match Kind::of(line.as_bytes()) {
        Kind::McuId => number!(line, taker, prefix::MCU_ID, hexadecimal, Line::McuId),
        Kind::UnitCount => number!(line, taker, prefix::UNIT_COUNT, small_int, Line::UnitCount),
        Kind::UnitRank => number!(line, taker, prefix::UNIT_RANK, small_int, Line::UnitRank),
        Kind::CellCount => number!(line, taker, prefix::CELL_COUNT, small_int, Line::CellCount),
        Kind::PackVoltage => {
            number!(line, taker, prefix::PACK_VOLTAGE, millivolts, Line::PackVoltage);
        }
        Kind::PackCurrent => number!(line, taker, prefix::PACK_CURRENT, decimal, Line::PackCurrent),
        Kind::PackTemperature => {
            number!(line, taker, prefix::PACK_TEMPERATURE, small_int, Line::PackTemperature);
        }
        Kind::CellVoltageMax => {
            number!(line, taker, prefix::CELL_VOLTAGE_MAX, millivolts, Line::CellVoltageMax);
        }
        Kind::CellVoltageMin => {
            number!(line, taker, prefix::CELL_VOLTAGE_MIN, millivolts, Line::CellVoltageMin);
        }
        Kind::StateOfCharge => {
            number!(line, taker, prefix::STATE_OF_CHARGE, small_int, Line::StateOfCharge);
        }
        Kind::StateOfHealth => {
            number!(line, taker, prefix::STATE_OF_HEALTH, decimal, Line::StateOfHealth);
        }
        Kind::Errors => text!(line, taker, prefix::ERRORS, quoted, Line::Errors),
        Kind::SystemState => {
            text!(line, taker, prefix::SYSTEM_STATE, rest_of_line, Line::SystemState);
        }
        Kind::Breaker => text!(line, taker, prefix::BREAKER, rest_of_line, Line::Breaker),
        Kind::ChargeState => {
            text!(line, taker, prefix::CHARGE_STATE, first_word, Line::ChargeState);
        }
        Kind::AdcPackVoltage => {
            number!(line, taker, prefix::ADC_PACK_VOLTAGE, millivolts, Line::AdcPackVoltage);
        }
        Kind::Adc => {
            if let Some(adc) = usual_adc(line) {
                return taken(adc, taker);
            }
            if let Some(adc) = adc(line) {
                return taken(adc?, taker);
            }
        }
        Kind::BadCrc => sign!(line, taker, prefix::BAD_CRC, Line::BadCrc),
        Kind::CellFrameUnparsable => {
            sign!(line, taker, prefix::CELL_FRAME_UNPARSABLE, Line::CellFrameUnparsable);
        }
        Kind::CellReadingRejected => {
            sign!(line, taker, prefix::CELL_READING_REJECTED, Line::CellReadingRejected);
        }
        Kind::EnergyAnnounced => {
            sign!(line, taker, prefix::ENERGY_ANNOUNCED, Line::EnergyAnnounced);
        }
        Kind::EnergyWritten => {
            number!(line, taker, prefix::ENERGY_WRITTEN, decimal, Line::EnergyWritten);
        }
        Kind::CellOrOther => {
            if let [b'C', b'0'..=b'9', ..] = line.as_bytes()
                && let Some(cell) = cell(line)
            {
                return taken(cell?, taker);
            }
        }
    }
    Ok(Line::Other(line))
}

/// What is left, and the value.
type Parsed<'a, T> = Result<(&'a [u8], T), Fault>;

#[derive(Clone, Copy)]
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
fn cell(line: &str) -> Option<Result<Line<'_>, ParseError>> {
    let [b'C', tens @ b'0'..=b'9', ones @ b'0'..=b'9', values @ ..] = line.as_bytes() else {
        return None;
    };
    let values = values.strip_prefix(infix::CELL_TEMPERATURE.as_bytes())?;
    let Some(cell) = CellNumber::new((tens - b'0') * 10 + (ones - b'0')) else {
        let fault = fault(ErrorKind::OutOfRange, &line.as_bytes()[prefix::CELL.len()..]);
        return Some(malformed(line, prefix::CELL, fault, None));
    };
    let temperature = small_int(without_blanks(values));
    let behind = temperature.as_ref().map_or(values, |(behind, _)| behind);
    let voltage = behind_separator(infix::CELL_VOLTAGE, behind).and_then(millivolts);
    Some(match (temperature, voltage) {
        (Ok((_, temperature)), Ok((_, voltage))) => Ok(Line::Cell { cell, temperature, voltage }),
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

/// `DEBUG: ADC[2]: 2002 = 1613.5` with just as many digits.
#[inline(always)]
fn usual_adc(line: &str) -> Option<Line<'static>> {
    let AdcDigits { channel, raw, tenths_of_millivolts } = AdcDigits::read(line.as_bytes())?;
    let voltage = Millivolts(Decimal::short(tenths_of_millivolts, 1));
    Some(Line::Adc { channel: AdcChannel::new(channel)?, raw, voltage })
}

/// A line of the converter in any form; `None` is another line.
#[inline(never)]
fn adc(line: &str) -> Option<Result<Line<'_>, ParseError>> {
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
        Ok((raw, voltage)) => Ok(Line::Adc { channel, raw, voltage }),
        Err(fault) => malformed(line, prefix::ADC, fault, None),
    })
}

#[inline(always)]
fn raw_and_voltage(values: &[u8]) -> Result<(i32, Millivolts), Fault> {
    let (behind, raw) = int(without_blanks(values))?;
    let (_, voltage) = millivolts(behind_separator(infix::ADC_VOLTAGE, behind)?)?;
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

#[inline(always)]
fn small_int(input: &[u8]) -> Parsed<'_, i16> {
    let (rest, number) = whole_number(input)?;
    match i16::try_from(number) {
        Ok(number) => Ok((rest, number)),
        Err(_) => Err(fault(ErrorKind::OutOfRange, input)),
    }
}

#[inline(always)]
fn int(input: &[u8]) -> Parsed<'_, i32> {
    let (rest, number) = whole_number(input)?;
    match i32::try_from(number) {
        Ok(number) => Ok((rest, number)),
        Err(_) => Err(fault(ErrorKind::OutOfRange, input)),
    }
}

#[inline(always)]
fn millivolts(input: &[u8]) -> Parsed<'_, Millivolts> {
    let (rest, number) = decimal(input)?;
    Ok((rest, Millivolts(number)))
}

/// A whole number; its fraction, if there is one, counts as what follows.
#[inline(always)]
fn whole_number(input: &[u8]) -> Parsed<'_, i64> {
    let (unsigned, negative) = sign_of(input);
    if let Some(Digits { number, len, .. }) = Digits::whole(unsigned)
        && let Some(rest) = plain_rest(unsigned, len)
    {
        let number = i64::from(number);
        return Ok((rest, if negative { -number } else { number }));
    }
    any_whole_number(input)
}

#[inline(always)]
fn decimal(input: &[u8]) -> Parsed<'_, Decimal> {
    let (unsigned, negative) = sign_of(input);
    if let Some(Digits { number, scale, len }) = Digits::decimal(unsigned)
        && let Some(rest) = plain_rest(unsigned, len)
    {
        let number = if negative { -number } else { number };
        return Ok((rest, Decimal::short(number, scale)));
    }
    any_decimal(input)
}

/// What follows a number, if that is nothing or one of the things that usually do.
#[inline(always)]
fn plain_rest(bytes: &[u8], at: usize) -> Option<&[u8]> {
    match bytes.get(at..)? {
        rest @ ([] | [b' ', ..] | [b',', b' ', ..]) => Some(rest),
        _ => None,
    }
}

/// A number of any length, whatever follows.
#[cold]
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
#[cold]
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
fn hexadecimal(input: &[u8]) -> Parsed<'_, u32> {
    if let Ok(eight) = <&[u8; 8]>::try_from(input)
        && let Some(number) = eight_hexadecimal(eight)
    {
        return Ok((&[], number));
    }
    any_hexadecimal(input)
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

fn quoted(input: &str) -> Result<&str, Fault> {
    let unquoted = |left| Fault { kind: ErrorKind::MissingQuote, left };
    let text = input.strip_prefix('"').ok_or_else(|| unquoted(input.len()))?;
    let (text, _) = text.split_once('"').ok_or_else(|| unquoted(0))?;
    Ok(text)
}

fn rest_of_line(input: &str) -> Result<&str, Fault> {
    let text = input.trim();
    if text.is_empty() { Err(fault(ErrorKind::MissingValue, b"")) } else { Ok(text) }
}

fn first_word(input: &str) -> Result<&str, Fault> {
    let (_, word) = take_till1(char::is_whitespace).parse(input).finish()?;
    Ok(word)
}

/// Looks at the last byte first, which nearly always spares it the search.
#[inline(always)]
pub(crate) fn without_line_end(line: &str) -> &str {
    match line.as_bytes() {
        [.., b'\r' | b'\n'] => line.trim_end_matches(['\r', '\n']),
        _ => line,
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
