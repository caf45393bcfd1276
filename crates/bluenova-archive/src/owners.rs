//! Records of a log -> those of batteries that exist.

use std::collections::HashSet;

use crate::LoggedRecord;

/// Checks whether there is a battery with the MCU ID of a record.
///
/// A digit of an MCU ID that was damaged gives a battery that doesn't exist. So a battery counts as
/// soon as two records are of it, or if none has two; the others are left out.
#[derive(Debug, Default)]
pub struct RecordOwners {
    confirmed: HashSet<u32>,
    /// The only records of their batteries so far.
    unconfirmed: Vec<LoggedRecord>,
}

/// Records that are held until a second one of their battery comes.
const UNCONFIRMED: usize = 8;

impl RecordOwners {
    /// Checks the next record; calls `checked` with each record about which it is decided, and with
    /// whether its battery exists.
    pub fn check(&mut self, logged: LoggedRecord, checked: &mut impl FnMut(LoggedRecord, bool)) {
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
    pub fn finish(self, checked: &mut impl FnMut(LoggedRecord, bool)) {
        let are_right = self.confirmed.is_empty();
        for logged in self.unconfirmed {
            checked(logged, are_right);
        }
    }
}

#[cfg(test)]
mod tests {
    use bluenova_record::PackRecord;
    use time::{UtcDateTime, macros::datetime};

    use super::*;
    use crate::Position;

    /// Checks a log of records with these MCU IDs.
    #[track_caller]
    fn check(ids: &[u32], expected: &[(u32, bool)]) {
        let mut found = vec![];
        let mut checked = |logged: LoggedRecord, is_right| {
            found.push((logged.record.mcu_id, is_right));
        };
        let mut owners = RecordOwners::default();
        for &id in ids {
            let record = PackRecord::new(UtcDateTime::UNIX_EPOCH, id);
            let local = datetime!(1970-01-01 00:00:00);
            owners.check(LoggedRecord { record, local, at: Position::default() }, &mut checked);
        }
        owners.finish(&mut checked);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_battery_exists_if_two_records_are_of_it_or_if_none_has_two() {
        check(&[7], &[(7, true)]);
        check(&[7, 8], &[(7, true), (8, true)]);
        check(&[7, 7, 8, 7], &[(7, true), (7, true), (7, true), (8, false)]);
        check(&[8, 7, 7, 8], &[(7, true), (7, true), (8, true), (8, true)]);
        // More than are held.
        let ids = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let rest = ids[1..].iter().map(|id| (*id, true));
        let expected: Vec<_> = [(1, false)].into_iter().chain(rest).collect();
        check(&ids, &expected);
    }
}
