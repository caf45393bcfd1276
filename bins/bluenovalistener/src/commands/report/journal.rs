//! What the journal has about batteries.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    ops::{ControlFlow, Range},
    path::Path,
    time::Duration,
};

use bluenova_insight::{Calendar, DayStatistics, Figures, Insight};
use bluenova_journal::{ALL_DATES, Event, Reader, RowSelection};
use bluenova_record::{COLUMNS, Column, McuId, PackRecord};
use bluenova_report::{EventLog, Identity, Sources};
use time::{Date, UtcDateTime};

use super::{super::export, Request, events, warn};
use crate::settings::{Settings, Store};

/// Rows that are read at a time: few enough that the writer, whose log grows meanwhile, has it back
/// soon.
const PIECE: usize = 1000;

/// Deadline for a piece, which a slow SD card may need.
const PIECE_DEADLINE: Duration = Duration::from_secs(60);

/// Columns of the rows in which events are looked for.
const EVENT_COLUMNS: [&str; 2] = ["errors", "breaker"];

/// What the journal at `path` has of the batteries that are asked for.
pub(super) fn sources(
    path: &Path,
    settings: &Settings,
    request: &Request<'_>,
) -> Result<Vec<Sources>, Box<dyn Error>> {
    if !path.exists() {
        let has_server = matches!(settings.store, Store::Postgres { .. });
        let why = super::super::no_journal(path, "report", has_server);
        return Err(format!("{why}; --from-log makes a report from logs").into());
    }
    let mut reader = Reader::open(path)?;
    reader.time_limit = PIECE_DEADLINE;
    let ids = chosen(&reader, path, settings, request)?;
    let noted = reader.events()?;
    let interval = time::Duration::seconds(settings.interval.seconds().into());
    let battery = |id| {
        let battery = StoredBattery { reader: &reader, mcu_id: id, interval, request };
        battery.sources(&noted, path)
    };
    ids.into_iter().map(battery).collect()
}

/// The MCU IDs of the batteries that are asked for, in the order in which they are; of all, those
/// of `-b` first, in its order.
fn chosen(
    reader: &Reader,
    path: &Path,
    settings: &Settings,
    request: &Request<'_>,
) -> Result<Vec<u32>, Box<dyn Error>> {
    let mut known = reader.mcu_ids()?;
    known.extend(reader.insights()?.iter().map(|stored| stored.mcu_id));
    if request.batteries.is_empty() {
        return Ok(in_order(known, settings, &reader.events()?));
    }
    known.sort_unstable();
    known.dedup();
    let mut chosen = vec![];
    for given in request.batteries {
        let ids = export::mcu_ids(given, &settings.batteries, Some(reader))?;
        if !ids.iter().any(|id| known.contains(id)) {
            return Err(format!(
                "--battery {given}: {} has nothing of {}, but of {}",
                path.display(),
                export::listed(&ids),
                export::listed(&known)
            )
            .into());
        }
        chosen.extend(ids.into_iter().filter(|id| known.contains(id)));
    }
    Ok(chosen)
}

/// The batteries once, in the order of `-b`; then those that it doesn't have, by MCU ID.
fn in_order(mut known: Vec<u32>, settings: &Settings, events: &[Event]) -> Vec<u32> {
    known.sort_unstable();
    known.dedup();
    // The last battery that had a name is the one that has it.
    let named: HashMap<_, _> = events
        .iter()
        .filter_map(|event| Some((event.battery.as_deref()?, event.mcu_id?)))
        .collect();
    let addresses = settings.batteries.iter().enumerate();
    // Of several addresses of a battery the first one counts.
    let positions: HashMap<_, _> = addresses
        .rev()
        .filter_map(|(position, battery)| Some((named.get(&*battery.name)?, position)))
        .collect();
    known.sort_by_key(|id| positions.get(id).copied().unwrap_or(usize::MAX));
    known
}

/// A battery, as the journal has it.
struct StoredBattery<'a> {
    reader: &'a Reader,
    mcu_id: u32,
    /// From one row to the next.
    interval: time::Duration,
    request: &'a Request<'a>,
}

