//! The axes of a plot: time in a time zone, and values between two round numbers.

use std::ops::{Range, RangeInclusive};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use plotters::coord::ranged1d::{
    KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter,
};
use time::{Date, UtcDateTime};

use crate::downsample::micros;

/// Minutes between two labels of the time axis.
const STEPS: [i64; 17] = [
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    180,
    360,
    720,
    DAY,
    2 * DAY,
    3 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
];
const DAY: i64 = 24 * 60;

/// A Monday, as a Julian day: labels a week apart are Mondays.
const MONDAY: i32 = 2_440_592;

/// Minutes between two times that may have a label: the steps are multiples of it or divide it, and
/// the offsets of time zones are multiples of 15 minutes.
const STRIDE: i64 = 5;

/// Part of a step by which a value may be beyond the end of an axis: the `f32` nearest to 3.3 isn't
/// quite 3.3.
const TOLERANCE: f64 = 1e-3;

const MINUTE: i64 = 60_000_000;

/// Time, in microseconds since 1970, with labels at round times of a time zone.
#[derive(Clone, Debug)]
pub struct TimeAxis {
    range: Range<i64>,
    zone: TimeZone,
    labelled: Vec<i64>,
    labels: TimeLabels,
}

/// What the labels of a time axis say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeLabels {
    /// The time of day, and the date at the first one of a day.
    Times,
    /// The date.
    Days,
    /// Month and year.
    Months,
}

/// Days between two labels of an axis of days, and months between them on a longer one.
const DAY_STEPS: [i32; 4] = [1, 2, 7, 14];
const MONTH_STEPS: [i32; 8] = [1, 2, 3, 6, 12, 24, 60, 120];

impl TimeAxis {
    /// An axis with at most `labels` labels.
    pub fn new(from: UtcDateTime, to: UtcDateTime, zone: TimeZone, labels: usize) -> Self {
        let range = micros(from)..micros(to);
        let minutes = (range.end - range.start) / MINUTE;
        // Steps that are far too close need no closer look.
        let steps = STEPS.iter().filter(|step| minutes / **step <= labels as i64);
        let mut all = steps.map(|step| labelled(&range, &zone, *step));
        let labelled = all.find(|labelled| labelled.len() <= labels).unwrap_or_default();
        Self { labelled, range, zone, labels: TimeLabels::Times }
    }

    /// An axis of whole days, whatever zone they are of, with at most `labels` labels. A day is
    /// where it would be in UTC.
    pub fn of_days(days: RangeInclusive<Date>, labels: usize) -> Self {
        let begin = |date: Date| micros(date.midnight().as_utc());
        let (first, last) = (*days.start(), *days.end());
        let end = last.next_day().unwrap_or(last);
        let range = begin(first)..begin(end).max(begin(first) + DAY * MINUTE);
        let by_days = DAY_STEPS.map(|step| (TimeLabels::Days, step, labels));
        // Month and year take more room than day and month.
        let by_months = MONTH_STEPS.map(|step| (TimeLabels::Months, step, labels * 3 / 4));
        let all = (last - first).whole_days();
        let mut steps = by_days.into_iter().chain(by_months).filter_map(|(form, step, most)| {
            let length = i64::from(step) * if form == TimeLabels::Days { 1 } else { 28 };
            if all / length > 2 * labels as i64 {
                return None;
            }
            let is_labelled = |date: &Date| match form {
                TimeLabels::Months => {
                    let months = date.year() * 12 + i32::from(u8::from(date.month())) - 1;
                    date.day() == 1 && months % step == 0
                }
                _ => (date.to_julian_day() - MONDAY) % step == 0,
            };
            let dates = std::iter::successors(Some(first), |date| date.next_day());
            let dates = dates.take_while(|date| *date <= last).filter(is_labelled);
            let labelled: Vec<_> = dates.map(begin).collect();
            (labelled.len() <= most).then_some((form, labelled))
        });
        let (labels, labelled) = steps.next().unwrap_or((TimeLabels::Months, vec![]));
        Self { range, zone: TimeZone::UTC, labelled, labels }
    }

