//! Parsers of the values behind the prefixes. Each skips blanks in front of its value, and leaves
//! what follows it, a unit say.
//!
//! A malformed value is `nom::Err::Failure`. `nom::Err::Error` is a line that only looked like one
//! of its kind: noise.

use nom::{
    IResult, Parser,
    bytes::complete::{tag, take_till1, take_until},
    combinator::cut,
    error::ErrorKind as NomKind,
    sequence::{preceded, terminated},
};

use crate::{AdcChannel, CellNumber, Decimal, ErrorKind, Millivolts, ParseError, Salvage, usual};

pub(crate) type Parsed<'a, T> = IResult<&'a str, T, Fault>;

/// What is wrong with a value, counted from the end of the line: a parser doesn't see its start.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: ErrorKind,
    /// Bytes of the line from the fault on.
    left: usize,
    pub(crate) salvage: Option<Salvage>,
}

impl Fault {
    #[cold]
    pub(crate) fn of(self, line: &str, prefix: &'static str) -> ParseError {
        let Self { kind, left, salvage } = self;
        ParseError { prefix, kind, offset: line.len() - left, salvage }
    }
}

impl nom::error::ParseError<&str> for Fault {
    /// nom's own parsers look for separators only, and for words.
    fn from_error_kind(input: &str, _: NomKind) -> Self {
        fault(ErrorKind::MissingSeparator, input)
    }

    fn append(_: &str, _: NomKind, other: Self) -> Self {
        other
    }
}

#[cold]
fn fault(kind: ErrorKind, input: &str) -> Fault {
    let kind = if input.is_empty() { ErrorKind::MissingValue } else { kind };
    Fault { kind, left: input.len(), salvage: None }
}

#[cold]
fn malformed<'a, T>(kind: ErrorKind, input: &str) -> Parsed<'a, T> {
    Err(nom::Err::Failure(fault(kind, input)))
}

/// No value: the prefix is the whole meaning.
pub(crate) fn nothing(input: &str) -> Parsed<'_, ()> {
    Ok((input, ()))
}

/// Whether a digit follows the prefix.
pub(crate) fn digit_follows(input: &str) -> bool {
    input.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// A whole number; its fraction, if there is one, counts as what follows.
pub(crate) fn whole<T: TryFrom<i64>>(input: &str) -> Parsed<'_, T> {
    let input = skip_blanks(input);
    let bytes = input.as_bytes();
    let (start, is_negative) = sign(bytes);
    let (end, number) = digits(bytes, start, 0);
    let behind = match bytes.get(end) {
        Some(b'.') => digits(bytes, end + 1, 0).0,
        _ => end,
    };
    if end == start || is_garbled(&bytes[behind..]) {
        return malformed(ErrorKind::NotANumber, input);
    }
    match T::try_from(signed(number, is_negative)) {
        Ok(number) => Ok((&input[end..], number)),
        Err(_) => malformed(ErrorKind::OutOfRange, input),
    }
}

/// A number with or without a fraction.
pub(crate) fn decimal(input: &str) -> Parsed<'_, Decimal> {
    let input = skip_blanks(input);
    let bytes = input.as_bytes();
    let (start, is_negative) = sign(bytes);
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
    let scale = u8::try_from(scale).unwrap_or(u8::MAX);
    match Decimal::new(signed(number, is_negative), scale) {
        Some(number) => Ok((&input[end..], number)),
        None => malformed(ErrorKind::OutOfRange, input),
    }
}

/// A voltage.
pub(crate) fn millivolts(input: &str) -> Parsed<'_, Millivolts> {
    let (rest, number) = decimal(input)?;
    Ok((rest, Millivolts(number)))
}

/// A number of 32 bits in hexadecimal digits, with or without `0x` in front.
pub(crate) fn hexadecimal(input: &str) -> Parsed<'_, u32> {
    let input = skip_blanks(input);
    let digits = input.strip_prefix("0x").or_else(|| input.strip_prefix("0X")).unwrap_or(input);
    let end = digits.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (digits, rest) = digits.split_at(end);
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
    let input = skip_blanks(input);
    let missing_quote = |left| {
        let kind = ErrorKind::MissingQuote;
        nom::Err::Failure(Fault { kind, left, salvage: None })
    };
    let text = input.strip_prefix('"').ok_or_else(|| missing_quote(input.len()))?;
    let (text, rest) = text.split_once('"').ok_or_else(|| missing_quote(0))?;
    Ok((rest, text))
}

/// The rest of the line, without blanks around it.
pub(crate) fn rest(input: &str) -> Parsed<'_, &str> {
    match input.trim() {
        "" => malformed(ErrorKind::MissingValue, ""),
        text => Ok(("", text)),
    }
}

/// The text up to the next blank.
pub(crate) fn first_word(input: &str) -> Parsed<'_, &str> {
    cut(take_till1(char::is_whitespace)).parse(skip_blanks(input))
}

/// `07) T: 21, V: 3311`
#[inline(always)]
pub(crate) fn cell(input: &str) -> Parsed<'_, (CellNumber, i16, Millivolts)> {
    match usual::cell(input) {
        Some(cell) => Ok(("", cell)),
        None => any_cell(input),
    }
}

