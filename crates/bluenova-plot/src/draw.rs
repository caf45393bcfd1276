//! Draws curves as SVG.

use std::io;

use plotters::chart::DualCoordChartContext;
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::Ranged;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Serialize;

use crate::axis::{TimeAxis, ValueAxis};
use crate::downsample::{Extremes, Point, Trace};
use crate::palette::Palette;

/// Why a plot can't be drawn.
pub type DrawError = DrawingAreaErrorKind<io::Error>;

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = DualCoordChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<TimeAxis, ValueAxis>,
    Cartesian2d<TimeAxis, ValueAxis>,
>;

/// Units in a pixel. plotters rounds to whole units; with one per pixel slow curves had stairs.
const UNITS: i32 = 4;

/// Pixels beside the plotting area: the same in all plots, so that their times are in line.
const LEFT: u32 = 58;
const RIGHT: u32 = 60;
/// Pixels above a panel: half of its topmost label, and of the lowest one of the panel above it.
const ABOVE: u32 = 16;
/// Pixels below the last panel, for times and for the name of the zone.
const BELOW: u32 = 40;
/// Pixels from one row of the legend to the next.
const LEGEND_ROW: u32 = 19;
/// Pixels between two entries of the legend.
const LEGEND_GAP: u32 = 16;
/// Width of a mark in the legend, in pixels; of each mark where there are many.
const MARK: u32 = 14;
const SMALL_MARK: u32 = 5;
/// Pixels from an axis to its labels.
const TO_LABEL: u32 = 6;
/// Minimum distance of two lines of the mesh, in pixels.
const LINES: u32 = 30;
/// Width of a label of the time axis and the space around it, in pixels.
const TIME_LABEL: u32 = 52;

const TEXT: f64 = 12.0;
/// Estimated width of a character, in pixels; the browser's font isn't known here.
const CHARACTER: f64 = 0.56 * TEXT;
/// Width of a character of a number, in pixels: no less than in wide fonts.
const DIGIT: f64 = 0.62 * TEXT;

/// A plot: panels one below the other, with a common time axis.
pub struct Picture<'a> {
    /// Name for programs.
    pub id: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What its colours mean.
    pub legend: Vec<Legend>,
    /// The topmost panel first.
    pub panels: Vec<Panel<'a>>,
}

/// Curves on a left and a right axis.
pub struct Panel<'a> {
    /// Height of the plotting area, in pixels.
    pub height: u32,
    /// The curves of the left axis.
    pub left: Side<'a>,
    /// Drawn first, behind the left side's curves.
    pub right: Side<'a>,
}

/// The curves that share an axis.
pub struct Side<'a> {
    /// The unit of its values.
    pub unit: &'static str,
    /// The colour of the labels.
    pub colour: RGBColor,
    /// Minimum span of the axis: a value that hardly changes is to look so.
    pub least: f64,
    /// Values that are on the axis in any case.
    pub bounds: Option<(f64, f64)>,
    /// The curves, the one that is drawn first in front.
    pub curves: Vec<Curve<'a>>,
}

/// The course of a value, and how it is drawn.
#[derive(Clone)]
pub struct Curve<'a> {
    /// What the legend calls it.
    pub name: String,
    /// Its values.
    pub trace: &'a Trace,
    /// Its colour.
    pub colour: RGBColor,
    /// How it is drawn.
    pub form: Form,
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line.
    Line,
    /// A line among many.
    Thin,
    /// The area between the value and zero, pale.
    Area,
    /// The area between the two values of a row.
    Band,
    /// A bar from zero to each value.
    Bars {
        /// Width of a bar, which begins at the value's time, in microseconds.
        micros: i64,
    },
}

/// An entry of the legend.
pub struct Legend {
    before: String,
    /// The curve's colour, or those of many curves.
    colours: Vec<RGBColor>,
    alpha: f64,
    /// Whether the mark is a rectangle, not a line.
    is_filled: bool,
    after: String,
}

