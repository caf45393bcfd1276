//! What the events say of each time: when nothing was recorded, and what kept the rows of a battery
//! away.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use time::UtcDateTime;

use super::{GapBattery, GapCause, micros};
use crate::events::{Event, EventKind};

/// A time in which nothing was recorded.
#[derive(Debug)]
pub(super) struct Period {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) cause: GapCause,
    /// The latest end of this and all earlier ones.
    pub(super) reaches: i64,
    /// Whether its beginning is but the last sign of life among the events: a row is one, too.
    pub(super) is_from_last_sign: bool,
}

/// The times at which the listener didn't run, or had no clock.
pub(super) fn idle_periods(events: &[Event], is_running: bool) -> Vec<Period> {
    let mut periods = vec![];
    // The last sign of life, and whether it was the end.
    let mut last: Option<(i64, bool)> = None;
    for event in events {
        let since = micros(event.since);
        let until = event.until.map_or(since, micros);
        match event.kind {
            EventKind::Evicted => continue,
            EventKind::ClockNotSet => {
                let cause = GapCause::ClockNotSet(event.detail.clone());
                periods.push(Period::new(since..until, cause, false));
                continue;
            }
            EventKind::Started => periods.extend(not_running(last, since)),
            _ => {}
        }
        let sign = last.map_or(until, |(sign, _)| sign.max(until));
        last = Some((sign, event.kind == EventKind::Stopped));
    }
    if !is_running {
        periods.extend(not_running(last, i64::MAX));
    }
    periods.sort_by_key(|period| period.from);
    let mut reaches = i64::MIN;
    for period in &mut periods {
        reaches = reaches.max(period.to);
        period.reaches = reaches;
    }
    periods
}

fn not_running(last: Option<(i64, bool)>, to: i64) -> Option<Period> {
    let (from, has_stopped) = last?;
    (from < to).then(|| Period::new(from..to, GapCause::NotRunning, !has_stopped))
}

impl Period {
    fn new(Range { start, end }: Range<i64>, cause: GapCause, is_from_last_sign: bool) -> Self {
        Self { from: start, to: end, cause, reaches: end, is_from_last_sign }
    }
}

/// From when on an interval was how long.
pub(super) fn lengths(events: &[Event]) -> Vec<(i64, i64)> {
    let micros_of = |length: Duration| i64::try_from(length.as_micros()).ok();
    let length = |event: &Event| Some((micros(event.since), micros_of(event.interval()?)?));
    events.iter().filter_map(length).collect()
}

pub(super) fn evicted(events: &[Event]) -> Vec<Range<i64>> {
    let evicted = events.iter().filter(|event| event.kind == EventKind::Evicted);
    evicted.map(|event| micros(event.since)..micros(event.until.unwrap_or(event.since))).collect()
}

/// The batteries of the events, and those of the MCU IDs.
pub(super) fn batteries(events: &[Event], mcu_ids: &[u32]) -> Vec<GapBattery> {
    let mut batteries: Vec<GapBattery> = vec![];
    let mut by_mcu_id: HashMap<u32, usize> = HashMap::new();
    let mut has_battery: HashSet<&String> = HashSet::new();
    let of_events = events.iter().filter_map(|event| Some((event.mcu_id?, event.battery.as_ref())));
    for (mcu_id, name) in mcu_ids.iter().map(|id| (*id, None)).chain(of_events) {
        let at = *by_mcu_id.entry(mcu_id).or_insert(batteries.len());
        if at == batteries.len() {
            batteries.push(GapBattery { mcu_id: Some(mcu_id), names: vec![] });
        }
        let names = &mut batteries[at].names;
        names.extend(name.filter(|name| !names.contains(name)).cloned());
        has_battery.extend(name);
    }
    for name in events.iter().filter_map(|event| event.battery.as_ref()) {
        if has_battery.insert(name) {
            batteries.push(GapBattery { mcu_id: None, names: vec![name.clone()] });
        }
    }
    batteries
}

/// Events, and which of them are about what: there may be thousands of batteries, and tens of
/// thousands of events.
#[derive(Default)]
pub(super) struct EventIndex<'a> {
    events: &'a [Event],
    /// The starts of the listener, in order.
    starts: Vec<usize>,
    /// The other events, in order.
    by_battery: HashMap<&'a str, Vec<usize>>,
}

