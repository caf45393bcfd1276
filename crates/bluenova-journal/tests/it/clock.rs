//! Clocks that jump: no row is lost, none gets a time that its battery has already.

use std::collections::HashSet;

use bluenova_journal::{Journal, Retention};
use bluenova_record::PackRecord;
use proptest::prelude::*;
use time::Duration;

use crate::{START, undelivered};

/// How far a clock goes from one record to the next, in microseconds.
fn step() -> impl Strategy<Value = i64> {
    const SECOND: i64 = 1_000_000;
    prop_oneof![
        8 => Just(10 * SECOND),
        2 => Just(0),
        2 => -5..=5_i64,
        2 => -30 * SECOND..=30 * SECOND,
        1 => Just(-3600 * SECOND),
        1 => Just(86_400 * SECOND),
        1 => Just(-86_400 * SECOND),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn every_walk_of_a_clock_keeps_every_row(
        walk in prop::collection::vec((step(), 0..3_u32, 1..5_usize, any::<bool>()), 1..200),
    ) {
        let keep = Some(std::time::Duration::from_secs(7200));
        let mut journal = Journal::in_memory(Retention { keep, bound: None }).unwrap();
        let mut outbox = journal.outbox().unwrap();
        let mut now = START;
        let mut given: Vec<PackRecord> = vec![];
        let mut seen: Vec<PackRecord> = vec![];
        let mut moved = 0;
        for (micros, battery, records, delivers) in walk {
            now += Duration::microseconds(micros);
            let records: Vec<_> = (0..records)
                .map(|n| PackRecord {
                    energy_in: Some((given.len() + n) as f32),
                    ..PackRecord::new(now, battery)
                })
                .collect();
            given.extend(records.iter().cloned());
            moved += journal.append(&records).unwrap().moved;
            if delivers {
                let batch = outbox.undelivered(usize::MAX).unwrap();
                outbox.delivered(batch.last).unwrap();
                seen.extend(batch.records.iter().cloned());
            } else {
                journal.trim(now).unwrap();
            }
        }
        seen.extend(undelivered(&journal));

        prop_assert_eq!(seen.len(), given.len());
        let mut changed = 0;
        for (seen, given) in seen.iter().zip(&given) {
            let later = seen.insert_time_utc - given.insert_time_utc;
            changed += u64::from(later.is_positive());
            prop_assert!(!later.is_negative() && later < Duration::SECOND, "{later}");
            let back = PackRecord { insert_time_utc: given.insert_time_utc, ..seen.clone() };
            prop_assert_eq!(&back, given);
        }
        prop_assert_eq!(changed, moved);
        // Of rows that are trimmed, too: the database to which they went has them still.
        let stamps: HashSet<_> = seen.iter().map(|row| (row.mcu_id, row.insert_time_utc)).collect();
        prop_assert_eq!(stamps.len(), seen.len());
    }
}
