//! Internal resistance of each cell, from the steps of current in a few seconds of samples.
//!
//! **What is estimated.** The part of a cell's resistance that shows within about a second: the
//! ohmic one (metal, electrolyte) and the fast part of the charge transfer. IEC 62620:2014, 6.5.3,
//! has a d.c. resistance that is taken after 10 s and 30 s, which contains diffusion and is
//! larger; the a.c. resistance at 1 kHz of data sheets (6.5.2) contains the ohmic part alone and is
//! smaller. What lies between the two wires of a cell's measurement is part of it: busbars too.
//!
//! **How.** For each window of 16 samples, `V = a + b·t + c·q + R·I` with the charge `q` that flowed
//! since its begin. `b` and `c` take up what is slow: the charge's own voltage, and relaxation, which
//! in so short a time is a line in `t` and `q` (a first-order RC element far below its time
//! constant; Plett, "Battery Management Systems", vol. I, 2015, chapter 2). They are projected out
//! (Frisch–Waugh–Lovell). `I` has errors as `V` has, so that least squares would find too small an
//! `R`; the current of the neighbouring samples is the instrumental variable for it, whose
//! errors are not those of `I` (Fuller, "Measurement Error Models", 1987, section 1.4). This needs no
//! ratio of the two noises, as Deming's regression does, and that ratio isn't known here.
//!
//! Current and voltage are not measured at the same moment of a cycle: the two samples at a step
//! are left out. Windows of bad fit are left out. Windows are added up until they hold enough
//! information, and the median of the last such sums is the figure.

use bluenova_record::{CELLS, PackRecord};
use serde::{Deserialize, Serialize};
use time::UtcDateTime;

use crate::{Estimate, robust::median};

/// Samples of a window. Longer ones would contain relaxation that isn't a line any more.
const WINDOW: usize = 16;
/// Samples by which a window is later than the one before: a step counts most in the middle.
const HOP: usize = 8;
/// Longest time between two samples of a window, in seconds.
const GAP_S: f64 = 3.2;

/// Least range of the current in a window, in amperes.
const RANGE_A: f64 = 2.0;
/// Least deviation of the current from what is slow, in amperes.
const DEVIATION_A: f64 = 0.3;
/// Least samples of a window that are left when those at steps are out.
const LEAST_SAMPLES: usize = 8;
/// Least correlation of the current with that of the neighbours.
const CORRELATION: f64 = 0.7;
/// Largest deviation from the fit of the mean cell and of one cell, in millivolts.
const MISFIT_MV: [f64; 2] = [2.0, 6.0];
/// Largest deviation from the fit as a part of what the current explains.
const MISFIT_PART: [f64; 2] = [0.1, 0.2];

/// Information (square amperes) of which a sum is made, at most: at 0.6 mV of noise and
/// quantisation it is good for 0.02 mΩ.
const INFORMATION: f64 = 900.0;
/// The same divided by the square of the resistance in mΩ: good for 3 %.
const RELATIVE_INFORMATION: f64 = 400.0;
/// Least windows in a sum, and so the largest part of one of them.
const LEAST_WINDOWS: f64 = 4.0;

/// Sums that are remembered.
const REMEMBERED: usize = 11;
/// Least sums of which a median is made.
const LEAST_SUMS: usize = 3;
/// What a figure is uncertain by however often it is measured: the current sensor's scale, and the
/// relaxation that was taken for resistance.
const SYSTEMATIC: f64 = 0.05;
/// A figure that is less certain than this part of it isn't known yet.
const LARGEST_UNCERTAINTY: f64 = 0.25;

/// Estimator of the resistances of one battery.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resistance {
    /// The window under way: a restart costs some seconds.
    #[serde(skip)]
    window: Window,
    cells: u8,
    sums: [Sum; CELLS],
    information: f32,
    windows: f32,
    /// Resistances in µΩ, the latest last; 0 where there is none.
    remembered: Vec<[u16; CELLS]>,
    /// How many of them ended in the day under way.
    of_today: u8,
}

