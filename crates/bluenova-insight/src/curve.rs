//! The pack's own curve of voltage over depth of discharge, and the capacity of cells from it.

use bluenova_record::CELLS;
use serde::{Deserialize, Serialize};

use crate::{
    Estimate,
    cells::{PerCell, median},
};

/// Depth between two points of the curve.
const STEP: f32 = 0.02;
/// Depth of the first point.
const FIRST: f32 = -0.04;
/// Number of points.
const POINTS: usize = 56;
/// Means of a minute that make a point known, and that it remembers.
const LEAST: u8 = 12;
const MOST: u8 = 40;
/// The lowest voltage of a point, and the unit in which points are stored.
const LOWEST: f32 = 2.4;
const VOLTS: f32 = 0.000_02;
/// Farthest depth of a cell from the median's that is looked for.
const FARTHEST: f32 = 0.2;
/// What is left of the sums after each minute: some ten nights count.
const FORGET: f32 = 1.0 - 1.0 / 8000.0;
/// Deviation of a voltage against the median in volts; and the minutes in a row that share it.
const DEVIATION: f32 = 0.001_5;
const IN_A_ROW: f32 = 60.0;
/// How much the ratio of capacities, and the offsets of sensors in volts, usually vary.
const USUAL_RATIO: f32 = 0.10;
const USUAL_OFFSET: f32 = 0.001;
/// Error of the ratio beyond which it isn't known.
const MOST_ERROR: f32 = 0.05;

/// The median voltage over the depth of discharge, and where each cell is on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Curve {
    /// Fiftieths of a millivolt above [`LOWEST`].
    volts: Vec<u16>,
    counts: Vec<u8>,
    sums: [Sums; CELLS],
}

/// Sums for the ratio `r` of a cell: `y = r x`, where `y` is a difference in depth times the
/// slope of the curve, and `x` the depth times that slope.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sums {
    x: f32,
    xx: f32,
    xy: f32,
}

impl Curve {
    /// Takes the voltages of cells at a depth.
    pub(crate) fn add(&mut self, depth: f32, middle: f32, volts: &[f32], leads: &PerCell) {
        let at = (depth - FIRST) / STEP;
        if !(1.0..(POINTS - 2) as f32).contains(&at) {
            return;
        }
        self.compare(at, middle, volts, leads);
        self.volts.resize(POINTS, 0);
        self.counts.resize(POINTS, 0);
        let nearest = at.round() as usize;
        let (count, known) = (&mut self.counts[nearest], &mut self.volts[nearest]);
        *count = count.saturating_add(1).min(MOST);
        let before = volts_of(*known);
        *known = stored(before + (middle - before) / f32::from(*count));
    }

    /// Adds where the cells are on the curve, as far as it is known, to the sums.
    fn compare(&mut self, at: f32, middle: f32, volts: &[f32], leads: &PerCell) -> Option<()> {
        let here = self.volts_at(at)?;
        let slope = (self.volts_at(at - 1.0)? - self.volts_at(at + 1.0)?) / (2.0 * STEP);
        for (cell, volts) in volts.iter().enumerate() {
            let above = volts - middle;
            let Some(deeper) = self.depth_to(at, here, above) else { continue };
            // Between the two the curve may be steeper than where the median is.
            let secant = if deeper.abs() > STEP { -above / deeper } else { 0.0 };
            let steepness = slope.max(secant);
            if steepness > 0.0 {
                let depth = FIRST + at * STEP - leads[cell];
                self.sums[cell].add(steepness * depth, steepness * (deeper + leads[cell]));
            }
        }
        Some(())
    }

    /// Volts between two points that are known.
    fn volts_at(&self, at: f32) -> Option<f32> {
        let (point, part) = (at.floor() as usize, at.fract());
        let known = |point: usize| {
            self.counts.get(point).filter(|&&count| count >= LEAST)?;
            self.volts.get(point).copied().map(volts_of)
        };
        Some(known(point)? * (1.0 - part) + known(point + 1)? * part)
    }

