//! The batteries that are listened to, which come and go.

use std::{collections::HashMap, mem};

use bluenova_status::{BatteryStatus, Shared};

use super::{super::held_rows::HeldRows, Recorder};

/// The batteries by their numbers, which are never used again.
#[derive(Default)]
pub(super) struct ListenedBatteries {
    status: HashMap<usize, Shared<BatteryStatus>>,
    /// Batteries that were removed, and that rows may wait of.
    removed: Vec<usize>,
}

impl ListenedBatteries {
    pub(super) fn add(&mut self, number: usize, status: Shared<BatteryStatus>) {
        self.status.insert(number, status);
    }

    /// No row waits for the battery from now on.
    pub(super) fn remove(&mut self, number: usize) {
        self.update(number, |status| status.announced_mcu_id = None);
        self.removed.push(number);
    }

    /// To be called with the battery of each row. The thread of a removed battery may have ended
    /// late, so that its last row comes when the battery is forgotten: then it must be forgotten
    /// again, or rows of other addresses would wait for it ever after.
    pub(super) fn row_came_from(&mut self, number: usize) {
        if !self.status.contains_key(&number) && !self.removed.contains(&number) {
            self.removed.push(number);
        }
    }

    pub(super) fn update(&self, number: usize, change: impl FnOnce(&mut BatteryStatus)) {
        if let Some(status) = self.status.get(&number) {
            status.update(change);
        }
    }

    /// `None`: the battery was removed.
    pub(super) fn name(&self, number: usize) -> Option<String> {
        Some(self.status.get(&number)?.update(|status| status.name.clone()))
    }

    /// The batteries that have announced each MCU ID.
    pub(super) fn by_mcu_id(&self) -> HashMap<u32, Vec<usize>> {
        let mut announced: HashMap<u32, Vec<usize>> = HashMap::new();
        for (number, status) in &self.status {
            if let Some(mcu_id) = status.update(|status| status.announced_mcu_id) {
                announced.entry(mcu_id).or_default().push(*number);
            }
        }
        announced
    }

    /// Forgets the batteries that were removed, unless a row of them waits; returns which.
    fn forget_removed(&mut self, held: &HeldRows) -> Vec<usize> {
        let removed = mem::take(&mut self.removed).into_iter();
        let (waiting, forgotten) = removed.partition(|number| held.has_row_of(*number));
        self.removed = waiting;
        for number in &forgotten {
            self.status.remove(number);
        }
        forgotten
    }
}

impl Recorder {
    /// Forgets the batteries that were removed, once no row of them waits.
    pub(super) fn forget_removed(&mut self) {
        for number in self.batteries.forget_removed(&self.held) {
            self.held.forget(number);
            self.twins.retain(|(one, other)| *one != number && *other != number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{ops::ControlFlow, time::Instant};

    use bluenova_journal::Reader;
    use bluenova_record::PackRecord;
    use time::{Duration, UtcDateTime};

    use super::*;
    use crate::threads::{Assembled, RecorderMessage, recorder::tests::recorder};

    #[test]
    fn a_row_of_a_battery_that_was_removed_is_stored_and_none_waits_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let mut recorder = recorder(&path);
        let status = || Shared::new(BatteryStatus::new("", ""));
        for number in 0..2 {
            recorder.take(RecorderMessage::Added { number, status: status() });
        }
        recorder.take(RecorderMessage::Removed { number: 0 });
        recorder.forget_removed();
        for (n, battery) in [(1, 0), (2, 1), (3, 1)] {
            let time = UtcDateTime::UNIX_EPOCH + Duration::seconds(n * 10);
            let record = PackRecord::new(time, 7);
            recorder.take(RecorderMessage::Row(Assembled { battery, record }));
            let due = recorder.held.take_due(Instant::now());
            assert_eq!(due.len(), 1, "row {n} waits for none");
            recorder.store(due).unwrap();
            recorder.forget_removed();
        }
        let mut stored = 0;
        let all = UtcDateTime::UNIX_EPOCH..UtcDateTime::UNIX_EPOCH + Duration::DAY;
        let counted = Reader::open(&path).unwrap().history(7, all, &[], |_, _| {
            stored += 1;
            ControlFlow::Continue(())
        });
        counted.unwrap();
        assert_eq!(stored, 3);
    }
}
