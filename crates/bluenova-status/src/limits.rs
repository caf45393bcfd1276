//! The limits beyond which a battery's values are serious, and how they are set.
//!
//! [`LIMITS`] is the one table of them: `--help`, the documentation and the errors come from it.
//!
//! The defaults are those of a bank that is charged from the sun and used overnight. Data sheets of
//! LiFePO4 cells (EVE LF280K, CATL 302 Ah) allow 2.50 to 3.65 V, charging at 0 to 60 °C (below,
//! metallic lithium is deposited, which is permanent), and have charging derated from 45 °C on. Red
//! comes before the firmware opens the breaker, amber early enough to do something.
//!
//! Healthy cells stay within some 30 mV of each other on the flat part of the curve, and
//! resistances that differ by half a milliohm add 50 mV at 100 A. In the knees, above 3.40 V and
//! below 3.00 V, a hundredth of the charge is a hundred millivolts: there a healthy pack has more
//! for minutes.

use std::ops::RangeInclusive;
use std::time::Duration;

use bluenova_record::{CHARGING_AMPS, PackRecord};
use serde::Serialize;

use crate::bank;

/// How serious a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody should look at it.
    Amber,
    /// Something has failed, or is about to.
    Red,
}

impl Severity {
    /// Both, the lesser one first.
    pub const ALL: [Self; 2] = [Self::Amber, Self::Red];

    /// `amber` or `red`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amber => "amber",
            Self::Red => "red",
        }
    }
}

/// A limit of one of a battery's values.
#[derive(Debug)]
pub struct Limit {
    /// Name on the command line, in JSON and in metrics.
    pub name: &'static str,
    /// Unit of its values.
    pub unit: &'static str,
    /// Value from which on it is amber, unless another one is set.
    pub amber: f64,
    /// Value from which on it is red, unless another one is set.
    pub red: f64,
    /// On which side of the limit a value is serious.
    pub side: Side,
    /// Values that may be set.
    pub allowed: RangeInclusive<f64>,
    /// How far a value must come back for the problem to end, so that it doesn't flicker.
    pub margin: f64,
    /// How long a value must be beyond the limit for the problem to begin.
    pub hold: Duration,
    /// What it is a limit of, for people.
    pub meaning: &'static str,
    /// What a problem says in front of the value.
    pub(crate) says: &'static str,
    pub(crate) value: fn(&PackRecord) -> Measured,
}

/// A side of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Values below it are serious.
    Below,
    /// Values above it are serious.
    Above,
}

/// A value that has a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measured {
    Unknown,
    /// The limit isn't one of the battery's present state.
    DoesNotApply,
    Is {
        value: f64,
        /// The cell that has it, from 1.
        cell: Option<usize>,
    },
}

/// How long values must say that a problem has begun or is over: longer than a garbled line is the
/// newest one, in a sample or in the row that ends with it. Samples come every two seconds.
pub(crate) const CONFIRMED: Duration = Duration::from_secs(3);

