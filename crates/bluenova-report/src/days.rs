//! The days of a passport, and what they come to by month and in all.

use bluenova_insight::{CellExtremes, Counters, DayStatistics, Estimate, Extremes};
use serde::Serialize;

use crate::number::date;

/// The lowest and the highest one of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ValueRange {
    /// The lowest one.
    pub low: f32,
    /// The highest one.
    pub high: f32,
}

/// The lowest and the highest value of all cells, and whose they were.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CellRange {
    /// The lowest value.
    pub low: f32,
    /// The cell that had it, from 1.
    pub low_cell: u8,
    /// The highest value.
    pub high: f32,
    /// The cell that had it, from 1.
    pub high_cell: u8,
}

/// The lowest and highest values of a time. `None` is a value that isn't known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// State of charge in percent.
    pub soc_percent: Option<ValueRange>,
    /// Pack voltage in volts.
    pub pack_v: Option<ValueRange>,
    /// Pack current in amperes; positive charges.
    pub current_a: Option<ValueRange>,
    /// Power in watts; positive charges.
    pub power_w: Option<ValueRange>,
    /// Pack temperature in °C.
    pub temperature_c: Option<ValueRange>,
    /// Cell voltage in volts.
    pub cell_v: Option<CellRange>,
    /// Cell temperature in °C.
    pub cell_temperature_c: Option<CellRange>,
    /// Highest cell voltage above the lowest one, in millivolts.
    pub spread_mv: Option<ValueRange>,
    /// The same at rest.
    pub spread_at_rest_mv: Option<ValueRange>,
    /// Seconds in which the battery was charged with a cell below 0 °C.
    pub charged_in_frost_s: f64,
    /// Seconds in which its breaker was open.
    pub breaker_open_s: f64,
}

/// A day of a passport.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassportDay {
    /// The local date: `2026-11-27`.
    pub date: String,
    /// Part of the day, 0 to 1, of which anything is known.
    pub completeness: f64,
    /// Whether a part of it was rebuilt from rows of the table, which are coarser than samples.
    pub is_rebuilt_from_rows: bool,
    /// What flowed.
    #[serde(flatten)]
    pub counters: Counters,
    /// Capacity in ampere-hours by this day alone.
    pub capacity_ah: Option<Estimate>,
    /// Lowest and highest values.
    #[serde(flatten)]
    pub limits: Limits,
    /// Internal resistance of each cell in milliohms, by this day alone.
    pub resistance_mohm: Vec<Option<f32>>,
    /// Voltage at rest of each cell, in millivolts above the median of the pack.
    pub at_rest_mv: Vec<Option<f32>>,
}

/// The energy of a month.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MonthEnergy {
    /// The month: `2026-11`.
    pub month: String,
    /// Number of its days of which anything is known.
    pub days: usize,
    /// Number of days of which at least a part was rebuilt from rows.
    pub days_rebuilt_from_rows: usize,
    /// What flowed.
    #[serde(flatten)]
    pub counters: Counters,
}

impl From<Extremes> for ValueRange {
    fn from(Extremes { low, high }: Extremes) -> Self {
        Self { low, high }
    }
}

impl From<CellExtremes> for CellRange {
    fn from(CellExtremes { low, low_cell, high, high_cell }: CellExtremes) -> Self {
        Self { low, low_cell, high, high_cell }
    }
}

impl ValueRange {
    fn and(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
}

impl CellRange {
    fn and(self, other: Self) -> Self {
        let (low, high) = (
            if other.low < self.low { other } else { self },
            if other.high > self.high { other } else { self },
        );
        Self { low: low.low, low_cell: low.low_cell, high: high.high, high_cell: high.high_cell }
    }
}

impl Limits {
    fn of(day: &DayStatistics) -> Self {
        Self {
            soc_percent: day.soc.map(Into::into),
            pack_v: day.v_pack.map(Into::into),
            current_a: day.i_pack.map(Into::into),
            power_w: day.power_w.map(Into::into),
            temperature_c: day.temp.map(Into::into),
            cell_v: day.cell_v.map(Into::into),
            cell_temperature_c: day.cell_t.map(Into::into),
            spread_mv: day.spread_mv.map(Into::into),
            spread_at_rest_mv: day.rest_spread_mv.map(Into::into),
            charged_in_frost_s: day.frost_charge_s,
            breaker_open_s: day.breaker_open_s,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            soc_percent: both(self.soc_percent, other.soc_percent, ValueRange::and),
            pack_v: both(self.pack_v, other.pack_v, ValueRange::and),
            current_a: both(self.current_a, other.current_a, ValueRange::and),
            power_w: both(self.power_w, other.power_w, ValueRange::and),
            temperature_c: both(self.temperature_c, other.temperature_c, ValueRange::and),
            cell_v: both(self.cell_v, other.cell_v, CellRange::and),
            cell_temperature_c: both(
                self.cell_temperature_c,
                other.cell_temperature_c,
                CellRange::and,
            ),
            spread_mv: both(self.spread_mv, other.spread_mv, ValueRange::and),
            spread_at_rest_mv: both(
                self.spread_at_rest_mv,
                other.spread_at_rest_mv,
                ValueRange::and,
            ),
            charged_in_frost_s: self.charged_in_frost_s + other.charged_in_frost_s,
            breaker_open_s: self.breaker_open_s + other.breaker_open_s,
        }
    }
}

fn both<T: Copy>(one: Option<T>, other: Option<T>, and: fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(and(one, other)),
        _ => one.or(other),
    }
}

/// The days as the passport has them.
pub(crate) fn by_day(days: &[DayStatistics]) -> Vec<PassportDay> {
    let day = |day: &DayStatistics| PassportDay {
        date: date(day.date),
        completeness: day.completeness(),
        is_rebuilt_from_rows: day.is_rebuilt(),
        counters: day.counters,
        capacity_ah: day.capacity_ah,
        limits: Limits::of(day),
        resistance_mohm: without_end(&day.cells.resistance_mohm),
        at_rest_mv: without_end(&day.cells.at_rest_mv),
    };
    days.iter().map(day).collect()
}

/// The values up to the last one that is known.
fn without_end(values: &[Option<f32>]) -> Vec<Option<f32>> {
    let length = values.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    values[..length].to_vec()
}

/// The energy of each month that `days`, which are in their order, have part in.
pub(crate) fn by_month(days: &[DayStatistics]) -> Vec<MonthEnergy> {
    let month_of = |day: &DayStatistics| (day.date.year(), day.date.month());
    let months = days.chunk_by(|one, next| month_of(one) == month_of(next));
    let energy = |days: &[DayStatistics]| MonthEnergy {
        month: days.first().map(|day| date(day.date)[..7].to_owned()).unwrap_or_default(),
        days: days.len(),
        days_rebuilt_from_rows: days.iter().filter(|day| day.is_rebuilt()).count(),
        counters: sum(days),
    };
    months.map(energy).collect()
}

/// What flowed on all days.
pub(crate) fn sum(days: &[DayStatistics]) -> Counters {
    days.iter().fold(Counters::default(), |sum, day| sum + day.counters)
}

/// The lowest and highest values of all days.
pub(crate) fn limits(days: &[DayStatistics]) -> Limits {
    days.iter().map(Limits::of).fold(Limits::default(), Limits::and)
}
