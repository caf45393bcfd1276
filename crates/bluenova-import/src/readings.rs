//! What logs have of each battery, in the order of the logs: rows, and samples of the console.

use std::sync::{Arc, atomic::Ordering};

use bluenova_archive::{
    Event, LocalClock, LogParser, LoggedRecord, NO_MCU_ID, Offsets, Position, RecordOwners,
    RecordTimes, Replay, Replayed,
};
use bluenova_console::Interval;
use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::{
    Findings, LogSeries, LogZone,
    collector::{Collector, Stopped},
    read::{LogReader, ReadProgress},
};

/// Logs that are read for what they have of each battery, without adding it to a store.
#[derive(Debug)]
pub struct LogReadings {
    /// The logs, the oldest first.
    pub logs: Vec<LogSeries>,
    /// The zone of lines that have a local time, where no record of their log shows it.
    pub zone: LogZone,
    /// Length of the intervals into which console lines are put.
    pub interval: Interval,
    /// The present time: later rows are of a clock that was wrong.
    pub now: UtcDateTime,
}

/// Something that a log has of a battery.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogReading<'a> {
    /// What the log calls the battery; empty where it has no name, as with the first listener.
    pub name: &'a [u8],
    /// The values of a cycle of the console or of an interval.
    pub record: &'a PackRecord,
    /// Whether it is a sample of the console, and not a row: a record of the first listener, or
    /// one that was made of console lines.
    pub is_sample: bool,
}

