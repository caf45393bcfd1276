//! What the listener noted of a battery.

use bluenova_journal::{Event, EventKind};
use bluenova_report::EventLog;
use time::UtcDateTime;

/// What the listener noted, as the passport has it; `None` for what says nothing about the battery
/// or its rows.
fn trouble(kind: EventKind) -> Option<&'static str> {
    match kind {
        EventKind::NotConnected => Some("no connection to the battery"),
        EventKind::Silent => Some("connected, but nothing was sent"),
        EventKind::NoMcuId => Some("the battery sent no MCU ID"),
        EventKind::ClockNotSet => Some("the listener's clock was not set"),
        EventKind::Evicted => Some("rows were evicted"),
        _ => None,
    }
}

/// Adds what `events`, all in their order, have of the battery: that it couldn't be reached, say,
/// and for how long. What still lasts ends at `end`.
pub(super) fn add(log: &mut EventLog, events: &[Event], mcu_id: u32, end: UtcDateTime) {
    let names: Vec<&str> = events
        .iter()
        .filter(|event| event.mcu_id == Some(mcu_id))
        .filter_map(|event| event.battery.as_deref())
        .collect();
    let is_about = |event: &&Event| match (event.mcu_id, event.battery.as_deref()) {
        (Some(id), _) => id == mcu_id,
        (None, Some(name)) => names.contains(&name),
        (None, None) => true,
    };
    let mut open: Option<(&'static str, UtcDateTime)> = None;
    let mut last_run: Option<UtcDateTime> = None;
    for event in events.iter().filter(is_about) {
        if event.kind == EventKind::Started {
            if let Some((what, since)) = open.take() {
                log.add(what, since, Some(last_run.unwrap_or(event.since).max(since)));
            }
            if let Some(until) = last_run {
                log.add("the listener didn't run", until, Some(event.since));
            }
            last_run = event.until;
            continue;
        }
        let what = trouble(event.kind);
        if let (Some(what), Some(until)) = (what, event.until) {
            log.add(what, event.since, Some(until));
            continue;
        }
        // The same trouble with another error is the same trouble.
        if open.is_some_and(|(open, _)| Some(open) == what) {
            continue;
        }
        let ends = what.is_some()
            || matches!(
                event.kind,
                EventKind::Connected
                    | EventKind::Identified
                    | EventKind::Removed
                    | EventKind::Stopped
            );
        if ends && let Some((what, since)) = open.take() {
            log.add(what, since, Some(event.since));
        }
        if let Some(what) = what {
            open = Some((what, event.since));
        }
    }
    if let Some((what, since)) = open {
        log.add(what, since, Some(last_run.unwrap_or(end).min(end).max(since)));
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn at(second: i64) -> UtcDateTime {
        UtcDateTime::UNIX_EPOCH + Duration::seconds(second)
    }

    fn event(second: i64, kind: EventKind) -> Event {
        let event = Event::new(at(second), kind, "");
        Event { battery: Some("attic".to_owned()), mcu_id: Some(7), ..event }
    }

    fn started(since: i64, until: i64) -> Event {
        Event { until: Some(at(until)), ..Event::new(at(since), EventKind::Started, "") }
    }

    #[track_caller]
    fn check(events: &[Event], expected: &[(&str, u64, f64)]) {
        let mut log = EventLog::default();
        add(&mut log, events, 7, at(1000));
        let found = log.finish();
        let found: Vec<_> =
            found.iter().map(|it| (it.event.as_str(), it.count, it.seconds.unwrap())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn trouble_lasts_until_it_is_over() {
        use EventKind::{Connected, Identified, NotConnected, Silent, Stopped};
        check(
            &[
                started(0, 100),
                event(1, Connected),
                event(2, Identified),
                event(10, NotConnected),
                event(20, NotConnected),
                event(30, Connected),
                event(31, Identified),
                event(40, Silent),
                event(50, NotConnected),
                event(55, Connected),
                Event::new(at(100), Stopped, ""),
                started(160, 900),
                event(161, NotConnected),
            ],
            &[
                ("no connection to the battery", 3, 20.0 + 5.0 + 739.0),
                ("connected, but nothing was sent", 1, 10.0),
                ("the listener didn't run", 1, 60.0),
            ],
        );
    }

    #[test]
    fn other_batteries_have_events_of_their_own() {
        let of_other = Event { mcu_id: Some(8), ..event(1, EventKind::NotConnected) };
        let of_other = Event { battery: Some("cellar".to_owned()), ..of_other };
        let before_its_id = Event { mcu_id: None, ..event(5, EventKind::NotConnected) };
        check(
            &[of_other, before_its_id, event(7, EventKind::Identified)],
            &[("no connection to the battery", 1, 2.0)],
        );
    }
}
