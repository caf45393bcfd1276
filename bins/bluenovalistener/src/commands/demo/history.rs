//! A week of simulated history, so that the first look at the demo has days to show.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    thread,
};

use bluenova_console::{Assembler, Interval};
use bluenova_import::stored_day;
use bluenova_insight::{DayStatistics, Insight};
use bluenova_journal::{Event, Journal, Reader, Retention};
use bluenova_record::PackRecord;
use bluenova_simulator::Battery;
use jiff::tz::TimeZone;
use time::{Duration, UtcDateTime};

use crate::threads::stored_insight;

const WEEK: Duration = Duration::DAY.saturating_mul(7);

/// Seconds between two rows of history: with those of a second it would take a minute.
const SECONDS: u16 = 60;

/// Rows that are stored at once.
const BATCH: usize = 1000;

/// Whether the database at `path` has no rows of the week before `now`.
pub(super) fn is_missing(path: &Path, now: UtcDateTime) -> bool {
    let latest = Reader::open(path).and_then(|reader| reader.latest());
    // What can't be read is said when it is opened to be written.
    latest.map_or(!path.exists(), |rows| {
        rows.iter().all(|row| row.insert_time_utc < now.saturating_sub(WEEK))
    })
}

/// Stores a week of history in the database at `path`. Returns the two batteries as they are at its
/// end, the last full second before `now`.
pub(super) fn make(path: &Path, now: UtcDateTime) -> Result<[Battery; 2], Box<dyn Error>> {
    if path.exists() {
        return fill(path, now);
    }
    // Under another name until it is whole: a killed process must not leave half a week.
    let draft = draft(path);
    if draft.exists() {
        Journal::open(&draft, Retention::FOREVER)?.remove()?;
    }
    let batteries = fill(&draft, now)?;
    fs::rename(&draft, path)?;
    let _ = fs::remove_file(beside(&draft, ".lock"));
    Ok(batteries)
}

/// The two batteries at `now`, going on from the newest row of each in the database at `path`: sun
/// and household went on in the time between.
///
/// # Errors
/// The database can't be read.
pub(super) fn go_on(
    path: &Path,
    now: UtcDateTime,
) -> Result<[Battery; 2], bluenova_journal::Error> {
    let latest = Reader::open(path)?.latest()?;
    Ok(Battery::pair(now).map(|battery| {
        let mut its_rows = latest.iter().filter(|row| row.mcu_id == battery.profile().mcu_id);
        let Some(row) = its_rows.next() else { return battery };
        let mut battery = battery.resumed(row);
        // A row is later than now where a clock was set back.
        battery.advance((now - row.insert_time_utc).try_into().unwrap_or_default());
        battery
    }))
}

