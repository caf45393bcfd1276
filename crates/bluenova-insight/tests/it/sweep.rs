//! Many batteries for 30 days each: some minutes in a release build, so only when asked for.
//!
//! `cargo test --profile dist -p bluenova-insight -- --ignored --nocapture`

use fastrand::Rng;

use crate::{
    estimates::figures_of,
    model::{Firmware, Load, Truth},
};

/// Relative errors of the figures of one sort.
#[derive(Default)]
struct Errors {
    all: Vec<f64>,
    unknown: usize,
    outside: usize,
}

impl Errors {
    fn add(&mut self, estimate: Option<bluenova_insight::Estimate>, truth: f64) {
        let Some(estimate) = estimate else {
            self.unknown += 1;
            return;
        };
        let error = estimate.value - truth;
        self.all.push((error / truth).abs());
        self.outside += usize::from(error.abs() > estimate.plus_minus);
    }

    fn report(&mut self) -> String {
        self.all.sort_by(f64::total_cmp);
        let percent = |i: usize| self.all.get(i).map_or(f64::NAN, |error| error * 100.0);
        let (median, worst) = (percent(self.all.len() / 2), percent(self.all.len().max(1) - 1));
        let (known, unknown, outside) = (self.all.len(), self.unknown, self.outside);
        format!(
            "median {median:.2} %, worst {worst:.2} %, {known} known, {unknown} not, \
             {outside} outside plus_minus"
        )
    }

    fn worst(&self) -> f64 {
        self.all.last().copied().unwrap_or_default()
    }
}

#[test]
#[ignore = "takes minutes"]
fn many_batteries() {
    let number = |name, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (seeds, days) = (number("SEEDS", 10), number("DAYS", 30));
    let mut is_right = true;
    for load in [Load::Household, Load::Constant, Load::Steps, Load::Shallow] {
        for firmware in [
            Firmware::Right,
            Firmware::StandsStill(0.9),
            Firmware::CountsSensor,
            Firmware::CountsLessUp(0.85),
        ] {
            let (mut capacity, mut resistance) = (Errors::default(), Errors::default());
            for seed in 0..seeds {
                let mut rng = Rng::with_seed(seed + 1000);
                let truth = Truth::random(&mut rng, firmware, load);
                let figures = figures_of(&truth, seed, days as f64, 1.0);
                capacity.add(figures.capacity_ah, truth.capacity_ah);
                for (cell, truth) in figures.cells.iter().zip(&truth.milliohms) {
                    resistance.add(cell.resistance_mohm, *truth);
                }
            }
            println!("{load:?}, {firmware:?}");
            println!("  capacity:   {}", capacity.report());
            println!("  resistance: {}", resistance.report());
            is_right &= capacity.worst() < 0.03 && resistance.worst() < 0.1;
            is_right &= capacity.unknown == 0 || load == Load::Shallow;
        }
    }
    assert!(is_right);
}
