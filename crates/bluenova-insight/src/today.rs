//! The day under way.

use std::hash::{DefaultHasher, Hash, Hasher};

use bluenova_record::{CHARGING_AMPS, PackRecord};
use serde::{Deserialize, Serialize};
use time::Date;

use crate::{
    CellExtremes, CellsOfDay, Counters, DayStatistics, Estimate, Extremes, LocalDay,
    calendar::date_text,
    counters::{Flow, Span},
    day::both,
    plausible,
    unix_micros::UnixMicros,
};

/// Number of different texts of errors that are told apart on one day.
const ERROR_TEXTS: usize = 4;

/// The day under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Today {
    pub(crate) begin: UnixMicros,
    pub(crate) end: UnixMicros,
    #[serde(with = "date_text")]
    date: Date,
    /// The battery's counters when the day began.
    counters_before: Counters,
    sampled_s: f64,
    from_rows_s: f64,
    frost_charge_s: f64,
    breaker_open_s: f64,
    first_s: u32,
    last_s: u32,
    samples: u32,
    /// Hashes of the texts of errors; 0 is none.
    error_texts: [u32; ERROR_TEXTS],
    #[serde(default)]
    ranges: Ranges,
    /// What the last sample said, which the next one confirms.
    #[serde(skip)]
    last: LastSample,
}

/// What a sample says of which another one must say the same: one alone may be garbled. Rows are
/// too far apart for that.
#[derive(Clone, Copy, Debug, Default)]
struct LastSample {
    ranges: Ranges,
    is_frozen: bool,
    is_open: bool,
    has_errors: bool,
}

impl Today {
    pub(crate) fn new(day: LocalDay, counters_before: Counters) -> Self {
        Self {
            begin: UnixMicros::of(day.begin),
            end: UnixMicros::of(day.end),
            date: day.date,
            counters_before,
            sampled_s: 0.0,
            from_rows_s: 0.0,
            frost_charge_s: 0.0,
            breaker_open_s: 0.0,
            first_s: 0,
            last_s: 0,
            samples: 0,
            error_texts: [0; ERROR_TEXTS],
            ranges: Ranges::default(),
            last: LastSample::default(),
        }
    }

    /// What the day is like, with the battery's counters and capacity as they are now. What was
    /// estimated of its cells isn't in it yet.
    pub(crate) fn so_far(&self, counters: Counters, capacity: Option<Estimate>) -> DayStatistics {
        let counters = counters - self.counters_before;
        let throughput = counters.charge_in_ah + counters.charge_out_ah;
        let full_cycles = capacity
            .filter(|capacity| capacity.value > 0.0)
            .map(|capacity| (throughput / 2.0 / capacity.value) as f32);
        let ranges = self.ranges;
        DayStatistics {
            date: self.date,
            length_s: self.end.seconds_since(self.begin).round() as u32,
            sampled_s: self.sampled_s,
            from_rows_s: self.from_rows_s,
            first_s: self.first_s,
            last_s: self.last_s,
            samples: self.samples,
            counters,
            capacity_ah: None,
            full_cycles,
            soc: ranges.soc,
            v_pack: ranges.v_pack,
            i_pack: ranges.i_pack,
            power_w: ranges.power_w,
            temp: ranges.temp,
            cell_v: ranges.cell_v,
            cell_t: ranges.cell_t,
            spread_mv: ranges.spread_mv,
            rest_spread_mv: ranges.rest_spread_mv,
            errors: self.error_texts.iter().filter(|hash| **hash != 0).count() as u8,
            frost_charge_s: self.frost_charge_s,
            breaker_open_s: self.breaker_open_s,
            cells: CellsOfDay::default(),
        }
    }

    /// Adds the time of a span that was counted, at whose end `record` stood.
    pub(crate) fn cover(&mut self, span: Span, record: &PackRecord, is_row: bool) {
        let seconds = span.seconds();
        *(if is_row { &mut self.from_rows_s } else { &mut self.sampled_s }) += seconds;
        let is_charged = span.to.flow.amps > f64::from(CHARGING_AMPS);
        if is_charged && is_frozen(record) && (is_row || self.last.is_frozen) {
            self.frost_charge_s += seconds;
        }
        if record.breaker_not_closed().is_some() && (is_row || self.last.is_open) {
            self.breaker_open_s += seconds;
        }
    }

