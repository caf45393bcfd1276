//! The grammar. `Err::Error` of nom means "another kind of line", `Err::Failure` "this kind of
//! line, but malformed".

use nom::{
    Err, Finish, IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take, take_till1, take_until},
    character::complete::{alphanumeric0, digit1, space0},
    combinator::{cut, opt},
    error::ErrorKind as NomKind,
    sequence::{delimited, preceded},
};

use crate::{
    AdcChannel, CellNumber, Decimal, ErrorKind, Line, Millivolts, ParseError, Salvage,
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
pub fn parse(line: &str) -> Result<Line<'_>, ParseError> {
    let line = line.trim_end_matches(['\r', '\n']);
    match known(line) {
        Ok((_, parsed)) => Ok(parsed),
        Err(Err::Failure(fault)) => Err(ParseError {
            prefix: fault.prefix,
            kind: fault.kind,
            offset: line.len() - fault.left,
            salvage: fault.salvage,
        }),
        Err(_) => Ok(Line::Other(line)),
    }
}

type Parsed<'a, T> = IResult<&'a str, T, Fault>;

struct Fault {
    prefix: &'static str,
    kind: ErrorKind,
    /// Bytes of the line from the fault on.
    left: usize,
    salvage: Option<Salvage>,
}

impl Fault {
    fn new(kind: ErrorKind, input: &str) -> Self {
        Self { prefix: "", kind, left: input.len(), salvage: None }
    }
}

impl nom::error::ParseError<&str> for Fault {
    /// nom's own parsers look for separators only, and for words.
    fn from_error_kind(input: &str, _: NomKind) -> Self {
        let kind =
            if input.is_empty() { ErrorKind::MissingValue } else { ErrorKind::MissingSeparator };
        Self::new(kind, input)
    }

    fn append(_: &str, _: NomKind, other: Self) -> Self {
        other
    }
}

fn fault<T>(kind: ErrorKind, input: &str) -> Parsed<'_, T> {
    let kind = if input.is_empty() { ErrorKind::MissingValue } else { kind };
    Err(Err::Error(Fault::new(kind, input)))
}

fn known(line: &str) -> Parsed<'_, Line<'_>> {
    match line.as_bytes() {
        [b'C', b'0'..=b'9', ..] => cell(line),
        [b'V', b'c', ..] => alt((
            field(prefix::CELL_VOLTAGE_MAX, millivolts, Line::CellVoltageMax),
            field(prefix::CELL_VOLTAGE_MIN, millivolts, Line::CellVoltageMin),
        ))
        .parse(line),
        [b'V', ..] => alt((
            field(prefix::PACK_VOLTAGE, millivolts, Line::PackVoltage),
            field(prefix::ADC_PACK_VOLTAGE, millivolts, Line::AdcPackVoltage),
        ))
        .parse(line),
        [b'C', ..] => alt((
            field(prefix::PACK_CURRENT, decimal, Line::PackCurrent),
            field(prefix::CELL_COUNT, small_int, Line::CellCount),
            field(prefix::CHARGE_STATE, first_word, Line::ChargeState),
        ))
        .parse(line),
        [b'S', ..] => alt((
            field(prefix::STATE_OF_CHARGE, small_int, Line::StateOfCharge),
            field(prefix::STATE_OF_HEALTH, decimal, Line::StateOfHealth),
            field(prefix::SYSTEM_STATE, rest_of_line, Line::SystemState),
        ))
        .parse(line),
        [b'D', ..] => alt((
            adc,
            sign(prefix::CELL_READING_REJECTED, Line::CellReadingRejected),
            sign(prefix::ENERGY_ANNOUNCED, Line::EnergyAnnounced),
        ))
        .parse(line),
        [b'I', ..] => alt((
            sign(prefix::BAD_CRC, Line::BadCrc),
            sign(prefix::CELL_FRAME_UNPARSABLE, Line::CellFrameUnparsable),
        ))
        .parse(line),
        [b'T', ..] => field(prefix::PACK_TEMPERATURE, small_int, Line::PackTemperature)(line),
        [b'E', ..] => field(prefix::ERRORS, quoted, Line::Errors)(line),
        [b'B', ..] => field(prefix::BREAKER, rest_of_line, Line::Breaker)(line),
        [b'M', ..] => field(prefix::MCU_ID, hexadecimal, Line::McuId)(line),
        [b'W', ..] => field(prefix::ENERGY_WRITTEN, decimal, Line::EnergyWritten)(line),
        [b'-', ..] => field(prefix::UNIT_COUNT, small_int, Line::UnitCount)(line),
        [b'a', ..] => field(prefix::UNIT_RANK, small_int, Line::UnitRank)(line),
        _ => Ok(("", Line::Other(line))),
    }
}

