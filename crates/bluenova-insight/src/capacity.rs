//! Capacity, from charge counted between states of charge that are far apart.
//!
//! **What is estimated.** The usable charge in ampere-hours, from full to empty. Where a battery
//! was seen at both ends, that is measured (`ends.rs`). Elsewhere it is what the sensor counts for
//! each percent of the firmware's state of charge, a hundred times: right if the firmware's scale
//! is right where it is used here. A firmware that counts with a wrong capacity of its own, and is
//! right again at each full, shows the same wrong scale down and up again, which can't be known
//! until the battery was empty once. Neither can an error of the current sensor's scale, of which
//! 1 % is in the uncertainty.
//!
//! **How.** The state of charge is in whole percent, but the moment at which it changes from 63 to
//! 62 is exact: legs begin and end at such ticks. What a firmware is known for ends a leg: a jump
//! (its correction, at full from about 90 to 100 % above all), and charging beyond 85 %, where
//! some stand still until the jump. Each leg has parts of 20 %, and the last of them are fitted by
//!
//! `charge = capacity · states + surplus · states while charging + offset · hours`
//!
//! The `offset` is what the sensor adds each hour (and what the firmware's own counting does not
//! contain, so that it is 0 where the firmware counts with the same sensor); legs of both
//! directions and of different currents tell it from capacity. The `surplus` is 0 unless the data
//! say otherwise: a firmware whose scale is another one while it charges is then judged by
//! discharges alone. Priors for both make the fit well-posed when all legs are alike, and so the
//! uncertainty says what they leave open (Bayesian linear regression: Gelman et al., "Bayesian
//! Data Analysis", 3rd ed., chapter 14). Weights of Student's t distribution with 4 degrees of
//! freedom take outliers out (Lange, Little, Taylor, J. Am. Stat. Assoc. 84, 1989).
//!
//! Regressing charge on states of charge, not the other way round, is right here since the ticks
//! are nearly free of error and the charge is not (Plett, J. Power Sources 196, 2011, compares).

use bluenova_record::PackRecord;
use serde::{Deserialize, Serialize};

use crate::{
    Estimate,
    ends::Ends,
    packed::{self, Packed},
    per_cell::CellVolts,
    plausible,
    recent::Recent,
    resistance::Resistance,
    robust::median,
};

/// Percent of a part of a leg.
const PART_PERCENT: f32 = 20.0;
/// Percent of the last part of a leg, at least: a smaller rest belongs to the part before. A leg
/// that is shorter than this doesn't count.
const LEAST_PART_PERCENT: f32 = 12.0;
/// Percent by which the state of charge comes back when a leg has ended.
const TURN_PERCENT: f32 = 3.0;
/// Percent up to which a firmware is trusted while it charges.
const TRUSTED_UP: f32 = 85.0;
/// Percent from which it is trusted while it discharges: 100 may stand for a while.
const TRUSTED_DOWN: f32 = 97.5;
/// Samples that must agree on a state of charge: one alone may be garbled. Of rows, one must do:
/// the state may change from each to the next.
const AGREEING: u8 = 3;
/// Seconds without a current that are bridged, at least: one of a leg's hours may be without
/// connection for a moment.
const BRIDGED_S: f64 = 60.0;

/// Parts that are remembered.
const REMEMBERED: usize = 36;
/// Least parts of an estimate, and percent that they sum up to.
const LEAST_PARTS: usize = 4;
const LEAST_PERCENT: f32 = 100.0;

