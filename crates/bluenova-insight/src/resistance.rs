//! Internal resistance of each cell, from the steps of current in a few seconds of samples.
//!
//! **What is estimated.** The part of a cell's resistance that shows within about a second: the
//! ohmic one (metal, electrolyte) and the fast part of the charge transfer. IEC 62620:2014, 6.5.3,
//! has a d.c. resistance that is taken after 10 s and 30 s, which contains diffusion and is
//! larger; the a.c. resistance at 1 kHz of data sheets (6.5.2) contains the ohmic part alone and
//! is smaller. What lies between the two wires of a cell's measurement is part of it: busbars too.
//!
//! **How.** For each window of 12 samples, `V = a + b·t + c·q + R·I` with the charge `q` that
//! flowed since its begin. `b` and `c` take up what is slow: the charge's own voltage, and
//! relaxation, which in so short a time is a line in `t` and `q` (a first-order RC element far
//! below its time constant; Plett, "Battery Management Systems", vol. I, 2015, chapter 2). They
//! are projected out (Frisch–Waugh–Lovell). `I` has errors as `V` has, so that least squares would
//! find too small an `R`; the current of the neighbouring samples is the instrumental variable for
//! it, whose errors are not those of `I` (Fuller, "Measurement Error Models", 1987, section 1.4).
//! This needs no ratio of the two noises, as Deming's regression does, and that ratio isn't known
//! here.
//!
//! Current and voltage are not measured at the same moment of a cycle: the two samples at a step
//! are left out. Windows of bad fit are left out. Windows are added up until they hold enough
//! information and two hours have passed, and the median of the last such sums is the figure: so it
//! is one of about a day, whose warm and cold hours both count.
//!
//! **At which temperature.** Where the current changes in cold hours only, the sums are of those.
//! So the figure comes with the temperature at which it holds: the median of those of the sums.
//! Where they differ enough, a line of the logarithms of the sums over their temperatures
//! (Arrhenius' law in a small range) brings each sum to the mean temperature of the last days
//! first, or as near to that as a sum was.

use bluenova_record::CELLS;
use serde::{Deserialize, Serialize};

use crate::{
    Estimate, number, packed,
    per_cell::{CellVolts, PerCell},
    recent::Recent,
    robust::{median, median_and_deviation},
    unix_micros::UnixMicros,
};

/// Samples of a window. Longer ones would contain relaxation that isn't a line any more.
const WINDOW: usize = 12;
/// Samples by which a window is later than the one before: a step counts most in the middle.
const HOP: usize = 4;
/// Longest time between two samples of a window, in seconds.
const GAP_S: f64 = 3.2;

/// Least range of the current in a window, in amperes.
const RANGE_A: f64 = 2.0;
/// Least deviation of the current from what is slow, in amperes.
const DEVIATION_A: f64 = 0.3;
/// Least samples of a window that are left when those at steps are out.
const LEAST_SAMPLES: usize = 7;
/// Least correlation of the current with that of the neighbours.
const CORRELATION: f64 = 0.7;
/// Roughness of the current that a window's weight is halved for.
const ROUGHNESS: f64 = 0.1;
/// Largest deviation from the fit of the mean cell and of one cell, in millivolts.
const MISFIT_MV: [f32; 2] = [2.0, 6.0];
/// Largest deviation from the fit as a part of what the current explains.
const MISFIT_PART: [f32; 2] = [0.1, 0.2];

/// Information (square amperes) of which a sum is made, at most: at 0.6 mV of noise and
/// quantisation it is good for 0.02 mΩ.
const INFORMATION: f64 = 900.0;
/// The same divided by the square of the resistance in mΩ: good for 3 %.
const RELATIVE_INFORMATION: f64 = 400.0;
/// Least windows in a sum, and so the largest part of one of them.
const LEAST_WINDOWS: f64 = 4.0;

