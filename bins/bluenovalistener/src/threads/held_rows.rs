use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bluenova_record::PackRecord;
use time::UtcDateTime;

use super::Assembled;

/// How long a row waits for what other addresses of the same battery say of its interval. The
/// threads of the batteries end an interval within a fifth of a second.
const HOLD: Duration = Duration::from_millis(500);

/// Rows that wait for their other half: one battery may be listened to under two addresses, by
/// cable and by wireless, or by mistake. What either says goes into one row. The row of a battery
/// with one address never waits.
#[derive(Debug)]
pub(super) struct HeldRows {
    interval: Duration,
    /// The addresses of each MCU ID: numbers of batteries.
    addresses: HashMap<u32, Vec<usize>>,
    /// The MCU ID under which each address is listed.
    mcu_ids: HashMap<usize, u32>,
    rows: Vec<HeldRow>,
}

/// A row, and the numbers of the batteries that it came from.
#[derive(Debug)]
pub(super) struct HeldRow {
    pub(super) record: PackRecord,
    pub(super) batteries: Vec<usize>,
    /// Number of addresses that have a part in it.
    expected: usize,
    since: Instant,
}

impl HeldRows {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, addresses: HashMap::new(), mcu_ids: HashMap::new(), rows: vec![] }
    }

    /// Adds a row. `twins` finds the other addresses at which its battery is, and is asked when
    /// the battery is new at this one.
    pub(super) fn add(
        &mut self,
        Assembled { battery, record }: Assembled,
        twins: impl FnOnce(u32) -> Vec<usize>,
        now: Instant,
    ) {
        let expected = self.addresses_of(record.mcu_id, battery, twins);
        if expected == 1 {
            let batteries = vec![battery];
            return self.rows.push(HeldRow { record, batteries, expected, since: now });
        }
        let number = self.interval_number(record.insert_time_utc);
        let twin = self.rows.iter().position(|row| {
            row.record.mcu_id == record.mcu_id
                && self.interval_number(row.record.insert_time_utc) == number
                && !row.batteries.contains(&battery)
        });
        let Some(twin) = twin else {
            let batteries = vec![battery];
            return self.rows.push(HeldRow { record, batteries, expected, since: now });
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

    /// Number of addresses at which the battery is.
    fn addresses_of(
        &mut self,
        mcu_id: u32,
        battery: usize,
        twins: impl FnOnce(u32) -> Vec<usize>,
    ) -> usize {
        let known = self.addresses.get(&mcu_id).filter(|addresses| addresses.contains(&battery));
        if let Some(addresses) = known {
            return addresses.len();
        }
        for address in twins(mcu_id).into_iter().chain([battery]) {
            if self.mcu_ids.get(&address) != Some(&mcu_id) {
                // Another battery may have had this address.
                self.forget(address);
                self.mcu_ids.insert(address, mcu_id);
                self.addresses.entry(mcu_id).or_default().push(address);
            }
        }
        self.addresses.get(&mcu_id).map_or(1, Vec::len)
    }

    /// When a row has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.rows.iter().map(|row| row.since + HOLD).min()
    }

    /// The rows that no other half is expected for: all addresses have sent theirs, or they have
    /// waited long enough.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<HeldRow> {
        let is_due = |row: &HeldRow| row.batteries.len() >= row.expected || now >= row.since + HOLD;
        let (due, held) = std::mem::take(&mut self.rows).into_iter().partition(is_due);
        self.rows = held;
        due
    }

    /// All rows, for the end of the program.
    pub(super) fn take_all(&mut self) -> Vec<HeldRow> {
        std::mem::take(&mut self.rows)
    }

    /// Whether a row waits that came from a battery.
    pub(super) fn has_row_of(&self, battery: usize) -> bool {
        self.rows.iter().any(|row| row.batteries.contains(&battery))
    }

    /// Has no row wait for a battery any more, which isn't listened to.
    pub(super) fn forget(&mut self, battery: usize) {
        let Some(mcu_id) = self.mcu_ids.remove(&battery) else { return };
        let Some(addresses) = self.addresses.get_mut(&mcu_id) else { return };
        addresses.retain(|it| *it != battery);
        if addresses.is_empty() {
            self.addresses.remove(&mcu_id);
        }
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

    fn held() -> HeldRows {
        HeldRows::new(Duration::from_secs(10))
    }

    /// Both addresses are those of one battery.
    fn both(_: u32) -> Vec<usize> {
        vec![0, 1]
    }

    #[test]
    fn a_battery_with_one_address_waits_for_nobody() {
        let (mut rows, now) = (held(), Instant::now());
        for (battery, mcu_id) in [(0, 1), (1, 2), (0, 1)] {
            rows.add(assembled(battery, mcu_id, 10_000, None), |_| vec![], now);
            assert_eq!(rows.take_due(now).len(), 1);
            assert_eq!(rows.due(), None);
        }
        // Its twin holds up neither it nor others.
        rows.add(assembled(2, 1, 20_000, None), |_| vec![], now);
        rows.add(assembled(1, 2, 20_000, None), |_| vec![], now);
        assert_eq!(rows.take_due(now).len(), 1);
    }

    #[test]
    fn an_address_that_another_battery_has_now_is_not_waited_for() {
        let (mut rows, now) = (held(), Instant::now());
        rows.add(assembled(0, 1, 10_000, None), both, now);
        rows.add(assembled(1, 2, 10_000, None), |_| vec![], now);
        rows.take_all();
        rows.add(assembled(0, 1, 20_000, None), |_| vec![], now);
        assert_eq!(rows.take_due(now).len(), 1);
    }

    #[test]
    fn an_address_is_that_of_one_battery() {
        let (mut rows, now) = (held(), Instant::now());
        rows.add(assembled(2, 2, 10_000, None), |_| vec![1, 2], now);
        rows.take_all();
        // Battery 1 is at address 1 now, too, and hasn't sent its row there yet.
        rows.add(assembled(0, 1, 20_000, None), both, now);
        rows.take_all();
        rows.add(assembled(2, 2, 20_000, None), |_| vec![2], now);
        assert_eq!(rows.take_due(now).len(), 1);
    }

    #[test]
    fn a_battery_that_is_removed_is_not_waited_for() {
        let (mut rows, now) = (held(), Instant::now());
        rows.add(assembled(1, 1, 10_000, None), both, now);
        assert!(rows.has_row_of(1) && !rows.has_row_of(0));
        rows.take_all();
        rows.forget(0);
        rows.add(assembled(1, 1, 20_000, None), both, now);
        assert_eq!(rows.take_due(now).len(), 1);
        rows.forget(1);
        assert!(rows.addresses.is_empty());
    }

    #[test]
    fn the_values_of_two_addresses_make_one_row() {
        for values in [[None, Some(63)], [Some(63), None]] {
            // At an interval's end, and at the program's.
            for times in [[10_000, 10_000], [9_400, 9_500], [9_500, 9_400]] {
                let (mut rows, now) = (held(), Instant::now());
                rows.add(assembled(0, 1, times[0], values[0]), both, now);
                assert!(rows.take_due(now).is_empty(), "the other half is still to come");
                rows.add(assembled(1, 1, times[1], values[1]), both, now);
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
            let (mut rows, now) = (held(), Instant::now());
            rows.add(assembled(0, 1, 10_000, None), both, now);
            rows.add(other, |_| vec![], now);
            assert_eq!(rows.take_all().len(), 2);
        }
    }

    #[test]
    fn a_row_waits_half_a_second_at_most() {
        let (mut rows, now) = (held(), Instant::now());
        rows.add(assembled(0, 1, 10_000, None), both, now);
        assert_eq!(rows.due(), Some(now + HOLD));
        assert!(rows.take_due(now + HOLD - Duration::from_millis(1)).is_empty());
        assert_eq!(rows.take_due(now + HOLD).len(), 1);
    }
}
