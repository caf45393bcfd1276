//! Which intervals of a battery have no row, and why: a rule, without any I/O.
//!
//! A row counts for an interval if it lies within half an interval of its end, so that the first
//! listener's odd seconds count as well as our multiples. Where intervals were longer, it counts
//! for all that are in its own.

mod cause;
mod explain;
mod in_journal;
mod timeline;

use std::collections::HashMap;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use time::UtcDateTime;

use self::explain::Causes;
use self::timeline::{EventIndex, Period, batteries, evicted, idle_periods, lengths};
use crate::events::Event;

pub use self::cause::GapCause;
pub use self::in_journal::{RowsOutsideTable, gaps_in_journal, gaps_of};

/// Finds the intervals without a row while the rows pass by in the order of time, and names the
/// cause of each.
///
/// ```
/// use std::time::Duration;
///
/// use bluenova_journal::GapFinder;
/// use time::UtcDateTime;
///
/// let at = |seconds| UtcDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
/// let mut finder = GapFinder::new(Duration::from_secs(10), at(0)..at(40), &[], &[7], true);
/// assert_eq!(finder.row(7, at(10)), None);
/// let missing = finder.row(7, at(40)).unwrap();
/// let gaps = finder.explain(&missing, &[]);
/// assert_eq!((gaps[0].from, gaps[0].to, gaps[0].intervals), (at(10), at(30), 2));
/// assert_eq!((finder.end(), finder.shares()[0].missing), (vec![], 2));
/// ```
#[derive(Debug)]
pub struct GapFinder {
    /// Length of an interval in microseconds. Intervals are numbered by their end: that of number
    /// `n` is `n` lengths after 1970.
    length: i64,
    numbers: RangeInclusive<i64>,
    batteries: Vec<Tracked>,
    by_mcu_id: HashMap<u32, usize>,
    /// Whether a battery that is new counts.
    takes_all: bool,
    /// When nothing was recorded, whichever the battery: by beginning and end.
    idle: Vec<Period>,
    /// The first of them that has not ended at the last row.
    next_idle: usize,
    evicted: Vec<Range<i64>>,
    /// The time of the first event.
    recorded_since: i64,
    /// From when on an interval was how long, where the listener said so.
    lengths: Vec<(i64, i64)>,
    /// The longest of these intervals.
    longest: i64,
}

/// A battery of which rows are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapBattery {
    /// Its MCU ID; `None` if it has never sent one.
    pub mcu_id: Option<u32>,
    /// Names under which it was listened to.
    pub names: Vec<String>,
}

/// Intervals of a battery without a row, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingIntervals {
    battery: usize,
    numbers: RangeInclusive<i64>,
}

/// Intervals of a battery without a row, one behind the other, and of the same cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The beginning of the first interval.
    pub from: UtcDateTime,
    /// The end of the last one.
    pub to: UtcDateTime,
    /// How many there are.
    pub intervals: u64,
    /// Why they have no row.
    pub cause: GapCause,
}

/// How many intervals of a battery have a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowShare {
    /// The battery.
    pub battery: GapBattery,
    /// The beginning of the first interval that counts.
    pub since: UtcDateTime,
    /// Number of intervals since its first row or event within the time asked for.
    pub intervals: u64,
    /// How many of them have no row.
    pub missing: u64,
}

/// A battery, and how far its rows have passed by.
#[derive(Debug)]
struct Tracked {
    battery: GapBattery,
    /// The first interval that counts; `None` until there was a row or an event.
    first: Option<i64>,
    /// The first interval behind the last row.
    next: i64,
    missing: u64,
    /// From when on which cause keeps its rows away; `None` if nothing does.
    states: Vec<(i64, Option<GapCause>)>,
}

impl GapFinder {
    /// For intervals of `interval` that end in `times`, with the events in order. `mcu_ids` are the
    /// batteries that count besides those of the events; if neither names one, all do. `is_running`
    /// is whether a listener runs at the end of `times`.
    pub fn new(
        interval: Duration,
        times: Range<UtcDateTime>,
        events: &[Event],
        mcu_ids: &[u32],
        is_running: bool,
    ) -> Self {
        let length = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
        let first = micros(times.start).div_euclid(length).saturating_add(1);
        let numbers = first..=micros(times.end).div_euclid(length);
        let lengths = lengths(events);
        let mut finder = Self {
            length,
            numbers,
            batteries: vec![],
            by_mcu_id: HashMap::new(),
            takes_all: false,
            idle: idle_periods(events, is_running),
            next_idle: 0,
            evicted: evicted(events),
            recorded_since: events.first().map_or(i64::MAX, |event| micros(event.since)),
            longest: lengths.iter().map(|(_, length)| *length).max().unwrap_or_default(),
            lengths,
        };
        let index = EventIndex::new(events);
        for battery in batteries(events, mcu_ids) {
            finder.track(battery, &index);
        }
        finder.takes_all = finder.by_mcu_id.is_empty();
        finder
    }

