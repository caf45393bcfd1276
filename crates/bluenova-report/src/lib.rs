//! The passport of a battery, from its days, events and figures: as text, JSON and HTML.
//!
//! [`Passport::new`] takes what is known of a battery: its [`Identity`], the [`DayStatistics`] of a
//! period, the [`Figures`] at the end of it, and the [`EventSummary`]s of what happened. The
//! passport is written as [`text`](Passport::text) for a terminal, as one page of
//! [`html`](Passport::html) that needs nothing else and prints on A4, or by serde for programs.
//! A figure that isn't known is `None`, and "not known yet" for people; none is made up.
//!
//! ```
//! use bluenova_insight::{Insight, UtcDays};
//! use bluenova_record::PackRecord;
//! use bluenova_report::{Identity, Passport, Sources};
//! use time::{Duration, UtcDateTime};
//!
//! let mut insight = Insight::new(0x9F3C_07B2);
//! for second in 0..=3600 {
//!     let time = UtcDateTime::UNIX_EPOCH + Duration::seconds(second);
//!     let mut sample = PackRecord::new(time, 0x9F3C_07B2);
//!     (sample.v_pack, sample.i_pack) = (Some(50.0), Some(10.0));
//!     insight.sample(&sample, &UtcDays);
//! }
//! let figures = insight.figures().unwrap();
//! let sources = Sources {
//!     identity: Identity { mcu_id: 0x9F3C_07B2, ..Identity::default() },
//!     days: vec![figures.today.clone()],
//!     figures: Some(figures),
//!     zone: "UTC".to_owned(),
//!     ..Sources::default()
//! };
//! let passport = Passport::new(sources, UtcDateTime::UNIX_EPOCH + Duration::DAY).unwrap();
//! assert!(passport.text().contains("0.50 kWh, 10.0 Ah"));
//! assert!(passport.html()?.starts_with("<!DOCTYPE html>"));
//! # Ok::<(), bluenova_plot::DrawError>(())
//! ```
//!
//! [`DayStatistics`]: bluenova_insight::DayStatistics
//! [`Figures`]: bluenova_insight::Figures
#![forbid(unsafe_code)]

mod days;
mod events;
mod html;
mod methods;
mod number;
mod passport;
mod text;

pub use days::{CellRange, Limits, MonthEnergy, PassportDay, ValueRange};
pub use events::{EventLog, EventSummary};
pub use methods::Method;
pub use passport::{Identity, Passport, Period, Sources};
