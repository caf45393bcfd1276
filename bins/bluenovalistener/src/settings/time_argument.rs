//! Times on the command line, for all subcommands that have any.

use std::time::Duration;

use time::{
    Date, OffsetDateTime, PlainDateTime, Time, UtcDateTime,
    format_description::{self, well_known::Rfc3339},
};

use super::SettingsError;

/// A date and a time without a zone, from the shortest form to the longest.
const WITHOUT_ZONE: [&str; 2] =
    ["[year]-[month]-[day] [hour]:[minute]", "[year]-[month]-[day] [hour]:[minute]:[second]"];

/// What is allowed, for errors.
const TIME_ALLOWED: &str = "a time in UTC such as 2026-11-22 or \"2026-11-22 16:50:10\", one with \
                            its zone such as 2026-11-22T16:50:10+01:00, or a span back from now \
                            such as 1d for yesterday at this time, 12h or 30m,";

/// What is allowed where days are asked for, for errors.
const DAY_ALLOWED: &str = "a day such as 2026-11-22, as your clock has it, or the day of a time or \
                           a span back from now, such as 1d for yesterday, 365d or 12h,";

/// The time that `given` means. Without a zone it is UTC, as all times in the table are; a date is
/// its first instant; `7d`, `12h`, `30m` and `10s` are so long before `now`.
///
/// # Errors
/// `given` is none of these. The error names `option`.
pub(crate) fn time_argument(
    option: &'static str,
    given: &str,
    now: UtcDateTime,
) -> Result<UtcDateTime, SettingsError> {
    time_of(given, now).ok_or_else(|| not_allowed(option, given, TIME_ALLOWED))
}

/// The day that `given` means: a date is itself; a time, or a span back from `now`, is in the day
/// that `day_of` says.
///
/// # Errors
/// `given` is none of these. The error names `option`.
pub(crate) fn day_argument(
    option: &'static str,
    given: &str,
    now: UtcDateTime,
    day_of: impl Fn(UtcDateTime) -> Date,
) -> Result<Date, SettingsError> {
    let day = date(given).or_else(|| time_of(given, now).map(day_of));
    day.ok_or_else(|| not_allowed(option, given, DAY_ALLOWED))
}

fn not_allowed(option: &'static str, given: &str, allowed: &'static str) -> SettingsError {
    SettingsError::NotAllowed { option, given: given.to_owned(), allowed }
}

fn time_of(given: &str, now: UtcDateTime) -> Option<UtcDateTime> {
    before_now(given, now).or_else(|| calendar_time(given))
}

/// The date that `given` is: `2026-11-22`.
fn date(given: &str) -> Option<Date> {
    let format = format_description::parse_borrowed::<2>("[year]-[month]-[day]").ok()?;
    Date::parse(given, &format).ok()
}

fn before_now(given: &str, now: UtcDateTime) -> Option<UtcDateTime> {
    let unit = given.chars().next_back()?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    let number = given.strip_suffix(unit)?;
    // `parse` takes a sign too.
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let span = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
    // Whole seconds are what can be given otherwise, and what is read in a message.
    now.truncate_to_second().checked_sub(span.try_into().ok()?)
}

fn calendar_time(given: &str) -> Option<UtcDateTime> {
    // RFC 3339 lets a blank stand for the T.
    let with_t = given.replacen(' ', "T", 1);
    if let Ok(time) = OffsetDateTime::parse(&with_t, &Rfc3339) {
        return time.checked_to_utc();
    }
    let with_blank = given.replacen('T', " ", 1);
    let midnight = || Some(PlainDateTime::new(date(given)?, Time::MIDNIGHT));
    let with_time = |form: &&str| {
        let form = format_description::parse_borrowed::<2>(form).ok()?;
        PlainDateTime::parse(&with_blank, &form).ok()
    };
    let time = WITHOUT_ZONE.iter().find_map(with_time).or_else(midnight)?;
    Some(time.as_utc())
}

#[cfg(test)]
mod tests {
    use bluenova_record::Rfc3339;

    use super::*;

    fn check(given: &str, expected: &str) {
        // 1970-01-15T00:00:00Z
        let now = UtcDateTime::UNIX_EPOCH + Duration::from_secs(14 * 86_400);
        let time = time_argument("--since", given, now).unwrap();
        assert_eq!(Rfc3339(time).to_string(), expected, "{given}");
    }

    #[test]
    fn calendar_times_are_in_utc_unless_they_have_a_zone() {
        check("2026-11-22", "2026-11-22T00:00:00Z");
        check("2026-11-22 16:50", "2026-11-22T16:50:00Z");
        check("2026-11-22T16:50", "2026-11-22T16:50:00Z");
        check("2026-11-22 16:50:10", "2026-11-22T16:50:10Z");
        check("2026-11-22T16:50:10", "2026-11-22T16:50:10Z");
        check("2026-11-22T16:50:10Z", "2026-11-22T16:50:10Z");
        check("2026-11-22 16:50:10.5Z", "2026-11-22T16:50:10.5Z");
        check("2026-11-22T16:50:10+01:00", "2026-11-22T15:50:10Z");
        check("2026-11-22 16:50:10-05:30", "2026-11-22T22:20:10Z");
    }

    #[test]
    fn spans_go_back_from_now() {
        check("7d", "1970-01-08T00:00:00Z");
        check("12h", "1970-01-14T12:00:00Z");
        check("30m", "1970-01-14T23:30:00Z");
        check("10s", "1970-01-14T23:59:50Z");
        check("0s", "1970-01-15T00:00:00Z");
    }

    #[test]
    fn a_day_is_that_of_a_calendar_on_a_wall() {
        use time::macros::{date, utc_datetime};
        let now = utc_datetime!(2026-11-27 23:30:10.5);
        // An hour east of Greenwich.
        let day_of = |time: UtcDateTime| (time + Duration::from_secs(3600)).date();
        for (given, day) in [
            ("2026-11-22", date!(2026 - 11 - 22)),
            ("2026-11-22 22:59", date!(2026 - 11 - 22)),
            ("2026-11-22T23:00", date!(2026 - 11 - 23)),
            ("0s", date!(2026 - 11 - 28)),
            ("1d", date!(2026 - 11 - 27)),
        ] {
            assert_eq!(day_argument("--from", given, now, day_of).unwrap(), day, "{given}");
        }
        for given in ["yesterday", "2026-02-30", ""] {
            let error = day_argument("--to", given, now, day_of).unwrap_err().to_string();
            let start = format!("--to {given:?}: a day such as 2026-11-22, as your clock has it");
            assert!(error.starts_with(&start), "{error}");
            assert!(!error.contains("UTC"), "{error}");
        }
    }

    #[test]
    fn anything_else_is_refused_by_the_option_s_name() {
        for given in [
            "",
            "yesterday",
            "7",
            "d",
            "-7d",
            "+7d",
            "7.5h",
            "7w",
            "7€",
            "99999999999999999999d",
            "999999999999d",
            "2026-11-31",
            "2026-11-22 25:00",
            "2026-11-22 16:50 Berlin",
            "22.11.2026",
        ] {
            let error = time_argument("--since", given, UtcDateTime::UNIX_EPOCH).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with(&format!("--since {given:?}: a time in UTC")), "{error}");
        }
    }
}
