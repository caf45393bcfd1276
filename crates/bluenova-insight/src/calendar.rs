//! Local days, whose bounds the caller passes in.

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

/// Days of a time zone. Beyond the years that jiff has, they are those of UTC.
#[cfg(feature = "jiff")]
impl Calendar for jiff::tz::TimeZone {
    fn day_of(&self, time: UtcDateTime) -> LocalDay {
        local_day(self, time).unwrap_or_else(|| UtcDays.day_of(time))
    }
}

#[cfg(feature = "jiff")]
fn local_day(zone: &jiff::tz::TimeZone, time: UtcDateTime) -> Option<LocalDay> {
    let local = zone.to_datetime(jiff::Timestamp::from_second(time.unix_timestamp()).ok()?);
    // The first moment of a day: 01:00 where the clocks are set forward at midnight.
    let begin_of = |date: jiff::civil::Date| {
        let begin = zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
        UtcDateTime::from_unix_timestamp(begin.as_second()).ok()
    };
    let (year, month, day) = (local.year(), local.month(), local.day());
    let month = u8::try_from(month).ok()?.try_into().ok()?;
    let date = Date::from_calendar_date(year.into(), month, day.try_into().ok()?).ok()?;
    let (begin, end) = (begin_of(local.date())?, begin_of(local.date().tomorrow().ok()?)?);
    Some(LocalDay { date, begin, end })
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
        // From the end, since years before our era have a sign.
        let mut parts = text.rsplitn(3, '-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let month: u8 = month.parse().ok()?;
        let day = day.parse().ok()?;
        Date::from_calendar_date(year.parse().ok()?, month.try_into().ok()?, day).ok()
    }
}
