use bluenova_journal::{Event, EventKind};
use bluenova_record::{PackRecord, Text};
use serde_json::{Value, json};
use time::{Duration, UtcDateTime};

use crate::support::{Listener, NORTH, NOW, SOUTH, record};

/// A row every ten seconds until now; `seconds` before the last one.
fn row(mcu_id: u32, seconds: i64, errors: &str, breaker: &str) -> PackRecord {
    let mut row = record(mcu_id);
    row.insert_time_utc -= Duration::seconds(seconds);
    (row.errors, row.breaker) = (Some(Text::new(errors)), Some(Text::new(breaker)));
    row
}

fn ago(seconds: i64) -> UtcDateTime {
    record(NORTH).insert_time_utc - Duration::seconds(seconds)
}

/// A listener with rows of the last two minutes in its journal, and events.
fn scene() -> Listener {
    let mut listener = Listener::start();
    let rows: Vec<_> = [
        (120, "NONE", "CLOSED"),
        (110, "NONE", "CLOSED"),
        (100, "CELL_OV", "CLOSED"),
        (90, "CELL_OV", "OPEN"),
        (80, "", "OPEN"),
        (70, "NONE", "CLOSED"),
        // Three are missing here.
        (30, "NONE", "CLOSED"),
        (20, "NONE", "CLOSED"),
        (10, "NONE", "CLOSED"),
        (0, "NONE", "CLOSED"),
    ]
    .map(|(seconds, errors, breaker)| row(NORTH, seconds, errors, breaker))
    .into();
    listener.journal.append(&rows).unwrap();
    listener.journal.append(&[row(SOUTH, 0, "NONE", "OPEN")]).unwrap();
    let of = |name: &str, mcu_id, seconds, kind, detail: &str| Event {
        battery: Some(name.to_owned()),
        mcu_id,
        ..Event::new(ago(seconds), kind, detail)
    };
    let started = Event::started(ago(130), "1.2.3", std::time::Duration::from_secs(10));
    listener
        .journal
        .put_events(&[
            started,
            of("north", None, 129, EventKind::Connected, "north.example:9000/ws/"),
            of("north", Some(NORTH), 128, EventKind::Identified, ""),
            of("north", Some(NORTH), 65, EventKind::NotConnected, "connection refused"),
            Event::new(ago(50), EventKind::ServerAway, "the disk is full"),
            of("north", Some(NORTH), 35, EventKind::Connected, "north.example:9000/ws/"),
            of("south", Some(SOUTH), 34, EventKind::Silent, ""),
        ])
        .unwrap();
    listener
}

fn texts(answer: &Value) -> Vec<(i64, &str, &str)> {
    let events = answer["events"].as_array().unwrap();
    let time = |event: &Value| {
        let time = event["time"].as_str().unwrap();
        let time =
            time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
        (ago(0) - time.unwrap().to_utc()).whole_seconds()
    };
    let text = |event: &'_ Value| event["text"].as_str().unwrap().to_owned().leak() as &str;
    let kind = |event: &'_ Value| event["event"].as_str().unwrap().to_owned().leak() as &str;
    events.iter().map(|event| (time(event), kind(event), text(event))).collect()
}

