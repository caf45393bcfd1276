//! Local time of a log -> UTC.

use time::{Duration, PlainDateTime, UtcDateTime};

use crate::{LoggedRecord, Stamp};

/// How much later a line may be than the time that it names, or earlier where the clock was set.
const LATENESS: Duration = Duration::seconds(60);

/// How far a clock is set back now and then.
const SET_BACK: Duration = Duration::seconds(5);

/// Offsets are multiples of this.
const STEP: i64 = 15 * 60;

/// A jump of the order of a change between summer and winter time; beyond it the order of lines
/// decides nothing.
const JUMP: Duration = Duration::hours(2);

/// Position of a line in a series of log files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the file in the series.
    pub file: usize,
    /// Number of the line in the file, counted from 1.
    pub line: u64,
}

/// The offset of local time from UTC; `None` if no zone has one so that the two times agree.
pub(crate) fn offset(local: PlainDateTime, utc: UtcDateTime) -> Option<Duration> {
    let seconds = (local.as_utc() - utc).whole_seconds();
    let rounded = Duration::seconds((seconds + STEP / 2).div_euclid(STEP) * STEP);
    let is_near = (Duration::seconds(seconds) - rounded).abs() <= LATENESS;
    let exists = (Duration::hours(-12)..=Duration::hours(14)).contains(&rounded);
    (is_near && exists).then_some(rounded)
}

/// A change of the offset, between two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    /// The last line with the offset before; `None` for the first offset.
    after: Option<Position>,
    /// The first line with the new one.
    from: Position,
    offset: Duration,
}

/// The offsets of local time in a series of log files, from lines that have both times.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    changes: Vec<Change>,
    /// The last line that had an offset.
    last: Option<Position>,
    /// Files that have such lines, in their order.
    files: Vec<usize>,
}

impl Offsets {
    pub(crate) fn current(&self) -> Option<Duration> {
        self.changes.last().map(|change| change.offset)
    }

    /// Notes the offset at a line; later lines come later.
    pub(crate) fn note(&mut self, at: Position, offset: Duration) {
        if self.current() != Some(offset) {
            self.changes.push(Change { after: self.last, from: at, offset });
        }
        self.last = Some(at);
        if self.files.last() != Some(&at.file) {
            self.files.push(at.file);
        }
    }

    /// Whether a file has lines that give the offset.
    fn covers(&self, file: usize) -> bool {
        self.files.binary_search(&file).is_ok()
    }

    /// Offsets that a line may have: the one of the lines before it, and the one of those behind it
    /// if that is another one.
    fn at(&self, position: Position) -> Option<(Duration, Option<Duration>)> {
        let next = self.changes.partition_point(|change| change.from <= position);
        let current = next.checked_sub(1).map(|current| self.changes[current].offset);
        let upcoming = self.changes.get(next);
        let Some(current) = current else { return Some((upcoming?.offset, None)) };
        let upcoming = upcoming.filter(|change| change.after.is_some_and(|after| after < position));
        Some((current, upcoming.map(|change| change.offset)))
    }
}

/// Resolves the times of the lines of a series of log files, in their order.
#[derive(Debug)]
pub struct LocalClock<Z> {
    offsets: Offsets,
    /// The two times that a local time may be, which differ in the repeated hour of autumn only.
    zone: Z,
    has_used_zone: bool,
    /// The line before, as it was and as it was resolved.
    before: Option<(Position, PlainDateTime, UtcDateTime)>,
}

impl<Z: Fn(PlainDateTime) -> [UtcDateTime; 2]> LocalClock<Z> {
    /// A clock for the files that gave `offsets`; `zone` is for those of them that gave none and
    /// don't go on where the one before has ended.
    pub fn new(offsets: Offsets, zone: Z) -> Self {
        Self { offsets, zone, has_used_zone: false, before: None }
    }

    /// Whether the zone was used since this was asked last.
    pub fn take_used_zone(&mut self) -> bool {
        std::mem::take(&mut self.has_used_zone)
    }

