//! The rows between two times, of one battery or of several.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::thread;

use bluenova_journal::{Journal, Reader, Retention, RowSelection};
use bluenova_record::{COLUMNS, Column, PackRecord, Value};
use rusqlite::Connection;
use time::{Duration, UtcDateTime};

use crate::{BATTERY, START, nth, numbers, open, typical, undelivered};

const EVER: Range<UtcDateTime> = UtcDateTime::MIN..UtcDateTime::MAX;

/// When [`nth`] puts its record.
fn at(n: i32) -> UtcDateTime {
    START + Duration::seconds(10) * n
}

/// Rows of a battery as `history` yields them: time, and the columns of that name.
fn history(
    reader: &Reader,
    mcu_id: u32,
    times: Range<UtcDateTime>,
    columns: &[&str],
) -> Vec<(UtcDateTime, Vec<Option<Value<'static>>>)> {
    let mut rows = vec![];
    let columns: Vec<_> = columns.iter().map(|name| column(name)).collect();
    let each = |time, values: &[Option<Value<'_>>]| {
        rows.push((time, values.iter().map(|value| value.map(leak)).collect()));
        ControlFlow::Continue(())
    };
    reader.history(mcu_id, times, &columns, each).unwrap();
    rows
}

fn column(name: &str) -> &'static Column {
    COLUMNS.iter().find(|column| column.name == name).unwrap()
}

fn leak(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Text(text) => Value::Text(String::from(text).leak()),
        Value::Timestamp(time) => Value::Timestamp(time),
        Value::BigInt(number) => Value::BigInt(number),
        Value::SmallInt(number) => Value::SmallInt(number),
        Value::Real(number) => Value::Real(number),
    }
}

fn numbers_of(reader: &Reader, mcu_id: u32, times: Range<UtcDateTime>) -> Vec<u16> {
    let number = |values: Vec<Option<Value<'_>>>| match values[..] {
        [Some(Value::Real(number))] => number as u16,
        ref other => panic!("{other:?}"),
    };
    let rows = history(reader, mcu_id, times, &["energy_in"]);
    rows.into_iter().map(|(_, values)| number(values)).collect()
}

/// Rows lie in `history`, in `recent`, and on both sides at once as more of them come.
#[test]
fn history_is_what_one_battery_said_between_two_times() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let kept = journal.reader().unwrap();
    for n in 0..300_u16 {
        journal.append(&[nth(BATTERY, n), nth(7, n + 1000)]).unwrap();
        if n % 37 != 0 {
            continue;
        }
        for reader in [&kept, &Reader::open(&path).unwrap()] {
            assert_eq!(numbers_of(reader, BATTERY, EVER), Vec::from_iter(0..=n));
            assert_eq!(numbers_of(reader, 7, EVER), Vec::from_iter(1000..=n + 1000));
            assert!(numbers_of(reader, 8, EVER).is_empty());
        }
    }
    let micro = Duration::MICROSECOND;
    let nano = Duration::NANOSECOND;
    for (times, expected) in [
        (at(10)..at(20), 10..20),
        (at(10)..at(20) + nano, 10..21),
        (at(10) + nano..at(20), 11..20),
        (at(10) - micro..at(20) - micro, 10..20),
        // Some of them have moved on, and some have not.
        (at(100)..at(299), 100..299),
        (at(298)..at(1000), 298..300),
        (at(5)..at(5), 0..0),
        (at(6)..at(5), 0..0),
        (at(300)..at(400), 0..0),
    ] {
        let found = numbers_of(&kept, BATTERY, times.clone());
        assert_eq!(found, Vec::from_iter(expected), "{times:?}");
    }
}

#[test]
fn history_is_in_the_order_of_time_though_the_clock_was_not() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    for n in (500..700).chain(0..190).chain(300..310) {
        journal.append(&[nth(BATTERY, n)]).unwrap();
    }
    let expected: Vec<_> = (0..190).chain(300..310).chain(500..700).collect();
    assert_eq!(numbers_of(&journal.reader().unwrap(), BATTERY, EVER), expected);
}

#[test]
fn history_has_the_columns_asked_for_in_their_order() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    let reader = journal.reader().unwrap();
    let bare = PackRecord::new(at(1), BATTERY);
    journal.append(&[typical(0), bare]).unwrap();
    let columns =
        ["soc", "errors", "cell_16_v", "i_pack", "mcu_id", "soc", "insert_time_utc", "bad_crc"];
    let id = Some(Value::BigInt(BATTERY.into()));
    let first = vec![
        Some(Value::SmallInt(63)),
        Some(Value::Text("NONE")),
        typical(0).cell_v[15].map(Value::Real),
        Some(Value::Real(-41.75)),
        id,
        Some(Value::SmallInt(63)),
        Some(Value::Timestamp(at(0))),
        Some(Value::SmallInt(1)),
    ];
    let time = Some(Value::Timestamp(at(1)));
    let second = vec![None, None, None, None, id, None, time, Some(Value::SmallInt(0))];
    let expected = [(at(0), first), (at(1), second)];
    assert_eq!(history(&reader, BATTERY, EVER, &columns), expected);
    assert_eq!(history(&reader, BATTERY, EVER, &[]), [(at(0), vec![]), (at(1), vec![])]);
}

