use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use bluenova_insight::Insight;
use bluenova_journal::{ALL_DATES, Error, Reader, RowSelection, StoredInsight, other_journals};
use bluenova_record::{COLUMNS, Column, ErrorChain, PackRecord};
use log::{info, warn};
use time::UtcDateTime;

use super::{BatteryInsight, Insights, lock};

/// Back-off while the journal can't be read.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Rows that are read at a time: the journal's log can't begin anew meanwhile.
const SLICE: usize = 1000;

/// Batteries beyond which all rows are read, rather than theirs alone.
const MOST_IN_A_QUERY: usize = 100;

/// Longest time for reading a slice: most rows may be of other batteries.
const SLICE_TIME: Duration = Duration::from_secs(60);

/// Loads what the journal has of batteries, and has them catch up with the rows that came later:
/// after a killed process, those of some minutes; in a journal of an older version, all. On a
/// thread of its own, since there may be years of rows.
pub(crate) struct CatchUp {
    journal: PathBuf,
    insights: Insights,
    wanted: Receiver<u32>,
    stop: Arc<AtomicBool>,
    /// Whether the journal can't be read, and that is in the log.
    is_logged: bool,
}

/// The batteries that catch up together.
type Batteries = HashMap<u32, Arc<Mutex<BatteryInsight>>>;

impl CatchUp {
    pub(crate) fn new(
        journal: &Path,
        insights: Insights,
        wanted: Receiver<u32>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { journal: journal.to_owned(), insights, wanted, stop, is_logged: false }
    }

