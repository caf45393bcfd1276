//! What is wrong with the values of a battery, from one of its rows or samples to the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bluenova_record::{PackRecord, Text, errors_in, not_closed};

use crate::bank;
use crate::limits::{
    BREAKER, Bounds, CONFIRMED, ERRORS, LIMITS, Limit, Limits, Measured, Severity,
};
use crate::status::stale_after;

/// How long an alarm outlives its last value: a row may lack a value now and then. Where rows are
/// rarer, it is the time after which they are stale.
const FORGET_AFTER: Duration = Duration::from_secs(120);

/// The limits of a battery, and which of them its values are beyond.
#[derive(Clone, Debug)]
pub(crate) struct Alarms {
    limits: Arc<Limits>,
    forget_after: Duration,
    /// The battery that the values are of.
    pub(crate) mcu_id: Option<u32>,
    numbers: [NumberState; LIMITS.len()],
    errors: TextState,
    breaker: TextState,
}

/// How a battery's values are to one limit.
#[derive(Clone, Copy, Debug, Default)]
struct NumberState {
    /// How they are to the limit of each severity, the lesser one first.
    severities: [SeverityState; 2],
    /// When the last one came.
    last: Option<Instant>,
}

/// How a battery's values are to one limit of one severity.
#[derive(Clone, Copy, Debug, Default)]
struct SeverityState {
    is_beyond: Lasting,
    /// The last value that was beyond it, and the cell that had it.
    value: f64,
    cell: Option<usize>,
    /// How often they have begun to be beyond it.
    begun: u64,
}

/// Whether a text of the battery says that something is wrong.
///
/// The firmware's words aren't documented, so that a garbled text can't be told from one that says
/// what is wrong. But a garbled line is alone: the cycles before and behind it have the good text.
#[derive(Clone, Copy, Debug, Default)]
struct TextState {
    is_bad: Lasting,
    last: Option<Instant>,
    /// The last one that wasn't good.
    text: Text<32>,
    /// How often it has begun to say that something is wrong.
    begun: u64,
}

/// Something that begins and ends only when values have said so for some time.
#[derive(Clone, Copy, Debug, Default)]
struct Lasting {
    is: bool,
    /// Since when values say the contrary.
    contrary_since: Option<Instant>,
}

/// A limit that a battery's values are beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    pub(crate) limit: &'static Limit,
    pub(crate) severity: Severity,
    bound: f64,
    pub(crate) value: f64,
    pub(crate) cell: Option<usize>,
}

impl Default for Alarms {
    fn default() -> Self {
        Self::new(Arc::default(), Duration::ZERO)
    }
}

impl Alarms {
    /// `interval` is the time from one row to the next.
    pub(crate) fn new(limits: Arc<Limits>, interval: Duration) -> Self {
        Self {
            limits,
            forget_after: FORGET_AFTER.max(stale_after(interval)),
            mcu_id: None,
            numbers: Default::default(),
            errors: TextState::default(),
            breaker: TextState::default(),
        }
    }

    /// Takes the values of a row or a sample.
    pub(crate) fn update(&mut self, record: &PackRecord, now: Instant) {
        if self.mcu_id.replace(record.mcu_id) != Some(record.mcu_id) {
            self.numbers = Default::default();
            (self.errors, self.breaker) = Default::default();
        }
        let forget_after = self.forget_after;
        let is_gone = |last: Option<Instant>| {
            last.is_some_and(|last| now.saturating_duration_since(last) > forget_after)
        };
        for ((limit, bounds), state) in self.limits.iter().zip(&mut self.numbers) {
            if is_gone(state.last) {
                state.forget();
            }
            state.update(limit, bounds, (limit.value)(record), now);
        }
        let errors = record.errors.as_deref().map(errors_in);
        let breaker = bank::breaker(record).map(not_closed);
        for (state, bad) in [(&mut self.errors, errors), (&mut self.breaker, breaker)] {
            if is_gone(state.last) {
                *state = TextState { begun: state.begun, ..TextState::default() };
            }
            if let Some(bad) = bad {
                state.update(bad, now);
            }
        }
    }