    /// Name of the time that it shows: the zone, and its abbreviations within the range; the years
    /// of an axis of days.
    pub fn name(&self) -> String {
        if self.labels != TimeLabels::Times {
            let year = |micros| self.local(micros).year();
            let (first, last) = (year(self.range.start), year(self.range.end - MINUTE));
            return if first == last { first.to_string() } else { format!("{first} to {last}") };
        }
        let abbreviation = |micros| {
            let info = self.zone.to_offset_info(timestamp(micros));
            info.abbreviation().to_owned()
        };
        let (first, last) = (abbreviation(self.range.start), abbreviation(self.range.end));
        let in_use = if first == last { last } else { format!("{first}, then {last}") };
        match self.zone.iana_name() {
            Some(name) if name != in_use => format!("{name} ({in_use})"),
            _ => in_use,
        }
    }

    fn local(&self, micros: i64) -> DateTime {
        self.zone.to_datetime(timestamp(micros))
    }
}

/// The times within `range` whose time of day is a multiple of `step` minutes. For steps of days,
/// the beginnings of days, even if that is 01:00 because the clocks were put forward at midnight.
///
/// An hour that comes twice is labelled twice, a skipped one not at all.
fn labelled(range: &Range<i64>, zone: &TimeZone, step: i64) -> Vec<i64> {
    let stride = step.min(STRIDE) * MINUTE;
    let local = |micros| zone.to_datetime(timestamp(micros));
    let is_round = |micros: &i64| {
        let here = local(*micros);
        let day = here.date();
        let starts_day = day != local(micros - stride).date();
        if step >= DAY {
            let days = day.since(jiff::civil::date(1970, 1, 1)).map_or(0, |span| span.get_days());
            // 1970 began on a Thursday.
            let monday = if step % (7 * DAY) == 0 { 3 } else { 0 };
            return starts_day && (i64::from(days) + monday) % (step / DAY) == 0;
        }
        let minutes = i64::from(here.hour()) * 60 + i64::from(here.minute());
        starts_day || (minutes % step == 0 && here.second() == 0)
    };
    let first = (range.start + stride - 1).div_euclid(stride);
    let last = range.end.div_euclid(stride);
    (first..=last).map(|n| n * stride).filter(is_round).collect()
}

/// The time for jiff, which has a last year; later times are taken for its end.
fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

