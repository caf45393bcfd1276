//! Which of all that happened in an interval is the cause of its missing row.

use std::ops::Range;

use time::UtcDateTime;

use super::{GapCause, GapFinder, Tracked, micros};

/// The causes of intervals that are asked for in order.
pub(super) struct Causes<'a> {
    finder: &'a GapFinder,
    tracked: &'a Tracked,
    elsewhere: &'a [(UtcDateTime, GapCause)],
    /// What ended before the last interval is never looked at again.
    idle: usize,
    state: usize,
    evicted: usize,
}

impl<'a> Causes<'a> {
    /// Of the intervals from `first` on.
    pub(super) fn new(
        finder: &'a GapFinder,
        tracked: &'a Tracked,
        elsewhere: &'a [(UtcDateTime, GapCause)],
        first: i64,
    ) -> Self {
        let begin = finder.begin_of(first);
        let idle = finder.idle.partition_point(|period| period.reaches <= begin);
        let state = tracked.states.partition_point(|(from, _)| *from <= begin).saturating_sub(1);
        Self { finder, tracked, elsewhere, idle, state, evicted: 0 }
    }

    pub(super) fn of(&mut self, number: i64) -> &'a GapCause {
        let interval = self.finder.begin_of(number)..self.finder.end_of(number);
        if let Some(cause) = self.elsewhere(interval.end) {
            return cause;
        }
        let (idle, idle_for) = self.idle(&interval);
        let (state, state_for) = self.state(&interval);
        let (cause, lasted) =
            if idle_for >= state_for { (idle, idle_for) } else { (state, state_for) };
        // At most half of it was lost otherwise: there was a row.
        if lasted <= self.finder.length / 2 && self.is_evicted(&interval) {
            return &GapCause::Evicted;
        }
        match cause {
            Some(cause) => cause,
            None if interval.end <= self.finder.recorded_since => &GapCause::BeforeEvents,
            None => &GapCause::Unknown,
        }
    }

    fn elsewhere(&mut self, end: i64) -> Option<&'a GapCause> {
        let half = self.finder.length / 2;
        while let Some(((at, cause), later)) = self.elsewhere.split_first() {
            let at = micros(*at);
            if at > end.saturating_add(self.finder.reach_of(at)) {
                return None;
            }
            if at >= end.saturating_sub(half) {
                return Some(cause);
            }
            self.elsewhere = later;
        }
        None
    }

    fn is_evicted(&mut self, interval: &Range<i64>) -> bool {
        let evicted = &self.finder.evicted;
        while evicted.get(self.evicted).is_some_and(|times| times.end < interval.start) {
            self.evicted += 1;
        }
        let begun = evicted.iter().skip(self.evicted).take_while(|t| t.start <= interval.end);
        begun.into_iter().any(|times| times.end >= interval.start)
    }

    /// The longest period of the interval in which nothing was recorded.
    fn idle(&mut self, interval: &Range<i64>) -> (Option<&'a GapCause>, i64) {
        let periods = &self.finder.idle;
        while periods.get(self.idle).is_some_and(|period| period.to <= interval.start) {
            self.idle += 1;
        }
        let mut longest = (None, 0);
        for period in periods.iter().skip(self.idle) {
            if period.from >= interval.end {
                break;
            }
            let lasted = overlap(interval, period.from, period.to);
            if lasted > longest.1 {
                longest = (Some(&period.cause), lasted);
            }
        }
        longest
    }

    /// The longest state of the battery in the interval that keeps its rows away.
    fn state(&mut self, interval: &Range<i64>) -> (Option<&'a GapCause>, i64) {
        let states = &self.tracked.states;
        while states.get(self.state + 1).is_some_and(|(from, _)| *from <= interval.start) {
            self.state += 1;
        }
        let mut longest = (None, 0);
        let ends = states.iter().skip(self.state + 1).map(|(from, _)| *from).chain([i64::MAX]);
        for ((from, cause), end) in states.iter().skip(self.state).zip(ends) {
            if *from >= interval.end {
                break;
            }
            let lasted = overlap(interval, *from, end);
            if cause.is_some() && lasted > longest.1 {
                longest = (cause.as_ref(), lasted);
            }
        }
        longest
    }
}

fn overlap(interval: &Range<i64>, from: i64, to: i64) -> i64 {
    interval.end.min(to).saturating_sub(interval.start.max(from)).max(0)
}
