//! Plots of the days.

use bluenova_insight::DayStatistics;
use bluenova_plot::{
    Colour, Curve, DrawError, Form, Legend, Palette, Panel, Picture, Side, Theme, TimeAxis, Trace,
    micros, most_time_labels,
};
use time::Duration;

use super::Figure;
use crate::Passport;

/// Width of a plot, in pixels: about that of a printed page.
const WIDTH: u32 = 680;

/// Longest time between two days that a line connects.
const LONGEST_PAUSE: Duration = Duration::days(8);

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A curve, before it is drawn: its name, form and values.
struct DayCurve {
    name: String,
    colour: Colour,
    form: Form,
    trace: Trace,
}

/// A plot of everything that at least one day knows.
pub(super) fn draw(passport: &Passport) -> Result<Vec<Figure>, DrawError> {
    let days = &passport.statistics;
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(vec![]) };
    let axis = TimeAxis::of_days(first.date..=last.date, most_time_labels(WIDTH));
    let palette = Palette::of(Theme::Light);
    let plots = [energy(days, &palette)];
    plots.into_iter().flatten().map(|plot| plot.draw(&axis, &palette)).collect()
}

/// A plot, before it is drawn.
struct DayPlot {
    title: &'static str,
    note: &'static str,
    unit: &'static str,
    height: u32,
    /// Minimum span of the axis.
    least: f64,
    bounds: Option<(f64, f64)>,
    curves: Vec<DayCurve>,
}

impl DayPlot {
    fn draw(&self, axis: &TimeAxis, palette: &Palette) -> Result<Figure, DrawError> {
        let curves: Vec<_> = self
            .curves
            .iter()
            .map(|DayCurve { name, colour, form, trace }| Curve {
                form: *form,
                ..Curve::line(name.clone(), trace, *colour)
            })
            .collect();
        let legend = match curves.len() {
            0..=3 => curves.iter().map(Legend::of).collect(),
            _ => Legend::of_cells(&curves),
        };
        let (unit, least, bounds) = (self.unit, self.least, self.bounds);
        let left = Side { unit, colour: palette.text, least, bounds, curves };
        let panel = Panel { height: self.height, left, right: Side::empty() };
        let picture = Picture { id: "", title: self.title, legend, panels: vec![panel] };
        let (svg, _) = picture.draw(axis, WIDTH, palette)?;
        Ok(Figure { title: self.title, note: self.note, svg })
    }
}

/// The values of the days as a trace, if there are any.
fn trace(
    days: &[DayStatistics],
    value: impl Fn(&DayStatistics) -> Option<(f32, f32)>,
    at: i64,
) -> Option<Trace> {
    let mut trace = Trace::new(LONGEST_PAUSE);
    for day in days {
        trace.start_bucket();
        let (low, high) = value(day).unzip();
        trace.add_range(micros(day.date.midnight().as_utc()) + at, low, high);
    }
    trace.extremes().is_some().then_some(trace)
}

/// Bars up for what was charged, down for what was discharged.
fn energy(days: &[DayStatistics], palette: &Palette) -> Option<DayPlot> {
    let bars = |name: &str, colour, value: fn(&DayStatistics) -> f64| {
        let kwh = |day: &DayStatistics| {
            let value = value(day) as f32 / 1000.0;
            (value != 0.0).then_some((value, value))
        };
        let trace = trace(days, kwh, 0)?;
        Some(DayCurve { name: name.to_owned(), colour, form: Form::Bars { micros: DAY }, trace })
    };
    let charged = bars("charged", palette.charge, |day| day.counters.energy_in_wh);
    let discharged = bars("discharged", palette.current, |day| -day.counters.energy_out_wh);
    let curves: Vec<_> = charged.into_iter().chain(discharged).collect();
    (!curves.is_empty()).then_some(DayPlot {
        title: "Energy by day",
        note: "",
        unit: "kWh",
        height: 150,
        least: 0.1,
        bounds: Some((0.0, 0.0)),
        curves,
    })
}
