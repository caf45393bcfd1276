//! Time to empty and to full.
//!
//! `t = C · (s - s₀) / I`: usable capacity `C`, state of charge `s`, where it ends `s₀` (0 and
//! 100 %: the firmware's scale is that of what is usable, and a reserve that an inverter keeps
//! isn't known here), and the mean current `I` of the last quarter of an hour, so that neither a
//! kettle nor a cloud decides.
//!
//! There is no correction for strong currents (Peukert's law): in lithium cells the charge that can
//! be drawn hardly depends on the current. Exponents of 1.0 to 1.05 are usual, and the law doesn't
//! hold for changing loads (Omar et al., "Peukert Revisited", *Energies* 6 (2013), 5625). What a
//! cell loses by its temperature or age is in the capacity that is measured.
//!
//! When a battery is charged at constant voltage, its current falls: the time to full is too short
//! then, by up to an hour.

use serde::{Deserialize, Serialize};

use crate::{
    Counters, Estimate, Goal, TimeToGo,
    counters::Span,
    packed::{self, Packed},
    unix_micros::UnixMicros,
};

/// Minutes of the window: a quarter of an hour.
const MINUTES: usize = 15;

/// Seconds of the window that must be covered.
const ENOUGH_SECONDS: f64 = 120.0;

/// Amperes up to which a battery is idle: some 25 W of a pack of 16 cells.
const IDLE_AMPS: f64 = 0.5;

/// The capacity that is taken as long as the battery's isn't known: that of the cells most used in
/// packs of 16, 280 Ah. BlueNova's console names no capacity, and their packs have from 100 Ah.
const USUAL_CAPACITY: Estimate = Estimate { value: 280.0, plus_minus: 180.0 };

/// What flowed in the last quarter of an hour, minute by minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecentLoad {
    /// Number of the latest minute since 1970. Minute `n` is at index `n % 15`.
    latest: i64,
    #[serde(with = "packed")]
    minutes: [Minute; MINUTES],
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Minute {
    seconds: f32,
    amp_seconds: f32,
    watt_seconds: f32,
}

impl Packed for Minute {
    fn put(&self, bytes: &mut Vec<u8>) {
        [self.seconds, self.amp_seconds, self.watt_seconds].put(bytes);
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let [seconds, amp_seconds, watt_seconds] = Packed::take(bytes)?;
        Some(Self { seconds, amp_seconds, watt_seconds })
    }
}

/// Mean load of the last quarter of an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MeanLoad {
    pub(crate) watts: f64,
    amps: f64,
    /// In 95 of 100 cases the mean is within `amps` plus or minus this, if the load goes on to
    /// change as it did.
    amps_plus_minus: f64,
}

impl RecentLoad {
    /// Adds what flowed, to the minute in which it ended.
    pub(crate) fn add(&mut self, span: Span) {
        self.advance(span.to.time.minute());
        let (seconds, [from, to]) = (span.seconds(), [span.from.flow, span.to.flow]);
        let minute = &mut self.minutes[index(self.latest)];
        minute.seconds += seconds as f32;
        minute.amp_seconds += ((from.amps + to.amps) / 2.0 * seconds) as f32;
        minute.watt_seconds += ((from.watts() + to.watts()) / 2.0 * seconds) as f32;
    }

    /// Empties the minutes that have ended since the latest one, all of them if the clock was set
    /// back.
    fn advance(&mut self, minute: i64) {
        if minute == self.latest {
            return;
        }
        let passed = minute.saturating_sub(self.latest);
        if (1..MINUTES as i64).contains(&passed) {
            (self.latest + 1..=minute).for_each(|n| self.minutes[index(n)] = Minute::default());
        } else {
            self.minutes = Default::default();
        }
        self.latest = minute;
    }

