//! `/api/batteries/{mcu}/plots`: a battery's history as plots.

mod traces;

use std::ops::Range;
use std::time::Duration;

use bluenova_journal::Reader;
use bluenova_plot::{
    Area, Buckets, Curve, Form, Legend, Palette, Panel, Picture, Side, Theme, TimeAxis, Trace, css,
    micros, most_time_labels, plotting_width,
};
use bluenova_record::{McuId, Rfc3339};
use bluenova_status::stale_after;
use jiff::tz::TimeZone;
use serde::Serialize;
use time::UtcDateTime;

use self::traces::Traces;
use crate::HistoryError;
use crate::query::Query;

const PARAMETERS: [&str; 4] = ["range", "width", "theme", "zone"];
const HOUR: time::Duration = time::Duration::HOUR;
const DAY: time::Duration = time::Duration::DAY;
const RANGES: [(&str, time::Duration); 4] =
    [("1h", HOUR), ("6h", time::Duration::hours(6)), ("24h", DAY), ("7d", time::Duration::WEEK)];
const THEMES: [(&str, Theme); 2] = [("light", Theme::Light), ("dark", Theme::Dark)];

/// Bounds of an axis that has zero on it.
const ZERO: Option<(f64, f64)> = Some((0.0, 0.0));

/// The plots of a battery, as JSON.
#[derive(Debug, Serialize)]
pub struct Plots {
    battery: McuId,
    from: Rfc3339,
    to: Rfc3339,
    /// Milliseconds since 1970.
    times: Vec<i64>,
    plots: Vec<Plot>,
}

#[derive(Debug, Serialize)]
struct Plot {
    id: &'static str,
    title: &'static str,
    svg: String,
    area: Area,
    series: Vec<Series>,
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

/// The plots of a battery that `query` asks for, of the time until `now`.
///
/// Parameters are `range` (1h, 6h, 24h or 7d; 24h by default), `width` in pixels (280 to 2000; 800
/// by default), `theme` (light or dark; light by default) and `zone`, an IANA time zone. A zone
/// that this machine doesn't have is replaced by its own one; the time axis has the zone's name.
/// `interval` is the time from one row to the next one.
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
    let query = Query::new(query, &PARAMETERS)?;
    let range = query.choice("range", &RANGES, DAY)?;
    let width = query.number("width", 280..=2000, 800)?;
    let palette = Palette::of(query.choice("theme", &THEMES, Theme::Light)?);
    let zone = zone(query.get("zone"));

    let times = now.saturating_sub(range)..now;
    let buckets = buckets(&times, width, interval);
    // A line breaks where a value would have become stale.
    let pause = time::Duration::try_from(stale_after(interval)).unwrap_or(time::Duration::MAX);
    let traces = Traces::read(journal, mcu_id, times.clone(), buckets, pause)?;
    let time = TimeAxis::new(times.start, times.end, zone, most_time_labels(width));
    let plots = pictures(&traces, &palette).map(|picture| plot(picture, &time, width, &palette));
    Ok(Plots {
        battery: McuId(mcu_id),
        times: traces
            .filled
            .times
            .iter()
            .map(|time| micros(*time.max(&times.start)) / 1000)
            .collect(),
        from: Rfc3339(times.start),
        to: Rfc3339(times.end),
        plots: plots.into_iter().collect::<Result<_, _>>()?,
    })
}

/// Buckets of two pixels, since each has two points, and no shorter than the interval.
fn buckets(times: &Range<UtcDateTime>, width: u32, interval: Duration) -> Buckets {
    let intervals = (times.end - times.start).as_seconds_f64() / interval.as_secs_f64();
    let pairs = plotting_width(width) / 2;
    // The cast saturates, should the interval be zero.
    Buckets::aligned(times.start, times.end, pairs.min(intervals.ceil() as u32))
}

/// The zone of that name, else the system's own one, else UTC.
fn zone(name: Option<&str>) -> TimeZone {
    let named = name.and_then(|name| TimeZone::get(name).ok()).filter(|zone| !zone.is_unknown());
    named.or_else(|| TimeZone::try_system().ok()).unwrap_or(TimeZone::UTC)
}

fn pictures<'a>(traces: &'a Traces, palette: &Palette) -> [Picture<'a>; 4] {
    [
        pack(traces, palette),
        cells(traces, palette),
        spread(traces, palette),
        temperatures(traces, palette),
    ]
}

