//! A battery whose truth is known, fast-forwarded sample by sample.

use std::f64::consts::TAU;

use bluenova_record::{CELLS, PackRecord, Text};
use fastrand::Rng;
use time::{Duration, UtcDateTime};

use crate::{
    cell::rest_volts,
    site::Site,
    texts,
    truth::{CellTruth, PackTruth, SocHabit},
};

/// Volts per cell at which the charger holds the pack, and at which a cell alone limits it.
const CHARGE_VOLTS: f64 = 3.45;
const HIGHEST_VOLTS: f64 = 3.55;
/// Volts of a cell at which the breaker of the inverter ends a discharge, and at which it may
/// begin again.
const LOWEST_VOLTS: f64 = 2.80;
const LOW_AGAIN_VOLTS: f64 = 3.10;
/// Amperes for each ampere-hour of the label: the most that charger and inverter can, and what is
/// left when a battery counts as full.
const CHARGE_RATE: f64 = 0.35;
const DISCHARGE_RATE: f64 = 0.4;
const TAIL_RATE: f64 = 0.018;
/// Percent by which the state of charge rises before the inverter draws again.
const RESERVE_HYSTERESIS: f64 = 3.0;
/// Part of the firmware's capacity beyond which a battery that was full is charged again.
const RECHARGE: f64 = 0.03;
/// Part of the firmware's capacity at which its state of charge may stick.
const STICKS_AT: f64 = 0.9;
/// Part of the charge that stays in a cell.
const COULOMBIC_EFFICIENCY: f64 = 0.999;
/// Seconds in which the current follows.
const CURRENT_SECONDS: f64 = 0.4;
/// Ohms between the cells and the terminals, for each cell.
const LINE_OHMS: f64 = 0.000_04;
/// Volts between a cell that was charged and one that was discharged to the same charge, halved,
/// and the part of its capacity that turns one into the other.
const HYSTERESIS_VOLTS: f64 = 0.006;
const HYSTERESIS_PART: f64 = 0.03;
/// Volts above which cells are balanced, and by which one has to be above the lowest.
const BALANCING_VOLTS: f64 = 3.40;
const BALANCING_LEAD: f64 = 0.005;
/// Watt-hours that the house of a whole label of 280 Ah and 16 cells is made for.
const SITE_AH: f64 = 280.0;
/// Seconds between two samples.
const SAMPLE_SECONDS: f64 = 1.0;
const HOURS: f64 = 3600.0;
const WEEK_SECONDS: f64 = 7.0 * 86_400.0;
/// Kelvin that a cell is above its surroundings for each watt, and how slowly.
const KELVIN_PER_WATT: f64 = 1.4;
const THERMAL_SECONDS: f64 = 9000.0;
/// How much resistances change per kelvin, and from where.
const OHMS_PER_KELVIN: f64 = -0.01;
const OHMS_CELSIUS: f64 = 25.0;

/// A battery of which a [`PackTruth`] says all, in a house of its own. As an iterator it yields its
/// samples, about one a second, for ever: what its console would print, in the precision in which
/// it would, without printing it.
///
/// Its cells have a hysteresis, and two relaxations beside their resistance; it is cut off when a
/// cell is empty, held at a constant voltage when it is nearly full, and then left alone. Two of
/// the same truth yield the same samples.
///
/// ```
/// use bluenova_simulator::{KnownBattery, PackTruth, Weakness};
///
/// let mut battery = KnownBattery::new(PackTruth::weak(1, Weakness::Capacity));
/// let hour: Vec<_> = battery.by_ref().take(3600).collect();
/// assert_eq!(hour[0].cell_count, Some(battery.truth().cells.len() as i16));
/// assert!(battery.capacity_ah() < battery.truth().label_ah);
/// ```
#[derive(Clone, Debug)]
pub struct KnownBattery {
    truth: PackTruth,
    time: UtcDateTime,
    site: Site,
    site_watts_part: f64,
    noise: Rng,
    curve: Curve,
    cells: Vec<CellState>,
    amps: f64,
    terminal_volts: f64,
    stage: Stage,
    is_cut_off: bool,
    is_at_reserve: bool,
    flows: Flows,
    firmware: Firmware,
    record: PackRecord,
}

