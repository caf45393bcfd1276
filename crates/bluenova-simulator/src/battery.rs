use std::time::Duration;

use fastrand::Rng;
use time::UtcDateTime;

use crate::{
    CELLS,
    cell::{Cell, approach},
    household::{Household, normal},
    words,
};

/// Seconds that the model goes on at once, at most.
const STEP_SECONDS: f64 = 10.0;

/// Volts of the pack at which the charger holds it (constant voltage).
const CHARGE_VOLTS: f64 = 55.2;
/// Volts that no cell may pass, whatever the pack has.
const CELL_MAX_VOLTS: f64 = 3.56;
/// Amperes that the charger brings at most.
const CHARGE_AMPS: f64 = 100.0;
/// Amperes that the inverter draws at most.
const DISCHARGE_AMPS: f64 = 110.0;
/// Amperes below which a charge at constant voltage ends.
const TAIL_AMPS: f64 = 5.0;

/// Part of the charge at which the inverter stops to draw: the grid takes over.
const RESERVE: f64 = 0.10;
/// Part of the charge below which a full battery is charged again.
const RECHARGE: f64 = 0.97;

/// Volts from which a cell is bled if it is ahead of the lowest one by [`BLEED_LEAD`].
const BLEED_VOLTS: f64 = 3.40;
const BLEED_LEAD: f64 = 0.006;
const BLEED_AMPS: f64 = 0.25;

/// Ohms between the cells and the terminals.
const LINE_OHMS: f64 = 0.000_6;

/// Mean seconds between two alarms.
const ALARM_SECONDS: f64 = 6.0 * 3600.0;

/// Percent of health that each kilowatt-hour costs: about 4000 cycles to 80 %.
const WEAR_PER_KWH: f64 = 0.000_35;

/// Who a simulated battery is, and how it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Serial number of its controller.
    pub mcu_id: u32,
    /// Number of units in its bank.
    pub n_units: i16,
    /// Its rank in the bank.
    pub unit_rank: i16,
    /// What its cells, its weather and its household are made from: the same seed gives the same
    /// lines.
    pub seed: u64,
    /// State of charge at the start, in percent; what is beyond 0 to 100 counts as the limit.
    pub soc: f64,
    /// When it starts. The sun stands highest at 12:00 UTC.
    pub start: UtcDateTime,
}

impl Profile {
    /// A single unit, a good half charged, with a serial number of its own for each seed.
    pub fn new(seed: u64, start: UtcDateTime) -> Self {
        let mcu_id = Rng::with_seed(seed).u32(0x1000_0000..);
        Self { mcu_id, n_units: 1, unit_rank: 1, seed, soc: 55.0, start }
    }
}

/// A model of a battery of 16 LiFePO4 cells in a house with solar panels.
///
/// It is charged by the sun, at constant current and then at constant voltage, and discharged by
/// the household. Nothing in it reads a clock or another source of randomness than the seed of
/// its [`Profile`].
///
/// ```
/// use std::time::Duration;
///
/// use bluenova_simulator::{Battery, Profile};
/// use time::UtcDateTime;
///
/// let mut battery = Battery::new(Profile::new(1, UtcDateTime::UNIX_EPOCH));
/// battery.advance(Duration::from_secs(3600));
/// let mut console = String::new();
/// let said = battery.print_cycle(&mut console);
/// assert!(console.contains(&format!("SOC: {}\r\n", said.soc)));
/// ```
#[derive(Clone, Debug)]
pub struct Battery {
    profile: Profile,
    time: UtcDateTime,
    pub(crate) cells: [Cell; CELLS],
    household: Household,
    /// What fails now and then.
    fate: Rng,
    /// Noise of the sensors and of the console, apart from `fate`: what happens does not depend
    /// on how often it is printed.
    pub(crate) sensors: Rng,
    amps: f64,
    stage: Stage,
    bled: [bool; CELLS],
    alarm: Option<Alarm>,
    energy: Energy,
    /// When the energy was printed last.
    pub(crate) energy_printed: Option<UtcDateTime>,
}

/// Where a charge stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// The sun sets the current.
    Bulk,
    /// The voltage of the pack or of a cell limits it.
    Taper,
    /// It is over.
    Full,
}

