//! Capacity from full to empty, where a battery was seen at both ends.
//!
//! This is the one measurement that needs no state of charge in between: it shows a firmware that
//! counts with a wrong capacity. Full is the firmware's 100 %, after the cells were at the voltage
//! at which a charge ends. Empty is the lower knee of the first cell, freed of the drop over its
//! resistance; there a LiFePO4 cell holds a percent or two, whatever the shape of its curve.
//! What the sensor adds each hour is known from one full to the next: in between nothing may be
//! left but that (coulomb counting between two anchors: Plett, "Battery Management Systems", vol.
//! II, 2015, chapter 4).

use bluenova_record::PackRecord;
use serde::{Deserialize, Serialize};

use crate::{Estimate, capacity::Count, resistance::Resistance, robust::median};

/// Volts that half of the cells have at the end of a charge, at least.
const TOP_VOLTS: f32 = 3.38;
/// Amperes of a battery that isn't discharged.
const IDLE_AMPS: f32 = -0.5;
/// Volts of a cell without load at the lower knee, at most.
const KNEE_VOLTS: f64 = 2.95;
/// Volts that are no knee but a wrong reading.
const LOWEST_VOLTS: f32 = 1.5;
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
const LEFT: f64 = 0.01;
const LEFT_VOLTS: f64 = 2.85;
const LEFT_PER_VOLT: f64 = 0.1;
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
    /// Charge that was counted too much, and the hours in which it was.
    drift: Count,
    /// In ampere-hours, the latest last.
    capacities: Vec<f32>,
}

impl Ends {
    pub(crate) const fn new() -> Self {
        Self {
            at_top: 0,
            at_knee: 0,
            is_full: false,
            full: None,
            empty: None,
            drift: Count { charge_ah: 0.0, hours: 0.0 },
            capacities: Vec::new(),
        }
    }

    /// Capacity in ampere-hours.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        let mut values = [0.0; REMEMBERED];
        let values = values.get_mut(..self.capacities.len())?;
        for (value, capacity) in values.iter_mut().zip(&self.capacities) {
            *value = f64::from(*capacity);
        }
        let value = median(values);
        for other in values.iter_mut() {
            *other = (*other - value).abs();
        }
        let spread = 2.0 * 1.483 * median(values) / (values.len() as f64).sqrt();
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
        record: &PackRecord,
        soc: Option<i16>,
        now: Count,
        resistance: &Resistance,
    ) {
        let Some(amps) = record.i_pack else { return };
        if soc == Some(100) {
            let is_at_top = amps >= IDLE_AMPS && is_at_top(record);
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
        let (Some(full), Some(left)) = (self.full, charge_left(record, amps, resistance)) else {
            self.at_knee = 0;
            return;
        };
        self.at_knee = self.at_knee.saturating_add(1);
        let drawn = full.charge_ah - now.charge_ah;
        let drawn = Count { charge_ah: drawn / (1.0 - left), hours: now.hours - full.hours };
        let is_emptier = self.empty.is_none_or(|empty| empty.charge_ah < drawn.charge_ah);
        if self.at_knee >= AGREEING && is_emptier {
            self.empty = Some(drawn);
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
        if self.capacities.len() >= REMEMBERED {
            self.capacities.remove(0);
        }
        self.capacities.push((empty.charge_ah + offset * empty.hours) as f32);
    }
}

fn is_at_top(record: &PackRecord) -> bool {
    let cells = record.cell_v.iter().flatten();
    let (all, high) = cells.fold((0, 0), |(all, high), volts| {
        (all + 1, high + usize::from((TOP_VOLTS..4.5).contains(volts)))
    });
    all > 0 && 2 * high >= all
}

/// The part of its capacity that the first cell still holds, if it is at its knee.
fn charge_left(record: &PackRecord, amps: f32, resistance: &Resistance) -> Option<f64> {
    let mut lowest: Option<f64> = None;
    for (i, volts) in record.cell_v.iter().enumerate() {
        // Most cells at most times are above it even under load.
        let Some(volts) = volts.filter(|v| (LOWEST_VOLTS..KNEE_VOLTS as f32).contains(v)) else {
            continue;
        };
        let milliohms = match resistance.of_cell(i) {
            Some(estimate) => estimate.value,
            None if amps.abs() <= SMALL_AMPS => 0.0,
            None => continue,
        };
        let at_rest = f64::from(volts) - f64::from(amps) * milliohms / 1000.0;
        lowest = Some(lowest.map_or(at_rest, |lowest| lowest.min(at_rest)));
    }
    let volts = lowest.filter(|volts| *volts <= KNEE_VOLTS)?;
    Some((LEFT + LEFT_PER_VOLT * (volts - LEFT_VOLTS)).clamp(0.0, 2.0 * LEFT))
}