/// Deviation of a sensor's offset in amperes, before anything is known of it.
const OFFSET_A: f64 = 0.2;
/// Deviation of the surplus while charging, as a part of the capacity: if there may be one, and
/// if there is none.
const SURPLUS: [f64; 2] = [0.3, 0.002];
/// A surplus that is larger, as a part of the capacity, is one.
const LARGEST_SURPLUS: f64 = 0.03;
/// Least deviation of a part's charge from the fit, as a part of the capacity: two ticks.
const LEAST_DEVIATION: f64 = 0.003;
/// A larger one means that the parts contradict each other.
const LARGEST_DEVIATION: f64 = 0.02;
/// What a figure is uncertain by however often it is measured: the scale of the sensor, and the
/// charge that is lost between charging and discharging.
const SYSTEMATIC: f64 = 0.015;
/// What the firmware's scale may be wrong by, as long as the battery was not seen empty: one that
/// counts with the capacity of the label is wrong by a fifth when 80 % of it are left, as at the
/// end of many a guarantee.
const FIRMWARE: f64 = 0.2;
/// Part of the capacity by which a cell may be behind, or it isn't known what can be used.
const LARGEST_LAG: f64 = 0.1;
/// Part by which a cell may be smaller than the others, or it isn't known what can be used.
const MUCH_SMALLER: f64 = 0.25;
/// A figure that is less certain than this part of it isn't known yet.
const LARGEST_UNCERTAINTY: f64 = 0.08;

/// Estimator of the capacity of one battery.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Capacity {
    /// Seconds since the last current.
    waiting_s: f64,
    /// The last current, and the last two as they were measured.
    amps: Option<f32>,
    measured: [Option<f32>; 2],
    /// Where it stands.
    now: Count,
    soc: Option<i16>,
    candidate: Option<Candidate>,
    leg: Option<Leg>,
    #[serde(with = "packed")]
    parts: Recent<Part, REMEMBERED>,
    /// How many of them ended in the day under way.
    of_today: u8,
    fit: Option<Fit>,
    ends: Ends,
}

/// Charge and time since counting began.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(from = "(f32, f32, f32)", into = "(f32, f32, f32)")]
pub(crate) struct Count {
    pub(crate) charge_ah: f64,
    pub(crate) hours: f64,
    /// Charge that went in and out, added up.
    pub(crate) moved_ah: f64,
}

impl From<(f32, f32, f32)> for Count {
    fn from((charge_ah, hours, moved_ah): (f32, f32, f32)) -> Self {
        Self { charge_ah: charge_ah.into(), hours: hours.into(), moved_ah: moved_ah.into() }
    }
}

impl From<Count> for (f32, f32, f32) {
    fn from(count: Count) -> Self {
        (count.charge_ah as f32, count.hours as f32, count.moved_ah as f32)
    }
}

impl Count {
    /// What was counted since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            charge_ah: self.charge_ah - earlier.charge_ah,
            hours: self.hours - earlier.hours,
            moved_ah: self.moved_ah - earlier.moved_ah,
        }
    }
}

/// Another state of charge, seen but for few samples.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Candidate {
    soc: i16,
    samples: u8,
    since: Count,
}

/// A tick of the state of charge.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Tick {
    /// Between the state before and the one after.
    percent: f32,
    count: Count,
}

/// A time of charging or discharging.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Leg {
    is_charging: bool,
    /// Where its part under way began.
    begin: Tick,
    /// Its farthest tick.
    end: Tick,
    /// The first tick back from there.
    back: Option<Tick>,
    has_parts: bool,
}

/// Part of a leg.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Change of the state of charge; positive when charging.
    percent: i16,
    /// Hundredths of an hour.
    hundredths: u16,
    charge_ah: f32,
}

/// What the parts say.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Fit {
    capacity: Estimate,
    surplus_ah: f64,
    offset_a: f64,
}

impl Capacity {
    /// Takes a sample, `seconds` after the one before. A long gap without a current ends a leg. Of
    /// samples of the console, other than rows, one alone is not believed.
    pub(crate) fn sample(
        &mut self,
        record: &PackRecord,
        cells: Option<&CellVolts>,
        seconds: f64,
        gap_s: f64,
        is_row: bool,
        resistance: &Resistance,
    ) {
        self.waiting_s += seconds;
        if self.waiting_s > gap_s.max(BRIDGED_S) {
            self.interrupt();
        }
        let amps = plausible::amps(record);
        let Some(amps) = amps.and_then(|amps| self.believe(amps, is_row)) else { return };
        if let Some(before) = self.amps.replace(amps) {
            let hours = self.waiting_s / 3600.0;
            let charge_ah = (f64::from(before) + f64::from(amps)) / 2.0 * hours;
            self.now.charge_ah += charge_ah;
            self.now.moved_ah += charge_ah.abs();
            self.now.hours += hours;
        }
        self.waiting_s = 0.0;
        if let Some(soc) = plausible::percent(record) {
            self.see(soc, if is_row { 1 } else { AGREEING });
        }
        if let Some(cells) = cells {
            self.ends.sample(amps, cells, self.soc, self.now, resistance);
        }
    }