pub(crate) fn any_cell(input: &str) -> Parsed<'_, (CellNumber, i16, Millivolts)> {
    let (values, number) = terminated(two_digits, tag(") T: ")).parse(input)?;
    let Some(cell) = CellNumber::new(number) else {
        return malformed(ErrorKind::OutOfRange, input);
    };
    let temperature = whole(values);
    let behind = temperature.as_ref().map_or(values, |(behind, _)| behind);
    let voltage = preceded(separator(", V: "), millivolts).parse(behind);
    match (temperature, voltage) {
        (Ok((_, temperature)), Ok((rest, voltage))) => Ok((rest, (cell, temperature, voltage))),
        (Ok((_, temperature)), Err(fault)) => {
            // A number at the very end may have been cut off in its middle.
            let salvage = Salvage::CellTemperature { cell, temperature };
            Err(salvaging((!behind.is_empty()).then_some(salvage), fault))
        }
        (Err(fault), voltage) => {
            let voltage = voltage.ok();
            let salvage = voltage.map(|(_, voltage)| Salvage::CellVoltage { cell, voltage });
            Err(salvaging(salvage, fault))
        }
    }
}

#[cold]
fn salvaging(salvage: Option<Salvage>, error: nom::Err<Fault>) -> nom::Err<Fault> {
    error.map(|fault| Fault { salvage, ..fault })
}

/// `2]: 2002 = 1613.5`
#[inline(always)]
pub(crate) fn converter(input: &str) -> Parsed<'_, (AdcChannel, i32, Millivolts)> {
    let (end, number) = digits(input.as_bytes(), 0, 0);
    let (values, _) = tag("]: ").parse(&input[end..])?;
    let Some(channel) = u8::try_from(number).ok().and_then(AdcChannel::new) else {
        return malformed(ErrorKind::OutOfRange, input);
    };
    let (rest, raw) = whole(values)?;
    let (rest, ()) = separator(" = ").parse(rest)?;
    let (rest, voltage) = millivolts(rest)?;
    Ok((rest, (channel, raw, voltage)))
}

/// The separator of two values, and whatever stands in front of it.
fn separator<'a>(text: &'static str) -> impl Parser<&'a str, Output = (), Error = Fault> {
    #[cold]
    fn search<'a>(text: &'static str, input: &'a str) -> Parsed<'a, ()> {
        cut((take_until(text), tag(text))).map(|_| ()).parse(input)
    }
    move |input: &'a str| match input.strip_prefix(text) {
        Some(rest) => Ok((rest, ())),
        None => search(text, input),
    }
}

fn two_digits(input: &str) -> Parsed<'_, u8> {
    match input.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => {
            Ok((&input[2..], (tens - b'0') * 10 + (ones - b'0')))
        }
        _ => Err(nom::Err::Error(fault(ErrorKind::NotANumber, input))),
    }
}

/// Looks at the first byte before it searches: hardly a line has more blanks.
fn skip_blanks(input: &str) -> &str {
    match input.as_bytes() {
        [b' ' | b'\t', ..] => input.trim_start_matches([' ', '\t']),
        _ => input,
    }
}

/// Length of the sign, and whether it is a minus.
fn sign(input: &[u8]) -> (usize, bool) {
    match input {
        [b'-', ..] => (1, true),
        [b'+', ..] => (1, false),
        _ => (0, false),
    }
}

fn signed(number: u64, is_negative: bool) -> i64 {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    if is_negative { -number } else { number }
}

/// Reads digits from `start` on, behind those of `number`; returns their end and the number, which
/// saturates.
fn digits(input: &[u8], start: usize, number: u64) -> (usize, u64) {
    let (mut end, mut longer) = (start, number);
    while let Some(digit @ b'0'..=b'9') = input.get(end) {
        longer = longer.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        end += 1;
    }
    // So many may be too many; or they are mostly zeros.
    if end > usize::from(Decimal::MAX_DIGITS) {
        longer = saturating(number, &input[start..end]);
    }
    (end, longer)
}

#[cold]
fn saturating(number: u64, digits: &[u8]) -> u64 {
    digits.iter().fold(number, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

/// Whether what follows digits shows that they are not the whole number: a byte that no firmware
/// prints, an exponent, or further digits after a character that doesn't end a number (a comma in
/// place of the point, say). Leaving that out would make it a wrong number.
fn is_garbled(rest: &[u8]) -> bool {
    #[cold]
    fn follows_oddly(rest: &[u8]) -> bool {
        match rest {
            [] | [b' ' | b'\t', ..] => false,
            [first, ..] if first.is_ascii_control() => true,
            [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] => true,
            [first, b'0'..=b'9', ..] => !matches!(first, b'(' | b'[' | b'/'),
            [b'x' | b'X', second, ..] if second.is_ascii_hexdigit() => true,
            _ => rest.starts_with("\u{FFFD}".as_bytes()),
        }
    }
    !matches!(rest, [] | [b' ', ..] | [b',', b' ', ..]) && follows_oddly(rest)
}
