//! Times as RFC 3339 text. The `time` crate's own way allocates.

use core::fmt;

use time::UtcDateTime;

/// A time as RFC 3339 text, in UTC: `2026-11-22T16:50:10Z`, with the decimals of the second that
/// are not zero.
///
/// ```
/// use bluenova_record::Rfc3339;
/// use time::{Duration, UtcDateTime};
///
/// let start = UtcDateTime::UNIX_EPOCH;
/// assert_eq!(Rfc3339(start).to_string(), "1970-01-01T00:00:00Z");
/// let later = start + Duration::milliseconds(1050);
/// assert_eq!(Rfc3339(later).to_string(), "1970-01-01T00:00:01.05Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc3339(pub UtcDateTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute, second, nanosecond) = self.0.as_hms_nano();
        let month = u8::from(month);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if nanosecond != 0 {
            let (mut fraction, mut width) = (nanosecond, 9);
            while fraction % 10 == 0 {
                (fraction, width) = (fraction / 10, width - 1);
            }
            write!(f, ".{fraction:0width$}")?;
        }
        f.write_str("Z")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Rfc3339 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How serde reads and writes the time of a record.
#[cfg(feature = "serde")]
pub(crate) mod with_serde {
    use core::fmt;

    use serde::{Deserializer, Serialize, Serializer, de};
    use time::{Date, Month, PlainDateTime, Time, UtcDateTime};

    use super::Rfc3339;

    pub(crate) fn serialize<S: Serializer>(
        time: &UtcDateTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Rfc3339(*time).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UtcDateTime, D::Error> {
        deserializer.deserialize_str(TimeVisitor)
    }

    struct TimeVisitor;

    impl de::Visitor<'_> for TimeVisitor {
        type Value = UtcDateTime;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time like 2026-11-22T16:50:10Z, in UTC")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<UtcDateTime, E> {
            parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    fn parse(text: &str) -> Option<UtcDateTime> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        // Years before our era have a sign.
        let (sign, date) = date.strip_prefix('-').map_or((1, date), |date| (-1, date));
        let mut date = date.split('-').map(number);
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let mut time = time.split(':').map(number);
        let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
        if date.next().is_some() || time.next().is_some() || fraction.len() > 9 {
            return None;
        }
        let nanosecond = number(fraction)? * 10_u32.pow(9 - u32::try_from(fraction.len()).ok()?);
        let small = |number: u32| u8::try_from(number).ok();
        let month = Month::try_from(small(month)?).ok()?;
        let year = sign * i32::try_from(year).ok()?;
        let date = Date::from_calendar_date(year, month, small(day)?).ok()?;
        let time =
            Time::from_hms_nano(small(hour)?, small(minute)?, small(second)?, nanosecond).ok()?;
        Some(PlainDateTime::new(date, time).as_utc())
    }

    /// Digits, and nothing else.
    fn number(text: &str) -> Option<u32> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
    }
}
