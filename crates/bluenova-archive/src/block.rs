//! The four lines that the first listener logged for each row, as tables of what stands in them.
//!
//! ```text
//!  == Write record: Time: 1795744691, MCU ID 9F3C07B2, NumUnit 2, MyRank 1, CellCount 16, Vpack …
//!  -- ADCvp 52.451, ADC0 0.809, ADC1 1.614, …, Bad CRC 1, ParseFail 0, Bad Vcell 1, EnergyIn …
//!  -- Volt: 3.274 3.290 …
//!  -- Temp: 23    24    …
//! ```
//!
//! Absent are whole numbers of -1, floats `nan` and `-nan`, and texts that begin with a byte 0xFF,
//! behind which anything may stand, quotes and line ends too.

use bluenova_console::Decimal;
use bluenova_record::{PackRecord, Text};
use memchr::{memchr_iter, memmem};
use nom::{
    IResult, Parser,
    bytes::complete::{tag, take_while1},
};
use time::UtcDateTime;

use crate::Damage;

/// How the first of the four lines begins.
pub(crate) const FIRST_LINE: &[u8] = b" == Write record: ";

/// How each of the other three lines begins.
pub(crate) const OTHER_LINE: &[u8] = b" -- ";

/// One of the lines behind the first one, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OtherLine {
    Converter,
    Voltages,
    Temperatures,
}

/// A value, and where it goes in the record.
enum Field {
    Whole(fn(&mut PackRecord, Option<i16>)),
    Number(fn(&mut PackRecord, Option<f32>)),
    Count(fn(&mut PackRecord, i16)),
    Text(fn(&mut PackRecord, &str)),
}

/// What stands in front of a value, and the value.
struct Entry {
    label: &'static str,
    field: Field,
}

/// The first line, behind time and MCU ID.
#[rustfmt::skip]
static RECORD: [Entry; 14] = [
    Entry { label: ", NumUnit ",   field: Field::Whole(|record, n| record.n_units = n) },
    Entry { label: ", MyRank ",    field: Field::Whole(|record, n| record.unit_rank = n) },
    Entry { label: ", CellCount ", field: Field::Whole(|record, n| record.cell_count = n) },
    Entry { label: ", Vpack ",     field: Field::Number(|record, n| record.v_pack = n) },
    Entry { label: ", Ipack ",     field: Field::Number(|record, n| record.i_pack = n) },
    Entry { label: ", Temp ",      field: Field::Whole(|record, n| record.temp = n) },
    Entry { label: ", Vmin_cell ", field: Field::Number(|record, n| record.v_cell_min = n) },
    Entry { label: ", Vmax_cell ", field: Field::Number(|record, n| record.v_cell_max = n) },
    Entry { label: ", SOC ",       field: Field::Whole(|record, n| record.soc = n) },
    Entry { label: ", Health ",    field: Field::Number(|record, n| record.health = n) },
    Entry { label: ", Errors '",   field: Field::Text(|record, t| record.errors = any_text(t)) },
    Entry { label: "', State '",   field: Field::Text(|record, t| record.system_state = text(t)) },
    Entry { label: "', Breaker '", field: Field::Text(|record, t| record.breaker = text(t)) },
    Entry { label: "', Charge '",  field: Field::Text(|record, t| record.charge_state = text(t)) },
];

/// The second line, from its start.
#[rustfmt::skip]
static CONVERTER: [Entry; 11] = [
    Entry { label: " -- ADCvp ",   field: Field::Number(|record, n| record.adc_vp = n) },
    Entry { label: ", ADC0 ",      field: Field::Number(|record, n| record.adc[0] = n) },
    Entry { label: ", ADC1 ",      field: Field::Number(|record, n| record.adc[1] = n) },
    Entry { label: ", ADC2 ",      field: Field::Number(|record, n| record.adc[2] = n) },
    Entry { label: ", ADC3 ",      field: Field::Number(|record, n| record.adc[3] = n) },
    Entry { label: ", ADC4 ",      field: Field::Number(|record, n| record.adc[4] = n) },
    Entry { label: ", Bad CRC ",   field: Field::Count(|record, n| record.bad_crc = n) },
    Entry { label: ", ParseFail ", field: Field::Count(|record, n| record.parse_fail = n) },
    Entry { label: ", Bad Vcell ", field: Field::Count(|record, n| record.bad_vcell = n) },
    Entry { label: ", EnergyIn ",  field: Field::Number(|record, n| record.energy_in = n) },
    Entry { label: ", EnergyOut ", field: Field::Number(|record, n| record.energy_out = n) },
];

const VOLTAGES: &[u8] = b" -- Volt: ";
const TEMPERATURES: &[u8] = b" -- Temp: ";

/// A value of neither kind: neither one that the first listener wrote nor its sign for none.
struct Unreadable;

