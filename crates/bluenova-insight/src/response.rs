//! How the voltages of the cells answer to the current within a minute.

use serde::{Deserialize, Serialize};

use crate::{packed, per_cell::PerCell};

/// Least change of the current from minute to minute, in amperes, that says something.
const LEAST_STEP: f32 = 2.0;
/// Sum of the squares of such changes from which the answer is known, in A².
const LEAST_SQUARES: f32 = 200.0;
/// What is left of the sums after each change: some hundred count.
const FORGET: f32 = 0.998;

/// Resistance of each cell from one minute to the next.
///
/// It includes what builds up within a minute, and is there to take that off a voltage; the
/// resistance that is shown comes from samples.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Response {
    /// Of the minute before. A restart costs some minutes.
    #[serde(skip)]
    last: Option<(f32, PerCell)>,
    squares: f32,
    #[serde(with = "packed")]
    products: PerCell,
}

impl Response {
    /// Takes the means of a minute. Off the plateau the voltage changes by itself.
    pub(crate) fn add(&mut self, amps: f32, volts: &PerCell, is_plateau: bool) {
        let last = std::mem::replace(&mut self.last, is_plateau.then_some((amps, *volts)));
        let Some((last_amps, last_volts)) = last.filter(|_| is_plateau) else { return };
        let step = amps - last_amps;
        if step.abs() < LEAST_STEP {
            return;
        }
        self.squares = self.squares * FORGET + step * step;
        for cell in 0..volts.len() {
            let product = step * (volts[cell] - last_volts[cell]);
            self.products[cell] = self.products[cell] * FORGET + product;
        }
    }

    /// The next minute doesn't follow the last one.
    pub(crate) fn forget_last(&mut self) {
        self.last = None;
    }

    /// Ohms of each of `count` cells; `None` until it is known.
    pub(crate) fn ohms(&self, count: usize) -> Option<PerCell> {
        let ohms = self.products.map(|product| product / self.squares.max(1e-6));
        let is_plausible = ohms[..count].iter().all(|ohms| (1e-5..0.05).contains(ohms));
        (self.squares >= LEAST_SQUARES && is_plausible).then_some(ohms)
    }
}