    /// The current that is believed: one value alone may be garbled.
    fn believe(&mut self, measured: f32, is_row: bool) -> Option<f32> {
        let before = self.measured;
        self.measured = [before[1], Some(measured)];
        let [Some(a), Some(b)] = before else { return Some(measured) };
        if is_row {
            // Whole appliances fit between two rows: only what is out of all proportion is wrong.
            let is_plausible = measured.abs() <= 5.0 * a.abs().max(b.abs()) + 100.0;
            return is_plausible.then_some(measured);
        }
        // The middle one of three.
        Some(a.max(b).min(a.min(b).max(measured)))
    }

    /// Begins a day.
    pub(crate) fn begin_day(&mut self) {
        self.of_today = 0;
    }

    /// Capacity in ampere-hours. `lag_ah` is the charge by which the last cell is behind the others
    /// when the pack is full: that much can't be used, and a firmware may or may not have noticed.
    /// So half of it is taken off a figure on the firmware's scale, and may be wrong. `smaller` is
    /// the part by which the smallest cell is smaller than the others. Most firmwares notice that,
    /// since each full and empty pack shows it; one that has the mean state of its cells doesn't.
    pub(crate) fn estimate(&self, lag_ah: f64, smaller: f64) -> Option<Estimate> {
        let by_scale = |Fit { capacity: Estimate { value, plus_minus }, .. }| Estimate {
            value: value - lag_ah / 2.0,
            plus_minus: plus_minus
                .hypot(FIRMWARE * value)
                .hypot(lag_ah / 2.0)
                .hypot(smaller * value),
        };
        let is_known =
            |estimate: &Estimate| lag_ah < LARGEST_LAG * estimate.value && smaller < MUCH_SMALLER;
        let scale = self.fit.map(by_scale).filter(is_known);
        let Some(ends) = self.ends.estimate() else { return scale };
        let confirmed = scale.map(|scale| scale.value).filter(|scale| confirms(ends, *scale));
        Some(Estimate { value: confirmed.unwrap_or(ends.value), ..ends })
    }

    /// Capacity in ampere-hours as the parts that ended today have it. Its uncertainty is that of
    /// the day's counting alone, so that days can be weighed against each other.
    pub(crate) fn of_today(&self) -> Option<Estimate> {
        let fit = self.fit?;
        let surplus = fit.surplus_ah / fit.capacity.value;
        let (mut squares, mut products) = (0.0, 0.0);
        for part in self.parts.iter().rev().take(self.of_today.into()) {
            let states = f64::from(part.percent) / 100.0;
            let states = if states > 0.0 { states * (1.0 + surplus) } else { states };
            let charge = f64::from(part.charge_ah) - fit.offset_a * part.hours();
            squares += states * states;
            products += states * charge;
        }
        (squares > 0.0).then(|| {
            let deviation = LEAST_DEVIATION * fit.capacity.value / squares.sqrt();
            // On the firmware's scale, which both ends of the battery may have shown to be wrong.
            let by_scale = fit.capacity.value;
            let ends = self.ends.estimate().filter(|ends| !confirms(*ends, by_scale));
            let scale = ends.map_or(1.0, |ends| ends.value / by_scale);
            let round = |value: f64| (value * scale * 100.0).round() / 100.0;
            Estimate { value: round(products / squares), plus_minus: round(2.0 * deviation) }
        })
    }

    /// Part of the energy, in or out, that may have been counted wrongly.
    pub(crate) fn energy_uncertainty(&self) -> Option<f64> {
        self.ends.energy_uncertainty()
    }

    fn interrupt(&mut self) {
        self.end_leg();
        self.ends.interrupt();
        (self.amps, self.measured) = (None, [None; 2]);
        (self.soc, self.candidate) = (None, None);
        self.now = Count::default();
    }

