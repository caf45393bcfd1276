use std::collections::HashSet;

use bluenova_console::{Assembler, Interval, Line};
use bluenova_record::{COLUMNS, PackRecord, SqlType, Value};
use time::{Duration, UtcDateTime, macros::utc_datetime};

/// Most records of one moment: an earlier battery at the same address, and this one.
const AT_ONCE: usize = 2;

/// A script of a battery's life, as text: console lines, and between them
///
/// ```text
/// @every SECONDS         begins anew, with another interval
/// @wait MILLISECONDS     time goes by; backwards if negative
/// @lost                  the connection is lost
/// @stop                  the program ends, and is started again
/// ```
///
/// - Every record fits its columns.
/// - Its time is the end of an interval, or the moment of stopping, neither long before nor long
///   after what the clock has shown.
/// - It belongs to a battery whose MCU ID came.
/// - No counter counts a line twice.
/// - Once the battery is silent for two intervals, there are no more records.
pub fn assemble(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut life = Life::new(Interval::from_seconds(10).expect("an interval"));
    for line in text.lines() {
        let (command, value) = line.split_once(' ').unwrap_or((line, ""));
        match (command, value.parse::<i64>()) {
            ("@every", Ok(seconds)) => {
                let interval = u32::try_from(seconds).ok().and_then(Interval::from_seconds);
                if let Some(interval) = interval {
                    life.fall_silent();
                    life = Life::new(interval);
                }
            }
            ("@wait", Ok(milliseconds)) => life.wait(Duration::milliseconds(milliseconds)),
            ("@lost", _) => life.assembler.disconnected(),
            ("@stop", _) => life.stop(),
            _ => life.feed(line),
        }
    }
    life.fall_silent();
}

struct Life {
    interval: Interval,
    assembler: Assembler,
    now: UtcDateTime,
    /// What the clock has shown at the earliest and at the latest.
    earliest: UtcDateTime,
    latest: UtcDateTime,
    mcu_ids: HashSet<u32>,
    /// Lines of the three kinds that are counted, less those that records have counted.
    uncounted: [i64; 3],
}

impl Life {
    fn new(interval: Interval) -> Self {
        const START: UtcDateTime = utc_datetime!(2025-01-01 00:00:00);
        Self {
            interval,
            assembler: Assembler::new(interval),
            now: START,
            earliest: START,
            latest: START,
            mcu_ids: HashSet::new(),
            uncounted: [0; 3],
        }
    }

    fn length(&self) -> Duration {
        Duration::seconds(i64::from(self.interval.seconds()))
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        self.earliest = self.earliest.min(self.now);
        self.latest = self.latest.max(self.now);
        self.tick();
    }

    fn feed(&mut self, line: &str) {
        self.tick();
        match self.assembler.feed(line) {
            Ok(Line::McuId(id)) => _ = self.mcu_ids.insert(id),
            Ok(Line::BadCrc) => self.uncounted[0] += 1,
            Ok(Line::CellFrameUnparsable) => self.uncounted[1] += 1,
            Ok(Line::CellReadingRejected) => self.uncounted[2] += 1,
            _ => {}
        }
    }

    /// Returns how many records there were.
    fn tick(&mut self) -> usize {
        let mut records = 0;
        while let Some(result) = self.assembler.tick(self.now) {
            let Ok(record) = result else { continue };
            let stamp = record.insert_time_utc;
            assert!(self.ends_interval(stamp), "{record:?}");
            self.check(&record);
            records += 1;
            assert!(records <= AT_ONCE, "no end of records");
        }
        records
    }

    fn stop(&mut self) {
        self.tick();
        let moment = self.now.replace_microsecond(self.now.microsecond()).expect("it has it");
        let last = self.assembler.finish(self.now);
        let other = self.assembler.tick(self.now);
        for record in [last, other].into_iter().flatten().flatten() {
            assert_eq!(record.insert_time_utc, moment, "{record:?}");
            self.check(&record);
        }
        assert_eq!(self.assembler.tick(self.now), None);
    }

    fn fall_silent(&mut self) {
        // Time may have come to its end.
        self.wait(self.length() * 2);
        self.wait(self.length() * 2);
        assert_eq!(self.tick(), 0);
        let last = self.assembler.finish(self.now);
        assert!(last.is_none() || self.now == UtcDateTime::MAX, "{last:?}");
    }

    fn ends_interval(&self, stamp: UtcDateTime) -> bool {
        let rest = stamp.unix_timestamp().rem_euclid(i64::from(self.interval.seconds()));
        stamp == UtcDateTime::MAX || (rest == 0 && stamp.nanosecond() == 0)
    }

    fn check(&mut self, record: &PackRecord) {
        check_columns(record);
        let stamp = record.insert_time_utc;
        assert!(stamp >= self.earliest, "{stamp}, but the clock began at {}", self.earliest);
        let latest = self.latest.saturating_add(self.length());
        assert!(stamp <= latest, "{stamp}, but it was never later than {}", self.latest);
        assert!(
            self.mcu_ids.contains(&record.mcu_id),
            "no battery has the MCU ID {:X}",
            record.mcu_id
        );
        let counted = [record.bad_crc, record.parse_fail, record.bad_vcell];
        for (left, counted) in self.uncounted.iter_mut().zip(counted) {
            *left -= i64::from(counted);
            assert!(counted >= 0 && *left >= 0, "counted twice: {record:?}");
        }
    }
}

/// A value that doesn't fit would cost the row, in PostgreSQL.
fn check_columns(record: &PackRecord) {
    for column in &COLUMNS {
        let name = column.name;
        match (column.sql, column.get(record)) {
            (_, None) => assert!(column.is_nullable(), "{name}"),
            (SqlType::Timestamp, Some(Value::Timestamp(_)))
            | (SqlType::BigInt, Some(Value::BigInt(_)))
            | (SqlType::SmallInt, Some(Value::SmallInt(_))) => {}
            (SqlType::Real, Some(Value::Real(number))) => {
                assert!(number.is_finite(), "{name} is {number}");
            }
            (SqlType::Varchar(most), Some(Value::Text(text))) => {
                assert!(text.chars().count() <= most && !text.contains('\0'), "{name}: {text:?}");
            }
            (expected, Some(value)) => panic!("{name}: {value:?} is no {expected}"),
        }
    }
}
