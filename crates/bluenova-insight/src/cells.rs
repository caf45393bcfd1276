//! Each cell against the median of its pack: charge, capacity, voltage at rest and at both ends.
//!
//! Voltage says little of the charge of a LiFePO4 cell on its plateau and much at the knees. So
//! charge is compared where the curve is steep, and by charge counted, not by voltage:
//!
//! - **Lead at the top.** While the pack is charged to the knee, the charge at which each cell
//!   reaches a voltage is compared with that at which the median reaches it: "cell 7 reached
//!   3.45 V 4.2 Ah before the median". What current times resistance adds is taken off before.
//! - **Capacity.** From the full pack down the median's own curve of voltage over depth of
//!   discharge is learnt. The depth at which that curve has a cell's voltage, less the depth of
//!   the median and corrected by the lead at the top, grows with the depth by as much as the cell
//!   is smaller: `depth of cell - depth = r (depth - lead) - lead`. The ratio `r` is fitted with
//!   the square of the curve's slope as weight, so that a flat plateau counts next to nothing.
//! - **Self-discharge.** The lead at the top from day to day, a line over time.

use bluenova_record::CELLS;
use serde::{Deserialize, Serialize};

use crate::{
    CellFigures, Estimate,
    curve::Curve,
    number, packed,
    per_cell::{CellVolts, MedianOfOthers, PerCell, median},
    ramp::{Ramp, Top},
    response::Response,
    unix_micros::UnixMicros,
};

/// Least number of cells of which a median says something.
const FEWEST_CELLS: usize = 3;
/// Seconds over which samples are averaged before they are looked at.
const BIN_SECONDS: f64 = 60.0;
/// Amperes, as a part of the capacity in ampere-hours, below which a battery rests.
const REST_RATE: f32 = 0.003;
/// Bins at rest until the voltages have settled.
const REST_BINS: u16 = 15;
/// Volts between which a cell at rest is on its plateau.
const PLATEAU: std::ops::Range<f32> = 3.15..3.36;
/// Days after which a count of charge from the full pack isn't good any more.
const DAYS_FROM_FULL: f64 = 3.0;
/// Depth of discharge from which a pack is nearly empty.
const NEARLY_EMPTY: f32 = 0.75;

/// What was seen of the cells of one battery.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Cells {
    #[serde(deserialize_with = "number::cell_count")]
    count: u8,
    bin: Bin,
    response: Response,
    ramp: Ramp,
    /// Charge of one full pack as the firmware's state of charge has it, in ampere-hours: the
    /// unit of depth. It is measured once and then kept, so that depths stay comparable.
    unit_ah: Option<f32>,
    full: Option<Full>,
    pub(crate) lead: LeadTrend,
    pub(crate) curve: Curve,
    rest_bins: u16,
    at_rest: Mean,
    /// Minutes of this day at rest.
    rest_of_day: u16,
    /// What each cell held above the median when the pack was full last on this day, in hundredths
    /// of an ampere-hour.
    top_of_day: Option<[i16; CELLS]>,
    at_top: Mean,
    at_bottom: Mean,
}

/// Sums over the samples of a minute.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Bin {
    /// Seconds since 1970 of its last sample. A restart costs the minute under way.
    last: f64,
    #[serde(skip)]
    begin: f64,
    #[serde(skip)]
    samples: f32,
    #[serde(skip)]
    amps: f32,
    #[serde(skip)]
    volts: PerCell,
}

/// The last time that the pack was full.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Full {
    /// Seconds since 1970.
    time: f64,
    /// Position of the counter of charge.
    charge_ah: f64,
    /// The lowest position since, and the firmware's state of charge there.
    lowest_ah: f64,
    lowest_soc: f32,
}

/// A mean per cell, in millivolts, that forgets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Mean {
    count: u8,
    /// Fiftieths of a millivolt: an `i16` holds 655 mV.
    #[serde(with = "packed")]
    values: [i16; CELLS],
    /// Mean variance of a cell's value.
    variance: f32,
}