impl Ranged for TimeAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = i64;

    fn map(&self, value: &i64, (start, end): (i32, i32)) -> i32 {
        let part = (value - self.range.start) as f64 / (self.range.end - self.range.start) as f64;
        start + (part * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<i64> {
        bold(&hint, &self.labelled)
    }

    fn range(&self) -> Range<i64> {
        self.range.clone()
    }
}

impl ValueFormatter<i64> for TimeAxis {
    fn format_ext(&self, value: &i64) -> String {
        let here = self.local(*value);
        if self.labels == TimeLabels::Months {
            return here.strftime("%b %Y").to_string();
        }
        if self.labels == TimeLabels::Times && here.date() == self.local(value - MINUTE).date() {
            return format!("{:02}:{:02}", here.hour(), here.minute());
        }
        // The first label of a day is the date, not the time of day.
        here.strftime("%-d %b").to_string()
    }
}

/// Values with a unit, between two round numbers.
#[derive(Clone, Debug)]
pub struct ValueAxis {
    unit: &'static str,
    /// How much one of the unit is.
    scale: f64,
    labelled: Vec<f64>,
    decimals: usize,
    /// Lowest and highest value to be shown.
    low: f64,
    high: f64,
}

impl ValueAxis {
    /// An axis of `parts` equal parts that includes `low` and `high`.
    ///
    /// Two axes with the same number of parts have their lines at the same heights. Values in W
    /// that reach a thousand are labelled in kW or MW.
    pub fn covering(low: f64, high: f64, parts: u8, unit: &'static str) -> Self {
        // Next to huge numbers a float has no room for small differences.
        let span = (high - low).max(low.abs().max(high.abs()) * 1e-6).max(1e-3);
        let parts = f64::from(parts);
        let mut step = round_up(span / parts);
        let mut first = (low / step + TOLERANCE).floor();
        // Since the axis begins at a multiple of the step, a step may be too short.
        while (first + parts + TOLERANCE) * step < high {
            step = round_up(step * 1.01);
            first = (low / step + TOLERANCE).floor();
        }
        let labelled: Vec<_> = (0..=parts as u8).map(|n| (first + f64::from(n)) * step).collect();
        let (scale, unit) = scaled_unit(unit, low.abs().max(high.abs()));
        let is_whole = |digits: &i32| {
            let scaled = step / scale * 10_f64.powi(*digits);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        };
        let decimals = (0..6).find(is_whole).unwrap_or(6);
        Self { unit, scale, labelled, decimals: decimals as usize, low, high }
    }

    /// An axis without labels.
    pub fn none() -> Self {
        Self { unit: "", scale: 1.0, labelled: vec![], decimals: 0, low: 0.0, high: 1.0 }
    }

    /// The part of the axis between the lowest and the highest value.
    pub fn used(&self) -> f64 {
        let (first, last) = self.ends();
        (self.high - self.low) / (last - first)
    }

    /// The values with labels, and the labels.
    pub fn labels(&self) -> impl Iterator<Item = (f64, String)> {
        self.labelled.iter().map(|value| (*value, self.format_ext(value)))
    }

    fn ends(&self) -> (f64, f64) {
        (
            self.labelled.first().copied().unwrap_or(0.0),
            self.labelled.last().copied().unwrap_or(1.0),
        )
    }
}

/// The unit in which values up to `highest` are labelled, and how much one of it is.
fn scaled_unit(unit: &'static str, highest: f64) -> (f64, &'static str) {
    match unit {
        "W" if highest >= 1e6 => (1e6, "MW"),
        "W" if highest >= 1e3 => (1e3, "kW"),
        _ => (1.0, unit),
    }
}

/// The next one of …, 0.5, 1, 2, 2.5, 5, 10, ….
fn round_up(step: f64) -> f64 {
    let magnitude = 10_f64.powf(step.log10().floor());
    let rounds = [1.0, 2.0, 2.5, 5.0, 10.0];
    let round = rounds.into_iter().find(|round| round * magnitude >= step * (1.0 - TOLERANCE));
    round.unwrap_or(10.0) * magnitude
}

impl Ranged for ValueAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let (first, last) = self.ends();
        start + ((value - first) / (last - first) * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        bold(&hint, &self.labelled)
    }

    fn range(&self) -> Range<f64> {
        let (first, last) = self.ends();
        first..last
    }
}

impl ValueFormatter<f64> for ValueAxis {
    fn format_ext(&self, value: &f64) -> String {
        let value = value / self.scale;
        let number = if value.abs() < 1e5 {
            format!("{value:.*}", self.decimals)
        } else {
            format!("{value:.0e}")
        };
        // Zero has no sign, and a true minus is as wide as a plus.
        let digits = number.trim_start_matches('-');
        let is_zero = digits.chars().all(|c| matches!(c, '0' | '.'));
        let sign = if number.len() > digits.len() && !is_zero { "\u{2212}" } else { "" };
        format!("{sign}{digits} {}", self.unit).trim_end().to_owned()
    }
}

