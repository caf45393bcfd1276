//! The last part of a charge, up to the knee.

use bluenova_record::CELLS;
use serde::{Deserialize, Serialize};

use crate::{
    packed::{self, Packed},
    per_cell::{PerCell, median},
    recent::Recent,
};

/// Steps that are kept.
const STEPS: usize = 10;
/// Charge between two steps, as a part of a full pack.
const STEP_CHARGE: f32 = 0.01;
/// Volts of the foremost cell between two steps.
const STEP_VOLTS: f32 = 0.010;
/// Charge that is kept behind the end, as a part of a full pack.
const WINDOW: f32 = 0.22;
/// Charge taken out again, as a part of a full pack, that ends a charge.
const END_CHARGE: f32 = 0.03;
/// Volts at rest that the median reaches in the upper knee.
const KNEE_VOLTS: f32 = 3.35;
/// Volts by which the median has risen in the knee.
const KNEE_RISE: f32 = 0.012;
/// Volts at rest of a cell that is full alone, and by how much it is above the median then.
const FULL_ALONE_VOLTS: f32 = 3.40;
const FULL_ALONE_RISE: f32 = 0.05;
/// Volts above another from which a cell is surely before it.
const SURELY_BEFORE: f32 = 0.003;
/// Ampere-hours of a full pack as long as that isn't known.
const USUAL_AH: f32 = 200.0;

/// Voltages over charge while a pack is charged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ramp {
    /// Position of the counter of charge from which the steps count.
    origin_ah: f64,
    time: f64,
    #[serde(with = "packed")]
    steps: Recent<Step, STEPS>,
}

/// Voltages at one position.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    charge_ah: f32,
    /// Voltages without what the current adds, in tenths of a millivolt.
    volts: [u16; CELLS],
}

/// What a charge to the knee has shown.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    /// Seconds since 1970 when it ended, and the position of the counter of charge.
    pub(crate) time: f64,
    pub(crate) charge_ah: f64,
    /// Ampere-hours by which each cell was full before the median.
    pub(crate) leads: PerCell,
    /// Volts at the end, and their median.
    pub(crate) volts: PerCell,
    pub(crate) middle: f32,
}

impl Ramp {
    /// Takes voltages of cells at a position; returns what a charge has shown when it has ended.
    pub(crate) fn add(
        &mut self,
        time: f64,
        charge_ah: f64,
        volts: &[f32],
        unit_ah: Option<f32>,
    ) -> Option<Top> {
        let unit = unit_ah.unwrap_or(USUAL_AH);
        let charge = (charge_ah - self.origin_ah) as f32;
        let Some(last) = self.steps.last() else {
            self.begin(time, charge_ah, volts);
            return None;
        };
        let ahead = charge - last.charge_ah;
        if ahead < -END_CHARGE * unit {
            let top = self.top(volts.len());
            self.begin(time, charge_ah, volts);
            return top;
        }
        let step = Step { charge_ah: charge, volts: tenths(volts) };
        if ahead > 0.0 && distance(last, &step, unit) >= 1.0 {
            self.time = time;
            self.push(step, unit);
        }
        None
    }

    fn begin(&mut self, time: f64, charge_ah: f64, volts: &[f32]) {
        (self.time, self.origin_ah) = (time, charge_ah);
        self.steps.clear();
        self.steps.push(Step { charge_ah: 0.0, volts: tenths(volts) });
    }

    /// Appends a step; where there are too many, the one goes that is nearest to its neighbours.
    fn push(&mut self, step: Step, unit: f32) {
        while self.steps.first().is_some_and(|old| step.charge_ah - old.charge_ah >= WINDOW * unit)
        {
            self.steps.remove(0);
        }
        if self.steps.len() >= STEPS {
            let gaps = self.steps.windows(3).map(|near| distance(&near[0], &near[2], unit));
            let nearest = gaps.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
            self.steps.remove(nearest.map_or(0, |(before, _)| before + 1));
        }
        self.steps.push(step);
    }