impl Mean {
    const PER_MILLIVOLT: f32 = 50.0;

    fn value(&self, cell: usize) -> f32 {
        self.values.get(cell).map_or(0.0, |value| f32::from(*value) / Self::PER_MILLIVOLT)
    }

    fn add(&mut self, values: &PerCell, memory: u8) {
        self.count = self.count.saturating_add(1).min(memory);
        let part = 1.0 / f32::from(self.count);
        let mut square = 0.0;
        for (cell, value) in values.iter().enumerate() {
            let mean = self.value(cell);
            let step = value - mean;
            // A cast saturates.
            self.values[cell] = ((mean + part * step) * Self::PER_MILLIVOLT).round() as i16;
            square += step * step * (1.0 - part);
        }
        self.variance += part * (square / CELLS as f32 - self.variance);
    }

    /// The mean of a cell, once there were `least` values, known no better than half a millivolt.
    fn estimate(&self, cell: usize, least: u8) -> Option<Estimate> {
        let error = 2.0 * (self.variance / f32::from(self.count.max(1))).sqrt();
        let (value, plus_minus) = (self.value(cell).into(), error.max(0.5).into());
        (self.count >= least).then_some(Estimate { value, plus_minus })
    }
}

/// The lead of each cell at the top as a line over time, in ampere-hours and days; older ones
/// count less.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LeadTrend {
    /// How often the pack was full.
    pub(crate) count: u16,
    /// Seconds since 1970 of the first and the last time.
    first: f64,
    last: f64,
    weight: f32,
    days: f32,
    days_squared: f32,
    #[serde(with = "packed")]
    leads: PerCell,
    #[serde(with = "packed")]
    leads_days: PerCell,
    #[serde(with = "packed")]
    leads_squared: PerCell,
    /// The mean leads of the first full packs, in hundredths of an ampere-hour.
    #[serde(with = "packed")]
    early: [i16; CELLS],
}

/// A line through the leads of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeadLine {
    /// Ampere-hours at the last time that the pack was full.
    pub(crate) lead: f32,
    /// Ampere-hours a day.
    pub(crate) per_day: f32,
    /// Standard error of `lead` and `per_day`.
    pub(crate) lead_error: f32,
    pub(crate) per_day_error: f32,
    /// Standard deviation of a lead from the line.
    deviation: f32,
}

impl LeadTrend {
    /// Days in which a lead loses two thirds of its weight.
    const MEMORY_DAYS: f64 = 45.0;
    /// How many full packs are the first ones.
    const EARLY: u16 = 3;

    /// Days between the first and the last full pack.
    pub(crate) fn span_days(&self) -> f64 {
        (self.last - self.first) / 86_400.0
    }

    fn add(&mut self, time: f64, leads: &PerCell) {
        if self.count == 0 {
            (self.first, self.last) = (time, time);
        }
        let lines: [Option<LeadLine>; CELLS] = std::array::from_fn(|cell| self.line(cell));
        // Where the clock was set back, nothing is forgotten, nor does anything grow.
        let passed = (time - self.last).max(0.0);
        let forget = (-passed / (86_400.0 * Self::MEMORY_DAYS)).exp() as f32;
        self.last = time;
        let day = self.span_days() as f32;
        if self.count < Self::EARLY {
            let before = f32::from(self.count);
            for (early, lead) in self.early.iter_mut().zip(leads) {
                *early = ((f32::from(*early) * before + lead * 100.0) / (before + 1.0)) as i16;
            }
        }
        for sum in [&mut self.weight, &mut self.days, &mut self.days_squared] {
            *sum *= forget;
        }
        self.weight += 1.0;
        self.days += day;
        self.days_squared += day * day;
        for cell in 0..CELLS {
            let mut lead = leads[cell];
            if let Some(line) = lines[cell].filter(|_| self.count >= 6) {
                // One odd day must not turn the line.
                let bound = 4.0 * line.deviation.max(0.3);
                // Unlike `clamp`, these take what isn't a number, too.
                lead = lead.max(line.lead - bound).min(line.lead + bound);
            }
            self.leads[cell] = self.leads[cell] * forget + lead;
            self.leads_days[cell] = self.leads_days[cell] * forget + lead * day;
            self.leads_squared[cell] = self.leads_squared[cell] * forget + lead * lead;
        }
        self.count = self.count.saturating_add(1);
    }