/// Reads the first line: the record with its key, and what of its values can be read.
///
/// `None` if time or MCU ID can't be read.
pub(crate) fn first_line(
    line: &[u8],
    is_cut: bool,
    damage: &mut impl FnMut(Damage),
) -> Option<PackRecord> {
    let (rest, (time, mcu_id)) = key(line).ok()?;
    // A key that the line ends with may lack a digit.
    if !rest.starts_with(b", ") {
        return None;
    }
    let mut record = PackRecord::new(time, mcu_id);
    values(&RECORD, rest, is_cut, &mut record, damage);
    Some(record)
}

/// Which of the other lines this is; `None` if it is none of them.
pub(crate) fn which(line: &[u8]) -> Option<OtherLine> {
    if line.starts_with(CONVERTER[0].label.as_bytes()) {
        Some(OtherLine::Converter)
    } else if line.starts_with(VOLTAGES) {
        Some(OtherLine::Voltages)
    } else if line.starts_with(TEMPERATURES) {
        Some(OtherLine::Temperatures)
    } else {
        None
    }
}

/// Reads one of the other lines into the record.
pub(crate) fn other_line(
    which: OtherLine,
    line: &[u8],
    is_cut: bool,
    record: &mut PackRecord,
    damage: &mut impl FnMut(Damage),
) {
    match which {
        OtherLine::Converter => values(&CONVERTER, line, is_cut, record, damage),
        OtherLine::Voltages => {
            let values = &mut record.cell_v;
            of_cells(line, is_cut, values, volts, || damage(Damage::Value("Volt")));
        }
        OtherLine::Temperatures => {
            let values = &mut record.cell_t;
            of_cells(line, is_cut, values, whole, || damage(Damage::Value("Temp")));
        }
    }
}

