//! What is appended comes back as it was, once, in order.

use std::ops::Range;

use bluenova_journal::{Journal, Retention};
use bluenova_record::{COLUMNS, PackRecord, SqlType, Value};
use proptest::prelude::*;
use rusqlite::Connection;
use time::{Duration, UtcDateTime};

use crate::{BATTERY, START, nth, numbers, open, typical, undelivered};

/// Records that must come back equal; both through the slots and, as a backlog, past them.
fn check(records: &[PackRecord]) {
    let directory = tempfile::tempdir().unwrap();
    for (name, copies) in [("few", 1), ("many", 200)] {
        let mut journal = open(&directory.path().join(name));
        let records: Vec<_> = (0..copies)
            .flat_map(|copy| {
                records.iter().map(move |record| PackRecord {
                    mcu_id: record.mcu_id.wrapping_add(copy),
                    ..record.clone()
                })
            })
            .collect();
        journal.append(&records).unwrap();
        assert_eq!(undelivered(&journal), records, "{name}");
    }
}

fn with_all(value: impl Fn(&SqlType) -> Option<Value<'static>>) -> PackRecord {
    let mut record = PackRecord::new(START, BATTERY);
    for column in COLUMNS.iter().filter(|column| column.name != "mcu_id") {
        if let Some(value) = value(&column.sql) {
            column.set(&mut record, Some(value)).unwrap();
        }
    }
    record
}