/// Moments of one cell.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sum {
    /// Of voltage (mV) and instrument.
    voltage: f32,
    /// Of current (A) and instrument.
    current: f32,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    last: Option<UtcDateTime>,
    length: usize,
    samples: [Sample; WINDOW],
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Seconds since the sample before.
    seconds: f32,
    amps: f32,
    /// In tenths of a millivolt.
    cells: [u16; CELLS],
}

impl Sample {
    const NONE: Self = Self { seconds: 0.0, amps: 0.0, cells: [0; CELLS] };
}

impl Window {
    const EMPTY: Self = Self { last: None, length: 0, samples: [Sample::NONE; WINDOW] };
}

impl Default for Window {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Resistance {
    /// Nothing is known yet.
    pub(crate) const fn new() -> Self {
        Self {
            window: Window::EMPTY,
            cells: 0,
            sums: [Sum { voltage: 0.0, current: 0.0 }; CELLS],
            information: 0.0,
            windows: 0.0,
            remembered: Vec::new(),
            of_today: 0,
        }
    }

    /// Takes a sample of the console. Rows are too far apart for this.
    pub(crate) fn sample(&mut self, record: &PackRecord) {
        let (Some(cells), Some(amps)) = (self.cells_of(record), amps_of(record)) else {
            return;
        };
        let time = record.insert_time_utc;
        let seconds = self.window.last.map(|last| (time - last).as_seconds_f64());
        let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= GAP_S);
        if seconds.is_none() {
            self.window.length = 0;
        }
        self.window.last = Some(time);
        let sample = Sample { seconds: seconds.unwrap_or_default() as f32, amps, cells };
        self.window.samples[self.window.length] = sample;
        self.window.length += 1;
        if self.window.length == WINDOW {
            self.add_window();
            self.window.samples.copy_within(HOP.., 0);
            self.window.length = WINDOW - HOP;
        }
    }

    /// Begins a day.
    pub(crate) fn begin_day(&mut self) {
        self.of_today = 0;
    }

    /// Number of cells, as far as it is known.
    pub(crate) fn cell_count(&self) -> usize {
        self.cells.into()
    }

    /// Resistance of the cell at `index` in milliohms.
    pub(crate) fn of_cell(&self, index: usize) -> Option<Estimate> {
        self.median_of(index, self.remembered.len())
    }

    /// Resistances in milliohms as they were measured today; empty if they were not.
    pub(crate) fn of_today(&self) -> Vec<Option<f32>> {
        let count = usize::from(self.of_today);
        if count < LEAST_SUMS {
            return Vec::new();
        }
        let round = |estimate: Estimate| ((estimate.value * 1e3).round() / 1e3) as f32;
        (0..self.cell_count()).map(|i| self.median_of(i, count).map(round)).collect()
    }

    fn median_of(&self, index: usize, count: usize) -> Option<Estimate> {
        let mut values = [0.0; REMEMBERED];
        let known = self.remembered.iter().rev().take(count).filter_map(|sum| {
            let micro_ohms = *sum.get(index)?;
            (micro_ohms > 0).then(|| f64::from(micro_ohms) / 1e3)
        });
        let mut length = 0;
        for (place, value) in values.iter_mut().zip(known) {
            *place = value;
            length += 1;
        }
        let values = &mut values[..length];
        if length < LEAST_SUMS {
            return None;
        }
        let value = median(values);
        for other in values.iter_mut() {
            *other = (*other - value).abs();
        }
        let length = length as f64;
        // The deviation of a median of normal values, from their median deviation; few values
        // have a small one by chance.
        let deviation = 1.253 * 1.483 * median(values) / length.sqrt() * (1.0 + 2.0 / length);
        let plus_minus = (2.0 * deviation).hypot(SYSTEMATIC * value);
        (plus_minus <= LARGEST_UNCERTAINTY * value).then_some(Estimate { value, plus_minus })
    }

