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
    let (end, exponent) = match bytes.get(end) {
        Some(b'e' | b'E') => exponent(bytes, end).unwrap_or((end, 0)),
        _ => (end, 0),
    };
    let rest = &bytes[end..];
    if is_cut || rest.first() == Some(&b'.') || is_garbled(rest) {
        return malformed(ErrorKind::NotANumber, input);
    }
    let number = signed(number, is_negative);
    let number = match exponent {
        0 => Decimal::new(number, u8::try_from(scale).unwrap_or(u8::MAX)),
        _ => scaled(number, scale, exponent),
    };
    match number {
        Some(number) => Ok((&input[end..], number)),
        None => malformed(ErrorKind::OutOfRange, input),
    }
}

/// The exponent of ten that begins at `start` with its letter, and its end: a `printf` with `%g`
/// writes a small current as `1e-05`.
#[cold]
fn exponent(bytes: &[u8], start: usize) -> Option<(usize, i64)> {
    let (sign_length, is_negative) = sign(&bytes[start + 1..]);
    let first_digit = start + 1 + sign_length;
    let (end, number) = digits(bytes, first_digit, 0);
    (end > first_digit).then(|| (end, signed(number, is_negative)))
}

/// The number of `digits` / 10^`scale` · 10^`exponent`, if a `Decimal` holds that. What is behind
/// the 18th decimal place is cut off: `1e-50` is 0, as it is for C.
#[cold]
fn scaled(digits: i64, scale: usize, exponent: i64) -> Option<Decimal> {
    if digits == 0 {
        return Decimal::new(0, 0);
    }
    let scale = i64::try_from(scale).ok()?.saturating_sub(exponent);
    match u8::try_from(scale.min(Decimal::MAX_DIGITS.into())) {
        Ok(places) => {
            let cut = u32::try_from(scale - i64::from(places)).unwrap_or(u32::MAX);
            let digits = 10_i64.checked_pow(cut).map_or(0, |power| digits / power);
            Decimal::new(digits, if digits == 0 { 0 } else { places })
        }
        Err(_) => {
            let zeros = u32::try_from(scale.checked_neg()?).ok()?;
            Decimal::new(digits.checked_mul(10_i64.checked_pow(zeros)?)?, 0)
        }
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
    if !is_hexadecimal || goes_on(rest.as_bytes(), u8::is_ascii_hexdigit) {
        return malformed(ErrorKind::NotANumber, input);
    }
    match u32::from_str_radix(digits, 16) {
        Ok(number) => Ok((rest, number)),
        Err(_) => malformed(ErrorKind::OutOfRange, input),
    }
}

/// The ID of a controller. `FFFFFFFF` is that of none: flash that was never written reads so.
pub(crate) fn mcu_id(input: &str) -> Parsed<'_, u32> {
    match hexadecimal(input)? {
        (_, u32::MAX) => malformed(ErrorKind::OutOfRange, skip_blanks(input)),
        parsed => Ok(parsed),
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

/// The rest of the line, without blanks around it, and control characters behind it.
pub(crate) fn rest(input: &str) -> Parsed<'_, &str> {
    match without_controls_behind(input.trim()) {
        "" => malformed(ErrorKind::MissingValue, ""),
        text => Ok(("", text)),
    }
}

/// The text up to the next blank, without control characters behind it.
pub(crate) fn first_word(input: &str) -> Parsed<'_, &str> {
    let input = skip_blanks(input);
    let (rest, word) = cut(take_till1(char::is_whitespace)).parse(input)?;
    match without_controls_behind(word) {
        "" => malformed(ErrorKind::MissingValue, ""),
        word => Ok((rest, word)),
    }
}

/// The text without blanks, control characters and the escape sequences of a terminal at its end.
fn without_controls_behind(text: &str) -> &str {
    #[cold]
    fn cut_off(text: &str) -> &str {
        let text = text.trim_end_matches(|c: char| c.is_control() || c.is_whitespace());
        match text.rfind('\u{1b}') {
            Some(at) if skip_controls(&text.as_bytes()[at..]).is_empty() => cut_off(&text[..at]),
            _ => text,
        }
    }
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
    if text.as_bytes().iter().all(is_plain) { text } else { cut_off(text) }
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

/// Whether what follows digits shows that they are not the whole number.
fn is_garbled(rest: &[u8]) -> bool {
    !matches!(rest, [] | [b' ', ..] | [b',', b' ', ..]) && goes_on(rest, u8::is_ascii_digit)
}

/// Whether a number that ends here seems to go on: with a byte that isn't UTF-8, an exponent that
/// was not read, or further digits behind a character that doesn't end a number (a comma in place
/// of the point, say). Leaving that out would make it a wrong number.
///
/// Control characters end a number, if no digits follow: a NUL, or a terminal's escape sequence.
#[cold]
fn goes_on(rest: &[u8], is_digit: fn(&u8) -> bool) -> bool {
    let behind = skip_controls(rest);
    let are_digits = |bytes: &[u8]| match bytes {
        [b'.', digit, ..] | [digit, ..] => is_digit(digit),
        [] => false,
    };
    if behind.len() < rest.len() && are_digits(behind) {
        return true;
    }
    match behind {
        [] | [b' ' | b'\t', ..] => false,
        [b'e' | b'E'] => true,
        [b'e' | b'E', second, ..] => !second.is_ascii_alphabetic(),
        [b'x' | b'X', second, ..] if second.is_ascii_hexdigit() => true,
        [b'(' | b'[' | b'/', ..] => false,
        [0x80..=0xFF, ..] => {
            let is_inner = |byte: &&u8| **byte >= 0x80;
            let length = behind.iter().take_while(is_inner).count();
            behind.starts_with("\u{FFFD}".as_bytes()) || are_digits(&behind[length..])
        }
        [_, next @ ..] => are_digits(next),
    }
}

/// What follows the control characters and escape sequences (`ESC [ 0 m`) at the start.
fn skip_controls(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [b'\x1b', b'[', sequence @ ..] => {
                let is_parameter = |byte: &&u8| (b' '..=b'?').contains(*byte);
                let length = sequence.iter().take_while(is_parameter).count();
                match sequence.get(length) {
                    Some(b'@'..=b'~') => &sequence[length + 1..],
                    _ => return &rest[1..],
                }
            }
            [b'\t', ..] => return rest,
            [first, behind @ ..] if first.is_ascii_control() => behind,
            // From U+0080 to U+009F.
            [0xC2, 0x80..=0x9F, behind @ ..] => behind,
            _ => return rest,
        }
    }
}