/// The plotting area in an SVG, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Area {
    /// Its left edge.
    pub left: f64,
    /// Its upper edge.
    pub top: f64,
    /// Its right edge.
    pub right: f64,
    /// Its lower edge.
    pub bottom: f64,
}

/// Width of the plotting area in an SVG of `width` pixels.
pub fn plotting_width(width: u32) -> u32 {
    width.saturating_sub(LEFT + RIGHT).max(2)
}

/// Number of labels that the time axis has room for.
pub fn most_time_labels(width: u32) -> usize {
    (plotting_width(width) / TIME_LABEL) as usize
}

impl Picture<'_> {
    /// The SVG, and the plotting area in it.
    ///
    /// # Errors
    /// plotters can't draw it; for a size of a hundred pixels or more it can.
    pub fn draw(
        &self,
        time: &TimeAxis,
        width: u32,
        palette: &Palette,
    ) -> Result<(String, Area), DrawError> {
        let rows = legend_rows(&self.legend, width);
        let legend_height = rows.len() as u32 * LEGEND_ROW;
        let panels: u32 = self.panels.iter().map(|panel| ABOVE + panel.height).sum();
        let height = legend_height + panels + BELOW;

        let mut drawn = String::new();
        let size = (units(width) as u32, units(height) as u32);
        let root = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        draw_legend(&root, &rows, palette)?;
        let mut top = legend_height;
        let mut area: Option<Area> = None;
        for (i, panel) in self.panels.iter().enumerate() {
            let below = if i + 1 == self.panels.len() { BELOW } else { 0 };
            let height = ABOVE + panel.height + below;
            let part = root.clone().shrink((0, units(top)), (units(width), units(height)));
            let panel_area = panel.draw(&part, time, below, palette)?;
            area =
                Some(area.map_or(panel_area, |first| Area { bottom: panel_area.bottom, ..first }));
            top += height;
        }
        root.present()?;
        drop(root);
        let nothing = Area { left: 0.0, top: 0.0, right: 0.0, bottom: 0.0 };
        Ok((in_pixels(&drawn, (width, height), size), area.unwrap_or(nothing)))
    }
}

/// The SVG with its size in pixels; plotters gives it a size in units.
fn in_pixels(drawn: &str, (width, height): (u32, u32), units: (u32, u32)) -> String {
    let content = drawn.split_once('>').map_or("", |(_, content)| content);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\" stroke-linejoin=\"round\">{content}",
        units.0, units.1
    )
}

