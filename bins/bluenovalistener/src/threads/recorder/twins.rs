//! Two addresses of one battery.

use log::warn;

use super::{super::held_rows::HeldRow, Recorder};

impl Recorder {
    /// Whether no other address of the battery has had a row of this time stored.
    pub(super) fn is_first_of_its_row(&mut self, row: &HeldRow) -> bool {
        let HeldRow { record, batteries, .. } = row;
        let Some(&battery) = batteries.first() else { return false };
        let latest = (record.insert_time_utc, battery);
        let (time, other) = *self.latest.entry(record.mcu_id).or_insert(latest);
        if time == record.insert_time_utc && other != battery {
            self.log_pair(other, battery, record.mcu_id);
            return false;
        }
        self.latest.insert(record.mcu_id, latest);
        true
    }

    pub(super) fn log_twins(&mut self, row: &HeldRow) {
        if let Some((&first, others)) = row.batteries.split_first() {
            for &other in others {
                self.log_pair(first, other, row.record.mcu_id);
            }
        }
    }

    fn log_pair(&mut self, one: usize, other: usize, mcu_id: u32) {
        let (Some(first), Some(second)) = (self.batteries.name(one), self.batteries.name(other))
        else {
            return;
        };
        if self.twins.insert((one.min(other), one.max(other))) {
            warn!(
                "{first} and {second} are the same battery, {mcu_id:08X}: one row per interval is \
                 stored, with the values of both"
            );
        }
    }
}