    /// The leads, if the charge went up the knee: that of the median, or that of a cell that is
    /// full so long before the others that they don't get there.
    fn top(&self, count: usize) -> Option<Top> {
        let (first, last) = (self.steps.first()?, self.steps.last()?);
        let middles: Vec<f32> =
            self.steps.iter().map(|step| median(&volts(step)[..count])).collect();
        let (low, high) = (*middles.first()?, *middles.last()?);
        let foremost = volts(last)[..count].iter().copied().fold(0.0, f32::max);
        let is_knee = high > KNEE_VOLTS && high - low > KNEE_RISE;
        let is_full_alone = foremost > FULL_ALONE_VOLTS && foremost - high > FULL_ALONE_RISE;
        if !(is_knee || is_full_alone) || last.charge_ah <= first.charge_ah {
            return None;
        }
        let mut leads = PerCell::default();
        for (cell, lead) in leads[..count].iter_mut().enumerate() {
            let course: Vec<f32> = self.steps.iter().map(|step| volts(step)[cell]).collect();
            let end = course.last().copied().unwrap_or_default();
            // Where one of the two hasn't come to the knee, it is at least that much.
            *lead = match is_knee {
                true if end < KNEE_VOLTS => {
                    self.reached(&middles, end + SURELY_BEFORE) - last.charge_ah
                }
                true => self.lead(&course, &middles),
                false if end < high + FULL_ALONE_RISE => 0.0,
                false => last.charge_ah - self.reached(&course, high + SURELY_BEFORE),
            };
        }
        Some(Top {
            time: self.time,
            charge_ah: self.origin_ah + f64::from(last.charge_ah),
            leads,
            volts: volts(last),
            middle: high,
        })
    }

    /// Ampere-hours by which a cell with this course of voltages is before the median: the mean
    /// over some voltages in the steep part that both have reached.
    fn lead(&self, course: &[f32], middles: &[f32]) -> f32 {
        let highest = |course: &[f32]| course.iter().copied().fold(0.0, f32::max);
        let high = highest(course).min(highest(middles));
        let low = middles.first().map_or(high, |low| low.min(high));
        let levels = [0.02, 0.14, 0.26, 0.38].map(|part| high - part * (high - low));
        let leads = levels.map(|level| self.reached(middles, level) - self.reached(course, level));
        leads.iter().sum::<f32>() / leads.len() as f32
    }

    /// Charge at which `course` has reached `level` for good.
    fn reached(&self, course: &[f32], level: f32) -> f32 {
        let Some(before) = course.iter().rposition(|&volts| volts < level) else {
            return self.steps.first().map_or(0.0, |step| step.charge_ah);
        };
        let Some(after) = self.steps.get(before + 1) else {
            // It has come down again: what counts is that it has been there.
            let peak = course.iter().position(|&volts| volts >= level).unwrap_or(before);
            return self.steps[peak].charge_ah;
        };
        let (a, b) = (course[before], course[before + 1]);
        let part = (level - a) / (b - a).max(1e-6);
        let from = self.steps[before].charge_ah;
        from + part * (after.charge_ah - from)
    }
}

impl Packed for Step {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.charge_ah.put(bytes);
        self.volts.put(bytes);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { charge_ah: Packed::take(bytes)?, volts: Packed::take(bytes)? })
    }
}

fn tenths(volts: &[f32]) -> [u16; CELLS] {
    std::array::from_fn(|cell| volts.get(cell).map_or(0, |volts| (volts * 1e4).round() as u16))
}

fn volts(step: &Step) -> PerCell {
    step.volts.map(|tenths| f32::from(tenths) / 1e4)
}

/// How far apart two steps are, in steps.
fn distance(a: &Step, b: &Step, unit: f32) -> f32 {
    let highest = |step: &Step| step.volts.iter().copied().max().unwrap_or(0);
    let rise = (f32::from(highest(b)) - f32::from(highest(a))).abs() / 1e4;
    (b.charge_ah - a.charge_ah) / (STEP_CHARGE * unit) + rise / STEP_VOLTS
}
