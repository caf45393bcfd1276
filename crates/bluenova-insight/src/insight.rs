//! The state that the samples of a battery leave.

use bluenova_record::{PackRecord, Rfc3339};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use time::{Duration, UtcDateTime};

use crate::{
    Calendar, CellFigures, Counters, DayStatistics, Estimate, Figures, SettledCounters,
    capacity::Capacity,
    cells::Cells,
    counters::{Flow, LastFlows, Span, TimedFlow},
    load::{ChargeState, RecentLoad, time_to_go},
    per_cell::CellCount,
    plausible,
    resistance::Resistance,
    today::Today,
    unix_micros::UnixMicros,
    verdict::verdict,
};

/// Longest time between two samples in which what flowed is counted.
const GAP: Duration = Duration::seconds(10);

/// Time by which a sample must be earlier than the last one for the clock to have been set back.
/// Samples of two connections to one battery, and small corrections of a clock, are within it.
const CLOCK_SET_BACK: Duration = Duration::seconds(60);

/// Age of the last sample from which on nothing is said of what comes.
const STALE: Duration = Duration::minutes(2);

/// Amperes up to which a battery is at rest, and how long it must have been so.
const REST_AMPS: f64 = 2.0;
const REST: Duration = Duration::minutes(5);

/// What the samples of one battery say of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Insight {
    mcu_id: u32,
    #[serde(default)]
    counters: Counters,
    /// The most that was shown of them.
    #[serde(default)]
    shown: Counters,
    /// Time of the last sample or row.
    #[serde(default)]
    last: Option<UnixMicros>,
    /// Latest time of a sample or row: later than the last one if the clock was set back.
    #[serde(default)]
    latest: Option<UnixMicros>,
    #[serde(default)]
    flows: LastFlows,
    #[serde(default)]
    at_rest_since: Option<UnixMicros>,
    #[serde(default, deserialize_with = "or_default")]
    charge: Option<ChargeState>,
    #[serde(default, deserialize_with = "or_default")]
    load: RecentLoad,
    #[serde(default)]
    today: Option<Today>,
    #[serde(default, deserialize_with = "or_default")]
    cell_count: CellCount,
    #[serde(default, deserialize_with = "or_default")]
    capacity: Capacity,
    #[serde(default, deserialize_with = "or_default")]
    resistance: Resistance,
    #[serde(default, deserialize_with = "or_default")]
    cells: Cells,
    /// Ampere-hours in pauses in which nothing is counted, about: they keep the cells' position.
    #[serde(default)]
    bridged_ah: f32,
}

/// What an estimator has learnt; nothing if that was stored by another version, in another form.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored<T> {
        Known(T),
        Unknown(IgnoredAny),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Known(known) => known,
        Stored::Unknown(IgnoredAny) => T::default(),
    })
}

// All of it: nothing is kept on the heap.
const _: () = assert!(size_of::<Insight>() <= 4096);

impl Insight {
    /// Nothing is known of the battery yet.
    pub fn new(mcu_id: u32) -> Self {
        Self {
            mcu_id,
            counters: Counters::default(),
            shown: Counters::default(),
            last: None,
            latest: None,
            flows: LastFlows::default(),
            at_rest_since: None,
            charge: None,
            load: RecentLoad::default(),
            today: None,
            cell_count: CellCount::default(),
            capacity: Capacity::default(),
            resistance: Resistance::default(),
            cells: Cells::default(),
            bridged_ah: 0.0,
        }
    }

    /// Whose samples it takes.
    pub fn mcu_id(&self) -> u32 {
        self.mcu_id
    }

    /// Energy and charge since the first sample.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The counters from which a restart goes on once this state is stored, which may have counted
    /// less than was `shown` before.
    pub fn settle(&mut self, shown: Counters) -> SettledCounters {
        self.shown = self.shown.max(shown);
        SettledCounters::new(self.counters, self.shown, self.flows, self.latest)
    }

    /// The latest time of a sample or row; `None` before the first one. Only rows behind it count.
    pub fn until(&self) -> Option<UtcDateTime> {
        self.latest?.time()
    }

    /// Takes a sample: the values of one cycle of the console, with the time at which it came.
    /// Returns the day before if the sample is the first one of another day.
    ///
    /// Samples of the same time are all taken: logs have whole seconds. One that is earlier than
    /// the last one is left out; but if it is earlier by more than a minute, the clock was set
    /// back, and the insight goes on from there. What flowed in between isn't counted. A sample of
    /// another battery is left out.
    pub fn sample(
        &mut self,
        sample: &PackRecord,
        calendar: &impl Calendar,
    ) -> Option<DayStatistics> {
        let time = UnixMicros::of(sample.insert_time_utc);
        if let Some(last) = self.last.filter(|last| time < *last) {
            if last.since(time) <= CLOCK_SET_BACK {
                return None;
            }
            self.flows = LastFlows::default();
        }
        self.take(time, sample, GAP, false, calendar)
    }