    /// Serves the battery threads until they have ended.
    pub(crate) fn run(mut self) {
        let mut waiting = vec![];
        loop {
            let received = match waiting.is_empty() {
                true => self.wanted.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => self.wanted.recv_timeout(RETRY_AFTER),
            };
            match received {
                Ok(mcu_id) => waiting.push(mcu_id),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            waiting.extend(self.wanted.try_iter());
            if self.is_stopping() {
                return;
            }
            match self.catch_up(&waiting) {
                Ok(()) => {
                    waiting.clear();
                    self.is_logged = false;
                }
                Err(error) if !self.is_logged => {
                    warn!(
                        "{}. Energy and other figures of the batteries go on once it can be read",
                        ErrorChain(&error)
                    );
                    self.is_logged = true;
                }
                Err(_) => {}
            }
        }
    }

    fn catch_up(&self, mcu_ids: &[u32]) -> Result<(), Error> {
        let mut reader = Reader::open(&self.journal)?;
        reader.time_limit = SLICE_TIME;
        let (mut known, mut unknown) = (Batteries::new(), Batteries::new());
        for &mcu_id in mcu_ids {
            // Another thread may have forgotten it meanwhile.
            let Some(battery) = self.insights.of(mcu_id) else { continue };
            match reader.insight(mcu_id)? {
                Some(stored) => load(&battery, &stored),
                None => self.inherit(mcu_id, &battery),
            }
            let is_known = lock(&battery).insight.until().is_some();
            if is_known {
                known.insert(mcu_id, battery);
            } else if reader.count(mcu_id)? > 0 {
                unknown.insert(mcu_id, battery);
            } else {
                lock(&battery).is_caught_up = true;
            }
        }
        for batteries in [&known, &unknown] {
            self.read_rows(&reader, batteries)?;
            if !self.is_stopping() {
                batteries.values().for_each(|battery| lock(battery).is_caught_up = true);
            }
        }
        Ok(())
    }

    /// Takes over what a listener with other options has left in its journal, which has another
    /// name: a battery was added to `-b`, say.
    fn inherit(&self, mcu_id: u32, battery: &Arc<Mutex<BatteryInsight>>) {
        let left = other_journals(&self.journal).into_iter().filter_map(|path| {
            let reader = Reader::open(path).ok()?;
            let is_left = reader.is_in_use().is_ok_and(|is_in_use| !is_in_use);
            let stored = reader.insight(mcu_id).ok().flatten().filter(|_| is_left)?;
            Some((stored, reader))
        });
        let Some((stored, reader)) = left.max_by_key(|(stored, _)| stored.until) else { return };
        let Ok(days) = reader.days(mcu_id, ALL_DATES) else { return };
        load(battery, &stored);
        // What can't be read there isn't counted; and none of it is in this journal yet.
        let _ = self.read_rows(&reader, &Batteries::from([(mcu_id, Arc::clone(battery))]));
        let mut battery = lock(battery);
        (battery.inherited, battery.stored_until) = (days, None);
    }

    /// Feeds the rows behind what each battery has, slice by slice.
    fn read_rows(&self, reader: &Reader, batteries: &Batteries) -> Result<(), Error> {
        let Some(mut selection) = selection(batteries) else { return Ok(()) };
        let columns: Vec<_> = COLUMNS.iter().collect();
        let mut rows = 0;
        while !self.is_stopping() {
            let began = Instant::now();
            let slice = read_slice(reader, &mut selection, &columns)?;
            for row in &slice {
                if let Some(battery) = batteries.get(&row.mcu_id) {
                    lock(battery).stored_row(row, &self.insights);
                }
            }
            rows += slice.len();
            if slice.len() < SLICE {
                let rows = crate::console::rows(rows as u64);
                info!("energy and other figures go on from {rows} of the journal");
                break;
            }
            // Others have more urgent work for this processor and this disk.
            thread::sleep(began.elapsed());
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn load(battery: &Mutex<BatteryInsight>, stored: &StoredInsight) {
    let StoredInsight { mcu_id, text, .. } = stored;
    let insight: Insight = match serde_json::from_str(text) {
        Ok(insight) => insight,
        Err(error) => {
            warn!(
                "battery {mcu_id:08X}: what was worked out of its samples can't be read from the \
                 journal ({error}); it is worked out again from the rows"
            );
            return;
        }
    };
    let mut battery = lock(battery);
    // An attempt before may have got further than that.
    if insight.mcu_id() == *mcu_id && battery.insight.until() < insight.until() {
        battery.load(insight);
    }
}

/// The rows behind what the batteries have; `None` if there are no batteries.
fn selection(batteries: &Batteries) -> Option<RowSelection> {
    let start = batteries.values().map(|battery| lock(battery).insight.until()).min()?;
    let is_few = batteries.len() <= MOST_IN_A_QUERY;
    Some(RowSelection {
        times: start.unwrap_or(UtcDateTime::MIN)..UtcDateTime::MAX,
        batteries: if is_few { batteries.keys().copied().collect() } else { vec![] },
        after: None,
    })
}

/// Reads the next rows of a selection, which then has those behind them.
fn read_slice(
    reader: &Reader,
    selection: &mut RowSelection,
    columns: &[&Column],
) -> Result<Vec<PackRecord>, Error> {
    let mut slice = vec![];
    reader.rows(selection, columns, |time, mcu_id, values| {
        let mut record = PackRecord::new(time, mcu_id);
        for (column, value) in columns.iter().zip(values) {
            // A value of another type is one that was damaged.
            let _ = column.set(&mut record, *value);
        }
        slice.push(record);
        if slice.len() < SLICE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if let Some(last) = slice.last() {
        selection.after = Some((last.insert_time_utc, last.mcu_id));
    }
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bluenova_import::merge_days;
    use bluenova_journal::{Journal, Retention};
    use time::macros::utc_datetime;

    use super::*;

    const START: UtcDateTime = utc_datetime!(2026-06-01 12:00);

    fn row(mcu_id: u32, seconds: i64) -> PackRecord {
        let mut row = PackRecord::new(START + time::Duration::seconds(seconds), mcu_id);
        (row.v_pack, row.i_pack) = (Some(50.0), Some(36.0));
        row
    }

    fn catch_up(journal: &Path) -> CatchUp {
        let insights = Insights::new(Duration::from_secs(10));
        let (_to_catch_up, wanted) = mpsc::channel();
        CatchUp::new(journal, insights, wanted, Arc::default())
    }

    /// Adds a battery of which nothing was loaded; returns it.
    fn add(catch_up: &CatchUp, mcu_id: u32) -> Arc<Mutex<BatteryInsight>> {
        let battery = Arc::new(Mutex::new(BatteryInsight::new(mcu_id, Instant::now())));
        let added = Arc::clone(&battery);
        catch_up.insights.batteries.update(|batteries| batteries.insert(mcu_id, added));
        battery
    }

    /// Seconds that were counted: a second has a hundredth of an ampere-hour.
    fn counted(battery: &Mutex<BatteryInsight>) -> i64 {
        (lock(battery).insight.counters().charge_in_ah * 100.0).round() as i64
    }

    #[test]
    fn each_battery_has_its_rows_and_those_behind_its_state_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let mut journal = Journal::open(&path, Retention::FOREVER).unwrap();
        // More than a slice, and across a midnight of any time zone.
        let rows: Vec<_> = (0..5000).flat_map(|n| [7, 8, 9].map(|id| row(id, 20 * n))).collect();
        rows.chunks(1000).for_each(|rows| journal.append(rows).map(drop).unwrap());
        let first = catch_up(&path);
        let [seven, eight, new] = [7, 8, 10].map(|mcu_id| add(&first, mcu_id));
        first.catch_up(&[7, 8, 10, 11]).unwrap();
        assert_eq!([counted(&seven), counted(&eight), counted(&new)], [99_980, 99_980, 0]);
        assert!([&seven, &eight, &new].iter().all(|battery| lock(battery).is_caught_up));
        let days = lock(&seven).ended.len();
        assert!(days > 0);

        let due = first.insights.take_due(Instant::now(), true).unwrap();
        assert_eq!((due.insights.len(), due.days.len()), (2, 2 * days));
        journal.merge_statistics(&due.insights[..1], &due.days, merge_days).unwrap();
        journal.append(&[row(7, 100_000), row(8, 100_000)]).unwrap();
        let second = catch_up(&path);
        let batteries = [7, 8].map(|mcu_id| add(&second, mcu_id));
        second.catch_up(&[7, 8]).unwrap();
        assert_eq!(batteries.each_ref().map(|battery| counted(battery)), [100_000; 2]);
        // Those of the state have not ended again.
        let ended: usize = batteries.iter().map(|battery| lock(battery).ended.len()).sum();
        assert_eq!(ended, days);
    }

    /// The name of a journal depends on the batteries in `-b`.
    #[test]
    fn what_a_listener_with_other_options_has_left_comes_along() {
        let directory = tempfile::tempdir().unwrap();
        let path = |n: u8| directory.path().join(format!("journal-{n:016x}.sqlite"));
        let open = |n| Journal::open(&path(n), Retention::FOREVER).unwrap();
        let mut older = open(1);
        older.append(&[row(7, 0), row(7, 10), row(7, 86_400)]).unwrap();
        let first = catch_up(&path(1));
        let _battery = add(&first, 7);
        first.catch_up(&[7]).unwrap();
        let due = first.insights.take_due(Instant::now(), true).unwrap();
        older.merge_statistics(&due.insights, &due.days, merge_days).unwrap();
        // As a killed process leaves it.
        older.append(&[row(7, 86_410)]).unwrap();
        drop(older);

        let mut newer = open(2);
        newer.append(&[row(7, 86_420)]).unwrap();
        let second = catch_up(&path(2));
        let battery = add(&second, 7);
        second.catch_up(&[7]).unwrap();
        assert_eq!((counted(&battery), lock(&battery).is_caught_up), (30, true));
        let due = second.insights.take_due(Instant::now(), true).unwrap();
        newer.merge_statistics(&due.insights, &due.days, merge_days).unwrap();
        assert_eq!(newer.reader().unwrap().days(7, ALL_DATES).unwrap().len(), 1);
        let third = catch_up(&path(2));
        let battery = add(&third, 7);
        third.catch_up(&[7]).unwrap();
        assert_eq!((counted(&battery), lock(&battery).inherited.len()), (30, 0));
    }

    #[test]
    fn a_journal_that_cannot_be_read_has_nothing_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let catch_up = catch_up(&path);
        let battery = add(&catch_up, 7);
        catch_up.catch_up(&[7]).unwrap_err();
        assert!(!lock(&battery).is_caught_up);
        drop(Journal::open(&path, Retention::FOREVER).unwrap());
        catch_up.catch_up(&[7]).unwrap();
        assert!(lock(&battery).is_caught_up);
    }

    #[test]
    fn a_state_that_is_damaged_is_made_anew_from_the_rows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let mut journal = Journal::open(&path, Retention::FOREVER).unwrap();
        journal.append(&[row(7, 0), row(7, 10)]).unwrap();
        for text in ["{}", "", "{\"mcu_id\":8}"] {
            let until = START + time::Duration::DAY;
            let state = StoredInsight { mcu_id: 7, until, text: text.to_owned() };
            journal.merge_statistics(&[state], &[], merge_days).unwrap();
            let catch_up = catch_up(&path);
            let battery = add(&catch_up, 7);
            catch_up.catch_up(&[7]).unwrap();
            assert_eq!(counted(&battery), 10, "{text}");
        }
    }
}
