use std::time::Duration;

use bluenova_record::{CELLS, PackRecord};
use fastrand::Rng;
use time::UtcDateTime;

use crate::{
    cell::{Cell, approach},
    conditions::{Conditions, FROST_AMPS},
    household::{Household, normal},
    texts,
};

/// Longest step of the model, in seconds.
const STEP_SECONDS: f64 = 10.0;

/// Volts of the pack at which the charger holds it (constant voltage).
const CHARGE_VOLTS: f64 = 55.2;
/// Amperes that the charger brings at most.
const CHARGE_AMPS: f64 = 100.0;
/// Amperes that the inverter draws at most.
const DISCHARGE_AMPS: f64 = 110.0;
/// Amperes below which a charge at constant voltage ends.
const TAIL_AMPS: f64 = 5.0;

/// State of charge (0 to 1) at which the inverter stops to draw: the grid takes over.
const RESERVE: f64 = 0.10;
/// State of charge (0 to 1) below which a full battery is charged again.
const RECHARGE: f64 = 0.97;

/// Ohms between the cells and the terminals.
const LINE_OHMS: f64 = 0.000_6;

/// Identity of a simulated battery, and how it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Serial number of its controller.
    pub mcu_id: u32,
    /// Number of units in its bank.
    pub n_units: i16,
    /// Its rank in the bank.
    pub unit_rank: i16,
    /// Seed of its cells, its weather and its household: the same seed gives the same lines.
    pub seed: u64,
    /// State of charge at the start, in percent; a value beyond 0 to 100 counts as the limit.
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

/// Model of a battery of 16 LiFePO4 cells in a house with solar panels.
///
/// It is charged by the sun, at constant current and then at constant voltage, and discharged by
/// the household. It fails only where it is made to [suffer](Self::suffer), and its cells do not
/// age. Nothing in it reads a clock or another source of randomness than the seed of its
/// [`Profile`].
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
/// let printed = battery.print_cycle(&mut console);
/// assert!(console.contains(&format!("SOC: {}\r\n", printed.soc)));
/// ```
#[derive(Clone, Debug)]
pub struct Battery {
    profile: Profile,
    time: UtcDateTime,
    pub(crate) cells: [Cell; CELLS],
    household: Household,
    /// Noise of the sensors and of the console, apart from the household's: what happens does not
    /// depend on how often it is printed.
    pub(crate) sensors: Rng,
    amps: f64,
    stage: ChargeStage,
    /// kWh that were charged in the battery's life.
    charged: f64,
    /// kWh that were discharged in the battery's life.
    discharged: f64,
    /// State of health in percent.
    health: f64,
    pub(crate) conditions: Conditions,
    /// When the energy was printed last.
    pub(crate) energy_printed: Option<UtcDateTime>,
}

/// How far a charge has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ChargeStage {
    /// The sun sets the current.
    Bulk,
    /// The voltage of the pack limits it.
    Taper,
    /// It is over.
    Full,
}

impl Battery {
    /// A battery as `profile` has it.
    pub fn new(profile: Profile) -> Self {
        let mut rng = Rng::with_seed(profile.seed);
        let household = Household::new(rng.fork(), profile.start);
        let celsius = household.ambient() + 2.0;
        let fill = if profile.soc.is_nan() { 0.0 } else { profile.soc.clamp(0.0, 100.0) / 100.0 };
        let discharged = 800.0 + 6000.0 * rng.f64();
        Self {
            cells: std::array::from_fn(|_| Cell::new(fill, celsius, &mut rng)),
            household,
            sensors: rng.fork(),
            amps: 0.0,
            stage: ChargeStage::Bulk,
            charged: discharged * 1.04,
            discharged,
            health: 100.0 - 3.0 * rng.f64(),
            conditions: Conditions::default(),
            energy_printed: None,
            time: profile.start,
            profile,
        }
    }

    /// The two batteries of one bank, of rank 1 and 2.
    pub fn pair(start: UtcDateTime) -> [Self; 2] {
        [1, 2].map(|rank: u8| {
            let profile = Profile::new(rank.into(), start);
            Self::new(Profile { n_units: 2, unit_rank: rank.into(), ..profile })
        })
    }

    /// This battery as `row`, one of its own, has left it: at that time, with that state of charge
    /// and those energies. Sun and household begin anew.
    pub fn resumed(&self, row: &PackRecord) -> Self {
        let soc = row.soc.map_or(self.profile.soc, f64::from);
        let start = row.insert_time_utc;
        let mut battery = Self::new(Profile { soc, start, ..self.profile.clone() });
        if let (Some(charged), Some(discharged)) = (row.energy_in, row.energy_out) {
            (battery.charged, battery.discharged) = (charged.into(), discharged.into());
        }
        battery
    }