#[test]
fn a_battery_has_its_own_events_and_those_of_the_listener() {
    let listener = scene();
    let (code, answer) = listener.json("/api/batteries/north/events");
    assert_eq!((code, &answer["older_to"]), (200, &Value::Null), "{answer}");
    let connected = "connected: north.example:9000/ws/";
    let expected = [
        (35, "connected", connected),
        (
            50,
            "server_away",
            "the database takes no rows, which wait in the journal: the disk is full",
        ),
        (65, "not_connected", "no connection: connection refused"),
        (70, "errors", "no errors, after CELL_OV"),
        (70, "breaker", "the breaker is CLOSED"),
        (70, "gap", "no rows for 30 s: no connection: connection refused"),
        (90, "breaker", "the breaker is OPEN"),
        (100, "errors", "the battery says: CELL_OV"),
        (129, "connected", connected),
        (130, "started", "the listener started: version 1.2.3, a row every 10 s"),
    ];
    assert_eq!(texts(&answer), expected);
    let gap = &answer["events"][5];
    assert_eq!((&gap["battery"], &gap["name"]), (&json!("9F3C07B2"), &json!("north")));
    assert_eq!(gap["until"], "2026-11-22T19:59:20Z");
    // Which of the others is the cause of it.
    assert_eq!((&gap["cause"], &gap["gap"]), (&json!("not_connected"), &Value::Null));
    let causes =
        answer["events"].as_array().unwrap().iter().filter(|event| event["gap"].is_string());
    let causes: Vec<_> = causes.map(|event| (&event["event"], &event["gap"])).collect();
    assert_eq!(causes, [(&json!("not_connected"), &gap["time"])]);
}

#[test]
fn a_page_of_events_leads_to_the_next_one() {
    let listener = scene();
    let (_, all) = listener.json("/api/batteries/north/events");
    let (mut pages, mut to, mut sizes) = (vec![], String::new(), vec![]);
    loop {
        let (_, page) = listener.json(&format!("/api/batteries/north/events?limit=4{to}"));
        sizes.push(texts(&page).len());
        pages.extend(page["events"].as_array().unwrap().clone());
        let Some(older) = page["older_to"].as_str() else { break };
        to = format!("&to={older}");
    }
    // Three are of one time, and together.
    assert_eq!(sizes, [6, 4]);
    assert_eq!(json!(pages), all["events"]);
}

#[test]
fn all_batteries_together_have_theirs() {
    let listener = scene();
    let (code, answer) = listener.json("/api/events?from=2026-11-22T19:59:00Z");
    assert_eq!((code, &answer["has_rows"]), (200, &json!(true)));
    let north_and_south = texts(&answer);
    assert_eq!(north_and_south[0], (0, "breaker", "the breaker is OPEN"));
    assert_eq!(north_and_south[1].1, "silent");
    assert_eq!(north_and_south.len(), 5, "{north_and_south:?}");
    // Of very many only what was recorded.
    listener.change(|status| {
        let (battery, now) = (status.batteries[0].clone(), status.instant);
        for id in 1..=20 {
            let mut other = battery.clone();
            other.row_known(&record(id), now);
            status.batteries.push(other);
        }
    });
    let (_, answer) = listener.json("/api/events?from=2026-11-22T19:59:00Z");
    assert_eq!((&answer["has_rows"], texts(&answer).len()), (&json!(false), 3));
    assert!(NOW > ago(0));
}

/// Rows of an older version, or of a demo, that came less often than now.
#[test]
fn a_gap_from_before_the_first_event_is_none() {
    let mut listener = Listener::start();
    let rows = [180, 120, 60, 0].map(|seconds| row(NORTH, seconds, "NONE", "CLOSED"));
    listener.journal.append(&rows).unwrap();
    let started = Event::started(ago(30), "1.2.3", std::time::Duration::from_secs(10));
    listener.journal.put_events(&[started]).unwrap();
    let (_, answer) = listener.json("/api/batteries/north/events");
    let gaps: Vec<_> = texts(&answer).into_iter().filter(|(_, event, _)| *event == "gap").collect();
    let expected = "no rows for 20 s: the listener had other batteries (-b)";
    assert_eq!(gaps, [(30, "gap", expected)]);
}

#[test]
fn wrong_parameters_are_explained() {
    let listener = scene();
    for (query, start) in [
        ("limit=0", "limit: a whole number from 1 to 1000"),
        ("from=now", "from: an RFC 3339 time"),
        ("before=1", "before: not a parameter here; from, to, limit are"),
    ] {
        let (code, answer) = listener.json(&format!("/api/events?{query}"));
        assert_eq!(code, 400);
        assert!(answer["error"].as_str().unwrap().starts_with(start), "{answer}");
    }
}
