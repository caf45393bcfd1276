//! What the events say of each time: when nothing was recorded, and what kept the rows of a battery
//! away.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use super::{GapBattery, GapCause, micros};
use crate::events::{Event, EventKind};

/// A time in which nothing was recorded.
#[derive(Debug)]
pub(super) struct Period {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) cause: GapCause,
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
                periods.push(Period { from: since, to: until, cause, is_from_last_sign: false });
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
    periods
}

fn not_running(last: Option<(i64, bool)>, to: i64) -> Option<Period> {
    let (from, has_stopped) = last?;
    let cause = GapCause::NotRunning;
    (from < to).then_some(Period { from, to, cause, is_from_last_sign: !has_stopped })
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
    let of_events = events.iter().filter_map(|event| Some((event.mcu_id?, event.battery.as_ref())));
    for (mcu_id, name) in mcu_ids.iter().map(|id| (*id, None)).chain(of_events) {
        let known = batteries.iter().position(|battery| battery.mcu_id == Some(mcu_id));
        let at = known.unwrap_or(batteries.len());
        if known.is_none() {
            batteries.push(GapBattery { mcu_id: Some(mcu_id), names: vec![] });
        }
        let names = &mut batteries[at].names;
        names.extend(name.filter(|name| !names.contains(name)).cloned());
    }
    for name in events.iter().filter_map(|event| event.battery.as_ref()) {
        if !batteries.iter().any(|battery| battery.names.contains(name)) {
            batteries.push(GapBattery { mcu_id: None, names: vec![name.clone()] });
        }
    }
    batteries
}

pub(super) fn is_about(event: &Event, battery: &GapBattery) -> bool {
    event.battery.as_ref().is_some_and(|name| battery.names.contains(name))
}

/// What kept the rows of a battery away, from when on.
pub(super) fn states(events: &[Event], battery: &GapBattery) -> Vec<(i64, Option<GapCause>)> {
    let mut states: Vec<(i64, Option<GapCause>)> = vec![];
    let mut by_name: HashMap<&str, Option<GapCause>> = HashMap::new();
    // The index of the state at the last start, until the battery has an event.
    let mut start: Option<usize> = None;
    for event in events {
        if event.kind == EventKind::Started {
            by_name.clear();
            if let Some(start) = start {
                states[start].1 = Some(GapCause::NotListenedTo);
            }
            start = Some(states.len());
            states.push((micros(event.since), Some(GapCause::NotConnected(String::new()))));
        } else if is_about(event, battery)
            && let Some(name) = &event.battery
        {
            match (event.kind, state_after(event, battery)) {
                (EventKind::Added, _) => {
                    if let Some(start) = start {
                        states[start].1 = Some(GapCause::NotListenedTo);
                    }
                    by_name.insert(name, Some(GapCause::NotConnected(String::new())));
                }
                (EventKind::Removed, _) => _ = by_name.remove(name.as_str()),
                (_, Some(state)) => _ = by_name.insert(name, state),
                (_, None) => continue,
            }
            start = None;
            let is_listened_to = !by_name.is_empty();
            let state =
                if is_listened_to { best(by_name.values()) } else { Some(GapCause::NotListenedTo) };
            states.push((micros(event.since), state));
        }
    }
    if let Some(start) = start {
        states[start].1 = Some(GapCause::NotListenedTo);
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