/// Minutes that a sum lasts at least, once there are enough for a first figure.
const SUM_MINUTES: i64 = 120;
/// Sums that are remembered.
const REMEMBERED: usize = 11;
/// Least sums of which a median is made.
const LEAST_SUMS: usize = 3;
/// The same of a day, whose current may change for some hours only.
const LEAST_SUMS_OF_DAY: usize = 2;
/// Samples of which the mean temperature is made, about: those of two days.
const SAMPLES_OF_MEAN: u32 = 2 * 86_400;
/// Deviation of the sums' temperatures in kelvin from which their effect can be told from noise.
const LEAST_KELVIN: f64 = 1.5;
/// Change of a resistance per kelvin that is something else.
const MOST_PER_KELVIN: f64 = 0.05;
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
    #[serde(deserialize_with = "number::cell_count")]
    cells: u8,
    /// Moments of each cell's voltage (mV) and the instrument, and of current (A) and instrument.
    #[serde(with = "packed")]
    voltage: PerCell,
    #[serde(with = "packed")]
    current: PerCell,
    information: f32,
    windows: f32,
    /// Moments of the windows' temperatures (°C), and of current and instrument where there was
    /// one. A restart costs those of the sum under way.
    #[serde(skip)]
    celsius: (f32, f32),
    /// Minute since 1970 in which the sum before ended.
    ended: u32,
    /// Resistances in µΩ; 0 where there is none.
    #[serde(with = "packed")]
    remembered: Recent<[u16; CELLS], REMEMBERED>,
    /// Temperature of each of them, in tenths of a degree.
    #[serde(with = "packed")]
    temperatures: Recent<i16, REMEMBERED>,
    /// Mean temperature of some days in °C, and the samples in it.
    mean_celsius: f32,
    mean_of: u32,
    /// Part by which they change per kelvin; 0 as long as it isn't known.
    per_kelvin: f32,
    /// How many of them ended in the day under way.
    of_today: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    last: Option<UnixMicros>,
    length: u8,
    samples: [Sample; WINDOW],
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// Seconds since the sample before.
    seconds: f32,
    amps: f32,
    /// In tenths of a millivolt.
    cells: [u16; CELLS],
}

impl Resistance {
    /// Takes a sample of the console. Rows are too far apart for this.
    pub(crate) fn sample(
        &mut self,
        time: UnixMicros,
        amps: f32,
        celsius: Option<i16>,
        cells: &CellVolts,
    ) {
        if usize::from(self.cells) != cells.count {
            *self = Self { cells: cells.count as u8, ..Self::default() };
        }
        if let Some(celsius) = celsius {
            self.mean_of = self.mean_of.saturating_add(1).min(SAMPLES_OF_MEAN);
            self.mean_celsius += (f32::from(celsius) - self.mean_celsius) / self.mean_of as f32;
        }
        let window = &mut self.window;
        let seconds = window.last.replace(time).map(|last| time.seconds_since(last));
        let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= GAP_S);
        if seconds.is_none() {
            window.length = 0;
        }
        window.samples[usize::from(window.length)] = Sample {
            seconds: seconds.unwrap_or_default() as f32,
            amps,
            // Not `round`, which is a call of a function for each cell.
            cells: cells.volts.map(|volts| (volts * 1e4 + 0.5) as i32 as u16),
        };
        window.length += 1;
        if usize::from(window.length) == WINDOW {
            window.length = (WINDOW - HOP) as u8;
            self.add_window(time, celsius);
            self.window.samples.copy_within(HOP.., 0);
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
        self.median_of(index, self.remembered.len(), LEAST_SUMS)
    }

    /// Temperature in °C at which these resistances hold.
    pub(crate) fn celsius(&self) -> Option<f64> {
        let mut sorted = self.temperatures;
        sorted.sort_unstable();
        let (lowest, highest) = (sorted.first()?, sorted.last()?);
        let [lowest, middle, highest] =
            [*lowest, sorted[sorted.len() / 2], *highest].map(|tenths| f64::from(tenths) / 10.0);
        let celsius = match self.per_kelvin == 0.0 {
            true => middle,
            false => f64::from(self.mean_celsius).clamp(lowest, highest),
        };
        (sorted.len() >= LEAST_SUMS).then_some(celsius)
    }

    /// Resistances in milliohms as they were measured today; empty if they were not.
    pub(crate) fn of_today(&self) -> Vec<Option<f32>> {
        let count = usize::from(self.of_today);
        if count < LEAST_SUMS_OF_DAY {
            return Vec::new();
        }
        let round = |estimate: Estimate| ((estimate.value * 1e3).round() / 1e3) as f32;
        (0..self.cell_count())
            .map(|i| self.median_of(i, count, LEAST_SUMS_OF_DAY).map(round))
            .collect()
    }

