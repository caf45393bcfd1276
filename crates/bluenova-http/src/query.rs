//! The parameters of a request for a battery's history.

use bluenova_record::first_chars;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};

use crate::HistoryError;

/// Characters of a value that an error repeats at most.
const REPEATED: usize = 60;

/// Parameters of a request, by name, each at most once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a>(&'a [(String, String)]);

impl<'a> Query<'a> {
    /// # Errors
    /// A parameter is none of `allowed`, or is given twice. A mistyped name gets an error rather
    /// than a surprising answer.
    pub(crate) fn new(
        parameters: &'a [(String, String)],
        allowed: &[&str],
    ) -> Result<Self, HistoryError> {
        for (i, (name, _)) in parameters.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                let problem = format!("not a parameter here; {} are", allowed.join(", "));
                return Err(HistoryError::query(&shortened(name), problem));
            }
            if parameters[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(HistoryError::query(name, "given twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter.
    pub(crate) fn get(self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is an RFC 3339 time, of any offset and any number of decimals.
    pub(crate) fn time(self, name: &str) -> Result<Option<UtcDateTime>, HistoryError> {
        let Some(given) = self.get(name) else { return Ok(None) };
        let time = OffsetDateTime::parse(&with_plus(given), &Rfc3339).ok();
        let time = time.and_then(OffsetDateTime::checked_to_utc);
        // Nobody had such a battery before.
        let time = time.filter(|time| *time >= UtcDateTime::UNIX_EPOCH);
        time.map(Some).ok_or_else(|| {
            let allowed = "an RFC 3339 time from 1970 on, like 2026-11-22T20:00:00Z or \
                           2026-11-22T21:00:00+01:00, is allowed";
            HistoryError::query(name, not(given, allowed))
        })
    }

    /// A parameter that is one of the `allowed` names; the value beside that name.
    pub(crate) fn choice<T: Copy>(
        self,
        name: &str,
        allowed: &[(&str, T)],
        default: T,
    ) -> Result<T, HistoryError> {
        let Some(given) = self.get(name) else { return Ok(default) };
        allowed.iter().find(|(name, _)| *name == given).map(|(_, meaning)| *meaning).ok_or_else(
            || {
                let names: Vec<_> = allowed.iter().map(|(name, _)| *name).collect();
                HistoryError::query(
                    name,
                    not(given, &format!("one of {} is allowed", names.join(", "))),
                )
            },
        )
    }

    /// A parameter that is a whole number within `allowed`.
    pub(crate) fn number(
        self,
        name: &str,
        allowed: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, HistoryError> {
        let Some(given) = self.get(name) else { return Ok(default) };
        let number = given.parse().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| {
            let (least, most) = allowed.into_inner();
            let allowed = format!("a whole number from {least} to {most} is allowed");
            HistoryError::query(name, not(given, &allowed))
        })
    }
}

/// A message with what is allowed, and what was given.
pub(crate) fn not(given: &str, allowed: &str) -> String {
    format!("{allowed}, not {:?}", shortened(given))
}

fn shortened(text: &str) -> String {
    let start = first_chars(text, REPEATED);
    if start.len() == text.len() { start.to_owned() } else { format!("{start}…") }
}

/// In a query `+` stands for a space, which people forget when they write an offset. No other space
/// can follow the time of day.
fn with_plus(time: &str) -> String {
    match time.rsplit_once(' ') {
        Some((before, offset)) if before.contains(':') => format!("{before}+{offset}"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    fn pairs(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
        parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn times_have_any_offset() {
        for (given, expected) in [
            ("2026-11-22T20:00:00Z", utc_datetime!(2026-11-22 20:00)),
            ("2026-11-22T20:00:00.125Z", utc_datetime!(2026-11-22 20:00:00.125)),
            ("2026-11-22T21:00:00+01:00", utc_datetime!(2026-11-22 20:00)),
            ("2026-11-22T21:00:00 01:00", utc_datetime!(2026-11-22 20:00)),
            ("2026-11-22T16:30:00-03:30", utc_datetime!(2026-11-22 20:00)),
            ("1970-01-01T00:00:00Z", utc_datetime!(1970-01-01 00:00)),
            ("9999-12-31T23:59:59Z", utc_datetime!(9999-12-31 23:59:59)),
        ] {
            let parameters = pairs(&[("from", given)]);
            let query = Query::new(&parameters, &["from"]).unwrap();
            assert_eq!(query.time("from").unwrap(), Some(expected), "{given}");
        }
    }

    #[test]
    fn invalid_times_are_errors() {
        for given in [
            "",
            "now",
            "2026-11-22",
            "2026-11-22T20:00:00",
            "2026-13-22T20:00:00Z",
            "2026-11-22T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "+12026-11-22T20:00:00Z",
            &"9".repeat(10_000),
        ] {
            let parameters = pairs(&[("from", given)]);
            let query = Query::new(&parameters, &["from"]).unwrap();
            let error = query.time("from").unwrap_err().to_string();
            assert!(error.starts_with("from: an RFC 3339 time from 1970 on"), "{error}");
            assert!(error.len() < 300, "{error}");
        }
    }

    #[test]
    fn names_are_checked() {
        for (parameters, expected) in [
            (&[("point", "5")][..], "point: not a parameter here; from, points are"),
            (&[("from", "a"), ("from", "a")], "from: given twice"),
            (&[("", "")], ": not a parameter here; from, points are"),
        ] {
            let error = Query::new(&pairs(parameters), &["from", "points"]).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.http_status(), 400);
        }
    }
}
