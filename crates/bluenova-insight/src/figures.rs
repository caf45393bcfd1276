//! What is known of a battery, each figure with how well it is known.

use bluenova_record::{CELLS, Rfc3339};
use serde::{Deserialize, Serialize};

use crate::{Counters, DayStatistics, whole_day};

/// A figure that was estimated, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The most likely value.
    pub value: f64,
    /// In 95 of 100 cases the true value is within `value` plus or minus this.
    pub plus_minus: f64,
}

/// What is known of a battery at one moment. `None` is "not known yet".
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The time of the last sample.
    pub time: Rfc3339,
    /// Energy and charge since the first sample of the battery.
    pub counters: Counters,
    /// Part of the energy in, and of that out, by which it may be wrong in 95 of 100 cases: 1 %
    /// that the scale of a current sensor may be off, and what is missing from one full charge to
    /// the next, be it the sensor's offset or a loss. `None` until the battery was full twice.
    pub energy_uncertainty: Option<f64>,
    /// The day under way; in JSON it is [`whole`](DayStatistics::whole).
    #[serde(serialize_with = "whole_day::serialize")]
    pub today: DayStatistics,
    /// Mean power in watts of the last quarter of an hour; positive charges. `None` unless two
    /// minutes of it are covered.
    pub mean_power_w: Option<f64>,
    /// When the battery is empty or full, at the mean current of the same time. `None` if it is
    /// idle (up to 0.5 A), empty or full already, or if the last sample is older than two minutes.
    pub time_to_go: Option<TimeToGo>,
    /// Usable capacity in ampere-hours.
    pub capacity_ah: Option<Estimate>,
    /// Temperature of the pack in °C at which the resistances of its cells hold, which fall by
    /// about 1 % per kelvin: the mean of the last days, or as near to it as they were measured.
    pub resistance_celsius: Option<f64>,
    /// Each cell; cell 01 is the first. Only as many as the battery has.
    pub cells: Vec<CellFigures>,
    /// Which cells are weak.
    pub verdict: Verdict,
}

/// How long a battery lasts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeToGo {
    /// Which way it goes.
    pub goal: Goal,
    /// Seconds until then.
    pub seconds: f64,
    /// In 95 of 100 cases the true value is within `seconds` plus or minus this, if the load goes
    /// on to change as it did in the last quarter of an hour.
    pub plus_minus_s: f64,
    /// Whether the capacity isn't known yet, and a usual one was taken.
    pub with_usual_capacity: bool,
}

/// Which way the charge goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// The battery is being charged.
    Full,
    /// The battery is being discharged.
    Empty,
}

/// What is known of a cell, against the other cells of its pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellFigures {
    /// Internal resistance in milliohms.
    pub resistance_mohm: Option<Estimate>,
    /// Voltage at rest, in millivolts above the median of the pack.
    pub at_rest_mv: Option<Estimate>,
    /// Voltage when the pack is nearly full, in millivolts above the median of the pack.
    pub at_top_mv: Option<Estimate>,
    /// Voltage when the pack is nearly empty, in millivolts above the median of the pack.
    pub at_bottom_mv: Option<Estimate>,
    /// Charge that the cell holds above the median of the pack, in ampere-hours, as the upper knee
    /// shows it: it is full that much before the median.
    pub charge_ah: Option<Estimate>,
    /// How that charge changes, in ampere-hours a week: it falls in a cell that discharges itself.
    pub charge_ah_per_week: Option<Estimate>,
}

/// Which cells of a battery are weak, judged against the other cells of its pack.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "cells")]
pub enum Verdict {
    /// Too little was seen yet.
    #[default]
    NotKnownYet,
    /// No cell is weak.
    NoWeakCell,
    /// No cell is weak as far as is known, but these need balancing, that which lacks most first.
    NeedsBalancing(Vec<WeakCell>),
    /// These cells are weak, the weakest first; behind them those that need balancing.
    Weak(Vec<WeakCell>),
}

impl Verdict {
    /// The weak cells, the weakest first: without those that only need balancing. `None` if nothing
    /// is known yet.
    pub fn weak_cells(&self) -> Option<impl Iterator<Item = &WeakCell>> {
        let cells = match self {
            Self::NotKnownYet => return None,
            Self::NoWeakCell => &[],
            Self::NeedsBalancing(cells) | Self::Weak(cells) => cells.as_slice(),
        };
        Some(cells.iter().filter(|cell| cell.is_weak()))
    }
}

/// A cell that is weak, or needs balancing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeakCell {
    /// Its number, from 1.
    pub cell: u8,
    /// What is wrong with it, in a sentence with figures.
    pub evidence: String,
    /// What is wrong with it, and by how much.
    #[serde(flatten)]
    pub weakness: CellWeakness,
    /// Days over which it was seen.
    pub days: u16,
}

impl WeakCell {
    /// Whether it is weak; otherwise it was only charged less than the others.
    pub fn is_weak(&self) -> bool {
        !matches!(self.weakness, CellWeakness::LowCharge { .. })
    }
}

/// What is wrong with a cell, against the median of the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "weakness")]
pub enum CellWeakness {
    /// It holds less when full.
    LowCapacity {
        /// The part of the others' capacity that it lacks.
        part_lacking: f64,
    },
    /// It loses charge by itself.
    SelfDischarge {
        /// Ampere-hours a week that it loses, at least.
        ah_per_week: f64,
    },
    /// Its resistance is high.
    HighResistance {
        /// Its resistance in times that of the others.
        times_median: f64,
    },
    /// It isn't bad, but charged less than the others: it needs balancing.
    LowCharge {
        /// Ampere-hours that it holds less.
        ah_lacking: f64,
    },
}

const _: () = assert!(CELLS <= u8::MAX as usize);
