//! Capacity from full to empty, where a battery was seen at both ends.
//!
//! This is the one measurement that needs no state of charge in between: it shows a firmware that
//! counts with a wrong capacity. Full is the firmware's 100 %, after the cells were at the voltage
//! at which a charge ends. Empty is the lower knee of the first cell, freed of the drop over its
//! resistance; there a LiFePO4 cell holds a percent or two, whatever the shape of its curve.
//! What the sensor adds each hour is known from one full to the next: in between nothing may be
//! left but that (coulomb counting between two anchors: Plett, "Battery Management Systems", vol.
//! II, 2015, chapter 4).

use serde::{Deserialize, Serialize};

use crate::{
    Estimate,
    capacity::Count,
    packed,
    per_cell::{self, CellVolts},
    recent::Recent,
    resistance::Resistance,
    robust::median_and_deviation,
};

/// Least median of the cells at the end of a charge, in volts.
const TOP_VOLTS: f32 = 3.38;
/// Amperes of a battery that isn't discharged.
const IDLE_AMPS: f32 = -0.5;
/// Volts of a cell without load at the lower knee, at most.
const KNEE_VOLTS: f32 = 2.95;
/// Amperes at which a resistance that isn't known yet doesn't matter.
const SMALL_AMPS: f32 = 5.0;
/// Samples that must agree on an end.
const AGREEING: u8 = 3;
/// Hours between two fulls that say something of the offset.
const LEAST_HOURS: f64 = 10.0;
/// How much of the older cycles counts beside the latest one for the offset.
const MEMORY: f64 = 0.8;
/// Charge that is left in the first cell at `LEFT_VOLTS`, and more for each volt above, as parts
/// of the capacity.
const LEFT: f64 = 0.003;
const LEFT_VOLTS: f64 = 2.80;
const LEFT_PER_VOLT: f64 = 0.08;
const MOST_LEFT: f64 = 0.015;
/// What a capacity is uncertain by as a part of it: the charge that is left, the sensor's scale.
const SYSTEMATIC: f64 = 0.025;
/// Capacities that are remembered.
const REMEMBERED: usize = 6;

/// Estimator of the capacity between both ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ends {
    at_top: u8,
    at_knee: u8,
    is_full: bool,
    /// The last moment at which it was full.
    full: Option<Count>,
    /// What was drawn since then when it was emptiest, and the hours until then.
    empty: Option<Count>,
    /// The part that was left in the first cell at that moment.
    left: f64,
    /// Charge that was counted too much, and the hours in which it was.
    drift: Count,
    /// In ampere-hours.
    #[serde(with = "packed")]
    capacities: Recent<f32, REMEMBERED>,
}

impl Ends {
    /// Capacity in ampere-hours.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        let mut values = self.capacities;
        let (value, deviation) = median_and_deviation(&mut values[..]);
        let (value, deviation) = (f64::from(value), f64::from(deviation));
        let spread = 2.0 * deviation / (values.len() as f64).sqrt();
        let plus_minus = spread.hypot(SYSTEMATIC * value);
        (value > 0.0).then_some(Estimate { value, plus_minus })
    }

    /// Counting began anew.
    pub(crate) fn interrupt(&mut self) {
        (self.full, self.empty, self.is_full) = (None, None, false);
    }

    /// Takes a sample, with what was counted until then and the state of charge.
    pub(crate) fn sample(
        &mut self,
        amps: f32,
        cells: &CellVolts,
        soc: Option<i16>,
        now: Count,
        resistance: &Resistance,
    ) {
        if soc == Some(100) {
            let is_at_top = amps >= IDLE_AMPS && per_cell::median(cells.known()) >= TOP_VOLTS;
            self.at_top = if is_at_top { self.at_top.saturating_add(1) } else { 0 };
            if self.at_top >= AGREEING && !self.is_full {
                self.is_full = true;
                self.end_cycle(now);
            }
            if self.is_full && amps >= IDLE_AMPS {
                self.full = Some(now);
            }
            return;
        }
        self.is_full &= soc.is_none();
        let (Some(full), Some(left)) = (self.full, charge_left(cells, amps, resistance)) else {
            self.at_knee = 0;
            return;
        };
        self.at_knee = self.at_knee.saturating_add(1);
        let drawn = full.charge_ah - now.charge_ah;
        let drawn = Count { charge_ah: drawn, hours: now.hours - full.hours };
        let is_emptier = self.empty.is_none_or(|empty| empty.charge_ah < drawn.charge_ah);
        if self.at_knee >= AGREEING && is_emptier {
            (self.empty, self.left) = (Some(drawn), left);
        }
    }

    /// Ends the cycle that began at the last full.
    fn end_cycle(&mut self, now: Count) {
        let Some(full) = self.full else { return };
        let empty = self.empty.take();
        let hours = now.hours - full.hours;
        if hours < LEAST_HOURS {
            return;
        }
        self.drift.charge_ah = MEMORY * self.drift.charge_ah + now.charge_ah - full.charge_ah;
        self.drift.hours = MEMORY * self.drift.hours + hours;
        let Some(empty) = empty else { return };
        let offset = self.drift.charge_ah / self.drift.hours;
        let drawn = empty.charge_ah + offset * empty.hours;
        self.capacities.push((drawn / (1.0 - self.left)) as f32);
    }
}

/// The part of its capacity that the first cell still holds, if it is at its knee.
fn charge_left(cells: &CellVolts, amps: f32, resistance: &Resistance) -> Option<f64> {
    // Most cells at most times are above it even under load.
    if cells.lowest >= KNEE_VOLTS {
        return None;
    }
    let at_rest = cells.known().iter().enumerate().filter_map(|(i, volts)| {
        let milliohms = match resistance.of_cell(i) {
            Some(estimate) => estimate.value,
            None if amps.abs() <= SMALL_AMPS => 0.0,
            None => return None,
        };
        Some(f64::from(*volts) - f64::from(amps) * milliohms / 1000.0)
    });
    let lowest = at_rest.fold(f64::INFINITY, f64::min);
    let left = LEFT + LEFT_PER_VOLT * (lowest - LEFT_VOLTS);
    (lowest <= KNEE_VOLTS.into()).then_some(left.clamp(0.0, MOST_LEFT))
}
