//! What may be wrong with a battery itself, whatever its link does.

use crate::{Battery, Fault};

/// Amperes that charge a battery with [`Fault::Frost`], at least.
pub(crate) const FROST_AMPS: f64 = 5.0;
/// °C of all its cells.
pub(crate) const FROST_CELSIUS: f64 = -6.0;

/// Index of the cell that differs with [`Fault::CellSpread`].
pub(crate) const LOW_CELL: usize = 6;
/// Millivolts that it has less than it would.
pub(crate) const LOW_CELL_MILLIVOLTS: f64 = 200.0;

/// State of charge (0 to 1) of a battery with [`Fault::LowCharge`], at most.
const LOW_CHARGE: f64 = 0.04;

/// What is wrong with a battery now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) has_errors: bool,
    pub(crate) breaker_is_open: bool,
    pub(crate) is_frozen: bool,
    pub(crate) cell_is_low: bool,
    /// What its charge was divided by.
    drained_by: Option<f64>,
}

impl Conditions {
    /// Whether it was drained, and isn't charged until it is healthy.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained_by.is_some()
    }
}

impl Battery {
    /// Has the battery suffer a fault of its own, beside those that it has; healthy ends all, and
    /// brings back the charge that it had. A fault of its link changes nothing.
    pub fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Healthy => {
                let drained_by = std::mem::take(&mut self.conditions).drained_by;
                self.scale_charge(drained_by.unwrap_or(1.0));
            }
            Fault::Errors => self.conditions.has_errors = true,
            Fault::Breaker => self.conditions.breaker_is_open = true,
            Fault::Frost => self.conditions.is_frozen = true,
            Fault::CellSpread => self.conditions.cell_is_low = true,
            Fault::LowCharge if !self.conditions.is_drained() => {
                let drained_by = (self.fill() / LOW_CHARGE).max(1.0);
                self.scale_charge(1.0 / drained_by);
                self.conditions.drained_by = Some(drained_by);
            }
            Fault::LowCharge
            | Fault::Silence
            | Fault::HalfOpen
            | Fault::Malformed { .. }
            | Fault::Drop
            | Fault::Giant => {}
        }
    }
}
