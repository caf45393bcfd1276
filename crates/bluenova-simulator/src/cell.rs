use fastrand::Rng;

/// Ampere-hours that the maker prints on a cell.
pub(crate) const NOMINAL_AH: f64 = 280.0;

/// Seconds in which the slow part of a cell's voltage drop builds up and decays.
const POLARISATION_SECONDS: f64 = 240.0;

/// Seconds in which a cell's temperature follows what heats and cools it.
const THERMAL_SECONDS: f64 = 2.5 * 3600.0;

/// One LiFePO4 cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// What it really holds, in ampere-hours.
    capacity_ah: f64,
    /// What it holds now.
    charge_ah: f64,
    /// Its voltage at rest with that charge: asked for more often than the charge changes.
    rest_volts: f64,
    /// Immediate resistance.
    ohms: f64,
    /// Amperes that it loses on its own.
    leak_amps: f64,
    /// The slow part of the voltage drop, in volts.
    polarisation: f64,
    /// Kelvin above the surroundings per watt of its own heat.
    kelvin_per_watt: f64,
    celsius: f64,
}

impl Cell {
    /// The cell at `place`, counted from 0, of a pack charged to about `fill` (0 to 1).
    pub(crate) fn new(place: usize, fill: f64, celsius: f64, rng: &mut Rng) -> Self {
        let capacity_ah = NOMINAL_AH * spread(rng, 0.012);
        let fill = (fill + 0.005 * (rng.f64() - 0.5)).clamp(0.0, 1.0);
        Self {
            capacity_ah,
            charge_ah: capacity_ah * fill,
            rest_volts: open_circuit_volts(fill),
            ohms: 0.000_45 * spread(rng, 0.18),
            leak_amps: 0.004 * spread(rng, 0.8),
            polarisation: 0.0,
            // Two rows of eight: the ones in the middle get rid of their heat worst.
            kelvin_per_watt: 1.1 + 0.6 * (1.0 - ((place % 8) as f64 - 3.5).abs() / 3.5),
            celsius,
        }
    }

    pub(crate) fn capacity_ah(&self) -> f64 {
        self.capacity_ah
    }

    pub(crate) fn charge_ah(&self) -> f64 {
        self.charge_ah
    }

    pub(crate) fn ohms(&self) -> f64 {
        self.ohms
    }

    pub(crate) fn celsius(&self) -> f64 {
        self.celsius
    }

    /// Volts without the immediate drop of a current.
    pub(crate) fn inner_volts(&self) -> f64 {
        self.rest_volts + self.polarisation
    }

    /// Volts at the terminals while `amps` flow in.
    pub(crate) fn volts(&self, amps: f64) -> f64 {
        self.inner_volts() + amps * self.ohms
    }

    /// Lets `amps` flow in for `seconds`.
    pub(crate) fn advance(&mut self, amps: f64, ambient: f64, seconds: f64) {
        let net = (amps - self.leak_amps) * seconds / 3600.0;
        self.charge_ah = (self.charge_ah + net).clamp(0.0, self.capacity_ah * 1.02);
        self.rest_volts = open_circuit_volts(self.charge_ah / self.capacity_ah);
        approach(&mut self.polarisation, amps * self.ohms * 2.0, seconds / POLARISATION_SECONDS);
        let watts = amps * amps * self.ohms * 3.0;
        let balance = ambient + watts * self.kelvin_per_watt;
        approach(&mut self.celsius, balance, seconds / THERMAL_SECONDS);
    }
}

/// Moves `value` towards `target` as a thing with inertia does; exact for any time step, given in
/// time constants.
pub(crate) fn approach(value: &mut f64, target: f64, time_constants: f64) {
    *value = target + (*value - target) * (-time_constants).exp();
}

/// 1 give or take `part`.
fn spread(rng: &mut Rng, part: f64) -> f64 {
    1.0 + part * (2.0 * rng.f64() - 1.0)
}

/// Volts of a rested LiFePO4 cell that is filled to `fill` (0 to 1 and a little above).
///
/// A flat slope with two gentle steps, where the graphite changes its phase, and a knee at each
/// end.
fn open_circuit_volts(fill: f64) -> f64 {
    3.27 + 0.045 * fill
        + 0.010 * ((fill - 0.30) / 0.08).tanh()
        + 0.010 * ((fill - 0.66) / 0.04).tanh()
        - 0.45 * (-fill / 0.035).exp()
        + 0.10 * ((fill - 1.0) / 0.02).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_flat_between_two_knees() {
        let mut before = 0.0;
        for percent in 0..=102 {
            let volts = open_circuit_volts(f64::from(percent) / 100.0);
            assert!(volts > before, "rises all the way, {percent} %");
            match percent {
                0 => assert!((2.75..2.85).contains(&volts), "{volts}"),
                20..=94 => assert!((3.25..3.34).contains(&volts), "{percent} %: {volts}"),
                100 => assert!((3.40..3.50).contains(&volts), "{volts}"),
                _ => {}
            }
            before = volts;
        }
    }

    #[test]
    fn a_cell_counts_what_flows_and_warms_slowly() {
        let mut cell = Cell::new(3, 0.5, 20.0, &mut Rng::with_seed(1));
        let before = cell.charge_ah();
        for _ in 0..360 {
            cell.advance(100.0, 20.0, 10.0);
        }
        assert!((cell.charge_ah() - before - 100.0).abs() < 0.01);
        assert!((20.5..30.0).contains(&cell.celsius()), "{}", cell.celsius());
        assert!(cell.volts(100.0) > cell.volts(0.0) && cell.volts(0.0) > cell.volts(-100.0));
    }
}
