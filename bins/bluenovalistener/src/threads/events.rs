//! Events on their way to the journal, and the times that they get there.

use std::{
    mem,
    time::{Duration, Instant},
};

use bluenova_journal::{Event, EventKind};
use bluenova_status::duration;
use time::UtcDateTime;

use super::clock_is_set;

/// Number of events that wait until the clock is set; beyond it the oldest ones go.
const MAX_WAITING: usize = 1000;

/// By how much the clock must be ahead of the time that has passed to have been set: it is also
/// slewed, which takes no time away.
const SET_FORWARD: Duration = Duration::from_secs(5);

/// An event as a thread sees it, by the clock that is never set.
#[derive(Debug)]
pub(crate) struct NewEvent {
    /// When it happened.
    pub(super) at: Instant,
    pub(super) kind: EventKind,
    pub(super) battery: Option<String>,
    pub(super) mcu_id: Option<u32>,
    pub(super) detail: String,
}

impl NewEvent {
    /// An event of the listener that happens now.
    pub(super) fn now(kind: EventKind, detail: impl Into<String>) -> Self {
        Self { at: Instant::now(), kind, battery: None, mcu_id: None, detail: detail.into() }
    }

    /// An event of a battery that happens now.
    pub(crate) fn of_battery(kind: EventKind, battery: &str, mcu_id: Option<u32>) -> Self {
        Self { battery: Some(battery.to_owned()), mcu_id, ..Self::now(kind, "") }
    }
}

/// Gives events their time in UTC, as soon as the clock is set, and notes while it isn't.
#[derive(Debug)]
pub(super) struct EventTimes {
    waiting: Vec<NewEvent>,
    /// Since when the clock is not set.
    unset_since: Option<Instant>,
    /// The same moment by both clocks, when the clock was looked at last.
    before: (UtcDateTime, Instant),
}

impl EventTimes {
    /// For events from `now` on, which is `instant` by the clock that is never set.
    pub(super) fn begin(now: UtcDateTime, instant: Instant) -> Self {
        let unset_since = (!clock_is_set(now)).then_some(instant);
        Self { waiting: vec![], unset_since, before: (now, instant) }
    }

    /// Whether events wait for the clock.
    pub(super) fn wait_for_clock(&self) -> bool {
        self.unset_since.is_some()
    }

    pub(super) fn add(&mut self, event: NewEvent) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push(event);
    }

    /// The events that have a time, at `now`, which is `instant` by the clock that is never set.
    pub(super) fn take(&mut self, now: UtcDateTime, instant: Instant) -> Vec<Event> {
        let (before, then) = mem::replace(&mut self.before, (now, instant));
        if !clock_is_set(now) {
            self.unset_since.get_or_insert(then);
            return vec![];
        }
        let ago = |at: Instant| now.saturating_sub(signed(instant.saturating_duration_since(at)));
        let mut events = vec![];
        if let Some(since) = self.unset_since.take() {
            events.push(not_set(ago(since), now, "the clock was not set"));
        } else if let Some(ahead) = ahead(before, then, now, instant) {
            let ahead = duration(ahead);
            let detail = format!("the clock was set forward by {ahead}, or the machine slept");
            events.push(not_set(before, now, &detail));
        }
        for NewEvent { at, kind, battery, mcu_id, detail } in self.waiting.drain(..) {
            events.push(Event { battery, mcu_id, ..Event::new(ago(at), kind, detail) });
        }
        events
    }
}

fn not_set(since: UtcDateTime, until: UtcDateTime, detail: &str) -> Event {
    Event { until: Some(until), ..Event::new(since, EventKind::ClockNotSet, detail) }
}

/// By how much the clock was set forward between two moments, if it was.
fn ahead(
    before: UtcDateTime,
    then: Instant,
    now: UtcDateTime,
    instant: Instant,
) -> Option<Duration> {
    let expected = before.saturating_add(signed(instant.saturating_duration_since(then)));
    Duration::try_from(now - expected).ok().filter(|ahead| *ahead >= SET_FORWARD)
}

fn signed(length: Duration) -> time::Duration {
    length.try_into().unwrap_or(time::Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSET: UtcDateTime = UtcDateTime::UNIX_EPOCH;

    fn at(seconds: i64) -> UtcDateTime {
        UtcDateTime::from_unix_timestamp(1_800_000_000 + seconds).unwrap()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn lost(at: Instant) -> NewEvent {
        NewEvent { at, ..NewEvent::now(EventKind::NotConnected, "why") }
    }

    fn times(events: &[Event]) -> Vec<(EventKind, UtcDateTime, Option<UtcDateTime>)> {
        events.iter().map(|event| (event.kind, event.since, event.until)).collect()
    }

    #[test]
    fn an_event_has_the_time_at_which_it_happened() {
        let start = Instant::now();
        let mut events = EventTimes::begin(at(0), start);
        events.add(lost(start + seconds(3)));
        assert!(!events.wait_for_clock());
        let taken = events.take(at(10), start + seconds(10));
        assert_eq!(times(&taken), [(EventKind::NotConnected, at(3), None)]);
        assert!(events.take(at(11), start + seconds(11)).is_empty());
    }

    #[test]
    fn events_before_the_clock_is_set_wait_for_it() {
        let start = Instant::now();
        let mut events = EventTimes::begin(UNSET, start);
        events.add(lost(start + seconds(3)));
        assert!(events.wait_for_clock());
        assert!(events.take(UNSET + seconds(5), start + seconds(5)).is_empty());
        let taken = events.take(at(10), start + seconds(10));
        let expected =
            [(EventKind::ClockNotSet, at(0), Some(at(10))), (EventKind::NotConnected, at(3), None)];
        assert_eq!(times(&taken), expected);
        assert!(!events.wait_for_clock());
    }

    #[test]
    fn time_that_a_clock_jumps_over_is_an_event() {
        let start = Instant::now();
        for (now, expected) in [(14, None), (15, Some("5 s")), (3610, Some("1 h 0 min"))] {
            let mut events = EventTimes::begin(at(0), start);
            let taken = events.take(at(now), start + seconds(10));
            let detail = expected
                .map(|by| format!("the clock was set forward by {by}, or the machine slept"));
            assert_eq!(taken.first().map(|event| &event.detail), detail.as_ref(), "{now}");
            let span = taken.first().map(|event| (event.since, event.until));
            assert_eq!(span, expected.map(|_| (at(0), Some(at(now)))));
        }
        // Set back, no time is missing.
        let mut events = EventTimes::begin(at(0), start);
        assert!(events.take(at(-3600), start + seconds(10)).is_empty());
    }

    #[test]
    fn few_events_wait() {
        let start = Instant::now();
        let mut events = EventTimes::begin(UNSET, start);
        for _ in 0..=MAX_WAITING {
            events.add(lost(start));
        }
        assert_eq!(events.take(at(0), start).len(), MAX_WAITING + 1, "and that of the clock");
    }
}