/// A line of one value behind its prefix.
fn field<'a, T>(
    prefix: &'static str,
    value: fn(&'a str) -> Parsed<'a, T>,
    line: fn(T) -> Line<'a>,
) -> impl FnMut(&'a str) -> Parsed<'a, Line<'a>> {
    move |input| {
        preceded(tag(prefix), cut(preceded(space0, value)))
            .map(line)
            .parse(input)
            .map_err(|error| error.map(|fault| Fault { prefix, ..fault }))
    }
}

/// A line that is known by its start alone.
fn sign<'a>(
    prefix: &'static str,
    line: Line<'a>,
) -> impl Parser<&'a str, Output = Line<'a>, Error = Fault> {
    tag(prefix).map(move |_| line)
}

fn cell(line: &str) -> Parsed<'_, Line<'_>> {
    let (values, digits) =
        delimited(tag(prefix::CELL), take(2_usize), tag(infix::CELL_TEMPERATURE)).parse(line)?;
    let Ok(number) = digits.parse() else { return Ok(("", Line::Other(line))) };
    let malformed =
        |fault, salvage| Err(Err::Failure(Fault { prefix: prefix::CELL, salvage, ..fault }));
    let Some(cell) = CellNumber::new(number) else {
        return malformed(Fault::new(ErrorKind::OutOfRange, &line[prefix::CELL.len()..]), None);
    };

    let temperature = preceded(space0, small_int).parse(values).finish();
    let behind = temperature.as_ref().map_or(values, |(behind, _)| behind);
    let voltage = preceded((until(infix::CELL_VOLTAGE), space0), millivolts).parse(behind).finish();
    match (temperature, voltage) {
        (Ok((_, temperature)), Ok((rest, voltage))) => {
            Ok((rest, Line::Cell { cell, temperature, voltage }))
        }
        (Ok((_, temperature)), Err(fault)) => {
            // A number at the very end may have been cut off in its middle.
            let whole = !behind.is_empty();
            malformed(fault, whole.then_some(Salvage::CellTemperature { cell, temperature }))
        }
        (Err(fault), voltage) => {
            let voltage = voltage.ok();
            malformed(fault, voltage.map(|(_, voltage)| Salvage::CellVoltage { cell, voltage }))
        }
    }
}

fn adc(line: &str) -> Parsed<'_, Line<'_>> {
    let (values, number) = delimited(tag(prefix::ADC), digit1, tag(infix::ADC_RAW)).parse(line)?;
    let malformed = |fault| Err::Failure(Fault { prefix: prefix::ADC, ..fault });
    let Some(channel) = number.parse().ok().and_then(AdcChannel::new) else {
        return Err(malformed(Fault::new(ErrorKind::OutOfRange, &line[prefix::ADC.len()..])));
    };
    (preceded(space0, int), preceded((until(infix::ADC_VOLTAGE), space0), millivolts))
        .map(|(raw, voltage)| Line::Adc { channel, raw, voltage })
        .parse(values)
        .finish()
        .map_err(malformed)
}