impl LogReadings {
    /// Reads the logs twice: first for the offsets of their local times, then for what they have.
    /// Calls `each` with that, and `progress` with the bytes that are read and those that are to
    /// be.
    ///
    /// In each log the readings of a battery are in the order of time, but that a record of the
    /// first listener may come a little late.
    pub fn read(
        self,
        mut each: impl FnMut(LogReading<'_>),
        mut progress: impl FnMut(u64, u64),
    ) -> Findings {
        let Self { logs, zone, interval, now } = self;
        let read = Arc::new(ReadProgress::default());
        let reader = LogReader { zone, interval, now, progress: Arc::clone(&read), rows: None };
        let mut out = Collector::new(None, None, now);
        let total = logs.iter().map(LogSeries::bytes).sum::<u64>() * 2;
        read.read.store(0, Ordering::Relaxed);
        for series in logs {
            // Nothing stops it: there is no receiver of rows that could go away.
            let Ok((offsets, _)) = reader.read_records(&series, &mut out) else { break };
            progress(read.read.load(Ordering::Relaxed), total);
            let mut progress = || progress(read.read.load(Ordering::Relaxed), total);
            if reader.readings(&series, offsets, &mut out, &mut each, &mut progress).is_err() {
                break;
            }
        }
        out.findings
    }
}

/// Lines between two calls of `progress`.
const PROGRESS_LINES: u64 = 50_000;

impl LogReader {
    fn readings(
        &self,
        series: &LogSeries,
        offsets: Offsets,
        out: &mut Collector<'_>,
        each: &mut impl FnMut(LogReading<'_>),
        progress: &mut impl FnMut(),
    ) -> Result<(), Stopped> {
        let mut parser = LogParser::default();
        let mut replay = Replay::new(self.interval).with_samples();
        let mut clock = LocalClock::new(offsets, |local| self.zone.times(local));
        let mut records = CheckedRecords::default();
        let (mut lines, mut last_line) = (0, 0);
        for (n, file) in series.files.iter().enumerate() {
            parser.begin_file(n);
            self.each_line(file, out, |line, out| {
                (lines, last_line) = (lines + 1, line.number);
                if lines % PROGRESS_LINES == 0 {
                    progress();
                }
                parser.feed(line, &mut |at, event| match event {
                    Event::Console { stamp, battery, text, is_escaped } => {
                        let (time, mut out) = (clock.utc(at, stamp), Out { out, each, at, series });
                        let replayed = &mut |replayed| out.replayed(battery, replayed);
                        replay.feed(battery, time, text, is_escaped, replayed);
                    }
                    Event::Connection { stamp, battery } => {
                        let (time, mut out) = (clock.utc(at, stamp), Out { out, each, at, series });
                        let replayed = &mut |replayed| out.replayed(battery, replayed);
                        replay.disconnected(battery, time, replayed);
                    }
                    Event::Started { stamp } => {
                        let (time, mut out) = (clock.utc(at, stamp), Out { out, each, at, series });
                        replay.restarted(time, &mut |replayed| out.replayed(b"", replayed));
                    }
                    Event::Ended { stamp } => {
                        let (time, mut out) = (clock.utc(at, stamp), Out { out, each, at, series });
                        replay.ended(time, &mut |replayed| out.replayed(b"", replayed));
                    }
                    Event::Record(logged) => {
                        let mut out = Out { out, each, at, series };
                        records.check(*logged, &mut |record| out.logged(record));
                    }
                    // It was noted when the records were read.
                    Event::Damage(_) => {}
                });
            })?;
            if clock.take_used_zone() {
                out.findings.by_zone.push(file.path.clone());
            }
        }
        let at = Position { file: series.files.len().saturating_sub(1), line: last_line };
        let mut out = Out { out, each, at, series };
        parser.finish(&mut |_, event| {
            if let Event::Record(logged) = event {
                records.check(*logged, &mut |record| out.logged(record));
            }
        });
        records.finish(&mut |record| out.logged(record));
        replay.finish(&mut |replayed| out.replayed(b"", replayed));
        Ok(())
    }
}

/// Where readings go, and what can't be used.
struct Out<'a, 'b, F> {
    out: &'a mut Collector<'b>,
    each: &'a mut F,
    at: Position,
    series: &'a LogSeries,
}

impl<F: FnMut(LogReading<'_>)> Out<'_, '_, F> {
    fn replayed(&mut self, name: &[u8], replayed: Replayed) {
        match replayed {
            Replayed::Sample(record) if self.out.has_right_clock(&record) => {
                (self.each)(LogReading { name, record: &record, is_sample: true });
            }
            // Their rows are counted.
            Replayed::Sample(_) => {}
            Replayed::Record(record) => self.row(name, &record),
            Replayed::NoOwner => self.out.findings.without_owner += 1,
            Replayed::Damage(damage) => self.out.damage(self.series, self.at, damage),
        }
    }

    /// A record of the first listener; those of a wrong clock are counted already.
    fn logged(&mut self, record: &PackRecord) {
        if self.out.has_right_clock(record) {
            (self.each)(LogReading { name: b"", record, is_sample: false });
        }
    }

    fn row(&mut self, name: &[u8], record: &PackRecord) {
        if self.out.has_right_clock(record) {
            (self.each)(LogReading { name, record, is_sample: false });
        } else {
            self.out.findings.wrong_clock += 1;
        }
    }
}

/// Leaves out the records whose time or MCU ID is damaged.
#[derive(Default)]
struct CheckedRecords {
    times: RecordTimes,
    owners: RecordOwners,
}

impl CheckedRecords {
    fn check(&mut self, logged: LoggedRecord, each: &mut impl FnMut(&PackRecord)) {
        let Self { times, owners } = self;
        times.check(logged, &mut |logged, is_right| own(owners, logged, is_right, each));
    }

    fn finish(self, each: &mut impl FnMut(&PackRecord)) {
        let Self { times, mut owners } = self;
        times.finish(&mut |logged, is_right| own(&mut owners, logged, is_right, each));
        owners.finish(&mut |logged, is_right| {
            if is_right {
                each(&logged.record);
            }
        });
    }
}

fn own(
    owners: &mut RecordOwners,
    logged: LoggedRecord,
    is_right: bool,
    each: &mut impl FnMut(&PackRecord),
) {
    if is_right && logged.record.mcu_id != NO_MCU_ID {
        owners.check(logged, &mut |logged, is_right| {
            if is_right {
                each(&logged.record);
            }
        });
    }
}