    /// Ampere-hours that the lead of a cell has changed by since the first full packs, against the
    /// others.
    pub(crate) fn changes(&self, count: usize) -> Vec<Option<Estimate>> {
        let change = |cell: usize| {
            let line = self.line(cell)?;
            let value = (line.lead - f32::from(self.early[cell]) / 100.0).into();
            Some(Estimate { value, plus_minus: f64::from(2.0 * line.lead_error) })
        };
        (0..count).map(change).collect()
    }

    /// The line of a cell; level as long as the pack was full less than four times.
    pub(crate) fn line(&self, cell: usize) -> Option<LeadLine> {
        if self.count == 0 {
            return None;
        }
        let weight = f64::from(self.weight);
        let mean = |sum: f32| f64::from(sum) / weight;
        let (day, lead) = (mean(self.days), mean(self.leads[cell]));
        let spread = mean(self.days_squared) - day * day;
        let together = mean(self.leads_days[cell]) - day * lead;
        let is_level = self.count < 4 || spread < 0.25;
        let per_day = if is_level { 0.0 } else { together / spread };
        let scatter = mean(self.leads_squared[cell]) - lead * lead - per_day * together;
        // Two of the leads are needed for the line itself.
        let scatter = scatter.max(0.0) * weight / (weight - 2.0).max(0.5);
        let deviation = scatter.sqrt().max(0.1);
        let ahead = self.span_days() - day;
        let per_day_error = deviation / (weight * spread.max(1e-3)).sqrt();
        Some(LeadLine {
            lead: (lead + per_day * ahead) as f32,
            per_day: per_day as f32,
            lead_error: (deviation / weight.sqrt()).hypot(per_day_error * ahead) as f32,
            per_day_error: if is_level { f32::INFINITY } else { per_day_error as f32 },
            deviation: deviation as f32,
        })
    }
}

impl Cells {
    /// Longest pause after which the charge is still known.
    pub(crate) const PAUSE_SECONDS: f64 = 300.0;

    /// Takes a sample. `charge_ah` is the charge that went in less the one that went out so far.
    pub(crate) fn sample(
        &mut self,
        time: UnixMicros,
        amps: f32,
        soc: Option<i16>,
        cells: &CellVolts,
        charge_ah: f64,
    ) {
        if cells.count < FEWEST_CELLS {
            return;
        }
        if cells.count != self.count() {
            *self = Self { count: cells.count as u8, ..Self::default() };
        }
        let time = time.seconds();
        // Beyond either bound also where the clock was set.
        if !(-1.0..Self::PAUSE_SECONDS).contains(&(time - self.bin.last)) {
            self.forget_position();
        }
        let bin = &mut self.bin;
        if bin.samples == 0.0 {
            bin.begin = time;
        }
        bin.last = time;
        bin.samples += 1.0;
        bin.amps += amps;
        for (sum, volts) in bin.volts.iter_mut().zip(cells.volts) {
            *sum += volts;
        }
        if time - bin.begin >= BIN_SECONDS - 1.5 || bin.samples > 600.0 {
            self.end_bin(soc, charge_ah);
        }
    }

    /// What flowed in a pause isn't known.
    fn forget_position(&mut self) {
        self.bin = Bin::default();
        self.response.forget_last();
        self.ramp = Ramp::default();
        self.full = None;
        self.rest_bins = 0;
    }