/// Both in the slots and after they have moved on.
#[test]
fn history_has_every_value_of_a_record_to_the_bit() {
    let awkward = [0.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::MAX, f32::INFINITY, 0.1, 1.6135, -3.3];
    let mut records: Vec<_> = (0..100).map(typical).collect();
    for (record, number) in records.iter_mut().zip(awkward) {
        record.energy_in = Some(number);
    }
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    let reader = journal.reader().unwrap();
    journal.append(&records).unwrap();
    check_values(&reader, &records);
    let others: Vec<_> = (0..100).map(|n| nth(7, n)).collect();
    journal.append(&others).unwrap();
    check_values(&reader, &records);
}

fn check_values(reader: &Reader, records: &[PackRecord]) {
    let names = COLUMNS.each_ref().map(|column| column.name);
    let rows = history(reader, BATTERY, EVER, &names);
    assert_eq!(rows.len(), records.len());
    for ((time, values), record) in rows.into_iter().zip(records) {
        assert_eq!(time, record.insert_time_utc);
        for (column, value) in COLUMNS.iter().zip(values) {
            let expected = column.get(record);
            assert_eq!(value, expected, "{}", column.name);
            if let (Some(Value::Real(value)), Some(Value::Real(expected))) = (value, expected) {
                assert_eq!(value.to_bits(), expected.to_bits(), "{}", column.name);
            }
        }
    }
}

#[test]
fn trimmed_rows_are_not_in_history() {
    let keep = std::time::Duration::from_secs(3600);
    let retention = Retention { keep: Some(keep), bound: None };
    let mut journal = Journal::in_memory(retention).unwrap();
    let records: Vec<_> = (0..500).map(|n| nth(BATTERY, n)).collect();
    journal.append(&records).unwrap();
    let mut outbox = journal.outbox().unwrap();
    let last = outbox.undelivered(usize::MAX).unwrap().last;
    outbox.delivered(last).unwrap();
    assert_eq!(journal.trim(at(140) + keep).unwrap().delivered, 140);
    let reader = journal.reader().unwrap();
    assert_eq!(numbers_of(&reader, BATTERY, at(100)..at(150)), Vec::from_iter(140..150));
}

#[test]
fn history_can_be_ended_early() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let records: Vec<_> = (0..1000).map(|n| nth(BATTERY, n)).collect();
    journal.append(&records).unwrap();
    let reader = Reader::open(&path).unwrap();
    let mut seen = vec![];
    let each = |time, _: &[Option<Value<'_>>]| {
        seen.push(time);
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    reader.history(BATTERY, at(10)..at(900), &[], each).unwrap();
    assert_eq!(seen, [at(10), at(11), at(12)]);
    // Nothing is left of it: the log can be merged, though the reader is there still.
    assert_eq!(merge_log(&path), (0, 0));
    assert_eq!(reader.count(BATTERY).unwrap(), 1000);
}

/// Whether somebody kept that from being done, and how many pages of the log are left.
fn merge_log(path: &Path) -> (i64, i64) {
    let connection = Connection::open(path).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}

#[test]
fn a_question_that_takes_too_long_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let records: Vec<_> = (0..5000).map(|n| nth(BATTERY, n)).collect();
    journal.append(&records).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    reader.time_limit = std::time::Duration::from_millis(20);
    let mut rows = 0;
    let dawdle = |_, _: &[Option<Value<'_>>]| {
        rows += 1;
        thread::sleep(std::time::Duration::from_millis(1));
        ControlFlow::Continue(())
    };
    let error = reader.history(BATTERY, EVER, &[column("soc")], dawdle).unwrap_err();
    assert!(error.is_timeout() && !error.is_damage() && !error.is_full(), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("reading journal {} took longer than 20ms", path.display())
    );
    assert!(rows < 5000, "{rows}");
    // It holds nothing any more, and the next question has time of its own.
    assert_eq!(merge_log(&path), (0, 0));
    reader.time_limit = std::time::Duration::MAX;
    assert_eq!(numbers_of(&reader, BATTERY, EVER).len(), 5000);
    reader.time_limit = std::time::Duration::ZERO;
    let each = |_, _: &[Option<Value<'_>>]| ControlFlow::Continue(());
    assert!(reader.history(7, EVER, &[], each).unwrap_err().is_timeout());
}