/// plotters also asks for fine lines between the labelled ones; there are none.
fn bold<T: Copy>(hint: &impl KeyPointHint, labelled: &[T]) -> Vec<T> {
    match hint.weight() {
        KeyPointWeight::Bold => labelled.to_vec(),
        KeyPointWeight::Any => vec![],
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, utc_datetime};

    use super::*;

    fn labels(from: UtcDateTime, to: UtcDateTime, zone: &str, most: usize) -> Vec<String> {
        let axis = TimeAxis::new(from, to, TimeZone::get(zone).unwrap(), most);
        axis.labelled.iter().map(|micros| axis.format_ext(micros)).collect()
    }

    #[test]
    fn times_are_round_in_the_time_zone() {
        let to = utc_datetime!(2026-11-22 19:07:31);
        let ago = |hours| to - time::Duration::hours(hours);
        for (from, zone, most, expected) in [
            (ago(1), "UTC", 5, "18:15 18:30 18:45 19:00"),
            (ago(1), "UTC", 7, "18:10 18:20 18:30 18:40 18:50 19:00"),
            (ago(1), "Asia/Kathmandu", 5, "23_Nov 00:15 00:30 00:45"),
            (ago(6), "Asia/Kathmandu", 5, "20:00 22:00 23_Nov"),
            (ago(6), "America/New_York", 4, "10:00 12:00 14:00"),
            (ago(24), "Europe/Berlin", 4, "22_Nov 06:00 12:00 18:00"),
            (ago(24), "Europe/Berlin", 3, "22_Nov 12:00"),
            (ago(7 * 24), "Europe/Berlin", 7, "16_Nov 17_Nov 18_Nov 19_Nov 20_Nov 21_Nov 22_Nov"),
            (ago(7 * 24), "Europe/Berlin", 3, "17_Nov 19_Nov 21_Nov"),
            (ago(30 * 24), "Europe/Berlin", 5, "26_Oct 2_Nov 9_Nov 16_Nov"),
            (ago(60 * 24), "Europe/Berlin", 3, "19_Oct 16_Nov"),
        ] {
            let got = labels(from, to, zone, most)
                .iter()
                .map(|s| s.replace(' ', "_"))
                .collect::<Vec<_>>();
            assert_eq!(got.join(" "), expected, "{zone}, {most} labels since {from}");
        }
    }

    #[test]
    fn days_are_labelled_at_round_dates() {
        for (first, last, most, name, expected) in [
            (date!(2026 - 11 - 27), date!(2026 - 11 - 27), 9, "2026", "27_Nov"),
            (date!(2026 - 11 - 27), date!(2026 - 11 - 29), 9, "2026", "27_Nov 28_Nov 29_Nov"),
            (
                date!(2026 - 11 - 01),
                date!(2026 - 11 - 30),
                5,
                "2026",
                "2_Nov 9_Nov 16_Nov 23_Nov 30_Nov",
            ),
            (
                date!(2025 - 11 - 20),
                date!(2026 - 11 - 19),
                9,
                "2025 to 2026",
                "Jan_2026 Mar_2026 May_2026 Jul_2026 Sep_2026 Nov_2026",
            ),
            (
                date!(2016 - 01 - 01),
                date!(2026 - 11 - 19),
                9,
                "2016 to 2026",
                "Jan_2016 Jan_2018 Jan_2020 Jan_2022 Jan_2024 Jan_2026",
            ),
        ] {
            let axis = TimeAxis::of_days(first..=last, most);
            let labels = axis.labelled.iter().map(|time| axis.format_ext(time).replace(' ', "_"));
            assert_eq!(labels.collect::<Vec<_>>().join(" "), expected, "{first} to {last}");
            assert_eq!(axis.name(), name);
        }
    }

    #[test]
    fn there_are_labels_whatever_the_day() {
        for day in 0..366 {
            let to = utc_datetime!(2026-01-01 10:00) + time::Duration::days(day);
            for (hours, most) in [(1, 3), (6, 3), (24, 3), (7 * 24, 3)] {
                let from = to - time::Duration::hours(hours);
                let labels = labels(from, to, "Europe/Berlin", most);
                assert!((1..=most).contains(&labels.len()), "{hours} h until {to}: {labels:?}");
            }
        }
    }

    #[test]
    fn clocks_that_are_changed_change_the_labels() {
        for (from, to, zone, expected) in [
            // Put back at 03:00: an hour comes twice.
            (
                utc_datetime!(2026-10-24 22:30),
                utc_datetime!(2026-10-25 02:30),
                "Europe/Berlin",
                "01:00 02:00 02:00 03:00",
            ),
            // Put forward at 02:00: an hour is left out.
            (
                utc_datetime!(2026-03-28 23:30),
                utc_datetime!(2026-03-29 03:30),
                "Europe/Berlin",
                "01:00 03:00 04:00 05:00",
            ),
            // Put forward at 00:00: the day begins at 01:00.
            (
                utc_datetime!(2026-03-08 02:30),
                utc_datetime!(2026-03-08 06:30),
                "America/Havana",
                "22:00 23:00 8_Mar 02:00",
            ),
        ] {
            let labels: Vec<_> =
                labels(from, to, zone, 6).iter().map(|label| label.replace(' ', "_")).collect();
            assert_eq!(labels.join(" "), expected, "{zone}, {from}");
        }
    }

    #[test]
    fn days_begin_at_midnight_before_and_after_the_change() {
        let (from, to) = (utc_datetime!(2026-10-23 12:00), utc_datetime!(2026-10-27 12:00));
        let axis = TimeAxis::new(from, to, TimeZone::get("Europe/Berlin").unwrap(), 4);
        let midnights = [
            utc_datetime!(2026-10-23 22:00),
            utc_datetime!(2026-10-24 22:00),
            utc_datetime!(2026-10-25 23:00),
            utc_datetime!(2026-10-26 23:00),
        ];
        assert_eq!(axis.labelled, midnights.map(micros));
        assert_eq!(axis.name(), "Europe/Berlin (CEST, then CET)");
    }

    #[test]
    fn values_are_labelled_at_round_numbers() {
        let nearest = |value: f32| f64::from(value);
        for (low, high, parts, unit, expected) in [
            (0.0, 100.0, 2, "%", "0 %, 50 %, 100 %"),
            (-90.0, 75.0, 4, "A", "−100 A, −50 A, 0 A, 50 A, 100 A"),
            (nearest(3.3), nearest(3.4), 4, "V", "3.300 V, 3.325 V, 3.350 V, 3.375 V, 3.400 V"),
            (3.29, 3.34, 2, "V", "3.25 V, 3.30 V, 3.35 V"),
            (52.8, 53.2, 4, "V", "52.8 V, 52.9 V, 53.0 V, 53.1 V, 53.2 V"),
            (-0.1, 0.1, 2, "A", "−0.1 A, 0.0 A, 0.1 A"),
            (0.0, 1e30, 2, "V", "0 V, 5e29 V, 1e30 V"),
            (-300.0, 900.0, 3, "W", "−500 W, 0 W, 500 W, 1000 W"),
            (-4200.0, 6500.0, 5, "W", "−5.0 kW, −2.5 kW, 0.0 kW, 2.5 kW, 5.0 kW, 7.5 kW"),
            (0.0, 516_220.0, 3, "W", "0 kW, 200 kW, 400 kW, 600 kW"),
            (0.0, 1.9e6, 2, "W", "0 MW, 1 MW, 2 MW"),
        ] {
            let axis = ValueAxis::covering(low, high, parts, unit);
            let labels: Vec<_> = axis.labelled.iter().map(|value| axis.format_ext(value)).collect();
            assert_eq!(labels.join(", "), expected, "{low} to {high}");
        }
    }

    #[test]
    fn whatever_a_float_can_hold_is_on_the_axis() {
        let values = [0.0, 1.0, 3.313, 53.017, 8_388_607.0, f32::MIN_POSITIVE, f32::MAX];
        let values: Vec<_> = values.iter().flat_map(|v| [-f64::from(*v), f64::from(*v)]).collect();
        for low in &values {
            for high in values.iter().filter(|high| low <= high) {
                for parts in 2..8 {
                    let axis = ValueAxis::covering(*low, *high, parts, "V");
                    let tolerance = (high - low).abs().max(low.abs() * 1e-6).max(1e-3) * TOLERANCE;
                    let (first, last) = axis.ends();
                    assert!(
                        first <= low + tolerance && high - tolerance <= last,
                        "{low} to {high}: {axis:?}"
                    );
                    assert_eq!(axis.labelled.len(), usize::from(parts) + 1);
                    assert!((0..=1000).contains(&axis.map(low, (0, 1000))), "{low} to {high}");
                }
            }
        }
    }
}