impl StoredBattery<'_> {
    fn sources(&self, noted: &[Event], path: &Path) -> Result<Sources, Box<dyn Error>> {
        let (days, figures) = self.days_and_figures()?;
        let name = noted.iter().rev().find(|event| event.mcu_id == Some(self.mcu_id));
        let name = name.and_then(|event| event.battery.clone());
        let latest = self.reader.latest()?.into_iter().find(|row| row.mcu_id == self.mcu_id);
        let identity = match latest {
            Some(row) => Identity::of_row(name, &row),
            None => Identity { name, mcu_id: self.mcu_id, ..Identity::default() },
        };
        Ok(Sources {
            identity,
            days,
            figures,
            events: self.events(noted)?,
            zone: self.request.zone_name(),
            origin: format!("the journal {}", path.display()),
            made_by: String::new(),
        })
    }

    /// The days that are asked for, and what is known at the end of the last one.
    fn days_and_figures(&self) -> Result<(Vec<DayStatistics>, Option<Figures>), Box<dyn Error>> {
        let dates = &self.request.dates;
        let mut days = BTreeMap::new();
        for stored in self.reader.days(self.mcu_id, ALL_DATES)? {
            match serde_json::from_str::<DayStatistics>(&stored.text) {
                Ok(day) => drop(days.insert(day.date, day)),
                // It costs that day, or is rebuilt from the rows, if there are any.
                Err(error) => warn(&format!(
                    "{}, {}: the day is damaged in the journal: {error}",
                    McuId(self.mcu_id),
                    stored.date
                )),
            }
        }
        let stored = self.reader.insight(self.mcu_id)?;
        // A state that this version doesn't read is made again from the rows that there are.
        let mut insight: Insight = stored
            .and_then(|stored| serde_json::from_str(&stored.text).ok())
            .unwrap_or_else(|| Insight::new(self.mcu_id));
        let known_from = insight.figures().map(|figures| figures.today.date);
        self.days_before(known_from, &mut days)?;
        let after = insight.until().map(|until| (until, self.mcu_id));
        self.feed(&mut insight, UtcDateTime::MIN..UtcDateTime::MAX, after, &mut days)?;
        let figures = insight.figures();
        let is_now = figures.as_ref().is_some_and(|figures| figures.today.date <= *dates.end());
        days.retain(|date, _| dates.contains(date));
        // The figures of today say nothing about a time that was over before.
        Ok((days.into_values().collect(), figures.filter(|_| is_now)))
    }

    /// Rebuilds the days before the one that the state has, as far as there are rows of them and
    /// no statistics.
    fn days_before(
        &self,
        known_from: Option<Date>,
        days: &mut BTreeMap<Date, DayStatistics>,
    ) -> Result<(), Box<dyn Error>> {
        let (Some(known_from), Some(mut time)) = (known_from, self.first_row()?) else {
            return Ok(());
        };
        let calendar = &self.request.zone;
        loop {
            let day = calendar.day_of(time);
            if day.date >= known_from {
                return Ok(());
            }
            if !days.contains_key(&day.date) && self.request.dates.contains(&day.date) {
                let mut insight = Insight::new(self.mcu_id);
                self.feed(&mut insight, day.begin..day.end, None, days)?;
            }
            time = day.end;
        }
    }

    /// Feeds the rows of a time; the days that end, and the one under way, go to `days`.
    fn feed(
        &self,
        insight: &mut Insight,
        times: Range<UtcDateTime>,
        after: Option<(UtcDateTime, u32)>,
        days: &mut BTreeMap<Date, DayStatistics>,
    ) -> Result<(), Box<dyn Error>> {
        let columns: Vec<_> = COLUMNS.iter().collect();
        self.each_row(times, after, &columns, |row| {
            if let Some(day) = insight.row(row, self.interval, &self.request.zone) {
                add(days, day);
            }
        })?;
        if let Some(figures) = insight.figures() {
            add(days, figures.today);
        }
        Ok(())
    }

    fn first_row(&self) -> Result<Option<UtcDateTime>, bluenova_journal::Error> {
        let (mut first, all) = (None, UtcDateTime::MIN..UtcDateTime::MAX);
        self.reader.history(self.mcu_id, all, &[], |time, _| {
            first = Some(time);
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    fn events(
        &self,
        noted: &[Event],
    ) -> Result<Vec<bluenova_report::EventSummary>, Box<dyn Error>> {
        let times = self.request.times();
        let within = |event: &&Event| times.contains(&event.since);
        let noted: Vec<_> = noted.iter().filter(within).cloned().collect();
        let mut log = EventLog::default();
        events::add(&mut log, &noted, self.mcu_id, self.request.now.min(times.end));
        let columns: Vec<_> =
            COLUMNS.iter().filter(|column| EVENT_COLUMNS.contains(&column.name)).collect();
        self.each_row(times, None, &columns, |row| log.row(row))?;
        Ok(log.finish())
    }

    /// Calls `each` with the rows of a time, in pieces; columns that aren't asked for are unknown.
    fn each_row(
        &self,
        times: Range<UtcDateTime>,
        after: Option<(UtcDateTime, u32)>,
        columns: &[&Column],
        mut each: impl FnMut(&PackRecord),
    ) -> Result<(), bluenova_journal::Error> {
        let mut selection = RowSelection { times, batteries: vec![self.mcu_id], after };
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, self.mcu_id);
        loop {
            let (mut count, mut last) = (0, None);
            self.reader.rows(&selection, columns, |time, mcu_id, values| {
                for (column, value) in columns.iter().zip(values) {
                    // It can't fail: the journal has values of the column's type only.
                    let _ = column.set(&mut record, *value);
                }
                record.insert_time_utc = time;
                each(&record);
                count += 1;
                last = Some((time, mcu_id));
                if count == PIECE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if count < PIECE {
                return Ok(());
            }
            selection.after = last;
        }
    }
}

/// Adds a day, of which an import may have stored another part.
fn add(days: &mut BTreeMap<Date, DayStatistics>, day: DayStatistics) {
    let merged = match days.remove(&day.date) {
        Some(stored) => stored.merge(day),
        None => day,
    };
    days.insert(merged.date, merged);
}
