use super::*;
use crate::events::EventKind;

const BATTERY: u32 = 0x9F3C_07B2;

fn at(seconds: f64) -> UtcDateTime {
    UtcDateTime::from_unix_timestamp(1_800_000_000).unwrap() + time::Duration::seconds_f64(seconds)
}

fn event(seconds: f64, kind: EventKind) -> Event {
    let is_of_battery = matches!(
        kind,
        EventKind::Connected
            | EventKind::Identified
            | EventKind::NotConnected
            | EventKind::Silent
            | EventKind::NoMcuId
            | EventKind::Added
            | EventKind::Removed
    );
    let mcu_id = (kind == EventKind::Identified).then_some(BATTERY);
    let battery = is_of_battery.then(|| "attic".to_owned());
    Event { battery, mcu_id, ..Event::new(at(seconds), kind, "why") }
}

fn lasting(seconds: f64, until: f64, kind: EventKind) -> Event {
    Event { until: Some(at(until)), ..event(seconds, kind) }
}

/// A listener that started at 0, and a battery that was identified a second later.
fn running() -> Vec<Event> {
    vec![
        event(0.0, EventKind::Started),
        event(0.5, EventKind::Connected),
        event(1.0, EventKind::Identified),
    ]
}

fn running_and(more: &[Event]) -> Vec<Event> {
    [running(), more.to_vec()].concat()
}

struct Found {
    /// Begin and end in seconds, and the cause.
    gaps: Vec<(f64, f64, GapCause)>,
    missing: u64,
    intervals: u64,
}

/// The gaps of `BATTERY` in the hundred seconds from 0 on, at an interval of 10 s.
fn find(events: &[Event], rows: &[f64], elsewhere: &[(f64, GapCause)], running: bool) -> Found {
    let times = at(0.0)..at(100.0);
    let length = Duration::from_secs(10);
    let mut finder = GapFinder::new(length, times, events, &[BATTERY], running);
    let elsewhere: Vec<_> = elsewhere.iter().map(|(t, cause)| (at(*t), cause.clone())).collect();
    let mut gaps = vec![];
    for row in rows {
        assert!(finder.row_times().contains(&at(*row)));
        if let Some(missing) = finder.row(BATTERY, at(*row)) {
            gaps.extend(finder.explain(&missing, &elsewhere));
        }
    }
    for one in finder.end() {
        if finder.battery(&one).unwrap().mcu_id == Some(BATTERY) {
            gaps.extend(finder.explain(&one, &elsewhere));
        }
    }
    let seconds = |time: UtcDateTime| (time - at(0.0)).as_seconds_f64();
    let share = finder.shares().into_iter().find(|share| share.battery.mcu_id == Some(BATTERY));
    assert_eq!(gaps.iter().map(|gap| gap.intervals).sum::<u64>(), share.as_ref().unwrap().missing);
    Found {
        gaps: gaps.into_iter().map(|g| (seconds(g.from), seconds(g.to), g.cause)).collect(),
        missing: share.as_ref().unwrap().missing,
        intervals: share.unwrap().intervals,
    }
}

/// The gaps where rows are at 10, 20, 30, and from 80 on.
#[track_caller]
fn check(events: &[Event], expected: &[(f64, f64, GapCause)]) {
    let rows = [10.0, 20.0, 30.0, 80.0, 90.0, 100.0];
    assert_eq!(find(events, &rows, &[], true).gaps, expected, "{events:?}");
}

fn not_connected(why: &str) -> GapCause {
    GapCause::NotConnected(why.to_owned())
}

#[test]
fn a_row_counts_within_half_an_interval() {
    let all: Vec<f64> = (1..=10).map(|n| f64::from(n) * 10.0).collect();
    for by in [-5.0, -1.0, 0.0, 1.0, 4.999_999, 5.0] {
        let rows: Vec<f64> = all.iter().map(|row| row + by).collect();
        assert_eq!(find(&[], &rows, &[], true).missing, 0, "{by}");
    }
    // As a program has them whose interval is a bit longer: half an interval counts for both.
    assert_eq!(find(&[], &[14.0, 24.0, 35.0, 45.0], &[], true).gaps[0].0, 50.0);
    assert_eq!(find(&[], &[10.0, 14.9, 25.1, 30.0], &[], true).gaps[0].0, 10.0);
    // Several rows of an interval are one.
    let twice = find(&[], &[10.0, 10.1, 20.0, 21.0, 100.0], &[], true);
    assert_eq!(twice.gaps, [(20.0, 90.0, GapCause::BeforeEvents)]);
    assert_eq!((twice.missing, twice.intervals), (7, 10));
}

