//! `/api/batteries/{battery}/plots`, `/api/plots`, `/api/bank/plots`: the history as plots.

mod answer;
mod bank;
mod battery;
mod comparison;
mod request;
mod traces;

use std::ops::RangeInclusive;
use std::time::Duration;

use bluenova_insight::DayStatistics;
use bluenova_journal::{ALL_DATES, Reader, StoredDay};
use bluenova_plot::{Picture, TimeAxis, day_plots, most_time_labels};
use bluenova_record::McuId;
use time::{Date, UtcDateTime};

use self::answer::Plot;
use self::request::PlotRequest;
use self::traces::Traces;
use crate::HistoryError;
use crate::days::statistics_of;
use crate::query::Query;

pub use self::answer::Plots;
pub(crate) use self::bank::bank_plots;
pub(crate) use self::comparison::{MOST_BATTERIES, comparison};

/// Bounds of an axis that has zero on it.
const ZERO: Option<(f64, f64)> = Some((0.0, 0.0));

/// Length of time beyond which a battery's days are drawn, too.
const LONG: time::Duration = time::Duration::days(3);

/// Plots of days that say no more than those of the rows.
const SAID_BY_ROWS: [&str; 3] = ["soc", "spread", "temperature"];

/// The plots of a battery that `query` asks for.
///
/// Parameters are `range` (1h, 6h, 24h, 7d, 30d or all, until `now`; 24h by default) or `from` and
/// `to`, RFC 3339 times; `width` in pixels (280 to 2000; 800 by default), `theme` (light or dark;
/// light by default) and `zone`, an IANA time zone. A zone that this machine doesn't have is
/// replaced by its own one; the time axis has the zone's name. `interval` is the time from one row
/// to the next one.
///
/// More than three days have plots of the days, too, and times with too many rows only these.
///
/// # Errors
/// A parameter is invalid, or the journal can't be read.
pub fn plots(
    journal: &Reader,
    mcu_id: u32,
    query: &[(String, String)],
    now: UtcDateTime,
    interval: Duration,
) -> Result<Plots, HistoryError> {
    plots_with_today(journal, mcu_id, query, now, interval, None)
}

/// The same with the day under way, which the journal doesn't have yet.
pub(crate) fn plots_with_today(
    journal: &Reader,
    mcu_id: u32,
    query: &[(String, String)],
    now: UtcDateTime,
    interval: Duration,
    today: Option<DayStatistics>,
) -> Result<Plots, HistoryError> {
    let query = Query::new(query, &PlotRequest::PARAMETERS)?;
    let days = BatteryDays::read(journal, mcu_id, today)?;
    // There is something from the first row or the first day on.
    let first_day = days.first().map(|date| date.midnight().as_utc());
    let kept_from = journal.oldest()?.into_iter().chain(first_day).min();
    let request = PlotRequest::new(query, journal, kept_from, now, interval)?;
    let is_by_rows = request.rows_of_each(interval) <= request::MOST_ROWS;

    let mut plots = Plots::new(&request);
    plots.battery = Some(McuId(mcu_id));
    if is_by_rows {
        let buckets = request.buckets(request.interval);
        let pause = request.longest_pause(buckets);
        let traces = Traces::read(journal, mcu_id, request.times.clone(), buckets, pause)?;
        plots.set_times(&traces.filled);
        for picture in battery::pictures(&traces, &request.palette) {
            plots.draw(&picture, &request)?;
        }
    }
    if request.times.end - request.times.start > LONG || !is_by_rows {
        let is_drawn = |id: &str| !is_by_rows || !SAID_BY_ROWS.contains(&id);
        plots.plots.extend(of_days(&days.within(request.dates()), &request, is_drawn)?);
    }
    Ok(plots)
}

/// The days of a battery, in the order of their dates. A stored one is only read once it is needed:
/// there may be those of years, and a request for an hour needs none of them.
struct BatteryDays {
    stored: Vec<StoredDay>,
    today: Option<DayStatistics>,
}

impl BatteryDays {
    fn read(
        journal: &Reader,
        mcu_id: u32,
        today: Option<DayStatistics>,
    ) -> Result<Self, HistoryError> {
        Ok(Self { stored: journal.days(mcu_id, ALL_DATES)?, today })
    }

    fn first(&self) -> Option<Date> {
        let stored = self.stored.iter().find_map(statistics_of);
        stored.iter().chain(&self.today).map(|day| day.date).min()
    }

    fn within(self, dates: RangeInclusive<Date>) -> Vec<DayStatistics> {
        let mut days: Vec<_> = self.stored.iter().filter_map(statistics_of).collect();
        days.extend(self.today.filter(|today| days.iter().all(|day| day.date != today.date)));
        days.retain(|day| dates.contains(&day.date));
        days.sort_by_key(|day| day.date);
        days
    }
}

/// The plots of days, those of whose IDs `is_drawn` is true.
fn of_days(
    days: &[DayStatistics],
    request: &PlotRequest,
    is_drawn: impl Fn(&str) -> bool,
) -> Result<Vec<Plot>, HistoryError> {
    let axis = TimeAxis::of_days(request.dates(), most_time_labels(request.width));
    let drawn = day_plots(days, &request.palette);
    let drawn = drawn.iter().filter(|plot| is_drawn(plot.id));
    drawn
        .map(|plot| {
            let picture: Picture<'_> = plot.picture(&request.palette);
            let drawn = Plot::new(&picture, &axis, request)?;
            Ok(drawn.of_days(plot, request, days.iter().map(|day| day.date)))
        })
        .collect()
}