    /// The depth from `at`, where the curve has `here` volts, to where it has `above` more.
    fn depth_to(&self, at: f32, here: f32, above: f32) -> Option<f32> {
        let direction = if above < 0.0 { 1.0 } else { -1.0 };
        let target = here + above;
        let (mut from, mut volts) = (at, here);
        loop {
            // On to the next point of the curve in that direction.
            let next = if direction > 0.0 { from.floor() + 1.0 } else { from.ceil() - 1.0 };
            if (next - at).abs() * STEP > FARTHEST || next < 0.0 {
                return Some(direction * FARTHEST);
            }
            let next_volts = self.volts_at(next)?;
            if (next_volts - target) * direction <= 0.0 {
                let part = (target - volts) / (next_volts - volts);
                let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
                return Some((from + part * (next - from) - at) * STEP);
            }
            (from, volts) = (next, next_volts);
        }
    }

    /// The part of the median's capacity by which each cell is smaller than the others, with its
    /// error; `None` where too little was seen.
    pub(crate) fn deficits(&self, count: usize) -> Vec<Option<Estimate>> {
        let lines: Vec<_> = self.sums[..count].iter().map(Sums::solve).collect();
        let medians = SharedMedian::of(lines.iter().map(|line| line.map_or(0.0, |(r, _)| r)));
        let deficits = lines.iter().enumerate().map(|(cell, line)| {
            let (ratio, error) = (*line)?;
            // The capacity of a cell is one over one plus its ratio.
            let part = 1.0 - (1.0 + medians.without(cell)) / (1.0 + ratio);
            Some(Estimate { value: part.into(), plus_minus: f64::from(2.0 * error) })
        });
        deficits.collect()
    }
}

fn volts_of(stored: u16) -> f32 {
    LOWEST + f32::from(stored) * VOLTS
}

fn stored(volts: f32) -> u16 {
    ((volts - LOWEST) / VOLTS).round() as u16
}

impl Sums {
    fn add(&mut self, x: f32, y: f32) {
        for (sum, value) in [(&mut self.x, x), (&mut self.xx, x * x), (&mut self.xy, x * y)] {
            *sum = *sum * FORGET + value;
        }
    }

    /// The ratio and its standard error: least squares, held towards what is usual. The sensor of
    /// a cell may have an offset, which all minutes share.
    fn solve(&self) -> Option<(f32, f32)> {
        let weight = 1.0 / (IN_A_ROW * DEVIATION * DEVIATION);
        let information = self.xx * weight + 1.0 / (USUAL_RATIO * USUAL_RATIO);
        let ratio = self.xy * weight / information;
        let of_offset = USUAL_OFFSET * self.x * weight / information;
        let error = information.sqrt().recip().hypot(of_offset).hypot(0.003);
        (ratio.is_finite() && ratio > -0.9 && error < MOST_ERROR).then_some((ratio, error))
    }
}

/// The median of the others, for each cell of a pack.
pub(crate) struct SharedMedian {
    values: PerCell,
    count: usize,
}

impl SharedMedian {
    pub(crate) fn of(values: impl Iterator<Item = f32>) -> Self {
        let mut all = PerCell::default();
        let mut count = 0;
        for (place, value) in all.iter_mut().zip(values) {
            *place = value;
            count += 1;
        }
        Self { values: all, count }
    }

    /// The values of all cells but one.
    fn others(&self, cell: usize) -> (PerCell, usize) {
        let mut others = PerCell::default();
        let mut count = 0;
        for (_, &value) in self.values[..self.count].iter().enumerate().filter(|(i, _)| *i != cell)
        {
            others[count] = value;
            count += 1;
        }
        (others, count)
    }

    /// The median of all cells but one.
    pub(crate) fn without(&self, cell: usize) -> f32 {
        let (others, count) = self.others(cell);
        median(&others[..count])
    }

    /// The usual deviation of all cells but one: 1.4826 times their median deviation.
    pub(crate) fn spread_without(&self, cell: usize) -> f32 {
        let (others, count) = self.others(cell);
        let middle = median(&others[..count]);
        1.4826 * median(&others.map(|value| (value - middle).abs())[..count])
    }
}
