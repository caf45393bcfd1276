//! What happened to a battery, summed up: a year of it fits a table.

use bluenova_record::{PackRecord, Rfc3339, first_chars};
use serde::Serialize;
use time::{Duration, UtcDateTime};

/// Most kinds of events that are told apart: the words of a battery may be any.
const MOST_KINDS: usize = 40;

/// What events are called beyond those.
const OTHERS: &str = "other events";

/// Longest name of an event.
const MOST_CHARACTERS: usize = 80;

/// Longest time without a row in which a state of the battery is taken to have lasted.
const LONGEST_PAUSE: Duration = Duration::minutes(10);

/// All events of a kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventSummary {
    /// What happened, in the battery's own words where it is a word of its.
    pub event: String,
    /// How often.
    pub count: u64,
    /// How long in all, in seconds; `None` where it has no length.
    pub seconds: Option<f64>,
    /// When first.
    pub first: Rfc3339,
    /// When it began for the last time.
    pub last: Rfc3339,
}

/// Sums events up as they come, and finds those in the rows of a battery: error words, and a
/// breaker that isn't closed.
#[derive(Debug, Default)]
pub struct EventLog {
    summaries: Vec<EventSummary>,
    /// The states that last, as the last row has them, and when they began.
    states: Vec<(String, UtcDateTime)>,
    last_row: Option<UtcDateTime>,
}

impl EventLog {
    /// Adds an event, which lasted until then if it has a length.
    pub fn add(&mut self, event: &str, since: UtcDateTime, until: Option<UtcDateTime>) {
        let seconds = until.map(|until| (until - since).as_seconds_f64().max(0.0));
        let event = first_chars(event, MOST_CHARACTERS);
        let is_full = self.summaries.len() >= MOST_KINDS;
        let find = |summaries: &mut Vec<EventSummary>, event: &str| {
            summaries.iter().position(|summary| summary.event == event)
        };
        let mut at = find(&mut self.summaries, event);
        if at.is_none() && is_full {
            at = find(&mut self.summaries, OTHERS);
        }
        let Some(summary) = at.and_then(|at| self.summaries.get_mut(at)) else {
            let event = if is_full { OTHERS } else { event }.to_owned();
            let (first, last) = (Rfc3339(since), Rfc3339(since));
            self.summaries.push(EventSummary { event, count: 1, seconds, first, last });
            return;
        };
        summary.count += 1;
        if let Some(seconds) = seconds {
            *summary.seconds.get_or_insert(0.0) += seconds;
        }
        summary.first.0 = summary.first.0.min(since);
        summary.last.0 = summary.last.0.max(since);
    }

    /// Looks at the next row of the battery. One that isn't later than the last one is left out.
    pub fn row(&mut self, row: &PackRecord) {
        let time = row.insert_time_utc;
        if self.last_row.is_some_and(|last| time <= last) {
            return;
        }
        if self.last_row.is_some_and(|last| time - last > LONGEST_PAUSE) {
            self.end_states(|_| true);
        }
        self.last_row = Some(time);
        let now = states(row);
        self.end_states(|state| !now.iter().any(|it| it == state));
        for state in now {
            if !self.states.iter().any(|(earlier, _)| *earlier == state) {
                self.states.push((state, time));
            }
        }
    }

    /// All events, those that began first in front. States that last end with the last row.
    pub fn finish(mut self) -> Vec<EventSummary> {
        self.end_states(|_| true);
        self.summaries.sort_by_key(|summary| summary.first.0);
        self.summaries
    }

    /// Ends the states that `has_ended` says, with the last row.
    fn end_states(&mut self, has_ended: impl Fn(&str) -> bool) {
        let until = self.last_row;
        let states = std::mem::take(&mut self.states);
        let (ended, lasting) = states.into_iter().partition(|(state, _)| has_ended(state));
        self.states = lasting;
        for (state, since) in Vec::from_iter::<Vec<_>>(ended) {
            self.add(&state, since, until);
        }
    }
}

/// What is out of the ordinary in a row.
fn states(row: &PackRecord) -> Vec<String> {
    let errors = row.errors_present().map(|errors| format!("error {errors}"));
    let breaker = row.breaker_not_closed().map(|breaker| format!("breaker {breaker}"));
    errors.into_iter().chain(breaker).collect()
}

#[cfg(test)]
mod tests {
    use bluenova_record::Text;

    use super::*;

    fn at(second: i64) -> UtcDateTime {
        UtcDateTime::UNIX_EPOCH + Duration::seconds(second)
    }

    fn row(second: i64, errors: &str, breaker: &str) -> PackRecord {
        let mut row = PackRecord::new(at(second), 7);
        row.errors = Some(Text::new(errors));
        row.breaker = Some(Text::new(breaker));
        row
    }

    #[track_caller]
    fn check(rows: &[PackRecord], expected: &[(&str, u64, f64)]) {
        let mut log = EventLog::default();
        rows.iter().for_each(|row| log.row(row));
        let found = log.finish();
        let found: Vec<_> =
            found.iter().map(|it| (it.event.as_str(), it.count, it.seconds.unwrap())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn error_words_last_from_row_to_row() {
        check(&[row(0, "NONE", "CLOSED"), row(10, "none", "closed"), row(20, " ", "")], &[]);
        check(
            &[
                row(0, "NONE", "CLOSED"),
                row(10, "OVERTEMP", "CLOSED"),
                row(20, "OVERTEMP", "OPEN"),
                row(30, "NONE", "OPEN"),
                row(40, "OVERTEMP", "CLOSED"),
                row(50, "OVERTEMP", "CLOSED"),
            ],
            &[("error OVERTEMP", 2, 30.0), ("breaker OPEN", 1, 20.0)],
        );
    }

    #[test]
    fn a_state_does_not_last_across_a_pause() {
        check(
            &[row(0, "X", "CLOSED"), row(10, "X", "CLOSED"), row(9000, "X", "CLOSED")],
            &[("error X", 2, 10.0)],
        );
    }

    #[test]
    fn any_number_of_words_fits() {
        let mut log = EventLog::default();
        for n in 0..1000 {
            log.add(&format!("error {n}"), at(n), Some(at(n + 1)));
        }
        let found = log.finish();
        assert_eq!(found.len(), MOST_KINDS + 1);
        let others = found.iter().find(|it| it.event == OTHERS).unwrap();
        assert_eq!((others.count, others.seconds), (960, Some(960.0)));
        assert_eq!((others.first.0, others.last.0), (at(40), at(999)));
    }
}