    fn end_bin(&mut self, soc: Option<i16>, charge_ah: f64) {
        let Bin { last: time, samples, amps, volts, .. } = std::mem::take(&mut self.bin);
        self.bin.last = time;
        let (amps, volts) = (amps / samples, volts.map(|sum| sum / samples));
        let count = usize::from(self.count);
        let middle = median(&volts[..count]);
        self.response.add(amps, &volts, PLATEAU.contains(&middle));
        let Some(ohms) = self.response.ohms(count) else { return };
        let rest: PerCell = std::array::from_fn(|cell| match cell < count {
            true => volts[cell] - amps * ohms[cell],
            false => 0.0,
        });
        let middle = median(&rest[..count]);
        self.add_rest(amps, &rest, middle);
        self.add_depth(time, amps, soc, charge_ah, &rest, middle);
        if let Some(leads) = self.ramp.add(time, charge_ah, &rest[..count], self.unit_ah) {
            self.add_full(&leads);
        }
    }

    fn add_rest(&mut self, amps: f32, rest: &PerCell, middle: f32) {
        let is_rest = amps.abs() < (REST_RATE * self.unit_ah.unwrap_or(100.0)).max(0.2);
        self.rest_bins = if is_rest { self.rest_bins.saturating_add(1) } else { 0 };
        if self.rest_bins >= REST_BINS && PLATEAU.contains(&middle) {
            let above = self.millivolts_above(rest, middle);
            self.at_rest.add(&above, 60);
            self.rest_of_day = self.rest_of_day.saturating_add(1);
        }
    }

    fn millivolts_above(&self, volts: &PerCell, middle: f32) -> PerCell {
        let mut above = volts.map(|volts| (volts - middle) * 1000.0);
        above[usize::from(self.count)..].fill(0.0);
        above
    }

    /// Takes the leads when the pack was full.
    fn add_full(&mut self, top: &Top) {
        if let Some(full) = self.full {
            let used = (top.charge_ah - full.lowest_ah) as f32;
            let part = 1.0 - full.lowest_soc / 100.0;
            if self.unit_ah.is_none() && part > 0.25 && used > 1.0 {
                self.unit_ah = Some(used / part);
            }
        }
        self.lead.add(top.time, &top.leads);
        let middle = median(&top.leads[..usize::from(self.count)]);
        self.top_of_day = Some(top.leads.map(|lead| ((lead - middle) * 100.0) as i16));
        self.at_top.add(&self.millivolts_above(&top.volts, top.middle), 20);
        self.full = Some(Full {
            time: top.time,
            charge_ah: top.charge_ah,
            lowest_ah: f64::INFINITY,
            lowest_soc: 0.0,
        });
    }

    fn add_depth(
        &mut self,
        time: f64,
        amps: f32,
        soc: Option<i16>,
        charge_ah: f64,
        rest: &PerCell,
        middle: f32,
    ) {
        let Some(full) = &mut self.full else { return };
        if time - full.time > 86_400.0 * DAYS_FROM_FULL {
            self.full = None;
            return;
        }
        let is_lowest = charge_ah < full.lowest_ah;
        if let (true, Some(soc)) = (is_lowest, soc) {
            (full.lowest_ah, full.lowest_soc) = (charge_ah, soc.clamp(0, 100).into());
        }
        let Some(unit) = self.unit_ah else { return };
        if amps > -0.003 * unit {
            return;
        }
        let depth = ((full.charge_ah - charge_ah) as f32) / unit;
        let count = usize::from(self.count);
        let leads: PerCell =
            std::array::from_fn(|cell| self.lead.line(cell).map_or(0.0, |line| line.lead) / unit);
        self.curve.add(depth, middle, &rest[..count], &leads);
        if depth > NEARLY_EMPTY && is_lowest {
            self.at_bottom.add(&self.millivolts_above(rest, middle), 60);
        }
    }

    /// A day begins.
    pub(crate) fn begin_day(&mut self) {
        (self.rest_of_day, self.top_of_day) = (0, None);
    }

