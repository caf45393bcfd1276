//! Gathers what the log reader finds: rows into batches, the rest into findings.

use std::{io, mem, sync::mpsc::SyncSender};

use bluenova_archive::{Damage, LoggedRecord, NO_MCU_ID, Position, RecordOwners, Replayed};
use bluenova_record::PackRecord;
use time::{Duration, UtcDateTime};

use crate::{
    Findings, FoundDamage,
    days::LogDays,
    files::{LogFile, LogSeries},
};

/// Rows that are handed over at a time.
const BATCH: usize = 4000;

/// 2010-01-01T00:00:00Z: a clock before that has not been set.
const FIRST: i64 = 1_262_304_000;

/// How long after the end of an interval a listener that is running surely has its row.
const RECORDED_AFTER: Duration = Duration::seconds(10);

/// Rows of a log, to be added where they are missing.
pub(crate) type Batch = Vec<PackRecord>;

/// Nobody receives the rows any more.
pub(crate) struct Stopped;

/// Where rows and findings go.
pub(crate) struct Collector<'a> {
    /// Nobody if the rows aren't to be kept.
    rows: Option<&'a SyncSender<Batch>>,
    bounds: Bounds,
    batch: Batch,
    pub(crate) findings: Findings,
    /// `None` if they aren't asked for.
    pub(crate) days: Option<LogDays>,
}

/// First and last second that a record may have: when there was no first listener yet, and a day
/// from now.
struct Bounds {
    first: UtcDateTime,
    last: UtcDateTime,
    /// The last one of a row of console lines.
    last_of_console: UtcDateTime,
}

impl Bounds {
    fn contains(&self, record: &PackRecord) -> bool {
        (self.first..=self.last).contains(&record.insert_time_utc)
    }
}

impl<'a> Collector<'a> {
    pub(crate) fn new(
        rows: Option<&'a SyncSender<Batch>>,
        days: Option<LogDays>,
        now: UtcDateTime,
    ) -> Self {
        let first = UtcDateTime::from_unix_timestamp(FIRST).unwrap_or(UtcDateTime::MIN);
        let last = now.saturating_add(Duration::DAY);
        let bounds = Bounds { first, last, last_of_console: now.saturating_sub(RECORDED_AFTER) };
        Self { rows, bounds, batch: vec![], findings: Findings::default(), days }
    }

    /// A record, and whether its time is that of its line.
    pub(crate) fn logged(
        &mut self,
        series: &LogSeries,
        owners: &mut RecordOwners,
        logged: LoggedRecord,
        is_right: bool,
    ) {
        if !is_right {
            self.damage(series, logged.at, Damage::RecordTime);
        } else if logged.record.mcu_id == NO_MCU_ID {
            self.findings.without_owner += 1;
        } else {
            owners.check(logged, &mut |logged, is_right| self.owned(series, logged, is_right));
        }
    }

    /// A record, and whether there is a battery with its MCU ID.
    pub(crate) fn owned(&mut self, series: &LogSeries, logged: LoggedRecord, is_right: bool) {
        if is_right {
            // Rows of console lines don't count: their samples do.
            if let Some(days) = &mut self.days
                && self.bounds.contains(&logged.record)
            {
                days.row(&logged.record);
            }
            self.row(logged.record);
        } else {
            self.damage(series, logged.at, Damage::RecordOwner);
        }
    }

    /// What came of console lines up to that one.
    pub(crate) fn replayed(&mut self, series: &LogSeries, at: Position, replayed: Replayed) {
        match replayed {
            // The log doesn't have all lines of that interval yet. The row of those that it has
            // would keep the whole one away.
            Replayed::Record(record)
                if record.insert_time_utc > self.bounds.last_of_console
                    && record.insert_time_utc <= self.bounds.last =>
            {
                self.findings.under_way += 1;
            }
            Replayed::Record(record) => self.row(*record),
            Replayed::Sample(sample) => {
                let last = self.bounds.last_of_console;
                if let Some(days) = &mut self.days
                    && (self.bounds.first..=last).contains(&sample.insert_time_utc)
                {
                    days.sample(&sample);
                }
            }
            Replayed::NoOwner => self.findings.without_owner += 1,
            Replayed::Damage(damage) => self.damage(series, at, damage),
        }
    }

    /// Ends a log: the next one may be of the same time.
    pub(crate) fn end_log(&mut self) {
        if let Some(days) = &mut self.days {
            days.end_log();
        }
    }

    pub(crate) fn damage(&mut self, series: &LogSeries, at: Position, damage: Damage) {
        match self.findings.damage.iter_mut().find(|found| found.damage == damage) {
            Some(found) => found.count += 1,
            None => {
                let file = series.files.get(at.file);
                let path = file.map(|file| file.path.clone()).unwrap_or_default();
                let line = at.line;
                self.findings.damage.push(FoundDamage { damage, count: 1, path, line });
            }
        }
    }

    /// A file that can't be read to its end.
    pub(crate) fn unreadable(&mut self, file: &LogFile, error: io::Error) {
        if !self.findings.unreadable.iter().any(|(path, _)| *path == file.path) {
            self.findings.unreadable.push((file.path.clone(), error));
        }
    }

    /// Hands over the rows if they are a batch.
    pub(crate) fn hand_over(&mut self) -> Result<(), Stopped> {
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Hands over the rows that there are.
    pub(crate) fn flush(&mut self) -> Result<(), Stopped> {
        let batch = mem::take(&mut self.batch);
        self.rows.map_or(Ok(()), |rows| rows.send(batch)).map_err(|_| Stopped)
    }

    /// Whether the clock was right when the record was made.
    pub(crate) fn has_right_clock(&self, record: &PackRecord) -> bool {
        self.bounds.contains(record)
    }

    fn row(&mut self, record: PackRecord) {
        if self.bounds.contains(&record) {
            self.batch.push(record);
        } else {
            self.findings.wrong_clock += 1;
        }
    }
}