/// All limits that have a number.
pub const LIMITS: [Limit; 7] = [
    Limit {
        name: "low-charge",
        unit: "%",
        amber: 15.0,
        red: 5.0,
        side: Side::Below,
        allowed: 0.0..=100.0,
        margin: 2.0,
        hold: CONFIRMED,
        meaning: "state of charge",
        says: "state of charge",
        value: |record| Measured::of(record.soc.map(f64::from), None),
    },
    Limit {
        name: "cell-spread",
        unit: "mV",
        amber: 100.0,
        red: 300.0,
        side: Side::Above,
        allowed: 1.0..=2000.0,
        margin: 20.0,
        hold: Duration::from_secs(300),
        meaning: "highest less lowest cell voltage, while all cells have 3.00 to 3.40 V",
        says: "the cells differ by",
        value: |record| spread(record, false),
    },
    Limit {
        name: "cell-spread-at-ends",
        unit: "mV",
        amber: 300.0,
        red: 500.0,
        side: Side::Above,
        allowed: 1.0..=2000.0,
        margin: 50.0,
        hold: Duration::from_secs(300),
        meaning: "the same, while a cell has more or less: the battery is nearly full or empty",
        says: "the cells differ by",
        value: |record| spread(record, true),
    },
    Limit {
        name: "low-cell-voltage",
        unit: "V",
        amber: 2.9,
        red: 2.7,
        side: Side::Below,
        allowed: 1.0..=4.5,
        margin: 0.05,
        hold: Duration::from_secs(30),
        meaning: "lowest cell voltage",
        says: "lowest cell voltage",
        value: |record| match extremes(&record.cell_v, decimal) {
            Some((lowest, _)) => lowest,
            None => Measured::of(record.v_cell_min.map(decimal), None),
        },
    },
    Limit {
        name: "high-cell-voltage",
        unit: "V",
        amber: 3.6,
        red: 3.65,
        side: Side::Above,
        allowed: 1.0..=4.5,
        margin: 0.03,
        hold: Duration::from_secs(30),
        meaning: "highest cell voltage",
        says: "highest cell voltage",
        value: |record| match extremes(&record.cell_v, decimal) {
            Some((_, highest)) => highest,
            None => Measured::of(record.v_cell_max.map(decimal), None),
        },
    },
    Limit {
        name: "frost",
        unit: "°C",
        amber: 3.0,
        red: 0.0,
        side: Side::Below,
        allowed: -40.0..=60.0,
        margin: 1.0,
        hold: CONFIRMED,
        meaning: "lowest temperature of a cell or the pack, while more than 1 A charges it",
        says: "it is charged at",
        value: frost,
    },
    Limit {
        name: "high-temperature",
        unit: "°C",
        amber: 45.0,
        red: 55.0,
        side: Side::Above,
        allowed: 0.0..=100.0,
        margin: 2.0,
        hold: Duration::from_secs(30),
        meaning: "highest temperature of a cell or the pack",
        says: "highest temperature",
        value: |record| temperatures(record).map_or(Measured::Unknown, |(_, highest)| highest),
    },
];

/// Name of the problem of a battery that has no rows.
pub const NO_DATA: &str = "no-data";
/// Name of the problem of a battery that reports errors.
pub const ERRORS: &str = "errors";
/// Name of the problem of a battery whose breaker isn't closed.
pub const BREAKER: &str = "breaker";

/// The problems of a battery that have no number: they are always red.
pub const WITHOUT_NUMBER: [(&str, &str); 3] = [
    (NO_DATA, "no row for three intervals"),
    (ERRORS, "the battery has reported errors, other than `NONE`, for 3 s"),
    (BREAKER, "the battery has reported a breaker that isn't `CLOSED`, for 3 s"),
];

/// The flat part of the curve of LiFePO4: between the knees.
const FLAT_VOLTS: RangeInclusive<f64> = 3.0..=3.4;

impl Measured {
    fn of(value: Option<f64>, cell: Option<usize>) -> Self {
        match value.filter(|value| value.is_finite()) {
            Some(value) => Self::Is { value, cell },
            None => Self::Unknown,
        }
    }

    fn value(self) -> f64 {
        match self {
            Self::Is { value, .. } => value,
            Self::Unknown | Self::DoesNotApply => f64::NAN,
        }
    }
}

/// The lowest and the highest of the cells' values; `None` if none is known.
fn extremes<T: Copy>(
    cells: &[Option<T>],
    number: impl Fn(T) -> f64,
) -> Option<(Measured, Measured)> {
    let known = || {
        (1..).zip(cells).filter_map(|(cell, value)| {
            let value = Measured::of(value.map(&number), Some(cell));
            (value != Measured::Unknown).then_some(value)
        })
    };
    let by_value = |a: &Measured, b: &Measured| a.value().total_cmp(&b.value());
    Some((known().min_by(by_value)?, known().max_by(by_value)?))
}

/// The difference of the cells, and the one that is farthest from their mean.
fn spread(record: &PackRecord, at_ends: bool) -> Measured {
    let Some(cells) = bank::cell_voltages(record) else { return Measured::Unknown };
    let Some((lowest, highest)) = extremes(&record.cell_v, decimal) else {
        return Measured::Unknown;
    };
    let is_flat = [lowest, highest].iter().all(|cell| FLAT_VOLTS.contains(&cell.value()));
    if is_flat == at_ends {
        return Measured::DoesNotApply;
    }
    let is_low = cells.mean - lowest.value() > highest.value() - cells.mean;
    let cell = if is_low { cells.lowest } else { cells.highest };
    Measured::of(Some((cells.spread * 10.0).round() / 10.0), Some(cell))
}

