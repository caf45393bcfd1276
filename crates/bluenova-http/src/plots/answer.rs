//! Plots as JSON.

use bluenova_plot::{Area, Curve, DayPlot, FilledBuckets, Picture, TimeAxis, css, micros};
use bluenova_record::{McuId, Rfc3339};
use serde::Serialize;
use time::Date;

use super::request::PlotRequest;
use crate::HistoryError;

/// Plots, as JSON.
#[derive(Debug, Serialize)]
pub struct Plots {
    /// The battery, if they are of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) battery: Option<McuId>,
    /// The batteries, if they are of several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) batteries: Vec<McuId>,
    from: Rfc3339,
    to: Rfc3339,
    kept_from: Option<Rfc3339>,
    /// Milliseconds since 1970.
    times: Vec<i64>,
    pub(super) plots: Vec<Plot>,
}

#[derive(Debug, Serialize)]
pub(super) struct Plot {
    id: &'static str,
    title: String,
    svg: String,
    area: Area,
    /// Of a plot of days: its own times.
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<DayTimes>,
    series: Vec<Series>,
}

/// Begin and end of the time axis, and the time of each value, in milliseconds since 1970.
#[derive(Debug, Serialize)]
struct DayTimes {
    from: i64,
    to: i64,
    times: Vec<i64>,
}

/// The values of a curve, a lowest and a highest one for each of the times.
#[derive(Debug, Serialize)]
struct Series {
    name: String,
    unit: &'static str,
    colour: String,
    low: Vec<Option<f32>>,
    high: Vec<Option<f32>>,
}

impl Plots {
    /// None yet, of the times that are asked for.
    pub(super) fn new(request: &PlotRequest) -> Self {
        Self {
            battery: None,
            batteries: vec![],
            from: Rfc3339(request.times.start),
            to: Rfc3339(request.times.end),
            kept_from: request.kept_from.map(Rfc3339),
            times: vec![],
            plots: vec![],
        }
    }

    /// Sets the times of the values to those of the buckets.
    pub(super) fn set_times(&mut self, filled: &FilledBuckets) {
        let from = self.from.0;
        self.times = filled.times.iter().map(|time| micros(*time.max(&from)) / 1000).collect();
    }

    /// Draws a plot of the rows.
    pub(super) fn draw(
        &mut self,
        picture: &Picture<'_>,
        request: &PlotRequest,
    ) -> Result<(), HistoryError> {
        self.plots.push(Plot::new(picture, &request.axis(), request)?);
        Ok(())
    }
}

impl Plot {
    pub(super) fn new(
        picture: &Picture<'_>,
        axis: &TimeAxis,
        request: &PlotRequest,
    ) -> Result<Self, HistoryError> {
        let (svg, area) = picture
            .draw(axis, request.width, &request.palette)
            .map_err(|error| HistoryError::Drawing(error.into()))?;
        let sides = picture.panels.iter().flat_map(|panel| [&panel.left, &panel.right]);
        let curves = sides.flat_map(|side| side.curves.iter().map(|curve| (curve, side.unit)));
        // The state of charge has two curves, an area and the line above it.
        let mut series: Vec<Series> = vec![];
        for (curve, unit) in curves.filter(|(curve, _)| curve.trace.extremes().is_some()) {
            if series.iter().all(|earlier| earlier.name != curve.name) {
                series.push(Series::of(curve, unit));
            }
        }
        let (id, title) = (picture.id, picture.title.to_owned());
        Ok(Self { id, title, svg, area, days: None, series })
    }

    /// The same as a plot of these days.
    pub(super) fn of_days(
        mut self,
        plot: &DayPlot,
        request: &PlotRequest,
        days: impl Iterator<Item = Date>,
    ) -> Self {
        const NOON: i64 = 12 * 3_600_000;
        let dates = request.dates();
        let end = dates.end().next_day().unwrap_or(Date::MAX);
        self.title = format!("{}, {}", plot.title, plot.unit);
        for series in &mut self.series {
            series.unit = plot.unit;
        }
        self.days = Some(DayTimes {
            from: request.begin_of(*dates.start()),
            to: request.begin_of(end),
            times: days.map(|date| request.begin_of(date) + NOON).collect(),
        });
        self
    }
}

impl Series {
    fn of(curve: &Curve<'_>, unit: &'static str) -> Self {
        let buckets = curve.trace.buckets().iter();
        Self {
            name: curve.name.clone(),
            unit,
            colour: css(curve.colour),
            low: buckets.clone().map(|e| e.map(|e| e.low.value)).collect(),
            high: buckets.map(|e| e.map(|e| e.high.value)).collect(),
        }
    }
}