    /// The limits that the values are beyond.
    pub(crate) fn raised(&self) -> impl Iterator<Item = Alarm> {
        self.limits.iter().zip(&self.numbers).filter_map(|((limit, bounds), state)| {
            let (severity, &SeverityState { value, cell, .. }) = state.raised()?;
            Some(Alarm { limit, severity, bound: bounds.of(severity)?, value, cell })
        })
    }

    /// How often each problem that may be red has become so, since the start or since another
    /// battery was at the address.
    pub(crate) fn begun(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let limits = self.limits.iter().zip(&self.numbers);
        let red = limits.filter(|((_, bounds), _)| bounds.red.is_some());
        let of_limits = red.map(|((limit, _), state)| (limit.name, state.severities[1].begun));
        let of_texts = [(ERRORS, &self.errors), (BREAKER, &self.breaker)];
        of_limits.chain(of_texts.map(|(name, state)| (name, state.begun)))
    }

    /// The errors that the battery reports, if it has done so for some seconds.
    pub(crate) fn errors(&self) -> Option<&str> {
        self.errors.bad()
    }

    /// The state of a breaker that has been reported as other than closed for some seconds.
    pub(crate) fn breaker(&self) -> Option<&str> {
        self.breaker.bad()
    }
}

impl NumberState {
    fn update(&mut self, limit: &Limit, bounds: Bounds, measured: Measured, now: Instant) {
        if measured == Measured::Unknown {
            return;
        }
        self.last = Some(now);
        for (severity, state) in Severity::ALL.into_iter().zip(&mut self.severities) {
            let margin = if state.is_beyond.is { limit.margin } else { 0.0 };
            let is_beyond = |value| {
                bounds.of(severity).is_some_and(|bound| limit.is_beyond(value, bound, margin))
            };
            let beyond = match measured {
                Measured::Is { value, cell } if is_beyond(value) => Some((value, cell)),
                _ => None,
            };
            if let Some(beyond) = beyond {
                (state.value, state.cell) = beyond;
            }
            state.begun += u64::from(state.is_beyond.update(beyond.is_some(), limit.hold, now));
        }
    }

    /// The last value is too old to say anything.
    fn forget(&mut self) {
        self.last = None;
        for state in &mut self.severities {
            *state = SeverityState { begun: state.begun, ..SeverityState::default() };
        }
    }

    /// The most serious limit that the values are beyond.
    fn raised(&self) -> Option<(Severity, &SeverityState)> {
        let mut states = Severity::ALL.into_iter().zip(&self.severities);
        states.rfind(|(_, state)| state.is_beyond.is)
    }
}

impl TextState {
    /// Takes a text; `None`: it is a good one.
    fn update(&mut self, bad: Option<&str>, now: Instant) {
        self.last = Some(now);
        if let Some(text) = bad {
            self.text = Text::new(text);
        }
        self.begun += u64::from(self.is_bad.update(bad.is_some(), CONFIRMED, now));
    }

    fn bad(&self) -> Option<&str> {
        self.is_bad.is.then(|| self.text.as_str())
    }
}

impl Lasting {
    /// Takes whether a value says so. It begins when values have done that for the time `hold`, and
    /// ends when they have said the contrary for [`CONFIRMED`]. Returns whether it begins.
    fn update(&mut self, is: bool, hold: Duration, now: Instant) -> bool {
        if is == self.is {
            self.contrary_since = None;
            return false;
        }
        let since = *self.contrary_since.get_or_insert(now);
        let lasts_for = if self.is { CONFIRMED } else { hold };
        let has_changed = now.saturating_duration_since(since) >= lasts_for;
        if has_changed {
            *self = Self { is, contrary_since: None };
        }
        has_changed && is
    }
}