    /// Takes a row of the table, where there are no samples: the values of an interval of that
    /// length, with the time of its end. Otherwise as [`sample`](Self::sample), except that a row
    /// never shows that the clock was set back: one that isn't later than
    /// [`until`](Self::until) is left out, so that no row is ever counted twice.
    pub fn row(
        &mut self,
        row: &PackRecord,
        interval: Duration,
        calendar: &impl Calendar,
    ) -> Option<DayStatistics> {
        let time = UnixMicros::of(row.insert_time_utc);
        if self.latest.is_some_and(|latest| time <= latest) {
            return None;
        }
        self.take(time, row, row_gap(interval), true, calendar)
    }

    fn take(
        &mut self,
        time: UnixMicros,
        record: &PackRecord,
        gap: Duration,
        is_row: bool,
        calendar: &impl Calendar,
    ) -> Option<DayStatistics> {
        if record.mcu_id != self.mcu_id {
            return None;
        }
        let span = Flow::of(record).and_then(|flow| self.flows.next(TimedFlow { time, flow }, gap));
        let ended = self.count(time, span, record, is_row, calendar);
        let flow = self.flows.accepted_at(time);
        let is_at_rest = self.is_at_rest(time, flow, span.is_some());
        if let Some(today) = &mut self.today {
            today.add(time, record, flow, is_at_rest, is_row);
        }
        let follows =
            self.last.is_some_and(|last| (Duration::ZERO..=gap).contains(&time.since(last)));
        self.add_charge_state(record, follows);
        self.measure(time, record, gap, is_row);
        self.last = Some(time);
        self.latest = self.latest.max(self.last);
        ended
    }

    /// Counts what flowed; what flowed until midnight belongs to the day before. Returns that day
    /// if it has ended.
    fn count(
        &mut self,
        time: UnixMicros,
        span: Option<Span>,
        record: &PackRecord,
        is_row: bool,
        calendar: &impl Calendar,
    ) -> Option<DayStatistics> {
        let midnight = self.today.as_ref().map(|today| today.end);
        let at_midnight = midnight.and_then(|midnight| span?.split(midnight));
        if let Some((before, _)) = at_midnight {
            self.add(before, record, is_row);
        }
        let ended = self.begin_day(time, record.insert_time_utc, calendar);
        if let Some(span) = at_midnight.map(|(_, after)| after).or(span) {
            self.add(span, record, is_row);
        }
        ended
    }

    fn add(&mut self, span: Span, record: &PackRecord, is_row: bool) {
        self.counters.count(span);
        self.load.add(span);
        if let Some(today) = &mut self.today {
            today.cover(span, record, is_row);
        }
    }

    /// Begins the day that `time` is in, and returns the one before.
    fn begin_day(
        &mut self,
        time: UnixMicros,
        utc: UtcDateTime,
        calendar: &impl Calendar,
    ) -> Option<DayStatistics> {
        if self.today.as_ref().is_some_and(|day| (day.begin..day.end).contains(&time)) {
            return None;
        }
        let day = Today::new(calendar.day_of(utc), self.counters);
        let ended = self.today.replace(day).map(|ended| self.with_estimates(&ended));
        self.capacity.begin_day();
        self.resistance.begin_day();
        self.cells.begin_day();
        ended
    }

    /// The statistics of a day, with what its samples say of capacity and resistance.
    fn with_estimates(&self, day: &Today) -> DayStatistics {
        let mut statistics = day.so_far(self.counters, self.capacity_ah());
        statistics.capacity_ah = self.capacity.of_today();
        for (cell, known) in
            statistics.cells.resistance_mohm.iter_mut().zip(self.resistance.of_today())
        {
            *cell = known;
        }
        let cells = &mut statistics.cells;
        (cells.at_rest_mv, cells.charge_ah) = self.cells.of_today();
        statistics
    }

    /// Feeds the estimators of capacity and resistance.
    fn measure(&mut self, time: UnixMicros, record: &PackRecord, gap: Duration, is_row: bool) {
        let gap_s = gap.as_seconds_f64();
        // Beyond any gap where the clock was set back.
        let seconds = self.last.map_or(0.0, |last| match time.seconds_since(last) {
            seconds if seconds < 0.0 => gap_s + 3600.0,
            seconds => seconds,
        });
        let cells = self.cell_count.volts(record);
        self.capacity.sample(record, cells.as_ref(), seconds, gap_s, is_row, &self.resistance);
        let (Some(amps), Some(cells)) = (plausible::amps(record), cells) else { return };
        if !is_row {
            self.resistance.sample(time, amps, plausible::celsius(record), &cells);
        }
        if (gap_s..Cells::PAUSE_SECONDS).contains(&seconds) {
            self.bridged_ah += amps * seconds as f32 / 3600.0;
        }
        let charge_ah = self.counters.net_ah() + f64::from(self.bridged_ah);
        self.cells.sample(time, amps, record.soc, &cells, charge_ah);
    }

