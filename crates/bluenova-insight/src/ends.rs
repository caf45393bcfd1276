//! Capacity from full to empty, where a battery was seen at both ends.
//!
//! This is the one measurement that needs no state of charge in between: it shows a firmware that
//! counts with a wrong capacity. Full is the firmware's 100 %, after the cells were at the voltage
//! at which a charge ends. Empty is the lower knee of the first cell, freed of the drop over its
//! resistance. There a LiFePO4 cell holds a percent or two, but not each curve is as steep: how
//! fast its voltage fell with the charge says how much it can still hold, and that is uncertain.
//! What the sensor adds each hour is known from one full to the next: in between nothing may be
//! left but that (coulomb counting between two anchors: Plett, "Battery Management Systems", vol.
//! II, 2015, chapter 4).

use serde::{Deserialize, Serialize};

use crate::{
    Estimate,
    capacity::Count,
    number::rounded,
    packed,
    per_cell::{self, CellVolts},
    recent::Recent,
    resistance::Resistance,
    robust::{median, median_and_deviation},
};

/// Least median of the cells at the end of a charge, in volts.
const TOP_VOLTS: f32 = 3.38;
/// Amperes of a battery that isn't discharged.
const IDLE_AMPS: f32 = -0.5;
/// Volts of a cell without load at the lower knee, at most.
const KNEE_VOLTS: f32 = 2.95;
/// Amperes at which a resistance that isn't known yet doesn't matter.
const SMALL_AMPS: f32 = 5.0;
/// Volts that it must fall below those at which the knee was seen.
const LEAST_FALL: f32 = 0.03;
/// Volts at which no cell holds anything, and how much of what a straight line to there leaves open
/// is uncertain: a knee grows steeper.
const EMPTY_VOLTS: f32 = 2.5;
const DOUBT: f32 = 0.75;
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
/// Mean amperes, in and out, below which a battery mostly rests: the sensor's noise is counted both
/// ways then, and may be more than what flows.
const LEAST_MOVED_AMPS: f64 = 1.0;
/// What the scale of a current sensor is uncertain by.
const SCALE: f64 = 0.01;
/// Cycles that are remembered.
const REMEMBERED: usize = 5;

/// Estimator of the capacity between both ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ends {
    at_top: u8,
    at_knee: u8,
    is_full: bool,
    /// The moment at which it came to be full, some time ago.
    arrived: Option<Count>,
    /// The last moment at which it was full.
    full: Option<Count>,
    /// What was drawn since then when it was emptiest, and the hours until then.
    empty: Option<(f32, f32)>,
    /// Volts of the first cell at rest at that moment.
    lowest: f32,
    /// What was drawn, and the volts, when the knee was seen first since the last full.
    knee: Option<(f32, f32)>,
    /// Charge that was counted too much, the hours in which it was, and all charge in them.
    drift: Count,
    /// The capacity in ampere-hours that each of the last cycles showed, and what may have been
    /// left in it, as a part of the capacity.
    #[serde(with = "packed")]
    cycles: Recent<[f32; 2], REMEMBERED>,
}

impl Ends {
    /// Capacity in ampere-hours.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        let [mut values, mut doubts] = [[0.0_f64; REMEMBERED]; 2];
        let count = self.cycles.len();
        for (at, [value, doubt]) in self.cycles.iter().enumerate() {
            (values[at], doubts[at]) = (f64::from(*value), f64::from(*doubt));
        }
        let (value, deviation) = median_and_deviation(&mut values[..count]);
        // As the capacity, so that neither is that of one odd cycle.
        let doubt = median(&mut doubts[..count]);
        let spread = 2.0 * deviation / (count as f64).sqrt();
        let plus_minus = spread.hypot(SYSTEMATIC * value).hypot(doubt * value);
        (value > 0.0).then_some(Estimate { value, plus_minus })
    }

    /// Part of the energy, in or out, that may have been counted wrongly: by the scale of the
    /// sensor, and by what it adds. What the battery loses looks the same.
    pub(crate) fn energy_uncertainty(&self) -> Option<f64> {
        let Count { charge_ah, hours, moved_ah } = self.drift;
        let drift = charge_ah / (moved_ah / 2.0);
        (moved_ah > LEAST_MOVED_AMPS * hours).then(|| rounded(SCALE.hypot(drift), 4))
    }

    /// Counting began anew.
    pub(crate) fn interrupt(&mut self) {
        (self.arrived, self.full, self.empty, self.knee) = (None, None, None, None);
        self.is_full = false;
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
                self.add_drift(now);
                self.end_cycle(now);
            }
            if self.is_full && amps >= IDLE_AMPS {
                self.full = Some(now);
            }
            return;
        }
        self.is_full &= soc.is_none();
        let (Some(full), Some(volts)) = (self.full, volts_at_knee(cells, amps, resistance)) else {
            self.at_knee = 0;
            return;
        };
        self.at_knee = self.at_knee.saturating_add(1);
        let drawn_ah = (full.charge_ah - now.charge_ah) as f32;
        if self.at_knee < AGREEING {
            return;
        }
        self.knee.get_or_insert((drawn_ah, volts));
        if self.empty.is_none_or(|(empty_ah, _)| empty_ah < drawn_ah) {
            let hours = (now.hours - full.hours) as f32;
            (self.empty, self.lowest) = (Some((drawn_ah, hours)), volts);
        }
    }

    /// It came to be full again: what was counted since the last time, also while it was full, is
    /// nothing but drift.
    fn add_drift(&mut self, now: Count) {
        let passed = self.arrived.map(|arrived| now.since(arrived));
        if passed.is_some_and(|passed| passed.hours < LEAST_HOURS) {
            return;
        }
        self.arrived = Some(now);
        let (drift, passed) = (&mut self.drift, passed.unwrap_or_default());
        drift.charge_ah = MEMORY * drift.charge_ah + passed.charge_ah;
        drift.hours = MEMORY * drift.hours + passed.hours;
        drift.moved_ah = MEMORY * drift.moved_ah + passed.moved_ah;
    }

    /// Ends the cycle that began at the last full.
    fn end_cycle(&mut self, now: Count) {
        let Some(full) = self.full else { return };
        let (empty, knee) = (self.empty.take(), self.knee.take());
        if now.since(full).hours < LEAST_HOURS {
            return;
        }
        let (Some((empty_ah, hours)), Some((knee_ah, knee_volts))) = (empty, knee) else { return };
        let fall = knee_volts - self.lowest;
        if fall < LEAST_FALL {
            return;
        }
        let offset = self.drift.charge_ah / self.drift.hours;
        let drawn = f64::from(empty_ah) + offset * f64::from(hours);
        let per_volt = (empty_ah - knee_ah) / fall / drawn as f32;
        let doubt = DOUBT * per_volt * (self.lowest - EMPTY_VOLTS).max(0.0);
        let left = LEFT + LEFT_PER_VOLT * (f64::from(self.lowest) - LEFT_VOLTS);
        self.cycles.push([(drawn / (1.0 - left.clamp(0.0, MOST_LEFT))) as f32, doubt]);
    }
}

