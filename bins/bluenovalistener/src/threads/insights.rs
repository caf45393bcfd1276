//! What the samples of each battery say of it, from the threads of the batteries to the recorder.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::{Duration, Instant},
};

use bluenova_import::stored_day;
use bluenova_insight::{Counters, DayStatistics, Figures, Insight, SettledCounters};
use bluenova_journal::{StoredDay, StoredInsight};
use bluenova_record::PackRecord;
use bluenova_status::Shared;
use jiff::tz::TimeZone;
use time::UtcDateTime;

mod catch_up;
mod feed;

pub(crate) use catch_up::CatchUp;
pub(super) use feed::SampleFeed;

/// How often figures are made while samples come.
const FIGURES_EVERY: Duration = Duration::from_secs(2);

/// How long an address is the only one whose samples count after its last one: a battery may be
/// listened to under several.
const SOURCE_FOR: Duration = Duration::from_secs(5);

/// Shortest time without a sample after which a row counts.
const ROWS_AFTER: time::Duration = time::Duration::seconds(10);

/// How often the state of a battery is stored.
const STORE_EVERY: Duration = Duration::from_secs(300);

/// Number of states that are stored in one transaction, a megabyte at most.
const STORED_AT_ONCE: usize = 250;

/// What is known of each battery, by its MCU ID. A clone is another handle to the same.
#[derive(Clone)]
pub(crate) struct Insights {
    batteries: Shared<HashMap<u32, Arc<Mutex<BatteryInsight>>>>,
    days: TimeZone,
    interval: time::Duration,
}

/// The way of the battery threads to what is known: it has that loaded from the journal first.
#[derive(Clone)]
pub(crate) struct InsightSource {
    insights: Insights,
    /// Batteries of which nothing was loaded yet.
    to_catch_up: Sender<u32>,
}

/// What is known of a battery, and what of it is to be stored.
struct BatteryInsight {
    insight: Insight,
    /// What is shown of energy and charge.
    settled: SettledCounters,
    /// Whether it has all that the journal has. Until then live samples don't count: they are in
    /// the rows.
    is_caught_up: bool,
    /// The number of the address that the last sample came from, and when.
    source: Option<(usize, Instant)>,
    figures: Option<(Arc<Figures>, Instant)>,
    /// Days that ended and aren't stored.
    ended: Vec<DayStatistics>,
    /// Days from the journal of a listener with other options, which this one lacks.
    inherited: Vec<StoredDay>,
    /// Time of the last sample in the state that was stored last.
    stored_until: Option<UtcDateTime>,
    store_at: Instant,
}

/// The state of a battery, and the days that are to be stored along with it.
struct DueInsight {
    insight: Insight,
    ended: Vec<DayStatistics>,
    inherited: Vec<StoredDay>,
}

/// What is to be stored in one transaction.
#[derive(Default)]
pub(super) struct ToStore {
    pub(super) insights: Vec<StoredInsight>,
    pub(super) days: Vec<StoredDay>,
}

impl Insights {
    /// For rows of that interval, and days as the system's time zone has them.
    pub(crate) fn new(interval: Duration) -> Self {
        let interval = interval.try_into().unwrap_or(time::Duration::MAX);
        Self { batteries: Shared::default(), days: TimeZone::system(), interval }
    }

    /// The way to these for the battery threads.
    pub(crate) fn source(&self, to_catch_up: Sender<u32>) -> InsightSource {
        InsightSource { insights: self.clone(), to_catch_up }
    }

    fn of(&self, mcu_id: u32) -> Option<Arc<Mutex<BatteryInsight>>> {
        self.batteries.update(|batteries| batteries.get(&mcu_id).cloned())
    }

    /// The states that are due at `now`, or `all` that have changed; and the days that have ended.
    /// Not more than is to be stored in one transaction: `None` if there is nothing.
    pub(super) fn take_due(&self, now: Instant, all: bool) -> Option<ToStore> {
        let mut due = vec![];
        self.batteries.update(|batteries| {
            for battery in batteries.values() {
                due.extend(lock(battery).take_due(now, all));
                if due.len() == STORED_AT_ONCE {
                    break;
                }
            }
        });
        let mut to_store = ToStore::default();
        for DueInsight { insight, ended, inherited } in due {
            to_store.days.extend(inherited);
            to_store.days.extend(ended.iter().filter_map(|day| stored_day(insight.mcu_id(), day)));
            to_store.insights.extend(stored_insight(&insight));
        }
        let is_empty = to_store.insights.is_empty() && to_store.days.is_empty();
        (!is_empty).then_some(to_store)
    }

