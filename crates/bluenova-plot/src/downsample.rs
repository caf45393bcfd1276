//! Down-sampling: each bucket of time has the extremes of its rows, so that no peak is lost.
//!
//! Rows come once, in the order of time. Memory grows with the buckets that have rows, not with the
//! rows.

use time::{Duration, UtcDateTime};

/// Microseconds since 1970: the resolution of the rows, and quick to compute with.
pub fn micros(time: UtcDateTime) -> i64 {
    time.unix_timestamp() * 1_000_000 + i64::from(time.microsecond())
}

/// Buckets of time, all of one length, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// Microseconds since 1970.
    start: i64,
    /// Microseconds.
    length: i64,
}

impl Buckets {
    /// Divides `from` to `to` into `most` buckets at most.
    pub fn dividing(from: UtcDateTime, to: UtcDateTime, most: u32) -> Self {
        Self { start: micros(from), length: length(from, to, most) }
    }

    /// As [`dividing`](Self::dividing), plus one bucket, since these begin at multiples of their
    /// length. A plot that is drawn again a little later has the same rows in the same bucket: its
    /// lines move to the left and don't tremble.
    pub fn aligned(from: UtcDateTime, to: UtcDateTime, most: u32) -> Self {
        let length = length(from, to, most);
        Self { start: micros(from).div_euclid(length) * length, length }
    }

    /// Length of each, in microseconds.
    pub fn micros(self) -> i64 {
        self.length
    }

    fn index_of(self, micros: i64) -> i64 {
        (micros - self.start).div_euclid(self.length)
    }

    fn start_of(self, index: i64) -> UtcDateTime {
        let start = Duration::microseconds(self.start + index * self.length);
        UtcDateTime::UNIX_EPOCH.saturating_add(start)
    }
}

/// Microseconds of a bucket, rounded up, so that there is no bucket too many.
fn length(from: UtcDateTime, to: UtcDateTime, most: u32) -> i64 {
    let (all, most) = (micros(to) - micros(from), i64::from(most.max(1)));
    (all / most + i64::from(all % most != 0)).max(1)
}

/// The buckets that have rows: their times, and how many rows each has.
#[derive(Debug)]
pub struct FilledBuckets {
    buckets: Buckets,
    current: Option<i64>,
    /// The start of each bucket; of one with a single row, the row's own time.
    pub times: Vec<UtcDateTime>,
    /// How many rows are in each.
    pub rows: Vec<u32>,
}

impl FilledBuckets {
    /// None of `buckets` has a row yet.
    pub fn new(buckets: Buckets) -> Self {
        Self { buckets, current: None, times: vec![], rows: vec![] }
    }

    /// Counts a row, and returns whether it is the first one of its bucket.
    pub fn count(&mut self, time: UtcDateTime) -> bool {
        let index = self.buckets.index_of(micros(time));
        if self.current != Some(index) {
            self.current = Some(index);
            self.times.push(time);
            self.rows.push(1);
            return true;
        }
        if let (Some(shown), Some(rows)) = (self.times.last_mut(), self.rows.last_mut()) {
            *shown = self.buckets.start_of(index);
            *rows += 1;
        }
        false
    }
}

/// The lowest and the highest one of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes<T> {
    /// The lowest one.
    pub low: T,
    /// The highest one.
    pub high: T,
}

/// A value, alone or with its time.
pub trait Measured: Copy {
    /// The value without its time.
    fn value(self) -> f32;
}

impl Measured for f32 {
    fn value(self) -> f32 {
        self
    }
}

impl<T: Measured> Extremes<T> {
    /// The extremes of `earlier`, if any, `low` and `high`.
    ///
    /// Of several equally low values the first one is kept, of several equally high ones the last
    /// one, so that a value that doesn't change spans its bucket.
    pub fn widened(earlier: Option<Self>, low: T, high: T) -> Self {
        let Some(earlier) = earlier else { return Self { low, high } };
        Self {
            low: if low.value() < earlier.low.value() { low } else { earlier.low },
            high: if high.value() >= earlier.high.value() { high } else { earlier.high },
        }
    }
}

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Microseconds since 1970.
    pub time: i64,
    /// The value.
    pub value: f32,
    /// How many gaps are before it: a line connects points of the same run only.
    run: u32,
}

