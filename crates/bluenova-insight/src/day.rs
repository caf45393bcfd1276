//! What a day was like, in a few hundred bytes.

use bluenova_record::CELLS;
use serde::{Deserialize, Serialize};
use time::Date;

#[cfg(test)]
use crate::LocalDay;
use crate::{
    Counters, Estimate,
    calendar::date_text,
    number::{self, Short},
};

/// Lowest and highest of many values; `[low, high]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f32, f32)", into = "(Short, Short)")]
pub struct Extremes {
    /// The lowest one.
    pub low: f32,
    /// The highest one.
    pub high: f32,
}

/// Lowest and highest value of all cells, and whose they were; `[low, cell, high, cell]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f32, u8, f32, u8)", into = "(Short, u8, Short, u8)")]
pub struct CellExtremes {
    /// The lowest value.
    pub low: f32,
    /// The cell that had it first, from 1.
    pub low_cell: u8,
    /// The highest value.
    pub high: f32,
    /// The cell that had it first, from 1.
    pub high_cell: u8,
}

/// What was estimated of each cell on a day; cell 01 is the first. In JSON each list is as long as
/// there are values in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellsOfDay {
    /// Internal resistance in milliohms, from the steps of current in this day alone.
    #[serde(
        rename = "mohm",
        default,
        skip_serializing_if = "is_empty",
        serialize_with = "number::cells::<2, _>",
        deserialize_with = "number::cells_back"
    )]
    pub resistance_mohm: [Option<f32>; CELLS],
    /// Voltage at rest, in millivolts above the median of the pack.
    #[serde(
        rename = "rest_mv",
        default,
        skip_serializing_if = "is_empty",
        serialize_with = "number::cells::<1, _>",
        deserialize_with = "number::cells_back"
    )]
    pub at_rest_mv: [Option<f32>; CELLS],
    /// Charge that the cell held above the median of the pack when the pack was full on this day,
    /// in ampere-hours.
    #[serde(
        rename = "ah",
        default,
        skip_serializing_if = "is_empty",
        serialize_with = "number::cells::<1, _>",
        deserialize_with = "number::cells_back"
    )]
    pub charge_ah: [Option<f32>; CELLS],
}

/// A battery's day.
///
/// `None` is a value that isn't known. Samples of the console make it; where there are none, the
/// rows of the table do, which are coarser. A value that can't be true (a garbled line) is not in
/// it. Years of days are kept: the JSON of a day is at most 690 bytes long, and 800 where trouble
/// is to be told. Values are rounded there, and what is zero, `None` or usual (the length of 24 h)
/// is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayStatistics {
    /// The local date.
    #[serde(with = "date_text")]
    pub date: Date,
    /// Length of the day in seconds.
    #[serde(default = "usual_length", skip_serializing_if = "is_usual_length")]
    pub length_s: u32,
    /// Seconds of it that samples cover.
    #[serde(default, skip_serializing_if = "is_zero", serialize_with = "number::whole")]
    pub sampled_s: f64,
    /// Seconds of it that only rows cover.
    #[serde(default, skip_serializing_if = "is_zero", serialize_with = "number::whole")]
    pub from_rows_s: f64,
    /// Seconds from the begin of the day to its first sample or row.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub first_s: u32,
    /// Seconds from the begin of the day to its last sample or row.
    #[serde(default)]
    pub last_s: u32,
    /// Number of samples and rows.
    #[serde(default)]
    pub samples: u32,
    /// Energy and charge of the day.
    #[serde(flatten, serialize_with = "number::counters")]
    pub counters: Counters,
    /// Capacity in ampere-hours from the charge that was counted in this day alone; its
    /// `plus_minus` contains no error that all days have in common.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::estimate",
        deserialize_with = "number::estimate_back"
    )]
    pub capacity_ah: Option<Estimate>,
    /// Equivalent full cycles: half of the charge that went in and out, as a part of the capacity.
    /// `None` as long as the capacity isn't known.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::two_decimals"
    )]
    pub full_cycles: Option<f32>,
    /// State of charge in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soc: Option<Extremes>,
    /// Pack voltage in volts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v_pack: Option<Extremes>,
    /// Pack current in amperes; positive charges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub i_pack: Option<Extremes>,
    /// Power in watts; positive charges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_w: Option<Extremes>,
    /// Pack temperature in °C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp: Option<Extremes>,
    /// Cell voltage in volts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_v: Option<CellExtremes>,
    /// Cell temperature in °C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_t: Option<CellExtremes>,
    /// Highest cell voltage above the lowest one, in millivolts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_mv: Option<Extremes>,
    /// The same at rest: with at most 2 A for five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_spread_mv: Option<Extremes>,
    /// Number of different texts of errors that the battery reported; at most 4 are told apart.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub errors: u8,
    /// Seconds in which it was charged with a cell below 0 °C.
    #[serde(default, skip_serializing_if = "is_zero", serialize_with = "number::whole")]
    pub frost_charge_s: f64,
    /// Seconds in which its breaker was open.
    #[serde(default, skip_serializing_if = "is_zero", serialize_with = "number::whole")]
    pub breaker_open_s: f64,
    /// Each cell.
    #[serde(default)]
    pub cells: CellsOfDay,
}

