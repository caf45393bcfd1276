//! The days of the batteries in logs.

use std::collections::{BTreeMap, HashMap};

use bluenova_console::Interval;
use bluenova_insight::{DayStatistics, Insight};
use bluenova_journal::StoredDay;
use bluenova_record::PackRecord;
use jiff::tz::TimeZone;
use time::{Date, Duration};

/// A day as the journal keeps it.
pub fn stored_day(mcu_id: u32, day: &DayStatistics) -> Option<StoredDay> {
    let text = serde_json::to_string(day).ok()?;
    Some(StoredDay { mcu_id, date: day.date.to_string(), rank: day.rank(), text })
}

/// What is known of a day of which the journal has a version already. One that can't be read gives
/// way to the other one.
pub fn merge_days(stored: &StoredDay, new: &StoredDay) -> StoredDay {
    let read = |day: &StoredDay| serde_json::from_str::<DayStatistics>(&day.text).ok();
    match (read(stored), read(new)) {
        (Some(before), Some(after)) => {
            let merged = before.clone().merge(after);
            match merged == before {
                true => stored.clone(),
                false => stored_day(stored.mcu_id, &merged).unwrap_or_else(|| stored.clone()),
            }
        }
        (Some(_), None) => stored.clone(),
        (None, _) => new.clone(),
    }
}

/// Works out the days of logs, as a listener would have done: from samples where there are some,
/// else from rows.
pub(crate) struct LogDays {
    zone: TimeZone,
    interval: Duration,
    /// Of the log under way.
    from_samples: HashMap<u32, Insight>,
    from_rows: HashMap<u32, Insight>,
    days: BTreeMap<(u32, Date), DayStatistics>,
}

impl LogDays {
    pub(crate) fn new(zone: TimeZone, interval: Interval) -> Self {
        Self {
            zone,
            interval: Duration::seconds(interval.seconds().into()),
            from_samples: HashMap::new(),
            from_rows: HashMap::new(),
            days: BTreeMap::new(),
        }
    }

    pub(crate) fn sample(&mut self, sample: &PackRecord) {
        let mcu_id = sample.mcu_id;
        let insight = self.from_samples.entry(mcu_id).or_insert_with(|| Insight::new(mcu_id));
        let ended = insight.sample(sample, &self.zone);
        self.add(mcu_id, ended);
    }

    pub(crate) fn row(&mut self, row: &PackRecord) {
        let mcu_id = row.mcu_id;
        let insight = self.from_rows.entry(mcu_id).or_insert_with(|| Insight::new(mcu_id));
        let ended = insight.row(row, self.interval, &self.zone);
        self.add(mcu_id, ended);
    }

    /// Ends a log: the next one may be of the same time.
    pub(crate) fn end_log(&mut self) {
        let from_rows = std::mem::take(&mut self.from_rows).into_iter();
        let from_samples = std::mem::take(&mut self.from_samples).into_iter();
        for (mcu_id, insight) in from_rows.chain(from_samples) {
            self.add(mcu_id, insight.figures().map(|figures| figures.today));
        }
    }

    /// The days of all logs.
    pub(crate) fn finish(mut self) -> Vec<StoredDay> {
        self.end_log();
        self.days.iter().filter_map(|((mcu_id, _), day)| stored_day(*mcu_id, day)).collect()
    }

    fn add(&mut self, mcu_id: u32, day: Option<DayStatistics>) {
        let Some(day) = day else { return };
        let key = (mcu_id, day.date);
        let merged = match self.days.remove(&key) {
            Some(before) => before.merge(day),
            None => day,
        };
        self.days.insert(key, merged);
    }
}
