use fastrand::Rng;

/// Ampere-hours that the maker prints on a cell.
const NOMINAL_AH: f64 = 280.0;

/// Seconds in which a cell's temperature follows what heats and cools it.
const THERMAL_SECONDS: f64 = 2.5 * 3600.0;

/// One LiFePO4 cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    capacity_ah: f64,
    charge_ah: f64,
    /// Its voltage at rest with that charge: read more often than the charge changes.
    rest_volts: f64,
    ohms: f64,
    /// Kelvin above the surroundings per watt of its own heat.
    kelvin_per_watt: f64,
    celsius: f64,
}

impl Cell {
    /// A cell that is charged to about `fill` (0 to 1), and a little different from all others.
    pub(crate) fn new(fill: f64, celsius: f64, rng: &mut Rng) -> Self {
        let capacity_ah = NOMINAL_AH * spread(rng, 0.012);
        let fill = (fill + 0.005 * (rng.f64() - 0.5)).clamp(0.0, 1.0);
        Self {
            capacity_ah,
            charge_ah: capacity_ah * fill,
            rest_volts: rest_volts(fill),
            ohms: 0.001_2 * spread(rng, 0.18),
            kelvin_per_watt: 1.4 * spread(rng, 0.25),
            celsius,
        }
    }

    pub(crate) fn capacity_ah(&self) -> f64 {
        self.capacity_ah
    }

    pub(crate) fn charge_ah(&self) -> f64 {
        self.charge_ah
    }

    pub(crate) fn rest_volts(&self) -> f64 {
        self.rest_volts
    }

    pub(crate) fn ohms(&self) -> f64 {
        self.ohms
    }

    pub(crate) fn celsius(&self) -> f64 {
        self.celsius
    }

    /// Volts at the terminals while `amps` flow in.
    pub(crate) fn volts(&self, amps: f64) -> f64 {
        self.rest_volts + amps * self.ohms
    }

    /// Multiplies its charge, which is full at most then.
    pub(crate) fn scale_charge(&mut self, factor: f64) {
        self.charge_ah = (self.charge_ah * factor).min(self.capacity_ah * 1.02);
        self.rest_volts = rest_volts(self.charge_ah / self.capacity_ah);
    }

    /// Lets `amps` flow in for `seconds`.
    pub(crate) fn advance(&mut self, amps: f64, ambient: f64, seconds: f64) {
        let charge = self.charge_ah + amps * seconds / 3600.0;
        self.charge_ah = charge.clamp(0.0, self.capacity_ah * 1.02);
        self.rest_volts = rest_volts(self.charge_ah / self.capacity_ah);
        let balance = ambient + amps * amps * self.ohms * self.kelvin_per_watt;
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

/// Volts of a rested LiFePO4 cell that is filled to `fill` (0 to 1 and a little above): a flat
/// slope with two gentle steps, where the graphite changes its phase, and a knee at each end.
pub(crate) fn rest_volts(fill: f64) -> f64 {
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
            let volts = rest_volts(f64::from(percent) / 100.0);
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
        let mut cell = Cell::new(0.5, 20.0, &mut Rng::with_seed(1));
        let before = cell.charge_ah();
        for _ in 0..360 {
            cell.advance(100.0, 20.0, 10.0);
        }
        assert!((cell.charge_ah() - before - 100.0).abs() < 0.01);
        assert!((20.5..30.0).contains(&cell.celsius()), "{}", cell.celsius());
        assert!(cell.volts(100.0) > cell.volts(0.0) && cell.volts(0.0) > cell.volts(-100.0));
    }
}
