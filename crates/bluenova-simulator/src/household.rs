use std::f64::consts::PI;

use fastrand::Rng;
use time::UtcDateTime;

use crate::cell::approach;

/// Watts that the panels bring at noon under a clear sky.
const PANEL_WATTS: f64 = 4200.0;

/// The panels that charge a battery, and the people who drain it.
///
/// The sun stands highest at 12:00 UTC and is up from 06:00 to 18:00; every day is like the other
/// but for the clouds.
#[derive(Clone, Debug)]
pub(crate) struct Household {
    rng: Rng,
    /// Cloud cover, wandering about 0.
    cloud: f64,
    /// Small change of the load, wandering about 0.
    unrest: f64,
    hour: f64,
}

impl Household {
    pub(crate) fn new(rng: Rng, time: UtcDateTime) -> Self {
        Self { rng, cloud: 0.0, unrest: 0.0, hour: hour_of_day(time) }
    }

    /// Goes on to `time`, which is `seconds` later.
    pub(crate) fn advance(&mut self, time: UtcDateTime, seconds: f64) {
        self.hour = hour_of_day(time);
        wander(&mut self.cloud, seconds / 400.0, &mut self.rng);
        wander(&mut self.unrest, seconds / 60.0, &mut self.rng);
    }

    /// Watts from the panels: clouds take up to half of it.
    pub(crate) fn sun_watts(&self) -> f64 {
        let height = ((self.hour - 6.0) * PI / 12.0).sin().max(0.0);
        PANEL_WATTS * height * (0.75 - 0.25 * self.cloud.tanh())
    }

    /// Watts that the house draws, most of them in the morning and in the evening.
    pub(crate) fn load_watts(&self) -> f64 {
        let bump = |at: f64, hours: f64| (-((self.hour - at) / hours).powi(2)).exp();
        let people = 900.0 * bump(7.0, 1.0) + 250.0 * bump(13.0, 2.5) + 1500.0 * bump(19.3, 1.8);
        (300.0 + people) * (1.0 + 0.1 * self.unrest)
    }

    /// °C around the battery: warmest in the afternoon.
    pub(crate) fn ambient(&self) -> f64 {
        21.0 + 3.5 * ((self.hour - 9.0) * PI / 12.0).sin()
    }
}

fn hour_of_day(time: UtcDateTime) -> f64 {
    let (hour, minute, second, nanosecond) = time.as_hms_nano();
    let seconds = f64::from(second) + f64::from(nanosecond) / 1e9;
    f64::from(hour) + f64::from(minute) / 60.0 + seconds / 3600.0
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
        let mut household = Household::new(Rng::with_seed(3), UtcDateTime::UNIX_EPOCH);
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