/// An error that lasts for some seconds.
#[derive(Clone, Copy, Debug)]
struct Alarm {
    word: &'static str,
    seconds_left: f64,
}

/// What went in and out in the battery's life, in kWh, and what it was worth at first.
#[derive(Clone, Copy, Debug)]
struct Energy {
    charged: f64,
    discharged: f64,
    /// Percent.
    health_at_first: f64,
}

impl Battery {
    /// A battery as `profile` has it.
    pub fn new(profile: Profile) -> Self {
        let mut rng = Rng::with_seed(profile.seed);
        let household = Household::new(profile.seed, profile.start);
        let ambient = household.ambient() + 2.0;
        let fill = if profile.soc.is_nan() { 0.0 } else { profile.soc.clamp(0.0, 100.0) / 100.0 };
        let discharged = 800.0 + 6000.0 * rng.f64();
        Self {
            cells: std::array::from_fn(|place| Cell::new(place, fill, ambient, &mut rng)),
            household,
            fate: rng.fork(),
            sensors: rng.fork(),
            amps: 0.0,
            stage: Stage::Bulk,
            bled: [false; CELLS],
            alarm: None,
            energy: Energy {
                charged: discharged * 1.04,
                discharged,
                health_at_first: 100.0 - 0.2 * rng.f64(),
            },
            energy_printed: None,
            time: profile.start,
            profile,
        }
    }

    /// Who it is and how it started.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The time in the model.
    pub fn time(&self) -> UtcDateTime {
        self.time
    }

    /// Lets `elapsed` pass.
    pub fn advance(&mut self, elapsed: Duration) {
        let mut left = elapsed.as_secs_f64();
        while left > 0.0 {
            let seconds = left.min(STEP_SECONDS);
            let later = self.time.saturating_add(time::Duration::seconds_f64(seconds));
            if later == self.time {
                // The end of time, or a rest below a nanosecond.
                return;
            }
            self.time = later;
            self.step(seconds);
            left -= seconds;
        }
    }

    fn step(&mut self, seconds: f64) {
        self.household.advance(self.time, seconds);
        self.pass_alarm(seconds);
        self.settle_current(seconds);
        self.choose_cells_to_bleed();

        let ambient = self.household.ambient();
        for (cell, &bled) in self.cells.iter_mut().zip(&self.bled) {
            let bleed = if bled { BLEED_AMPS } else { 0.0 };
            cell.advance(self.amps - bleed, ambient, seconds);
        }
        let kwh = self.terminal_volts() * self.amps.abs() * seconds / 3.6e6;
        if self.amps > 0.0 {
            self.energy.charged += kwh;
        } else {
            self.energy.discharged += kwh;
        }
    }

    /// Brings the current to what sun, house, charger and protection make of it.
    fn settle_current(&mut self, seconds: f64) {
        if self.is_breaker_open() {
            self.amps = 0.0;
            return;
        }
        let limit = self.charge_limit();
        let surplus = self.household.sun_watts() - self.household.load_watts();
        let wanted = self.wanted_amps(surplus);
        // Inverter and charger need some seconds to follow.
        approach(&mut self.amps, wanted.min(limit), seconds / 2.0);
        self.amps = self.amps.min(limit);

        self.stage = match self.stage {
            Stage::Full if self.fill() >= RECHARGE => Stage::Full,
            Stage::Taper if limit < TAIL_AMPS && wanted > limit => Stage::Full,
            _ if wanted > limit => Stage::Taper,
            _ => Stage::Bulk,
        };
    }

    /// Amperes that `surplus` watts would bring, before the voltage limits them.
    fn wanted_amps(&self, surplus: f64) -> f64 {
        let volts = self.terminal_volts().max(40.0);
        // Charger and inverter lose some percent each.
        if surplus >= 0.0 {
            match self.stage {
                Stage::Full => 0.0,
                Stage::Bulk | Stage::Taper => (surplus * 0.96 / volts).min(CHARGE_AMPS),
            }
        } else if self.fill() <= RESERVE {
            0.0
        } else {
            (surplus / 0.94 / volts).max(-DISCHARGE_AMPS)
        }
    }