    /// Millivolts at rest and ampere-hours of each cell above the median: what is known if this
    /// day has shown anything of it.
    pub(crate) fn of_today(&self) -> ([Option<f32>; CELLS], [Option<f32>; CELLS]) {
        let known = |cell: usize| cell < self.count();
        let has_rested = self.rest_of_day >= 10;
        let at_rest = |cell| (has_rested && known(cell)).then(|| self.at_rest.value(cell));
        let charge = |cell| {
            let hundredths = self.top_of_day.filter(|_| known(cell))?[cell];
            Some(f32::from(hundredths) / 100.0)
        };
        (std::array::from_fn(at_rest), std::array::from_fn(charge))
    }

    /// How many cells the pack has, as far as anything was seen of it.
    pub(crate) fn count(&self) -> usize {
        self.count.into()
    }

    /// Ampere-hours of a full pack, about.
    pub(crate) fn unit_ah(&self) -> Option<f32> {
        self.unit_ah
    }

    /// Ampere-hours by which the last cell is behind the median when the pack is full; 0 as long as
    /// none surely is.
    pub(crate) fn lag_ah(&self) -> f64 {
        let leads = self.figures().into_iter().filter_map(|cell| cell.charge_ah);
        let lags = leads.filter(|lead| -lead.value > lead.plus_minus).map(|lead| -lead.value);
        lags.fold(0.0, f64::max)
    }

    /// Part by which the smallest cell is smaller than the others, at most; 0 as long as none
    /// surely is.
    pub(crate) fn smaller(&self) -> f64 {
        let deficits = self.curve.deficits(self.count()).into_iter().flatten();
        let surely = deficits.filter(|deficit| deficit.value > deficit.plus_minus);
        surely.map(|deficit| deficit.value + deficit.plus_minus).fold(0.0, f64::max)
    }

    /// Resistance of the cells over a minute, in ohms.
    pub(crate) fn ohms(&self) -> Option<PerCell> {
        self.response.ohms(self.count())
    }

    /// What is known of each cell but its resistance.
    pub(crate) fn figures(&self) -> Vec<CellFigures> {
        let lines: Vec<_> = (0..self.count()).map(|cell| self.lead.line(cell)).collect();
        let leads = MedianOfOthers::of(lines.iter().map(|l| l.map_or(0.0, |l| l.lead)));
        let drifts = MedianOfOthers::of(lines.iter().map(|l| l.map_or(0.0, |l| l.per_day)));
        let figures = lines.iter().enumerate().map(|(cell, line)| {
            let known = line.filter(|_| self.lead.count >= 3);
            let drift = known.filter(|_| self.lead.count >= 6 && self.lead.span_days() >= 6.0);
            CellFigures {
                resistance_mohm: None,
                at_rest_mv: self.at_rest.estimate(cell, 30),
                at_top_mv: self.at_top.estimate(cell, 3),
                at_bottom_mv: self.at_bottom.estimate(cell, 10),
                charge_ah: known.map(|line| Estimate {
                    value: f64::from(line.lead - leads.without(cell)),
                    plus_minus: f64::from(2.0 * line.lead_error).max(0.2),
                }),
                charge_ah_per_week: drift.map(|line| Estimate {
                    value: 7.0 * f64::from(line.per_day - drifts.without(cell)),
                    plus_minus: 14.0 * f64::from(line.per_day_error),
                }),
            }
        });
        figures.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_by_decades_costs_a_trend_of_leads_nothing() {
        const NOW: f64 = 1.8e9;
        let mut trend = LeadTrend::default();
        let full_at = |trend: &mut LeadTrend, time| trend.add(time, &[1.5; CELLS]);
        (0..10).for_each(|day| full_at(&mut trend, NOW + 86_400.0 * f64::from(day)));
        // As after a start without a network: to 1970, and back again.
        (0..2).for_each(|day| full_at(&mut trend, 86_400.0 * f64::from(day)));
        (10..12).for_each(|day| full_at(&mut trend, NOW + 86_400.0 * f64::from(day)));
        let line = trend.line(0).unwrap();
        assert!((line.lead - 1.5).abs() < 0.1, "{line:?}");
    }
}
