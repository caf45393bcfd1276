//! Figures of the cells as bars, one per cell, with their plus-minus.

use std::fmt::Write;

use bluenova_insight::{CellFigures, Estimate};
use bluenova_plot::{Palette, Theme, ValueAxis, css};

use super::Figure;
use crate::Passport;

const WIDTH: f64 = 680.0;
const LEFT: f64 = 58.0;
const TOP: f64 = 10.0;
const HEIGHT: f64 = 120.0;
const BELOW: f64 = 24.0;

type CellFigure = (&'static str, &'static str, fn(&CellFigures) -> Option<Estimate>);

/// What is drawn, each in its unit.
const FIGURES: [CellFigure; 3] = [
    ("Internal resistance of each cell", "mΩ", |cell| cell.resistance_mohm),
    ("Voltage at rest above the median of the pack", "mV", |cell| cell.at_rest_mv),
    ("Charge above the median of the pack", "Ah", |cell| cell.charge_ah),
];

/// A plot of each figure that at least one cell has.
pub(super) fn draw(passport: &Passport) -> Vec<Figure> {
    let weak_cells = passport.verdict.weak_cells().into_iter().flatten();
    let weak: Vec<usize> = weak_cells.map(|weak| weak.cell.into()).collect();
    let draw = |(title, unit, figure): CellFigure| {
        let bars: Vec<_> = passport.cells.iter().map(figure).map(finite).collect();
        let has_any = bars.iter().any(Option::is_some);
        let note =
            if weak.is_empty() { "with the uncertainty of each" } else { "weak cells are orange" };
        has_any.then(|| Figure { title, note: note.to_owned(), svg: svg(&bars, unit, &weak) })
    };
    FIGURES.into_iter().filter_map(draw).collect()
}

fn finite(found: Option<Estimate>) -> Option<Estimate> {
    found.filter(|it| it.value.is_finite() && it.plus_minus.is_finite())
}

fn svg(bars: &[Option<Estimate>], unit: &'static str, weak: &[usize]) -> String {
    let palette = Palette::of(Theme::Light);
    let ends = bars
        .iter()
        .flatten()
        .flat_map(|bar| [bar.value - bar.plus_minus, bar.value + bar.plus_minus, 0.0]);
    let (low, high) =
        ends.fold((0.0, 0.0), |(low, high): (f64, f64), end| (low.min(end), high.max(end)));
    let labels: Vec<_> = ValueAxis::covering(low, high, 4, unit).labels().collect();
    let bottom = labels.first().map_or(0.0, |(value, _)| *value);
    let top = labels.last().map_or(1.0, |(value, _)| *value);
    let y = |value: f64| TOP + (top - value) / (top - bottom) * HEIGHT;
    let (text, lines) = (css(palette.text), css(palette.lines));

    let height = TOP + HEIGHT + BELOW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{text}\">"
    );
    for (value, label) in &labels {
        let y = y(*value);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{WIDTH}\" stroke=\"{lines}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let step = (WIDTH - LEFT) / bars.len().max(4) as f64;
    for (at, bar) in bars.iter().enumerate() {
        let middle = LEFT + (at as f64 + 0.5) * step;
        let colour = if weak.contains(&(at + 1)) { palette.current } else { palette.voltage };
        let _ = write!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">{:02}</text>",
            height - 6.0,
            at + 1
        );
        if let Some(bar) = bar {
            let (from, to) = (y(bar.value.max(0.0)), y(bar.value.min(0.0)));
            let (most, least) = (y(bar.value + bar.plus_minus), y(bar.value - bar.plus_minus));
            let _ = write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{from:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                 fill=\"{}\"/><path d=\"M{middle:.1} {most:.1}V{least:.1}m-4 0h8\
                 M{:.1} {most:.1}h8\" stroke=\"#1b1e23\" fill=\"none\"/>",
                middle - step * 0.3,
                step * 0.6,
                to - from,
                css(colour),
                middle - 4.0
            );
        }
    }
    svg + "</svg>"
}
