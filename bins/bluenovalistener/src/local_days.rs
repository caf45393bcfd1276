//! The days of a time zone.

use bluenova_insight::{Calendar, LocalDay, UtcDays};
use jiff::{Timestamp, Zoned, civil, tz::TimeZone};
use time::{Date, UtcDateTime};

/// The days of a time zone.
#[derive(Clone, Debug)]
pub(crate) struct LocalDays(TimeZone);

impl LocalDays {
    /// Days of the zone that the system is set to.
    pub(crate) fn system() -> Self {
        Self(TimeZone::system())
    }

    /// Days of that zone.
    pub(crate) fn of(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// What the zone is called.
    pub(crate) fn name(&self) -> String {
        let offset = || Some(self.0.to_fixed_offset().ok()?.to_string());
        let name = self.0.iana_name().map(str::to_owned).or_else(offset);
        name.unwrap_or_else(|| "local time".to_owned())
    }

    /// The day of that date; `None` at the very ends of the calendar.
    pub(crate) fn day(&self, date: Date) -> Option<LocalDay> {
        let (year, month, day) = date.to_calendar_date();
        let (month, day) = (i8::try_from(u8::from(month)).ok()?, i8::try_from(day).ok()?);
        self.civil_day(civil::Date::new(i16::try_from(year).ok()?, month, day).ok()?)
    }

    fn local_day(&self, time: UtcDateTime) -> Option<LocalDay> {
        let timestamp = Timestamp::from_second(time.unix_timestamp()).ok()?;
        self.civil_day(timestamp.to_zoned(self.0.clone()).date())
    }

    fn civil_day(&self, date: civil::Date) -> Option<LocalDay> {
        Some(LocalDay {
            date: time_date(date)?,
            begin: utc(&date.to_zoned(self.0.clone()).ok()?)?,
            end: utc(&date.tomorrow().ok()?.to_zoned(self.0.clone()).ok()?)?,
        })
    }
}

impl Calendar for LocalDays {
    fn day_of(&self, time: UtcDateTime) -> LocalDay {
        // At the very ends of the calendar there is none.
        self.local_day(time).unwrap_or_else(|| UtcDays.day_of(time))
    }
}

fn time_date(date: civil::Date) -> Option<Date> {
    let month = u8::try_from(date.month()).ok()?.try_into().ok()?;
    Date::from_calendar_date(date.year().into(), month, u8::try_from(date.day()).ok()?).ok()
}

fn utc(begin: &Zoned) -> Option<UtcDateTime> {
    UtcDateTime::from_unix_timestamp(begin.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use time::macros::{date, utc_datetime};

    use super::*;

    #[test]
    fn a_day_has_23_or_25_hours_when_the_clocks_are_changed() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let days = LocalDays(berlin);
        for (time, date, hours) in [
            (utc_datetime!(2026-01-10 22:59:59.9), date!(2026 - 01 - 10), 24),
            (utc_datetime!(2026-01-10 23:00), date!(2026 - 01 - 11), 24),
            (utc_datetime!(2026-03-29 12:00), date!(2026 - 03 - 29), 23),
            (utc_datetime!(2026-10-24 22:00), date!(2026 - 10 - 25), 25),
            (utc_datetime!(2026-10-25 22:59:59), date!(2026 - 10 - 25), 25),
        ] {
            let day = days.day_of(time);
            assert_eq!((day.date, (day.end - day.begin).whole_hours()), (date, hours), "{time}");
            assert!(day.begin <= time && time < day.end, "{time}");
            assert_eq!(days.day_of(day.end).begin, day.end, "{time}");
            assert_eq!(days.day(date), Some(day));
        }
    }

    #[test]
    fn every_time_has_a_day() {
        for time in [UtcDateTime::MIN, UtcDateTime::MAX] {
            let day = LocalDays(TimeZone::UTC).day_of(time);
            assert!(day.begin <= time, "{time}");
        }
    }
}