    /// The time of a line.
    pub fn utc(&mut self, position: Position, stamp: Stamp) -> UtcDateTime {
        let local = match stamp {
            Stamp::Utc(time) => return time,
            Stamp::Local(local) => local,
        };
        let before = self.before.map(|(_, _, time)| time);
        if let Some((at, last, time)) = self.before
            && last == local
            && at.file == position.file
            && self.offsets.at(position).is_none_or(|(_, upcoming)| upcoming.is_none())
        {
            return time;
        }
        let utc = |offset: Duration| local.as_utc().saturating_sub(offset);
        // A file in which no record came yet goes on where the one before it has ended.
        let goes_on = |time| {
            before.is_some_and(|before| {
                (before.saturating_sub(SET_BACK)..=before.saturating_add(JUMP)).contains(&time)
            })
        };
        let offsets = self
            .offsets
            .at(position)
            .filter(|(current, _)| self.offsets.covers(position.file) || goes_on(utc(*current)));
        let time = match offsets {
            Some((current, None)) => utc(current),
            Some((current, Some(upcoming))) => nearest(before, [utc(current), utc(upcoming)]),
            None => {
                self.has_used_zone = true;
                in_order(before, (self.zone)(local))
            }
        };
        self.before = Some((position, local, time));
        time
    }
}

/// The one that is nearer to the time of the line before; the later one of `times`, that of the
/// lines behind, where the line before is long ago.
fn nearest(before: Option<UtcDateTime>, times: [UtcDateTime; 2]) -> UtcDateTime {
    let Some(before) = before else { return times[1] };
    let [current, upcoming] = times.map(|time| (time - before).abs());
    if upcoming < current || current > JUMP { times[1] } else { times[0] }
}

/// The first time that isn't before that of the line before, of the two that a local time in the
/// repeated hour has.
fn in_order(before: Option<UtcDateTime>, times: [UtcDateTime; 2]) -> UtcDateTime {
    let [first, second] = times;
    let is_past = before.is_some_and(|before| {
        first < before.saturating_sub(SET_BACK) && second >= before.saturating_sub(SET_BACK)
    });
    if is_past { second } else { first }
}

/// Checks the times of records against those of their lines, and gathers the offsets of local time.
///
/// A digit that was damaged may give another offset that exists. So a new offset counts as soon as
/// two records have it, before one has the old offset again; the others are left out.
#[derive(Debug, Default)]
pub struct RecordTimes {
    offsets: Offsets,
    /// Records with offsets that don't count yet.
    unconfirmed: Vec<(LoggedRecord, Duration)>,
}

/// Records that are held until it shows which of their offsets is right.
const UNCONFIRMED: usize = 8;

/// Differences between summer and winter time.
const SUMMER_TIME: [Duration; 2] = [Duration::minutes(30), Duration::HOUR];

impl RecordTimes {
    /// Checks the next record; calls `checked` with each record about which it is decided, and with
    /// whether its time is right.
    pub fn check(&mut self, logged: LoggedRecord, checked: &mut impl FnMut(LoggedRecord, bool)) {
        let Some(offset) = logged.offset() else {
            checked(logged, false);
            return;
        };
        let is_confirmed = self.offsets.current() == Some(offset)
            || self.unconfirmed.iter().any(|(_, unconfirmed)| *unconfirmed == offset);
        self.unconfirmed.push((logged, offset));
        if is_confirmed {
            self.decide(checked, |of_record| of_record == offset);
        } else if self.unconfirmed.len() > UNCONFIRMED {
            let (logged, _) = self.unconfirmed.remove(0);
            checked(logged, false);
        }
    }

    /// Ends the log, and returns the offsets. A last record with an offset of its own counts if
    /// that can be the change between summer and winter time, or if there is no other record.
    pub fn finish(mut self, checked: &mut impl FnMut(LoggedRecord, bool)) -> Offsets {
        let current = self.offsets.current();
        let is_only = self.unconfirmed.len() == 1;
        self.decide(checked, |offset| match current {
            Some(current) => is_only && SUMMER_TIME.contains(&(current - offset).abs()),
            None => is_only,
        });
        self.offsets
    }

    /// Hands out all records that were held.
    fn decide(
        &mut self,
        checked: &mut impl FnMut(LoggedRecord, bool),
        is_right: impl Fn(Duration) -> bool,
    ) {
        for (logged, offset) in self.unconfirmed.drain(..) {
            let is_right = is_right(offset);
            if is_right {
                self.offsets.note(logged.at, offset);
            }
            checked(logged, is_right);
        }
    }
}
