//! A battery of known truth, unlike the simulator's: cells with two relaxations, a flat curve of
//! another shape, a sensor with errors, a firmware with habits, and loads of several sorts.

use bluenova_record::PackRecord;
use fastrand::Rng;
use time::{Duration, UtcDateTime, macros::utc_datetime};

/// What the firmware makes of the state of charge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Firmware {
    /// It is right at all times.
    Right,
    /// It counts with a capacity that is wrong by this factor, and is right again at full.
    WrongCapacity(f64),
    /// It stands still at this state while charging, and jumps to 100 % at full.
    StandsStill(f64),
    /// It counts what the sensor measures, and is right again at full.
    CountsSensor,
    /// It counts this part of what is charged, and jumps to 100 % at full.
    CountsLessUp(f64),
}

/// What charges and discharges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// Sun by day, and a household with appliances.
    Household,
    /// The same current for hours.
    Constant,
    /// Another current every minute or so.
    Steps,
    /// A few percent down and up again.
    Shallow,
}

/// The truth.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) capacity_ah: f64,
    /// Ohmic, per cell.
    pub(crate) milliohms: Vec<f64>,
    /// Relaxation: part of the ohmic resistance, time constant in seconds.
    pub(crate) relaxation: [(f64, f64); 2],
    pub(crate) offset_a: f64,
    pub(crate) gain: f64,
    pub(crate) noise_a: f64,
    pub(crate) noise_mv: f64,
    /// How much of a second earlier the voltages are measured than the current.
    pub(crate) earlier_s: f64,
    pub(crate) missing: f64,
    pub(crate) garbled: f64,
    /// What the state of charge flickers by, 0 to 1.
    pub(crate) flicker: f64,
    /// Whether the state of charge is cut off and not rounded.
    pub(crate) cuts_off: bool,
    /// Part of the charge that doesn't come back.
    pub(crate) loss: f64,
    pub(crate) firmware: Firmware,
    pub(crate) load: Load,
    /// State of charge at which the inverter stops.
    pub(crate) reserve: f64,
    /// Part of the capacity that a day takes.
    pub(crate) depth: f64,
}

impl Truth {
    pub(crate) fn random(rng: &mut Rng, firmware: Firmware, load: Load) -> Self {
        let cells = [4, 8, 15, 16, 16, 16][rng.usize(..6)];
        let usual = 0.2 * 25f64.powf(rng.f64());
        Self {
            capacity_ah: 50.0 + 350.0 * rng.f64(),
            milliohms: (0..cells)
                .map(|_| (usual * (0.8 + 0.4 * rng.f64())).clamp(0.2, 5.0))
                .collect(),
            relaxation: [(0.3 * rng.f64(), 20.0 + 40.0 * rng.f64()), (0.5 * rng.f64(), 600.0)],
            offset_a: 0.6 * rng.f64() - 0.3,
            gain: 1.0,
            noise_a: 0.02 + 0.06 * rng.f64(),
            noise_mv: 0.2 + 0.6 * rng.f64(),
            earlier_s: rng.f64() * 0.6,
            missing: 0.01,
            garbled: 0.002 * rng.f64(),
            flicker: if rng.bool() { 0.0 } else { 0.002 },
            cuts_off: rng.bool(),
            loss: 0.005 * rng.f64(),
            reserve: 0.08,
            firmware,
            load,
            depth: 0.3 + 0.5 * rng.f64(),
        }
    }
}

/// The battery at work.
pub(crate) struct Model {
    pub(crate) truth: Truth,
    rng: Rng,
    curve: Vec<f64>,
    time: UtcDateTime,
    soc: f64,
    shown: f64,
    amps: f64,
    relaxed: [f64; 2],
    is_charging: bool,
    is_full: bool,
    spread: Vec<f64>,
    // The household's.
    appliances: [f64; 4],
    cloud: f64,
    level: f64,
    level_left_s: f64,
}

pub(crate) const START: UtcDateTime = utc_datetime!(2026-01-01 18:00);

