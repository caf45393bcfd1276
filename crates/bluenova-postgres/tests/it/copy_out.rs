//! Rows that come out of the table as CSV.

use std::io::Read;

use bluenova_postgres::{Error, TableReader, TableSelection};
use bluenova_record::{COLUMNS, Column, PackRecord, Text};
use time::{Duration, UtcDateTime, macros::utc_datetime};

use crate::{Database, deliver, record};

const NOON: UtcDateTime = utc_datetime!(2026-11-22 12:00);

fn columns(names: &[&str]) -> Vec<&'static Column> {
    let find = |name: &&str| COLUMNS.iter().find(|column| column.name == *name).unwrap();
    names.iter().map(find).collect()
}

fn copy(database: &Database, rows: &TableSelection, columns: &[&Column]) -> String {
    let mut text = vec![];
    let reader = TableReader::connect(&database.settings()).unwrap();
    let each = |piece: &[u8]| {
        text.extend_from_slice(piece);
        Ok::<_, Error>(())
    };
    reader.copy_csv(rows, columns, each).unwrap();
    String::from_utf8(text).unwrap()
}

/// Rows whose values are hard to write down, the later ones first.
fn hard_rows() -> Vec<PackRecord> {
    let texts = ["", "a,b", "\"'\"", "two\r\nlines", " ü\t", "\\.", "NULL"];
    let times = [0, 1, 120_000, 999_999, 59_000_000, 86_400_000_000, 172_800_000_001_i64];
    let numbers = [53.017, -0.0, 1.0e-45, f32::MAX, 1234567.0, 0.1 + 0.2, 33_554_448.0];
    let values = texts.iter().zip(times).zip(numbers).zip(1..);
    let rows = values.map(|(((text, micros), number), id)| {
        let mut row = PackRecord::new(NOON + Duration::microseconds(micros), id);
        (row.errors, row.v_pack) = (Some(Text::new(text)), Some(number));
        row
    });
    let mut rows: Vec<_> = rows.collect();
    rows.reverse();
    rows
}

/// Whatever the server is set to, values are those that `\copy` has where it rounds nothing.
#[test]
fn rows_are_those_of_copy() {
    let database = Database::new("copy_out");
    deliver(&mut database.sink(), &hard_rows()).unwrap();
    let names: Vec<_> = COLUMNS.iter().skip(1).map(|column| column.name).collect();
    let sql = format!(
        "COPY (SELECT {} FROM battery_pack ORDER BY insert_time_utc) TO STDOUT (FORMAT csv)",
        names.join(", ")
    );
    let mut expected = String::new();
    let mut client = database.client();
    // Before version 12 the default rounds.
    client.batch_execute("SET extra_float_digits TO 3").unwrap();
    client.copy_out(&sql).unwrap().read_to_string(&mut expected).unwrap();
    for setting in [
        "extra_float_digits TO 0",
        "TimeZone TO 'Asia/Tokyo'",
        "DateStyle TO 'German'",
        "statement_timeout TO 60000",
        "default_transaction_read_only TO on",
    ] {
        database.set(setting);
    }
    assert_eq!(copy(&database, &TableSelection::default(), &columns(&names)), expected);
}

#[test]
fn times_are_rfc_3339_in_utc() {
    let expected = "2026-11-22T12:00:00Z\n2026-11-22T12:00:00.000001Z\n2026-11-22T12:00:00.12Z\n\
         2026-11-22T12:00:00.999999Z\n2026-11-22T12:00:59Z\n2026-11-23T12:00:00Z\n\
         2026-11-24T12:00:00.000001Z\n";
    let time = columns(&["insert_time_utc"]);
    for (name, with_zone) in [("copy_out_times", false), ("copy_out_zones", true)] {
        let database = Database::new(name);
        deliver(&mut database.sink(), &hard_rows()).unwrap();
        if with_zone {
            database.set("TimeZone TO 'Asia/Tokyo'");
            database.admin(
                "ALTER TABLE battery_pack ALTER insert_time_utc TYPE TIMESTAMPTZ \
                 USING insert_time_utc AT TIME ZONE 'UTC'",
            );
        }
        assert_eq!(copy(&database, &TableSelection::default(), &time), expected, "{name}");
        database.admin("UPDATE battery_pack SET insert_time_utc = 'infinity'");
        let infinite = copy(&database, &TableSelection::default(), &time);
        assert_eq!(infinite, "infinity\n".repeat(7), "{name}");
    }
}