    /// Takes a state of charge, once so many samples agree on it.
    fn see(&mut self, soc: i16, agreeing: u8) {
        if self.soc == Some(soc) {
            self.candidate = None;
            return;
        }
        let candidate = match self.candidate {
            Some(candidate) if candidate.soc == soc => {
                Candidate { samples: candidate.samples.saturating_add(1), ..candidate }
            }
            _ => Candidate { soc, samples: 1, since: self.now },
        };
        self.candidate = Some(candidate);
        if candidate.samples < agreeing {
            return;
        }
        self.candidate = None;
        let Some(before) = self.soc.replace(soc) else { return };
        if soc.abs_diff(before) > 1 {
            self.end_leg();
            return;
        }
        let percent = f32::from(before + soc) / 2.0;
        self.tick(soc > before, Tick { percent, count: candidate.since });
    }

    fn tick(&mut self, is_charging: bool, tick: Tick) {
        let mut begin = tick;
        if let Some(leg) = &mut self.leg {
            let ahead = leg.ahead(&tick);
            let is_beyond_trust = leg.is_charging && tick.percent > TRUSTED_UP;
            if ahead > -TURN_PERCENT && !is_beyond_trust {
                if ahead > 0.0 {
                    (leg.end, leg.back) = (tick, None);
                    if leg.length() >= PART_PERCENT {
                        self.end_part();
                    }
                } else if is_charging != leg.is_charging {
                    leg.back.get_or_insert(tick);
                }
                return;
            }
            if is_charging != leg.is_charging {
                begin = leg.back.unwrap_or(tick);
            }
            self.end_leg();
        }
        let trusted = if is_charging { TRUSTED_UP } else { TRUSTED_DOWN };
        if begin.percent <= trusted && tick.percent <= trusted {
            let leg = Leg { is_charging, begin, end: tick, back: None, has_parts: false };
            self.leg = Some(leg);
        }
    }

    fn end_leg(&mut self) {
        if let Some(leg) = self.leg {
            if leg.length() >= LEAST_PART_PERCENT {
                self.end_part();
            } else if let Some(last) = self.parts.last_mut().filter(|_| leg.has_parts) {
                let rest = leg.part();
                last.percent = last.percent.saturating_add(rest.percent);
                last.charge_ah += rest.charge_ah;
                last.hundredths = last.hundredths.saturating_add(rest.hundredths);
                self.fit = fit(&self.parts);
            }
        }
        self.leg = None;
    }

    /// Ends a part of the leg under way at its farthest tick.
    fn end_part(&mut self) {
        let Some(leg) = &mut self.leg else { return };
        let part = leg.part();
        leg.begin = leg.end;
        leg.has_parts = true;
        self.parts.push(part);
        self.of_today = self.of_today.saturating_add(1);
        self.fit = fit(&self.parts);
    }
}

impl Leg {
    /// Percent by which `tick` is farther than the end.
    fn ahead(&self, tick: &Tick) -> f32 {
        let rise = tick.percent - self.end.percent;
        if self.is_charging { rise } else { -rise }
    }

    /// Percent of the part under way.
    fn length(&self) -> f32 {
        (self.end.percent - self.begin.percent).abs()
    }

    /// The part under way.
    fn part(&self) -> Part {
        let (begin, end) = (self.begin, self.end);
        Part {
            // Casts saturate.
            percent: (end.percent - begin.percent) as i16,
            charge_ah: (end.count.charge_ah - begin.count.charge_ah) as f32,
            hundredths: ((end.count.hours - begin.count.hours) * 100.0).round() as u16,
        }
    }
}

/// Whether both ends of a battery confirm the firmware's scale, which is finer then than they are.
fn confirms(ends: Estimate, by_scale: f64) -> bool {
    (by_scale - ends.value).abs() <= ends.plus_minus
}

/// Capacity, surplus while charging, offset; and their covariance.
type Solution = ([f64; 3], [[f64; 3]; 3]);

