//! The day under way.

use std::hash::{DefaultHasher, Hash, Hasher};

use bluenova_record::PackRecord;
use serde::{Deserialize, Serialize};

use crate::{
    CellExtremes, Counters, DayStatistics, Estimate, Extremes, LocalDay,
    counters::{Flow, Span},
    plausible,
    unix_micros::UnixMicros,
};

/// Amperes above which a battery is being charged.
const CHARGE_AMPS: f64 = 0.5;

/// Number of different texts of errors that are told apart on one day.
const ERROR_TEXTS: usize = 16;

/// The day under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Today {
    pub(crate) begin: UnixMicros,
    pub(crate) end: UnixMicros,
    /// The battery's counters when the day began.
    counters_before: Counters,
    /// Hashes of the texts of errors; 0 is none.
    error_texts: [u32; ERROR_TEXTS],
    pub(crate) statistics: DayStatistics,
}

impl Today {
    pub(crate) fn new(day: LocalDay, counters_before: Counters) -> Self {
        Self {
            begin: UnixMicros::of(day.begin),
            end: UnixMicros::of(day.end),
            counters_before,
            error_texts: [0; ERROR_TEXTS],
            statistics: DayStatistics::new(day),
        }
    }

    /// What the day is like, with the battery's counters and capacity as they are now.
    pub(crate) fn so_far(&self, counters: Counters, capacity: Option<Estimate>) -> DayStatistics {
        let counters = counters - self.counters_before;
        let throughput = counters.charge_in_ah + counters.charge_out_ah;
        let full_cycles = capacity
            .filter(|capacity| capacity.value > 0.0)
            .map(|capacity| (throughput / 2.0 / capacity.value) as f32);
        DayStatistics { counters, full_cycles, ..self.statistics.clone() }
    }

    /// Adds the time of a span that was counted, at whose end `record` stood.
    pub(crate) fn cover(&mut self, span: Span, record: &PackRecord, is_row: bool) {
        let (seconds, day) = (span.seconds(), &mut self.statistics);
        *(if is_row { &mut day.from_rows_s } else { &mut day.sampled_s }) += seconds;
        if span.to.flow.amps > CHARGE_AMPS && is_frozen(record) {
            day.frost_charge_s += seconds;
        }
        if record.breaker.as_deref().is_some_and(|breaker| !matches!(breaker, "" | "CLOSED")) {
            day.breaker_open_s += seconds;
        }
    }

    /// Adds the values of a sample or row; its flow is `None` if it was not accepted.
    pub(crate) fn add(
        &mut self,
        time: UnixMicros,
        record: &PackRecord,
        flow: Option<Flow>,
        is_at_rest: bool,
    ) {
        self.count_error(record);
        let day = &mut self.statistics;
        let second = time.seconds_since(self.begin) as u32;
        day.first_s = if day.samples == 0 { second } else { day.first_s.min(second) };
        day.last_s = day.last_s.max(second);
        day.samples = day.samples.saturating_add(1);
        if let Some(flow) = flow {
            Extremes::widen(&mut day.v_pack, flow.volts as f32);
            Extremes::widen(&mut day.i_pack, flow.amps as f32);
            Extremes::widen(&mut day.power_w, flow.watts().round() as f32);
        }
        if let Some(percent) = plausible::percent(record) {
            Extremes::widen(&mut day.soc, percent.into());
        }
        if let Some(celsius) = plausible::celsius(record) {
            Extremes::widen(&mut day.temp, celsius.into());
        }
        for (cell, celsius) in plausible::cell_celsius(record) {
            CellExtremes::widen(&mut day.cell_t, cell, celsius.into());
        }
        let mut all_cells = None;
        for (cell, volts) in plausible::cell_volts(record) {
            CellExtremes::widen(&mut day.cell_v, cell, volts);
            CellExtremes::widen(&mut all_cells, cell, volts);
        }
        if let Some(CellExtremes { low, high, .. }) = all_cells {
            let spread_mv = ((high - low) * 1000.0).round();
            Extremes::widen(&mut day.spread_mv, spread_mv);
            if is_at_rest {
                Extremes::widen(&mut day.rest_spread_mv, spread_mv);
            }
        }
    }

    fn count_error(&mut self, record: &PackRecord) {
        let Some(text) = record.errors.as_deref().filter(|text| !matches!(*text, "" | "NONE"))
        else {
            return;
        };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = (hasher.finish() as u32).max(1);
        for known in &mut self.error_texts {
            if *known == hash {
                return;
            }
            if *known == 0 {
                *known = hash;
                self.statistics.errors = self.statistics.errors.saturating_add(1);
                return;
            }
        }
    }
}

fn is_frozen(record: &PackRecord) -> bool {
    let coldest = plausible::cell_celsius(record).map(|(_, celsius)| celsius).min();
    coldest.or(plausible::celsius(record)).is_some_and(|celsius| celsius < 0)
}