impl Model {
    pub(crate) fn new(truth: Truth, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let shape = rng.f64();
        let curve = (0..=1100).map(|i| volts_at_rest(f64::from(i) / 1000.0, shape)).collect();
        let spread = truth.milliohms.iter().map(|_| 0.01 * (rng.f64() - 0.5)).collect();
        Self {
            truth,
            curve,
            time: START,
            soc: 0.8,
            shown: 0.8,
            amps: 0.0,
            relaxed: [0.0; 2],
            is_charging: false,
            is_full: false,
            spread,
            appliances: [0.0; 4],
            cloud: 0.0,
            level: 0.0,
            level_left_s: 0.0,
            rng,
        }
    }

    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.rng.f64()).sum();
        (sum - 2.0) * 3f64.sqrt()
    }

    /// One cycle of the console, `seconds` after the one before; `None` if it was lost.
    pub(crate) fn sample(&mut self, seconds: f64) -> Option<PackRecord> {
        let before = self.amps;
        self.settle(seconds);
        // A change of the current comes at any moment between two samples.
        let is_before_change = self.rng.f64() < self.truth.earlier_s / seconds.max(1.0);
        let amps_of_voltages = if is_before_change { before } else { self.amps };
        self.time += Duration::seconds_f64(seconds);
        let mut record = PackRecord::new(self.time, 7);
        let measured =
            self.amps * self.truth.gain + self.truth.offset_a + self.truth.noise_a * self.normal();
        self.advance(measured, seconds);
        let count = self.truth.milliohms.len();
        let mut pack = 0.0;
        for i in 0..count {
            let ohmic = self.truth.milliohms[i];
            let drop = ohmic
                * (amps_of_voltages
                    + self.truth.relaxation[0].0 * self.relaxed[0]
                    + self.truth.relaxation[1].0 * self.relaxed[1]);
            let place = ((self.soc + self.spread[i]).clamp(0.0, 1.09)) * 1000.0;
            let (low, part) = (place as usize, place.fract());
            let rest = self.curve[low] * (1.0 - part) + self.curve[low + 1] * part;
            let noise = self.truth.noise_mv * self.normal();
            let millivolts = (rest * 1000.0 + drop + noise).round();
            pack += millivolts / 1000.0;
            record.cell_v[i] = Some((millivolts / 1000.0) as f32);
            record.cell_t[i] = Some(20);
        }
        record.cell_count = Some(count as i16);
        record.v_pack = Some(pack as f32);
        record.i_pack = Some(((measured * 100.0).round() / 100.0) as f32);
        let flicker = if self.shown < 1.0 { self.truth.flicker * self.normal() } else { 0.0 };
        let percent = (self.shown + flicker) * 100.0 + if self.truth.cuts_off { 0.0 } else { 0.5 };
        record.soc = Some(percent.clamp(0.0, 100.0) as i16);
        self.spoil(&mut record);
        (self.rng.f64() >= self.truth.missing).then_some(record)
    }

    fn spoil(&mut self, record: &mut PackRecord) {
        if self.rng.f64() >= self.truth.garbled {
            return;
        }
        let cell = self.rng.usize(..self.truth.milliohms.len());
        match self.rng.u8(..6) {
            0 => record.soc = record.soc.map(|soc| soc / 10),
            1 => record.i_pack = record.i_pack.map(|amps| amps * 10.0),
            2 => record.i_pack = None,
            3 => record.cell_v[cell] = None,
            4 => record.cell_v[cell] = Some(0.331),
            _ => record.cell_v[cell] = record.cell_v[cell].map(|volts| volts + 0.06),
        }
    }

    fn advance(&mut self, measured: f64, seconds: f64) {
        let kept = if self.amps > 0.0 { 1.0 - self.truth.loss } else { 1.0 };
        let change = kept * self.amps * seconds / 3600.0 / self.truth.capacity_ah;
        self.soc = (self.soc + change).clamp(0.0, 1.005);
        for (relaxed, (_, constant)) in self.relaxed.iter_mut().zip(self.truth.relaxation) {
            *relaxed += (self.amps - *relaxed) * (1.0 - (-seconds / constant).exp());
        }
        self.is_full = self.soc >= 0.998 || (self.is_full && self.soc > 0.97);
        let counted = measured * seconds / 3600.0 / self.truth.capacity_ah;
        self.shown = match self.truth.firmware {
            Firmware::Right => self.soc,
            Firmware::WrongCapacity(factor) => self.shown + change / factor,
            Firmware::StandsStill(state) if change > 0.0 && !self.is_full => {
                (self.shown + change).min(state.max(self.shown))
            }
            Firmware::CountsLessUp(part) if change > 0.0 => self.shown + part * change,
            Firmware::StandsStill(_) | Firmware::CountsLessUp(_) => self.shown + change,
            Firmware::CountsSensor => self.shown + counted,
        }
        .clamp(0.0, 1.0);
        if self.soc >= 0.998 {
            self.shown = 1.0;
        }
    }

    fn settle(&mut self, seconds: f64) {
        let capacity = self.truth.capacity_ah;
        let limit = ((1.0 - self.soc) / 0.03).clamp(0.0, 1.0) * 0.4 * capacity;
        let amps = match self.truth.load {
            Load::Household => self.household(seconds),
            Load::Constant => {
                self.turn(1.0 - self.truth.depth, 0.999);
                capacity * if self.is_charging { 0.2 } else { -0.12 }
            }
            Load::Steps => {
                self.turn(1.0 - self.truth.depth, 0.999);
                self.level_left_s -= seconds;
                if self.level_left_s < 0.0 {
                    self.level_left_s = 10.0 + 110.0 * self.rng.f64();
                    let mean = if self.is_charging { 0.15 } else { -0.12 };
                    self.level = capacity * (mean + 0.3 * (self.rng.f64() - 0.5));
                }
                self.level
            }
            Load::Shallow => {
                self.turn(0.75, 0.85);
                capacity * if self.is_charging { 0.1 } else { -0.1 }
            }
        };
        self.amps = amps.min(limit);
        if self.is_full && self.amps > 0.0 {
            self.amps = 0.0;
        }
        if self.soc < self.truth.reserve {
            self.amps = self.amps.max(0.0);
        }
    }

    fn turn(&mut self, low: f64, high: f64) {
        if self.soc <= low {
            self.is_charging = true;
        } else if self.soc >= high || self.is_full {
            self.is_charging = false;
        }
    }

    fn household(&mut self, seconds: f64) -> f64 {
        let daily = self.truth.depth * self.truth.capacity_ah;
        let hour = (self.time - START).as_seconds_f64() / 3600.0 + 18.0;
        let hour = hour % 24.0;
        // Appliance: chance to begin in an hour, seconds, part of a day's charge as amperes.
        let appliances =
            [(0.8, 180.0, 0.25), (1.5, 900.0, 0.012), (0.3, 60.0, 0.35), (0.15, 2400.0, 0.12)];
        let awake = if (6.5..23.0).contains(&hour) { 1.0 } else { 0.1 };
        let mut load = daily / 40.0;
        for (left, (chance, length, part)) in self.appliances.iter_mut().zip(appliances) {
            *left -= seconds;
            if *left < -20.0 && self.rng.f64() < chance * awake * seconds / 3600.0 {
                *left = length * (0.5 + self.rng.f64());
            }
            if *left > 0.0 {
                load += daily * part;
            }
        }
        let kick = self.normal();
        self.cloud += -self.cloud * seconds / 300.0 + kick * (seconds / 150.0).sqrt();
        let height = ((hour - 6.0) / 12.0 * std::f64::consts::PI).sin().max(0.0);
        let sun = daily * 0.34 * height * (0.7 - 0.3 * self.cloud.tanh());
        sun - load
    }
}

/// Volts of a rested cell: two plateaus and two knees, as `shape` (0 to 1) has them.
fn volts_at_rest(soc: f64, shape: f64) -> f64 {
    let step = |at: f64, width: f64, volts: f64| volts / (1.0 + (-(soc - at) / width).exp());
    3.20 + step(0.02, 0.03, 0.08)
        + step(0.25 + 0.1 * shape, 0.06, 0.02)
        + step(0.55 + 0.1 * shape, 0.03, 0.015 + 0.01 * shape)
        + step(0.995, 0.006, 0.20)
        - 0.6 * (-soc / 0.025).exp()
}
