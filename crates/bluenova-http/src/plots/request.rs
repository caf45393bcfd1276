//! What a request for plots asks for.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use bluenova_journal::Reader;
use bluenova_plot::{Buckets, Palette, Theme, TimeAxis, most_time_labels, plotting_width};
use bluenova_status::stale_after;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use time::{Date, UtcDateTime};

use crate::HistoryError;
use crate::history;
use crate::query::Query;

const HOUR: time::Duration = time::Duration::HOUR;
const DAY: time::Duration = time::Duration::DAY;

/// Lengths of time until now; `None`: all that is kept.
const RANGES: [(&str, Option<time::Duration>); 6] = [
    ("1h", Some(HOUR)),
    ("6h", Some(time::Duration::hours(6))),
    ("24h", Some(DAY)),
    ("7d", Some(time::Duration::WEEK)),
    ("30d", Some(time::Duration::days(30))),
    ("all", None),
];
const THEMES: [(&str, Theme); 2] = [("light", Theme::Light), ("dark", Theme::Dark)];

/// Most rows that are read for plots, which takes about a second; a small machine needs the
/// [time limit](bluenova_journal::Reader::time_limit).
pub(super) const MOST_ROWS: u64 = 700_000;

/// Most rows of several batteries, of which fewer columns are read.
const MOST_ROWS_OF_ALL: u64 = 1_500_000;

/// What a request for plots asks for: which times, and how they are drawn.
pub(super) struct PlotRequest {
    pub(super) times: Range<UtcDateTime>,
    /// The time from which on there is anything.
    pub(super) kept_from: Option<UtcDateTime>,
    pub(super) width: u32,
    pub(super) palette: Palette,
    /// The longest time from one row to the next one: the interval of the listener, or of one that
    /// ran in these times before it.
    pub(super) interval: Duration,
    zone: TimeZone,
    is_range: bool,
}

impl PlotRequest {
    /// The parameters of every request for plots.
    pub(super) const PARAMETERS: [&str; 6] = ["range", "from", "to", "width", "theme", "zone"];

    /// # Errors
    /// A parameter is invalid.
    pub(super) fn new(
        query: Query<'_>,
        journal: &Reader,
        kept_from: Option<UtcDateTime>,
        now: UtcDateTime,
        interval: Duration,
    ) -> Result<Self, HistoryError> {
        let times = times(query, kept_from, now)?;
        Ok(Self {
            interval: interval.max(journal.longest_interval(&times)?.unwrap_or_default()),
            times,
            kept_from,
            width: query.number("width", 280..=2000, 800)?,
            palette: Palette::of(query.choice("theme", &THEMES, Theme::Light)?),
            zone: zone(query.get("zone")),
            is_range: query.get("range").is_some(),
        })
    }

    /// How many rows a battery has in these times, if none is missing.
    pub(super) fn rows_of_each(&self, interval: Duration) -> u64 {
        let length = (self.times.end - self.times.start).as_seconds_f64();
        // The cast saturates, should the interval be zero.
        (length / interval.as_secs_f64()).ceil() as u64
    }

    /// Checks how much is read in these times: so many rows at each of them.
    ///
    /// # Errors
    /// It is too much.
    pub(super) fn check_rows(
        &self,
        interval: Duration,
        rows_at_a_time: usize,
    ) -> Result<(), HistoryError> {
        let rows_at_a_time = rows_at_a_time.max(1) as u64;
        if self.rows_of_each(interval).saturating_mul(rows_at_a_time) <= MOST_ROWS_OF_ALL {
            return Ok(());
        }
        let most = MOST_ROWS_OF_ALL as f64 / rows_at_a_time as f64 * interval.as_secs_f64();
        let parameter = if self.is_range { "range" } else { "from" };
        let most = match most {
            most if most < 2.0 * 86_400.0 => format!("{:.0} hours", (most / 3600.0).floor()),
            most => format!("{:.0} days", (most / 86_400.0).floor()),
        };
        let problem = format!("so many rows would take too long; ask for {most} at most");
        Err(HistoryError::query(parameter, problem))
    }

    /// Buckets of two pixels, since each has two points, and no shorter than `shortest`.
    pub(super) fn buckets(&self, shortest: Duration) -> Buckets {
        let pairs = u64::from(plotting_width(self.width) / 2);
        let most = pairs.min(self.rows_of_each(shortest)) as u32;
        Buckets::aligned(self.times.start, self.times.end, most)
    }

    /// The longest time without a value that is no gap: a line breaks where a value would have
    /// become stale. A pause that is shorter than a bucket isn't seen.
    pub(super) fn longest_pause(&self, buckets: Buckets) -> time::Duration {
        let stale = time::Duration::try_from(stale_after(self.interval));
        stale.unwrap_or(time::Duration::MAX).max(time::Duration::microseconds(buckets.micros()))
    }

    pub(super) fn axis(&self) -> TimeAxis {
        let labels = most_time_labels(self.width);
        TimeAxis::new(self.times.start, self.times.end, self.zone.clone(), labels)
    }

    /// The local dates of the times.
    pub(super) fn dates(&self) -> RangeInclusive<Date> {
        let date = |time: UtcDateTime| {
            let time = time.unix_timestamp();
            let local =
                self.zone.to_datetime(Timestamp::from_second(time).unwrap_or(Timestamp::MAX));
            Date::from_calendar_date(
                local.year().into(),
                time::Month::January.nth_next((local.month() - 1).unsigned_abs()),
                local.day().unsigned_abs(),
            )
            // jiff has no date that this lacks.
            .unwrap_or(Date::MAX)
        };
        date(self.times.start)..=date(self.times.end - time::Duration::NANOSECOND)
    }

    /// Where a date begins, in milliseconds since 1970.
    pub(super) fn begin_of(&self, date: Date) -> i64 {
        let local = civil::DateTime::new(
            date.year() as i16,
            u8::from(date.month()) as i8,
            date.day() as i8,
            0,
            0,
            0,
            0,
        );
        let begin = local.ok().and_then(|local| self.zone.to_timestamp(local).ok());
        begin.map_or_else(
            || date.midnight().as_utc().unix_timestamp() * 1000,
            |time| time.as_millisecond(),
        )
    }
}

/// The times that `range`, or `from` and `to`, ask for.
fn times(
    query: Query<'_>,
    kept_from: Option<UtcDateTime>,
    now: UtcDateTime,
) -> Result<Range<UtcDateTime>, HistoryError> {
    if query.get("from").is_some() || query.get("to").is_some() {
        if query.get("range").is_some() {
            return Err(HistoryError::query("range", "not along with `from` or `to`"));
        }
        return history::times(query, now);
    }
    let day = now.saturating_sub(DAY);
    let from = match query.choice("range", &RANGES, Some(DAY))? {
        Some(length) => now.saturating_sub(length),
        None => kept_from.filter(|from| *from < now).unwrap_or(day),
    };
    Ok(from..now)
}

/// The zone of that name, else the system's own one, else UTC.
fn zone(name: Option<&str>) -> TimeZone {
    let named = name.and_then(|name| TimeZone::get(name).ok()).filter(|zone| !zone.is_unknown());
    named.or_else(|| TimeZone::try_system().ok()).unwrap_or(TimeZone::UTC)
}
