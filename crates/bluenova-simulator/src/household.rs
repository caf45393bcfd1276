use std::f64::consts::PI;

use fastrand::Rng;
use time::UtcDateTime;

use crate::cell::approach;

/// Watts that the panels bring at noon under a clear sky.
const PANEL_WATTS: f64 = 5200.0;

/// Panels, people and weather around a battery: what it is charged from and drained by.
///
/// The sun stands highest at 12:00 UTC and is up from 06:00 to 18:00.
#[derive(Clone, Debug)]
pub(crate) struct Household {
    seed: u64,
    rng: Rng,
    /// Whether a cloud stands before the sun, as a value that wanders about 0.
    cloud: f64,
    /// Small change of the load, wandering about 0.
    unrest: f64,
    /// Watts and remaining seconds of the appliance that somebody switched on.
    appliance: Option<(f64, f64)>,
    hour: f64,
    day: i64,
}

impl Household {
    pub(crate) fn new(seed: u64, time: UtcDateTime) -> Self {
        let mut household = Self {
            seed,
            rng: Rng::with_seed(seed ^ 0x5EED_0F50),
            cloud: 0.0,
            unrest: 0.0,
            appliance: None,
            hour: 0.0,
            day: 0,
        };
        household.set_time(time);
        household
    }

    /// Goes on to `time`, which is `seconds` later.
    pub(crate) fn advance(&mut self, time: UtcDateTime, seconds: f64) {
        self.set_time(time);
        wander(&mut self.cloud, seconds / 400.0, &mut self.rng);
        wander(&mut self.unrest, seconds / 60.0, &mut self.rng);
        self.appliance = match self.appliance {
            Some((watts, left)) if left > seconds => Some((watts, left - seconds)),
            _ => self.somebody_switches_on(seconds),
        };
    }

    /// Watts from the panels.
    pub(crate) fn sun_watts(&self) -> f64 {
        let height = ((self.hour - 6.0) * PI / 12.0).sin();
        if height <= 0.0 {
            return 0.0;
        }
        let clearness = self.clearness();
        let covered = 1.0 / (1.0 + (-4.0 * (self.cloud - 0.3)).exp());
        PANEL_WATTS * height.powf(1.2) * clearness * (1.0 - (1.0 - clearness) * 1.6 * covered)
    }

    /// Watts that the house draws.
    pub(crate) fn load_watts(&self) -> f64 {
        let bump = |at: f64, hours: f64| (-((self.hour - at) / hours).powi(2)).exp();
        let people = 900.0 * bump(7.0, 1.0) + 250.0 * bump(13.0, 2.5) + 1500.0 * bump(19.3, 1.8);
        // A fridge: on for a third of 40 minutes, at a time of its own in each house.
        let fridge_phase = (self.hour * 1.5 + (self.seed % 17) as f64 / 17.0).fract();
        let fridge = if fridge_phase < 0.35 { 130.0 } else { 0.0 };
        let appliance = self.appliance.map_or(0.0, |(watts, _)| watts);
        260.0 + people * (1.0 + 0.08 * self.unrest) + 25.0 * self.unrest + fridge + appliance
    }

    /// °C around the battery: warmest in the afternoon.
    pub(crate) fn ambient(&self) -> f64 {
        let swing = ((self.hour - 9.0) * PI / 12.0).sin();
        16.0 + 6.0 * self.clearness() + 3.5 * swing
    }

    fn set_time(&mut self, time: UtcDateTime) {
        let seconds = time.unix_timestamp();
        self.day = seconds.div_euclid(86_400);
        let of_day = seconds.rem_euclid(86_400) as f64 + f64::from(time.nanosecond()) / 1e9;
        self.hour = of_day / 3600.0;
    }

    /// How clear the sky is, 0.6 to 1. It passes smoothly from one day's to the next at night, so
    /// that nothing jumps at midnight.
    fn clearness(&self) -> f64 {
        let of = |day: i64| {
            let mut rng = Rng::with_seed(self.seed ^ day.cast_unsigned().rotate_left(32));
            0.6 + 0.4 * rng.f64().sqrt()
        };
        let today = of(self.day);
        let towards_tomorrow = ((self.hour - 20.0) / 4.0).max(0.0);
        today + (of(self.day + 1) - today) * towards_tomorrow
    }

    /// By day somebody switches something on once an hour or so: a kettle, a stove, a washing
    /// machine.
    fn somebody_switches_on(&mut self, seconds: f64) -> Option<(f64, f64)> {
        let per_hour = if (6.0..22.5).contains(&self.hour) { 1.2 } else { 0.1 };
        if self.rng.f64() >= per_hour * seconds / 3600.0 {
            return None;
        }
        Some(match self.rng.u8(0..10) {
            0..6 => (1900.0, self.rng.f64() * 120.0 + 120.0),
            6..9 => (1100.0, self.rng.f64() * 600.0 + 200.0),
            _ => (1700.0, self.rng.f64() * 1500.0 + 1500.0),
        })
    }
}

/// Lets `value` wander about 0 with a deviation of about 1, forgetting where it was in one time
/// constant.
fn wander(value: &mut f64, time_constants: f64, rng: &mut Rng) {
    approach(value, 0.0, time_constants);
    let kick = (1.0 - (-2.0 * time_constants).exp()).sqrt();
    *value += kick * normal(rng);
}

/// About normally distributed: mean 0, deviation 1, never beyond 6.
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn the_sun_shines_by_day_and_the_house_always_draws() {
        let mut household = Household::new(3, UtcDateTime::UNIX_EPOCH);
        for minute in 0..1440 {
            let time = UtcDateTime::UNIX_EPOCH + Duration::minutes(minute);
            household.advance(time, 60.0);
            let (sun, load) = (household.sun_watts(), household.load_watts());
            match minute / 60 {
                0..6 | 18.. => assert!(sun < 1e-9, "minute {minute}: {sun}"),
                9..15 => assert!(sun > 500.0, "minute {minute}: {sun}"),
                _ => assert!(sun >= 0.0),
            }
            assert!(sun <= PANEL_WATTS);
            assert!((100.0..6000.0).contains(&load), "minute {minute}: {load}");
            assert!((5.0..35.0).contains(&household.ambient()));
        }
    }

    #[test]
    fn normal_numbers_are_normal() {
        let mut rng = Rng::with_seed(1);
        let values: Vec<f64> = (0..10_000).map(|_| normal(&mut rng)).collect();
        let mean = values.iter().sum::<f64>() / 1e4;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