impl DayStatistics {
    /// A day of which nothing is known yet.
    #[cfg(test)]
    pub(crate) fn new(day: LocalDay) -> Self {
        let length = (day.end - day.begin).whole_seconds();
        Self {
            date: day.date,
            length_s: length.try_into().unwrap_or_default(),
            sampled_s: 0.0,
            from_rows_s: 0.0,
            first_s: 0,
            last_s: 0,
            samples: 0,
            counters: Counters::default(),
            capacity_ah: None,
            full_cycles: None,
            soc: None,
            v_pack: None,
            i_pack: None,
            power_w: None,
            temp: None,
            cell_v: None,
            cell_t: None,
            spread_mv: None,
            rest_spread_mv: None,
            errors: 0,
            frost_charge_s: 0.0,
            breaker_open_s: 0.0,
            cells: CellsOfDay::default(),
        }
    }

    /// The part of the day, 0 to 1, of which anything is known.
    pub fn completeness(&self) -> f64 {
        ((self.sampled_s + self.from_rows_s) / f64::from(self.length_s.max(1))).min(1.0)
    }

    /// Whether a part of it was rebuilt from rows.
    pub fn is_rebuilt(&self) -> bool {
        self.from_rows_s > 0.0
    }

    /// What is known of a date of which there are two statistics: from an import and from the
    /// listener, or from before and after a restart that lost the state.
    ///
    /// If the one was over before the other began, both are added up. Otherwise they tell of the
    /// same hours, and the more complete one is the result, so that nothing is counted twice; a
    /// second from rows is worth nine tenths of one from samples. Of statistics of two dates the
    /// result is `self`.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if self.date != other.date {
            return self;
        }
        match (self.last_s < other.first_s, other.last_s < self.first_s) {
            (true, false) => self.followed_by(other),
            (false, true) => other.followed_by(self),
            _ if other.rank() > self.rank() => other,
            _ => self,
        }
    }

    /// How much is known of the day, in seconds of samples; one of rows is worth nine tenths. It is
    /// the rule of [`merge`](Self::merge) in a number, for what can't read the statistics.
    pub fn rank(&self) -> u32 {
        // A cast of floats stays within what an integer can hold.
        (self.sampled_s + 0.9 * self.from_rows_s).round() as u32
    }

    fn followed_by(self, later: Self) -> Self {
        Self {
            date: self.date,
            length_s: self.length_s,
            sampled_s: self.sampled_s + later.sampled_s,
            from_rows_s: self.from_rows_s + later.from_rows_s,
            first_s: self.first_s,
            last_s: later.last_s,
            samples: self.samples.saturating_add(later.samples),
            counters: self.counters + later.counters,
            capacity_ah: later.capacity_ah.or(self.capacity_ah),
            full_cycles: match (self.full_cycles, later.full_cycles) {
                (Some(a), Some(b)) => Some(a + b),
                // The capacity became known in between.
                _ => None,
            },
            soc: both(self.soc, later.soc, Extremes::and),
            v_pack: both(self.v_pack, later.v_pack, Extremes::and),
            i_pack: both(self.i_pack, later.i_pack, Extremes::and),
            power_w: both(self.power_w, later.power_w, Extremes::and),
            temp: both(self.temp, later.temp, Extremes::and),
            cell_v: both(self.cell_v, later.cell_v, CellExtremes::and),
            cell_t: both(self.cell_t, later.cell_t, CellExtremes::and),
            spread_mv: both(self.spread_mv, later.spread_mv, Extremes::and),
            rest_spread_mv: both(self.rest_spread_mv, later.rest_spread_mv, Extremes::and),
            // The texts aren't kept: they may be the same.
            errors: self.errors.max(later.errors),
            frost_charge_s: self.frost_charge_s + later.frost_charge_s,
            breaker_open_s: self.breaker_open_s + later.breaker_open_s,
            cells: later.cells.or(self.cells),
        }
    }
}

