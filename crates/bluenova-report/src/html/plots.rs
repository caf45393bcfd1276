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
    let plots = [
        capacity(days, &palette),
        cells(days, &palette, &RESISTANCE),
        cells(days, &palette, &AT_REST),
        energy(days, &palette),
        band(days, palette.charge, &STATE_OF_CHARGE),
        band(days, palette.current, &TEMPERATURE),
    ];
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
        let (least, bounds) = (self.least, self.bounds);
        // Beside the numbers there isn't always room for the unit.
        let left = Side { unit: "", colour: palette.text, least, bounds, curves };
        let panel = Panel { height: self.height, left, right: Side::empty() };
        let picture = Picture { id: "", title: self.title, legend, panels: vec![panel] };
        let (svg, _) = picture.draw(axis, WIDTH, palette)?;
        let note = format!("in {}{}", self.unit, self.note);
        Ok(Figure { title: self.title, note, svg })
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
        title: "Capacity",
        note: ", by each day alone",
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
    title: &'static str,
    unit: &'static str,
    least: f64,
    values: fn(&DayStatistics) -> &[Option<f32>],
}

const RESISTANCE: CellPlot = CellPlot {
    title: "Internal resistance of the cells",
    unit: "mΩ",
    least: 0.1,
    values: |day| &day.cells.resistance_mohm,
};

const AT_REST: CellPlot = CellPlot {
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
    let (title, unit, least) = (plot.title, plot.unit, plot.least);
    let plot = DayPlot { title, note: "", unit, height: 150, least, bounds: None, curves };
    (!plot.curves.is_empty()).then_some(plot)
}

/// What has a lowest and a highest value each day.
struct BandPlot {
    title: &'static str,
    name: &'static str,
    unit: &'static str,
    least: f64,
    bounds: Option<(f64, f64)>,
    value: fn(&DayStatistics) -> Option<(f32, f32)>,
}

const STATE_OF_CHARGE: BandPlot = BandPlot {
    title: "State of charge",
    name: "lowest to highest of the day",
    unit: "%",
    least: 100.0,
    bounds: Some((0.0, 100.0)),
    value: |day| day.soc.map(|soc| (soc.low, soc.high)),
};

const TEMPERATURE: BandPlot = BandPlot {
    title: "Temperature of the pack",
    name: "lowest to highest of the day",
    unit: "°C",
    least: 4.0,
    bounds: None,
    value: |day| day.temp.map(|temp| (temp.low, temp.high)),
};

fn band(days: &[DayStatistics], colour: Colour, plot: &BandPlot) -> Option<DayPlot> {
    let BandPlot { title, name, unit, least, bounds, value } = *plot;
    let trace = trace(days, value, NOON)?;
    let curve = DayCurve { name: name.to_owned(), colour, form: Form::Band, trace };
    Some(DayPlot { title, note: "", unit, height: 110, least, bounds, curves: vec![curve] })
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
