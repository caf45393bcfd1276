//! Local days, whose bounds the caller knows.

use serde::{Deserialize, Serialize};
use time::{Date, Duration, UtcDateTime};

/// A day where the battery stands: 23 or 25 hours long when the clocks are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalDay {
    /// Its date.
    pub date: Date,
    /// When it begins.
    pub begin: UtcDateTime,
    /// When it ends, and the next one begins.
    pub end: UtcDateTime,
}

/// A time zone: which day a time belongs to.
pub trait Calendar {
    /// The day that `time` belongs to.
    fn day_of(&self, time: UtcDateTime) -> LocalDay;
}

/// Days of UTC.
#[derive(Clone, Copy, Debug, Default)]
pub struct UtcDays;

impl Calendar for UtcDays {
    fn day_of(&self, time: UtcDateTime) -> LocalDay {
        let begin = time.date().midnight().as_utc();
        LocalDay { date: time.date(), begin, end: begin.saturating_add(Duration::DAY) }
    }
}

/// How a date is kept: `2026-11-27`.
pub(crate) mod date_text {
    use serde::{Deserializer, Serializer, de};

    use super::{Date, Deserialize, Serialize};

    pub(crate) fn serialize<S: Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
        let (year, month, day) = date.to_calendar_date();
        format!("{year:04}-{:02}-{day:02}", u8::from(month)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Date, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is no date")))
    }

    fn parse(text: &str) -> Option<Date> {
        let mut parts = text.splitn(3, '-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let month: u8 = month.parse().ok()?;
        let day = day.parse().ok()?;
        Date::from_calendar_date(year.parse().ok()?, month.try_into().ok()?, day).ok()
    }
}
