//! Energy and charge, counted over the samples.

use serde::{Deserialize, Serialize};

/// Energy and charge that went into a battery and out of it. They never fall.
///
/// Between two samples the mean of both counts (the trapezoid rule), unless they are too far apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Energy charged, in watt-hours at the terminals.
    pub energy_in_wh: f64,
    /// Energy discharged, in watt-hours at the terminals.
    pub energy_out_wh: f64,
    /// Charge that went in, in ampere-hours.
    pub charge_in_ah: f64,
    /// Charge that went out, in ampere-hours.
    pub charge_out_ah: f64,
}

/// Volts and amperes at one moment; positive amperes charge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) volts: f64,
    pub(crate) amps: f64,
}

impl Flow {
    pub(crate) fn watts(self) -> f64 {
        self.volts * self.amps
    }
}

impl Counters {
    /// Adds what flowed in `seconds` between two samples.
    pub(crate) fn add(&mut self, from: Flow, to: Flow, seconds: f64) {
        let hours = seconds / 3600.0;
        let (energy_in, energy_out) = in_and_out(from.watts(), to.watts(), hours);
        self.energy_in_wh += energy_in;
        self.energy_out_wh += energy_out;
        let (charge_in, charge_out) = in_and_out(from.amps, to.amps, hours);
        self.charge_in_ah += charge_in;
        self.charge_out_ah += charge_out;
    }
}

/// The areas above and below zero of the line from `a` to `b`.
fn in_and_out(a: f64, b: f64, width: f64) -> (f64, f64) {
    if (a < 0.0) == (b < 0.0) {
        let area = (a + b) / 2.0 * width;
        return (area.max(0.0), (-area).max(0.0));
    }
    // The line crosses zero: a triangle on either side.
    let part_of_a = a / (a - b);
    let (area_a, area_b) = (a / 2.0 * part_of_a * width, b / 2.0 * (1.0 - part_of_a) * width);
    (area_a.max(area_b).max(0.0), (-area_a.min(area_b)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_direction_has_a_part_on_either_side() {
        for (a, b, expected) in [
            (10.0, 20.0, (15.0, 0.0)),
            (-10.0, -20.0, (0.0, 15.0)),
            (0.0, 10.0, (5.0, 0.0)),
            (0.0, -10.0, (0.0, 5.0)),
            (0.0, 0.0, (0.0, 0.0)),
            (-10.0, 30.0, (11.25, 1.25)),
            (30.0, -10.0, (11.25, 1.25)),
        ] {
            assert_eq!(in_and_out(a, b, 1.0), expected, "{a} to {b}");
        }
    }
}
