//! Which limits the values of a battery are beyond, from one of its rows to the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bluenova_record::PackRecord;

use crate::limits::{Bounds, LIMITS, Limit, Limits, Measured, Severity};

/// How long an alarm outlives its last value: a row may lack a value now and then.
const FORGET_AFTER: Duration = Duration::from_secs(120);

/// The limits of a battery, and which of them its values are beyond.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarms {
    limits: Arc<Limits>,
    mcu_id: Option<u32>,
    states: [State; LIMITS.len()],
}

/// How a battery's values are to one limit.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Since when they are beyond the limit of each severity, the lesser one first.
    since: [Option<Instant>; 2],
    /// The last one, and when that was.
    last: Option<(Measured, Instant)>,
    raised: Option<Severity>,
}

/// A limit that a battery's values are beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    pub(crate) limit: &'static Limit,
    pub(crate) severity: Severity,
    bound: f64,
    value: f64,
    cell: Option<usize>,
}

impl Alarms {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes the values of a row, or of the interval under way.
    pub(crate) fn update(&mut self, record: &PackRecord, now: Instant) {
        if self.mcu_id.replace(record.mcu_id) != Some(record.mcu_id) {
            self.states = Default::default();
        }
        for ((limit, bounds), state) in self.limits.iter().zip(&mut self.states) {
            state.update(limit, bounds, (limit.value)(record), now);
        }
    }

    /// The limits that the values were beyond last.
    pub(crate) fn raised(&self) -> impl Iterator<Item = Alarm> {
        self.limits.iter().zip(&self.states).filter_map(|((limit, bounds), state)| {
            let (severity, (Measured::Is { value, cell }, _)) = (state.raised?, state.last?) else {
                return None;
            };
            Some(Alarm { limit, severity, bound: bounds.of(severity)?, value, cell })
        })
    }
}

impl State {
    fn update(&mut self, limit: &Limit, bounds: Bounds, measured: Measured, now: Instant) {
        let is_gone = |(_, last)| now.saturating_duration_since(last) > FORGET_AFTER;
        if self.last.is_some_and(is_gone) || measured == Measured::DoesNotApply {
            *self = Self::default();
        }
        let Measured::Is { value, .. } = measured else { return };
        for (severity, since) in Severity::ALL.into_iter().zip(&mut self.since) {
            let margin = if self.raised >= Some(severity) { limit.margin } else { 0.0 };
            let is_beyond =
                bounds.of(severity).is_some_and(|bound| limit.is_beyond(value, bound, margin));
            *since = is_beyond.then(|| since.unwrap_or(now));
        }
        self.last = Some((measured, now));
        let held = Severity::ALL.into_iter().zip(self.since).filter(|(_, since)| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= limit.hold)
        });
        self.raised = held.map(|(severity, _)| severity).max();
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
        let mut limits = Limits::default();
        for given in given {
            limits.set(given).unwrap();
        }
        let mut alarms = Alarms::new(Arc::new(limits));
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
                (1, &soc(14), AMBER),
                (2, &soc(16), AMBER),
                (3, &soc(17), None),
                (4, &soc(16), None),
                (5, &soc(4), RED),
                (6, &soc(6), RED),
                (7, &soc(7), AMBER),
                (8, &soc(4), RED),
                (9, &soc(100), None),
            ],
        );
        check(&["low-charge=off"], &[(0, &soc(0), None)]);
        check(&["low-charge=off,5"], &[(0, &soc(10), None), (1, &soc(1), RED)]);
    }

    #[test]
    fn a_value_that_is_missing_changes_nothing_for_two_minutes() {
        let missing = |_: &mut PackRecord| ();
        check(
            &[],
            &[
                (0, &missing, None),
                (10, &soc(10), AMBER),
                (60, &missing, AMBER),
                (130, &missing, AMBER),
                (131, &missing, None),
                (132, &soc(16), None),
            ],
        );
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
                (530, &cells(3.22), None),
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
                (1, &at(20.0, -10), frost(Severity::Red)),
                (2, &at(20.0, 0), frost(Severity::Red)),
                (3, &at(20.0, 1), frost(Severity::Amber)),
                (4, &at(0.5, 1), None),
                (5, &at(20.0, 3), None),
            ],
        );
    }

    #[test]
    fn another_battery_at_the_address_has_no_alarms_of_the_one_before() {
        let mut alarms = Alarms::default();
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        record.soc = Some(14);
        alarms.update(&record, Instant::now());
        assert_eq!(alarms.raised().count(), 1);
        (record.mcu_id, record.soc) = (2, Some(16));
        alarms.update(&record, Instant::now());
        assert_eq!(alarms.raised().count(), 0);
    }

    #[test]
    fn an_alarm_says_what_the_value_is_and_what_the_limit() {
        let mut alarms = Alarms::default();
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        (record.soc, record.i_pack, record.cell_t[6]) = (Some(4), Some(20.0), Some(-3));
        alarms.update(&record, Instant::now());
        let texts: Vec<_> = alarms.raised().map(|alarm| alarm.text()).collect();
        let expected = [
            "state of charge 4 %, below the limit of 5 %",
            "it is charged at -3 °C (cell 07), below the limit of 0 °C",
        ];
        assert_eq!(texts, expected);
    }
}