impl Extremes {
    pub(crate) fn of(value: f32) -> Self {
        Self { low: value, high: value }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// What both are beyond; with values far apart `low` is above `high`.
    pub(crate) fn confirmed_by(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high) }
    }
}

impl CellExtremes {
    /// The lowest and the highest of the values of cells; `None` of none.
    pub(crate) fn of(values: impl Iterator<Item = (u8, f32)>) -> Option<Self> {
        let none = Self { low: f32::INFINITY, low_cell: 0, high: f32::NEG_INFINITY, high_cell: 0 };
        let all = values.fold(none, |mut all, (cell, value)| {
            if value < all.low {
                (all.low, all.low_cell) = (value, cell);
            }
            if value > all.high {
                (all.high, all.high_cell) = (value, cell);
            }
            all
        });
        (all.low_cell > 0).then_some(all)
    }

    pub(crate) fn and(self, later: Self) -> Self {
        let low = if later.low < self.low { later } else { self };
        let high = if later.high > self.high { later } else { self };
        Self { low: low.low, low_cell: low.low_cell, high: high.high, high_cell: high.high_cell }
    }

    /// What both are beyond.
    pub(crate) fn confirmed_by(self, other: Self) -> Self {
        let low = if other.low > self.low { other } else { self };
        let high = if other.high < self.high { other } else { self };
        Self { low: low.low, low_cell: low.low_cell, high: high.high, high_cell: high.high_cell }
    }
}

impl CellsOfDay {
    /// Each value, or that of `other` where there is none.
    fn or(self, other: Self) -> Self {
        let first_known = |a: [Option<f32>; CELLS], b: [Option<f32>; CELLS]| {
            std::array::from_fn(|cell| a[cell].or(b[cell]))
        };
        Self {
            resistance_mohm: first_known(self.resistance_mohm, other.resistance_mohm),
            at_rest_mv: first_known(self.at_rest_mv, other.at_rest_mv),
            charge_ah: first_known(self.charge_ah, other.charge_ah),
        }
    }
}

pub(crate) fn both<T>(a: Option<T>, b: Option<T>, and: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(and(a, b)),
        (a, b) => a.or(b),
    }
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_none_of_them<N: Copy + Into<u32>>(count: &N) -> bool {
    (*count).into() == 0
}

const fn usual_length() -> u32 {
    86_400
}

fn is_usual_length(length_s: &u32) -> bool {
    *length_s == usual_length()
}

fn is_empty(values: &[Option<f32>; CELLS]) -> bool {
    values.iter().all(Option::is_none)
}

impl From<(f32, f32)> for Extremes {
    fn from((low, high): (f32, f32)) -> Self {
        Self { low, high }
    }
}

impl From<Extremes> for (Short, Short) {
    fn from(extremes: Extremes) -> Self {
        (Short(extremes.low), Short(extremes.high))
    }
}

impl From<(f32, u8, f32, u8)> for CellExtremes {
    fn from((low, low_cell, high, high_cell): (f32, u8, f32, u8)) -> Self {
        Self { low, low_cell, high, high_cell }
    }
}

impl From<CellExtremes> for (Short, u8, Short, u8) {
    fn from(extremes: CellExtremes) -> Self {
        (Short(extremes.low), extremes.low_cell, Short(extremes.high), extremes.high_cell)
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, UtcDateTime};

    use super::*;
    use crate::{Calendar, UtcDays};

    #[test]
    fn samples_are_worth_more_than_rows_and_more_of_either_is_worth_more() {
        let day = UtcDays.day_of(UtcDateTime::UNIX_EPOCH + Duration::DAY);
        let rank = |sampled_s, from_rows_s| {
            DayStatistics { sampled_s, from_rows_s, ..DayStatistics::new(day) }.rank()
        };
        let ranks = [rank(0.0, 0.0), rank(0.0, 2.0), rank(0.0, 1000.0), rank(910.0, 0.0)];
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert_eq!(rank(f64::NAN, 0.0), 0);
    }
}