/// What truly flowed in at the terminals, and out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flows {
    /// Watt-hours that went in.
    pub energy_in_wh: f64,
    /// Watt-hours that came out.
    pub energy_out_wh: f64,
    /// Ampere-hours that went in.
    pub charge_in_ah: f64,
    /// Ampere-hours that came out.
    pub charge_out_ah: f64,
}

/// How far a charge has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Bulk,
    Taper,
    Full,
}

/// A cell at one moment.
#[derive(Clone, Debug)]
struct CellState {
    charge_ah: f64,
    /// Volts over the two relaxations.
    fast_volts: f64,
    slow_volts: f64,
    /// -1 discharged, 1 charged.
    hysteresis: f64,
    celsius: f64,
    /// What the temperature makes of each ohm.
    warmth: f64,
    /// Volts without the ohmic part, and with it.
    rest_volts: f64,
    volts: f64,
    /// Part of the last change of the current that was over when the cell was read.
    read_at: f64,
}

/// What the firmware counts by itself.
#[derive(Clone, Debug)]
struct Firmware {
    counted_ah: f64,
    charged_kwh: f64,
    discharged_kwh: f64,
    energy_at: Option<UtcDateTime>,
}

impl KnownBattery {
    /// A battery as `truth` has it.
    pub fn new(mut truth: PackTruth) -> Self {
        truth.cells.truncate(CELLS);
        truth.sensors.cell_offset_volts.resize(truth.cells.len(), 0.0);
        let mut rng = Rng::with_seed(truth.seed ^ 0x5EED);
        let site = Site::new(rng.fork(), truth.start);
        let cells = cells_at_start(&truth);
        let mut battery = Self {
            time: truth.start,
            site,
            site_watts_part: truth.label_ah / SITE_AH * truth.cells.len() as f64 / CELLS as f64,
            noise: rng.fork(),
            curve: Curve::new(),
            terminal_volts: 3.3 * truth.cells.len() as f64,
            cells,
            amps: 0.0,
            stage: Stage::Bulk,
            is_cut_off: false,
            is_at_reserve: false,
            flows: Flows::default(),
            firmware: Firmware {
                counted_ah: 0.0,
                charged_kwh: 5200.0 * rng.f64(),
                discharged_kwh: 5000.0 * rng.f64(),
                energy_at: None,
            },
            record: record_of(&truth),
            truth,
        };
        // Until it has been full, the firmware is right by luck.
        battery.firmware.counted_ah = battery.fill() * battery.own_capacity_ah();
        battery
    }

    /// What it consists of.
    pub fn truth(&self) -> &PackTruth {
        &self.truth
    }

    /// The time of the last sample.
    pub fn time(&self) -> UtcDateTime {
        self.time
    }

    /// What truly flowed since the start.
    pub fn flows(&self) -> Flows {
        self.flows
    }

    /// Usable capacity of the pack as its cells are balanced now, in ampere-hours: what flows from
    /// the moment at which its first cell is full to the one at which its first cell is empty. In a
    /// balanced pack that is the capacity of the weakest cell.
    pub fn capacity_ah(&self) -> f64 {
        self.room_ah() + self.usable_ah()
    }

    /// Charge that can be drawn until the first cell is empty, in ampere-hours.
    pub fn usable_ah(&self) -> f64 {
        self.cells.iter().map(|cell| cell.charge_ah).fold(f64::INFINITY, f64::min).max(0.0)
    }

    /// Charge in a cell, in ampere-hours; the first cell has index 0.
    pub fn cell_charge_ah(&self, index: usize) -> Option<f64> {
        self.cells.get(index).map(|cell| cell.charge_ah)
    }

    /// Ohmic resistance of a cell at its temperature now, in ohms.
    pub fn cell_ohms(&self, index: usize) -> Option<f64> {
        let (cell, truth) = (self.cells.get(index)?, self.truth.cells.get(index)?);
        Some(truth.ohms * cell.warmth)
    }

