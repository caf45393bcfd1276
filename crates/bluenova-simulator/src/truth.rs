use fastrand::Rng;
use time::{Date, Duration, UtcDateTime};

use crate::household::normal;

/// Ohms of a new cell of 280 Ah with its share of the bus bars.
const OHMS: f64 = 0.000_8;
const OHMS_OF_AH: f64 = 280.0;

/// What a [`KnownBattery`](crate::KnownBattery) consists of: the truth that an estimate of it can
/// be compared with.
///
/// [`healthy`](Self::healthy) and [`weak`](Self::weak) make one of a seed; every value may be
/// changed before the battery is made.
#[derive(Clone, Debug, PartialEq)]
pub struct PackTruth {
    /// Seed of the weather, the house and all noise.
    pub seed: u64,
    /// Serial number of the controller.
    pub mcu_id: u32,
    /// When it starts. The sun stands highest at 12:00 UTC.
    pub start: UtcDateTime,
    /// The cells in series, 1 to 16; more are left out.
    pub cells: Vec<CellTruth>,
    /// The cell that isn't as the others, and why.
    pub defect: Option<Defect>,
    /// Ampere-hours that stand on the label; currents of the house are in proportion to it.
    pub label_ah: f64,
    /// State of charge at the start, 0 to 1, of the fullest cell.
    pub fill: f64,
    /// Amperes by which a cell that is ahead of the lowest one is discharged near the top.
    pub balancing_amps: f64,
    /// How the firmware counts its state of charge.
    pub soc_habit: SocHabit,
    /// The firmware's state of charge in percent at which the inverter stops to draw.
    pub reserve_percent: f64,
    /// Errors of the sensors.
    pub sensors: Sensors,
    /// Mean temperature of the surroundings over the year, in °C.
    pub mean_celsius: f64,
    /// How far summer and winter are from that, in kelvin.
    pub season_kelvin: f64,
    /// Longest deviation of the time between two samples from a second, in seconds.
    pub jitter_seconds: f64,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellTruth {
    /// Charge between 3.44 V and 2.80 V at rest, in ampere-hours.
    pub capacity_ah: f64,
    /// Ohmic resistance at 25 °C, bus bars included: what a change of the current shows at once.
    /// It falls by 1 % per kelvin, and the other two with it.
    pub ohms: f64,
    /// What shows within seconds: charge transfer.
    pub fast: RcPair,
    /// What shows within the hour: diffusion.
    pub slow: RcPair,
    /// Ampere-hours a week that the cell loses by itself.
    pub leakage_ah_per_week: f64,
    /// Ampere-hours that it is behind the fullest cell at the start.
    pub behind_ah: f64,
}

/// A resistor with a capacitor beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RcPair {
    /// Ohms at 25 °C.
    pub ohms: f64,
    /// Time constant.
    pub seconds: f64,
}

/// The cell that isn't as the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Its number, from 1.
    pub cell: u8,
    /// What is wrong with it.
    pub weakness: Weakness,
}

/// What can be wrong with a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weakness {
    /// Its capacity is 8 to 15 % lower.
    Capacity,
    /// Its resistance is 1.6 to 2.5 times as high.
    Resistance,
    /// It loses 0.5 to 2 Ah a week more.
    SelfDischarge,
}

impl Weakness {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Capacity, Self::Resistance, Self::SelfDischarge];
}

/// How a firmware counts its state of charge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SocHabit {
    /// It is right: usable charge by usable capacity.
    Right,
    /// It counts what its current sensor measures with this capacity in ampere-hours, and goes to
    /// 100 % when the battery is full.
    Counts(f64),
    /// As `Counts`, but it stays at 90 % at most until the battery is full.
    Sticks(f64),
}

/// Errors of the sensors. All but the noise last as long as the battery.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensors {
    /// What is measured of an ampere.
    pub current_gain: f64,
    /// Amperes that are measured where none flow.
    pub current_offset_amps: f64,
    /// Standard deviation of the current without load, in amperes.
    pub current_noise_amps: f64,
    /// Part of the current by which its standard deviation grows under load: the inverter's ripple.
    pub current_ripple: f64,
    /// Volts by which each cell is measured too high.
    pub cell_offset_volts: Vec<f64>,
    /// Standard deviation of a cell's voltage, in volts.
    pub cell_noise_volts: f64,
    /// Seconds by which the first cell is read before the current; the last one is read with it.
    pub bus_seconds: f64,
}