    fn median_of(&self, index: usize, count: usize, least: usize) -> Option<Estimate> {
        let mut values = [0.0_f64; REMEMBERED];
        let times = self.times_of_common_temperature();
        let latest = self.remembered.iter().zip(times).rev().take(count);
        let known = latest.filter_map(|(sum, times)| {
            let micro_ohms = *sum.get(index)?;
            (micro_ohms > 0).then(|| f64::from(micro_ohms) / 1e3 / times)
        });
        let mut length = 0;
        for (place, value) in values.iter_mut().zip(known) {
            *place = value;
            length += 1;
        }
        let values = &mut values[..length];
        if length < least {
            return None;
        }
        let (value, deviation) = median_and_deviation(values);
        let length = length as f64;
        // The deviation of a median of normal values; few values have a small one by chance.
        let deviation = 1.253 * deviation / length.sqrt() * (1.0 + 2.0 / length);
        let plus_minus = (2.0 * deviation).hypot(SYSTEMATIC * value);
        (plus_minus <= LARGEST_UNCERTAINTY * value).then_some(Estimate { value, plus_minus })
    }

    /// For each sum, how many times larger a resistance is at its temperature than at the common
    /// one.
    fn times_of_common_temperature(&self) -> [f64; REMEMBERED] {
        let mut times = [1.0; REMEMBERED];
        if let Some(common) = self.celsius().filter(|_| self.per_kelvin != 0.0) {
            for (times, tenths) in times.iter_mut().zip(self.temperatures.iter()) {
                let kelvin = f64::from(*tenths) / 10.0 - common;
                *times = (f64::from(self.per_kelvin) * kelvin).exp();
            }
        }
        times
    }

    /// Part by which the sums change per kelvin: least squares of the logarithm of their mean cell.
    fn fit_per_kelvin(&self) -> Option<f64> {
        let count = self.remembered.len();
        if self.temperatures.len() != count {
            return None;
        }
        let points = || {
            self.remembered.iter().zip(self.temperatures.iter()).map(|(sum, tenths)| {
                let micro_ohms: f64 = sum.iter().copied().map(f64::from).sum();
                (f64::from(*tenths) / 10.0, micro_ohms.max(1.0).ln())
            })
        };
        let mean = |of: fn((f64, f64)) -> f64| points().map(of).sum::<f64>() / count as f64;
        let (kelvin, log) = (mean(|point| point.0), mean(|point| point.1));
        let squares: f64 = points().map(|point| (point.0 - kelvin).powi(2)).sum();
        let products: f64 = points().map(|point| (point.0 - kelvin) * (point.1 - log)).sum();
        let is_wide = count >= LEAST_SUMS && squares >= count as f64 * LEAST_KELVIN.powi(2);
        is_wide.then(|| (products / squares).clamp(-MOST_PER_KELVIN, 0.0))
    }

    fn add_window(&mut self, now: UnixMicros, celsius: Option<i16>) {
        let samples = &self.window.samples;
        let Some(fit) = Fit::new(samples) else { return };
        let moments = fit.moments(samples);
        let (_, is_good) = fit.slopes(&moments.of_mean(self.cell_count()), 0);
        if !is_good[0] {
            return;
        }
        // Voltage and current of a restless moment are not of the same moment.
        let share = (INFORMATION / LEAST_WINDOWS / fit.information).min(1.0)
            / (1.0 + (fit.roughness / ROUGHNESS).powi(2));
        let current = (fit.current * share) as f32;
        let (slopes, are_good) = fit.slopes(&moments, 1);
        for i in 0..self.cell_count() {
            if are_good[i] {
                self.voltage[i] += slopes[i] * current;
                self.current[i] += current;
            }
        }
        self.information += (fit.information * share) as f32;
        self.windows += 1.0;
        if let Some(celsius) = celsius {
            self.celsius.0 += f32::from(celsius) * current;
            self.celsius.1 += current;
        }
        self.end_sum(now);
    }

