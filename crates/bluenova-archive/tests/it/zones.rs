//! Local times of a log: their zone, its changes, and records with a damaged time.

use bluenova_archive::{LocalClock, LoggedRecord, Offsets, Position, RecordTimes, Stamp};
use bluenova_record::PackRecord;
use time::{
    Duration, PlainDateTime, UtcDateTime,
    macros::{datetime, utc_datetime},
};

/// A line of the only file.
fn at(line: u64) -> Position {
    Position { file: 0, line }
}

/// A record at a line, with the local time of that line and its own time.
fn logged(line: u64, local: PlainDateTime, time: UtcDateTime) -> LoggedRecord {
    LoggedRecord { record: PackRecord::new(time, 7), local, at: at(line) }
}

/// Whether the times of the records are right, by line, and the offsets that they give.
fn check(records: &[LoggedRecord]) -> (Vec<(u64, bool)>, Offsets) {
    let mut checked = vec![];
    let mut note = |logged: LoggedRecord, is_right| checked.push((logged.at.line, is_right));
    let mut times = RecordTimes::default();
    for record in records {
        times.check(record.clone(), &mut note);
    }
    let offsets = times.finish(&mut note);
    (checked, offsets)
}

/// A zone that is asked for nothing.
fn no_zone(local: PlainDateTime) -> [UtcDateTime; 2] {
    panic!("the zone was asked for {local}");
}

#[test]
fn the_offset_is_that_of_the_records_also_for_lines_before_the_first_one() {
    // The line is written a second after its time.
    let records = [
        logged(10, datetime!(2026-11-26 20:58:12), utc_datetime!(2026-11-27 01:58:11)),
        logged(20, datetime!(2026-11-26 20:58:21), utc_datetime!(2026-11-27 01:58:21)),
    ];
    let (checked, offsets) = check(&records);
    assert_eq!(checked, [(10, true), (20, true)]);
    let mut clock = LocalClock::new(offsets, no_zone);
    for line in [1, 15, 25] {
        let time = clock.utc(at(line), Stamp::Local(datetime!(2026-11-26 20:58:00)));
        assert_eq!(time, utc_datetime!(2026-11-27 01:58:00));
    }
    let utc = utc_datetime!(2026-11-27 01:58:00);
    assert_eq!(clock.utc(at(26), Stamp::Utc(utc)), utc);
}

#[test]
fn a_single_record_gives_the_offset() {
    let (checked, offsets) =
        check(&[logged(1, datetime!(2026-11-27 07:28:11), utc_datetime!(2026-11-27 01:58:11))]);
    assert_eq!(checked, [(1, true)]);
    let mut clock = LocalClock::new(offsets, no_zone);
    let time = clock.utc(at(2), Stamp::Local(datetime!(2026-11-27 05:30:00)));
    assert_eq!(time, utc_datetime!(2026-11-27 00:00:00));
}

#[test]
fn a_time_that_is_not_that_of_its_line_is_damaged() {
    let local = datetime!(2026-11-27 03:58:11);
    let time = utc_datetime!(2026-11-27 01:58:11);
    let good = |line| logged(line, local, time);
    // As if the zone had changed; as none has.
    for wrong in [900, 3600, 90_000, 100, -1_000_000] {
        let bad = |line| logged(line, local, time + Duration::seconds(wrong));
        let expected = [(1, true), (2, true), (3, false), (4, true)];
        assert_eq!(check(&[good(1), good(2), bad(3), good(4)]).0, expected, "{wrong}");
        let mut at_first = check(&[good(1), bad(2), good(3)]).0;
        at_first.sort_unstable();
        assert_eq!(at_first, [(1, true), (2, false), (3, true)], "{wrong}");
    }
}

/// Lines of a second each around a change, which the records show; their times must be without a
/// jump.
#[track_caller]
fn check_change(first: PlainDateTime, before: Duration, after: Duration, change: i64) {
    let start = first.as_utc() - before;
    let local = |second: i64| {
        let offset = if second < change { before } else { after };
        first + Duration::seconds(second) + (offset - before)
    };
    let records: Vec<_> = (0..40)
        .step_by(10)
        .map(|second| logged(second as u64 + 1, local(second), start + Duration::seconds(second)))
        .collect();
    let (checked, offsets) = check(&records);
    assert!(checked.iter().all(|(_, is_right)| *is_right));
    let mut clock = LocalClock::new(offsets, no_zone);
    for second in 0..40 {
        let time = clock.utc(at(second as u64 + 1), Stamp::Local(local(second)));
        assert_eq!(time, start + Duration::seconds(second), "{second}");
    }
}

#[test]
fn summer_time_begins_and_ends_where_the_lines_jump() {
    for change in [15, 20, 19, 11] {
        let ahead = 60 - change;
        let spring = datetime!(2026-03-29 01:59:00) + Duration::seconds(ahead);
        check_change(spring, Duration::hours(1), Duration::hours(2), change);
        let autumn = datetime!(2026-10-25 02:59:00) + Duration::seconds(ahead);
        check_change(autumn, Duration::hours(2), Duration::hours(1), change);
    }
}

#[test]
fn without_records_the_zone_counts_and_the_repeated_hour_goes_by_order() {
    let zone = |local: PlainDateTime| {
        let is_repeated = local.hour() == 2;
        let summer = local.as_utc() - Duration::hours(2);
        let winter = local.as_utc() - Duration::hours(1);
        if is_repeated {
            [summer, winter]
        } else if local.hour() < 2 {
            [summer; 2]
        } else {
            [winter; 2]
        }
    };
    let mut clock = LocalClock::new(Offsets::default(), zone);
    for (line, (local, expected)) in [
        (datetime!(2026-10-25 01:59:59), utc_datetime!(2026-10-24 23:59:59)),
        (datetime!(2026-10-25 02:30:00), utc_datetime!(2026-10-25 00:30:00)),
        (datetime!(2026-10-25 02:29:59), utc_datetime!(2026-10-25 00:29:59)),
        (datetime!(2026-10-25 02:59:59), utc_datetime!(2026-10-25 00:59:59)),
        (datetime!(2026-10-25 02:00:00), utc_datetime!(2026-10-25 01:00:00)),
        (datetime!(2026-10-25 02:59:00), utc_datetime!(2026-10-25 01:59:00)),
        (datetime!(2026-10-25 03:00:00), utc_datetime!(2026-10-25 02:00:00)),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(clock.utc(at(line as u64), Stamp::Local(local)), expected, "{local}");
    }
}