fn frost(record: &PackRecord) -> Measured {
    match record.i_pack {
        None => Measured::Unknown,
        Some(amps) if amps > CHARGING_AMPS => {
            temperatures(record).map_or(Measured::Unknown, |(lowest, _)| lowest)
        }
        Some(_) => Measured::DoesNotApply,
    }
}

/// The lowest and the highest temperature of cells and pack.
fn temperatures(record: &PackRecord) -> Option<(Measured, Measured)> {
    let pack = record.temp.map(|temp| Measured::of(Some(temp.into()), None));
    let cells = extremes(&record.cell_t, f64::from);
    let (lowest, highest) = cells.or(pack.map(|pack| (pack, pack)))?;
    let pack = pack.unwrap_or(lowest);
    Some((
        if pack.value() < lowest.value() { pack } else { lowest },
        if pack.value() > highest.value() { pack } else { highest },
    ))
}

/// The decimal number that the battery sent, which has four digits at most.
fn decimal(value: f32) -> f64 {
    (f64::from(value) * 10_000.0).round() / 10_000.0
}

/// The limits as they are set.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits([Bounds; LIMITS.len()]);

/// The two values of a limit; `None`: it is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The value beyond which it is amber.
    pub amber: Option<f64>,
    /// The value beyond which it is red.
    pub red: Option<f64>,
}

/// Why a limit can't be set.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LimitError {
    /// The limit or its value is missing.
    #[error("{given:?}: NAME=AMBER or NAME=AMBER,RED is allowed, as in {example}")]
    Form {
        /// What was given.
        given: String,
        /// One that is right.
        example: String,
    },
    /// There is no such limit.
    #[error("{given:?} is no limit; the limits are {}", names().join(", "))]
    Name {
        /// What was given.
        given: String,
    },
    /// The value isn't allowed.
    #[error("{name}={given}: {allowed} is allowed")]
    Value {
        /// The limit.
        name: &'static str,
        /// What was given.
        given: String,
        /// What is allowed instead.
        allowed: String,
    },
}

/// Names of the limits that have a number.
pub fn names() -> [&'static str; LIMITS.len()] {
    LIMITS.each_ref().map(|limit| limit.name)
}

impl Default for Limits {
    fn default() -> Self {
        Self(
            LIMITS
                .each_ref()
                .map(|limit| Bounds { amber: Some(limit.amber), red: Some(limit.red) }),
        )
    }
}

impl Limits {
    /// Each limit with the values that are set.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Limit, Bounds)> {
        LIMITS.iter().zip(self.0)
    }

    /// Sets a limit as the command line has it: `NAME=AMBER,RED`, each of them a number or `off`.
    /// With a single number red stays as it is; a single `off` is for both. Returns the name.
    ///
    /// # Errors
    /// There is no such limit, or the values aren't allowed; the error says what is.
    pub fn set(&mut self, given: &str) -> Result<&'static str, LimitError> {
        let form = || {
            let [Limit { name, amber, red, .. }, ..] = &LIMITS;
            LimitError::Form {
                given: given.to_owned(),
                example: format!("{name}={amber} or {name}={amber},{red}"),
            }
        };
        let (name, values) = given.split_once('=').ok_or_else(form)?;
        let (limit, bounds) = LIMITS
            .iter()
            .zip(&mut self.0)
            .find(|(limit, _)| limit.name == name)
            .ok_or_else(|| LimitError::Name { given: name.to_owned() })?;
        let set = limit.bounds(values, bounds.red);
        *bounds = set.ok_or_else(|| LimitError::Value {
            name: limit.name,
            given: values.to_owned(),
            allowed: limit.allowed_values(),
        })?;
        Ok(limit.name)
    }
}

impl Limit {
    /// `None` if that isn't allowed.
    fn bounds(&self, values: &str, red_before: Option<f64>) -> Option<Bounds> {
        let (amber, red) = match values.split_once(',') {
            Some((amber, red)) => (self.bound(amber)?, self.bound(red)?),
            None if values == "off" => (None, None),
            None => (self.bound(values)?, red_before),
        };
        let bounds = Bounds { amber, red };
        match (amber, red) {
            (Some(amber), Some(red)) if self.side.is_beyond(amber, red) => None,
            _ => Some(bounds),
        }
    }