    /// A row is in a file, from which a restart would go on.
    pub(super) fn row_stored(&self, row: &PackRecord) {
        if let Some(battery) = self.of(row.mcu_id) {
            let mut battery = lock(&battery);
            // Before that it is read from the journal.
            if battery.is_caught_up {
                battery.settled.row(row, self.interval);
            }
        }
    }

    /// Forgets the batteries that no thread listens to any more, once they are stored.
    pub(super) fn forget_unused(&self) {
        self.batteries.update(|batteries| {
            batteries.retain(|_, battery| {
                Arc::strong_count(battery) > 1 || lock(battery).is_to_be_stored()
            });
        });
    }
}

impl InsightSource {
    /// What is known of a battery. Of one that is new it is loaded from the journal.
    fn of(&self, mcu_id: u32, now: Instant) -> Arc<Mutex<BatteryInsight>> {
        let (battery, is_new) = self.insights.batteries.update(|batteries| {
            let before = batteries.len();
            let new = || Arc::new(Mutex::new(BatteryInsight::new(mcu_id, now)));
            let battery = Arc::clone(batteries.entry(mcu_id).or_insert_with(new));
            (battery, batteries.len() > before)
        });
        if is_new {
            // At the end of the program nothing is loaded any more.
            let _ = self.to_catch_up.send(mcu_id);
        }
        battery
    }
}

impl BatteryInsight {
    fn new(mcu_id: u32, now: Instant) -> Self {
        // Spread, so that thousands of batteries aren't stored at once.
        let seconds = mcu_id.wrapping_mul(2_654_435_761) % STORE_EVERY.as_secs() as u32;
        Self {
            insight: Insight::new(mcu_id),
            settled: SettledCounters::default(),
            is_caught_up: false,
            source: None,
            figures: None,
            ended: vec![],
            inherited: vec![],
            stored_until: None,
            store_at: now + Duration::from_secs(seconds.into()),
        }
    }

    /// Takes a sample from the address of that number.
    fn sample(&mut self, sample: &PackRecord, address: usize, now: Instant, days: &TimeZone) {
        if self.is_caught_up && self.is_source(address, now) {
            self.ended.extend(self.insight.sample(sample, days));
        }
    }

    /// Takes a row that an address has just made, if no samples came in its time.
    fn live_row(&mut self, row: &PackRecord, insights: &Insights) {
        let time = row.insert_time_utc.saturating_sub(ROWS_AFTER.max(insights.interval));
        if self.is_caught_up && self.insight.until().is_none_or(|until| until <= time) {
            self.ended.extend(self.insight.row(row, insights.interval, &insights.days));
        }
    }

    /// Takes a row of the journal that is behind what was loaded.
    fn stored_row(&mut self, row: &PackRecord, insights: &Insights) {
        self.settled.row(row, insights.interval);
        self.ended.extend(self.insight.row(row, insights.interval, &insights.days));
    }

    /// Has the state that was loaded for its own.
    fn load(&mut self, mut insight: Insight) {
        self.settled = insight.settle(Counters::default());
        self.stored_until = insight.until();
        self.insight = insight;
    }

    /// Whether the samples of an address count: those of another one did not lately.
    fn is_source(&mut self, address: usize, now: Instant) -> bool {
        let is_source = self.source.is_none_or(|(source, last)| {
            source == address || now.saturating_duration_since(last) >= SOURCE_FOR
        });
        if is_source {
            self.source = Some((address, now));
        }
        is_source
    }

    /// What is known at `now`, as it was some seconds ago at most.
    fn figures(&mut self, now: Instant) -> Option<Arc<Figures>> {
        if !self.is_caught_up {
            return None;
        }
        let is_recent =
            |made: Instant| now.saturating_duration_since(made) < FIGURES_EVERY.mul_f32(0.9);
        if !self.figures.as_ref().is_some_and(|(_, made)| is_recent(*made)) {
            let settled = |figures| Figures { counters: self.settled.counters(), ..figures };
            self.figures = self.insight.figures().map(|it| (Arc::new(settled(it)), now));
        }
        self.figures.as_ref().map(|(figures, _)| Arc::clone(figures))
    }

