//! The thread that reads the logs: bytes -> rows that may be missing.

use std::{
    collections::HashSet,
    mem,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::SyncSender,
    },
};

use bluenova_archive::{
    Damage, Event, LocalClock, LogParser, LoggedRecord, NO_MCU_ID, Offsets, Position, RecordTimes,
    Replay, Replayed, Stamp,
};
use bluenova_console::Interval;
use bluenova_record::PackRecord;
use time::UtcDateTime;

use super::{
    files::{LogFile, Series},
    zone::Zone,
};

/// Rows that are handed over at a time.
const BATCH: usize = 4000;

/// Rows of a log, to be added where they are missing.
pub(super) type Batch = Vec<PackRecord>;

/// Where damage was found first, and how often.
#[derive(Debug)]
pub(super) struct FoundDamage {
    pub(super) damage: Damage,
    pub(super) count: u64,
    pub(super) path: PathBuf,
    pub(super) line: u64,
}

/// What else was found in the logs.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) damage: Vec<FoundDamage>,
    /// Files that can't be read to their end, and why.
    pub(super) unreadable: Vec<(PathBuf, std::io::Error)>,
    /// Files without a single line that begins with a time.
    pub(super) no_logs: Vec<PathBuf>,
    /// Records and intervals without an MCU ID.
    pub(super) without_owner: u64,
    /// Records from before the clock was set, or from the future.
    pub(super) wrong_clock: u64,
    /// Rows of console lines that a listener may be recording.
    pub(super) under_way: u64,
    /// Files whose local times were taken to be of the zone that is given, or of the system's.
    pub(super) by_zone: Vec<PathBuf>,
}

/// How far reading has got, in bytes of the files.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) read: Arc<AtomicU64>,
    pub(super) total: AtomicU64,
}

/// Nobody receives the rows any more.
struct Stopped;

/// Reads the logs twice: first for records, then for lines of the console, whose rows give way to
/// those. Rows come in batches.
pub(super) struct LogReader {
    pub(super) zone: Zone,
    pub(super) interval: Interval,
    pub(super) now: UtcDateTime,
    pub(super) progress: Arc<Progress>,
    pub(super) rows: SyncSender<Batch>,
}

/// First and last second that a record may have: when there was no first listener yet, and a day
/// from now.
struct Bounds {
    first: UtcDateTime,
    last: UtcDateTime,
    /// The last one of a row of console lines.
    last_of_console: UtcDateTime,
}

/// 2010-01-01T00:00:00Z: a clock before that has not been set.
const FIRST: i64 = 1_262_304_000;

/// How long after the end of an interval a listener that is running surely has its row.
const RECORDED_AFTER: time::Duration = time::Duration::seconds(10);

impl LogReader {
    /// Reads all, until nobody receives the rows any more.
    pub(super) fn run(self, all: Vec<Series>) -> Findings {
        let mut out = Output::new(&self.rows, self.now);
        let bytes: u64 = all.iter().flatten().map(|file| file.bytes).sum();
        self.progress.total.store(bytes, Ordering::Relaxed);
        // Bytes that were read to find the order of the files don't count.
        self.progress.read.store(0, Ordering::Relaxed);
        let mut with_console = vec![];
        for series in all {
            let Ok((offsets, has_console)) = self.read_records(&series, &mut out) else {
                return out.findings;
            };
            if has_console {
                let bytes: u64 = series.iter().map(|file| file.bytes).sum();
                self.progress.total.fetch_add(bytes, Ordering::Relaxed);
                with_console.push((series, offsets));
            }
        }
        if out.flush().is_err() {
            return out.findings;
        }
        for (series, offsets) in with_console {
            if self.replay(&series, offsets, &mut out).is_err() {
                return out.findings;
            }
        }
        let _ = out.flush();
        out.findings
    }