    /// The times of the rows that count: half an interval more on either side, and more at the end
    /// where intervals were longer.
    pub fn row_times(&self) -> Range<UtcDateTime> {
        let half = self.length / 2;
        time(self.begin_of(*self.numbers.start()).saturating_add(half))
            ..self.last_row_for(*self.numbers.end())
    }

    /// Takes note of a row; returns the intervals without one before it. Rows come in the order of
    /// time, those of all batteries together.
    pub fn row(&mut self, mcu_id: u32, time: UtcDateTime) -> Option<MissingIntervals> {
        let at = micros(time);
        let index = match self.by_mcu_id.get(&mcu_id) {
            Some(index) => *index,
            None if self.takes_all => {
                let battery = GapBattery { mcu_id: Some(mcu_id), names: vec![] };
                self.track(battery, &EventIndex::default())
            }
            None => return None,
        };
        self.see_life(at);
        // Both ends count: half an interval is near enough to either.
        let first = ceiling(at.saturating_sub(self.reach_of(at)), self.length);
        let last = at.saturating_add(self.length / 2).div_euclid(self.length);
        let tracked = self.batteries.get_mut(index)?;
        // The first row, which came before any event.
        if tracked.first.is_none_or(|begun| first < begun) {
            tracked.next = first.max(*self.numbers.start());
            tracked.first = Some(tracked.next);
        }
        let missing = tracked.next..=first.saturating_sub(1).min(*self.numbers.end());
        tracked.next = tracked.next.max(last.saturating_add(1));
        self.missing(index, missing)
    }

    /// The intervals without a row behind the last row of each battery.
    pub fn end(&mut self) -> Vec<MissingIntervals> {
        let last = *self.numbers.end();
        let mut missing = vec![];
        for index in 0..self.batteries.len() {
            let Tracked { first, next, .. } = &mut self.batteries[index];
            if first.is_some() {
                let numbers = *next..=last;
                *next = (*next).max(last.saturating_add(1));
                missing.extend(self.missing(index, numbers));
            }
        }
        missing
    }

    /// The times of rows that count for these intervals.
    pub fn times_of(&self, missing: &MissingIntervals) -> Range<UtcDateTime> {
        let half = self.length / 2;
        time(self.end_of(*missing.numbers.start()).saturating_sub(half))
            ..self.last_row_for(*missing.numbers.end())
    }

    /// The batteries that count so far.
    pub fn batteries(&self) -> impl Iterator<Item = &GapBattery> {
        self.batteries.iter().map(|tracked| &tracked.battery)
    }

    /// The battery of these intervals.
    pub fn battery(&self, missing: &MissingIntervals) -> Option<&GapBattery> {
        self.batteries.get(missing.battery).map(|tracked| &tracked.battery)
    }

    /// Why these intervals have no row, in order. `elsewhere` are the rows that are not in the
    /// table, but in the journal or set aside, in the order of time.
    pub fn explain(
        &self,
        missing: &MissingIntervals,
        elsewhere: &[(UtcDateTime, GapCause)],
    ) -> Vec<Gap> {
        let Some(tracked) = self.batteries.get(missing.battery) else { return vec![] };
        let (first, last) = missing.numbers.clone().into_inner();
        let mut causes = Causes::new(self, tracked, elsewhere, first);
        let mut gaps: Vec<Gap> = vec![];
        // Not one by one: a row of a clock that was not set may be decades before the next one.
        let before = self.last_before_events(elsewhere).min(last);
        if first <= before {
            gaps.push(Gap {
                from: time(self.begin_of(first)),
                to: time(self.end_of(before)),
                intervals: count(first..=before),
                cause: GapCause::BeforeEvents,
            });
        }
        for number in first.max(before.saturating_add(1))..=last {
            let cause = causes.of(number);
            match gaps.last_mut() {
                Some(gap) if gap.cause == *cause => {
                    gap.to = time(self.end_of(number));
                    gap.intervals += 1;
                }
                _ => gaps.push(Gap {
                    from: time(self.begin_of(number)),
                    to: time(self.end_of(number)),
                    intervals: 1,
                    cause: cause.clone(),
                }),
            }
        }
        gaps
    }