/// The state of charge has a panel of its own: three scales in one are hard to read.
fn pack<'a>(traces: &'a Traces, palette: &Palette) -> Picture<'a> {
    let voltage = Curve::line("pack voltage", &traces.voltage, palette.voltage);
    let current = Curve::line("current", &traces.current, palette.current);
    let charge = Curve::line("state of charge", &traces.charge, palette.charge);
    let filled = Curve { form: Form::Area, ..charge.clone() };
    Picture {
        id: "pack",
        title: "Voltage, current and state of charge",
        legend: vec![Legend::of(&voltage), Legend::of(&current), Legend::of(&charge)],
        panels: vec![
            Panel {
                height: 190,
                left: Side {
                    unit: "V",
                    colour: palette.voltage,
                    least: 0.2,
                    bounds: None,
                    curves: vec![voltage],
                },
                right: amperes(current, palette),
            },
            Panel {
                height: 74,
                left: Side {
                    unit: "%",
                    colour: palette.charge,
                    least: 100.0,
                    bounds: Some((0.0, 100.0)),
                    curves: vec![filled, charge],
                },
                right: Side::empty(),
            },
        ],
    }
}

fn cells<'a>(traces: &'a Traces, palette: &Palette) -> Picture<'a> {
    let cells = per_cell(&traces.cell_v, palette);
    let current = Curve::line("current", &traces.current, palette.current);
    let current = Curve { form: Form::Area, ..current };
    let mut legend = Legend::of_cells(&cells);
    legend.push(Legend::of(&current));
    Picture {
        id: "cells",
        title: "Cell voltages",
        legend,
        panels: vec![Panel {
            // As high as both panels of the first plot, which a wide page shows beside it.
            height: 280,
            left: Side {
                unit: "V",
                colour: palette.text,
                least: 0.02,
                bounds: None,
                curves: cells,
            },
            right: amperes(current, palette),
        }],
    }
}

fn amperes<'a>(current: Curve<'a>, palette: &Palette) -> Side<'a> {
    let colour = palette.current;
    Side { unit: "A", colour, least: 4.0, bounds: ZERO, curves: vec![current] }
}

fn spread<'a>(traces: &'a Traces, palette: &Palette) -> Picture<'a> {
    let band = Curve::line("lowest to highest cell", &traces.band, palette.voltage);
    let band = Curve { form: Form::Band, ..band };
    let spread = Curve::line("spread", &traces.spread, palette.current);
    let spread = Curve { form: Form::Thin, ..spread };
    Picture {
        id: "spread",
        title: "Lowest and highest cell",
        legend: vec![Legend::of(&band), Legend::of(&spread)],
        panels: vec![Panel {
            height: 190,
            left: Side {
                unit: "V",
                colour: palette.voltage,
                least: 0.02,
                bounds: None,
                curves: vec![band],
            },
            right: Side {
                unit: "mV",
                colour: palette.current,
                least: 4.0,
                bounds: ZERO,
                curves: vec![spread],
            },
        }],
    }
}

fn temperatures<'a>(traces: &'a Traces, palette: &Palette) -> Picture<'a> {
    let mut curves = per_cell(&traces.cell_t, palette);
    let mut legend = Legend::of_cells(&curves);
    let pack = Curve::line("pack", &traces.temperature, palette.pack);
    legend.push(Legend::of(&pack));
    curves.push(pack);
    Picture {
        id: "temperatures",
        title: "Temperatures",
        legend,
        panels: vec![Panel {
            height: 190,
            left: Side { unit: "°C", colour: palette.text, least: 4.0, bounds: None, curves },
            right: Side::empty(),
        }],
    }
}

fn per_cell<'a>(traces: &'a [Trace], palette: &Palette) -> Vec<Curve<'a>> {
    let curve = |(i, trace)| Curve {
        form: Form::Thin,
        ..Curve::line(format!("cell {}", i + 1), trace, palette.cell(i, traces.len()))
    };
    traces.iter().enumerate().map(curve).collect()
}

fn plot(
    picture: Picture<'_>,
    time: &TimeAxis,
    width: u32,
    palette: &Palette,
) -> Result<Plot, HistoryError> {
    let (svg, area) =
        picture.draw(time, width, palette).map_err(|error| HistoryError::Drawing(error.into()))?;
    let Picture { id, title, panels, .. } = picture;
    let sides = panels.iter().flat_map(|panel| [&panel.left, &panel.right]);
    let curves = sides.flat_map(|side| side.curves.iter().map(|curve| (curve, side.unit)));
    // The state of charge has two curves, an area and the line above it.
    let mut series: Vec<Series> = vec![];
    for (curve, unit) in curves.filter(|(curve, _)| curve.trace.extremes().is_some()) {
        if series.iter().all(|earlier| earlier.name != curve.name) {
            series.push(Series::of(curve, unit));
        }
    }
    Ok(Plot { id, title, svg, area, series })
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