    /// Reads the records; returns the offsets of local time, and whether there are console lines.
    fn read_records(
        &self,
        series: &Series,
        out: &mut Output<'_>,
    ) -> Result<(Offsets, bool), Stopped> {
        let mut parser = LogParser::default();
        let mut times = RecordTimes::default();
        let mut owners = Owners::default();
        let mut has_console = false;
        for (n, file) in series.iter().enumerate() {
            parser.begin_file(n);
            let (mut has_lines, mut has_time) = (false, false);
            self.each_line(file, out, |line, out| {
                has_lines = true;
                has_time = has_time || Stamp::of_line(line.bytes).is_some();
                parser.feed(line, &mut |at, event| match event {
                    Event::Record(logged) => times.check(*logged, &mut |logged, is_right| {
                        out.logged(series, &mut owners, logged, is_right);
                    }),
                    Event::Damage(damage) => out.damage(series, at, damage),
                    Event::Console { .. } => has_console = true,
                    Event::Connection { .. } | Event::Started { .. } | Event::Ended { .. } => {}
                });
            })?;
            if has_lines && !has_time {
                out.findings.no_logs.push(file.path.clone());
            }
        }
        parser.finish(&mut |at, event| match event {
            Event::Record(logged) => times.check(*logged, &mut |logged, is_right| {
                out.logged(series, &mut owners, logged, is_right);
            }),
            Event::Damage(damage) => out.damage(series, at, damage),
            _ => {}
        });
        let offsets = times.finish(&mut |logged, is_right| {
            out.logged(series, &mut owners, logged, is_right);
        });
        owners.finish(&mut |logged, is_right| out.owned(series, logged, is_right));
        Ok((offsets, has_console))
    }

    /// Makes rows of the console lines.
    fn replay(
        &self,
        series: &Series,
        offsets: Offsets,
        out: &mut Output<'_>,
    ) -> Result<(), Stopped> {
        let mut parser = LogParser::default();
        let mut replay = Replay::new(self.interval);
        let mut clock = LocalClock::new(offsets, |local| self.zone.times(local));
        let mut last_line = 0;
        for (n, file) in series.iter().enumerate() {
            parser.begin_file(n);
            self.each_line(file, out, |line, out| {
                last_line = line.number;
                parser.feed(line, &mut |at, event| match event {
                    Event::Console { stamp, battery, text, is_escaped } => {
                        let time = clock.utc(at, stamp);
                        let out = &mut |replayed| out.replayed(series, at, replayed);
                        replay.feed(battery, time, text, is_escaped, out);
                    }
                    Event::Connection { stamp, battery } => {
                        let time = clock.utc(at, stamp);
                        replay.disconnected(battery, time, &mut |replayed| {
                            out.replayed(series, at, replayed);
                        });
                    }
                    Event::Started { stamp } => {
                        let time = clock.utc(at, stamp);
                        replay.restarted(time, &mut |replayed| out.replayed(series, at, replayed));
                    }
                    Event::Ended { stamp } => {
                        let time = clock.utc(at, stamp);
                        replay.ended(time, &mut |replayed| out.replayed(series, at, replayed));
                    }
                    // They are dealt with already.
                    Event::Record(_) | Event::Damage(_) => {}
                });
            })?;
            if clock.take_used_zone() {
                out.findings.by_zone.push(file.path.clone());
            }
        }
        let at = Position { file: series.len().saturating_sub(1), line: last_line };
        replay.finish(&mut |replayed| out.replayed(series, at, replayed));
        Ok(())
    }

    /// Calls `each` with every line of a file; one that breaks off is noted.
    fn each_line(
        &self,
        file: &LogFile,
        out: &mut Output<'_>,
        mut each: impl FnMut(bluenova_archive::LogLine<'_>, &mut Output<'_>),
    ) -> Result<(), Stopped> {
        let mut lines = match file.open(&self.progress.read) {
            Ok(lines) => lines,
            Err(error) => {
                out.unreadable(file, error);
                return Ok(());
            }
        };
        loop {
            match lines.next_line() {
                Ok(Some(line)) => each(line, out),
                Ok(None) => return Ok(()),
                Err(error) => {
                    out.unreadable(file, error);
                    return Ok(());
                }
            }
            out.hand_over()?;
        }
    }
}