#[test]
fn a_battery_counts_from_its_first_sign_on() {
    let found = find(&[], &[60.0, 70.0, 100.0], &[], true);
    assert_eq!((found.missing, found.intervals), (2, 5));
    let mut finder =
        GapFinder::new(Duration::from_secs(10), at(0.0)..at(100.0), &[], &[BATTERY], true);
    assert!(finder.end().is_empty() && finder.shares().is_empty(), "it was never there");
    let events = [event(42.0, EventKind::Identified)];
    let found = find(&events, &[100.0], &[], true);
    assert_eq!((found.missing, found.intervals), (5, 6));
    let shares_until = |end| {
        let times = at(0.0)..at(end);
        let length = Duration::from_secs(10);
        let mut finder = GapFinder::new(length, times, &events, &[BATTERY], true);
        finder.end();
        finder.shares()
    };
    assert_eq!(shares_until(100.0)[0].since, at(40.0));
    assert_eq!(shares_until(40.0), [], "it came later");
}

#[test]
fn the_listener_may_not_have_run() {
    let again = [event(75.0, EventKind::Started), event(75.5, EventKind::Identified)];
    let stopped = running_and(&[event(34.0, EventKind::Stopped)]);
    let expected = [(30.0, 70.0, GapCause::NotRunning)];
    check(&[stopped.clone(), again.to_vec()].concat(), &expected);
    // Killed: the last row is the last sign of life, or the last event.
    check(&running_and(&again), &expected);
    let alone = [lasting(0.0, 48.0, EventKind::Started), event(2.0, EventKind::Identified)];
    let expected = [(30.0, 40.0, GapCause::Unknown), (40.0, 70.0, GapCause::NotRunning)];
    check(&[alone.to_vec(), again.to_vec()].concat(), &expected);

    // It has not come back.
    for events in [running(), stopped] {
        let found = find(&events, &[10.0, 20.0, 30.0], &[], false);
        assert_eq!(found.gaps, [(30.0, 100.0, GapCause::NotRunning)]);
    }
    let found = find(&running(), &[10.0, 20.0, 30.0], &[], true);
    assert_eq!(found.gaps, [(30.0, 100.0, GapCause::Unknown)]);
}

/// The row of another battery shows that the listener ran.
#[test]
fn a_row_of_another_battery_is_a_sign_of_life() {
    let again = [event(75.0, EventKind::Started), event(75.5, EventKind::Identified)];
    let lost = event(30.5, EventKind::NotConnected);
    let events = [running(), vec![lost], again.to_vec()].concat();
    let times = at(0.0)..at(80.0);
    let mut finder = GapFinder::new(Duration::from_secs(10), times, &events, &[1], true);
    for n in 1..=3 {
        assert_eq!(finder.row(BATTERY, at(f64::from(n) * 10.0)), None);
    }
    finder.row(1, at(50.0));
    assert_eq!(finder.row(2, at(50.0)), None, "of another listener");
    let missing = finder.row(BATTERY, at(80.0)).unwrap();
    let causes: Vec<_> =
        finder.explain(&missing, &[]).into_iter().map(|gap| (gap.intervals, gap.cause)).collect();
    assert_eq!(causes, [(2, not_connected("why")), (2, GapCause::NotRunning)]);
}

#[test]
fn states_of_the_connection_are_causes() {
    let back = event(76.0, EventKind::Identified);
    for (kind, cause) in [
        (EventKind::NotConnected, not_connected("why")),
        (EventKind::Silent, GapCause::Silent),
        (EventKind::NoMcuId, GapCause::NoMcuId),
        (EventKind::Connected, GapCause::NoMcuId),
    ] {
        check(&running_and(&[event(31.0, kind), back.clone()]), &[(30.0, 70.0, cause)]);
    }
    // That which lasted longest in an interval is its cause.
    let events = running_and(&[
        event(31.0, EventKind::NotConnected),
        event(56.0, EventKind::Silent),
        back.clone(),
    ]);
    let expected = [(30.0, 60.0, not_connected("why")), (60.0, 70.0, GapCause::Silent)];
    check(&events, &expected);
    // The last error counts.
    let other = Event { detail: "other".to_owned(), ..event(40.0, EventKind::NotConnected) };
    let expected = [(30.0, 40.0, not_connected("why")), (40.0, 70.0, not_connected("other"))];
    check(&running_and(&[event(31.0, EventKind::NotConnected), other, back]), &expected);
}

#[test]
fn the_better_of_two_addresses_counts() {
    let cellar = |seconds, kind| Event {
        battery: Some("cellar".to_owned()),
        mcu_id: Some(BATTERY),
        ..event(seconds, kind)
    };
    let events = running_and(&[
        cellar(2.0, EventKind::Identified),
        event(30.0, EventKind::NotConnected),
        cellar(30.0, EventKind::Silent),
        cellar(50.0, EventKind::NotConnected),
        event(75.0, EventKind::Identified),
    ]);
    let expected = [(30.0, 50.0, GapCause::Silent), (50.0, 70.0, not_connected("why"))];
    check(&events, &expected);
}