/// Skips what follows a value, up to and including `separator`.
fn until<'a>(separator: &'static str) -> impl Parser<&'a str, Output = &'a str, Error = Fault> {
    alt((tag(separator), preceded(take_until(separator), tag(separator))))
}

fn small_int(input: &str) -> Parsed<'_, i16> {
    let (rest, number) = whole_number(input)?;
    number.try_into().map(|number| (rest, number)).or_else(|_| fault(ErrorKind::OutOfRange, input))
}

fn int(input: &str) -> Parsed<'_, i32> {
    let (rest, number) = whole_number(input)?;
    number.try_into().map(|number| (rest, number)).or_else(|_| fault(ErrorKind::OutOfRange, input))
}

fn millivolts(input: &str) -> Parsed<'_, Millivolts> {
    decimal.map(Millivolts).parse(input)
}

/// A whole number; its fraction, if there is one, counts as what follows.
fn whole_number(input: &str) -> Parsed<'_, i64> {
    let bytes = input.as_bytes();
    let (start, sign) = sign_of(bytes);
    let (end, number) = digits(bytes, start, 0);
    // The fraction is one of the things that may follow.
    let fraction = bytes.get(end) == Some(&b'.');
    let behind = if fraction { digits(bytes, end + 1, 0).0 } else { end };
    if end == start || is_garbled(bytes, behind) {
        return fault(ErrorKind::NotANumber, input);
    }
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    Ok((&input[end..], sign * number))
}

fn decimal(input: &str) -> Parsed<'_, Decimal> {
    let bytes = input.as_bytes();
    let (start, sign) = sign_of(bytes);
    let (point, number) = digits(bytes, start, 0);
    let (end, number, scale) = if bytes.get(point) == Some(&b'.') {
        let (end, number) = digits(bytes, point + 1, number);
        (end, number, end - point - 1)
    } else {
        (point, number, 0)
    };
    let has_digits = if end > point { scale > 0 } else { end > start };
    if !has_digits || bytes.get(end) == Some(&b'.') || is_garbled(bytes, end) {
        return fault(ErrorKind::NotANumber, input);
    }
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    u8::try_from(scale)
        .ok()
        .and_then(|scale| Decimal::new(sign * number, scale))
        .map_or_else(|| fault(ErrorKind::OutOfRange, input), |number| Ok((&input[end..], number)))
}

fn hexadecimal(input: &str) -> Parsed<'_, u32> {
    let (digits, _) = opt(alt((tag("0x"), tag("0X")))).parse(input)?;
    let (rest, digits) = alphanumeric0(digits)?;
    let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if digits.is_empty() || !hexadecimal || is_garbled(rest.as_bytes(), 0) {
        return fault(ErrorKind::NotANumber, input);
    }
    match digits.trim_start_matches('0') {
        "" => Ok((rest, 0)),
        digits => u32::from_str_radix(digits, 16)
            .map(|number| (rest, number))
            .or_else(|_| fault(ErrorKind::OutOfRange, input)),
    }
}

fn quoted(input: &str) -> Parsed<'_, &str> {
    let unquoted = |input| Err(Err::Error(Fault::new(ErrorKind::MissingQuote, input)));
    let Some(text) = input.strip_prefix('"') else { return unquoted(input) };
    text.split_once('"').map_or_else(|| unquoted(""), |(text, rest)| Ok((rest, text)))
}

fn rest_of_line(input: &str) -> Parsed<'_, &str> {
    let text = input.trim();
    if text.is_empty() { fault(ErrorKind::MissingValue, "") } else { Ok(("", text)) }
}

fn first_word(input: &str) -> Parsed<'_, &str> {
    take_till1(char::is_whitespace).parse(input)
}

/// Where the digits begin, and the sign in front of them.
fn sign_of(bytes: &[u8]) -> (usize, i64) {
    match bytes.first() {
        Some(b'-') => (1, -1),
        Some(b'+') => (1, 1),
        _ => (0, 1),
    }
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
