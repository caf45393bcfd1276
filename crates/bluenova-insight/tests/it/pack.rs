//! A pack of cells that are known, in a house with sun: another model than the simulator's.

use std::f64::consts::PI;

use bluenova_record::{CELLS, PackRecord};
use fastrand::Rng;
use time::{Duration, UtcDateTime};

/// Voltage at rest over the filling, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OpenCircuit {
    /// As the simulator has it.
    TwoSteps,
    /// A table, as data sheets of large cells have it.
    Table,
    /// No steps: a straight plateau between two knees.
    Straight,
}

const TABLE: [(f64, f64); 26] = [
    (-0.05, 2.0),
    (0.0, 2.60),
    (0.01, 2.85),
    (0.025, 2.98),
    (0.05, 3.10),
    (0.075, 3.17),
    (0.10, 3.20),
    (0.15, 3.217),
    (0.20, 3.245),
    (0.25, 3.262),
    (0.30, 3.278),
    (0.35, 3.287),
    (0.40, 3.290),
    (0.50, 3.293),
    (0.55, 3.296),
    (0.60, 3.303),
    (0.65, 3.322),
    (0.70, 3.328),
    (0.80, 3.330),
    (0.90, 3.332),
    (0.95, 3.335),
    (0.97, 3.345),
    (0.985, 3.36),
    (0.995, 3.40),
    (1.0, 3.45),
    (1.02, 3.75),
];

impl OpenCircuit {
    fn volts(self, fill: f64) -> f64 {
        match self {
            Self::TwoSteps => {
                3.27 + 0.045 * fill
                    + 0.010 * ((fill - 0.30) / 0.08).tanh()
                    + 0.010 * ((fill - 0.66) / 0.04).tanh()
                    - 0.45 * (-fill / 0.035).exp()
                    + 0.10 * ((fill - 1.0) / 0.02).exp()
            }
            Self::Table => {
                let after = TABLE.iter().position(|point| point.0 > fill).unwrap_or(25).max(1);
                let ((x, y), (x1, y1)) = (TABLE[after - 1], TABLE[after]);
                y + (fill - x) / (x1 - x) * (y1 - y)
            }
            Self::Straight => {
                3.24 + 0.09 * fill - 0.5 * (-fill / 0.04).exp()
                    + 0.09 * ((fill - 1.0) / 0.012).exp()
            }
        }
    }
}

/// What is wrong with one cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flaw {
    /// Part of the capacity that it lacks.
    Capacity(f64),
    /// Times its resistance.
    Resistance(f64),
    /// Ampere-hours a week that it loses.
    Leak(f64),
    /// Part of a full cell that it holds less at the beginning.
    Lack(f64),
}

/// How a pack is, but for its flaw.
#[derive(Clone, Debug)]
pub(crate) struct Kit {
    pub(crate) cells: usize,
    pub(crate) curve: OpenCircuit,
    pub(crate) nominal_ah: f64,
    /// Greatest deviations of good cells, as parts.
    pub(crate) capacity_spread: f64,
    pub(crate) resistance_spread: f64,
    pub(crate) imbalance: f64,
    /// Volts: fixed per cell, and anew for each sample.
    pub(crate) offset: f64,
    pub(crate) noise: f64,
    /// Ohms at once, and behind a time constant of 90 s.
    pub(crate) ohms: f64,
    pub(crate) slow_ohms: f64,
    /// Filling at which the house takes its power elsewhere.
    pub(crate) reserve: f64,
    /// Amperes that the BMS bleeds from the high cells at the top.
    pub(crate) bleed: f64,
    /// The house's load, in times of the usual.
    pub(crate) load: f64,
}

impl Kit {
    /// Some kit or other: what a judge may take.
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let curves = [OpenCircuit::TwoSteps, OpenCircuit::Table, OpenCircuit::Straight];
        Self {
            cells: [16, 16, 16, 8, 4][rng.usize(..5)],
            curve: curves[rng.usize(..3)],
            nominal_ah: [280.0, 280.0, 200.0, 100.0][rng.usize(..4)],
            capacity_spread: 0.005 + 0.012 * rng.f64(),
            resistance_spread: 0.15,
            imbalance: 0.01 * rng.f64(),
            offset: 0.001 * rng.f64(),
            noise: 0.0003 + 0.001 * rng.f64(),
            ohms: 0.0008 + 0.0006 * rng.f64(),
            slow_ohms: 0.0007 * rng.f64(),
            reserve: 0.08 + 0.22 * rng.f64(),
            bleed: 0.0,
            load: 0.9 + 0.6 * rng.f64(),
        }
    }
}

#[derive(Clone, Debug)]
struct Cell {
    capacity: f64,
    charge: f64,
    ohms: f64,
    slow_ohms: f64,
    slow_volts: f64,
    offset: f64,
    leak_amps: f64,
}

/// The pack under way.
#[derive(Clone, Debug)]
pub(crate) struct Pack {
    kit: Kit,
    cells: Vec<Cell>,
    rng: Rng,
    seconds: f64,
    amps: f64,
    cloud: f64,
    kettle: f64,
    is_full: bool,
    /// Charge as the firmware counts it, which is full when the pack is.
    counted: f64,
}

/// Where the days begin.
const BEGIN: i64 = 1_767_225_600;

