//! Records to JSON and back.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

use bluenova_record::{PackRecord, Text};
use time::{UtcDateTime, macros::utc_datetime};

#[test]
fn a_record_comes_back() {
    let mut record = PackRecord::new(utc_datetime!(2026-11-22 16:50:10), 0x9F3C_07B2);
    record.v_pack = Some(53.017);
    record.cell_t[15] = Some(-4);
    record.errors = Some(Text::new("Zelle 3 \"überhitzt\""));
    record.bad_crc = 2;
    let json = serde_json::to_string(&record).unwrap();
    assert!(json.starts_with(r#"{"insert_time_utc":"2026-11-22T16:50:10Z","mcu_id":2671511474,"#));
    assert!(json.contains(r#""v_pack":53.017,"i_pack":null,"#), "{json}");
    assert_eq!(serde_json::from_str::<PackRecord>(&json).unwrap(), record);
}

#[test]
fn every_time_comes_back() {
    for (time, text) in [
        (utc_datetime!(2026-11-22 16:50:10.25), "2026-11-22T16:50:10.25Z"),
        (utc_datetime!(1969-12-31 23:59:59.000_000_001), "1969-12-31T23:59:59.000000001Z"),
        (UtcDateTime::MAX, "9999-12-31T23:59:59.999999999Z"),
        (UtcDateTime::MIN, "-9999-01-01T00:00:00Z"),
    ] {
        let record = PackRecord::new(time, 1);
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.contains(text), "{json}");
        assert_eq!(serde_json::from_str::<PackRecord>(&json).unwrap(), record);
    }
}

#[test]
fn what_is_no_time_is_an_error() {
    let json = serde_json::to_string(&PackRecord::new(UtcDateTime::UNIX_EPOCH, 1)).unwrap();
    for wrong in [
        "1970-01-01T00:00:00",
        "1970-01-01 00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00.0000000000Z",
        "1970-01-01T00:00:00+01:00",
        "1970-01-01-01T00:00:00Z",
        "1970-01-01T00:00:00:00Z",
        "",
        "Z",
        "T",
        "+1970-01-01T00:00:00Z",
    ] {
        let json = json.replace("1970-01-01T00:00:00Z", wrong);
        assert!(serde_json::from_str::<PackRecord>(&json).is_err(), "{wrong:?}");
    }
}
