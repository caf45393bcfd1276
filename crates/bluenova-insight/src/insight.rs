//! The state that the samples of a battery leave.

use bluenova_record::{PackRecord, Rfc3339};
use serde::{Deserialize, Serialize};
use time::{Duration, UtcDateTime};

use crate::{
    Calendar, CellFigures, Counters, DayStatistics, Figures, LocalDay, capacity::Capacity,
    cells::Cells, counters::Flow, resistance::Resistance, verdict::verdict,
};

/// Longest time between two samples in which what flowed is counted.
const GAP: Duration = Duration::seconds(10);

/// What the samples of one battery say of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Insight {
    mcu_id: u32,
    counters: Counters,
    last: Option<Last>,
    today: Option<Today>,
    #[serde(default)]
    cells: Cells,
    #[serde(default)]
    capacity: Capacity,
    #[serde(default)]
    resistance: Resistance,
}

/// The last sample.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Last {
    #[serde(with = "nanoseconds")]
    time: UtcDateTime,
    flow: Option<Flow>,
}

/// The day under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Today {
    #[serde(with = "nanoseconds")]
    begin: UtcDateTime,
    #[serde(with = "nanoseconds")]
    end: UtcDateTime,
    statistics: DayStatistics,
}

impl Insight {
    /// Nothing is known of the battery yet.
    pub fn new(mcu_id: u32) -> Self {
        Self {
            mcu_id,
            counters: Counters {
                energy_in_wh: 0.0,
                energy_out_wh: 0.0,
                charge_in_ah: 0.0,
                charge_out_ah: 0.0,
            },
            last: None,
            today: None,
            cells: Cells::default(),
            capacity: Capacity::new(),
            resistance: Resistance::new(),
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

    /// The time of the last sample or row; `None` before the first one.
    pub fn until(&self) -> Option<UtcDateTime> {
        self.last.map(|last| last.time)
    }

    /// Takes a sample: the values of one cycle of the console, with the time at which it came.
    /// Returns the day before if the sample is the first one of another day.
    ///
    /// A sample of another battery, or one that isn't later than the last one, is left out.
    pub fn sample(
        &mut self,
        sample: &PackRecord,
        calendar: &impl Calendar,
    ) -> Option<DayStatistics> {
        self.take(sample, GAP, false, calendar)
    }

    /// Takes a row of the table, where there are no samples: the values of an interval of that
    /// length, with the time of its end. Otherwise as [`sample`](Self::sample).
    pub fn row(
        &mut self,
        row: &PackRecord,
        interval: Duration,
        calendar: &impl Calendar,
    ) -> Option<DayStatistics> {
        self.take(row, GAP.max(interval * 2), true, calendar)
    }

    fn take(
        &mut self,
        record: &PackRecord,
        gap: Duration,
        is_row: bool,
        calendar: &impl Calendar,
    ) -> Option<DayStatistics> {
        let time = record.insert_time_utc;
        if record.mcu_id != self.mcu_id || self.until().is_some_and(|last| time <= last) {
            return None;
        }
        let ended = self.begin_day(time, calendar);
        self.measure(record, gap, is_row);
        let flow = flow_of(record);
        if let (Some(Last { time: before, flow: Some(from) }), Some(to), Some(today)) =
            (self.last, flow, &mut self.today)
            && time - before <= gap
        {
            let seconds = (time - before).as_seconds_f64();
            self.counters.add(from, to, seconds);
            today.statistics.counters.add(from, to, seconds);
            let covered = match is_row {
                true => &mut today.statistics.from_rows_s,
                false => &mut today.statistics.sampled_s,
            };
            *covered += seconds as f32;
        }
        self.last = Some(Last { time, flow });
        self.cells.sample(record, self.counters.charge_in_ah - self.counters.charge_out_ah);
        ended
    }

    /// Feeds the estimators of capacity and resistance.
    fn measure(&mut self, record: &PackRecord, gap: Duration, is_row: bool) {
        let before = self.until().unwrap_or(record.insert_time_utc);
        let seconds = (record.insert_time_utc - before).as_seconds_f64();
        let gap_s = gap.as_seconds_f64();
        self.capacity.sample(seconds, record.i_pack, record.soc, gap_s, is_row);
        if !is_row {
            self.resistance.sample(record);
        }
    }

    /// Begins the day that `time` is in, and returns the one before.
    fn begin_day(&mut self, time: UtcDateTime, calendar: &impl Calendar) -> Option<DayStatistics> {
        if self.today.as_ref().is_some_and(|today| time < today.end) {
            return None;
        }
        let day = calendar.day_of(time);
        let LocalDay { begin, end, .. } = day;
        let today = Today { begin, end, statistics: DayStatistics::new(day) };
        let ended = self.today.replace(today).map(|ended| self.with_estimates(&ended.statistics));
        self.capacity.begin_day();
        self.resistance.begin_day();
        ended
    }

    /// The statistics of a day, with what its samples say of capacity and resistance.
    fn with_estimates(&self, day: &DayStatistics) -> DayStatistics {
        DayStatistics {
            capacity_ah: self.capacity.of_today(),
            resistance_mohm: self.resistance.of_today(),
            ..day.clone()
        }
    }

    /// What is known; `None` before the first sample.
    pub fn figures(&self) -> Option<Figures> {
        let (last, today) = (self.last?, self.today.as_ref()?);
        let cells = self.cells();
        Some(Figures {
            time: Rfc3339(last.time),
            counters: self.counters,
            today: self.with_estimates(&today.statistics),
            mean_power_w: None,
            time_to_go: None,
            capacity_ah: self.capacity.estimate(),
            verdict: verdict(&self.cells, &cells),
            cells,
        })
    }

    fn cells(&self) -> Vec<CellFigures> {
        let mut cells = self.cells.figures();
        for (index, cell) in cells.iter_mut().enumerate() {
            cell.resistance_mohm = self.resistance.of_cell(index);
        }
        cells
    }
}

fn flow_of(record: &PackRecord) -> Option<Flow> {
    let known = |value: Option<f32>| value.map(f64::from).filter(|value| value.is_finite());
    Some(Flow { volts: known(record.v_pack)?, amps: known(record.i_pack)? })
}

/// How a time is kept: in nanoseconds since 1970.
mod nanoseconds {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use time::UtcDateTime;

    pub(super) fn serialize<S: Serializer>(
        time: &UtcDateTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UtcDateTime, D::Error> {
        let nanoseconds = i64::deserialize(deserializer)?;
        UtcDateTime::from_unix_timestamp_nanos(nanoseconds.into()).map_err(de::Error::custom)
    }
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
        assert_eq!((day.date, day.sampled_s), (utc_datetime!(2026-01-01 0:00).date(), 9.0));
        assert!((day.counters.charge_in_ah - 0.09).abs() < 1e-9);
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