impl PackTruth {
    /// A pack without a weak cell: capacities differ by 1 % at most, resistances by 15 %.
    pub fn healthy(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mcu_id = rng.u32(0x1000_0000..);
        let label_ah = [280.0, 280.0, 304.0, 200.0, 100.0][rng.usize(0..5)];
        let cell_count = [16, 16, 8, 15, 16, 4, 16, 12][(seed % 8) as usize];
        // What years have left of the label.
        let capacity_ah = label_ah * between(&mut rng, 0.88, 1.02);
        let ohms = OHMS * OHMS_OF_AH / label_ah * between(&mut rng, 0.8, 1.4);
        let soc_habit = match seed % 3 {
            0 => SocHabit::Right,
            1 => SocHabit::Counts(label_ah),
            _ => SocHabit::Sticks(label_ah),
        };
        Self {
            seed,
            mcu_id,
            start: midnight(2026, 1).saturating_add(Duration::days(rng.i64(0..365))),
            cells: (0..cell_count).map(|_| CellTruth::new(capacity_ah, ohms, &mut rng)).collect(),
            defect: None,
            label_ah,
            fill: between(&mut rng, 0.3, 0.9),
            balancing_amps: [0.0, 0.04, 0.1][rng.usize(0..3)],
            soc_habit,
            reserve_percent: between(&mut rng, 0.0, 15.0).round(),
            sensors: Sensors::new(cell_count, &mut rng),
            mean_celsius: between(&mut rng, 16.0, 26.0),
            season_kelvin: between(&mut rng, 2.0, 7.0),
            jitter_seconds: 0.05,
        }
    }

    /// A pack of which one cell is weak.
    pub fn weak(seed: u64, weakness: Weakness) -> Self {
        let mut pack = Self::healthy(seed);
        let mut rng = Rng::with_seed(!seed);
        let index = rng.usize(0..pack.cells.len());
        let cell = &mut pack.cells[index];
        match weakness {
            Weakness::Capacity => cell.capacity_ah *= 1.0 - between(&mut rng, 0.08, 0.15),
            Weakness::Resistance => {
                let times = between(&mut rng, 1.6, 2.5);
                cell.ohms *= times;
                // An old cell, or a loose bus bar.
                if rng.bool() {
                    cell.fast.ohms *= times;
                    cell.slow.ohms *= times;
                }
            }
            Weakness::SelfDischarge => {
                cell.leakage_ah_per_week += between(&mut rng, 0.5, 2.0);
                pack.balancing_amps = [0.0, 0.03][rng.usize(0..2)];
            }
        }
        pack.defect = Some(Defect { cell: index as u8 + 1, weakness });
        pack
    }
}

impl CellTruth {
    fn new(capacity_ah: f64, ohms: f64, rng: &mut Rng) -> Self {
        let ohms = ohms * between(rng, 0.85, 1.15);
        Self {
            capacity_ah: capacity_ah * between(rng, 0.99, 1.01),
            ohms,
            fast: RcPair { ohms: 0.3 * ohms, seconds: between(rng, 10.0, 20.0) },
            slow: RcPair { ohms: 0.5 * ohms, seconds: between(rng, 900.0, 1500.0) },
            leakage_ah_per_week: 0.3 * capacity_ah / OHMS_OF_AH * between(rng, 0.9, 1.1),
            behind_ah: capacity_ah * between(rng, 0.0, 0.001),
        }
    }
}

impl Sensors {
    fn new(cell_count: usize, rng: &mut Rng) -> Self {
        Self {
            current_gain: between(rng, 0.998, 1.002),
            current_offset_amps: between(rng, -0.02, 0.02),
            current_noise_amps: 0.03,
            current_ripple: 0.002,
            cell_offset_volts: (0..cell_count).map(|_| 0.000_7 * normal(rng)).collect(),
            cell_noise_volts: 0.000_5,
            bus_seconds: 0.4,
        }
    }

    /// Sensors without any error, which still print whole millivolts and hundredths of an ampere.
    pub fn exact(cell_count: usize) -> Self {
        Self {
            current_gain: 1.0,
            current_offset_amps: 0.0,
            current_noise_amps: 0.0,
            current_ripple: 0.0,
            cell_offset_volts: vec![0.0; cell_count],
            cell_noise_volts: 0.0,
            bus_seconds: 0.0,
        }
    }
}

fn midnight(year: i32, day: u16) -> UtcDateTime {
    Date::from_ordinal_date(year, day)
        .map_or(UtcDateTime::UNIX_EPOCH, |date| date.midnight().as_utc())
}

fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.f64()
}
