//! Parsers of the values behind the prefixes. Blanks in front of a value are skipped, and whatever
//! follows it is left over, a unit say.
//!
//! `nom::Err::Failure` is a malformed value, `nom::Err::Error` a line that only looked like one of
//! its kind: noise.

use nom::{
    IResult, Parser,
    bytes::complete::{tag, take_till1, take_until},
    combinator::cut,
    error::ErrorKind as NomKind,
};

use crate::{AdcChannel, CellNumber, Decimal, ErrorKind, Millivolts, ParseError, Salvage};

pub(crate) type Parsed<'a, T> = IResult<&'a str, T, Fault>;

/// A malformed value, while its place in the line isn't known yet.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: ErrorKind,
    /// Bytes of the line from the fault on.
    left: usize,
    pub(crate) salvage: Option<Salvage>,
}

impl Fault {
    #[cold]
    fn new(kind: ErrorKind, input: &str) -> Self {
        let kind = if input.is_empty() { ErrorKind::MissingValue } else { kind };
        Self { kind, left: input.len(), salvage: None }
    }

    #[cold]
    pub(crate) fn of(self, line: &str, prefix: &'static str) -> ParseError {
        let Self { kind, left, salvage } = self;
        ParseError { prefix, kind, offset: line.len() - left, salvage }
    }
}

impl nom::error::ParseError<&str> for Fault {
    /// nom's own parsers look for separators only, and for words.
    fn from_error_kind(input: &str, _: NomKind) -> Self {
        Self::new(ErrorKind::MissingSeparator, input)
    }

    fn append(_: &str, _: NomKind, other: Self) -> Self {
        other
    }
}

#[cold]
fn malformed<'a, T>(kind: ErrorKind, input: &str) -> Parsed<'a, T> {
    Err(nom::Err::Failure(Fault::new(kind, input)))
}

/// No value: the prefix says it all.
#[inline(always)]
pub(crate) fn nothing(input: &str) -> Parsed<'_, ()> {
    Ok((input, ()))
}

/// Whether what follows a prefix begins with a digit.
#[inline(always)]
pub(crate) fn begins_with_digit(input: &str) -> bool {
    input.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// A whole number; its fraction, if there is one, counts as what follows.
#[inline(always)]
pub(crate) fn whole<T: TryFrom<i64>>(input: &str) -> Parsed<'_, T> {
    let input = blanks(input);
    let bytes = input.as_bytes();
    let (start, negative) = sign(bytes);
    let (end, number) = digits(bytes, start, 0);
    let behind = match bytes.get(end) {
        Some(b'.') => digits(bytes, end + 1, 0).0,
        _ => end,
    };
    if end == start || is_garbled(&bytes[behind..]) {
        return malformed(ErrorKind::NotANumber, input);
    }
    match T::try_from(signed(number, negative)) {
        Ok(number) => Ok((&input[end..], number)),
        Err(_) => malformed(ErrorKind::OutOfRange, input),
    }
}

/// A number with or without a fraction.
#[inline(always)]
pub(crate) fn decimal(input: &str) -> Parsed<'_, Decimal> {
    let input = blanks(input);
    let bytes = input.as_bytes();
    let (start, negative) = sign(bytes);
    let (point, whole) = digits(bytes, start, 0);
    let (end, number, scale) = match bytes.get(point) {
        Some(b'.') => {
            let (end, number) = digits(bytes, point + 1, whole);
            (end, number, end - point - 1)
        }
        _ => (point, whole, 0),
    };
    let is_cut = end == start || (end > point && scale == 0);
    let rest = &bytes[end..];
    if is_cut || rest.first() == Some(&b'.') || is_garbled(rest) {
        return malformed(ErrorKind::NotANumber, input);
    }
    let number = signed(number, negative);
    match u8::try_from(scale).ok().and_then(|scale| Decimal::new(number, scale)) {
        Some(number) => Ok((&input[end..], number)),
        None => malformed(ErrorKind::OutOfRange, input),
    }
}

/// A voltage.
#[inline(always)]
pub(crate) fn millivolts(input: &str) -> Parsed<'_, Millivolts> {
    let (rest, number) = decimal(input)?;
    Ok((rest, Millivolts(number)))
}