    /// Voltages of all cells in tenths of a millivolt, if all are there and plausible.
    fn cells_of(&mut self, record: &PackRecord) -> Option<[u16; CELLS]> {
        let printed = record.cell_count.and_then(|count| u8::try_from(count).ok());
        let seen = || record.cell_v.iter().take_while(|volts| volts.is_some()).count() as u8;
        let count = printed
            .filter(|count| (1..=CELLS as u8).contains(count))
            .unwrap_or_else(|| self.cells.max(seen()));
        if count == 0 {
            return None;
        }
        let mut cells = [0; CELLS];
        for (place, volts) in cells.iter_mut().zip(&record.cell_v[..count.into()]) {
            let volts = (*volts)?;
            if !(1.5..4.5).contains(&volts) {
                return None;
            }
            *place = (volts * 1e4).round() as u16;
        }
        if count != self.cells {
            *self = Self { cells: count, ..Self::new() };
        }
        Some(cells)
    }

    fn add_window(&mut self) {
        let samples = self.window.samples;
        let Some(fit) = Fit::new(&samples) else { return };
        let cells = self.cell_count();
        let mean = |sample: &Sample| {
            let sum: u32 = sample.cells.iter().map(|v| u32::from(*v)).sum();
            f64::from(sum) / 10.0 / cells as f64
        };
        if fit.slope(&samples, mean, MISFIT_MV[0], MISFIT_PART[0]).is_none() {
            return;
        }
        let share = (INFORMATION / LEAST_WINDOWS / fit.information).min(1.0);
        let current = fit.current * share;
        for (i, sum) in self.sums.iter_mut().enumerate().take(cells) {
            let volts = |sample: &Sample| f64::from(sample.cells[i]) / 10.0;
            if let Some(slope) = fit.slope(&samples, volts, MISFIT_MV[1], MISFIT_PART[1]) {
                sum.voltage += (slope * current) as f32;
                sum.current += current as f32;
            }
        }
        self.information += (fit.information * share) as f32;
        self.windows += 1.0;
        self.end_sum();
    }

    /// Ends the sum under way if it is good enough.
    fn end_sum(&mut self) {
        let cells = self.cell_count();
        let (voltage, current) = self.sums[..cells].iter().fold((0.0, 0.0), |(v, i), sum| {
            (v + f64::from(sum.voltage), i + f64::from(sum.current))
        });
        let milliohms = (voltage / current).max(0.01);
        let enough = INFORMATION.min(RELATIVE_INFORMATION / milliohms.powi(2));
        if f64::from(self.windows) < LEAST_WINDOWS || f64::from(self.information) < enough {
            return;
        }
        // A cell that was left out of most windows has none.
        let least = self.sums.iter().map(|sum| sum.current).fold(0.0, f32::max) / 2.0;
        let micro_ohms = self.sums.map(|sum| match sum.current > least {
            true => (sum.voltage / sum.current * 1e3).round().clamp(0.0, 65535.0) as u16,
            false => 0,
        });
        if self.remembered.len() >= REMEMBERED {
            self.remembered.remove(0);
        }
        self.remembered.push(micro_ohms);
        self.of_today = self.of_today.saturating_add(1);
        (self.sums, self.information, self.windows) = ([Sum::default(); CELLS], 0.0, 0.0);
    }
}

fn amps_of(record: &PackRecord) -> Option<f32> {
    record.i_pack.filter(|amps| amps.abs() < 2000.0)
}

/// What a window's current says, whatever the voltage.
struct Fit {
    /// Which samples count.
    used: [bool; WINDOW],
    /// What is slow, orthogonal and of length 1 (or 0): a constant, time, charge.
    slow: [[f64; WINDOW]; 3],
    /// Current without what is slow.
    amps: [f64; WINDOW],
    /// The neighbours' current without what is slow.
    instrument: [f64; WINDOW],
    /// Moment of the two.
    current: f64,
    /// What the window is worth, in square amperes.
    information: f64,
    /// Degrees of freedom.
    freedom: f64,
}

