//! What the rows of one battery are drawn as.

use bluenova_plot::{Curve, Form, Legend, Palette, Panel, Picture, Side, Trace};

use super::ZERO;
use super::traces::Traces;

pub(super) fn pictures<'a>(traces: &'a Traces, palette: &Palette) -> [Picture<'a>; 4] {
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
