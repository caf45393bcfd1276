//! The time at the start of a log line.

use time::{Date, Duration, Month, PlainDateTime, Time, UtcDateTime};

/// The time of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// In the local time of the machine that wrote it, as the first listener has it.
    Local(PlainDateTime),
    /// With its offset from UTC, as ours has it.
    Utc(UtcDateTime),
}

impl Stamp {
    /// The time that stands at the start of a line, if one does.
    pub fn of_line(line: &[u8]) -> Option<Self> {
        stamp(line).map(|(stamp, _)| stamp)
    }
}

/// Length of `2026/11/27 03:57:58 `.
const LOCAL: usize = 20;

/// Length of `2026-11-27 03:57:58.123 +02:00 `.
const WITH_OFFSET: usize = 31;

/// Whether a time stands at the start, of the first listener or of ours.
pub(crate) fn begins_with_stamp(line: &[u8]) -> bool {
    is_local(line) || is_with_offset(line)
}

/// The last local time that was read: some fifty lines have the same.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastStamp(Option<([u8; LOCAL], Stamp)>);

impl LastStamp {
    /// Does what [`stamp`] does.
    pub(crate) fn read<'a>(&mut self, line: &'a [u8]) -> Option<(Stamp, &'a [u8])> {
        let start = line.first_chunk::<LOCAL>();
        if let (Some(start), Some((last, stamp))) = (start, self.0)
            && *start == last
        {
            return Some((stamp, &line[LOCAL..]));
        }
        let found = stamp(line);
        if let (Some(start), Some((stamp @ Stamp::Local(_), _))) = (start, found) {
            self.0 = Some((*start, stamp));
        }
        found
    }
}

/// The time of a line, and what follows it.
fn stamp(line: &[u8]) -> Option<(Stamp, &[u8])> {
    if is_local(line) {
        return Some((Stamp::Local(date_and_time(line)?), &line[LOCAL..]));
    }
    if is_with_offset(line) {
        let local = date_and_time(line)?;
        let milliseconds = number(&line[20..23])?;
        let offset = number(&line[25..27])? * 60 + number(&line[28..30])?;
        let offset = if line[24] == b'-' { -i64::from(offset) } else { i64::from(offset) };
        let time = local
            .as_utc()
            .checked_add(Duration::milliseconds(milliseconds.into()))?
            .checked_sub(Duration::minutes(offset))?;
        return Some((Stamp::Utc(time), &line[WITH_OFFSET..]));
    }
    None
}

fn is_local(line: &[u8]) -> bool {
    fits(line, b"0000/00/00 00:00:00 ")
}

fn is_with_offset(line: &[u8]) -> bool {
    fits(line, b"0000-00-00 00:00:00.000 +00:00 ") || fits(line, b"0000-00-00 00:00:00.000 -00:00 ")
}

/// Whether a line begins as `form` does, in which `0` is any digit.
pub(crate) fn fits(line: &[u8], form: &[u8]) -> bool {
    line.len() >= form.len()
        && line.iter().zip(form).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        })
}

/// The date and time in the first 19 bytes; `None` for a month 13, say.
fn date_and_time(line: &[u8]) -> Option<PlainDateTime> {
    let part = |start: usize| u8::try_from(number(&line[start..start + 2])?).ok();
    let year = i32::try_from(number(&line[..4])?).ok()?;
    let date = Date::from_calendar_date(year, Month::try_from(part(5)?).ok()?, part(8)?).ok()?;
    Some(PlainDateTime::new(date, Time::from_hms(part(11)?, part(14)?, part(17)?).ok()?))
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(number * 10 + digit)
    })
}

#[cfg(test)]
mod tests {
    use time::macros::{datetime, utc_datetime};

    use super::*;

    #[test]
    fn times_of_both_listeners() {
        let local = |time: PlainDateTime| Some(Stamp::Local(time));
        let utc = |time| Some(Stamp::Utc(time));
        for (line, expected) in [
            ("2026/11/27 03:57:58 RX", local(datetime!(2026-11-27 03:57:58))),
            ("2026-11-27 03:57:58.120 +02:00 I", utc(utc_datetime!(2026-11-27 01:57:58.12))),
            ("2026-11-26 20:57:58.000 -03:30 I", utc(utc_datetime!(2026-11-27 00:27:58))),
            ("2026/13/27 03:57:58 RX", None),
            ("2026/11/27 03:57:61 RX", None),
            ("2026/11/27 03:57:58", None),
            ("", None),
        ] {
            let found = stamp(line.as_bytes());
            assert_eq!(found.map(|(time, _)| time), expected, "{line}");
            assert!(found.is_none_or(|(_, rest)| rest == b"RX" || rest == b"I"), "{line}");
        }
    }
}