/// Volts of the first cell without load, if it is at its knee.
fn volts_at_knee(cells: &CellVolts, amps: f32, resistance: &Resistance) -> Option<f32> {
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
    (lowest <= KNEE_VOLTS.into()).then_some(lowest as f32)
}

#[cfg(test)]
mod tests {
    use bluenova_record::CELLS;

    use super::*;

    const CAPACITY_AH: f64 = 100.0;
    const AMPS: f32 = 5.0;

    /// Fill and volts at the lower knee, as they stand in tables, and as a formula has them.
    const STEEPER: &[(f64, f64)] = &[(0.0, 2.5), (0.01, 2.75), (0.02, 2.9), (0.05, 3.05)];
    const STEADY: &[(f64, f64)] = &[(0.0, 2.5), (0.05, 3.0), (0.1, 3.12)];
    const SLOW: &[(f64, f64)] = &[(0.0, 2.5), (0.09, 3.0), (0.14, 3.125)];

    fn volts(knee: &[(f64, f64)], fill: f64) -> f64 {
        let part = knee.windows(2).find(|pair| fill <= pair[1].0);
        match part {
            Some(&[(from, low), (to, high)]) => low + (high - low) * (fill - from) / (to - from),
            _ if fill > 0.99 => 3.45,
            _ => 3.3,
        }
    }

    fn count(charge_ah: f64, hours: f64) -> Count {
        Count { charge_ah, hours, ..Count::default() }
    }

    /// What is known after a cycle from full until the cells have each of `lowest` volts.
    fn after_cycles(knee: &[(f64, f64)], lowest: &[f64]) -> Option<Estimate> {
        let mut ends = Ends::default();
        let (mut charge_ah, mut hours, step) = (CAPACITY_AH, 0.0, 0.01);
        let mut sample = |charge_ah: f64, hours: f64, amps: f32| {
            let fill = charge_ah / CAPACITY_AH;
            let volts = volts(knee, fill) as f32;
            let cells = CellVolts { count: 4, volts: [volts; CELLS], lowest: volts };
            let soc = Some((fill * 100.0).round() as i16);
            ends.sample(amps, &cells, soc, count(charge_ah, hours), &Resistance::default());
        };
        for &lowest in lowest {
            while volts(knee, charge_ah / CAPACITY_AH) > lowest {
                charge_ah -= step;
                hours += step / f64::from(AMPS);
                sample(charge_ah, hours, -AMPS);
            }
            while charge_ah < CAPACITY_AH {
                charge_ah += step;
                hours += step / f64::from(AMPS);
                sample(charge_ah, hours, AMPS);
            }
        }
        ends.estimate()
    }

    #[test]
    fn the_truth_is_within_the_uncertainty_whatever_the_knee_is_like() {
        for knee in [STEEPER, STEADY, SLOW] {
            for lowest in [2.6, 2.65] {
                let known = after_cycles(knee, &[lowest; 3]).unwrap();
                let error = (known.value - CAPACITY_AH).abs();
                assert!(error < known.plus_minus, "{knee:?} {lowest}: {known:?}");
                assert!(known.plus_minus < 0.05 * CAPACITY_AH, "{knee:?} {lowest}: {known:?}");
            }
        }
    }

    #[test]
    fn one_deep_cycle_takes_no_doubt_off_the_others() {
        let shallow = after_cycles(SLOW, &[2.85; 3]).unwrap();
        let then_deep = after_cycles(SLOW, &[2.85, 2.85, 2.85, 2.5]).unwrap();
        assert!(shallow.plus_minus > 0.05 * CAPACITY_AH, "{shallow:?}");
        assert!(then_deep.plus_minus > 0.9 * shallow.plus_minus, "{shallow:?} {then_deep:?}");
    }

    #[test]
    fn a_knee_of_which_too_little_was_seen_is_no_end() {
        for knee in [STEEPER, STEADY, SLOW] {
            assert_eq!(after_cycles(knee, &[2.93; 3]), None, "{knee:?}");
        }
    }
}