    fn is_to_be_stored(&self) -> bool {
        !self.ended.is_empty()
            || !self.inherited.is_empty()
            || self.stored_until != self.insight.until()
    }

    /// The state and the days that have ended, if either is due: together, so that no day ends
    /// twice.
    fn take_due(&mut self, now: Instant, all: bool) -> Option<DueInsight> {
        let is_due = all || now >= self.store_at || !self.ended.is_empty();
        if !is_due || !self.is_to_be_stored() {
            return None;
        }
        self.store_at = now + STORE_EVERY;
        self.stored_until = self.insight.until();
        self.settled = self.insight.settle(self.settled.counters());
        let (ended, inherited) = (mem::take(&mut self.ended), mem::take(&mut self.inherited));
        Some(DueInsight { insight: self.insight.clone(), ended, inherited })
    }
}

fn lock(battery: &Mutex<BatteryInsight>) -> MutexGuard<'_, BatteryInsight> {
    battery.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state as the journal keeps it. `None` before the first sample.
pub(crate) fn stored_insight(insight: &Insight) -> Option<StoredInsight> {
    let text = serde_json::to_string(insight).ok()?;
    Some(StoredInsight { mcu_id: insight.mcu_id(), until: insight.until()?, text })
}

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    const START: UtcDateTime = utc_datetime!(2026-06-01 12:00);

    fn sample(mcu_id: u32, seconds: i64) -> PackRecord {
        let mut sample = PackRecord::new(START + time::Duration::seconds(seconds), mcu_id);
        (sample.v_pack, sample.i_pack) = (Some(50.0), Some(36.0));
        sample
    }

    fn insights() -> Insights {
        Insights::new(Duration::from_secs(10))
    }

    fn caught_up(now: Instant) -> BatteryInsight {
        BatteryInsight { is_caught_up: true, ..BatteryInsight::new(7, now) }
    }

    /// Seconds that were counted: a second has a hundredth of an ampere-hour.
    fn counted(battery: &BatteryInsight) -> f64 {
        (battery.insight.counters().charge_in_ah * 100.0).round()
    }

    #[test]
    fn samples_of_a_second_address_count_once_the_first_one_is_silent() {
        let (start, days) = (Instant::now(), TimeZone::system());
        let mut battery = caught_up(start);
        // The second, the address, and how many seconds have counted.
        for (second, address, expected) in [
            (0, 1, 0.0),
            (1, 1, 1.0),
            (2, 2, 1.0),
            (3, 1, 3.0),
            (7, 2, 3.0),
            (8, 2, 8.0),
            (9, 1, 8.0),
            (10, 2, 10.0),
        ] {
            let now = start + Duration::from_secs(second);
            battery.sample(&sample(7, second.cast_signed()), address, now, &days);
            assert_eq!(counted(&battery), expected, "{second}");
        }
    }

    #[test]
    fn nothing_live_counts_until_the_rows_do() {
        let (start, insights) = (Instant::now(), insights());
        let mut battery = BatteryInsight::new(7, start);
        battery.sample(&sample(7, 0), 1, start, &insights.days);
        battery.live_row(&sample(7, 0), &insights);
        assert_eq!((battery.insight.until(), battery.figures(start)), (None, None));
        battery.is_caught_up = true;
        battery.sample(&sample(7, 1), 1, start, &insights.days);
        assert!(battery.figures(start).is_some());
    }

    #[test]
    fn a_row_counts_where_no_samples_come() {
        let (start, insights) = (Instant::now(), insights());
        let mut battery = caught_up(start);
        for (row, expected) in [(0, 0.0), (10, 10.0), (20, 20.0)] {
            battery.live_row(&sample(7, row), &insights);
            assert_eq!(counted(&battery), expected, "row {row}");
        }
        for second in 21..=35 {
            battery.sample(&sample(7, second), 1, start, &insights.days);
        }
        // The sample of the last cycle has yet to end.
        battery.live_row(&sample(7, 40), &insights);
        assert_eq!(battery.insight.until(), Some(sample(7, 35).insert_time_utc));
    }

    #[test]
    fn a_state_is_stored_now_and_then_if_it_changed_and_with_a_day_that_ends() {
        let (start, insights) = (Instant::now(), insights());
        let mut battery = caught_up(start);
        let first = battery.store_at;
        assert!(first >= start && first < start + STORE_EVERY);
        assert!(battery.take_due(start, true).is_none(), "nothing is known");
        battery.sample(&sample(7, 0), 1, start, &insights.days);
        assert!(battery.take_due(start, true).is_some(), "the end of the program");
        assert!(battery.take_due(start + STORE_EVERY, false).is_none(), "nothing has changed");
        battery.sample(&sample(7, 1), 1, start, &insights.days);
        assert!(battery.take_due(start + STORE_EVERY / 2, false).is_none());
        assert!(battery.take_due(start + STORE_EVERY, false).is_some());
        battery.sample(&sample(7, 86_400), 1, start, &insights.days);
        let due = battery.take_due(start + STORE_EVERY, false).unwrap();
        assert_eq!((due.insight.until(), due.ended.len()), (battery.insight.until(), 1));
        assert!(battery.take_due(start + STORE_EVERY, true).is_none());
    }

    /// What a restart makes of the state that was stored last and the rows since, shown at `now`.
    fn restarted(stored: &Insight, rows: &[PackRecord], insights: &Insights) -> Counters {
        let mut battery = caught_up(Instant::now());
        battery.load(serde_json::from_str(&serde_json::to_string(stored).unwrap()).unwrap());
        rows.iter().for_each(|row| battery.stored_row(row, insights));
        battery.figures(Instant::now()).unwrap().counters
    }

    #[test]
    fn counters_that_are_shown_never_fall_wherever_the_process_is_killed() {
        let (start, insights) = (Instant::now(), insights());
        let mut battery = caught_up(start);
        let mut stored = Insight::new(7);
        let (mut rows, mut before): (Vec<PackRecord>, Counters) = (vec![], Counters::default());
        // The load comes and goes, so that rows, which see the last moment of their intervals,
        // count now more and now less than samples.
        let amps = |second: i64| if second / 7 % 3 == 0 { 180.0 } else { 3.6 };
        for second in 0..=300_i64 {
            let now = start + Duration::from_secs(second.unsigned_abs());
            let mut sample = sample(7, second);
            sample.i_pack = Some(amps(second));
            battery.sample(&sample, 1, now, &insights.days);
            if second % 10 == 0 {
                battery.settled.row(&sample, insights.interval);
                rows.push(sample);
            }
            if second % 45 == 0 {
                stored = battery.take_due(now, true).unwrap().insight;
                rows.clear();
            }
            battery.figures = None;
            let shown = battery.figures(now).unwrap().counters;
            let again = restarted(&stored, &rows, &insights);
            assert!(before.charge_in_ah <= shown.charge_in_ah, "{second}");
            assert_eq!(
                (shown.charge_in_ah, shown.energy_in_wh),
                (again.charge_in_ah, again.energy_in_wh),
                "{second}"
            );
            before = shown;
        }
        let (shown, samples) = (before.charge_in_ah, battery.insight.counters().charge_in_ah);
        assert!((shown - samples).abs() < 0.2 * samples, "{shown} of {samples}");
    }

    #[test]
    fn thousands_of_batteries_are_stored_some_at_a_time_and_forgotten_when_unused() {
        let (insights, now) = (insights(), Instant::now());
        let (sender, wanted) = std::sync::mpsc::channel();
        let source = insights.source(sender);
        for mcu_id in 0..600 {
            let battery = source.of(mcu_id, now);
            lock(&battery).is_caught_up = true;
            lock(&battery).sample(&sample(mcu_id, 0), 1, now, &insights.days);
        }
        assert_eq!(wanted.try_iter().count(), 600);
        let kept = source.of(5, now);
        let mut stored = vec![];
        while let Some(due) = insights.take_due(now, true) {
            stored.push(due.insights.len());
            insights.forget_unused();
        }
        assert_eq!(stored, [250, 250, 100]);
        assert_eq!(insights.batteries.update(|batteries| batteries.len()), 1);
        assert!(Arc::ptr_eq(&kept, &source.of(5, now)));
        assert_eq!(wanted.try_iter().count(), 0);
    }
}
