//! The genuine logs of the first listener, and the rows that its table had.

use std::{collections::HashMap, fs};

use bluenova_record::{COLUMNS, PackRecord, Timestamp, Value};

use crate::read;

fn data(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The rows of the table, by time and battery, as text.
fn table() -> HashMap<(String, String), Vec<String>> {
    let csv = String::from_utf8(data("rows.csv")).unwrap();
    let mut lines = csv.lines();
    let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
    assert_eq!(lines.next().unwrap(), names.join(","));
    let rows = lines.map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    rows.map(|row| ((row[0].clone(), row[1].clone()), row)).collect()
}

/// Half of the last digit that the log has.
fn tolerance(column: &str) -> f32 {
    if column == "i_pack" { 0.05 } else { 0.0005 }
}

fn assert_same(record: &PackRecord, row: &[String]) {
    for (column, expected) in COLUMNS.iter().zip(row) {
        match column.get(record) {
            Some(Value::Real(value)) => {
                let difference = (value - expected.parse::<f32>().unwrap()).abs();
                let tolerance = tolerance(column.name) * 1.001 + value.abs() * f32::EPSILON;
                assert!(difference <= tolerance, "{}: {value} {expected}", column.name);
            }
            Some(Value::Timestamp(time)) => assert_eq!(&Timestamp(time).to_string(), expected),
            Some(Value::BigInt(number)) => assert_eq!(&number.to_string(), expected),
            Some(Value::SmallInt(number)) => {
                assert_eq!(&number.to_string(), expected, "{}", column.name);
            }
            Some(Value::Text(text)) => assert_eq!(text, expected),
            None => assert_eq!(expected, "", "{}", column.name),
        }
    }
}

#[test]
fn the_records_are_the_rows_of_the_table_and_those_that_it_lost() {
    let table = table();
    assert_eq!(table.len(), 18);
    for log in ["plain.log", "raw.log"] {
        let (records, damage) = read(&data(log));
        assert_eq!(damage, [], "{log}");
        assert_eq!(records.len(), 13, "{log}");
        let mut known = 0;
        for (_, record) in &records {
            let key = (Timestamp(record.insert_time_utc).to_string(), record.mcu_id.to_string());
            if let Some(row) = table.get(&key) {
                assert_same(record, row);
                known += 1;
            }
        }
        assert_eq!(known, 9, "{log}");
    }
}