impl Panel<'_> {
    /// Draws the panel, and returns its plotting area. Labels of the time axis are drawn if `below`
    /// has pixels for them.
    fn draw(
        &self,
        area: &Drawing<'_>,
        time: &TimeAxis,
        below: u32,
        palette: &Palette,
    ) -> Result<Area, DrawError> {
        let (left, right) = self.axes();
        let left_axis = left.clone();
        let mut chart = ChartBuilder::on(area)
            .margin_top(units(ABOVE))
            .set_label_area_size(LabelAreaPosition::Left, units(LEFT))
            .set_label_area_size(LabelAreaPosition::Right, units(RIGHT))
            .set_label_area_size(LabelAreaPosition::Bottom, units(below))
            .build_cartesian_2d(time.clone(), left)?
            .set_secondary_coord(time.clone(), right.clone());
        self.draw_axes(&mut chart, time, palette)?;
        self.draw_left_labels(area, &chart, &left_axis)?;
        self.draw_right_axis(area, &chart, &right, palette)?;

        for curve in &self.right.curves {
            for element in curve.elements() {
                chart.draw_secondary_series([element])?;
            }
        }
        for curve in &self.left.curves {
            for element in curve.elements() {
                chart.draw_series([element])?;
            }
        }
        let (x, y) = chart.plotting_area().get_pixel_range();
        if self.left.extremes().is_none() && self.right.extremes().is_none() {
            let middle = ((x.end - x.start) / 2, (y.end - y.start) / 2);
            let style = text(&palette.text).pos(Pos::new(HPos::Center, VPos::Center));
            chart.plotting_area().strip_coord_spec().draw_text("no data", &style, middle)?;
        }
        let [left, right, top, bottom] = [x.start, x.end, y.start, y.end].map(pixels);
        Ok(Area { left, top, right, bottom })
    }

    /// Two axes with their lines at the same heights, and as little empty room as possible.
    fn axes(&self) -> (ValueAxis, ValueAxis) {
        let most = (self.height / LINES) as u8;
        let pairs = (2..=most).map(|parts| (self.left.axis(parts), self.right.axis(parts)));
        let used = |(left, right): &(ValueAxis, ValueAxis)| left.used() * right.used();
        pairs
            .max_by(|one, other| used(one).total_cmp(&used(other)))
            .unwrap_or_else(|| (ValueAxis::none(), ValueAxis::none()))
    }

    fn draw_axes(
        &self,
        chart: &mut Chart<'_, '_>,
        time: &TimeAxis,
        palette: &Palette,
    ) -> Result<(), DrawError> {
        let line = palette.lines.stroke_width(UNITS as u32);
        chart
            .configure_mesh()
            .set_all_tick_mark_size(units(3))
            .axis_style(line)
            .bold_line_style(line)
            .x_label_style(text(&palette.text))
            // Without one, plotters takes a size that nobody can read.
            .y_label_style(text(&palette.text))
            .y_label_formatter(&|_| String::new())
            .axis_desc_style(text(&palette.text))
            .x_desc(time.name())
            .draw()
    }

    /// Draws the labels of the left axis, aligned at their right ends.
    ///
    /// plotters would align them with the widest one, and counts a minus as three characters:
    /// labels would be beyond the edge.
    fn draw_left_labels(
        &self,
        area: &Drawing<'_>,
        chart: &Chart<'_, '_>,
        axis: &ValueAxis,
    ) -> Result<(), DrawError> {
        let (left, top) = area.get_base_pixel();
        let (x, y) = chart.plotting_area().get_pixel_range();
        let style = text(&self.left.colour).pos(Pos::new(HPos::Right, VPos::Center));
        for (value, label) in axis.labels() {
            let height = axis.map(&value, (y.end, y.start)) - top;
            area.draw_text(&label, &style, (x.start - left - units(TO_LABEL), height))?;
        }
        Ok(())
    }

    /// Draws the right axis, with its labels aligned at their right ends, for the same reason.
    fn draw_right_axis(
        &self,
        area: &Drawing<'_>,
        chart: &Chart<'_, '_>,
        axis: &ValueAxis,
        palette: &Palette,
    ) -> Result<(), DrawError> {
        let (left, top) = area.get_base_pixel();
        let (x, y) = chart.plotting_area().get_pixel_range();
        let edge = x.end - left;
        let line = palette.lines.stroke_width(UNITS as u32);
        let labels: Vec<_> = axis.labels().collect();
        area.draw(&PathElement::new(vec![(edge, y.start - top), (edge, y.end - top)], line))?;

        let characters = labels.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0);
        let room = f64::from(RIGHT - TO_LABEL);
        let end = TO_LABEL + (characters as f64 * DIGIT).min(room) as u32;
        let style = text(&self.right.colour).pos(Pos::new(HPos::Right, VPos::Center));
        for (value, label) in labels {
            let height = axis.map(&value, (y.end, y.start)) - top;
            area.draw(&PathElement::new(vec![(edge, height), (edge + units(3), height)], line))?;
            area.draw_text(&label, &style, (edge + units(end), height))?;
        }
        Ok(())
    }
}

impl<'a> Side<'a> {
    /// A side without curves and labels.
    pub fn empty() -> Self {
        Self { unit: "", colour: BLACK, least: 0.0, bounds: None, curves: vec![] }
    }

    fn extremes(&self) -> Option<(f64, f64)> {
        let extremes = self.curves.iter().filter_map(|curve| curve.trace.extremes());
        let extremes = extremes.map(|Extremes { low, high }| (f64::from(low), f64::from(high)));
        extremes.reduce(union)
    }