    /// `None` unless two minutes of the quarter of an hour before `now` are covered.
    pub(crate) fn mean(&self, now: UnixMicros) -> Option<MeanLoad> {
        let mut window = self.clone();
        window.advance(now.minute().max(self.latest));
        let known = || window.minutes.iter().filter(|minute| minute.seconds > 0.0);
        let sum = |of: fn(&Minute) -> f32| known().map(|minute| f64::from(of(minute))).sum::<f64>();
        let seconds = sum(|minute| minute.seconds);
        if seconds < ENOUGH_SECONDS {
            return None;
        }
        let amps = sum(|minute| minute.amp_seconds) / seconds;
        let variance = known()
            .map(|minute| {
                let of_minute = f64::from(minute.amp_seconds / minute.seconds);
                (of_minute - amps).powi(2) * f64::from(minute.seconds) / seconds
            })
            .sum::<f64>();
        let amps_plus_minus = 2.0 * (variance / known().count() as f64).sqrt();
        let watts = sum(|minute| minute.watt_seconds) / seconds;
        Some(MeanLoad { watts, amps, amps_plus_minus })
    }
}

fn index(minute: i64) -> usize {
    minute.rem_euclid(MINUTES as i64) as usize
}

/// State of charge between the whole percents that the battery reports.
///
/// Where the percent changes by one, the state of charge is halfway between both; from there the
/// charge is counted, within the half percent on either side of what is reported. Any other
/// percent is taken for what it is, when a second sample has it too: when a battery is full, its
/// firmware goes from about 90 to 100 at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChargeState {
    percent: i16,
    in_doubt: Option<i16>,
    /// State of charge in percent at a moment, and the net charge counted until then.
    known_percent: f64,
    known_at_ah: f64,
}

impl ChargeState {
    pub(crate) fn new(percent: i16, counters: &Counters) -> Self {
        let known_percent = f64::from(percent);
        Self { percent, in_doubt: None, known_percent, known_at_ah: counters.net_ah() }
    }

    /// Takes the percent of the next sample.
    pub(crate) fn next(&mut self, percent: i16, counters: &Counters) {
        let change = i32::from(percent) - i32::from(self.percent);
        if change.abs() > 1 && self.in_doubt != Some(percent) {
            self.in_doubt = Some(percent);
            return;
        }
        self.in_doubt = None;
        if change != 0 {
            let boundary = f64::from(self.percent) + f64::from(change) / 2.0;
            *self = Self::new(percent, counters);
            if change.abs() == 1 {
                self.known_percent = boundary;
            }
        }
    }

    /// State of charge in percent.
    pub(crate) fn percent(&self, counters: &Counters, capacity_ah: f64) -> f64 {
        let counted = (counters.net_ah() - self.known_at_ah) / capacity_ah * 100.0;
        // A damaged state may have another one.
        let reported = f64::from(self.percent.clamp(0, 100));
        let (low, high) = ((reported - 0.5).max(0.0), (reported + 0.5).min(100.0));
        (self.known_percent + counted).clamp(low, high)
    }
}

/// When the battery is empty or full; `None` if it is idle, or already is.
pub(crate) fn time_to_go(
    load: MeanLoad,
    charge: &ChargeState,
    counters: &Counters,
    capacity: Option<Estimate>,
) -> Option<TimeToGo> {
    let capacity = capacity.filter(|capacity| capacity.value > 0.0);
    let with_usual_capacity = capacity.is_none();
    let capacity = capacity.unwrap_or(USUAL_CAPACITY);
    if load.amps.abs() <= IDLE_AMPS {
        return None;
    }
    let percent = charge.percent(counters, capacity.value);
    let (goal, percent_to_go) = match load.amps > 0.0 {
        true => (Goal::Full, 100.0 - percent),
        false => (Goal::Empty, percent),
    };
    if percent_to_go <= 0.0 {
        return None;
    }
    let seconds = capacity.value * percent_to_go / 100.0 / load.amps.abs() * 3600.0;
    // Half a percent: the firmware may round or cut its percents.
    let relative = [
        load.amps_plus_minus / load.amps,
        capacity.plus_minus / capacity.value,
        0.5 / percent_to_go,
    ];
    let plus_minus_s = seconds * relative.iter().map(|part| part * part).sum::<f64>().sqrt();
    Some(TimeToGo { goal, seconds, plus_minus_s, with_usual_capacity })
}
