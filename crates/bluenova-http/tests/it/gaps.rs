//! The intervals without a row as JSON.

use bluenova_journal::{Event, EventKind, Journal};
use bluenova_record::PackRecord;
use serde_json::{Value, json};
use time::macros::utc_datetime;
use time::{Duration, UtcDateTime};

use crate::rows::{BATTERY, NOW, journal, query, row};

const INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

/// When the newest row is due.
const EIGHT: UtcDateTime = utc_datetime!(2026-11-22 20:00);

/// Rows of the last two minutes but from 60 to 30 seconds ago, when there was no connection.
fn with_a_gap() -> (Journal, bluenova_journal::Reader) {
    let rows: Vec<_> = (0..=12).map(|n| row(10 * (12 - n))).collect();
    let kept = |row: &&PackRecord| {
        let ago = EIGHT - row.insert_time_utc;
        !(Duration::seconds(30)..Duration::seconds(60)).contains(&ago)
    };
    let (mut journal, reader) = journal(&rows.iter().filter(kept).cloned().collect::<Vec<_>>());
    let events = [
        (200, EventKind::Identified, ""),
        (60, EventKind::NotConnected, "no route"),
        (25, EventKind::Identified, ""),
    ]
    .map(|(ago, kind, why)| Event {
        battery: Some("attic".to_owned()),
        mcu_id: Some(BATTERY),
        ..Event::new(EIGHT - Duration::seconds(ago), kind, why)
    });
    journal.put_events(&events).unwrap();
    (journal, reader)
}

fn ask(parameters: &[(&str, &str)]) -> Value {
    let (_journal, reader) = with_a_gap();
    let gaps = bluenova_http::gaps(&reader, &query(parameters), NOW, INTERVAL).unwrap();
    serde_json::to_value(gaps).unwrap()
}

#[test]
fn a_gap_has_its_cause() {
    let answer = ask(&[]);
    let [gap] = &answer["gaps"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!(
        gap,
        &json!({
            "battery": "9F3C07B2",
            "names": ["attic"],
            "from": "2026-11-22T19:59:00Z",
            "to": "2026-11-22T19:59:30Z",
            "intervals": 3,
            "cause": "not_connected",
            "error": "no route",
            "text": "no connection: no route",
        })
    );
    assert_eq!(answer["older_gaps"], 0);
    assert_eq!(answer["interval_s"], 10.0);
    // From the oldest row on; the newest one is not due yet.
    assert_eq!(answer["from"], "2026-11-22T19:57:50Z");
    assert_eq!(answer["to"], "2026-11-22T20:00:00Z");
    let [share] = &answer["batteries"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!((&share["intervals"], &share["missing"]), (&json!(13), &json!(3)));
    assert_eq!(share["percent"], 76.92);
}

#[test]
fn time_and_battery_can_be_chosen() {
    let later = ask(&[("from", "2026-11-22T19:59:20Z")]);
    assert_eq!(later["gaps"][0]["intervals"], 1, "{later}");
    let earlier = ask(&[("to", "2026-11-22T19:59:20Z")]);
    assert_eq!(earlier["gaps"][0]["intervals"], 2, "{earlier}");
    assert_eq!(ask(&[("battery", "9f3c07b2")]), ask(&[]));
    let other = ask(&[("battery", "1")]);
    assert_eq!((&other["gaps"], &other["batteries"]), (&json!([]), &json!([])));
}

#[test]
fn wrong_parameters_are_errors() {
    let (_journal, reader) = with_a_gap();
    for (name, value) in [("battery", "+1"), ("battery", "attic"), ("from", "x"), ("points", "1")] {
        let query = query(&[(name, value)]);
        let error = bluenova_http::gaps(&reader, &query, NOW, INTERVAL).unwrap_err();
        assert_eq!(error.http_status(), 400);
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn the_newest_thousand_gaps_are_shown() {
    let rows: Vec<_> = (0..1101).rev().map(|n| row(20 * n)).collect();
    let (_journal, reader) = journal(&rows);
    let gaps = bluenova_http::gaps(&reader, &query(&[]), NOW, INTERVAL).unwrap();
    let answer = serde_json::to_value(gaps).unwrap();
    assert_eq!(answer["gaps"].as_array().unwrap().len(), 1000);
    assert_eq!(answer["older_gaps"], 100);
    assert_eq!(answer["gaps"][999]["to"], "2026-11-22T19:59:50Z");
}

#[test]
fn the_server_answers() {
    let listener = crate::support::Listener::start();
    let (status, answer) = listener.json("/api/gaps");
    assert_eq!((status, &answer["gaps"]), (200, &json!([])), "{answer}");
    let (status, answer) = listener.json("/api/gaps?battery=x");
    assert_eq!(status, 400, "{answer}");
}
