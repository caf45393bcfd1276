//! The thread that reads the logs: bytes -> rows that may be missing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::SyncSender,
};

use bluenova_archive::{
    Event, LocalClock, LogLine, LogParser, Offsets, Position, RecordOwners, RecordTimes, Replay,
    Stamp,
};
use bluenova_console::Interval;
use bluenova_journal::StoredDay;
use time::UtcDateTime;

use crate::{
    Findings, LogZone,
    collector::{Batch, Collector, Stopped},
    days::LogDays,
    files::{LogFile, LogSeries},
};

/// How far reading has got, in bytes of the files.
#[derive(Debug, Default)]
pub(crate) struct ReadProgress {
    pub(crate) read: Arc<AtomicU64>,
    pub(crate) total: AtomicU64,
}

/// Reads the logs twice: first for records, then for lines of the console, whose rows give way to
/// those. Rows come in batches.
pub(crate) struct LogReader {
    pub(crate) zone: LogZone,
    pub(crate) interval: Interval,
    pub(crate) now: UtcDateTime,
    pub(crate) progress: Arc<ReadProgress>,
    /// Where rows go; nowhere if they aren't to be added to a store.
    pub(crate) rows: Option<SyncSender<Batch>>,
}

impl LogReader {
    /// Reads all, until nobody receives the rows any more. Returns the days of the batteries beside
    /// the findings.
    pub(crate) fn run(self, all: Vec<LogSeries>) -> (Findings, Vec<StoredDay>) {
        // Those of the place that the logs are from.
        let days = LogDays::new(self.zone.time_zone().clone(), self.interval);
        let mut out = Collector::new(self.rows.as_ref(), Some(days), self.now);
        self.read_all(all, &mut out);
        (out.findings, out.days.map_or(vec![], LogDays::finish))
    }

    fn read_all(&self, all: Vec<LogSeries>, out: &mut Collector<'_>) {
        let bytes: u64 = all.iter().map(LogSeries::bytes).sum();
        self.progress.total.store(bytes, Ordering::Relaxed);
        // Bytes that were read to find the order of the files don't count.
        self.progress.read.store(0, Ordering::Relaxed);
        let mut with_console = vec![];
        for series in all {
            let Ok((offsets, has_console)) = self.read_records(&series, out) else {
                return;
            };
            out.end_log();
            if has_console {
                self.progress.total.fetch_add(series.bytes(), Ordering::Relaxed);
                with_console.push((series, offsets));
            }
        }
        if out.flush().is_err() {
            return;
        }
        for (series, offsets) in with_console {
            if self.replay(&series, offsets, out).is_err() {
                return;
            }
            out.end_log();
        }
        let _ = out.flush();
    }

    /// Reads the records; returns the offsets of local time, and whether there are console lines.
    pub(crate) fn read_records(
        &self,
        series: &LogSeries,
        out: &mut Collector<'_>,
    ) -> Result<(Offsets, bool), Stopped> {
        let mut parser = LogParser::default();
        let mut times = RecordTimes::default();
        let mut owners = RecordOwners::default();
        let mut has_console = false;
        for (n, file) in series.files.iter().enumerate() {
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
        series: &LogSeries,
        offsets: Offsets,
        out: &mut Collector<'_>,
    ) -> Result<(), Stopped> {
        let mut parser = LogParser::default();
        let mut replay = Replay::new(self.interval).with_samples();
        let mut clock = LocalClock::new(offsets, |local| self.zone.times(local));
        let mut last_line = 0;
        for (n, file) in series.files.iter().enumerate() {
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
        let at = Position { file: series.files.len().saturating_sub(1), line: last_line };
        replay.finish(&mut |replayed| out.replayed(series, at, replayed));
        Ok(())
    }

    /// Calls `each` with every line of a file; one that breaks off is noted.
    pub(crate) fn each_line(
        &self,
        file: &LogFile,
        out: &mut Collector<'_>,
        mut each: impl FnMut(LogLine<'_>, &mut Collector<'_>),
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