    /// The last interval before all events and before the rows `elsewhere`.
    fn last_before_events(&self, elsewhere: &[(UtcDateTime, GapCause)]) -> i64 {
        let row = elsewhere.first().map_or(i64::MAX, |(at, _)| {
            let at = micros(*at);
            at.saturating_sub(self.reach_of(at))
        });
        row.min(self.recorded_since).saturating_sub(1).div_euclid(self.length)
    }

    /// How many intervals have a row, battery by battery, after [`end`](Self::end): of those that
    /// had a row or an event within the time.
    pub fn shares(&self) -> Vec<RowShare> {
        let share = |tracked: &Tracked| {
            let first = tracked.first.filter(|first| self.numbers.contains(first))?;
            let intervals = count(first..=*self.numbers.end());
            let (battery, missing) = (tracked.battery.clone(), tracked.missing);
            Some(RowShare { battery, since: time(self.begin_of(first)), intervals, missing })
        };
        self.batteries.iter().filter_map(share).collect()
    }

    fn track(&mut self, battery: GapBattery, events: &EventIndex<'_>) -> usize {
        let index = self.batteries.len();
        if let Some(mcu_id) = battery.mcu_id {
            self.by_mcu_id.insert(mcu_id, index);
        }
        let first = events.begun(&battery).map(|begun| {
            let number = micros(begun).div_euclid(self.length).saturating_add(1);
            number.max(*self.numbers.start())
        });
        let states = events.states(&battery);
        let next = first.unwrap_or(*self.numbers.start());
        self.batteries.push(Tracked { battery, first, next, missing: 0, states });
        index
    }

    /// A row shows that the listener ran.
    fn see_life(&mut self, at: i64) {
        while let Some(period) = self.idle.get_mut(self.next_idle) {
            if period.to > at {
                if period.is_from_last_sign {
                    period.from = period.from.max(at.min(period.to));
                }
                break;
            }
            self.next_idle += 1;
        }
    }

    fn missing(
        &mut self,
        battery: usize,
        numbers: RangeInclusive<i64>,
    ) -> Option<MissingIntervals> {
        if numbers.is_empty() {
            return None;
        }
        self.batteries.get_mut(battery)?.missing += count(numbers.clone());
        Some(MissingIntervals { battery, numbers })
    }

    /// How long before the row at `at` an interval may end that it counts for. A row stands for
    /// all of its interval, which may have been longer then.
    fn reach_of(&self, at: i64) -> i64 {
        let later = self.lengths.partition_point(|(since, _)| *since < at);
        let length = self.lengths[..later].last().map_or(0, |(_, length)| *length);
        self.reach(length)
    }

    fn reach(&self, length: i64) -> i64 {
        length.saturating_sub(self.length).max(0).saturating_add(self.length / 2)
    }

    /// Behind the last row that may count for an interval.
    fn last_row_for(&self, number: i64) -> UtcDateTime {
        time(self.end_of(number).saturating_add(self.reach(self.longest)).saturating_add(1))
    }

    fn begin_of(&self, number: i64) -> i64 {
        self.end_of(number.saturating_sub(1))
    }

    fn end_of(&self, number: i64) -> i64 {
        number.saturating_mul(self.length)
    }
}

impl fmt::Display for GapBattery {
    /// Its names and its MCU ID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.join(" = ");
        match self.mcu_id {
            None => f.write_str(&names),
            Some(id) if names.is_empty() => write!(f, "{id:08X}"),
            Some(id) => write!(f, "{names} {id:08X}"),
        }
    }
}

impl RowShare {
    /// The share of intervals with a row, in percent, rounded down: 100 only if none is missing.
    pub fn percent(&self) -> f64 {
        percent(self.intervals, self.missing)
    }
}

/// The share of what is not missing, in percent with two digits, rounded down.
pub fn percent(intervals: u64, missing: u64) -> f64 {
    let there = u128::from(intervals.saturating_sub(missing));
    let hundredths = (10_000 * there).checked_div(u128::from(intervals)).unwrap_or(10_000);
    hundredths as f64 / 100.0
}

fn count(numbers: RangeInclusive<i64>) -> u64 {
    if numbers.is_empty() { 0 } else { numbers.start().abs_diff(*numbers.end()).saturating_add(1) }
}

fn ceiling(dividend: i64, divisor: i64) -> i64 {
    -(dividend.saturating_neg()).div_euclid(divisor)
}

fn micros(time: UtcDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> UtcDateTime {
    let time = UtcDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000);
    time.unwrap_or(if micros < 0 { UtcDateTime::MIN } else { UtcDateTime::MAX })
}

#[cfg(test)]
mod tests;