    /// Amperes at which the pack or its highest cell reaches its voltage limit.
    fn charge_limit(&self) -> f64 {
        let inner: f64 = self.cells.iter().map(Cell::inner_volts).sum();
        let ohms: f64 = self.cells.iter().map(Cell::ohms).sum();
        let pack = (CHARGE_VOLTS - inner) / (ohms + LINE_OHMS);
        let cells =
            self.cells.iter().map(|cell| (CELL_MAX_VOLTS - cell.inner_volts()) / cell.ohms());
        cells.fold(pack, f64::min).max(0.0)
    }

    fn choose_cells_to_bleed(&mut self) {
        let volts = self.cells.each_ref().map(|cell| cell.volts(self.amps));
        let lowest = volts.iter().copied().fold(f64::INFINITY, f64::min);
        self.bled = volts.map(|v| v > BLEED_VOLTS && v > lowest + BLEED_LEAD);
    }

    fn pass_alarm(&mut self, seconds: f64) {
        self.alarm = match self.alarm {
            Some(Alarm { word, seconds_left }) if seconds_left > seconds => {
                Some(Alarm { word, seconds_left: seconds_left - seconds })
            }
            _ if self.fate.f64() < seconds / ALARM_SECONDS => {
                // One in six trips the breaker.
                let word = words::WARNINGS.get(self.fate.usize(0..words::WARNINGS.len() + 1));
                Some(Alarm {
                    word: word.copied().unwrap_or(words::OVER_CURRENT),
                    seconds_left: 15.0 + 60.0 * self.fate.f64(),
                })
            }
            _ => None,
        };
    }

    fn is_breaker_open(&self) -> bool {
        self.alarm.is_some_and(|alarm| alarm.word == words::OVER_CURRENT)
    }

    /// Amperes; positive charges.
    pub(crate) fn amps(&self) -> f64 {
        self.amps
    }

    /// Volts between the terminals.
    pub(crate) fn terminal_volts(&self) -> f64 {
        let cells: f64 = self.cells.iter().map(|cell| cell.volts(self.amps)).sum();
        cells + self.line_drop()
    }

    /// Volts between the cells and the terminals.
    pub(crate) fn line_drop(&self) -> f64 {
        self.amps * LINE_OHMS
    }

    /// Part of the charge that is there.
    pub(crate) fn fill(&self) -> f64 {
        let charge: f64 = self.cells.iter().map(Cell::charge_ah).sum();
        let capacity: f64 = self.cells.iter().map(Cell::capacity_ah).sum();
        (charge / capacity).clamp(0.0, 1.0)
    }

    /// State of health in percent.
    pub(crate) fn health(&self) -> f64 {
        (self.energy.health_at_first - self.energy.discharged * WEAR_PER_KWH).max(0.0)
    }

    /// kWh that went in and came out so far.
    pub(crate) fn energy(&self) -> (f64, f64) {
        (self.energy.charged, self.energy.discharged)
    }

    pub(crate) fn errors(&self) -> &'static str {
        self.alarm.map_or(words::NO_ERRORS, |alarm| alarm.word)
    }

    pub(crate) fn system_state(&self) -> &'static str {
        if self.is_breaker_open() {
            words::PROTECTED
        } else if self.bled.contains(&true) {
            words::BALANCING
        } else {
            words::NORMAL
        }
    }

    pub(crate) fn breaker(&self) -> &'static str {
        if self.is_breaker_open() { words::OPEN } else { words::CLOSED }
    }

    /// The word, and the number that the firmware puts behind it.
    pub(crate) fn charge_state(&self) -> (&'static str, &'static str) {
        if self.amps.abs() < 0.5 {
            words::IDLE
        } else if self.amps < 0.0 {
            words::DISCHARGE
        } else if self.stage == Stage::Taper {
            words::TAPER
        } else {
            words::CHARGE
        }
    }

    /// What a sensor with this `deviation` reads of `value`.
    pub(crate) fn reading(&mut self, value: f64, deviation: f64) -> f64 {
        value + deviation * normal(&mut self.sensors)
    }
}