/// The name of the database at `path` while its history is made.
fn draft(path: &Path) -> PathBuf {
    beside(path, ".draft")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn fill(path: &Path, now: UtcDateTime) -> Result<[Battery; 2], Box<dyn Error>> {
    let end = now.truncate_to_second();
    let pair = Battery::pair(begin(end));
    let [first, second] = thread::scope(|scope| {
        pair.map(|battery| scope.spawn(move || BatteryWeek::simulate(battery, end)))
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut journal = Journal::open(path, Retention::FOREVER)?;
    journal.put_events(&listeners(end))?;
    for rows in first.rows.chunks(BATCH / 2).zip(second.rows.chunks(BATCH / 2)) {
        journal.append(&[rows.0, rows.1].concat())?;
    }
    let mut batteries = vec![];
    for BatteryWeek { battery, days, insight, .. } in [first, second] {
        let mcu_id = insight.mcu_id();
        let days: Vec<_> = days.iter().filter_map(|day| stored_day(mcu_id, day)).collect();
        journal.put_statistics(stored_insight(&insight).as_slice(), &days)?;
        batteries.push(battery);
    }
    batteries.try_into().map_err(|_| "a pair has two batteries".into())
}

/// When the history begins: where an interval of a minute does.
fn begin(end: UtcDateTime) -> UtcDateTime {
    end.saturating_sub(WEEK).truncate_to_minute()
}

/// From when on there is a row every second, as there will be more of: in the minute under way,
/// which has no row of its own.
fn last_minute(end: UtcDateTime) -> UtcDateTime {
    end.truncate_to_minute()
}

/// The listeners that would have recorded that: one for each interval.
fn listeners(end: UtcDateTime) -> [Event; 2] {
    let of = |since, until, seconds: u16| {
        let interval = std::time::Duration::from_secs(seconds.into());
        let started = Event::started(since, env!("CARGO_PKG_VERSION"), interval);
        Event { until: Some(until), ..started }
    };
    [of(begin(end), last_minute(end), SECONDS), of(last_minute(end), end, 1)]
}

/// What a battery did in a week, read from its console as from that of a real one.
struct BatteryWeek {
    battery: Battery,
    rows: Vec<PackRecord>,
    days: Vec<DayStatistics>,
    insight: Insight,
}

impl BatteryWeek {
    fn simulate(battery: Battery, end: UtcDateTime) -> Self {
        let insight = Insight::new(battery.profile().mcu_id);
        let mut week = Self { battery, rows: vec![], days: vec![], insight };
        week.live_until(last_minute(end), SECONDS);
        week.live_until(end, 1);
        week
    }

    /// Lets the battery live, with a row every so many seconds.
    fn live_until(&mut self, end: UtcDateTime, seconds: u16) {
        let Some(interval) = Interval::from_seconds(seconds.into()) else { return };
        let (mut assembler, zone) = (Assembler::new(interval), TimeZone::system());
        let length = Duration::seconds(seconds.into());
        let mut console = String::new();
        // Without this, the interval that begins here would count as begun before, and have no row.
        let _ = assembler.tick(self.battery.time());
        while self.battery.time() < end {
            console.clear();
            self.battery.print_cycle(&mut console);
            for line in console.lines() {
                // The simulator makes no mistakes; a line that is wrong costs its field.
                let _ = assembler.feed(line);
            }
            self.battery.advance(length.unsigned_abs());
            if let Some(Ok(row)) = assembler.tick(self.battery.time()) {
                self.days.extend(self.insight.row(&row, length, &zone));
                self.rows.push(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use time::macros::utc_datetime;

    use super::*;

    #[test]
    fn a_second_demo_goes_on_where_the_first_one_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo.sqlite");
        let now = utc_datetime!(2026-11-27 06:00:30);
        make(&path, now).unwrap();
        let latest = Reader::open(&path).unwrap().latest().unwrap();
        let later = now + Duration::seconds(30);
        for mut battery in go_on(&path, later).unwrap() {
            let id = battery.profile().mcu_id;
            let row = latest.iter().find(|row| row.mcu_id == id).unwrap();
            let found = battery.print_cycle(&mut String::new());
            let soc = row.soc.unwrap();
            assert!((soc - 55).abs() > 5, "{soc} % is about what a new battery has");
            assert!((found.soc - soc).abs() <= 1, "{} % after {soc} %", found.soc);
            let energy = found.energy_in.unwrap().to_f32();
            assert!((energy - row.energy_in.unwrap()).abs() <= 0.2, "{energy} after {row:?}");
            assert_eq!(battery.time(), later);
        }
        // The night has passed meanwhile.
        let [slept, _] = go_on(&path, now + Duration::hours(15)).unwrap();
        assert_eq!(slept.time(), now + Duration::hours(15));
    }

    #[test]
    fn a_week_is_whole_after_one_that_was_killed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo.sqlite");
        let now = utc_datetime!(2026-11-27 10:00:30);
        // What it has left.
        let row = PackRecord::new(now - Duration::DAY, 7);
        Journal::open(&draft(&path), Retention::FOREVER).unwrap().append(&[row]).unwrap();
        assert!(is_missing(&path, now));
        let batteries = make(&path, now).unwrap();
        assert!(!is_missing(&path, now));
        let reader = Reader::open(&path).unwrap();
        let ids: HashSet<u32> = batteries.iter().map(|it| it.profile().mcu_id).collect();
        let latest: HashSet<u32> = reader.latest().unwrap().iter().map(|row| row.mcu_id).collect();
        assert_eq!(latest, ids);
        assert!(reader.latest().unwrap().iter().all(|row| row.insert_time_utc == now));
        for id in ids {
            // One a minute, one a second in the last minute, and none is missing where both meet.
            assert_eq!(reader.count(id).unwrap(), 7 * 24 * 60 + 30);
            assert!(reader.days(id, "0000"..="9999").unwrap().len() >= 7);
        }
        let mut left = fs::read_dir(directory.path()).unwrap();
        let is_draft = |name: &str| name.contains(".draft");
        assert!(!left.any(|entry| is_draft(&entry.unwrap().file_name().to_string_lossy())));
    }
}