impl Fit {
    /// `None` if the current has too little in it.
    fn new(samples: &[Sample; WINDOW]) -> Option<Self> {
        let amps = samples.map(|sample| f64::from(sample.amps));
        let used = used_samples(&amps)?;
        let count = used.iter().filter(|used| **used).count();

        let (mut time, mut charge, mut neighbours) = ([0.0; WINDOW], [0.0; WINDOW], amps);
        for k in 1..WINDOW {
            let seconds = f64::from(samples[k].seconds);
            time[k] = time[k - 1] + seconds;
            charge[k] = charge[k - 1] + (amps[k - 1] + amps[k]) / 2.0 * seconds;
            if k + 1 < WINDOW {
                neighbours[k] = (amps[k - 1] + amps[k + 1]) / 2.0;
            }
        }
        let mut slow = [[1.0; WINDOW], time, charge];
        for i in 0..slow.len() {
            let (before, rest) = slow.split_at_mut(i);
            let length = norm(&masked(rest[0], &used));
            rest[0] = without(masked(rest[0], &used), before);
            let left = norm(&rest[0]);
            // Charge is a line in time when the current is constant.
            let scale = if left > 1e-6 * length { 1.0 / left } else { 0.0 };
            rest[0] = rest[0].map(|value| value * scale);
        }
        let amps = without(masked(amps, &used), &slow);
        let instrument = without(masked(neighbours, &used), &slow);
        let current = dot(&amps, &instrument);
        let (deviation, length) = (norm(&amps), norm(&instrument));
        let freedom = count as f64 - 4.0;
        let is_enough = deviation >= DEVIATION_A * freedom.sqrt()
            && current >= CORRELATION * deviation * length;
        is_enough.then(|| Self {
            used,
            slow,
            amps,
            instrument,
            current,
            information: (current / length).powi(2),
            freedom,
        })
    }

    /// Millivolts per ampere, unless the fit is bad.
    fn slope(
        &self,
        samples: &[Sample; WINDOW],
        millivolts: impl Fn(&Sample) -> f64,
        misfit_mv: f64,
        misfit_part: f64,
    ) -> Option<f64> {
        let mut voltage = [0.0; WINDOW];
        for (place, sample) in voltage.iter_mut().zip(samples) {
            // Seen from the first sample, so that the sums stay small.
            *place = millivolts(sample) - millivolts(&samples[0]);
        }
        let voltage = without(masked(voltage, &self.used), &self.slow);
        let slope = dot(&voltage, &self.instrument) / self.current;
        let mut misfit = voltage;
        for (place, amps) in misfit.iter_mut().zip(&self.amps) {
            *place -= slope * amps;
        }
        let freedom = self.freedom.sqrt();
        let explained = (slope * norm(&self.amps) / freedom).abs();
        (norm(&misfit) / freedom <= misfit_mv.max(misfit_part * explained)).then_some(slope)
    }
}

/// Which samples count: not those at a step, nor the first and the last, which lack a neighbour.
fn used_samples(amps: &[f64; WINDOW]) -> Option<[bool; WINDOW]> {
    let (low, high) = amps.iter().fold((f64::MAX, f64::MIN), |(l, h), a| (l.min(*a), h.max(*a)));
    if high - low < RANGE_A {
        return None;
    }
    let mut steps = [0.0; WINDOW - 1];
    for (step, pair) in steps.iter_mut().zip(amps.windows(2)) {
        *step = (pair[1] - pair[0]).abs();
    }
    let least = (0.3 * (high - low)).max(4.0 * median(&mut steps.clone()));
    let mut used = [true; WINDOW];
    (used[0], used[WINDOW - 1]) = (false, false);
    for (i, _) in steps.iter().enumerate().filter(|(_, step)| **step > least) {
        (used[i], used[i + 1]) = (false, false);
    }
    (used.iter().filter(|used| **used).count() >= LEAST_SAMPLES).then_some(used)
}

fn masked(mut values: [f64; WINDOW], used: &[bool; WINDOW]) -> [f64; WINDOW] {
    for (value, used) in values.iter_mut().zip(used) {
        *value = if *used { *value } else { 0.0 };
    }
    values
}

fn dot(a: &[f64; WINDOW], b: &[f64; WINDOW]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64; WINDOW]) -> f64 {
    dot(a, a).sqrt()
}

/// `values` without its parts along each of `directions`, which are orthogonal.
fn without(mut values: [f64; WINDOW], directions: &[[f64; WINDOW]]) -> [f64; WINDOW] {
    for direction in directions {
        let part = dot(&values, direction);
        for (value, along) in values.iter_mut().zip(direction) {
            *value -= part * along;
        }
    }
    values
}