#[test]
fn another_battery_at_the_address_is_no_connection() {
    let other = Event { mcu_id: Some(1), ..event(31.0, EventKind::Identified) };
    let events = running_and(&[other, event(75.0, EventKind::Identified)]);
    let cause = not_connected("another battery, 00000001, was at its address");
    check(&events, &[(30.0, 70.0, cause)]);
}

#[test]
fn a_run_without_the_battery_did_not_listen_to_it() {
    let events = running_and(&[
        event(34.0, EventKind::Stopped),
        event(35.0, EventKind::Started),
        event(74.0, EventKind::Stopped),
        event(74.0, EventKind::Started),
        event(75.0, EventKind::Identified),
    ]);
    check(&events, &[(30.0, 70.0, GapCause::NotListenedTo)]);
}

#[test]
fn a_battery_that_is_removed_while_the_listener_runs_is_not_listened_to() {
    let removed = running_and(&[event(33.0, EventKind::Removed)]);
    let expected = [(30.0, 100.0, GapCause::NotListenedTo)];
    assert_eq!(find(&removed, &[10.0, 20.0, 30.0], &[], true).gaps, expected);

    let added = [
        event(33.0, EventKind::Removed),
        event(71.0, EventKind::Added),
        event(75.0, EventKind::Connected),
        event(75.0, EventKind::Identified),
    ];
    check(&running_and(&added), &[(30.0, 70.0, GapCause::NotListenedTo)]);
    // At the start it wasn't there.
    let events = running_and(&[event(34.0, EventKind::Stopped), event(35.0, EventKind::Started)]);
    check(&[&events, &added[1..]].concat(), &[(30.0, 70.0, GapCause::NotListenedTo)]);
    // It is still listened to at its other address.
    let cellar = Event { battery: Some("cellar".to_owned()), ..event(2.0, EventKind::Identified) };
    let lost = Event { kind: EventKind::Silent, since: at(34.0), ..cellar.clone() };
    let events = running_and(&[cellar, event(33.0, EventKind::Removed), lost]);
    let events = [events, vec![event(75.0, EventKind::Identified)]].concat();
    check(&events, &[(30.0, 70.0, GapCause::Silent)]);
}

#[test]
fn a_clock_that_was_not_set_is_a_cause() {
    let expected = [(30.0, 70.0, GapCause::ClockNotSet("why".to_owned()))];
    check(&running_and(&[lasting(30.0, 72.0, EventKind::ClockNotSet)]), &expected);
}

#[test]
fn evicted_rows_are_lost_where_nothing_else_kept_them_away() {
    let evicted = lasting(30.0, 70.0, EventKind::Evicted);
    check(&running_and(std::slice::from_ref(&evicted)), &[(30.0, 70.0, GapCause::Evicted)]);
    let events = running_and(&[
        evicted,
        event(50.0, EventKind::NotConnected),
        event(75.0, EventKind::Identified),
    ]);
    let expected = [(30.0, 50.0, GapCause::Evicted), (50.0, 70.0, not_connected("why"))];
    check(&events, &expected);
}

#[test]
fn a_row_elsewhere_comes_first() {
    let events = running_and(&[event(31.0, EventKind::NotConnected)]);
    let rows = [10.0, 20.0, 30.0, 80.0, 90.0, 100.0];
    let elsewhere =
        [(40.0, GapCause::SetAside), (50.5, GapCause::Waiting), (69.0, GapCause::NotInTable)];
    let expected = [
        (30.0, 40.0, GapCause::SetAside),
        (40.0, 50.0, GapCause::Waiting),
        (50.0, 60.0, not_connected("why")),
        (60.0, 70.0, GapCause::NotInTable),
    ];
    assert_eq!(find(&events, &rows, &elsewhere, true).gaps, expected);
}

#[test]
fn what_no_event_explains_is_unknown() {
    check(&running(), &[(30.0, 70.0, GapCause::Unknown)]);
    check(&[], &[(30.0, 70.0, GapCause::BeforeEvents)]);
    let late = [event(50.0, EventKind::Started), event(50.0, EventKind::Identified)];
    let expected = [(30.0, 50.0, GapCause::BeforeEvents), (50.0, 70.0, GapCause::Unknown)];
    check(&late, &expected);
}