    fn axis(&self, parts: u8) -> ValueAxis {
        let Some(extremes) = self.extremes() else { return ValueAxis::none() };
        let (low, high) = self.bounds.map_or(extremes, |bounds| union(extremes, bounds));
        let missing = (self.least - (high - low)).max(0.0) / 2.0;
        ValueAxis::covering(low - missing, high + missing, parts, self.unit)
    }
}

fn union(one: (f64, f64), other: (f64, f64)) -> (f64, f64) {
    (one.0.min(other.0), one.1.max(other.1))
}

/// Microseconds since 1970, and a value.
type Coordinates = (i64, f64);
type Element<'a> = DynElement<'static, SVGBackend<'a>, Coordinates>;

impl<'a> Curve<'a> {
    /// A curve that is drawn as a line.
    pub fn line(name: impl Into<String>, trace: &'a Trace, colour: RGBColor) -> Self {
        Self { name: name.into(), trace, colour, form: Form::Line }
    }

    fn elements<'b>(&self) -> Vec<Element<'b>> {
        if self.form == Form::Band {
            return self.trace.bands().iter().flat_map(|band| self.band(band)).collect();
        }
        let points = self.trace.points();
        let lines = Trace::lines(&points);
        match self.form {
            Form::Area => lines.flat_map(|line| self.area(line)).collect(),
            Form::Bars { micros } => points.iter().map(|point| self.bar(point, micros)).collect(),
            _ => lines.map(|line| self.path(line)).collect(),
        }
    }

    fn path<'b>(&self, line: &[Point]) -> Element<'b> {
        let width = if self.form == Form::Thin { 4 } else { 6 };
        match line {
            [single] => Circle::new(coordinates(single), width, self.colour.filled()).into_dyn(),
            _ => {
                let path: Vec<_> = line.iter().map(coordinates).collect();
                PathElement::new(path, self.colour.stroke_width(width)).into_dyn()
            }
        }
    }

    fn bar<'b>(&self, point: &Point, micros: i64) -> Element<'b> {
        let (start, value) = coordinates(point);
        // A little room between two bars.
        let corners = [(start + micros / 10, 0.0), (start + micros * 9 / 10, value)];
        Rectangle::new(corners, self.colour.filled()).into_dyn()
    }

    /// With an edge: a peak of one row is too thin for a pale colour.
    fn area<'b>(&self, line: &[Point]) -> [Element<'b>; 2] {
        let mut around: Vec<_> = line.iter().map(coordinates).collect();
        let ends = (line.first(), line.last());
        if let (Some(first), Some(last)) = ends {
            around.extend([(last.time, 0.0), (first.time, 0.0)]);
        }
        let edge = PathElement::new(around.clone(), self.colour.mix(0.4).stroke_width(3));
        [Polygon::new(around, self.pale()).into_dyn(), edge.into_dyn()]
    }

    fn band<'b>(&self, band: &[Extremes<Point>]) -> Vec<Element<'b>> {
        let low: Vec<_> = band.iter().map(|extremes| coordinates(&extremes.low)).collect();
        let high: Vec<_> = band.iter().map(|extremes| coordinates(&extremes.high)).collect();
        if let ([low], [high]) = (&low[..], &high[..]) {
            // The line has no length where both are the same.
            let line = PathElement::new(vec![*low, *high], self.colour.stroke_width(6));
            let dot = Circle::new(*low, 4, self.colour.filled());
            return vec![line.into_dyn(), dot.into_dyn()];
        }
        let around: Vec<_> = high.iter().copied().chain(low.iter().rev().copied()).collect();
        let edge = |path| PathElement::new(path, self.colour.stroke_width(4)).into_dyn();
        vec![Polygon::new(around, self.pale()).into_dyn(), edge(low), edge(high)]
    }

    fn pale(&self) -> RGBAColor {
        self.colour.mix(0.22)
    }
}

fn coordinates(point: &Point) -> Coordinates {
    (point.time, point.value.into())
}