impl Alarm {
    /// What is wrong, without the battery's name.
    pub(crate) fn text(&self) -> String {
        let Self { limit: Limit { says, unit, side, .. }, bound, value, cell, .. } = self;
        let cell = cell.map(|cell| format!(" (cell {cell:02})")).unwrap_or_default();
        format!("{says} {value} {unit}{cell}, {} the limit of {bound} {unit}", side.name())
    }
}

#[cfg(test)]
mod tests {
    use time::UtcDateTime;

    use super::*;

    /// The second, what fills the row, and what is raised after it.
    type Step<'a> = (u64, &'a dyn Fn(&mut PackRecord), Option<(&'a str, Severity)>);

    /// Values of one limit's battery, at some second each; what is raised after each of them.
    fn check(given: &[&str], table: &[Step<'_>]) {
        check_with_rows_every(10, given, table);
    }

    fn check_with_rows_every(interval: u64, given: &[&str], table: &[Step<'_>]) {
        let mut limits = Limits::default();
        for given in given {
            limits.set(given).unwrap();
        }
        let mut alarms = Alarms::new(Arc::new(limits), Duration::from_secs(interval));
        let start = Instant::now();
        for (second, fill, expected) in table {
            let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
            fill(&mut record);
            alarms.update(&record, start + Duration::from_secs(*second));
            let raised: Vec<_> =
                alarms.raised().map(|alarm| (alarm.limit.name, alarm.severity)).collect();
            assert_eq!(raised, Vec::from_iter(*expected), "{second} s");
        }
    }

    const AMBER: Option<(&str, Severity)> = Some(("low-charge", Severity::Amber));
    const RED: Option<(&str, Severity)> = Some(("low-charge", Severity::Red));

    fn soc(soc: i16) -> impl Fn(&mut PackRecord) {
        move |record| record.soc = Some(soc)
    }

    #[test]
    fn an_alarm_ends_when_the_value_has_come_back_by_the_margin() {
        check(
            &[],
            &[
                (0, &soc(15), None),
                (1, &soc(14), None),
                (4, &soc(14), AMBER),
                (10, &soc(16), AMBER),
                (20, &soc(17), AMBER),
                (23, &soc(17), None),
                (30, &soc(16), None),
                (40, &soc(4), None),
                (43, &soc(4), RED),
                (50, &soc(6), RED),
                (60, &soc(7), RED),
                (63, &soc(7), AMBER),
                (70, &soc(4), AMBER),
                (73, &soc(4), RED),
                (80, &soc(100), RED),
                (83, &soc(100), None),
            ],
        );
        check(&["low-charge=off"], &[(0, &soc(0), None), (9, &soc(0), None)]);
        check(&["low-charge=off,5"], &[(0, &soc(10), None), (1, &soc(1), None), (4, &soc(1), RED)]);
    }

    /// Every kind of garbled value, with a good one two seconds before and behind it.
    #[test]
    fn one_garbled_value_neither_begins_nor_ends_an_alarm() {
        // In a sample, and in the row that ends with it.
        check(
            &[],
            &[(0, &soc(63), None), (2, &soc(6), None), (4, &soc(6), None), (5, &soc(63), None)],
        );
        check(
            &[],
            &[
                (0, &soc(6), None),
                (3, &soc(6), AMBER),
                (5, &soc(63), AMBER),
                (7, &soc(6), AMBER),
                (9, &soc(63), AMBER),
                (11, &soc(6), AMBER),
            ],
        );
        // The hold of minutes doesn't begin anew, either.
        let hot = |celsius| move |record: &mut PackRecord| record.temp = Some(celsius);
        let red = Some(("high-temperature", Severity::Red));
        check(
            &[],
            &[
                (0, &hot(56), None),
                (30, &hot(56), red),
                (32, &hot(5), red),
                (34, &hot(56), red),
                (36, &hot(5), red),
                (39, &hot(5), None),
            ],
        );
    }

    #[test]
    fn a_value_that_is_missing_changes_nothing_for_two_minutes() {
        let missing = |_: &mut PackRecord| ();
        check(
            &[],
            &[
                (0, &missing, None),
                (7, &soc(10), None),
                (10, &soc(10), AMBER),
                (60, &missing, AMBER),
                (130, &missing, AMBER),
                (131, &missing, None),
                (132, &soc(16), None),
            ],
        );
    }

    /// Once each, whichever the seconds at which it was looked at.
    #[test]
    fn beginnings_are_counted() {
        let mut alarms = Alarms::default();
        let start = Instant::now();
        let mut begun = |from: u64, soc: i16, errors: &str| {
            let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
            (record.soc, record.errors) = (Some(soc), Some(Text::new(errors)));
            for second in [0, 2, 4] {
                alarms.update(&record, start + Duration::from_secs(from + second));
            }
            let of = |name| alarms.begun().find(|(it, _)| *it == name).unwrap().1;
            (of("low-charge"), of("errors"))
        };
        assert_eq!(begun(0, 60, "NONE"), (0, 0));
        assert_eq!(begun(10, 10, "NONE"), (0, 0), "amber only");
        assert_eq!(begun(20, 4, "HOT"), (1, 1));
        assert_eq!(begun(30, 10, "COLD"), (1, 1));
        assert_eq!(begun(40, 60, "NONE"), (1, 1));
        assert_eq!(begun(50, 4, "NONE"), (2, 1));
        // After a silence it is another one.
        assert_eq!(begun(1000, 4, "HOT"), (3, 2));
    }

    #[test]
    fn limits_without_red_have_no_beginnings() {
        let mut limits = Limits::default();
        limits.set("low-charge=20,off").unwrap();
        limits.set("frost=off").unwrap();
        let alarms = Alarms::new(Arc::new(limits), Duration::ZERO);
        let names: Vec<_> = alarms.begun().map(|(name, _)| name).collect();
        assert_eq!(names.len(), LIMITS.len() - 2 + 2);
        assert!(!names.contains(&"low-charge") && names.contains(&"breaker"), "{names:?}");
    }

    #[test]
    fn rows_that_come_every_five_minutes_are_enough() {
        check_with_rows_every(300, &[], &[(0, &soc(14), None), (300, &soc(14), AMBER)]);
        // Of a battery that sends a row every ten seconds, they are as many silences.
        check(&[], &[(0, &soc(14), None), (300, &soc(14), None), (303, &soc(14), AMBER)]);
    }

    #[test]
    fn cells_that_differ_for_moments_are_no_alarm() {
        let cells = |low: f32| {
            move |record: &mut PackRecord| {
                record.cell_v[..2].copy_from_slice(&[Some(3.3), Some(low)]);
            }
        };
        let amber = Some(("cell-spread", Severity::Amber));
        check(
            &[],
            &[
                (0, &cells(3.19), None),
                (100, &cells(3.19), None),
                (200, &cells(3.2), None),
                (210, &cells(3.19), None),
                (300, &cells(3.19), None),
                (400, &cells(3.19), None),
                (500, &cells(3.19), None),
                (510, &cells(3.19), amber),
                (520, &cells(3.21), amber),
                (530, &cells(3.22), amber),
                (533, &cells(3.22), None),
            ],
        );
        // A battery that was silent begins anew.
        check(&[], &[(0, &cells(3.19), None), (1000, &cells(3.19), None)]);
    }

    #[test]
    fn frost_ends_with_the_charging() {
        let at = |amps: f32, celsius: i16| {
            move |record: &mut PackRecord| {
                (record.i_pack, record.temp) = (Some(amps), Some(celsius));
            }
        };
        let frost = |severity| Some(("frost", severity));
        check(
            &[],
            &[
                (0, &at(-20.0, -10), None),
                (1, &at(20.0, -10), None),
                (4, &at(20.0, -10), frost(Severity::Red)),
                (5, &at(20.0, 0), frost(Severity::Red)),
                (6, &at(20.0, 1), frost(Severity::Red)),
                (9, &at(20.0, 1), frost(Severity::Amber)),
                (10, &at(0.5, 1), frost(Severity::Amber)),
                (13, &at(0.5, 1), None),
                (20, &at(20.0, 3), None),
            ],
        );
    }

    /// The breaker as it is reported at some second each; what is raised after each of them.
    fn check_breaker(table: &[(u64, &str, Option<&str>)]) {
        let mut alarms = Alarms::default();
        let start = Instant::now();
        for (second, breaker, expected) in table {
            let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
            record.breaker = Some(Text::new(breaker));
            record.errors = Some(Text::new(if *breaker == "CLOSED" { "NONE" } else { breaker }));
            alarms.update(&record, start + Duration::from_secs(*second));
            assert_eq!(alarms.breaker(), *expected, "{second} s");
            assert_eq!(alarms.errors(), *expected, "{second} s");
        }
    }

    #[test]
    fn a_text_is_an_alarm_that_has_been_there_for_three_seconds() {
        let open = Some("OPEN");
        check_breaker(&[
            (0, "CLOSED", None),
            (2, "OPEN", None),
            (4, "OPEN", None),
            (6, "OPEN", open),
            (8, "CLOSED", open),
            (10, "CLOSED", open),
            (12, "CLOSED", None),
        ]);
    }

    #[test]
    fn one_garbled_text_neither_begins_nor_ends_an_alarm() {
        check_breaker(&[(0, "CLOSED", None), (2, "CLOS", None), (4, "CLOSED", None)]);
        // A sample, and the row that ends with it; the next one is garbled otherwise.
        check_breaker(&[
            (0, "CLOS", None),
            (1, "CLOS", None),
            (2, "C?", None),
            (4, "CLOSED", None),
        ]);
        check_breaker(&[
            (0, "OPEN", None),
            (3, "OPEN", Some("OPEN")),
            (5, "CLOSED", Some("OPEN")),
            (7, "OPEN", Some("OPEN")),
            (9, "CLOSED", Some("OPEN")),
            (11, "OPEN", Some("OPEN")),
        ]);
    }

    /// A firmware may print one error after the other, each in a cycle of its own.
    #[test]
    fn errors_that_alternate_are_an_alarm() {
        check_breaker(&[(0, "A", None), (2, "B", None), (4, "A", Some("A")), (6, "B", Some("B"))]);
    }

    #[test]
    fn another_battery_at_the_address_has_no_alarms_of_the_one_before() {
        let (mut alarms, start) = (Alarms::default(), Instant::now());
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        (record.soc, record.errors) = (Some(14), Some(Text::new("HOT")));
        alarms.update(&record, start);
        alarms.update(&record, start + CONFIRMED);
        assert_eq!((alarms.raised().count(), alarms.errors()), (1, Some("HOT")));
        (record.mcu_id, record.soc, record.errors) = (2, Some(16), None);
        alarms.update(&record, start + CONFIRMED);
        assert_eq!((alarms.raised().count(), alarms.errors()), (0, None));
    }

    #[test]
    fn an_alarm_says_what_the_value_is_and_what_the_limit() {
        let (mut alarms, start) = (Alarms::default(), Instant::now());
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        (record.soc, record.i_pack, record.cell_t[6]) = (Some(4), Some(20.0), Some(-3));
        alarms.update(&record, start);
        alarms.update(&record, start + CONFIRMED);
        let texts = |alarms: &Alarms| Vec::from_iter(alarms.raised().map(|alarm| alarm.text()));
        let frost = "it is charged at -3 °C (cell 07), below the limit of 0 °C";
        assert_eq!(texts(&alarms), ["state of charge 4 %, below the limit of 5 %", frost]);
        // A value that isn't beyond the limit isn't said to be.
        record.soc = Some(63);
        alarms.update(&record, start + CONFIRMED);
        assert_eq!(texts(&alarms), ["state of charge 4 %, below the limit of 5 %", frost]);
    }
}