    /// A number or `off`; `None` outside: neither.
    #[expect(clippy::option_option, reason = "not allowed, off, or a number")]
    fn bound(&self, given: &str) -> Option<Option<f64>> {
        if given == "off" {
            return Some(None);
        }
        given.parse().ok().filter(|number| self.allowed.contains(number)).map(Some)
    }

    fn allowed_values(&self) -> String {
        let (least, most) = (self.allowed.start(), self.allowed.end());
        let order = match self.side {
            Side::Below => "at least",
            Side::Above => "at most",
        };
        format!(
            "AMBER or AMBER,RED, each {least} to {most} {} or off, and AMBER {order} RED (by \
             default {}),",
            self.unit,
            self.default_values()
        )
    }

    /// Whether `value` is beyond `bound`, or less than `margin` on its good side.
    pub(crate) fn is_beyond(&self, value: f64, bound: f64, margin: f64) -> bool {
        match self.side {
            Side::Below => self.side.is_beyond(value, bound + margin),
            Side::Above => self.side.is_beyond(value, bound - margin),
        }
    }

    /// The default values as they are given: `15,5`.
    pub fn default_values(&self) -> String {
        format!("{},{}", self.amber, self.red)
    }
}

impl Bounds {
    /// The value of one severity.
    pub fn of(self, severity: Severity) -> Option<f64> {
        match severity {
            Severity::Amber => self.amber,
            Severity::Red => self.red,
        }
    }
}

impl Side {
    /// Whether `value` is on this side of `limit`.
    pub(crate) fn is_beyond(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::Above => value > limit,
        }
    }

    /// `below` or `above`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Above => "above",
        }
    }
}

#[cfg(test)]
mod tests {
    use bluenova_record::PackRecord;
    use time::UtcDateTime;

    use super::*;

    fn record(fill: impl FnOnce(&mut PackRecord)) -> PackRecord {
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        fill(&mut record);
        record
    }

    fn measured(name: &str, record: &PackRecord) -> Measured {
        let limit = LIMITS.iter().find(|limit| limit.name == name).unwrap();
        (limit.value)(record)
    }

    #[test]
    fn the_table_holds_together() {
        for limit in &LIMITS {
            let Limit { name, amber, red, margin, ref allowed, .. } = *limit;
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{name}");
            assert!(allowed.contains(&amber) && allowed.contains(&red), "{name}");
            assert!(!limit.side.is_beyond(amber, red), "{name}");
            assert!(margin > 0.0 && limit.meaning.len() < 90, "{name}");
            let given = format!("{name}={}", limit.default_values());
            let mut limits = Limits::default();
            assert_eq!(limits.set(&given), Ok(name));
            assert_eq!(limits, Limits::default());
        }
    }