    /// Its identity, and how it started.
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
        self.settle_current(seconds);
        let ambient = self.household.ambient();
        for cell in &mut self.cells {
            cell.advance(self.amps, ambient, seconds);
        }
        let kwh = self.terminal_volts() * self.amps.abs() * seconds / 3.6e6;
        if self.amps > 0.0 {
            self.charged += kwh;
        } else {
            self.discharged += kwh;
        }
    }

    /// Brings the current to what sun, house and charger make of it.
    fn settle_current(&mut self, seconds: f64) {
        let Conditions { breaker_is_open, is_frozen, .. } = self.conditions;
        if breaker_is_open {
            self.amps = 0.0;
            return;
        }
        self.follow_demand(seconds);
        if is_frozen {
            self.amps = self.amps.max(FROST_AMPS);
        }
    }

    fn follow_demand(&mut self, seconds: f64) {
        let limit = self.charge_limit();
        let surplus = self.household.sun_watts() - self.household.load_watts();
        let demand = match self.conditions.is_drained() {
            true => 0.0,
            false => self.amps_of_surplus(surplus),
        };
        // Inverter and charger need some seconds to follow.
        approach(&mut self.amps, demand.min(limit), seconds / 2.0);
        self.amps = self.amps.min(limit);

        self.stage = match self.stage {
            ChargeStage::Full if self.fill() >= RECHARGE => ChargeStage::Full,
            ChargeStage::Taper if limit < TAIL_AMPS && demand > limit => ChargeStage::Full,
            _ if demand > limit => ChargeStage::Taper,
            _ => ChargeStage::Bulk,
        };
    }

    /// Amperes that `surplus` watts would bring, before the voltage limits them.
    fn amps_of_surplus(&self, surplus: f64) -> f64 {
        let volts = self.terminal_volts().max(40.0);
        // Charger and inverter lose some percent each.
        if surplus >= 0.0 {
            match self.stage {
                ChargeStage::Full => 0.0,
                _ => (surplus * 0.96 / volts).min(CHARGE_AMPS),
            }
        } else if self.fill() <= RESERVE {
            0.0
        } else {
            (surplus / 0.94 / volts).max(-DISCHARGE_AMPS)
        }
    }

    /// Amperes at which the pack reaches its voltage limit.
    fn charge_limit(&self) -> f64 {
        let rest: f64 = self.cells.iter().map(Cell::rest_volts).sum();
        let ohms: f64 = self.cells.iter().map(Cell::ohms).sum();
        ((CHARGE_VOLTS - rest) / (ohms + LINE_OHMS)).max(0.0)
    }

    /// Amperes; positive charges.
    pub(crate) fn amps(&self) -> f64 {
        self.amps
    }

    /// Volts between the terminals.
    fn terminal_volts(&self) -> f64 {
        let cells: f64 = self.cells.iter().map(|cell| cell.volts(self.amps)).sum();
        cells + self.line_drop()
    }

    /// Volts between the cells and the terminals.
    pub(crate) fn line_drop(&self) -> f64 {
        self.amps * LINE_OHMS
    }

    /// State of charge, 0 to 1.
    pub(crate) fn fill(&self) -> f64 {
        let charge: f64 = self.cells.iter().map(Cell::charge_ah).sum();
        let capacity: f64 = self.cells.iter().map(Cell::capacity_ah).sum();
        (charge / capacity).clamp(0.0, 1.0)
    }

    /// Multiplies the charge of all cells.
    pub(crate) fn scale_charge(&mut self, factor: f64) {
        self.cells.iter_mut().for_each(|cell| cell.scale_charge(factor));
    }

    /// State of health in percent.
    pub(crate) fn health(&self) -> f64 {
        self.health
    }

    /// kWh that were charged and discharged so far.
    pub(crate) fn energy(&self) -> (f64, f64) {
        (self.charged, self.discharged)
    }

    /// The charge state's text, and the number that the firmware puts behind it.
    pub(crate) fn charge_state(&self) -> (&'static str, &'static str) {
        if self.amps.abs() < 0.5 {
            texts::IDLE
        } else if self.amps < 0.0 {
            texts::DISCHARGE
        } else if self.stage == ChargeStage::Taper {
            texts::TAPER
        } else {
            texts::CHARGE
        }
    }

    /// What a sensor with this `deviation` measures of `value`.
    pub(crate) fn measure(&mut self, value: f64, deviation: f64) -> f64 {
        value + deviation * normal(&mut self.sensors)
    }
}