#[test]
fn every_column_comes_back() {
    let micro = Duration::MICROSECOND;
    let widest = "🔋\"';--überladen 12345678901234567890";
    check(&[typical(1), nth(BATTERY, 2)]);
    check(&[
        with_all(|sql| match sql {
            SqlType::Timestamp => Some(Value::Timestamp(START + micro)),
            SqlType::SmallInt => Some(Value::SmallInt(i16::MAX)),
            SqlType::Real => Some(Value::Real(f32::MAX)),
            SqlType::Varchar(_) => Some(Value::Text(widest)),
            SqlType::BigInt => None,
        }),
        with_all(|sql| match sql {
            SqlType::Timestamp => Some(Value::Timestamp(START + 2 * micro)),
            SqlType::SmallInt => Some(Value::SmallInt(i16::MIN)),
            SqlType::Real => Some(Value::Real(f32::MIN_POSITIVE / 2.0)),
            SqlType::Varchar(_) => Some(Value::Text("")),
            SqlType::BigInt => None,
        }),
        PackRecord::new(UtcDateTime::UNIX_EPOCH, 0),
        PackRecord::new(UtcDateTime::MIN, u32::MAX),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn every_real_comes_back_to_the_bit_and_shows_as_it_prints(
        bits in prop::collection::vec(any::<u32>(), 12),
        volts in prop::collection::vec(-9_000_000..9_000_000_i32, 12),
    ) {
        let numbers = bits.into_iter().map(f32::from_bits).chain([0.0, -0.0, f32::INFINITY])
            .chain(volts.iter().map(|volts| *volts as f32 / 1000.0));
        let mut records = vec![];
        for (n, number) in numbers.filter(|number| !number.is_nan()).enumerate() {
            let mut record = nth(BATTERY, n as u16);
            record.energy_in = Some(number);
            records.push(record);
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = open(&path);
        journal.append(&records).unwrap();
        let bits = |records: &[PackRecord]| -> Vec<u32> {
            records.iter().map(|record| record.energy_in.unwrap().to_bits()).collect()
        };
        prop_assert_eq!(bits(&undelivered(&journal)), bits(&records));

        let connection = Connection::open(&path).unwrap();
        let mut shown = connection
            .prepare("SELECT energy_in FROM battery_pack ORDER BY sequence").unwrap();
        let shown: Vec<f64> = shown
            .query_map((), |row| row.get(0)).unwrap()
            .collect::<Result<_, _>>().unwrap();
        for (shown, record) in shown.into_iter().zip(&records) {
            let printed: f64 = record.energy_in.unwrap().to_string().parse().unwrap();
            prop_assert_eq!(shown, printed);
        }
    }
}

#[test]
fn not_a_number_is_null() {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    journal.append(&[PackRecord { v_pack: Some(f32::NAN), ..nth(BATTERY, 1) }]).unwrap();
    assert_eq!(undelivered(&journal), [nth(BATTERY, 1)]);
}

#[test]
fn people_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    for n in 0..300 {
        let mut record = typical(n);
        record.cell_v[0] = Some(3.311);
        journal.append(&[record]).unwrap();
    }
    let connection = Connection::open(&path).unwrap();
    let row: (String, i64, String, String, i64) = connection
        .query_row(
            "SELECT min(insert_time_utc), max(mcu_id), group_concat(DISTINCT cell_01_v),
                 group_concat(DISTINCT errors), count(*)
             FROM battery_pack
             WHERE insert_time_utc >= datetime('2026-01-01 00:00:00', '+20 seconds')",
            (),
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )
        .unwrap();
    let expected = ("2026-01-01 00:00:20", 0x9F3C_07B2, "3.311", "NONE", 298);
    assert_eq!((&*row.0, row.1, &*row.2, &*row.3, row.4), expected);
}

#[test]
fn no_statement_reads_all_of_history() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    drop(open(&path));
    let connection = Connection::open(&path).unwrap();
    for (sql, wanted) in [
        ("sequence > 5 ORDER BY sequence LIMIT 10", "SEARCH history USING INTEGER PRIMARY KEY"),
        ("sequence = 5", "SEARCH history USING INTEGER PRIMARY KEY"),
        ("insert_time_utc > '2026'", "SEARCH history USING INDEX battery_pack_time"),
    ] {
        let mut plan = connection
            .prepare(&format!("EXPLAIN QUERY PLAN SELECT * FROM battery_pack WHERE {sql}"))
            .unwrap();
        let plan: Vec<String> =
            plan.query_map((), |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(plan.iter().any(|step| step.starts_with(wanted)), "{sql}: {plan:#?}");
    }
}

#[test]
fn a_taken_time_becomes_the_next_free_one() {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    let record = nth(BATTERY, 0);
    let same = [record.clone(), record.clone(), nth(7, 0), record.clone()];
    let appended = journal.append(&same).unwrap();
    assert_eq!((appended.last.to_string(), appended.moved), ("4".to_owned(), 2));

    // Through the slots, past them, and against rows that have moved on.
    for n in 1..300 {
        assert_eq!(journal.append(&[nth(BATTERY, n)]).unwrap().moved, 0, "{n}");
    }
    assert_eq!(journal.append(&[record]).unwrap().moved, 1);
    assert_eq!(journal.append(&[nth(BATTERY, 299)]).unwrap().moved, 1);
    assert_eq!(journal.append(&[nth(7, 299)]).unwrap().moved, 0);

    let records = undelivered(&journal);
    let mut stamps: Vec<_> =
        records.iter().map(|record| (record.mcu_id, record.insert_time_utc)).collect();
    let micros = |n| START + n * Duration::MICROSECOND;
    assert_eq!(
        stamps[..4],
        [(BATTERY, START), (BATTERY, micros(1)), (7, START), (BATTERY, micros(2))]
    );
    assert_eq!(stamps[303], (BATTERY, micros(3)));
    stamps.sort();
    stamps.dedup();
    assert_eq!(stamps.len(), records.len());
}

#[test]
fn a_clock_that_jumps_costs_nothing() {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    let back_an_hour = (0..400).chain(40..400).chain(8640..8700).chain(100..200);
    let given: Vec<u16> = back_an_hour.collect();
    let mut moved = 0;
    for n in &given {
        moved += journal.append(&[nth(BATTERY, *n)]).unwrap().moved;
    }
    assert_eq!(moved, 460);
    let records = undelivered(&journal);
    assert_eq!(numbers(&records), given);
    let mut stamps: Vec<_> = records.iter().map(|record| record.insert_time_utc).collect();
    stamps.sort();
    stamps.dedup();
    assert_eq!(stamps.len(), given.len());
}

#[test]
fn batches_of_any_size_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let mut n = 0;
    for size in [1, 2, 127, 128, 129, 0, 1, 1000, 1, 64, 64, 64, 3] {
        let batch: Vec<_> = (n..n + size).map(|n| nth(BATTERY, n)).collect();
        n += size;
        let appended = journal.append(&batch).unwrap();
        assert_eq!(appended.last.to_string(), n.to_string());
        assert_eq!(numbers(&undelivered(&journal)), Vec::from_iter(0..n));
        if size == 1 {
            drop(journal);
            journal = open(&path);
        }
    }
}

/// Such a batch is not looked up row by row where no row has a time among theirs.
#[test]
fn a_large_batch_of_another_journal_is_stored_once() {
    let batch = |numbers: Range<u16>| Vec::from_iter(numbers.map(|n| nth(BATTERY, n)));
    let later = |n, by| PackRecord { insert_time_utc: START + by, ..nth(BATTERY, n) };
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    assert_eq!(journal.adopt(&batch(1000..1200)).unwrap(), 200);
    assert_eq!(journal.adopt(&batch(1000..1200)).unwrap(), 0);
    assert_eq!(journal.adopt(&batch(1100..1300)).unwrap(), 100, "half of them are there");
    // The times of these differ by less than the file keeps, or not at all.
    let same = [later(1, Duration::ZERO), later(1, Duration::ZERO), later(2, Duration::NANOSECOND)];
    let rows = [batch(10..200), same.to_vec()].concat();
    assert_eq!(journal.adopt(&rows).unwrap(), 192);
    assert_eq!(journal.adopt(&rows).unwrap(), 0);
    // One that is set aside is there, too, though it has no row.
    let mut outbox = journal.outbox().unwrap();
    outbox.set_aside(&nth(BATTERY, 2050), "22003", "out of range", START).unwrap();
    assert_eq!(journal.adopt(&batch(2000..2200)).unwrap(), 199);
    // Before the year 0, too, where times don't sort as text.
    let time = |n: u16| UtcDateTime::MIN + n * Duration::days(400);
    let old = (0..300).map(|n| PackRecord { insert_time_utc: time(n), ..nth(BATTERY, n) });
    let old = Vec::from_iter(old);
    assert_eq!(journal.adopt(&old[..200]).unwrap(), 200);
    assert_eq!(journal.adopt(&old[100..]).unwrap(), 100);
}
