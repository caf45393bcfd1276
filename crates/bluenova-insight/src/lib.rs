//! What the samples of a BlueNova battery say of it: energy and charge, time to go, capacity,
//! resistance, weak cells. No I/O; time is passed in.
//!
//! An [`Insight`] is fed with the samples of one battery, about one a second, and says at any time
//! what follows from them: [`Figures`]. When a local day has ended it returns the
//! [`DayStatistics`] of it, to be kept for ever. It is small, and can be stored and loaded with
//! serde, so that a restart loses nothing.
//!
//! ```
//! use bluenova_insight::{Insight, UtcDays};
//! use bluenova_record::PackRecord;
//! use time::{Duration, UtcDateTime};
//!
//! let mut insight = Insight::new(0x9F3C_07B2);
//! for second in 0..=3600 {
//!     let time = UtcDateTime::UNIX_EPOCH + Duration::seconds(second);
//!     let mut sample = PackRecord::new(time, 0x9F3C_07B2);
//!     (sample.v_pack, sample.i_pack) = (Some(50.0), Some(10.0));
//!     insight.sample(&sample, &UtcDays);
//! }
//! let counters = insight.counters();
//! assert!((counters.energy_in_wh - 500.0).abs() < 1e-6);
//! assert!((counters.charge_in_ah - 10.0).abs() < 1e-6);
//! assert_eq!(counters.energy_out_wh, 0.0);
//! ```
#![forbid(unsafe_code)]

mod calendar;
mod capacity;
mod cells;
mod counters;
mod curve;
mod day;
mod ends;
mod figures;
mod insight;
mod load;
mod number;
mod packed;
mod per_cell;
mod plausible;
mod ramp;
mod recent;
mod resistance;
mod response;
mod robust;
mod settled;
mod today;
mod trends;
mod unix_micros;
mod verdict;
mod whole_day;

pub use calendar::{Calendar, LocalDay, UtcDays};
pub use counters::Counters;
pub use day::{CellExtremes, CellsOfDay, DayStatistics, Extremes};
pub use figures::{
    CellFigures, CellWeakness, Estimate, Figures, Goal, TimeToGo, Verdict, WeakCell,
};
pub use insight::Insight;
pub use settled::SettledCounters;
pub use trends::{CellTrends, Trends, trends};