/// What it began with is what it ends with, whatever comes in between and however often.
#[test]
fn the_writer_goes_on_while_a_page_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let rows = |numbers: Range<u16>| Vec::from_iter(numbers.map(|n| nth(BATTERY, n)));
    journal.append(&rows(0..1000)).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    reader.time_limit = std::time::Duration::MAX;
    let mut seen = 0;
    let mut next = 1000;
    let each = |time, _: &[Option<Value<'_>>]| {
        assert_eq!(time, at(seen));
        seen += 1;
        if seen % 100 == 0 {
            for row in rows(next..next + 500) {
                journal.append(&[row]).unwrap();
            }
            next += 500;
            journal.checkpoint().unwrap();
            journal.trim(START).unwrap();
        }
        ControlFlow::Continue(())
    };
    reader.history(BATTERY, EVER, &[column("energy_in")], each).unwrap();
    assert_eq!((seen, next), (1000, 6000));
    assert_eq!(numbers_of(&reader, BATTERY, EVER), Vec::from_iter(0..6000));
    // Readers that come and go take no lock along with them.
    drop(reader);
    for n in 6000..6010 {
        drop(Reader::open(&path).unwrap());
        journal.append(&rows(n..n + 1)).unwrap();
    }
    drop(journal);
    let journal = open(&path);
    assert_eq!(numbers(&undelivered(&journal)), Vec::from_iter(0..6010));
}

/// All rows of a selection, read `piece` rows at a time.
fn rows_in_pieces(reader: &Reader, selection: &RowSelection, piece: usize) -> Vec<(i32, u32)> {
    let mut rows = vec![];
    let mut selection = selection.clone();
    loop {
        let mut left = piece;
        let each = |time: UtcDateTime, mcu_id: u32, values: &[Option<Value<'_>>]| {
            let n = (time - START).whole_seconds() / 10;
            assert_eq!(values, [Some(Value::Real((i64::from(mcu_id) * 1000 + n) as f32))]);
            rows.push((n as i32, mcu_id));
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        reader.rows(&selection, &[column("energy_in")], each).unwrap();
        if left == piece {
            return rows;
        }
        selection.after = rows.last().map(|(n, mcu_id)| (at(*n), *mcu_id));
    }
}

/// Batteries are appended in the wrong order, and some rows have moved while others have not.
#[test]
fn a_selection_is_in_the_order_of_time_and_battery_however_it_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(&directory.path().join("journal"));
    for n in 0..100_u16 {
        journal
            .append(&[9, 2, 5].map(|id| {
                let mut record = nth(id, n);
                record.energy_in = Some(id as f32 * 1000.0 + f32::from(n));
                record
            }))
            .unwrap();
    }
    let reader = journal.reader().unwrap();
    for (batteries, ids) in [(vec![], &[2, 5, 9][..]), (vec![5, 2], &[2, 5]), (vec![7], &[])] {
        for times in [0..100, 17..83, 0..1, 50..50] {
            let expected: Vec<_> =
                times.clone().flat_map(|n| ids.iter().map(move |id| (n, *id))).collect();
            let times = at(times.start)..at(times.end);
            let selection = RowSelection { times, batteries: batteries.clone(), after: None };
            for piece in [1, 4, 1000] {
                assert_eq!(rows_in_pieces(&reader, &selection, piece), expected);
            }
            assert_eq!(reader.count_rows(&selection).unwrap(), expected.len() as u64);
        }
    }
}

/// Of a hundred batteries few are looked up. Rows that came late are among the last ones appended,
/// and not every battery has a row at every time.
#[test]
fn a_few_of_many_batteries_are_read_as_all_are() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(&directory.path().join("journal"));
    let has_row = |id: u32, n: i32| (n + id as i32) % 3 != 0;
    for n in (10..40).chain(0..10) {
        let rows = (0..100).rev().filter(|id| has_row(*id, n)).map(|id| {
            let mut record = nth(id, n as u16);
            record.energy_in = Some(id as f32 * 1000.0 + n as f32);
            record
        });
        journal.append(&Vec::from_iter(rows)).unwrap();
    }
    let reader = journal.reader().unwrap();
    for ids in [&[0][..], &[99], &[50, 3], &[98, 7, 41, 1000]] {
        for times in [0..40, 9..11, 17..33, 0..1, 39..40, 50..60, 20..20] {
            let mut sorted = ids.to_vec();
            sorted.sort_unstable();
            let expected: Vec<_> = times
                .clone()
                .flat_map(|n| sorted.iter().map(move |id| (n, *id)))
                .filter(|(n, id)| *id < 100 && *n < 40 && has_row(*id, *n))
                .collect();
            let times = at(times.start)..at(times.end);
            let selection = RowSelection { times, batteries: ids.to_vec(), after: None };
            for piece in [1, 4, 1000] {
                assert_eq!(rows_in_pieces(&reader, &selection, piece), expected, "{ids:?}");
            }
            assert_eq!(reader.count_rows(&selection).unwrap(), expected.len() as u64);
        }
    }
}