impl<'a> EventIndex<'a> {
    pub(super) fn new(events: &'a [Event]) -> Self {
        let mut index = Self { events, ..Self::default() };
        for (at, event) in events.iter().enumerate() {
            if event.kind == EventKind::Started {
                index.starts.push(at);
            } else if let Some(name) = &event.battery {
                index.by_battery.entry(name).or_default().push(at);
            }
        }
        index
    }

    /// The numbers of the events about a battery, in order.
    fn about(&self, battery: &GapBattery) -> Vec<usize> {
        let of_names = battery.names.iter().filter_map(|name| self.by_battery.get(name.as_str()));
        let mut about: Vec<usize> = of_names.flatten().copied().collect();
        about.sort_unstable();
        about
    }

    /// When the first event about a battery was.
    pub(super) fn begun(&self, battery: &GapBattery) -> Option<UtcDateTime> {
        let first = self.about(battery).into_iter().next()?;
        self.events.get(first).map(|event| event.since)
    }

    /// What kept the rows of a battery away, from when on.
    pub(super) fn states(&self, battery: &GapBattery) -> Vec<(i64, Option<GapCause>)> {
        let mut states = vec![];
        let mut by_name: HashMap<&str, Option<GapCause>> = HashMap::new();
        let mut starts = &self.starts[..];
        let mut start = |before: usize, is_dialled: bool| {
            let (passed, later) = starts.split_at(starts.partition_point(|at| *at < before));
            starts = later;
            states_of_starts(passed.iter().filter_map(|at| self.events.get(*at)), is_dialled)
        };
        for at in self.about(battery) {
            let Some(event @ Event { battery: Some(name), .. }) = self.events.get(at) else {
                continue;
            };
            let state = match event.kind {
                EventKind::Added => Some(Some(GapCause::NotConnected(String::new()))),
                EventKind::Removed => None,
                _ => match state_after(event, battery) {
                    Some(state) => Some(state),
                    None => continue,
                },
            };
            let started = start(at, event.kind != EventKind::Added);
            if !started.is_empty() {
                by_name.clear();
                states.extend(started);
            }
            match state {
                Some(state) => _ = by_name.insert(name, state),
                None => _ = by_name.remove(name.as_str()),
            }
            let is_listened_to = !by_name.is_empty();
            let state =
                if is_listened_to { best(by_name.values()) } else { Some(GapCause::NotListenedTo) };
            states.push((micros(event.since), state));
        }
        states.extend(start(usize::MAX, false));
        states
    }
}

/// The states of a battery that follow starts of the listener without an event of the battery in
/// between: it isn't listened to, unless `is_dialled` after the last of them.
fn states_of_starts<'a>(
    starts: impl Iterator<Item = &'a Event> + Clone,
    is_dialled: bool,
) -> Vec<(i64, Option<GapCause>)> {
    let (Some(first), Some(last)) = (starts.clone().next(), starts.last()) else { return vec![] };
    let mut states = vec![];
    if !is_dialled || first.since < last.since {
        states.push((micros(first.since), Some(GapCause::NotListenedTo)));
    }
    if is_dialled {
        states.push((micros(last.since), Some(GapCause::NotConnected(String::new()))));
    }
    states
}

/// The state that an event leads to; `None` if it leads to none, `Some(None)` if nothing keeps rows
/// away any more.
#[expect(clippy::option_option, reason = "the states are options")]
fn state_after(event: &Event, battery: &GapBattery) -> Option<Option<GapCause>> {
    let cause = match event.kind {
        EventKind::Connected | EventKind::NoMcuId => GapCause::NoMcuId,
        EventKind::Identified if event.mcu_id == battery.mcu_id => return Some(None),
        EventKind::Identified => {
            let id = event.mcu_id.unwrap_or_default();
            GapCause::NotConnected(format!("another battery, {id:08X}, was at its address"))
        }
        EventKind::NotConnected => GapCause::NotConnected(event.detail.clone()),
        EventKind::Silent => GapCause::Silent,
        _ => return None,
    };
    Some(Some(cause))
}

/// Of the states of several addresses of a battery, the one that is nearest to a row.
fn best<'a>(states: impl Iterator<Item = &'a Option<GapCause>>) -> Option<GapCause> {
    let rank = |state: &&Option<GapCause>| match state {
        None => 0,
        Some(GapCause::NoMcuId) => 1,
        Some(GapCause::Silent) => 2,
        Some(_) => 3,
    };
    states.min_by_key(rank).cloned().flatten()
}