    /// Amperes that flow now; positive charges.
    pub fn amps(&self) -> f64 {
        self.amps
    }

    fn room_ah(&self) -> f64 {
        let rooms = self.cells.iter().zip(&self.truth.cells);
        rooms.map(|(cell, truth)| truth.capacity_ah - cell.charge_ah).fold(f64::INFINITY, f64::min)
    }

    /// True state of charge, 0 to 1.
    fn fill(&self) -> f64 {
        (self.usable_ah() / self.capacity_ah()).clamp(0.0, 1.0)
    }

    fn own_capacity_ah(&self) -> f64 {
        match self.truth.soc_habit {
            SocHabit::Right => self.capacity_ah(),
            SocHabit::Counts(own) | SocHabit::Sticks(own) => own,
        }
    }

    /// Lets `seconds` pass, a few at most.
    fn step(&mut self, seconds: f64) {
        self.time = self.time.saturating_add(Duration::nanoseconds((seconds * 1e9) as i64));
        let (surplus, is_slow) = self.site.advance(self.time, seconds);
        let volts = self.terminal_volts;
        let mean = self.settle_current(surplus * self.site_watts_part, seconds);
        self.advance_cells(mean, seconds, is_slow);
        self.count_flows((volts + self.terminal_volts) / 2.0, mean, seconds);
        self.settle_stage();
    }

    /// Brings the current to what sun, house and charger make of it; returns its mean.
    fn settle_current(&mut self, surplus_watts: f64, seconds: f64) -> f64 {
        let volts = self.terminal_volts.max(2.0 * self.cells.len() as f64);
        // Charger and inverter lose some percent each.
        let demand = if surplus_watts >= 0.0 {
            match self.stage {
                Stage::Full => 0.0,
                _ => (surplus_watts * 0.96 / volts).min(CHARGE_RATE * self.truth.label_ah),
            }
        } else if self.is_cut_off || self.is_at_reserve {
            0.0
        } else {
            (surplus_watts / 0.94 / volts).max(-DISCHARGE_RATE * self.truth.label_ah)
        };
        let limit = self.charge_limit();
        if self.stage != Stage::Full {
            self.stage = if demand > limit { Stage::Taper } else { Stage::Bulk };
        }
        let target = demand.min(limit);
        let part = seconds / CURRENT_SECONDS;
        let decay = (-part).exp();
        let change = self.amps - target;
        self.amps = target + change * decay;
        target + change * (1.0 - decay) / part
    }

    /// Amperes at which the pack, or its highest cell, reaches its limit.
    fn charge_limit(&self) -> f64 {
        let (mut rest, mut ohms) = (0.0, 0.0);
        let mut limit = f64::INFINITY;
        for (cell, truth) in self.cells.iter().zip(&self.truth.cells) {
            let cell_ohms = truth.ohms * cell.warmth;
            rest += cell.rest_volts;
            ohms += cell_ohms + LINE_OHMS;
            if cell.rest_volts > 3.35 {
                limit = limit.min((HIGHEST_VOLTS - cell.rest_volts) / cell_ohms);
            }
        }
        limit.min((CHARGE_VOLTS * self.cells.len() as f64 - rest) / ohms).max(0.0)
    }

