//! The history as JSON.

use bluenova_http::history;
use bluenova_record::{COLUMNS, PackRecord, SqlType, Text};
use serde_json::{Value, json};
use time::Duration;

use crate::rows::{BATTERY, NOW, journal, query, row};

fn ask(rows: &[PackRecord], parameters: &[(&str, &str)]) -> Value {
    let (_journal, reader) = journal(rows);
    let history = history(&reader, BATTERY, &query(parameters), NOW).unwrap();
    serde_json::to_value(history).unwrap()
}

/// From 19:50 in buckets of a minute.
const MINUTES: [(&str, &str); 3] =
    [("from", "2026-11-22T19:50:00Z"), ("to", "2026-11-22T21:00:00+01:00"), ("points", "10")];

#[test]
fn rows_are_gathered_in_equal_buckets() {
    let rows: Vec<_> = [595, 480, 470, 460, 0]
        .into_iter()
        .map(|ago| PackRecord {
            i_pack: Some(ago as f32 + 0.5),
            soc: Some(ago as i16 / 10),
            errors: Some(Text::new(&format!("E{ago}"))),
            ..row(ago)
        })
        .collect();
    let columns = ("columns", "i_pack,soc,errors");
    let parameters: Vec<_> = MINUTES.into_iter().chain([columns]).collect();
    assert_eq!(
        ask(&rows, &parameters),
        // 20:00 is the end, which isn't part of it.
        json!({
            "battery": "9F3C07B2",
            "from": "2026-11-22T19:50:00Z",
            "to": "2026-11-22T20:00:00Z",
            "points": 2,
            "rows": [1, 3],
            "time": ["2026-11-22T19:50:05Z", "2026-11-22T19:52:00Z"],
            "i_pack": {"min": [595.5, 460.5], "max": [595.5, 480.5]},
            "soc": {"min": [59, 46], "max": [59, 48]},
            "errors": {"last": ["E595", "E460"]},
        })
    );
}