/// What the parts say, if they are enough.
fn fit(parts: &[Part]) -> Option<Fit> {
    let percent: f32 = parts.iter().map(|part| f32::from(part.percent.unsigned_abs())).sum();
    if parts.len() < LEAST_PARTS || percent < LEAST_PERCENT {
        return None;
    }
    let [any, none] = SURPLUS;
    let mut solution = solve_robustly(parts, any)?;
    let ([capacity, surplus, _], covariance) = solution.0;
    let open = LARGEST_SURPLUS * capacity + 2.0 * covariance[1][1].max(0.0).sqrt();
    if surplus.abs() <= open {
        solution = solve_robustly(parts, none)?;
    }
    let (([value, surplus_ah, offset_a], covariance), deviation) = solution;
    let plus_minus = 2.0 * covariance[0][0].max(0.0).sqrt().hypot(SYSTEMATIC / 2.0 * value);
    let is_known = (1.0..10_000.0).contains(&value)
        && plus_minus <= LARGEST_UNCERTAINTY * value
        && deviation <= LARGEST_DEVIATION * value;
    is_known.then_some(Fit { capacity: Estimate { value, plus_minus }, surplus_ah, offset_a })
}

/// The solution, and the deviation of a part's charge from it.
fn solve_robustly(parts: &[Part], surplus: f64) -> Option<(Solution, f64)> {
    let mut values = [0.0_f64; REMEMBERED];
    let values = values.get_mut(..parts.len())?;
    for (value, part) in values.iter_mut().zip(parts) {
        *value = f64::from(part.charge_ah) / f64::from(part.percent) * 100.0;
    }
    let usual = median(values).abs();
    let least = LEAST_DEVIATION * usual;
    let mut solution: Solution = ([usual, 0.0, 0.0], [[0.0; 3]; 3]);
    let mut deviation = f64::INFINITY;
    for _ in 0..12 {
        for (value, part) in values.iter_mut().zip(parts) {
            *value = part.misfit(&solution.0).abs();
        }
        deviation = 1.4826 * median(values);
        let scale = deviation.max(least);
        // Normal equations of weighted least squares, with the priors.
        let prior = [0.0, (surplus * usual).powi(-2), OFFSET_A.powi(-2)];
        let mut matrix = [[0.0; 3]; 3];
        let mut right = [0.0; 3];
        for (i, prior) in prior.into_iter().enumerate() {
            matrix[i][i] = prior;
        }
        for part in parts {
            let misfit = part.misfit(&solution.0) / scale;
            let weight = 5.0 / (4.0 + misfit * misfit) / (scale * scale);
            let row = part.row();
            for i in 0..3 {
                right[i] += weight * row[i] * f64::from(part.charge_ah);
                for j in 0..3 {
                    matrix[i][j] += weight * row[i] * row[j];
                }
            }
        }
        let covariance = inverse(&matrix)?;
        let value = covariance.map(|row| row.iter().zip(right).map(|(a, b)| a * b).sum());
        solution = (value, covariance);
    }
    Some((solution, deviation))
}

impl Packed for Part {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.percent.put(bytes);
        self.hundredths.put(bytes);
        self.charge_ah.put(bytes);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            percent: Packed::take(bytes)?,
            hundredths: Packed::take(bytes)?,
            charge_ah: Packed::take(bytes)?,
        })
    }
}

impl Part {
    fn hours(&self) -> f64 {
        f64::from(self.hundredths) / 100.0
    }

    fn row(&self) -> [f64; 3] {
        let states = f64::from(self.percent) / 100.0;
        [states, states.max(0.0), self.hours()]
    }

    /// Ampere-hours more than the solution has.
    fn misfit(&self, solution: &[f64; 3]) -> f64 {
        let expected: f64 = self.row().iter().zip(solution).map(|(a, b)| a * b).sum();
        f64::from(self.charge_ah) - expected
    }
}

/// Inverse of a symmetric matrix, by its cofactors.
fn inverse(m: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let cofactor = |i: usize, j: usize| {
        let (a, b, c, d) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
        m[a][c] * m[b][d] - m[a][d] * m[b][c]
    };
    let determinant: f64 = (0..3).map(|j| m[0][j] * cofactor(0, j)).sum();
    let is_regular = determinant.is_finite() && determinant.abs() > f64::MIN_POSITIVE;
    is_regular
        .then(|| std::array::from_fn(|i| std::array::from_fn(|j| cofactor(j, i) / determinant)))
}
