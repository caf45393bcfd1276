//! Curves over time: down-sampled, and drawn as SVG; and those of the days of a battery. No I/O.
//!
//! A [`Trace`] has the lowest and the highest value of each bucket of time, so that no peak is
//! lost. A [`Picture`] draws traces in [`Panel`]s with a common [`TimeAxis`], in the colours of a
//! [`Palette`].
//!
//! ```
//! use bluenova_plot::{
//!     Curve, Legend, Palette, Panel, Picture, Side, Theme, TimeAxis, Trace, micros,
//! };
//! use jiff::tz::TimeZone;
//! use time::{Duration, UtcDateTime};
//!
//! let (palette, start) = (Palette::of(Theme::Light), UtcDateTime::UNIX_EPOCH);
//! let mut trace = Trace::new(Duration::HOUR);
//! for minute in 0..60 {
//!     trace.start_bucket();
//!     trace.add(micros(start + Duration::minutes(minute)), Some(minute as f32));
//! }
//! let curve = Curve::line("minutes", &trace, palette.voltage);
//! let legend = vec![Legend::of(&curve)];
//! let (colour, curves) = (palette.voltage, vec![curve]);
//! let left = Side { unit: "min", colour, least: 1.0, bounds: None, curves };
//! let panel = Panel { height: 100, left, right: Side::empty() };
//! let picture = Picture { id: "minutes", title: "Minutes", legend, panels: vec![panel] };
//! let axis = TimeAxis::new(start, start + Duration::HOUR, TimeZone::UTC, 5);
//! let (svg, _) = picture.draw(&axis, 600, &palette)?;
//! assert!(svg.starts_with("<svg"));
//! # Ok::<(), bluenova_plot::DrawError>(())
//! ```
#![forbid(unsafe_code)]

mod axis;
mod days;
mod downsample;
mod draw;
mod palette;

pub use axis::{TimeAxis, ValueAxis};
pub use days::{DayPlot, day_plots};
pub use downsample::{Buckets, Extremes, FilledBuckets, Measured, Point, Trace, micros};
pub use draw::{
    Area, Curve, DrawError, Form, Legend, Panel, Picture, Side, most_time_labels, plotting_width,
};
pub use palette::{Colour, Palette, Theme, css};