#[test]
fn every_column_is_there_with_values_that_are_what_they_were() {
    let answer = ask(&[row(10)], &[]);
    let object = answer.as_object().unwrap();
    let columns = COLUMNS.iter().filter(|column| column.name != "insert_time_utc");
    for column in columns.filter(|column| column.name != "mcu_id") {
        let values = object[column.name].as_object().unwrap();
        let is_text = matches!(column.sql, SqlType::Varchar(_));
        let names: Vec<_> = values.keys().map(String::as_str).collect();
        assert_eq!(names, if is_text { &["last"][..] } else { &["max", "min"] }, "{}", column.name);
        for value in values.values() {
            assert!(
                if is_text { value[0].is_string() } else { value[0].is_number() },
                "{column:?}"
            );
        }
    }
    assert_eq!(object.len(), 6 + COLUMNS.len() - 2);
    // As text, since a JSON number read as a double would hide digits that were not measured.
    let (_journal, reader) = journal(&[row(10)]);
    let text = serde_json::to_string(&history(&reader, BATTERY, &[], NOW).unwrap()).unwrap();
    assert!(text.contains(r#""v_pack":{"min":[53.017],"max":[53.017]}"#), "{text}");
    assert!(text.contains(r#""cell_01_t":{"min":[20],"max":[20]}"#), "{text}");
    assert!(text.contains(r#""breaker":{"last":["CLOSED"]}"#), "{text}");
}

#[test]
fn what_is_not_known_is_null() {
    let unknown = PackRecord::new(row(10).insert_time_utc, BATTERY);
    let answer = ask(&[row(400), unknown], &[("points", "1000")]);
    assert_eq!(answer["points"], 2);
    assert_eq!(answer["soc"], json!({"min": [63, null], "max": [63, null]}));
    assert_eq!(answer["errors"], json!({"last": ["NONE", null]}));
    assert_eq!(answer["bad_crc"], json!({"min": [0, 0], "max": [0, 0]}));
}

#[test]
fn no_rows_are_an_answer_too() {
    let answer = ask(&[], &[("columns", "soc,breaker")]);
    assert_eq!(
        answer,
        json!({
            "battery": "9F3C07B2",
            "from": "2026-11-21T20:00:03Z",
            "to": "2026-11-22T20:00:03Z",
            "points": 0,
            "rows": [],
            "time": [],
            "soc": {"min": [], "max": []},
            "breaker": {"last": []},
        })
    );
}

#[test]
fn other_batteries_have_their_own_rows() {
    let other = PackRecord { mcu_id: 1, ..row(20) };
    assert_eq!(ask(&[row(10), other], &[])["rows"], json!([1]));
}

#[test]
fn a_peak_of_one_row_is_there_however_few_points_are() {
    let mut rows: Vec<_> = (0..2000).rev().map(|n| row(10 * n)).collect();
    rows[1234].i_pack = Some(300.0);
    rows[321].i_pack = Some(-300.0);
    let (_journal, reader) = journal(&rows);
    for points in 1..40 {
        let parameters = query(&[("points", &points.to_string()), ("columns", "i_pack")]);
        let answer = history(&reader, BATTERY, &parameters, NOW).unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        assert!(answer["points"].as_u64().unwrap() <= points);
        let numbers = |which: &str| -> Vec<f64> {
            let values = answer["i_pack"][which].as_array().unwrap();
            values.iter().map(|value| value.as_f64().unwrap()).collect()
        };
        assert_eq!(numbers("max").into_iter().fold(f64::MIN, f64::max), 300.0);
        assert_eq!(numbers("min").into_iter().fold(f64::MAX, f64::min), -300.0);
    }
}

#[test]
fn from_is_a_day_before_to() {
    let answer = ask(&[], &[("to", "2026-11-20T10:00:00Z")]);
    assert_eq!(answer["from"], "2026-11-19T10:00:00Z");
    let answer = ask(&[], &[("to", "1970-01-01T10:00:00Z")]);
    assert_eq!(answer["from"], "1970-01-01T00:00:00Z");
    let answer =
        ask(&[row(1)], &[("from", "1970-01-01T00:00:00Z"), ("to", "9999-12-31T23:59:59Z")]);
    assert_eq!(answer["rows"], json!([1]));
}

#[test]
fn wrong_parameters_are_explained() {
    let (_journal, reader) = journal(&[row(10)]);
    for (name, value, expected) in [
        ("points", "0", "points: a whole number from 1 to 10000 is allowed, not \"0\""),
        ("points", "10001", "points: a whole number from 1 to 10000 is allowed, not \"10001\""),
        ("points", "", "points: a whole number from 1 to 10000 is allowed, not \"\""),
        ("points", "1e3", "points: a whole number from 1 to 10000 is allowed, not \"1e3\""),
        (
            "from",
            "yesterday",
            "from: an RFC 3339 time from 1970 on, like 2026-11-22T20:00:00Z or \
             2026-11-22T21:00:00+01:00, is allowed, not \"yesterday\"",
        ),
        (
            "from",
            "2026-11-22T20:00:03Z",
            "from: a time before `to`, 2026-11-22T20:00:03Z, is allowed, not \
             \"2026-11-22T20:00:03Z\"",
        ),
        ("to", "1970-01-01T00:00:00Z", "to: a time after 1970-01-01T00:00:00Z is allowed"),
        ("columns", "soc,soc", "columns: soc is given twice"),
        ("columns", "", "columns: names out of n_units, "),
        ("columns", "soc,mcu_id", "columns: names out of n_units, "),
        ("column", "soc", "column: not a parameter here; from, to, points, columns are"),
    ] {
        let error = history(&reader, BATTERY, &query(&[(name, value)]), NOW).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(error.http_status(), 400);
    }
    let error = history(&reader, BATTERY, &query(&[("columns", "socks")]), NOW).unwrap_err();
    assert!(error.to_string().ends_with("with commas between are allowed, not \"socks\""));
}

#[test]
fn a_journal_that_can_not_be_read_in_time_may_be_asked_later() {
    let (_journal, mut reader) = journal(&(0..5000).map(|n| row(10 * n)).collect::<Vec<_>>());
    reader.time_limit = Duration::ZERO.unsigned_abs();
    let error = history(&reader, BATTERY, &[], NOW).unwrap_err();
    assert_eq!((error.http_status(), error.to_string().as_str()), (503, "can't read the history"));
}
