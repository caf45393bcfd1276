//! What is delivered is what is in the table.

use bluenova_record::{COLUMNS, PackRecord, SqlType, Text, Value};
use time::{UtcDateTime, macros::utc_datetime};

use crate::{Database, connect, deliver, delivered, record};

/// A record with another value in each column, made from `pick`.
fn filled(
    time: UtcDateTime,
    mcu_id: u32,
    pick: impl Fn(i16, SqlType) -> Value<'static>,
) -> PackRecord {
    let mut record = PackRecord::new(time, mcu_id);
    for (n, column) in (0..).zip(&COLUMNS).skip(2) {
        column.set(&mut record, Some(pick(n, column.sql))).unwrap();
    }
    record
}

fn all_kinds() -> Vec<PackRecord> {
    let empty = PackRecord::new(utc_datetime!(2026-01-01 00:00:10), 1);
    let usual = filled(utc_datetime!(2026-01-01 00:00:10.123456), 2, |n, sql| match sql {
        SqlType::SmallInt => Value::SmallInt(n),
        SqlType::Real => Value::Real(f32::from(n) + 0.017),
        _ => Value::Text("x' || 'y\\\"; DROP TABLE battery_pack; --"),
    });
    let lowest = filled(utc_datetime!(1969-12-31 23:59:59), 0, |_, sql| match sql {
        SqlType::SmallInt => Value::SmallInt(i16::MIN),
        SqlType::Real => Value::Real(f32::MIN),
        _ => Value::Text(""),
    });
    let highest = filled(utc_datetime!(9999-12-31 23:59:59.999999), u32::MAX, |_, sql| match sql {
        SqlType::SmallInt => Value::SmallInt(i16::MAX),
        SqlType::Real => Value::Real(f32::from_bits(1)),
        _ => Value::Text("🔋Ω{NULL},\r\n\u{1}\u{7f}ß🔋🔋🔋"),
    });
    vec![lowest, empty, usual, highest]
}

#[test]
fn every_column_comes_back_as_it_was() {
    let database = Database::new("every_column");
    let records = all_kinds();
    assert_eq!(deliver(&mut database.sink(), &records).unwrap(), delivered(4, 0));
    assert_eq!(database.rows(), records);
}

#[test]
fn a_batch_is_of_any_size_and_keeps_its_order() {
    let database = Database::new("any_size");
    let mut sink = database.sink();
    // Batteries in every bucket of locks, and in several transactions.
    let records: Vec<_> = (0..5000).map(|n| record(0, n)).collect();
    assert_eq!(deliver(&mut sink, &records).unwrap(), delivered(5000, 0));
    assert_eq!(database.rows(), records);
    let sql = "SELECT mcu_id FROM battery_pack ORDER BY ctid";
    let stored: Vec<i64> =
        database.client().query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(stored.is_sorted());
}

#[test]
fn time_stamps_are_utc_whatever_zone_the_server_is_in() {
    for (name, options) in [("zone_of_database", ""), ("zone_of_session", "PST8PDT")] {
        let database = Database::new(name);
        database.set("TimeZone = 'Africa/Johannesburg'");
        database.admin("CREATE TABLE t ()");
        let conninfo = format!(
            "{} options='-c TimeZone={}'",
            crate::cluster().conninfo(name),
            if options.is_empty() { "Africa/Johannesburg" } else { options },
        );
        let settings = bluenova_postgres::Settings::resolve(&conninfo, None, |_| None).unwrap();
        let mut sink = connect(settings).unwrap();
        let records = all_kinds();
        assert_eq!(deliver(&mut sink, &records).unwrap(), delivered(4, 0));
        assert_eq!(deliver(&mut sink, &records).unwrap(), delivered(0, 4));
        let sql = "SELECT insert_time_utc::text FROM battery_pack WHERE mcu_id = 1";
        let text: String = database.client().query_one(sql, &[]).unwrap().get(0);
        assert_eq!(text, "2026-01-01 00:00:10");
    }
}

#[test]
fn a_column_with_time_zone_holds_the_same_moment() {
    let database = Database::new("with_time_zone");
    database.set("TimeZone = 'Africa/Johannesburg'");
    database.admin(&bluenova_postgres::schema().replace("TIMESTAMP", "TIMESTAMPTZ"));
    database.admin("GRANT SELECT, INSERT ON battery_pack TO homeauto");
    let mut sink = database.sink();
    let records = all_kinds();
    assert_eq!(deliver(&mut sink, &records).unwrap(), delivered(4, 0));
    assert_eq!(deliver(&mut sink, &records).unwrap(), delivered(0, 4));
    let sql = "SELECT insert_time_utc::text FROM battery_pack WHERE mcu_id = 1";
    let text: String = database.client().query_one(sql, &[]).unwrap().get(0);
    assert_eq!(text, "2026-01-01 02:00:10+02");
}

#[test]
fn a_text_too_long_for_the_column_is_refused_and_not_cut() {
    let database = Database::new("short_text");
    let mut sink = database.sink();
    database.admin("ALTER TABLE battery_pack ALTER errors TYPE VARCHAR(3)");
    let mut long = record(0, 1);
    long.errors = Some(Text::new("OVERHEAT"));
    assert_eq!(deliver(&mut sink, &[long]).unwrap_err().sqlstate(), Some("22001"));
    assert_eq!(database.count(), 0);
}