    fn advance_cells(&mut self, mean: f64, seconds: f64, is_slow: bool) {
        let kept = if mean > 0.0 { mean * COULOMBIC_EFFICIENCY } else { mean };
        let lowest = self.lowest_volts();
        let surroundings = is_slow.then(|| self.surroundings());
        let mut sum = 0.0;
        for (cell, truth) in self.cells.iter_mut().zip(&self.truth.cells) {
            let is_balanced = self.truth.balancing_amps > 0.0
                && cell.volts > BALANCING_VOLTS
                && cell.volts > lowest + BALANCING_LEAD;
            let bled = if is_balanced { self.truth.balancing_amps } else { 0.0 };
            let leakage = truth.leakage_ah_per_week * HOURS / WEEK_SECONDS;
            cell.charge_ah += (kept - leakage - bled) * seconds / HOURS;
            cell.charge_ah = cell.charge_ah.max(-0.01 * truth.capacity_ah);

            let (rest, rise) = self.curve.at(cell.charge_ah / truth.capacity_ah);
            let ohms = cell.warmth * rise * mean;
            relax(&mut cell.fast_volts, truth.fast.ohms * ohms, seconds / truth.fast.seconds);
            relax(&mut cell.slow_volts, truth.slow.ohms * ohms, seconds / truth.slow.seconds);
            let moved = mean.abs() * seconds / (HOURS * HYSTERESIS_PART * truth.capacity_ah);
            let side = if mean >= 0.0 { 1.0 } else { -1.0 };
            cell.hysteresis += (side - cell.hysteresis) * moved.min(1.0);
            cell.rest_volts =
                rest + HYSTERESIS_VOLTS * cell.hysteresis + cell.fast_volts + cell.slow_volts;
            cell.volts = cell.rest_volts + truth.ohms * cell.warmth * self.amps;
            sum += cell.volts;
            if let Some(surroundings) = surroundings {
                let heat = self.amps * self.amps * truth.ohms * KELVIN_PER_WATT;
                relax(&mut cell.celsius, surroundings + heat, 10.0 / THERMAL_SECONDS);
                cell.warmth = warmth(cell.celsius);
            }
        }
        self.terminal_volts = sum + LINE_OHMS * self.cells.len() as f64 * self.amps;
    }

    /// °C around the battery.
    fn surroundings(&self) -> f64 {
        surroundings(&self.truth, self.time, self.site.kelvin_of_day())
    }

    fn count_flows(&mut self, volts: f64, amps: f64, seconds: f64) {
        let charge = amps.abs() * seconds / HOURS;
        let energy = charge * volts;
        let (flows, firmware) = (&mut self.flows, &mut self.firmware);
        if amps > 0.0 {
            flows.charge_in_ah += charge;
            flows.energy_in_wh += energy;
            firmware.charged_kwh += energy / 1000.0;
        } else {
            flows.charge_out_ah += charge;
            flows.energy_out_wh += energy;
            firmware.discharged_kwh += energy / 1000.0;
        }
        self.count_as_firmware(amps, seconds);
    }

    fn count_as_firmware(&mut self, amps: f64, seconds: f64) {
        let sensors = &self.truth.sensors;
        let measured = sensors.current_gain * amps + sensors.current_offset_amps;
        let before = self.firmware.counted_ah;
        let counted = before + measured * seconds / HOURS;
        self.firmware.counted_ah = match self.truth.soc_habit {
            SocHabit::Right => self.fill() * self.capacity_ah(),
            SocHabit::Counts(own) => counted.clamp(0.0, own),
            // It sticks on the way up only.
            SocHabit::Sticks(own) => counted.min(before.max(STICKS_AT * own)).max(0.0),
        };
    }

    /// What follows from the voltages and from the state of charge that the firmware has.
    fn settle_stage(&mut self) {
        let own = self.own_capacity_ah();
        let tail = TAIL_RATE * self.truth.label_ah;
        if self.stage == Stage::Taper && self.amps < tail && self.charge_limit() < tail {
            self.stage = Stage::Full;
            self.firmware.counted_ah = own;
        } else if self.stage == Stage::Full && self.room_ah() > RECHARGE * self.truth.label_ah {
            self.stage = Stage::Bulk;
        }
        let percent = 100.0 * self.firmware.counted_ah / own;
        let reserve = self.truth.reserve_percent;
        let bound = if self.is_at_reserve { reserve + RESERVE_HYSTERESIS } else { reserve };
        self.is_at_reserve = percent < bound;
        let bound = if self.is_cut_off { LOW_AGAIN_VOLTS } else { LOWEST_VOLTS };
        self.is_cut_off = self.lowest_volts() < bound;
    }

    fn lowest_volts(&self) -> f64 {
        self.cells.iter().map(|cell| cell.volts).fold(f64::INFINITY, f64::min)
    }

