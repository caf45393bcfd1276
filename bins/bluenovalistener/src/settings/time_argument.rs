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
                            such as 7d, 12h or 30m,";

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
    let time = before_now(given, now).or_else(|| calendar_time(given));
    time.ok_or_else(|| SettingsError::NotAllowed {
        option,
        given: given.to_owned(),
        allowed: TIME_ALLOWED,
    })
}

/// The date that `given` is: `2026-11-22`.
pub(crate) fn date_argument(given: &str) -> Option<Date> {
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
    now.checked_sub(span.try_into().ok()?)
}

fn calendar_time(given: &str) -> Option<UtcDateTime> {
    // RFC 3339 lets a blank stand for the T.
    let with_t = given.replacen(' ', "T", 1);
    if let Ok(time) = OffsetDateTime::parse(&with_t, &Rfc3339) {
        return time.checked_to_utc();
    }
    let with_blank = given.replacen('T', " ", 1);
    let midnight = || Some(PlainDateTime::new(date_argument(given)?, Time::MIDNIGHT));
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