    /// Adds the values of a sample or row; its flow is `None` if it was not accepted.
    ///
    /// Of samples, only what two in a row have counts as lowest or highest, and an error only where
    /// the one before has one, too.
    pub(crate) fn add(
        &mut self,
        time: UnixMicros,
        record: &PackRecord,
        flow: Option<Flow>,
        is_at_rest: bool,
        is_row: bool,
    ) {
        let errors = record.errors_present();
        if let Some(errors) = errors.filter(|_| is_row || self.last.has_errors) {
            self.count_error(errors);
        }
        let second = time.seconds_since(self.begin) as u32;
        self.first_s = if self.samples == 0 { second } else { self.first_s.min(second) };
        self.last_s = self.last_s.max(second);
        self.samples = self.samples.saturating_add(1);
        let now = Ranges::of(record, flow, is_at_rest);
        self.ranges.widen(&if is_row { now } else { now.confirmed_by(&self.last.ranges) });
        self.last = LastSample {
            ranges: now,
            is_frozen: is_frozen(record),
            is_open: record.breaker_not_closed().is_some(),
            has_errors: errors.is_some(),
        };
    }

    fn count_error(&mut self, text: &str) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = (hasher.finish() as u32).max(1);
        for known in &mut self.error_texts {
            if *known == hash {
                return;
            }
            if *known == 0 {
                *known = hash;
                return;
            }
        }
    }
}

/// Lowest and highest of everything, on a day or in a sample.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Ranges {
    soc: Option<Extremes>,
    v_pack: Option<Extremes>,
    i_pack: Option<Extremes>,
    power_w: Option<Extremes>,
    temp: Option<Extremes>,
    cell_v: Option<CellExtremes>,
    cell_t: Option<CellExtremes>,
    spread_mv: Option<Extremes>,
    rest_spread_mv: Option<Extremes>,
}

impl Ranges {
    fn of(record: &PackRecord, flow: Option<Flow>, is_at_rest: bool) -> Self {
        let cell_v = CellExtremes::of(plausible::cell_volts(record));
        let celsius = plausible::cell_celsius(record).map(|(cell, t)| (cell, f32::from(t)));
        let spread_mv = cell_v.map(|cells| ((cells.high - cells.low) * 1000.0).round());
        Self {
            soc: plausible::percent(record).map(|percent| Extremes::of(percent.into())),
            v_pack: flow.map(|flow| Extremes::of(flow.volts as f32)),
            i_pack: flow.map(|flow| Extremes::of(flow.amps as f32)),
            power_w: flow.map(|flow| Extremes::of(flow.watts().round() as f32)),
            temp: plausible::celsius(record).map(|celsius| Extremes::of(celsius.into())),
            cell_v,
            cell_t: CellExtremes::of(celsius),
            spread_mv: spread_mv.map(Extremes::of),
            rest_spread_mv: spread_mv.filter(|_| is_at_rest).map(Extremes::of),
        }
    }

    /// What this sample and the one before are both beyond. Where the one before has no value, it
    /// is that of this one: the first of the day.
    fn confirmed_by(&self, before: &Self) -> Self {
        let both = |now: Option<Extremes>, before: Option<Extremes>| {
            Some(now?.confirmed_by(before.unwrap_or(now?)))
        };
        let both_cells = |now: Option<CellExtremes>, before: Option<CellExtremes>| {
            Some(now?.confirmed_by(before.unwrap_or(now?)))
        };
        Self {
            soc: both(self.soc, before.soc),
            v_pack: both(self.v_pack, before.v_pack),
            i_pack: both(self.i_pack, before.i_pack),
            power_w: both(self.power_w, before.power_w),
            temp: both(self.temp, before.temp),
            cell_v: both_cells(self.cell_v, before.cell_v),
            cell_t: both_cells(self.cell_t, before.cell_t),
            spread_mv: both(self.spread_mv, before.spread_mv),
            rest_spread_mv: both(self.rest_spread_mv, before.rest_spread_mv),
        }
    }

    fn widen(&mut self, by: &Self) {
        for (range, by) in [
            (&mut self.soc, by.soc),
            (&mut self.v_pack, by.v_pack),
            (&mut self.i_pack, by.i_pack),
            (&mut self.power_w, by.power_w),
            (&mut self.temp, by.temp),
            (&mut self.spread_mv, by.spread_mv),
            (&mut self.rest_spread_mv, by.rest_spread_mv),
        ] {
            *range = both(*range, by, Extremes::and);
        }
        self.cell_v = both(self.cell_v, by.cell_v, CellExtremes::and);
        self.cell_t = both(self.cell_t, by.cell_t, CellExtremes::and);
    }
}

/// Whether a cell or the pack has less than 0 °C.
fn is_frozen(record: &PackRecord) -> bool {
    let cells = plausible::cell_celsius(record).map(|(_, celsius)| celsius);
    cells.chain(plausible::celsius(record)).any(|celsius| celsius < 0)
}
