//! Plots of the days.

use bluenova_plot::{DrawError, Palette, Theme, TimeAxis, day_plots, most_time_labels};

use super::Figure;
use crate::Passport;

/// Width of a plot, in pixels: about that of a printed page.
const WIDTH: u32 = 680;

/// A plot of everything that at least two days know.
pub(super) fn draw(passport: &Passport) -> Result<Vec<Figure>, DrawError> {
    let days = &passport.statistics;
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(vec![]) };
    let axis = TimeAxis::of_days(first.date..=last.date, most_time_labels(WIDTH));
    let palette = Palette::of(Theme::Light);
    let figure = |plot: &bluenova_plot::DayPlot| {
        let (svg, _) = plot.picture(&palette).draw(&axis, WIDTH, &palette)?;
        let note = format!("in {}{}", plot.unit, plot.note);
        Ok(Figure { title: plot.title, note, svg })
    };
    day_plots(days, &palette).iter().map(figure).collect()
}
