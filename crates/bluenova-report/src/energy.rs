//! Energy and charge by day and by month.

use bluenova_insight::{Counters, DayStatistics};
use serde::Serialize;

use crate::number::date;

/// The energy of a day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DayEnergy {
    /// The local date: `2026-11-27`.
    pub date: String,
    /// Part of the day, 0 to 1, of which anything is known.
    pub completeness: f64,
    /// Whether a part of it was rebuilt from rows of the table, which are coarser than samples.
    pub is_rebuilt_from_rows: bool,
    /// What flowed.
    #[serde(flatten)]
    pub counters: Counters,
}

/// The energy of a month.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MonthEnergy {
    /// The month: `2026-11`.
    pub month: String,
    /// Number of its days of which anything is known.
    pub days: usize,
    /// What flowed.
    #[serde(flatten)]
    pub counters: Counters,
}

/// The days' energy, in their order.
pub(crate) fn by_day(days: &[DayStatistics]) -> Vec<DayEnergy> {
    let energy = |day: &DayStatistics| DayEnergy {
        date: date(day.date),
        completeness: day.completeness(),
        is_rebuilt_from_rows: day.is_rebuilt(),
        counters: day.counters,
    };
    days.iter().map(energy).collect()
}

/// The energy of each month that `days`, which are in their order, have part in.
pub(crate) fn by_month(days: &[DayStatistics]) -> Vec<MonthEnergy> {
    let month_of = |day: &DayStatistics| (day.date.year(), day.date.month());
    let months = days.chunk_by(|one, next| month_of(one) == month_of(next));
    let energy = |days: &[DayStatistics]| MonthEnergy {
        month: days.first().map(|day| date(day.date)[..7].to_owned()).unwrap_or_default(),
        days: days.len(),
        counters: sum(days),
    };
    months.map(energy).collect()
}

/// What flowed on all days.
pub(crate) fn sum(days: &[DayStatistics]) -> Counters {
    days.iter().fold(Counters::default(), |sum, DayStatistics { counters, .. }| Counters {
        energy_in_wh: sum.energy_in_wh + counters.energy_in_wh,
        energy_out_wh: sum.energy_out_wh + counters.energy_out_wh,
        charge_in_ah: sum.charge_in_ah + counters.charge_in_ah,
        charge_out_ah: sum.charge_out_ah + counters.charge_out_ah,
    })
}
