//! The pack's own curve of voltage over depth of discharge, and the capacity of cells from it.

use serde::{Deserialize, Serialize};

use crate::{
    Estimate,
    packed::{self, Packed},
    per_cell::{MedianOfOthers, PerCell},
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
const USUAL_OFFSET: f32 = 0.001_5;
/// Error of the ratio beyond which it isn't known.
const MOST_ERROR: f32 = 0.05;

/// The median voltage over the depth of discharge, and where each cell is on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Curve {
    /// Fiftieths of a millivolt above [`LOWEST`].
    #[serde(with = "packed")]
    volts: [u16; POINTS],
    #[serde(with = "packed")]
    counts: [u8; POINTS],
    #[serde(with = "packed")]
    sums: Sums,
}

impl Default for Curve {
    fn default() -> Self {
        Self { volts: [0; POINTS], counts: [0; POINTS], sums: Sums::default() }
    }
}

/// Sums for the line of each cell: `y = r x + offset`, where `y` is a difference in depth times the
/// slope of the curve, and `x` the depth times that slope. The offset is that of the cell's sensor:
/// on the plateau two millivolts look like a tenth of the capacity, but they are as many at any
/// depth.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    n: PerCell,
    x: PerCell,
    y: PerCell,
    xx: PerCell,
    xy: PerCell,
}

impl Curve {
    /// Takes the voltages of cells at a depth.
    pub(crate) fn add(&mut self, depth: f32, middle: f32, volts: &[f32], leads: &PerCell) {
        let at = (depth - FIRST) / STEP;
        if !(1.0..(POINTS - 2) as f32).contains(&at) {
            return;
        }
        self.compare(at, middle, volts, leads);
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
                self.sums.add(cell, steepness * depth, steepness * (deeper + leads[cell]));
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
        let lines: Vec<_> = (0..count).map(|cell| self.sums.solve(cell)).collect();
        let medians = MedianOfOthers::of(lines.iter().map(|line| line.map_or(0.0, |(r, _)| r)));
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
    fn add(&mut self, cell: usize, x: f32, y: f32) {
        let sums = [&mut self.n, &mut self.x, &mut self.y, &mut self.xx, &mut self.xy];
        for (sums, value) in sums.into_iter().zip([1.0, x, y, x * x, x * y]) {
            sums[cell] = sums[cell] * FORGET + value;
        }
    }

    /// The ratio and its standard error: least squares, both unknowns held towards what is usual.
    fn solve(&self, cell: usize) -> Option<(f32, f32)> {
        let [n, x, y, xx, xy] = [self.n, self.x, self.y, self.xx, self.xy].map(|sums| sums[cell]);
        let weight = 1.0 / (IN_A_ROW * DEVIATION * DEVIATION);
        let a = xx * weight + 1.0 / (USUAL_RATIO * USUAL_RATIO);
        let b = x * weight;
        let d = n * weight + 1.0 / (USUAL_OFFSET * USUAL_OFFSET);
        let determinant = a * d - b * b;
        let ratio = (d * xy - b * y) * weight / determinant;
        let error = (d / determinant).sqrt().hypot(0.003);
        (ratio.is_finite() && ratio > -0.9 && error < MOST_ERROR).then_some((ratio, error))
    }
}

impl Packed for Sums {
    fn put(&self, bytes: &mut Vec<u8>) {
        [self.n, self.x, self.y, self.xx, self.xy].put(bytes);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let [n, x, y, xx, xy] = Packed::take(bytes)?;
        Some(Self { n, x, y, xx, xy })
    }
}
