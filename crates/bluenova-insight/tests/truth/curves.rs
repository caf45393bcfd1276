//! The errors over the days, as a picture for docs/insight.md.

use std::path::Path;

use plotters::prelude::*;

use crate::observe::Course;
use crate::tables::Errors;

/// Pixels of the picture.
const SIZE: (u32, u32) = (720, 460);

/// Parts of the packs or cells whose error is below a curve, and how it is drawn.
const PARTS: [(&str, f64, u32); 3] = [("half of them", 0.5, 3), ("95 %", 0.95, 2), ("all", 1.0, 1)];

/// Draws how far off capacities and resistances are after each day, in percent.
pub(crate) fn draw(courses: &[Course], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let capacity = |day: usize| {
        Errors::of(ends(courses, day).map(|course| course.days[day - 1].capacity_error))
    };
    let resistance = |day: usize| {
        let of_packs = ends(courses, day).map(|course| &course.days[day - 1].resistance_errors);
        Errors::of(of_packs.flat_map(|errors| errors.iter().copied()))
    };
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(SIZE.1 / 2);
    let days = courses.iter().map(|course| course.days.len()).max().unwrap_or(1);
    panel(&upper, "error of the capacity, %", &BLUE, days, &capacity)?;
    panel(&lower, "error of a cell's resistance, %", &RED, days, &resistance)?;
    root.present()?;
    Ok(())
}

/// The packs that were observed for so many days.
fn ends(courses: &[Course], day: usize) -> impl Iterator<Item = &Course> {
    courses.iter().filter(move |course| course.days.len() >= day)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    colour: &RGBColor,
    days: usize,
    errors: &dyn Fn(usize) -> Errors,
) -> Result<(), Box<dyn std::error::Error>> {
    let percent = |day, part| Some(errors(day).size_at(part)? * 100.0);
    let largest = (1..=days).filter_map(|day| percent(day, 1.0)).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin_right(16)
        .x_label_area_size(34)
        .y_label_area_size(40)
        .build_cartesian_2d(1..days, 0.0..largest.ceil())?;
    chart.configure_mesh().x_desc("days").light_line_style(TRANSPARENT).draw()?;
    for (name, part, width) in PARTS {
        let points = (1..=days).filter_map(|day| Some((day, percent(day, part)?)));
        let line = PathElement::new(points.collect::<Vec<_>>(), colour.stroke_width(width));
        chart.draw_series([line])?.label(name).legend(move |(x, y)| {
            PathElement::new([(x, y), (x + 18, y)], BLACK.stroke_width(width))
        });
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}