    /// Ends the sum under way if it is good enough.
    fn end_sum(&mut self, now: UnixMicros) {
        let sum = |of: &PerCell| of.iter().map(|value| f64::from(*value)).sum::<f64>();
        let milliohms = (sum(&self.voltage) / sum(&self.current)).max(0.01);
        let enough = INFORMATION.min(RELATIVE_INFORMATION / milliohms.powi(2));
        if f64::from(self.windows) < LEAST_WINDOWS || f64::from(self.information) < enough {
            return;
        }
        // Where the clock was set back, the time that has passed isn't known.
        let passed = now.minute() - i64::from(self.ended);
        if (0..SUM_MINUTES).contains(&passed) && self.remembered.len() >= LEAST_SUMS {
            return;
        }
        self.ended = now.minute() as u32;
        // A cell that was left out of most windows has none.
        let least = self.current.iter().copied().fold(0.0, f32::max) / 2.0;
        self.remembered.push(std::array::from_fn(|i| match self.current[i] > least {
            true => (self.voltage[i] / self.current[i] * 1e3).round().clamp(0.0, 65535.0) as u16,
            false => 0,
        }));
        match self.celsius {
            (sum, current) if current > 0.0 => {
                self.temperatures.push((sum / current * 10.0).round() as i16);
            }
            // Those before are no temperatures of these sums.
            _ => self.temperatures.clear(),
        }
        self.per_kelvin = self.fit_per_kelvin().unwrap_or_default() as f32;
        self.of_today = self.of_today.saturating_add(1);
        self.celsius = (0.0, 0.0);
        (self.voltage, self.current) = Default::default();
        (self.information, self.windows) = (0.0, 0.0);
    }
}

/// What a window's current says, whatever the voltage.
struct Fit {
    /// Which samples count.
    used: [bool; WINDOW],
    /// What is slow, orthogonal and of length 1 (or 0): a constant, time, charge.
    slow: [[f64; WINDOW]; 3],
    /// Current without what is slow, and the sum of its squares.
    amps: [f64; WINDOW],
    amps_squared: f64,
    /// The neighbours' current without what is slow.
    instrument: [f64; WINDOW],
    /// Moment of the two.
    current: f64,
    /// What the window is worth, in square amperes.
    information: f64,
    /// How much of the current changes from sample to sample: 0 for a step and what is constant
    /// before and after it, 1 for noise.
    roughness: f64,
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
            amps_squared: deviation.powi(2),
            instrument,
            current,
            information: (current / length).powi(2),
            roughness: roughness(samples, &used) / (deviation.powi(2) / freedom),
            freedom,
        })
    }

    /// Of all cells at once, so that it takes a few vector instructions.
    fn moments(&self, samples: &[Sample; WINDOW]) -> Moments {
        let mut moments = Moments::default();
        let first = samples[0].cells;
        for k in (0..WINDOW).filter(|&k| self.used[k]) {
            // Seen from the first sample, so that the sums stay small.
            let mv: PerCell = std::array::from_fn(|i| {
                (f32::from(samples[k].cells[i]) - f32::from(first[i])) * 0.1
            });
            let instrument = self.instrument[k] as f32;
            let amps = self.amps[k] as f32;
            let slow = self.slow.map(|slow| slow[k] as f32);
            let mut sum = 0.0;
            for i in 0..CELLS {
                moments.instrument[i] += mv[i] * instrument;
                moments.amps[i] += mv[i] * amps;
                for (moment, slow) in moments.slow.iter_mut().zip(slow) {
                    moment[i] += mv[i] * slow;
                }
                moments.squares[i] += mv[i] * mv[i];
                sum += mv[i];
            }
            moments.squares_of_sum += sum * sum;
        }
        moments
    }

    /// Millivolts per ampere, and whether the fit is good by that limit: `V = R·I + rest`, where
    /// `V` and `I` are without what is slow, and the rest is small.
    fn slopes(&self, moments: &Moments, limit: usize) -> (PerCell, [bool; CELLS]) {
        let (current, freedom) = (self.current as f32, self.freedom as f32);
        let amps_squared = self.amps_squared as f32;
        let slopes = moments.instrument.map(|moment| moment / current);
        let are_good = std::array::from_fn(|i| {
            let slow: f32 = moments.slow.iter().map(|moment| moment[i] * moment[i]).sum();
            let explained = slopes[i] * slopes[i] * amps_squared;
            let rest = moments.squares[i] - slow - 2.0 * slopes[i] * moments.amps[i] + explained;
            let most = MISFIT_MV[limit].powi(2) * freedom;
            rest <= most.max(MISFIT_PART[limit].powi(2) * explained)
        });
        (slopes, are_good)
    }
}

