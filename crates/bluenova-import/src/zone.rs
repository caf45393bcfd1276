//! Time zone of logs whose lines don't show it.

use jiff::{
    civil,
    tz::{AmbiguousOffset, Offset, TimeZone},
};
use time::{Duration, PlainDateTime, UtcDateTime};

/// What was given can't be used as a time zone.
#[derive(Debug, thiserror::Error)]
#[error(
    "{given:?}: a name like Europe/Berlin (which needs the system's time zone data, \
     package tzdata), a rule like CET-1CEST,M3.5.0,M10.5.0/3, or an offset like +02:00 is allowed"
)]
pub struct LogZoneError {
    given: String,
}

/// The time zone of logs whose lines don't show theirs.
#[derive(Clone, Debug)]
pub struct LogZone {
    zone: TimeZone,
    name: String,
}

impl LogZone {
    /// The zone that is given, or the system's: a name, a rule as POSIX has it, or an offset.
    ///
    /// # Errors
    /// What is given is none of these.
    pub fn resolve(given: Option<&str>) -> Result<Self, LogZoneError> {
        let Some(given) = given else {
            let zone = TimeZone::system();
            let name = zone.iana_name().unwrap_or("of /etc/localtime").to_owned();
            return Ok(Self { zone, name: format!("the system's, {name}") });
        };
        let zone = fixed(given)
            .map(TimeZone::fixed)
            .or_else(|| TimeZone::get(given).ok())
            .or_else(|| TimeZone::posix(given).ok());
        let zone = zone.ok_or_else(|| LogZoneError { given: given.to_owned() })?;
        Ok(Self { zone, name: given.to_owned() })
    }

    /// The zone itself.
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// What the zone is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The two times that a local time may be, the earlier one first. They differ in the hour that
    /// is repeated in autumn.
    pub(crate) fn times(&self, local: PlainDateTime) -> [UtcDateTime; 2] {
        let utc = |offset: Offset| {
            let offset = Duration::seconds(offset.seconds().into());
            local.as_utc().saturating_sub(offset)
        };
        let Some(civil) = civil(local) else { return [local.as_utc(); 2] };
        match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Fold { before, after } => [utc(before), utc(after)],
            // There is no such time: the clock was not set to summer time yet.
            AmbiguousOffset::Gap { before: offset, .. }
            | AmbiguousOffset::Unambiguous { offset } => [utc(offset); 2],
        }
    }
}

fn civil(local: PlainDateTime) -> Option<civil::DateTime> {
    let part = |part: u8| i8::try_from(part).ok();
    let (year, month, day) = local.to_calendar_date();
    let (hour, minute, second) = local.as_hms();
    let (year, month) = (i16::try_from(year).ok()?, part(month.into())?);
    let (hour, minute, second) = (part(hour)?, part(minute)?, part(second)?);
    civil::DateTime::new(year, month, part(day)?, hour, minute, second, 0).ok()
}

/// Reads `+02:00`, `-3:30`, `+2`.
fn fixed(given: &str) -> Option<Offset> {
    let (sign, rest) = match given.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours <= 14 && minutes < 60)
        .then(|| Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)))?
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(day: u8, hour: u8) -> PlainDateTime {
        let date = time::Date::from_calendar_date(2026, time::Month::October, day).unwrap();
        PlainDateTime::new(date, time::Time::from_hms(hour, 30, 0).unwrap())
    }

    #[track_caller]
    fn check(given: &str, local: PlainDateTime, hours: [i64; 2]) {
        let zone = LogZone::resolve(Some(given)).unwrap();
        let expected = hours.map(|hours| local.as_utc() - Duration::hours(hours));
        assert_eq!(zone.times(local), expected, "{given} {local}");
    }

    #[test]
    fn zones_are_names_rules_and_offsets() {
        for given in ["Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"] {
            check(given, local(1, 2), [2, 2]);
            check(given, local(25, 2), [2, 1]);
            check(given, local(25, 3), [1, 1]);
        }
        check("+02:00", local(25, 2), [2, 2]);
        check("-3", local(25, 2), [-3, -3]);
        check("UTC", local(25, 2), [0, 0]);
        for wrong in ["Nowhere/City", "+25:00", "+1:75", "", "+"] {
            assert!(LogZone::resolve(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