fn key(line: &[u8]) -> IResult<&[u8], (UtcDateTime, u32)> {
    let seconds = take_while1(|byte: u8| byte.is_ascii_digit())
        .map_opt(|digits: &[u8]| UtcDateTime::from_unix_timestamp(integer(digits)?).ok());
    let mcu_id = take_while1(|byte: u8| byte.is_ascii_hexdigit())
        .map_opt(|digits: &[u8]| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
    let (line, _) = (tag(FIRST_LINE), tag(&b"Time: "[..])).parse(line)?;
    (seconds, tag(&b", MCU ID "[..]), mcu_id).map(|(time, _, mcu_id)| (time, mcu_id)).parse(line)
}

/// Reads the values of a line into the record. A label that can't be found costs its value only.
fn values(
    entries: &'static [Entry],
    line: &[u8],
    is_cut: bool,
    record: &mut PackRecord,
    damage: &mut impl FnMut(Damage),
) {
    let labels = find_labels(entries, line);
    // The value that is still open: its end is the next label that is found.
    let mut open: Option<(&Entry, usize)> = None;
    for (entry, at) in entries.iter().zip(labels) {
        let Some(at) = at else {
            // Where the text in front of it ends can't be seen.
            if let Some((text, _)) = open.take_if(|(open, _)| matches!(open.field, Field::Text(_)))
            {
                damage(Damage::Value(name(text)));
            }
            damage(Damage::Value(name(entry)));
            continue;
        };
        if let Some((entry, start)) = open {
            put(entry, &line[start..at], record, damage);
        }
        open = Some((entry, at + entry.label.len()));
    }
    let Some((entry, start)) = open else { return };
    let last = &line[start..];
    let last = match entry.field {
        _ if is_cut => None,
        Field::Text(_) => trim_end(last).strip_suffix(b"'"),
        _ => Some(trim_end(last)),
    };
    match last {
        Some(last) => put(entry, last, record, damage),
        None => damage(Damage::Value(name(entry))),
    }
}

/// Where the labels stand, in their order.
///
/// Behind a text that is absent anything may stand, labels too. Then the next text is absent as
/// well, or the label is the last one of its kind.
fn find_labels(entries: &[Entry], line: &[u8]) -> [Option<usize>; RECORD.len()] {
    let mut found = [None; RECORD.len()];
    let is_absent = |behind: usize| line.get(behind) == Some(&0xFF);
    let mut behind = 0;
    for (n, entry) in entries.iter().enumerate() {
        let label = entry.label.as_bytes();
        let starts = memchr_iter(label[0], &line[behind..]).map(|at| behind + at);
        let mut starts = starts.filter(|&at| line[at..].starts_with(label));
        found[n] = if is_absent(behind) && label[0] == b'\'' {
            let next_is_absent = starts.find(|&at| is_absent(at + label.len()));
            next_is_absent.or_else(|| last_label(&entries[n..], &line[behind..], behind))
        } else {
            starts.next()
        };
        behind = found[n].map_or(behind, |at| at + label.len());
    }
    found
}

/// Where the first of these labels stands, if each is the last one of its kind before the next.
fn last_label(entries: &[Entry], rest: &[u8], behind: usize) -> Option<usize> {
    let mut end = rest.len();
    let mut first = None;
    for entry in entries.iter().rev() {
        first = memmem::rfind(&rest[..end], entry.label.as_bytes());
        end = first.unwrap_or(end);
    }
    first.map(|at| behind + at)
}

fn put(
    entry: &'static Entry,
    value: &[u8],
    record: &mut PackRecord,
    damage: &mut impl FnMut(Damage),
) {
    let is_read = match entry.field {
        Field::Whole(set) => whole(value).map(|number| set(record, number)),
        Field::Number(set) => number(value).map(|number| set(record, number)),
        Field::Count(set) => whole(value).map(|number| set(record, number.unwrap_or(0))),
        Field::Text(set) => text_value(value).map(|text| {
            if let Some(text) = text {
                set(record, &text);
            }
        }),
    };
    if is_read.is_err() {
        damage(Damage::Value(name(entry)));
    }
}

/// The label in plain letters.
fn name(entry: &'static Entry) -> &'static str {
    entry.label.trim_matches(|c: char| !c.is_ascii_alphanumeric())
}

/// Reads a line of sixteen values.
///
/// Where there aren't sixteen, some are lost: those in front of the first one that can't be read
/// are in their places.
fn of_cells<T>(
    line: &[u8],
    is_cut: bool,
    cells: &mut [Option<T>; bluenova_record::CELLS],
    read: impl Fn(&[u8]) -> Result<Option<T>, Unreadable>,
    damage: impl FnOnce(),
) {
    let line = line.get(VOLTAGES.len()..).unwrap_or_default();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\r');
    let tokens = || line.split(is_blank).filter(|token| !token.is_empty());
    let count = tokens().count();
    let ends_in_value = line.last().is_some_and(|byte| !is_blank(byte));
    let whole = if is_cut && ends_in_value { count.saturating_sub(1) } else { count };
    let mut is_damaged = whole != cells.len();
    for (cell, token) in cells.iter_mut().zip(tokens().take(whole)) {
        match read(token) {
            Ok(value) => *cell = value,
            Err(Unreadable) => {
                is_damaged = true;
                if count != bluenova_record::CELLS {
                    break;
                }
            }
        }
    }
    if is_damaged {
        damage();
    }
}

fn whole(value: &[u8]) -> Result<Option<i16>, Unreadable> {
    match integer(value).and_then(|number| i16::try_from(number).ok()).ok_or(Unreadable)? {
        -1 => Ok(None),
        number => Ok(Some(number)),
    }
}

fn number(value: &[u8]) -> Result<Option<f32>, Unreadable> {
    match value {
        b"nan" | b"-nan" => Ok(None),
        value => Ok(Some(decimal(value).ok_or(Unreadable)?.to_f32())),
    }
}

/// A voltage of a cell always has three decimals, so that half a number shows.
fn volts(value: &[u8]) -> Result<Option<f32>, Unreadable> {
    let decimals = value.iter().rev().position(|&byte| byte == b'.');
    let is_half = decimals != Some(3) && value.iter().any(u8::is_ascii_digit);
    if is_half { Err(Unreadable) } else { number(value) }
}

/// A text; `None` if it is absent.
fn text_value(value: &[u8]) -> Result<Option<String>, Unreadable> {
    match value {
        [0xFF, ..] => Ok(None),
        value if value.contains(&0) => Err(Unreadable),
        value => Ok(Some(String::from_utf8_lossy(trim_end(value)).trim().to_owned())),
    }
}

fn any_text<const CHARS: usize>(text: &str) -> Option<Text<CHARS>> {
    Some(Text::new(text))
}

/// Only `Errors` may be empty.
fn text<const CHARS: usize>(text: &str) -> Option<Text<CHARS>> {
    (!text.is_empty()).then(|| Text::new(text))
}

fn trim_end(value: &[u8]) -> &[u8] {
    let is_trimmed = |byte: &u8| *byte != 0 && (byte.is_ascii_control() || *byte == b' ');
    let end = value.iter().rposition(|byte| !is_trimmed(byte)).map_or(0, |last| last + 1);
    &value[..end]
}

fn integer(value: &[u8]) -> Option<i64> {
    let (sign, digits) = match value {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || digits.len() > Decimal::MAX_DIGITS.into() {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + sign * i64::from(digit - b'0'))
    })
}

fn decimal(value: &[u8]) -> Option<Decimal> {
    let Some(point) = value.iter().position(|&byte| byte == b'.') else {
        return Decimal::new(integer(value)?, 0);
    };
    let (before, behind) = (&value[..point], &value[point + 1..]);
    let is_fraction = !behind.is_empty() && behind.iter().all(u8::is_ascii_digit);
    if !is_fraction || before.len() + behind.len() > Decimal::MAX_DIGITS.into() {
        return None;
    }
    let scale = u8::try_from(behind.len()).ok()?;
    let is_negative = before.first() == Some(&b'-');
    let before = integer(before)?.checked_mul(10_i64.pow(scale.into()))?;
    let behind = integer(behind)?;
    Decimal::new(if is_negative { before - behind } else { before + behind }, scale)
}