/// A number of 32 bits in hexadecimal digits, with or without `0x` in front.
pub(crate) fn hexadecimal(input: &str) -> Parsed<'_, u32> {
    let input = blanks(input);
    let number = input.strip_prefix("0x").or_else(|| input.strip_prefix("0X")).unwrap_or(input);
    let end = number.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (digits, rest) = number.split_at(end);
    let is_hexadecimal = end > 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hexadecimal || is_garbled(rest.as_bytes()) {
        return malformed(ErrorKind::NotANumber, input);
    }
    match u32::from_str_radix(digits, 16) {
        Ok(number) => Ok((rest, number)),
        Err(_) => malformed(ErrorKind::OutOfRange, input),
    }
}

/// The text between two quotes.
pub(crate) fn quoted(input: &str) -> Parsed<'_, &str> {
    let input = blanks(input);
    let unquoted = |left| {
        let kind = ErrorKind::MissingQuote;
        nom::Err::Failure(Fault { kind, left, salvage: None })
    };
    let text = input.strip_prefix('"').ok_or_else(|| unquoted(input.len()))?;
    let (text, rest) = text.split_once('"').ok_or_else(|| unquoted(0))?;
    Ok((rest, text))
}

/// All of the line that is left, without blanks around it.
pub(crate) fn rest(input: &str) -> Parsed<'_, &str> {
    match input.trim() {
        "" => malformed(ErrorKind::MissingValue, ""),
        text => Ok(("", text)),
    }
}

/// The text up to the next blank.
pub(crate) fn first_word(input: &str) -> Parsed<'_, &str> {
    let input = blanks(input);
    cut(take_till1(char::is_whitespace)).parse(input)
}

/// `07) T: 21, V: 3311`
#[inline(always)]
pub(crate) fn cell(input: &str) -> Parsed<'_, (CellNumber, i16, Millivolts)> {
    if let Some(usual) = usual_cell(input.as_bytes()) {
        return Ok(("", usual));
    }
    let (values, number) = two_digits(input)?;
    let (values, ()) = literal(") T: ", values)?;
    let Some(cell) = CellNumber::new(number) else {
        return malformed(ErrorKind::OutOfRange, input);
    };
    let temperature = whole(values);
    let behind = temperature.as_ref().map_or(values, |(behind, _)| behind);
    let voltage = up_to(", V: ", behind).and_then(|(value, ())| millivolts(value));
    match (temperature, voltage) {
        (Ok((_, temperature)), Ok((rest, voltage))) => Ok((rest, (cell, temperature, voltage))),
        (Ok((_, temperature)), Err(fault)) => {
            // A number at the very end may have been cut off in its middle.
            let salvage = Salvage::CellTemperature { cell, temperature };
            Err(salvaged(fault, (!behind.is_empty()).then_some(salvage)))
        }
        (Err(fault), voltage) => {
            let voltage = voltage.ok();
            let salvage = voltage.map(|(_, voltage)| Salvage::CellVoltage { cell, voltage });
            Err(salvaged(fault, salvage))
        }
    }
}

/// The usual form, with just as many digits: a third of all lines have it.
#[inline(always)]
fn usual_cell(input: &[u8]) -> Option<(CellNumber, i16, Millivolts)> {
    let &[
        n1,
        n0,
        b')',
        b' ',
        b'T',
        b':',
        b' ',
        t1,
        t0,
        b',',
        b' ',
        b'V',
        b':',
        b' ',
        v3,
        v2,
        v1,
        v0,
    ] = input
    else {
        return None;
    };
    let mut all = true;
    let mut digit = |digit: u8| {
        let digit = digit.wrapping_sub(b'0');
        all &= digit < 10;
        digit
    };
    let number = digit(n1).wrapping_mul(10) + digit(n0);
    let celsius = digit(t1) * 10 + digit(t0);
    let millivolts = i64::from(digit(v3)) * 1000
        + i64::from(digit(v2)) * 100
        + i64::from(digit(v1)) * 10
        + i64::from(digit(v0));
    if !all {
        return None;
    }
    let voltage = Millivolts(Decimal::new(millivolts, 0)?);
    Some((CellNumber::new(number)?, i16::from(celsius), voltage))
}

#[cold]
fn salvaged(error: nom::Err<Fault>, salvage: Option<Salvage>) -> nom::Err<Fault> {
    error.map(|fault| Fault { salvage, ..fault })
}