impl Pack {
    pub(crate) fn new(kit: Kit, flaw: Option<(usize, Flaw)>, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut spread = |part: f64| part * (2.0 * rng.f64() - 1.0);
        let start = 0.5;
        let cells = (0..kit.cells).map(|number| {
            let mut cell = Cell {
                capacity: kit.nominal_ah * (1.0 + spread(kit.capacity_spread)),
                charge: 0.0,
                ohms: kit.ohms * (1.0 + spread(kit.resistance_spread)),
                slow_ohms: kit.slow_ohms * (1.0 + spread(kit.resistance_spread)),
                slow_volts: 0.0,
                offset: spread(kit.offset),
                leak_amps: 0.0,
            };
            let mut fill = start + spread(kit.imbalance);
            match flaw.filter(|(flawed, _)| *flawed == number) {
                Some((_, Flaw::Capacity(part))) => cell.capacity *= 1.0 - part,
                Some((_, Flaw::Resistance(times))) => cell.ohms *= times,
                Some((_, Flaw::Leak(ah))) => cell.leak_amps = ah / 168.0,
                Some((_, Flaw::Lack(part))) => fill -= part,
                None => {}
            }
            cell.charge = cell.capacity * fill;
            cell
        });
        Self {
            cells: cells.collect(),
            counted: start * kit.nominal_ah,
            kit,
            rng,
            seconds: 0.0,
            amps: 0.0,
            cloud: 0.0,
            kettle: 0.0,
            is_full: false,
        }
    }

    /// Lets `seconds` pass, and takes a sample.
    pub(crate) fn sample(&mut self, seconds: f64) -> PackRecord {
        self.seconds += seconds;
        self.settle(seconds);
        let (hours, forget) = (seconds / 3600.0, (-seconds / 90.0).exp());
        let bottom = self.lowest_volts();
        for cell in &mut self.cells {
            let rest = self.kit.curve.volts(cell.charge / cell.capacity);
            let bleeds = rest > 3.39 && rest > bottom + 0.01;
            let bleed = if bleeds { self.kit.bleed } else { 0.0 };
            cell.charge += (self.amps - cell.leak_amps - bleed) * hours;
            let settled = self.amps * cell.slow_ohms;
            cell.slow_volts = settled + (cell.slow_volts - settled) * forget;
        }
        self.counted += self.amps * hours;
        self.record()
    }

    fn lowest_volts(&self) -> f64 {
        let rest = |cell: &Cell| self.kit.curve.volts(cell.charge / cell.capacity);
        self.cells.iter().map(rest).fold(9.0, f64::min)
    }

    fn settle(&mut self, seconds: f64) {
        let hour = (self.seconds / 3600.0) % 24.0;
        self.cloud += self.rng.f64() * 2.0 * (seconds / 300.0).sqrt() - (seconds / 300.0).sqrt();
        self.cloud *= 1.0 - (seconds / 1200.0).min(0.5);
        let usual = self.kit.nominal_ah / 280.0;
        if self.rng.f64() < seconds / 1500.0 {
            self.kettle = if self.kettle > 0.0 { 0.0 } else { 40.0 * self.rng.f64() };
        }
        let sun = 100.0 * ((hour - 6.0) * PI / 12.0).sin().max(0.0) * (0.75 - 0.25 * self.cloud);
        let evening = 20.0 * (-((hour - 19.0) / 2.0).powi(2)).exp();
        let house = (9.0 + evening + self.kettle) * self.kit.load;
        let mut demand = (sun - house) * usual;
        let volts = |cell: &Cell, amps: f64| {
            self.kit.curve.volts(cell.charge / cell.capacity) + cell.slow_volts + amps * cell.ohms
        };
        let sum: f64 = self.cells.iter().map(|cell| volts(cell, 0.0)).sum();
        let ohms: f64 = self.cells.iter().map(|cell| cell.ohms).sum();
        let highest = self.cells.iter().map(|cell| volts(cell, 0.0)).fold(0.0, f64::max);
        if demand > 0.0 {
            let limit = ((3.45 * self.cells.len() as f64 - sum) / ohms).max(0.0);
            demand = demand.min(limit);
            if limit < 0.02 * self.kit.nominal_ah || highest > 3.62 {
                self.is_full = true;
                self.counted = self.kit.nominal_ah;
            }
            if self.is_full {
                demand = 0.0;
            }
        } else if self.lowest_volts() < 2.7 || self.counted < self.kit.reserve * self.kit.nominal_ah
        {
            demand = 0.0;
        }
        if self.counted < 0.96 * self.kit.nominal_ah {
            self.is_full = false;
        }
        self.amps = demand;
    }

    fn record(&mut self) -> PackRecord {
        let time = UtcDateTime::UNIX_EPOCH
            + Duration::seconds(BEGIN)
            + Duration::seconds_f64(self.seconds);
        let mut record = PackRecord::new(time, 7);
        let noise = self.kit.noise;
        let mut sum = 0.0;
        for (shown, cell) in record.cell_v[..CELLS].iter_mut().zip(&self.cells) {
            let rest = self.kit.curve.volts(cell.charge / cell.capacity);
            let volts = rest + cell.slow_volts + self.amps * cell.ohms + cell.offset;
            let volts = volts + noise * 3f64.sqrt() * (2.0 * self.rng.f64() - 1.0);
            *shown = Some(((volts * 1000.0).round() / 1000.0) as f32);
            sum += volts;
        }
        record.v_pack = Some(sum as f32);
        record.i_pack = Some(((self.amps * 100.0).round() / 100.0) as f32);
        record.cell_count = Some(self.cells.len() as i16);
        record.temp = Some((21.0 + 4.0 * (self.seconds / 14_000.0).sin()).round() as i16);
        record.soc = Some((self.counted / self.kit.nominal_ah * 100.0).round().max(0.0) as i16);
        record
    }
}