    /// The table of the documentation is this one.
    #[test]
    fn the_documentation_has_every_limit() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/running.md");
        let text = std::fs::read_to_string(path).unwrap();
        for limit in &LIMITS {
            let Limit { name, unit, amber, red, margin, meaning, .. } = limit;
            let (side, hold) = (limit.side.name(), limit.hold.as_secs());
            let row = format!(
                "| `{name}` | {side} | {unit} | {amber} | {red} | {margin} | {hold} s | {meaning} |"
            );
            assert!(text.lines().any(|line| line == row), "{row}");
        }
        for (name, meaning) in WITHOUT_NUMBER {
            let row = format!("| `{name}` | {meaning} |");
            assert!(text.lines().any(|line| line == row), "{row}");
        }
    }

    #[test]
    fn limits_are_set() {
        let on = |amber, red| Bounds { amber: Some(amber), red: Some(red) };
        for (given, expected) in [
            ("low-charge=20", on(20.0, 5.0)),
            ("low-charge=20,10", on(20.0, 10.0)),
            ("low-charge=7.5,7.5", on(7.5, 7.5)),
            ("low-charge=off", Bounds { amber: None, red: None }),
            ("low-charge=off,5", Bounds { amber: None, red: Some(5.0) }),
            ("low-charge=30,off", Bounds { amber: Some(30.0), red: None }),
        ] {
            let mut limits = Limits::default();
            assert_eq!(limits.set(given), Ok("low-charge"));
            assert_eq!(limits.iter().next().unwrap().1, expected, "{given}");
            assert_eq!(limits.0[1..], Limits::default().0[1..], "{given}");
        }
    }

    #[test]
    fn errors_name_the_limit_and_what_is_allowed() {
        let charge = "AMBER or AMBER,RED, each 0 to 100 % or off, and AMBER at least RED (by \
                      default 15,5), is allowed";
        for (given, expected) in [
            (
                "low-charge",
                "\"low-charge\": NAME=AMBER or NAME=AMBER,RED is allowed, as in \
                            low-charge=15 or low-charge=15,5",
            ),
            ("low-charge=", &format!("low-charge=: {charge}")),
            ("low-charge=abc", &format!("low-charge=abc: {charge}")),
            ("low-charge=101", &format!("low-charge=101: {charge}")),
            ("low-charge=NaN", &format!("low-charge=NaN: {charge}")),
            ("low-charge=5,15", &format!("low-charge=5,15: {charge}")),
            ("low-charge=3", &format!("low-charge=3: {charge}")),
            ("low-charge=20,10,5", &format!("low-charge=20,10,5: {charge}")),
            (
                "low-chrage=5",
                &format!("\"low-chrage\" is no limit; the limits are {}", names().join(", ")),
            ),
        ] {
            assert_eq!(Limits::default().set(given).unwrap_err().to_string(), expected);
        }
        let spread = Limits::default().set("cell-spread=400").unwrap_err().to_string();
        assert!(spread.contains("1 to 2000 mV or off, and AMBER at most RED"), "{spread}");
    }

    #[test]
    fn cells_may_differ_more_at_either_end() {
        let cells = |low: f32, high: f32| {
            record(|record| record.cell_v[..4].copy_from_slice(&[high, low, high, high].map(Some)))
        };
        let is = |value| Measured::Is { value, cell: Some(2) };
        for (low, high, flat, at_ends) in [
            (3.2, 3.32, is(120.0), Measured::DoesNotApply),
            (3.0, 3.4, is(400.0), Measured::DoesNotApply),
            (3.3, 3.401, Measured::DoesNotApply, is(101.0)),
            (2.999, 3.2, Measured::DoesNotApply, is(201.0)),
        ] {
            let record = cells(low, high);
            assert_eq!(measured("cell-spread", &record), flat, "{low} {high}");
            assert_eq!(measured("cell-spread-at-ends", &record), at_ends, "{low} {high}");
        }
        assert_eq!(measured("cell-spread", &record(|_| ())), Measured::Unknown);
    }

    #[test]
    fn frost_counts_while_current_charges() {
        let cold = |amps: Option<f32>, cell: Option<i16>, pack: Option<i16>| {
            let record = record(|record| {
                (record.i_pack, record.cell_t[2], record.temp) = (amps, cell, pack);
            });
            measured("frost", &record)
        };
        let is = |value, cell| Measured::Is { value, cell };
        assert_eq!(cold(Some(5.0), Some(-2), Some(1)), is(-2.0, Some(3)));
        assert_eq!(cold(Some(5.0), Some(2), Some(-1)), is(-1.0, None));
        assert_eq!(cold(Some(5.0), None, Some(-1)), is(-1.0, None));
        assert_eq!(cold(Some(5.0), None, None), Measured::Unknown);
        assert_eq!(cold(None, Some(-2), None), Measured::Unknown);
        for amps in [1.0, 0.0, -20.0] {
            assert_eq!(cold(Some(amps), Some(-2), None), Measured::DoesNotApply, "{amps} A");
        }
    }

    #[test]
    fn cell_voltages_are_the_decimal_numbers_that_were_sent() {
        let one = record(|record| record.cell_v[15] = Some(3.65));
        assert_eq!(
            measured("high-cell-voltage", &one),
            Measured::Is { value: 3.65, cell: Some(16) }
        );
        assert!(!Side::Above.is_beyond(decimal(3.65), 3.65));
        assert!(!Side::Below.is_beyond(decimal(2.7), 2.7));
        // Where no cell has been sent, what the firmware says of all of them.
        let reported = record(|record| record.v_cell_min = Some(2.5));
        assert_eq!(
            measured("low-cell-voltage", &reported),
            Measured::Is { value: 2.5, cell: None }
        );
        assert_eq!(measured("high-cell-voltage", &reported), Measured::Unknown);
        let not_a_number = record(|record| record.cell_v[0] = Some(f32::NAN));
        assert_eq!(measured("low-cell-voltage", &not_a_number), Measured::Unknown);
    }
}
