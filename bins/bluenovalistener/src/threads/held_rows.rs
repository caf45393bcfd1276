use std::time::{Duration, Instant};

use bluenova_record::PackRecord;
use time::UtcDateTime;

use super::Assembled;

/// How long a row waits for what other addresses of the same battery say of its interval. The
/// threads of the batteries end an interval within a fifth of a second.
const HOLD: Duration = Duration::from_millis(500);

/// Rows that wait for their other half: one battery may be listened to under two addresses, by
/// cable and by wireless, or by mistake. What either says goes into one row.
#[derive(Debug)]
pub(super) struct HeldRows {
    interval: Duration,
    /// Number of batteries on the command line.
    batteries: usize,
    rows: Vec<HeldRow>,
}

/// A row, and the indices of the batteries on the command line that it came from.
#[derive(Debug)]
pub(super) struct HeldRow {
    pub(super) record: PackRecord,
    pub(super) batteries: Vec<usize>,
    since: Instant,
}

impl HeldRows {
    pub(super) fn new(interval: Duration, batteries: usize) -> Self {
        Self { interval, batteries, rows: vec![] }
    }

    pub(super) fn add(&mut self, Assembled { battery, record }: Assembled, now: Instant) {
        let number = self.interval_number(record.insert_time_utc);
        let twin = self.rows.iter().position(|row| {
            row.record.mcu_id == record.mcu_id
                && self.interval_number(row.record.insert_time_utc) == number
                && !row.batteries.contains(&battery)
        });
        let Some(twin) = twin else {
            return self.rows.push(HeldRow { record, batteries: vec![battery], since: now });
        };
        let row = &mut self.rows[twin];
        // Those of the end of the program differ by what lies between the ends of the threads.
        row.record.insert_time_utc = row.record.insert_time_utc.max(record.insert_time_utc);
        let counts = |record: &PackRecord| [record.bad_crc, record.parse_fail, record.bad_vcell];
        let (ours, theirs) = (counts(&row.record), counts(&record));
        row.record.fill_from(&record);
        // Both have counted the same frames.
        [row.record.bad_crc, row.record.parse_fail, row.record.bad_vcell] =
            std::array::from_fn(|n| ours[n].max(theirs[n]));
        row.batteries.push(battery);
    }

    /// When a row has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.rows.first().map(|row| row.since + HOLD)
    }

    /// The rows that no other half is expected for: all batteries have sent theirs, or they have
    /// waited long enough. Those that came earlier go first.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<HeldRow> {
        let is_due = |row: &HeldRow| now >= row.since + HOLD || self.is_complete(row);
        match self.rows.iter().rposition(is_due) {
            Some(last) => self.rows.drain(..=last).collect(),
            None => vec![],
        }
    }

    /// All rows, for the end of the program.
    pub(super) fn take_all(&mut self) -> Vec<HeldRow> {
        std::mem::take(&mut self.rows)
    }

    /// Whether each battery has sent a row of this one's interval.
    fn is_complete(&self, row: &HeldRow) -> bool {
        let number = self.interval_number(row.record.insert_time_utc);
        let same = |other: &&HeldRow| self.interval_number(other.record.insert_time_utc) == number;
        let of_interval = || self.rows.iter().filter(same).flat_map(|row| &row.batteries);
        (0..self.batteries).all(|battery| of_interval().any(|other| *other == battery))
    }

    /// Number of the interval that ends at a time, or that a time is in.
    fn interval_number(&self, time: UtcDateTime) -> i128 {
        let length = i128::try_from(self.interval.as_nanos()).unwrap_or(i128::MAX).max(1);
        (time.unix_timestamp_nanos() + length - 1).div_euclid(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembled(battery: usize, mcu_id: u32, milliseconds: i64, soc: Option<i16>) -> Assembled {
        let time = UtcDateTime::UNIX_EPOCH + time::Duration::milliseconds(milliseconds);
        let mut record = PackRecord::new(time, mcu_id);
        record.soc = soc;
        record.bad_crc = 2;
        Assembled { battery, record }
    }

    fn held(batteries: usize) -> HeldRows {
        HeldRows::new(Duration::from_secs(10), batteries)
    }

    #[test]
    fn one_battery_waits_for_nobody() {
        let (mut rows, now) = (held(1), Instant::now());
        rows.add(assembled(0, 1, 10_000, None), now);
        assert_eq!(rows.take_due(now).len(), 1);
        assert_eq!(rows.due(), None);
    }

    #[test]
    fn the_values_of_two_addresses_make_one_row() {
        for values in [[None, Some(63)], [Some(63), None]] {
            // At an interval's end, and at the program's.
            for times in [[10_000, 10_000], [9_400, 9_500], [9_500, 9_400]] {
                let (mut rows, now) = (held(2), Instant::now());
                rows.add(assembled(0, 1, times[0], values[0]), now);
                assert!(rows.take_due(now).is_empty(), "the other half is still to come");
                rows.add(assembled(1, 1, times[1], values[1]), now);
                let due = rows.take_due(now);
                assert_eq!((due.len(), &due[0].batteries), (1, &vec![0, 1]));
                let latest = assembled(0, 1, times[0].max(times[1]), Some(63));
                assert_eq!(due[0].record, latest.record, "counted once");
            }
        }
    }

    #[test]
    fn rows_of_other_batteries_and_intervals_stay_rows() {
        for other in [
            assembled(1, 2, 10_000, None),
            assembled(1, 1, 20_000, None),
            assembled(1, 1, 10_001, None),
            assembled(0, 1, 10_000, None),
        ] {
            let (mut rows, now) = (held(2), Instant::now());
            rows.add(assembled(0, 1, 10_000, None), now);
            rows.add(other, now);
            assert_eq!(rows.take_all().len(), 2);
        }
    }

    #[test]
    fn a_row_waits_half_a_second_at_most() {
        let (mut rows, now) = (held(2), Instant::now());
        rows.add(assembled(0, 1, 10_000, None), now);
        assert_eq!(rows.due(), Some(now + HOLD));
        assert!(rows.take_due(now + HOLD - Duration::from_millis(1)).is_empty());
        assert_eq!(rows.take_due(now + HOLD).len(), 1);
    }
}
