//! Plots of the statistics of days: what a battery was like over weeks and years.

use bluenova_insight::DayStatistics;
use time::Duration;

use crate::{Colour, Curve, Form, Legend, Palette, Panel, Picture, Side, Trace, micros};

/// Longest time between two days that a line connects.
const LONGEST_PAUSE: Duration = Duration::days(8);

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A plot of everything that at least two of the `days` have, which are in their order. Their time
/// axis is [`TimeAxis::of_days`](crate::TimeAxis::of_days).
pub fn day_plots(days: &[DayStatistics], palette: &Palette) -> Vec<DayPlot> {
    let plots = [
        capacity(days, palette),
        cells(days, palette, &RESISTANCE),
        cells(days, palette, &AT_REST),
        energy(days, palette),
        band(days, palette.charge, &STATE_OF_CHARGE),
        band(days, palette.voltage, &SPREAD),
        band(days, palette.current, &TEMPERATURE),
    ];
    plots.into_iter().flatten().collect()
}

/// A plot of days, before it is drawn.
pub struct DayPlot {
    /// Name for programs.
    pub id: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What has to be said of its values, besides the unit.
    pub note: &'static str,
    /// The unit of its values.
    pub unit: &'static str,
    height: u32,
    /// Minimum span of the axis.
    least: f64,
    bounds: Option<(f64, f64)>,
    curves: Vec<DayCurve>,
}

/// A curve, before it is drawn: its name, form and values.
struct DayCurve {
    name: String,
    colour: Colour,
    form: Form,
    trace: Trace,
}

impl DayPlot {
    /// What is drawn.
    pub fn picture(&self, palette: &Palette) -> Picture<'_> {
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
        let (least, bounds) = (self.least, self.bounds);
        // Beside the numbers there isn't always room for the unit.
        let left = Side { unit: "", colour: palette.text, least, bounds, curves };
        let panel = Panel { height: self.height, left, right: Side::empty() };
        Picture { id: self.id, title: self.title, legend, panels: vec![panel] }
    }
}

/// The values of the days as a trace, if there are any on two days at least.
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
    (trace.buckets().iter().flatten().count() >= 2).then_some(trace)
}

/// The middle of a day, in microseconds after its beginning.
const NOON: i64 = DAY / 2;

/// What each day says, with its uncertainty.
fn capacity(days: &[DayStatistics], palette: &Palette) -> Option<DayPlot> {
    let within = |day: &DayStatistics| {
        let capacity = day.capacity_ah?;
        let end = |sign: f64| (capacity.value + sign * capacity.plus_minus) as f32;
        Some((end(-1.0), end(1.0)))
    };
    let value = |day: &DayStatistics| day.capacity_ah.map(|it| (it.value as f32, it.value as f32));
    let curve = |name: &str, form, trace| DayCurve {
        name: name.to_owned(),
        colour: palette.voltage,
        form,
        trace,
    };
    Some(DayPlot {
        id: "capacity",
        title: "Capacity",
        note: ", by each day alone; the band lacks the errors that all days have in common",
        unit: "Ah",
        height: 130,
        least: 10.0,
        bounds: None,
        curves: vec![
            curve("uncertainty", Form::Band, trace(days, within, NOON)?),
            curve("capacity", Form::Line, trace(days, value, NOON)?),
        ],
    })
}

/// A figure of each cell: its title, unit and least span, and where it stands.
struct CellPlot {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    least: f64,
    values: fn(&DayStatistics) -> &[Option<f32>],
}

const RESISTANCE: CellPlot = CellPlot {
    id: "resistance",
    title: "Internal resistance of the cells",
    unit: "mΩ",
    least: 0.1,
    values: |day| &day.cells.resistance_mohm,
};

const AT_REST: CellPlot = CellPlot {
    id: "at-rest",
    title: "Voltage of the cells at rest, above the median of the pack",
    unit: "mV",
    least: 4.0,
    values: |day| &day.cells.at_rest_mv,
};

fn cells(days: &[DayStatistics], palette: &Palette, plot: &CellPlot) -> Option<DayPlot> {
    let count = days.iter().filter_map(|day| (plot.values)(day).iter().rposition(Option::is_some));
    let count = count.max()? + 1;
    let curve = |cell: usize| {
        let value = |day: &DayStatistics| {
            let value = *(plot.values)(day).get(cell)?;
            value.map(|value| (value, value))
        };
        Some(DayCurve {
            name: format!("cell {:02}", cell + 1),
            colour: palette.cell(cell, count),
            form: Form::Thin,
            trace: trace(days, value, NOON)?,
        })
    };
    let curves: Vec<_> = (0..count).filter_map(curve).collect();
    let &CellPlot { id, title, unit, least, .. } = plot;
    let plot = DayPlot { id, title, note: "", unit, height: 150, least, bounds: None, curves };
    (!plot.curves.is_empty()).then_some(plot)
}

/// What has a lowest and a highest value each day.
struct BandPlot {
    id: &'static str,
    title: &'static str,
    name: &'static str,
    unit: &'static str,
    least: f64,
    bounds: Option<(f64, f64)>,
    value: fn(&DayStatistics) -> Option<(f32, f32)>,
}

const STATE_OF_CHARGE: BandPlot = BandPlot {
    id: "soc",
    title: "State of charge",
    name: "lowest to highest of the day",
    unit: "%",
    least: 100.0,
    bounds: Some((0.0, 100.0)),
    value: |day| day.soc.map(|soc| (soc.low, soc.high)),
};

const TEMPERATURE: BandPlot = BandPlot {
    id: "temperature",
    title: "Temperature of the pack",
    name: "lowest to highest of the day",
    unit: "°C",
    least: 4.0,
    bounds: None,
    value: |day| day.temp.map(|temp| (temp.low, temp.high)),
};

const SPREAD: BandPlot = BandPlot {
    id: "spread",
    title: "Highest cell above the lowest one",
    name: "lowest to highest of the day",
    unit: "mV",
    least: 4.0,
    bounds: Some((0.0, 0.0)),
    value: |day| day.spread_mv.map(|spread| (spread.low, spread.high)),
};

fn band(days: &[DayStatistics], colour: Colour, plot: &BandPlot) -> Option<DayPlot> {
    let BandPlot { id, title, name, unit, least, bounds, value } = *plot;
    let trace = trace(days, value, NOON)?;
    let curve = DayCurve { name: name.to_owned(), colour, form: Form::Band, trace };
    let curves = vec![curve];
    Some(DayPlot { id, title, note: "", unit, height: 110, least, bounds, curves })
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
        id: "energy",
        title: "Energy by day",
        note: "",
        unit: "kWh",
        height: 150,
        least: 0.1,
        bounds: Some((0.0, 0.0)),
        curves,
    })
}
