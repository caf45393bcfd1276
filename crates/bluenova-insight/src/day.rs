//! What a day was like, in a few hundred bytes.

use serde::{Deserialize, Serialize};
use time::Date;

use crate::{Counters, Estimate, LocalDay, calendar::date_text};

/// Lowest and highest of many values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extremes {
    /// The lowest one.
    pub low: f32,
    /// The highest one.
    pub high: f32,
}

/// A battery's day.
///
/// `None` is a value that isn't known. Samples of the console make it; where there are none, the
/// rows of the table do, which are coarser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayStatistics {
    /// The local date.
    #[serde(with = "date_text")]
    pub date: Date,
    /// Length of the day in seconds.
    pub length_s: u32,
    /// Seconds of it that samples cover.
    pub sampled_s: f32,
    /// Seconds of it that only rows cover.
    pub from_rows_s: f32,
    /// Energy and charge of the day.
    #[serde(flatten)]
    pub counters: Counters,
    /// Capacity in ampere-hours from the charge that was counted in this day alone; its
    /// `plus_minus` contains no error that all days have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_ah: Option<Estimate>,
    /// Internal resistance of each cell in milliohms, from the steps of current in this day alone.
    /// Empty where there were too few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resistance_mohm: Vec<Option<f32>>,
}

impl DayStatistics {
    /// A day of which nothing is known yet.
    pub(crate) fn new(day: LocalDay) -> Self {
        let length = (day.end - day.begin).whole_seconds();
        Self {
            date: day.date,
            length_s: length.try_into().unwrap_or_default(),
            sampled_s: 0.0,
            from_rows_s: 0.0,
            counters: Counters::default(),
            capacity_ah: None,
            resistance_mohm: Vec::new(),
        }
    }

    /// The part of the day, 0 to 1, of which anything is known.
    pub fn completeness(&self) -> f64 {
        let known = f64::from(self.sampled_s) + f64::from(self.from_rows_s);
        (known / f64::from(self.length_s.max(1))).min(1.0)
    }

    /// Whether a part of it was rebuilt from rows.
    pub fn is_rebuilt(&self) -> bool {
        self.from_rows_s > 0.0
    }
}