impl Measured for Point {
    fn value(self) -> f32 {
        self.value
    }
}

/// The course of a value: its extremes in each bucket that has rows, and the gaps.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Microseconds without a value beyond which there is a gap.
    longest_pause: i64,
    last: Option<i64>,
    run: u32,
    buckets: Vec<Option<Extremes<Point>>>,
}

impl Trace {
    /// A trace that breaks where there was no value for longer than `longest_pause`.
    pub fn new(longest_pause: Duration) -> Self {
        let longest_pause = i64::try_from(longest_pause.whole_microseconds()).unwrap_or(i64::MAX);
        Self { longest_pause, last: None, run: 0, buckets: vec![] }
    }

    /// Begins the next bucket, for the rows that follow.
    pub fn start_bucket(&mut self) {
        self.buckets.push(None);
    }

    /// Adds a row's value. NaN and infinities count as unknown.
    pub fn add(&mut self, time: i64, value: Option<f32>) {
        self.add_range(time, value, value);
    }

    /// Adds a row's lowest and highest value.
    pub fn add_range(&mut self, time: i64, low: Option<f32>, high: Option<f32>) {
        let (Some(low), Some(high), Some(bucket)) = (low, high, self.buckets.last_mut()) else {
            return;
        };
        if !(low.is_finite() && high.is_finite()) {
            return;
        }
        if self.last.is_some_and(|last| time - last > self.longest_pause) {
            self.run += 1;
        }
        self.last = Some(time);
        let point = |value| Point { time, value, run: self.run };
        *bucket = Some(Extremes::widened(*bucket, point(low), point(high)));
    }

    /// The extremes in each bucket; `None` where a bucket has rows, but none with a value.
    pub fn buckets(&self) -> &[Option<Extremes<Point>>] {
        &self.buckets
    }

    /// The extremes of all buckets.
    pub fn extremes(&self) -> Option<Extremes<f32>> {
        self.buckets.iter().flatten().fold(None, |earlier, bucket| {
            Some(Extremes::widened(earlier, bucket.low.value, bucket.high.value))
        })
    }

    /// Both extremes of each bucket in the order of time; one point where they are the same.
    pub fn points(&self) -> Vec<Point> {
        let in_order = |extremes: &Extremes<Point>| {
            let Extremes { low, high } = *extremes;
            if low.time <= high.time { [low, high] } else { [high, low] }
        };
        let mut points: Vec<_> = self.buckets.iter().flatten().flat_map(in_order).collect();
        points.dedup();
        points
    }

    /// The [`points`](Self::points) between each two gaps.
    pub fn lines(points: &[Point]) -> impl Iterator<Item = &[Point]> {
        points.chunk_by(|one, next| one.run == next.run)
    }