impl Legend {
    /// The entry of a curve.
    pub fn of(curve: &Curve<'_>) -> Self {
        Self {
            before: String::new(),
            colours: vec![curve.colour],
            alpha: if matches!(curve.form, Form::Area | Form::Band) { 0.4 } else { 1.0 },
            is_filled: matches!(curve.form, Form::Bars { .. }),
            after: curve.name.clone(),
        }
    }

    /// One entry for all cells that are known, or for all if none is.
    pub fn of_cells(cells: &[Curve<'_>]) -> Vec<Self> {
        let known = cells.iter().filter(|cell| cell.trace.extremes().is_some());
        let mut shown: Vec<_> = known.collect();
        if shown.is_empty() {
            shown = cells.iter().collect();
        }
        let (Some(first), Some(last)) = (shown.first(), shown.last()) else { return vec![] };
        vec![Self {
            before: first.name.clone(),
            colours: shown.iter().map(|cell| cell.colour).collect(),
            alpha: 1.0,
            is_filled: false,
            after: last.name.clone(),
        }]
    }

    fn width(&self) -> u32 {
        self.widths().iter().sum()
    }

    /// Widths of the text before the marks, of the marks, and of the text behind them, in pixels.
    fn widths(&self) -> [u32; 3] {
        let text = |text: &str| match text.chars().count() {
            0 => 0,
            characters => (characters as f64 * CHARACTER) as u32 + 6,
        };
        let marks = match self.colours.len() as u32 {
            1 => MARK,
            many => many * SMALL_MARK,
        };
        [text(&self.before), marks, text(&self.after)]
    }
}

/// The entries in rows that fit the width, each with the pixel at which it begins.
fn legend_rows(entries: &[Legend], width: u32) -> Vec<Vec<(u32, &Legend)>> {
    let all: u32 = entries.iter().map(|entry| entry.width() + LEGEND_GAP).sum();
    let indent = if LEFT + all <= width { LEFT } else { LEGEND_GAP / 2 };
    let mut rows: Vec<Vec<_>> = vec![];
    let mut next = indent;
    for entry in entries {
        match rows.last_mut() {
            Some(row) if next + entry.width() <= width => row.push((next, entry)),
            _ => {
                next = indent;
                rows.push(vec![(next, entry)]);
            }
        }
        next += entry.width() + LEGEND_GAP;
    }
    rows
}

fn draw_legend(
    root: &Drawing<'_>,
    rows: &[Vec<(u32, &Legend)>],
    palette: &Palette,
) -> Result<(), DrawError> {
    let style = text(&palette.text).pos(Pos::new(HPos::Left, VPos::Center));
    for (row, y) in rows.iter().zip((LEGEND_ROW / 2..).step_by(LEGEND_ROW as usize)) {
        for (start, entry) in row {
            let [before, marks, _] = entry.widths();
            if !entry.before.is_empty() {
                root.draw_text(&entry.before, &style, (units(*start), units(y)))?;
            }
            let is_line = entry.colours.len() == 1 && entry.alpha == 1.0;
            let half = if is_line && !entry.is_filled { 1 } else { 5 };
            let mark = marks / entry.colours.len() as u32;
            for (colour, x) in entry.colours.iter().zip((start + before..).step_by(mark as usize)) {
                let corners = [(units(x), units(y - half)), (units(x + mark), units(y + half))];
                root.draw(&Rectangle::new(corners, colour.mix(entry.alpha).filled()))?;
            }
            root.draw_text(&entry.after, &style, (units(start + before + marks + 6), units(y)))?;
        }
    }
    Ok(())
}

fn text(colour: &RGBColor) -> TextStyle<'_> {
    // plotters divides the size by 1.24 in an SVG.
    let size = 1.24 * TEXT * f64::from(UNITS);
    TextStyle::from(("system-ui, sans-serif", size).into_font()).color(colour)
}

fn units(pixels: u32) -> i32 {
    pixels as i32 * UNITS
}

fn pixels(units: i32) -> f64 {
    f64::from(units) / f64::from(UNITS)
}