/// `2]: 2002 = 1613.5`
#[inline(always)]
pub(crate) fn converter(input: &str) -> Parsed<'_, (AdcChannel, i32, Millivolts)> {
    let (end, number) = digits(input.as_bytes(), 0, 0);
    let (values, ()) = literal("]: ", &input[end..])?;
    if end == 0 {
        return Err(nom::Err::Error(Fault::new(ErrorKind::NotANumber, input)));
    }
    let Some(channel) = u8::try_from(number).ok().and_then(AdcChannel::new) else {
        return malformed(ErrorKind::OutOfRange, input);
    };
    let (rest, raw) = whole(values)?;
    let (rest, ()) = up_to(" = ", rest)?;
    let (rest, voltage) = millivolts(rest)?;
    Ok((rest, (channel, raw, voltage)))
}

/// A separator, and whatever stands in front of it.
#[inline(always)]
fn up_to<'a>(separator: &'static str, input: &'a str) -> Parsed<'a, ()> {
    #[cold]
    fn far<'a>(separator: &'static str, input: &'a str) -> Parsed<'a, ()> {
        cut((take_until(separator), tag(separator))).map(|_| ()).parse(input)
    }
    match input.strip_prefix(separator) {
        Some(rest) => Ok((rest, ())),
        None => far(separator, input),
    }
}

/// nom's `tag`, but compared in machine words.
#[inline(always)]
fn literal<'a>(text: &'static str, input: &'a str) -> Parsed<'a, ()> {
    match input.strip_prefix(text) {
        Some(rest) => Ok((rest, ())),
        None => Err(nom::Err::Error(Fault::new(ErrorKind::MissingSeparator, input))),
    }
}

#[inline(always)]
fn two_digits(input: &str) -> Parsed<'_, u8> {
    match input.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => {
            Ok((&input[2..], (tens - b'0') * 10 + (ones - b'0')))
        }
        _ => Err(nom::Err::Error(Fault::new(ErrorKind::NotANumber, input))),
    }
}

#[inline(always)]
fn blanks(input: &str) -> &str {
    match input.as_bytes() {
        [b' ' | b'\t', ..] => input.trim_start_matches([' ', '\t']),
        _ => input,
    }
}

/// Bytes of the sign, and whether it is a minus.
#[inline(always)]
fn sign(input: &[u8]) -> (usize, bool) {
    match input {
        [b'-', ..] => (1, true),
        [b'+', ..] => (1, false),
        _ => (0, false),
    }
}

#[inline(always)]
fn signed(number: u64, negative: bool) -> i64 {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    if negative { -number } else { number }
}

/// Goes on with `number` by the digits from `start` on; returns their end. A number that is too
/// large for any field stays that.
#[inline(always)]
fn digits(input: &[u8], start: usize, number: u64) -> (usize, u64) {
    let (mut end, mut longer) = (start, number);
    while let Some(digit @ b'0'..=b'9') = input.get(end) {
        longer = longer.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        end += 1;
    }
    // All of the first ones may have been zeros.
    if end > usize::from(Decimal::MAX_DIGITS) {
        longer = many_digits(&input[start..end], number);
    }
    (end, longer)
}

#[cold]
fn many_digits(digits: &[u8], number: u64) -> u64 {
    digits.iter().fold(number, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

/// Whether what follows digits shows that they are not the whole number: a byte that no firmware
/// prints, an exponent, or further digits after a character that doesn't end a number (a comma in
/// place of the point, say). Leaving that out would make it a wrong number.
#[inline(always)]
fn is_garbled(rest: &[u8]) -> bool {
    #[cold]
    fn by_what_follows(rest: &[u8]) -> bool {
        match rest {
            [first, ..] if first.is_ascii_control() && *first != b'\t' => true,
            [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] => true,
            [first, b'0'..=b'9', ..] => !matches!(first, b'\t' | b'(' | b'[' | b'/'),
            [b'x' | b'X', second, ..] if second.is_ascii_hexdigit() => true,
            _ => rest.starts_with("\u{FFFD}".as_bytes()),
        }
    }
    !matches!(rest, [] | [b' ', ..] | [b',', b' ', ..]) && by_what_follows(rest)
}