    /// Writes what the sensors measure into the record; `before` is the current a second ago.
    fn read_sensors(&mut self, before: f64) {
        let (record, sensors) = (&mut self.record, &self.truth.sensors);
        record.insert_time_utc = self.time;
        let (mut sum, mut lowest, mut highest) = (0, i64::MAX, i64::MIN);
        let mut celsius = 0.0;
        for (index, cell) in self.cells.iter().enumerate() {
            let missed = (before - self.amps) * (1.0 - cell.read_at);
            let volts = cell.volts
                + missed * self.truth.cells[index].ohms * cell.warmth
                + sensors.cell_offset_volts[index]
                + sensors.cell_noise_volts * noise(&mut self.noise);
            let mv = (volts * 1000.0).round() as i64;
            (sum, lowest, highest) = (sum + mv, lowest.min(mv), highest.max(mv));
            record.cell_v[index] = Some(volts_of(mv));
            record.cell_t[index] = Some(cell.celsius.round() as i16);
            celsius += cell.celsius;
        }
        let cell_count = self.cells.len() as f64;
        let line_mv = (1000.0 * LINE_OHMS * cell_count * self.amps).round() as i64;
        let deviation = sensors.current_noise_amps + sensors.current_ripple * self.amps.abs();
        let measured = sensors.current_gain * self.amps
            + sensors.current_offset_amps
            + deviation * noise(&mut self.noise);
        record.v_pack = Some(volts_of(sum + line_mv));
        record.adc_vp = record.v_pack;
        record.i_pack = Some((measured * 100.0).round() as f32 / 100.0);
        record.v_cell_min = Some(volts_of(lowest));
        record.v_cell_max = Some(volts_of(highest));
        record.temp = Some((celsius / cell_count).round() as i16);
    }

    fn read_firmware(&mut self) {
        let own = self.own_capacity_ah();
        let record = &mut self.record;
        record.soc = Some((100.0 * self.firmware.counted_ah / own).round() as i16);
        let charge_state = match self.stage {
            _ if self.amps.abs() < 0.5 => texts::IDLE,
            _ if self.amps < 0.0 => texts::DISCHARGE,
            Stage::Taper => texts::TAPER,
            Stage::Bulk | Stage::Full => texts::CHARGE,
        };
        record.charge_state = Some(Text::new(charge_state.0));
        let is_due = |at: UtcDateTime| self.time - at >= Duration::MINUTE;
        (record.energy_in, record.energy_out) = (None, None);
        if self.firmware.energy_at.is_none_or(is_due) {
            self.firmware.energy_at = Some(self.time);
            record.energy_in = Some(tenths(self.firmware.charged_kwh));
            record.energy_out = Some(tenths(self.firmware.discharged_kwh));
        }
    }
}

impl Iterator for KnownBattery {
    type Item = PackRecord;

    fn next(&mut self) -> Option<PackRecord> {
        let deviation = self.truth.jitter_seconds * (2.0 * self.noise.f64() - 1.0);
        let before = self.amps;
        self.step(SAMPLE_SECONDS + deviation);
        self.read_sensors(before);
        self.read_firmware();
        Some(self.record.clone())
    }
}

/// The cells, none fuller than the truth has it.
fn cells_at_start(truth: &PackTruth) -> Vec<CellState> {
    let room = (1.0 - truth.fill) * truth.cells.iter().map(|cell| cell.capacity_ah).sum::<f64>()
        / truth.cells.len() as f64;
    let celsius = surroundings(truth, truth.start, 0.0);
    let last = truth.cells.len().saturating_sub(1).max(1) as f64;
    let over = |seconds: f64| 1.0 - (-seconds / CURRENT_SECONDS).exp();
    let cell = |(index, cell): (usize, &CellTruth)| {
        let earlier = truth.sensors.bus_seconds * (1.0 - index as f64 / last);
        CellState {
            charge_ah: (cell.capacity_ah - room - cell.behind_ah).max(0.0),
            fast_volts: 0.0,
            slow_volts: 0.0,
            hysteresis: 0.0,
            celsius,
            warmth: warmth(celsius),
            rest_volts: 3.2,
            volts: 3.2,
            read_at: over(SAMPLE_SECONDS - earlier) / over(SAMPLE_SECONDS),
        }
    };
    truth.cells.iter().enumerate().map(cell).collect()
}