    fn is_at_rest(&mut self, time: UnixMicros, flow: Option<Flow>, is_counted: bool) -> bool {
        let Some(flow) = flow else { return false };
        if flow.amps.abs() > REST_AMPS {
            self.at_rest_since = None;
        } else if self.at_rest_since.is_none() || !is_counted {
            self.at_rest_since = Some(time);
        }
        self.at_rest_since.is_some_and(|since| time.since(since) >= REST)
    }

    /// Takes the state of charge. Where charge was missed, what was counted before says nothing.
    fn add_charge_state(&mut self, record: &PackRecord, follows: bool) {
        if !follows {
            self.charge = None;
        }
        let Some(percent) = plausible::percent(record) else { return };
        match &mut self.charge {
            Some(charge) => charge.next(percent, &self.counters),
            None => self.charge = Some(ChargeState::new(percent, &self.counters)),
        }
    }

    /// What was known at the time of the last sample; `None` before the first one.
    pub fn figures(&self) -> Option<Figures> {
        self.figures_at(self.last?.time()?)
    }

    /// What is known at a time: nothing of what comes once the last sample is two minutes old.
    /// `None` before the first sample.
    pub fn figures_at(&self, now: UtcDateTime) -> Option<Figures> {
        let (last, today) = (self.last?, self.today.as_ref()?);
        let now = UnixMicros::of(now);
        let capacity_ah = self.capacity_ah();
        let load = self.load.mean(now).filter(|_| now.since(last) <= STALE);
        let time_to_go = load
            .zip(self.charge.as_ref())
            .and_then(|(load, charge)| time_to_go(load, charge, &self.counters, capacity_ah));
        let cells = self.cells();
        Some(Figures {
            time: Rfc3339(last.time()?),
            counters: self.counters,
            energy_uncertainty: self.capacity.energy_uncertainty(),
            today: self.with_estimates(today),
            mean_power_w: load.map(|load| load.watts),
            time_to_go,
            capacity_ah,
            resistance_celsius: self.resistance.celsius(),
            verdict: verdict(&self.cells, &cells),
            cells,
        })
    }

    fn capacity_ah(&self) -> Option<Estimate> {
        self.capacity.estimate(self.cells.lag_ah(), self.cells.smaller())
    }

    fn cells(&self) -> Vec<CellFigures> {
        let mut cells = self.cells.figures();
        cells.resize(cells.len().max(self.resistance.cell_count()), CellFigures::default());
        for (index, cell) in cells.iter_mut().enumerate() {
            cell.resistance_mohm = self.resistance.of_cell(index);
        }
        cells
    }
}

/// Longest time between two rows in which what flowed is counted.
pub(crate) fn row_gap(interval: Duration) -> Duration {
    GAP.max(interval.saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;
    use crate::UtcDays;

    fn sample(second: i64, amps: f32) -> PackRecord {
        let mut sample =
            PackRecord::new(utc_datetime!(2026-01-01 00:00) + Duration::seconds(second), 7);
        (sample.v_pack, sample.i_pack) = (Some(50.0), Some(amps));
        sample
    }

    #[test]
    fn nothing_is_counted_across_a_gap_backwards_or_of_another_battery() {
        let mut insight = Insight::new(7);
        for (second, expected) in [(0, 0.0), (10, 1.0), (21, 1.0), (20, 1.0), (21, 1.0), (26, 1.5)]
        {
            insight.sample(&sample(second, 360.0), &UtcDays);
            assert!((insight.counters().charge_in_ah - expected).abs() < 1e-9, "{second}");
        }
        insight.sample(&PackRecord { mcu_id: 8, ..sample(27, 360.0) }, &UtcDays);
        assert_eq!(insight.until(), Some(sample(26, 0.0).insert_time_utc));
    }

    #[test]
    fn a_day_ends_with_the_first_sample_of_the_next_one() {
        let mut insight = Insight::new(7);
        assert_eq!(insight.sample(&sample(86_390, 36.0), &UtcDays), None);
        assert_eq!(insight.sample(&sample(86_399, 36.0), &UtcDays), None);
        let day = insight.sample(&sample(86_401, 36.0), &UtcDays).unwrap();
        assert_eq!((day.date, day.sampled_s), (utc_datetime!(2026-01-01 0:00).date(), 10.0));
        assert!((day.counters.charge_in_ah - 0.1).abs() < 1e-9);
        let figures = insight.figures().unwrap();
        assert!((figures.counters.charge_in_ah - 0.11).abs() < 1e-9);
    }

    #[test]
    fn a_state_that_was_stored_goes_on() {
        let mut insight = Insight::new(7);
        insight.sample(&sample(0, 360.0), &UtcDays);
        let text = serde_json::to_string(&insight).unwrap();
        let mut again: Insight = serde_json::from_str(&text).unwrap();
        again.sample(&sample(10, 360.0), &UtcDays);
        assert!((again.counters().charge_in_ah - 1.0).abs() < 1e-9);
    }
}
