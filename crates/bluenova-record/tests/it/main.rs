//! The table of columns against the table that people already have.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

use bluenova_record::{COLUMNS, CreateTable, PackRecord, SqlType, Text, Value};
use time::UtcDateTime;

/// The first listener's README, folded to one line per column.
const ORIGINAL: &str = include_str!("original-table.txt");

fn full_record() -> PackRecord {
    let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 7);
    for (n, column) in COLUMNS.iter().enumerate() {
        let n = i16::try_from(n).unwrap();
        let value = match column.sql {
            SqlType::Timestamp => {
                Value::Timestamp(UtcDateTime::from_unix_timestamp(1_700_000_000).unwrap())
            }
            SqlType::BigInt => Value::BigInt(0xFFFF_FFFF),
            SqlType::SmallInt => Value::SmallInt(n),
            SqlType::Real => Value::Real(f32::from(n) + 0.5),
            SqlType::Varchar(_) => Value::Text(column.name),
        };
        column.set(&mut record, Some(value)).unwrap();
    }
    record
}

#[test]
fn the_table_is_the_first_listeners() {
    let ours: Vec<String> =
        COLUMNS.iter().map(|column| format!("{} {}", column.name, column.sql)).collect();
    let theirs: Vec<String> = ORIGINAL
        .lines()
        .map(|line| {
            let (name, sql) = line.split_once(' ').unwrap();
            format!("{} {}", name.to_lowercase(), sql.trim())
        })
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn each_column_has_a_field_of_its_own() {
    let record = full_record();
    assert_eq!(record.mcu_id, 0xFFFF_FFFF);
    for (n, column) in COLUMNS.iter().enumerate() {
        let n = i16::try_from(n).unwrap();
        match column.get(&record).unwrap() {
            Value::SmallInt(value) => assert_eq!(value, n, "{}", column.name),
            Value::Real(value) => assert_eq!(value, f32::from(n) + 0.5, "{}", column.name),
            Value::Text(value) => assert_eq!(value, column.name),
            Value::Timestamp(_) | Value::BigInt(_) => {}
        }
    }
    assert_eq!(record.cell_v[6], Some(11.5), "cell_07_v is the twelfth column");
    assert_eq!(record.errors, Some(Text::new("errors")));
}

#[test]
fn null_goes_where_the_row_allows_it() {
    let mut record = full_record();
    let mut refused = vec![];
    for column in &COLUMNS {
        match column.set(&mut record, None) {
            Ok(()) => assert!(column.is_nullable(), "{}", column.name),
            Err(_) => refused.push(column.name),
        }
    }
    assert_eq!(refused, ["insert_time_utc", "mcu_id", "bad_crc", "parse_fail", "bad_vcell"]);
    let empty = PackRecord { bad_crc: 56, parse_fail: 57, bad_vcell: 58, ..record.clone() };
    assert_eq!(record, empty);
    assert_eq!(record.v_pack, None);
}

#[test]
fn a_value_of_another_type_is_refused_and_changes_nothing() {
    let before = full_record();
    let mut record = before.clone();
    for column in &COLUMNS {
        let wrong = match column.sql {
            SqlType::Varchar(_) => Value::SmallInt(1),
            _ => Value::Text("1"),
        };
        let error = column.set(&mut record, Some(wrong)).unwrap_err();
        assert_eq!(error.expected, column.sql);
        assert!(error.to_string().contains(&column.sql.to_string()));
    }
    assert_eq!(record, before);
}

#[test]
fn the_ddl_names_every_column_once() {
    let sql = CreateTable.to_string();
    assert_eq!(sql.lines().count(), COLUMNS.len() + 2);
    assert!(sql.contains("    charge_state    VARCHAR(16),\n"), "{sql}");
    assert!(sql.ends_with("    bad_vcell       SMALLINT\n)"), "{sql}");
}