/// What every sample says, and nothing else yet.
fn record_of(truth: &PackTruth) -> PackRecord {
    let mut record = PackRecord::new(truth.start, truth.mcu_id);
    record.n_units = Some(1);
    record.unit_rank = Some(1);
    record.cell_count = Some(truth.cells.len() as i16);
    record.health = Some(98.5);
    record.errors = Some(Text::new(texts::NO_ERRORS));
    record.system_state = Some(Text::new(texts::NORMAL));
    record.breaker = Some(Text::new(texts::CLOSED));
    record
}

/// °C around a battery: coldest in the middle of January.
fn surroundings(truth: &PackTruth, time: UtcDateTime, kelvin_of_day: f64) -> f64 {
    let part_of_year = (f64::from(time.ordinal()) - 15.0) / 365.25;
    truth.mean_celsius - truth.season_kelvin * (TAU * part_of_year).cos() + kelvin_of_day
}

fn warmth(celsius: f64) -> f64 {
    (1.0 + OHMS_PER_KELVIN * (celsius - OHMS_CELSIUS)).max(0.3)
}

/// Moves `value` towards `target` by a small part of a time constant.
fn relax(value: &mut f64, target: f64, time_constants: f64) {
    let part = time_constants * (1.0 - time_constants / 2.0);
    *value += (target - *value) * part;
}

/// The nearest number to so many millivolts.
fn volts_of(mv: i64) -> f32 {
    mv as f32 / 1000.0
}

fn tenths(value: f64) -> f32 {
    (value * 10.0).round() as f32 / 10.0
}

/// About normally distributed, deviation 1, never beyond 3.5: the sum of four numbers.
fn noise(rng: &mut Rng) -> f64 {
    const DEVIATION: f64 = 37_837.2;
    let bits = rng.u64(..);
    let sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
    (sum as f64 - 131_070.0) / DEVIATION
}

/// Voltage at rest over the charge, and how much an empty cell's relaxations grow, as a table:
/// their formulas would take most of the time.
#[derive(Clone, Debug)]
struct Curve(Vec<(f64, f64)>);

impl Curve {
    const LOW: f64 = -0.02;
    const HIGH: f64 = 1.10;
    const STEPS: usize = 4480;

    fn new() -> Self {
        let width = (Self::HIGH - Self::LOW) / Self::STEPS as f64;
        let point = |step: usize| {
            let fill = Self::LOW + width * step as f64;
            (rest_volts(fill), 1.0 + 0.6 * (-fill.max(0.0) / 0.06).exp())
        };
        Self((0..=Self::STEPS).map(point).collect())
    }

    fn at(&self, fill: f64) -> (f64, f64) {
        let place = (fill - Self::LOW) * (Self::STEPS as f64 / (Self::HIGH - Self::LOW));
        let place = place.clamp(0.0, Self::STEPS as f64 - 1e-6);
        let (index, part) = (place as usize, place.fract());
        let ((volts, rise), (next_volts, next_rise)) = (self.0[index], self.0[index + 1]);
        (volts + part * (next_volts - volts), rise + part * (next_rise - rise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_as_the_formula() {
        let curve = Curve::new();
        for permille in -15..1030 {
            let fill = f64::from(permille) / 1000.0 + 1e-4;
            assert!((curve.at(fill).0 - rest_volts(fill)).abs() < 2e-5, "{fill}");
        }
        assert!(curve.at(5.0).0.is_finite() && curve.at(-5.0).0.is_finite());
    }

    #[test]
    fn noise_is_normal() {
        let mut rng = Rng::with_seed(1);
        let values: Vec<f64> = (0..100_000).map(|_| noise(&mut rng)).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e5;
        let beyond_two = values.iter().filter(|v| v.abs() > 2.0).count();
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!((3500..5500).contains(&beyond_two), "{beyond_two}");
    }
}
