//! The house of a battery that is fast-forwarded: what its currents are made of, second by second.

use fastrand::Rng;
use time::UtcDateTime;

use crate::household::Household;

/// Seconds between two looks at what changes slowly.
const SLOW_SECONDS: f64 = 10.0;
/// Days in which at least one spell of grey days lies.
const SPELL_DAYS: i64 = 10;
/// Part of the sun that a grey day leaves.
const GREY: f64 = 0.2;
/// Part of the sun that the edge of a cloud leaves.
const SHADE: f64 = 0.35;

/// A house whose sun and load change as real ones do: slowly by the hour, and in steps where a
/// cloud or a thermostat makes them.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    household: Household,
    rng: Rng,
    appliances: [Appliance; 6],
    /// Seconds since the slow part was worked out.
    since_slow: f64,
    load_watts: f64,
    sun_watts: f64,
    ambient: f64,
    is_shaded: bool,
    shade_seconds: f64,
    first_day: i64,
    /// The block of days, and the grey ones in it.
    spell: (i64, std::ops::Range<i64>),
}

/// A consumer that is either on or off.
#[derive(Clone, Debug)]
struct Appliance {
    watts: f64,
    /// Mean seconds on, and off within a session.
    on: f64,
    off: f64,
    /// Mean seconds of a session, and between two of them by day; a session is one appliance in
    /// use: a meal, a wash.
    session: f64,
    pause: f64,
    is_on: bool,
    switch_in: f64,
    /// Seconds that are left of the session or, below zero, until the next one.
    session_left: f64,
}

impl Appliance {
    const fn new(watts: f64, (on, off): (f64, f64), (session, pause): (f64, f64)) -> Self {
        Self { watts, on, off, session, pause, is_on: false, switch_in: 0.0, session_left: -1.0 }
    }

    fn watts(&mut self, seconds: f64, is_night: bool, rng: &mut Rng) -> f64 {
        if self.session_left > 0.0 {
            self.session_left -= seconds;
            self.switch_in -= seconds;
            if self.session_left <= 0.0 {
                self.is_on = false;
                self.session_left = -self.pause * dwell(rng);
            } else if self.switch_in <= 0.0 {
                self.is_on = !self.is_on;
                self.switch_in = if self.is_on { self.on } else { self.off } * dwell(rng);
            }
        } else {
            // People sleep; what they started goes on.
            self.session_left += if is_night { 0.1 * seconds } else { seconds };
            if self.session_left >= 0.0 {
                self.session_left = self.session * dwell(rng);
                self.switch_in = 0.0;
            }
        }
        if self.is_on { self.watts } else { 0.0 }
    }
}

impl Site {
    pub(crate) fn new(mut rng: Rng, start: UtcDateTime) -> Self {
        let household = Household::new(rng.fork(), start);
        let hours = 3600.0;
        Self {
            ambient: household.ambient(),
            household,
            rng,
            appliances: [
                // Refrigerator, kettle, hob and oven, washing machine, pump, tools.
                Appliance::new(130.0, (900.0, 1800.0), (1e9, 1.0)),
                Appliance::new(2000.0, (180.0, 600.0), (240.0, 3.0 * hours)),
                Appliance::new(1600.0, (25.0, 40.0), (2400.0, 6.0 * hours)),
                Appliance::new(1900.0, (400.0, 1500.0), (5000.0, 20.0 * hours)),
                Appliance::new(750.0, (90.0, 900.0), (1800.0, 2.0 * hours)),
                Appliance::new(900.0, (15.0, 30.0), (600.0, 8.0 * hours)),
            ],
            since_slow: SLOW_SECONDS,
            load_watts: 0.0,
            sun_watts: 0.0,
            is_shaded: false,
            shade_seconds: 0.0,
            first_day: day_of(start),
            spell: (-1, 0..0),
        }
    }

    /// Goes on to `time`, which is `seconds` later, and returns the watts that the sun brings
    /// beyond what the house draws. True while the slow part has changed.
    pub(crate) fn advance(&mut self, time: UtcDateTime, seconds: f64) -> (f64, bool) {
        self.since_slow += seconds;
        let is_slow = self.since_slow >= SLOW_SECONDS;
        if is_slow {
            self.household.advance(time, self.since_slow);
            self.since_slow = 0.0;
            self.load_watts = 0.8 * self.household.load_watts();
            self.ambient = self.household.ambient();
            self.sun_watts = 1.15 * self.household.sun_watts();
            if self.is_grey(day_of(time) - self.first_day) {
                self.sun_watts *= GREY;
                self.is_shaded = false;
            }
        }
        self.shade_seconds -= seconds;
        if self.shade_seconds <= 0.0 {
            self.is_shaded = !self.is_shaded;
            let mean = if self.is_shaded { 60.0 } else { 400.0 };
            self.shade_seconds = mean * dwell(&mut self.rng);
        }
        let is_night = !(6..23).contains(&time.hour());
        let load: f64 = self
            .appliances
            .iter_mut()
            .map(|appliance| appliance.watts(seconds, is_night, &mut self.rng))
            .sum();
        let sun = self.sun_watts * if self.is_shaded { SHADE } else { 1.0 };
        (sun - self.load_watts - load, is_slow)
    }

    /// °C around the battery, above or below the mean of the season.
    pub(crate) fn kelvin_of_day(&self) -> f64 {
        self.ambient - 21.0
    }

    /// Whether `day` since the start is without sun: in every ten days one to three are.
    fn is_grey(&mut self, day: i64) -> bool {
        let block = day.div_euclid(SPELL_DAYS);
        if self.spell.0 != block {
            let days = self.rng.i64(1..=3);
            let first = block * SPELL_DAYS + self.rng.i64(0..=SPELL_DAYS - days);
            self.spell = (block, first..first + days);
        }
        self.spell.1.contains(&day)
    }
}

fn day_of(time: UtcDateTime) -> i64 {
    time.unix_timestamp().div_euclid(86_400)
}

/// A random time with a mean of 1, between 0.5 and 1.5.
fn dwell(rng: &mut Rng) -> f64 {
    0.5 + rng.f64()
}
