//! A week of simulated history, so that the first look at the demo has days to show.

use std::{error::Error, path::Path, thread};

use bluenova_console::{Assembler, Interval};
use bluenova_import::stored_day;
use bluenova_insight::Insight;
use bluenova_journal::{Event, Journal, Reader, Retention, StoredDay, StoredInsight};
use bluenova_record::PackRecord;
use bluenova_simulator::Battery;
use jiff::tz::TimeZone;
use time::{Duration, UtcDateTime};

use crate::threads::stored_insight;

const WEEK: Duration = Duration::DAY.saturating_mul(7);

/// Seconds between two rows of history: with those of a second it would take a minute.
const SECONDS: u16 = 60;
const INTERVAL: Duration = Duration::new(SECONDS as i64, 0);

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
/// end, the last full minute before `now`.
pub(super) fn make(path: &Path, now: UtcDateTime) -> Result<[Battery; 2], Box<dyn Error>> {
    let end = now.truncate_to_minute();
    let pair = Battery::pair(end.saturating_sub(WEEK));
    let [first, second] = thread::scope(|scope| {
        pair.map(|battery| scope.spawn(move || BatteryWeek::simulate(battery, end)))
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut journal = Journal::open(path, Retention::FOREVER)?;
    // As if a listener had run for a week, with a row in each minute.
    let (version, interval) = (env!("CARGO_PKG_VERSION"), INTERVAL.unsigned_abs());
    let started = Event::started(end.saturating_sub(WEEK), version, interval);
    journal.put_events(&[Event { until: Some(end), ..started }])?;
    for rows in first.rows.chunks(BATCH / 2).zip(second.rows.chunks(BATCH / 2)) {
        journal.append(&[rows.0, rows.1].concat())?;
    }
    let mut batteries = vec![];
    for BatteryWeek { battery, days, insight, .. } in [first, second] {
        journal.put_statistics(insight.as_slice(), &days)?;
        batteries.push(battery);
    }
    batteries.try_into().map_err(|_| "a pair has two batteries".into())
}

/// What a battery did in a week, read from its console as from that of a real one.
struct BatteryWeek {
    battery: Battery,
    rows: Vec<PackRecord>,
    days: Vec<StoredDay>,
    insight: Option<StoredInsight>,
}

impl BatteryWeek {
    fn simulate(mut battery: Battery, end: UtcDateTime) -> Self {
        let mcu_id = battery.profile().mcu_id;
        let (mut rows, mut days) = (vec![], vec![]);
        let (mut insight, zone) = (Insight::new(mcu_id), TimeZone::system());
        let mut console = String::new();
        if let Some(interval) = Interval::from_seconds(SECONDS.into()) {
            let mut assembler = Assembler::new(interval);
            while battery.time() < end {
                console.clear();
                battery.print_cycle(&mut console);
                for line in console.lines() {
                    // The simulator makes no mistakes; a line that is wrong costs its field.
                    let _ = assembler.feed(line);
                }
                battery.advance(INTERVAL.unsigned_abs());
                if let Some(Ok(row)) = assembler.tick(battery.time()) {
                    days.extend(insight.row(&row, INTERVAL, &zone));
                    rows.push(row);
                }
            }
        }
        let days = days.iter().filter_map(|day| stored_day(mcu_id, day)).collect();
        Self { battery, rows, days, insight: stored_insight(&insight) }
    }
}
