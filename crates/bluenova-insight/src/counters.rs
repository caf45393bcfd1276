//! Energy and charge, counted over the samples.

use std::ops::{Add, Sub};

use bluenova_record::PackRecord;
use serde::{Deserialize, Serialize};
use time::Duration;

use crate::{plausible, unix_micros::UnixMicros};

/// Energy and charge that went into a battery and out of it. They never fall.
///
/// Between two samples the mean of both counts: the trapezoid rule,
/// `E = Σ (P₀ + P₁) / 2 · (t₁ - t₀)` with `P = U · I`, and the same of the current for the charge
/// (Press et al., *Numerical Recipes*, 4.1). Its error is `h² / 12` times the change of the slope,
/// next to nothing with a sample a second; the jitter of the times averages out. Where the
/// direction changes between two samples, the line between them is cut at zero.
///
/// They are stored as numbers of 64 bits. What reads them back must give the same bits, or a
/// counter may fall by a rounding error (serde_json has the feature `float_roundtrip` for it).
///
/// Nothing counts between samples that are further apart than 10 s, or two intervals in the case of
/// rows. A sample whose voltage or current is missing or can't be true is passed over, and the one
/// before it goes on to count. A jump of more than 300 A or a fifth of the voltage counts only when
/// the next sample confirms it.
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

impl Counters {
    /// Charge that went in, less what went out, in ampere-hours.
    pub fn net_ah(&self) -> f64 {
        self.charge_in_ah - self.charge_out_ah
    }

    /// The greater one of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            energy_in_wh: self.energy_in_wh.max(other.energy_in_wh),
            energy_out_wh: self.energy_out_wh.max(other.energy_out_wh),
            charge_in_ah: self.charge_in_ah.max(other.charge_in_ah),
            charge_out_ah: self.charge_out_ah.max(other.charge_out_ah),
        }
    }

    /// Adds what flowed.
    pub(crate) fn count(&mut self, span: Span) {
        let Span { from, to } = span;
        let hours = span.seconds() / 3600.0;
        let (energy_in, energy_out) = in_and_out(from.flow.watts(), to.flow.watts(), hours);
        self.energy_in_wh += energy_in;
        self.energy_out_wh += energy_out;
        let (charge_in, charge_out) = in_and_out(from.flow.amps, to.flow.amps, hours);
        self.charge_in_ah += charge_in;
        self.charge_out_ah += charge_out;
    }
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            energy_in_wh: self.energy_in_wh + other.energy_in_wh,
            energy_out_wh: self.energy_out_wh + other.energy_out_wh,
            charge_in_ah: self.charge_in_ah + other.charge_in_ah,
            charge_out_ah: self.charge_out_ah + other.charge_out_ah,
        }
    }
}

impl Sub for Counters {
    type Output = Self;

    /// What was counted since they stood at `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            energy_in_wh: self.energy_in_wh - earlier.energy_in_wh,
            energy_out_wh: self.energy_out_wh - earlier.energy_out_wh,
            charge_in_ah: self.charge_in_ah - earlier.charge_in_ah,
            charge_out_ah: self.charge_out_ah - earlier.charge_out_ah,
        }
    }
}

/// Volts and amperes at one moment; positive amperes charge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) volts: f64,
    pub(crate) amps: f64,
}

impl Flow {
    /// `None` unless both are known and can be true.
    pub(crate) fn of(record: &PackRecord) -> Option<Self> {
        let (volts, amps) = (plausible::pack_volts(record)?, plausible::amps(record)?);
        Some(Self { volts: volts.into(), amps: amps.into() })
    }

    pub(crate) fn watts(self) -> f64 {
        self.volts * self.amps
    }

    /// Whether it is so far from `other` that one of both may be an error of transmission.
    fn is_jump_from(self, other: Self) -> bool {
        (self.amps - other.amps).abs() > 300.0
            || (self.volts - other.volts).abs() > 0.2 * other.volts
    }
}

/// A flow and its time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TimedFlow {
    pub(crate) time: UnixMicros,
    pub(crate) flow: Flow,
}

/// The time between two flows, in which the mean of both counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) from: TimedFlow,
    pub(crate) to: TimedFlow,
}

impl Span {
    pub(crate) fn seconds(self) -> f64 {
        self.to.time.seconds_since(self.from.time).max(0.0)
    }

    /// The parts before and behind `time`; `None` if that is not within it.
    pub(crate) fn split(self, time: UnixMicros) -> Option<(Self, Self)> {
        let Self { from, to } = self;
        if time <= from.time || to.time < time {
            return None;
        }
        let part = time.seconds_since(from.time) / self.seconds();
        let between = |a: f64, b: f64| a + (b - a) * part;
        let flow = Flow {
            volts: between(from.flow.volts, to.flow.volts),
            amps: between(from.flow.amps, to.flow.amps),
        };
        let middle = TimedFlow { time, flow };
        Some((Self { from, to: middle }, Self { from: middle, to }))
    }
}

/// The flows from which it follows what to count next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LastFlows {
    /// The last one that was accepted.
    accepted: Option<TimedFlow>,
    /// One that came after it and is too far from it: the next one confirms it, or doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_doubt: Option<TimedFlow>,
}

impl LastFlows {
    /// Takes the next flow. Returns what is to be counted because of it.
    pub(crate) fn next(&mut self, to: TimedFlow, gap: Duration) -> Option<Span> {
        let is_recent = |flow: &TimedFlow| to.time.since(flow.time) <= gap;
        let is_jump = |from: TimedFlow| to.flow.is_jump_from(from.flow);
        let mut from = self.accepted.filter(is_recent);
        if from.is_some_and(is_jump) {
            from = self.in_doubt.filter(is_recent);
            if from.is_none_or(is_jump) {
                self.in_doubt = Some(to);
                return None;
            }
        }
        *self = Self { accepted: Some(to), in_doubt: None };
        from.map(|from| Span { from, to })
    }

    /// The flow of that time, if it was accepted.
    pub(crate) fn accepted_at(&self, time: UnixMicros) -> Option<Flow> {
        self.accepted.filter(|accepted| accepted.time == time).map(|accepted| accepted.flow)
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