#[test]
fn a_selection_bounds_times_and_batteries() {
    let database = Database::new("copy_out_selection");
    deliver(&mut database.sink(), &hard_rows()).unwrap();
    let id = columns(&["mcu_id"]);
    let micros = |micros| Some(NOON + Duration::microseconds(micros));
    for (from, to, batteries, expected) in [
        (None, None, vec![], "1\n2\n3\n4\n5\n6\n7\n"),
        (micros(1), None, vec![], "2\n3\n4\n5\n6\n7\n"),
        (None, micros(1), vec![], "1\n"),
        (micros(1), micros(999_999), vec![], "2\n3\n"),
        (micros(1), None, vec![7, 1, 3], "3\n7\n"),
        (None, None, vec![8], ""),
    ] {
        let rows = TableSelection { from, to, batteries };
        assert_eq!(copy(&database, &rows, &id), expected, "{rows:?}");
        let mut reader = TableReader::connect(&database.settings()).unwrap();
        assert_eq!(reader.count(&rows).unwrap(), expected.lines().count() as u64, "{rows:?}");
    }
    let mut reader = TableReader::connect(&database.settings()).unwrap();
    assert!(reader.has_battery(7).unwrap());
    assert!(!reader.has_battery(8).unwrap());
}

#[test]
fn at_one_time_batteries_are_in_order() {
    let database = Database::new("copy_out_order");
    let rows: Vec<_> = [3, 1, 2].map(|id| record(0, id)).into();
    deliver(&mut database.sink(), &rows).unwrap();
    assert_eq!(copy(&database, &TableSelection::default(), &columns(&["mcu_id"])), "1\n2\n3\n");
}

/// Then the server is left with what it has to send: to read all that might take an hour.
#[test]
fn a_caller_may_have_enough() {
    let database = Database::new("copy_out_end");
    deliver(&mut database.sink(), &[record(0, 1)]).unwrap();
    // More than fits into the buffers of both ends.
    database.admin(
        "ALTER TABLE battery_pack RENAME TO one_row;
         CREATE VIEW battery_pack AS SELECT one_row.* FROM one_row, generate_series(1, 1000000);
         GRANT SELECT ON battery_pack TO homeauto",
    );
    let reader = TableReader::connect(&database.settings()).unwrap();
    let mut pieces = 0;
    let result = reader.copy_csv(&TableSelection::default(), &columns(&["mcu_id"]), |_| {
        pieces += 1;
        if pieces == 3 { Err(Enough) } else { Ok(()) }
    });
    assert_eq!(result, Err(Enough));
    let sql = "SELECT state FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT mcu_id %' \
               AND datname = 'copy_out_end' AND pid <> pg_backend_pid()";
    let state: String = database.client().query_one(sql, &[]).unwrap().get(0);
    assert_eq!(state, "active");
}

#[derive(Debug, PartialEq)]
struct Enough;

impl From<Error> for Enough {
    fn from(error: Error) -> Self {
        panic!("{error}")
    }
}

#[test]
fn errors_name_the_table() {
    let database = Database::new("copy_out_errors");
    let read = || {
        let reader = TableReader::connect(&database.settings()).unwrap();
        let each = |_: &[u8]| Ok(());
        let result = reader.copy_csv(&TableSelection::default(), &columns(&["soc"]), each);
        let error: Error = result.unwrap_err();
        error.to_string()
    };
    let error = read();
    assert!(error.starts_with("can't read battery_pack of copy_out_errors on "), "{error}");
    assert!(error.contains("does not exist (42P01)"), "{error}");
    deliver(&mut database.sink(), &[record(0, 1)]).unwrap();
    // An error that comes when rows are on their way.
    database.admin(
        "ALTER TABLE battery_pack RENAME TO one_row;
         CREATE VIEW battery_pack AS SELECT insert_time_utc, mcu_id, (1 / (3 - n))::smallint AS soc
             FROM one_row, generate_series(1, 3) AS n;
         GRANT SELECT ON battery_pack TO homeauto",
    );
    let error = read();
    assert!(error.contains("can't read battery_pack of copy_out_errors on "), "{error}");
    assert!(error.contains("division by zero (22012)"), "{error}");
}