/// Batteries of a series of log files.
///
/// A digit of an MCU ID that was damaged gives a battery that doesn't exist. So a battery counts as
/// soon as two records are of it, or if none has two.
#[derive(Default)]
struct Owners {
    confirmed: HashSet<u32>,
    /// The only records of their batteries so far.
    unconfirmed: Vec<LoggedRecord>,
}

/// Records that are held until a second one of their battery comes.
const UNCONFIRMED: usize = 8;

impl Owners {
    /// Checks the next record; calls `checked` with each record about which it is decided, and with
    /// whether its battery exists.
    fn check(&mut self, logged: LoggedRecord, checked: &mut impl FnMut(LoggedRecord, bool)) {
        let id = logged.record.mcu_id;
        if self.confirmed.contains(&id) {
            return checked(logged, true);
        }
        let same = self.unconfirmed.iter().position(|other| other.record.mcu_id == id);
        if let Some(same) = same {
            self.confirmed.insert(id);
            checked(self.unconfirmed.remove(same), true);
            return checked(logged, true);
        }
        self.unconfirmed.push(logged);
        if self.unconfirmed.len() > UNCONFIRMED {
            checked(self.unconfirmed.remove(0), false);
        }
    }

    /// Ends the log, as [`check`](Self::check) does with the records that were held.
    fn finish(self, checked: &mut impl FnMut(LoggedRecord, bool)) {
        let are_right = self.confirmed.is_empty();
        for logged in self.unconfirmed {
            checked(logged, are_right);
        }
    }
}

/// Where rows and findings go.
struct Output<'a> {
    rows: &'a SyncSender<Batch>,
    bounds: Bounds,
    batch: Batch,
    findings: Findings,
}

impl<'a> Output<'a> {
    fn new(rows: &'a SyncSender<Batch>, now: UtcDateTime) -> Self {
        let first = UtcDateTime::from_unix_timestamp(FIRST).unwrap_or(UtcDateTime::MIN);
        let last = now.saturating_add(time::Duration::DAY);
        let bounds = Bounds { first, last, last_of_console: now.saturating_sub(RECORDED_AFTER) };
        Self { rows, bounds, batch: vec![], findings: Findings::default() }
    }

    /// A record, and whether its time is that of its line.
    fn logged(
        &mut self,
        series: &Series,
        owners: &mut Owners,
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
    fn owned(&mut self, series: &Series, logged: LoggedRecord, is_right: bool) {
        if is_right {
            self.row(logged.record);
        } else {
            self.damage(series, logged.at, Damage::RecordOwner);
        }
    }

    /// What came of console lines up to that one.
    fn replayed(&mut self, series: &Series, at: Position, replayed: Replayed) {
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
            Replayed::NoOwner => self.findings.without_owner += 1,
            Replayed::Damage(damage) => self.damage(series, at, damage),
        }
    }

    fn row(&mut self, record: PackRecord) {
        if (self.bounds.first..=self.bounds.last).contains(&record.insert_time_utc) {
            self.batch.push(record);
        } else {
            self.findings.wrong_clock += 1;
        }
    }

    fn hand_over(&mut self) -> Result<(), Stopped> {
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        self.rows.send(mem::take(&mut self.batch)).map_err(|_| Stopped)
    }

    fn damage(&mut self, series: &Series, at: Position, damage: Damage) {
        match self.findings.damage.iter_mut().find(|found| found.damage == damage) {
            Some(found) => found.count += 1,
            None => {
                let path = series.get(at.file).map(|file| file.path.clone()).unwrap_or_default();
                let line = at.line;
                self.findings.damage.push(FoundDamage { damage, count: 1, path, line });
            }
        }
    }

    fn unreadable(&mut self, file: &LogFile, error: std::io::Error) {
        let is_known = |(path, _): &(PathBuf, _)| *path == file.path;
        if !self.findings.unreadable.iter().any(is_known) {
            self.findings.unreadable.push((file.path.clone(), error));
        }
    }
}
