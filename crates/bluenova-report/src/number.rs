//! How numbers are written for people: with a unit, and with no more digits than are known.

use bluenova_insight::Estimate;
use time::{Date, UtcDateTime};

/// What stands in the place of a figure that isn't known.
pub(crate) const NOT_KNOWN: &str = "not known yet";

/// `284 ± 6 Ah`: as many digits as the uncertainty allows.
pub(crate) fn estimate(estimate: Estimate, unit: &str) -> String {
    let decimals = decimals(estimate.plus_minus);
    format!("{} ± {:.decimals$} {unit}", signed(estimate.value, decimals), estimate.plus_minus)
}

/// The estimate, or that it isn't known yet.
pub(crate) fn estimate_or_not(found: Option<Estimate>, unit: &str) -> String {
    found.map_or_else(|| NOT_KNOWN.to_owned(), |found| estimate(found, unit))
}

/// Decimals with which an uncertainty has one digit, or two that begin with 1 or 2.
fn decimals(plus_minus: f64) -> usize {
    match plus_minus.abs() {
        3.0.. => 0,
        0.3.. => 1,
        0.03.. => 2,
        _ => 3,
    }
}

/// Kilowatt-hours from watt-hours: `0.50`, `12.3`, `1234`.
pub(crate) fn kwh(watt_hours: f64) -> String {
    in_three_digits(watt_hours / 1000.0)
}

/// A number that is never below zero, with three digits or a whole one.
pub(crate) fn in_three_digits(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// A percentage from a part of one. Only what is whole is 100 %, and only nothing is 0 %.
pub(crate) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    match percent {
        ..=0.0 => "0 %".to_owned(),
        ..0.1 => "below 0.1 %".to_owned(),
        99.95..100.0 => "over 99.9 %".to_owned(),
        100.0.. => "100 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}

/// A number with a true minus, and no sign at zero.
pub(crate) fn signed(number: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", number.abs());
    let is_zero = text.chars().all(|c| matches!(c, '0' | '.'));
    if number < 0.0 && !is_zero { format!("\u{2212}{text}") } else { text }
}

/// `2026-11-27`.
pub(crate) fn date(date: Date) -> String {
    let (year, month, day) = date.to_calendar_date();
    format!("{year:04}-{:02}-{day:02}", u8::from(month))
}

/// `2026-11-27 16:50 UTC`.
pub(crate) fn time(time: UtcDateTime) -> String {
    format!("{} {:02}:{:02} UTC", date(time.date()), time.hour(), time.minute())
}

/// A length of time: `40 s`, `12 min`, `3 h 20 min`, `5 d 2 h`.
pub(crate) fn length(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_has_the_digits_that_are_known() {
        for (value, plus_minus, expected) in [
            (284.31, 6.12, "284 ± 6 Ah"),
            (284.31, 1.26, "284.3 ± 1.3 Ah"),
            (0.2345, 0.0421, "0.23 ± 0.04 Ah"),
            (-12.4, 0.31, "−12.4 ± 0.3 Ah"),
            (-0.001, 0.04, "0.00 ± 0.04 Ah"),
            (0.0, 0.0, "0.000 ± 0.000 Ah"),
        ] {
            assert_eq!(estimate(Estimate { value, plus_minus }, "Ah"), expected);
        }
    }

    #[test]
    fn numbers_are_short() {
        for (watt_hours, expected) in [
            (0.0, "0.00"),
            (499.9, "0.50"),
            (9_994.0, "9.99"),
            (9_996.0, "10.0"),
            (99_960.0, "100"),
            (1_234_567.0, "1235"),
        ] {
            assert_eq!(kwh(watt_hours), expected);
        }
        for (part, expected) in [
            (0.0, "0 %"),
            (0.0001, "below 0.1 %"),
            (0.5, "50.0 %"),
            (0.99999, "over 99.9 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(part), expected);
        }
        for (seconds, expected) in
            [(0.0, "0 s"), (3599.0, "59 min"), (12_000.0, "3 h 20 min"), (439_200.0, "5 d 2 h")]
        {
            assert_eq!(length(seconds), expected);
        }
    }
}