/// Moments of the cells' voltages with what the current says, and their squares.
#[derive(Default)]
struct Moments {
    instrument: PerCell,
    amps: PerCell,
    slow: [PerCell; 3],
    squares: PerCell,
    squares_of_sum: f32,
}

impl Moments {
    /// Those of the mean voltage, as if that were the first cell.
    fn of_mean(&self, count: usize) -> Self {
        let count = count.max(1) as f32;
        let mean = |of: &PerCell| {
            let mut first = PerCell::default();
            first[0] = of.iter().sum::<f32>() / count;
            first
        };
        let mut squares = PerCell::default();
        squares[0] = self.squares_of_sum / (count * count);
        Self {
            instrument: mean(&self.instrument),
            amps: mean(&self.amps),
            slow: [mean(&self.slow[0]), mean(&self.slow[1]), mean(&self.slow[2])],
            squares,
            squares_of_sum: self.squares_of_sum,
        }
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

/// Half the mean square of the current's changes between neighbouring samples that count.
fn roughness(samples: &[Sample; WINDOW], used: &[bool; WINDOW]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for k in (1..WINDOW).filter(|&k| used[k - 1] && used[k]) {
        sum += f64::from(samples[k].amps - samples[k - 1].amps).powi(2);
        count += 2.0;
    }
    sum / f64::max(count, 1.0)
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

#[cfg(test)]
mod tests {
    use time::{Duration, UtcDateTime};

    use super::*;

    /// What is known after a day whose hours have these temperatures, and in which the current
    /// changes in some of them. A resistance is 1 mΩ at 25 °C, and falls by 1.5 % per kelvin.
    fn after_a_day(celsius: fn(f64) -> f64, is_restless: fn(f64) -> bool) -> Resistance {
        let mut resistance = Resistance::default();
        for second in 0..86_400 {
            let hour = f64::from(second) / 3600.0;
            let time = UnixMicros::of(UtcDateTime::UNIX_EPOCH + Duration::seconds(second.into()));
            let amps = if second / 20 % 2 == 0 && is_restless(hour) { -10.0 } else { -50.0 };
            let volts = 3.3 + amps * (ohms_at(celsius(hour)) as f32);
            let cells = CellVolts { count: 4, volts: [volts; CELLS], lowest: volts };
            resistance.sample(time, amps, Some(celsius(hour).round() as i16), &cells);
            if second == 3600 && is_restless(0.0) {
                assert!(resistance.of_cell(0).is_some(), "it is known soon");
            }
        }
        resistance
    }

    fn ohms_at(celsius: f64) -> f64 {
        0.001 * (-0.015 * (celsius - 25.0)).exp()
    }

    #[test]
    fn a_resistance_is_that_at_the_temperature_that_is_given_with_it() {
        let check = |celsius: fn(f64) -> f64, is_restless: fn(f64) -> bool, expected: f64| {
            let resistance = after_a_day(celsius, is_restless);
            let holds_at = resistance.celsius().unwrap();
            assert!((holds_at - expected).abs() < 1.0, "{holds_at} and not {expected}");
            let truth = ohms_at(holds_at) * 1000.0;
            let known = resistance.of_cell(0).unwrap();
            assert!((known.value / truth - 1.0).abs() < 0.02, "{known:?} at {holds_at}");
            let of_today = f64::from(resistance.of_today()[3].unwrap());
            assert!((of_today / truth - 1.0).abs() < 0.02, "{of_today} at {holds_at}");
        };
        // A cold evening isn't the whole day.
        check(|hour| if hour < 21.0 { 30.0 } else { 5.0 }, |_| true, 26.9);
        // From 7 °C at 2 o'clock to 37 °C: the mean, or as near to it as a sum of two hours was.
        let swing = |hour: f64| 22.0 - 15.0 * (std::f64::consts::TAU * (hour - 2.0) / 24.0).cos();
        check(swing, |_| true, 22.0);
        check(swing, |hour| !(8.0..20.0).contains(&hour), 18.2);
        // Too little of a swing to tell its effect: where most of the sums were.
        check(swing, |hour| hour < 7.0, 9.0);
        check(|_| 22.0, |_| true, 22.0);
    }
}