    /// The extremes of the buckets between each two gaps.
    pub fn bands(&self) -> Vec<Vec<Extremes<Point>>> {
        let buckets: Vec<_> = self.buckets.iter().flatten().copied().collect();
        let bands = buckets.chunk_by(|one, next| one.low.run == next.low.run);
        bands.map(<[_]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    const START: UtcDateTime = utc_datetime!(2026-01-01 00:00:03.5);
    const SECOND: i64 = 1_000_000;

    fn after(seconds: i64) -> UtcDateTime {
        START + Duration::seconds(seconds)
    }

    /// A trace of one value every ten seconds, in buckets of a minute.
    fn trace(values: &[Option<f32>]) -> Trace {
        let mut filled = FilledBuckets::new(Buckets::dividing(START, after(600), 10));
        let mut trace = Trace::new(Duration::seconds(30));
        for (value, seconds) in values.iter().zip((0..).step_by(10)) {
            if filled.count(after(seconds)) {
                trace.start_bucket();
            }
            trace.add(micros(after(seconds)), *value);
        }
        trace
    }

    /// The points of each line: seconds since the start, and values.
    fn lines(trace: &Trace) -> Vec<Vec<(i64, f32)>> {
        let relative = |point: &Point| ((point.time - micros(START)) / SECOND, point.value);
        let points = trace.points();
        Trace::lines(&points).map(|line| line.iter().map(relative).collect()).collect()
    }

    #[test]
    fn there_are_no_more_buckets_than_asked_for() {
        for (seconds, most) in [(1, 1), (1, 7), (3600, 500), (86_400, 10_000), (86_401, 7)] {
            let buckets = Buckets::dividing(START, after(seconds), most);
            let last = after(seconds) - Duration::MICROSECOND;
            assert_eq!(buckets.index_of(micros(START)), 0);
            assert!(buckets.index_of(micros(last)) < most.into(), "{seconds} s in {most}");
        }
    }

    #[test]
    fn aligned_buckets_stay_where_they_are() {
        let at = |shift| Buckets::aligned(after(shift), after(shift + 600), 10);
        let start_of = |buckets: Buckets| buckets.start_of(buckets.index_of(micros(after(300))));
        assert_eq!(start_of(at(0)), utc_datetime!(2026-01-01 00:05:00));
        for shift in 1..60 {
            assert_eq!(start_of(at(shift)), start_of(at(0)));
        }
    }

    #[test]
    fn a_bucket_has_its_start_for_a_time_but_a_single_row_has_its_own() {
        let mut filled = FilledBuckets::new(Buckets::dividing(START, after(600), 10));
        let firsts: Vec<_> = [5, 10, 130, 190, 240].map(|s| filled.count(after(s))).to_vec();
        assert_eq!(firsts, [true, false, true, true, true]);
        assert_eq!(filled.rows, [2, 1, 1, 1]);
        assert_eq!(filled.times, [0, 130, 190, 240].map(after));
    }

    #[test]
    fn lowest_and_highest_values_are_in_their_true_order() {
        let values = [1.0, 5.0, 3.0, -2.0, 4.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 7.0].map(Some);
        let expected = vec![(10, 5.0), (30, -2.0), (60, 2.0), (110, 2.0), (120, 7.0)];
        assert_eq!(lines(&trace(&values)), [expected]);
    }

    #[test]
    fn a_line_breaks_where_no_value_is_known_for_too_long() {
        let known = Some(1.0);
        for (values, expected) in [
            (vec![], vec![]),
            (vec![None; 20], vec![]),
            (vec![known], vec![vec![0]]),
            (vec![known, None, None, known], vec![vec![0, 30]]),
            (vec![known, None, None, None, known], vec![vec![0], vec![40]]),
            (
                vec![known, Some(f32::NAN), Some(f32::INFINITY), None, known],
                vec![vec![0], vec![40]],
            ),
            // From one bucket to another.
            (
                vec![known, known, None, None, None, None, None, known, None, None, None, known],
                vec![vec![0, 10], vec![70], vec![110]],
            ),
        ] {
            let lines = lines(&trace(&values));
            let times: Vec<Vec<_>> =
                lines.iter().map(|line| line.iter().map(|(time, _)| *time).collect()).collect();
            assert_eq!(times, expected, "{values:?}");
        }
    }

    #[test]
    fn a_band_breaks_with_its_lines() {
        let mut trace = Trace::new(Duration::seconds(30));
        for seconds in [0, 30, 60, 100, 130] {
            trace.start_bucket();
            trace.add_range(seconds * SECOND, Some(-1.0), Some(seconds as f32));
            trace.add_range(seconds * SECOND, Some(-1.0), None);
        }
        let bands = trace.bands();
        let highs: Vec<Vec<_>> =
            bands.iter().map(|band| band.iter().map(|e| e.high.value).collect()).collect();
        assert_eq!(highs, [vec![0.0, 30.0, 60.0], vec![100.0, 130.0]]);
        assert_eq!(trace.extremes(), Some(Extremes { low: -1.0, high: 130.0 }));
    }
}