#[test]
fn a_battery_without_mcu_id_goes_by_its_name() {
    let events = [event(0.0, EventKind::Started), event(0.0, EventKind::Connected)];
    let times = at(0.0)..at(100.0);
    let mut finder = GapFinder::new(Duration::from_secs(10), times, &events, &[], true);
    let missing = finder.end();
    let battery = GapBattery { mcu_id: None, names: vec!["attic".to_owned()] };
    assert_eq!(finder.battery(&missing[0]), Some(&battery));
    let gaps = finder.explain(&missing[0], &[]);
    assert_eq!((gaps.len(), gaps[0].intervals, &gaps[0].cause), (1, 10, &GapCause::NoMcuId));
    assert_eq!(finder.shares(), [RowShare { battery, since: at(0.0), intervals: 10, missing: 10 }]);
}

#[test]
fn a_share_is_whole_only_if_no_row_is_missing() {
    for (intervals, missing, share) in
        [(100, 0, 100.0), (1_000_000, 1, 99.99), (60_480, 12, 99.98), (3, 3, 0.0), (0, 0, 100.0)]
    {
        assert_eq!(percent(intervals, missing), share);
    }
}

#[test]
fn times_far_away_do_no_harm() {
    for interval in [Duration::ZERO, Duration::from_secs(86_400), Duration::MAX] {
        let times = UtcDateTime::MIN..UtcDateTime::MAX;
        let mut finder = GapFinder::new(interval, times, &running(), &[], true);
        for time in [UtcDateTime::MIN, at(0.0), UtcDateTime::MAX] {
            finder.row(BATTERY, time);
        }
        finder.end();
        assert!(finder.shares()[0].percent() <= 100.0);
    }
}

#[test]
fn a_row_counts_for_its_interval_though_that_was_longer() {
    let started =
        |seconds, interval| Event::started(at(seconds), "0.1.0", Duration::from_secs(interval));
    let events = [
        &running_and(&[])[1..],
        &[started(0.0, 30), started(62.0, 10), event(63.0, EventKind::Identified)],
    ];
    let mut events = events.concat();
    events.sort_by_key(|event| event.since);
    let found = find(&events, &[30.0, 60.0, 70.0, 80.0, 90.0, 100.0], &[], true);
    assert_eq!((found.gaps, found.missing, found.intervals), (vec![], 0, 10));
    // The one at 60 is missing, and that at 90 counts for an interval of 10 s.
    let found = find(&events, &[30.0, 70.0, 90.0, 100.0], &[], true);
    assert_eq!(found.gaps, [(30.0, 60.0, GapCause::NotRunning), (70.0, 80.0, GapCause::Unknown)]);
    let lost = (60.0, GapCause::NotInTable);
    let found = find(&events, &[30.0, 70.0, 80.0, 90.0, 100.0], &[lost], true);
    assert_eq!(found.gaps, [(30.0, 60.0, GapCause::NotInTable)]);
    // The last row of the time asked for comes after it.
    let found = find(&[started(0.0, 60)], &[60.0, 120.0], &[], true);
    assert_eq!(found.gaps, []);
}

#[test]
fn a_row_of_a_clock_that_was_not_set_costs_no_time() {
    let start = UtcDateTime::MIN + time::Duration::DAY;
    for events in [vec![], running()] {
        let times = start..at(100.0);
        let mut finder = GapFinder::new(Duration::from_secs(1), times, &events, &[BATTERY], true);
        assert_eq!(finder.row(BATTERY, start), None);
        let missing = finder.row(BATTERY, at(1.0)).unwrap();
        let gaps = finder.explain(&missing, &[(at(1.0), GapCause::Waiting)]);
        let causes: Vec<_> = gaps.iter().map(|gap| gap.cause.clone()).collect();
        assert_eq!(causes, [GapCause::BeforeEvents]);
        assert_eq!((gaps[0].from, gaps[0].to), (start, at(0.0)));
        assert_eq!(gaps[0].intervals, u64::try_from((at(0.0) - start).whole_seconds()).unwrap());
    }
}

/// A listener that starts over and over would have a state per start and battery.
#[test]
fn starts_without_an_event_of_the_battery_are_one_state() {
    let start = |n: u32| event(f64::from(n) / 100.0, EventKind::Started);
    let mut events: Vec<_> = (0..1000).map(start).collect();
    events.push(event(30.5, EventKind::Identified));
    events.extend((4000..5000).map(start));
    let mcu_ids: Vec<u32> = (0..1000).chain([BATTERY]).collect();
    let times = at(0.0)..at(100.0);
    let mut finder = GapFinder::new(Duration::from_secs(10), times, &events, &mcu_ids, true);
    let states: usize = finder.batteries.iter().map(|tracked| tracked.states.len()).sum();
    assert_eq!(states, 1000 + 4);

    assert_eq!(finder.row(BATTERY, at(40.0)), None);
    let missing = finder.row(BATTERY, at(70.0)).unwrap();
    let gaps = finder.explain(&missing, &[]);
    assert_eq!(gaps.iter().map(|gap| &gap.cause).collect::<Vec<_>>(), [&GapCause::NotListenedTo]);
}
