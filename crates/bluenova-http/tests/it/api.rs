use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use bluenova_insight::{CellWeakness, Estimate, Insight, UtcDays, Verdict, WeakCell};
use bluenova_journal::StoredDay;
use bluenova_record::{PackRecord, Text};
use bluenova_status::{ConnectionState, DeliveryStatus, Status};
use serde_json::{Value, json};
use time::{Date, Month, macros::utc_datetime};

use crate::support::{Listener, NORTH, NOW, SOUTH, get, record, send_for_3_s};

#[test]
fn both_batteries_and_their_bank() {
    let listener = Listener::start();
    let (code, answer) = listener.json("/api/batteries");
    assert_eq!(code, 200);
    assert_eq!(answer["time"], "2026-11-22T20:00:04.25Z");
    assert_eq!(answer["interval_s"], 10.0);
    assert_eq!(answer["stale_after_s"], 30.0);
    let bank = json!({ "batteries": 2, "fresh": 2, "power_w": -4426.9, "soc": 63.0 });
    check_bank(&answer, &bank);
    let north = &answer["batteries"][0];
    for (field, expected) in [
        ("battery", json!("9F3C07B2")),
        ("names", json!(["north"])),
        ("addresses", json!(["north.example:9000/ws/"])),
        ("connected", json!(true)),
        ("trouble", Value::Null),
        ("redials", json!(2)),
        ("malformed_lines", json!(3)),
        ("rows", json!(4)),
        ("stale", json!(false)),
        ("age_s", json!(4.3)),
        ("power_w", json!(-2213.5)),
        ("cell_mean_v", json!(3.314)),
        ("cell_spread_mv", json!(45.0)),
        ("cell_lowest", json!(16)),
        ("cell_highest", json!(7)),
    ] {
        assert_eq!(north[field], expected, "{field}");
    }
    // Numbers are JSON numbers, with the digits that the battery sent.
    assert_eq!(north["latest"]["v_pack"].to_string(), "53.017");
    assert_eq!(north["latest"]["cell_v"][6].to_string(), "3.338");
    assert_eq!(north["latest"]["cell_v"][1], Value::Null);
    assert_eq!(north["latest"]["errors"], "NONE");
    assert_eq!(answer["batteries"][1]["battery"], "00000BAD");
    assert_eq!((&answer["problems"], &answer["problem_details"]), (&json!([]), &json!([])));
    assert_eq!((&north["severity"], &north["problems"]), (&Value::Null, &json!([])));
}

#[test]
fn amber_is_a_problem_and_healthy_and_red_is_neither() {
    let listener = Listener::start();
    let south = |soc: i16, breaker: &str| {
        let mut row = record(SOUTH);
        (row.soc, row.breaker) = (Some(soc), Some(Text::new(breaker)));
        listener.change(|status| {
            let now = status.instant;
            send_for_3_s(&mut status.batteries[1], &row, now);
        });
    };
    let problem = |severity: &str, name: &str, text: &str| {
        json!({ "severity": severity, "name": name, "battery": "00000BAD", "names": ["south"],
                "text": text })
    };
    south(12, "CLOSED");
    let text = "south: state of charge 12 %, below the limit of 15 %";
    let low = problem("amber", "low-charge", text);
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(answer["problems"], json!([text]));
    assert_eq!(answer["problem_details"], json!([low]));
    let [north, south_json] = [0, 1].map(|n| &answer["batteries"][n]);
    assert_eq!((&north["severity"], &north["problems"]), (&Value::Null, &json!([])));
    assert_eq!(
        (&south_json["severity"], &south_json["problems"]),
        (&json!("amber"), &json!([low]))
    );
    assert_eq!(listener.json("/healthz"), (200, json!({ "ok": true, "problems": [text] })));

    south(12, "OPEN");
    let opened = problem("red", "breaker", "south: the breaker is OPEN");
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(answer["problem_details"], json!([opened, low]));
    assert_eq!(answer["batteries"][1]["severity"], "red");
    assert_eq!(listener.json("/healthz").0, 503);
    let metrics = listener.get("/metrics").body;
    for (name, severity) in [("breaker", "red"), ("low-charge", "amber")] {
        let line = format!(
            "bluenova_battery_problem{{battery=\"00000BAD\",limit=\"{name}\",\
             name=\"south\",severity=\"{severity}\"}} 1\n"
        );
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }

    // A stale value is beyond no limit: that it is stale is the problem.
    listener.set_age(1, 31_000);
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(answer["problem_details"].as_array().unwrap().len(), 1);
    assert_eq!(answer["problem_details"][0]["name"], "no-data");
    assert!(!listener.get("/metrics").body.contains("bluenova_battery_problem{"));
}

#[test]
fn what_is_stale_is_not_in_the_sum() {
    let listener = Listener::start();
    listener.set_age(1, 303_000);
    listener.change(|status| {
        let south = &mut status.batteries[1];
        south.connection = ConnectionState::Down { why: Some("connection refused".into()) };
    });
    let (_, answer) = listener.json("/api/batteries");
    check_bank(&answer, &json!({ "batteries": 2, "fresh": 1, "power_w": -2213.5, "soc": 63.0 }));
    let south = &answer["batteries"][1];
    assert_eq!((&south["stale"], &south["connected"]), (&json!(true), &json!(false)));
    assert_eq!(south["trouble"], "connection refused");
    let problem = "south: no data for 5 min 3 s, not connected: connection refused";
    assert_eq!(answer["problems"], json!([problem]));
}

#[test]
fn a_battery_under_two_addresses_is_one() {
    let listener = Listener::start();
    listener.change(|status| {
        status.batteries[1].newest = status.batteries[0].newest.clone();
        status.batteries[0].connection = ConnectionState::Down { why: None };
    });
    listener.set_age(1, 1_000);
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(answer["bank"]["batteries"], 1);
    assert_eq!(answer["batteries"].as_array().unwrap().len(), 1);
    let both = &answer["batteries"][0];
    assert_eq!(both["names"], json!(["north", "south"]));
    assert_eq!((&both["connected"], &both["rows"]), (&json!(true), &json!(8)));
    assert_eq!(both["age_s"], 1.0);
}

#[test]
fn batteries_with_rows_in_the_journal_only_are_stale() {
    let mut listener = Listener::start();
    let other = |id| PackRecord::new(utc_datetime!(2026-11-22 19:59:59), id);
    listener.journal.append(&[record(NORTH), other(0x77), other(0x78)]).unwrap();
    listener.change(|status| status.batteries[1].newest = None);
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(
        ids(&answer),
        [json!("9F3C07B2"), Value::Null, json!("00000077"), json!("00000078")]
    );
    let other = &answer["batteries"][2];
    assert_eq!((&other["stale"], &other["names"]), (&json!(true), &json!([])));
    assert_eq!(answer["bank"]["batteries"], 2);
}

/// Checks sums of the bank; there are others that the test isn't about.
#[track_caller]
fn check_bank(answer: &Value, expected: &Value) {
    for (field, expected) in expected.as_object().unwrap() {
        assert_eq!(&answer["bank"][field], expected, "{field}");
    }
}

/// The MCU IDs, in the order of the answer.
fn ids(answer: &Value) -> Vec<Value> {
    let batteries = answer["batteries"].as_array().unwrap();
    batteries.iter().map(|battery| battery["battery"].clone()).collect()
}

/// A listener that was started 3 s into an interval, at which both batteries have rows already.
fn restarted() -> Listener {
    let mut listener = Listener::start();
    listener.journal.append(&[record(NORTH), record(SOUTH)]).unwrap();
    listener.change(|status| {
        status.now = utc_datetime!(2026-11-22 20:00:13);
        status.started = status.instant;
        status.batteries.iter_mut().for_each(|battery| battery.newest = None);
    });
    listener
}

#[test]
fn a_healthy_start_is_no_alarm_and_shows_the_last_rows_as_old() {
    let listener = restarted();
    let (_, answer) = listener.json("/api/batteries");
    // Which row is whose isn't certain yet.
    assert_eq!(ids(&answer), [Value::Null, Value::Null]);

    listener.change(|status| {
        status.batteries[0].mcu_id_announced(NORTH);
        status.batteries[1].mcu_id_announced(SOUTH);
    });
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(ids(&answer), [json!("9F3C07B2"), json!("00000BAD")]);
    for battery in answer["batteries"].as_array().unwrap() {
        assert_eq!(battery["stale"], true, "it is but 13 s old, but of an earlier run");
        assert_eq!((&battery["age_s"], &battery["latest"]["soc"]), (&json!(13.0), &json!(63)));
        assert_eq!(battery["first_row_due_in_s"], 7.0);
        assert_eq!(battery["names"].as_array().unwrap().len(), 1);
    }
    let none = json!({ "batteries": 2, "fresh": 0, "power_w": null, "soc": null });
    assert_eq!(answer["problems"], json!([]));
    check_bank(&answer, &none);
    assert_eq!(listener.json("/healthz"), (200, json!({ "ok": true, "problems": [] })));
    let metrics = listener.get("/metrics").body;
    let of_north: Vec<&str> = metrics.lines().filter(|line| line.contains("9F3C07B2")).collect();
    let silent = "bluenova_battery_silent{battery=\"9F3C07B2\",name=\"north\"} 0";
    assert_eq!(of_north, [silent], "{metrics}");
}

#[test]
fn the_only_battery_without_an_mcu_id_has_the_only_row_without_a_battery() {
    let listener = restarted();
    listener.change(|status| status.batteries[0].mcu_id_announced(NORTH));
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(ids(&answer), [json!("9F3C07B2"), json!("00000BAD")]);
    let south = &answer["batteries"][1];
    assert_eq!((&south["names"], &south["stale"]), (&json!(["south"]), &json!(true)));
}

#[test]
fn a_first_row_that_does_not_come_is_missed_after_three_more_intervals() {
    let listener = restarted();
    let pass = |seconds| {
        listener.change(|status| {
            status.now += Duration::from_secs(seconds);
            status.instant += Duration::from_secs(seconds);
        });
        listener.json("/healthz")
    };
    // 7 s until the interval ends, and 30 s more.
    assert_eq!(pass(37).0, 200);
    assert_eq!(listener.json("/api/batteries").1["batteries"][0]["first_row_due_in_s"], 0.0);
    let problems = [
        "north: no data yet, though it is connected",
        "south: no data yet, though it is connected",
    ];
    assert_eq!(pass(1), (503, json!({ "ok": false, "problems": problems })));
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(answer["batteries"][0]["first_row_due_in_s"], Value::Null);
    assert_eq!(answer["batteries"].as_array().unwrap().len(), 4, "rows without a battery");
}

#[test]
fn rows_to_be_delivered_are_counted() {
    let listener = Listener::start();
    listener.change(|status| status.delivery.as_mut().unwrap().set_aside = Some(2));
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(answer["storage"]["set_aside"], 2);
    let delivery = &answer["storage"]["delivery"];
    assert_eq!((&delivery["delivered"], &delivery["waiting"]), (&json!(7), &json!(1)));
}

/// Checks that health, JSON and metrics have the same problems after `change`; the page shows those
/// of the JSON.
#[track_caller]
fn check_problems(change: impl FnOnce(&mut Status), expected: &[&str], metric: &str) {
    let listener = Listener::start();
    listener.change(change);
    let ok = expected.is_empty();
    let health = json!({ "ok": ok, "problems": expected });
    assert_eq!(listener.json("/healthz"), (if ok { 200 } else { 503 }, health));
    assert_eq!(listener.json("/api/batteries").1["problems"], json!(expected));
    let metrics = listener.get("/metrics").body;
    for line in [metric, &format!("bluenova_problems {}", expected.len())] {
        assert!(metrics.lines().any(|there| there == line), "{line} is missing in\n{metrics}");
    }
}

/// The battery sends other values than before, for three seconds.
fn north_sends(change: impl Fn(&mut PackRecord)) -> impl FnOnce(&mut Status) {
    move |status| {
        let (north, now) = (&mut status.batteries[0], status.instant);
        let mut row = record(NORTH);
        change(&mut row);
        send_for_3_s(north, &row, now);
    }
}

#[test]
fn all_answers_have_the_same_problems() {
    check_problems(|_| (), &[], "bluenova_errors_present{battery=\"9F3C07B2\",name=\"north\"} 0");
    for none in ["", "NONE", "None"] {
        let errors = "bluenova_errors_present{battery=\"9F3C07B2\",name=\"north\"} 0";
        check_problems(north_sends(|row| row.errors = Some(Text::new(none))), &[], errors);
    }
    check_problems(
        north_sends(|row| row.errors = Some(Text::new("OVERVOLTAGE\u{7}"))),
        &["north says: OVERVOLTAGE\\u{7}"],
        "bluenova_errors_present{battery=\"9F3C07B2\",name=\"north\"} 1",
    );
    let is_open = "bluenova_breaker_closed{battery=\"9F3C07B2\",name=\"north\"} 0";
    check_problems(
        north_sends(|row| row.breaker = Some(Text::new("OPEN"))),
        &["north: the breaker is OPEN"],
        is_open,
    );
    // Garbled in one row, which is what the metric is of.
    let garbled = PackRecord { breaker: Some(Text::new("CLOS")), ..record(NORTH) };
    let once = |status: &mut Status| status.batteries[0].row_known(&garbled, status.instant);
    check_problems(once, &[], is_open);
    check_problems(
        north_sends(|row| (row.breaker, row.errors) = (None, None)),
        &[],
        "bluenova_connected{name=\"north\"} 1",
    );
    let set_aside = |count| {
        move |status: &mut Status| status.delivery.as_mut().unwrap().set_aside = Some(count)
    };
    let how = "set aside, since the database rejected them: `bluenovalistener set-aside` lists and \
               retries them";
    let (one, many) = (format!("1 row is {how}"), format!("2 rows are {how}"));
    check_problems(set_aside(1), &[&one], "bluenova_rows_set_aside 1");
    check_problems(set_aside(2), &[&many], "bluenova_rows_set_aside 2");
    let retried =
        |count| move |status: &mut Status| status.delivery.as_mut().unwrap().retried = Some(count);
    let waits = "1 row is waiting for a partition of the table, and retried: `bluenovalistener \
                 set-aside` lists them";
    check_problems(retried(0), &[], "bluenova_rows_retried 0");
    check_problems(retried(1), &[waits], "bluenova_rows_retried 1");
}

#[test]
fn errors_of_an_old_row_may_be_over() {
    check_problems(
        |status| {
            north_sends(|row| {
                row.errors = Some(Text::new("OVERVOLTAGE"));
                row.insert_time_utc -= Duration::from_secs(60);
            })(status);
        },
        &["north: no data for 1 min 4 s, though it is connected"],
        "bluenova_connected{name=\"north\"} 1",
    );
}

#[test]
fn a_battery_under_two_addresses_has_its_errors_once() {
    check_problems(
        |status| {
            north_sends(|row| row.errors = Some(Text::new("OVERVOLTAGE")))(status);
            status.batteries[1].newest = status.batteries[0].newest.clone();
        },
        &["north = south says: OVERVOLTAGE"],
        "bluenova_errors_present{battery=\"9F3C07B2\",name=\"north = south\"} 1",
    );
}

#[test]
fn health() {
    let listener = Listener::start();
    assert_eq!(listener.json("/healthz"), (200, json!({ "ok": true, "problems": [] })));

    // One rule for all: older than three intervals.
    listener.set_age(0, 30_000);
    listener.change(|status| wait_for_delivery(status, 30));
    assert_eq!(listener.json("/healthz").0, 200);

    listener.set_age(0, 31_000);
    listener.change(|status| {
        status.batteries[1].newest = None;
        wait_for_delivery(status, 7_265);
        status.delivery.as_mut().unwrap().trouble = Some("connection refused".into());
        status.storage.only_in_memory = 3;
        status.storage.trouble = Some("disk full".into());
    });
    let problems = [
        "north: no data for 31 s, though it is connected",
        "south: no data yet, though it is connected",
        "3 rows are in memory only: disk full",
        "homeauto at localhost: has taken no row for 2 h 1 min: connection refused",
    ];
    assert_eq!(listener.json("/healthz"), (503, json!({ "ok": false, "problems": problems })));
}

/// Has a row waited for so many seconds.
fn wait_for_delivery(status: &mut Status, seconds: u64) {
    let arrival = status.instant.checked_sub(Duration::from_secs(seconds)).unwrap();
    let mut delivery = DeliveryStatus::new("homeauto at localhost".into());
    delivery.rows_arrived(1, arrival);
    status.delivery = Some(delivery);
}

#[test]
fn markup_from_a_battery_stays_text() {
    let listener = Listener::start();
    let markup = "</script><img onerror=x>\"&\u{7}";
    listener.change(|status| {
        status.batteries[0].newest.as_mut().unwrap().record.errors = Some(Text::new(markup));
    });
    let (_, answer) = listener.json("/api/batteries");
    assert_eq!(answer["batteries"][0]["latest"]["errors"], markup);
    let head = listener.get("/api/batteries").head;
    assert!(head.contains("X-Content-Type-Options: nosniff"), "{head}");
}

#[test]
fn what_is_not_there() {
    let listener = Listener::start();
    for target in ["/nothing", "/api", "/api/batteries/", "/metrics/", "/api/batteries/x/y"] {
        let (code, answer) = listener.json(target);
        assert_eq!(code, 404, "{target}");
        assert!(answer["error"].as_str().unwrap().contains(target), "{answer}");
    }
}

#[test]
fn the_history_of_a_battery() {
    let mut listener = Listener::start();
    listener.journal.append(&[record(NORTH)]).unwrap();
    let asked = "/api/batteries/9f3c07b2/history?from=2026-11-22T20:00:00%2B00:00&columns=v_pack";
    let (code, answer) = listener.json(asked);
    assert_eq!((code, &answer["battery"]), (200, &json!("9F3C07B2")));
    assert_eq!(answer["v_pack"], json!({ "min": [53.017], "max": [53.017] }));
    // South is known, but has no row yet.
    let (code, answer) = listener.json("/api/batteries/BAD/history");
    assert_eq!((code, &answer["time"]), (200, &json!([])));

    let (code, answer) = listener.json("/api/batteries/9F3C07B2/plots?range=1h&width=300");
    let plots = answer["plots"].as_array().unwrap();
    let ids: Vec<_> = plots.iter().map(|plot| plot["id"].as_str().unwrap()).collect();
    assert_eq!((code, &ids[..]), (200, &["pack", "cells", "spread", "temperatures"][..]));
}

#[test]
fn wrong_requests_are_explained() {
    let listener = Listener::start();
    for (target, code, start) in [
        ("/api/batteries/9F3C07B2/history?points=0", 400, "points: a whole number from 1 to 10000"),
        ("/api/batteries/9F3C07B2/plots?range=2h", 400, "range: one of 1h, 6h, 24h, 7d"),
        ("/api/batteries/9F3C07B2/plots?rang=1h", 400, "rang: not a parameter here"),
        ("/api/batteries/12345678A/plots", 404, "12345678A is neither the name of a battery nor"),
        ("/api/batteries/+1/plots", 404, "+1 is neither the name of a battery nor an MCU ID"),
        ("/api/batteries//plots", 404, " is neither the name"),
        ("/api/batteries/west", 404, "west is neither the name"),
        ("/api/batteries/77", 404, "77 is a battery without any row"),
        ("/api/batteries/north/days?from=yesterday", 400, "from: a date like 2026-11-22 is all"),
        ("/api/batteries/north/days?from=2026-11-22&to=2026-11-21", 400, "from: a date no later"),
        ("/api/batteries/1/history", 404, "1 is a battery without any row"),
    ] {
        let (status, answer) = listener.json(target);
        assert_eq!(status, code, "{target}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.starts_with(start), "{target}: {error}");
    }
}

#[test]
fn without_a_journal_there_is_no_history_but_a_status() {
    let listener = Listener::start();
    listener.change(|status| status.storage.journal = "/nowhere/journal".into());
    let (code, answer) = listener.json("/api/batteries/9F3C07B2/history");
    assert_eq!(code, 500);
    assert!(answer["error"].as_str().unwrap().contains("/nowhere/journal"), "{answer}");
    assert_eq!(listener.json("/api/batteries").1["bank"]["fresh"], 2);
    assert_eq!(listener.get("/metrics").status, 200);
}

/// A journal that hangs when it is read holds up all history requests.
#[test]
fn queued_history_requests_leave_connections_for_others() {
    let listener = Listener::start();
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    fs::write(&journal, [b'x'; 1024]).unwrap();
    // Whoever opens it waits for somebody who writes to it.
    let pipe = directory.path().join("journal.lock");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    listener.change(|status| status.storage.journal.clone_from(&journal));
    let (sender, statuses) = mpsc::channel();
    let address = listener.address();
    for _ in 0..32 {
        let sender = sender.clone();
        thread::spawn(move || sender.send(get(address, "/api/batteries/9F3C07B2/history").status));
    }
    let next = || statuses.recv_timeout(Duration::from_secs(60)).unwrap();
    for _ in 0..24 {
        assert_eq!(next(), 503);
    }
    assert_eq!(listener.json("/healthz").0, 200);

    let writer = File::options().read(true).write(true).open(&pipe).unwrap();
    fs::remove_file(&pipe).unwrap();
    drop(writer);
    for _ in 0..8 {
        assert_eq!(next(), 500);
    }
}

#[test]
fn a_battery_has_an_address_by_name_and_by_mcu_id() {
    let mut listener = Listener::start();
    listener.journal.append(&[record(NORTH), record(0x77), record(0x78)]).unwrap();
    let by = |name: &str| {
        let (code, answer) = listener.json(&format!("/api/batteries/{name}"));
        assert_eq!((code, &answer["interval_s"]), (200, &json!(10.0)), "{name}: {answer}");
        answer["battery"].clone()
    };
    let (_, all) = listener.json("/api/batteries");
    assert_eq!(by("north"), all["batteries"][0]);
    assert_eq!(by("9f3c07b2"), all["batteries"][0]);
    // One that the journal only has.
    assert_eq!(by("77"), all["batteries"][2]);
    // A name is a name, even if it is an MCU ID too.
    listener.change(|status| status.batteries[0].name = "bad".into());
    assert_eq!(by("bad")["battery"], "9F3C07B2");
    assert_eq!(by("BAD")["battery"], "00000BAD");

    let (code, answer) = listener.json("/api/batteries/bad/history?columns=v_pack&points=1");
    assert_eq!((code, &answer["battery"]), (200, &json!("9F3C07B2")));
    // One that has sent nothing yet has a status, and no history.
    listener.change(|status| status.batteries[1].newest = None);
    assert_eq!(by("south")["battery"], Value::Null);
    let (code, answer) = listener.json("/api/batteries/south/history");
    assert_eq!((code, &answer["error"]), (404, &json!("south has not sent its MCU ID yet")));
    // The page is there for each of them.
    assert_eq!(listener.get("/battery/south").body, listener.get("/").body);
}

#[test]
fn days_are_those_of_the_journal() {
    let mut listener = Listener::start();
    let day = |date: &str, energy: f64| StoredDay {
        mcu_id: NORTH,
        date: date.to_owned(),
        rank: 1,
        text: json!({
            "date": date, "energy_in_wh": energy, "energy_out_wh": 0, "charge_in_ah": 0,
            "charge_out_ah": 0,
        })
        .to_string(),
    };
    let mut days = vec![day("2026-11-19", 1.0), day("2026-11-21", 2.0), day("2026-11-22", 3.0)];
    for (text, date) in [("{", "2026-11-18"), ("null", "2026-11-20"), ("[7]", "2026-11-23")] {
        days.push(StoredDay { text: text.into(), ..day(date, 0.0) });
    }
    listener.journal.put_statistics(&[], &days).unwrap();
    for (query, expected) in [
        ("", &[1.0, 2.0, 3.0][..]),
        ("?from=2026-11-21", &[2.0, 3.0]),
        ("?to=2026-11-21&from=2026-11-20", &[2.0]),
        ("?to=2026-11-18", &[]),
    ] {
        let (code, answer) = listener.json(&format!("/api/batteries/north/days{query}"));
        assert_eq!((code, &answer["battery"]), (200, &json!("9F3C07B2")), "{query}");
        let days = answer["days"].as_array().unwrap();
        let energies: Vec<_> =
            days.iter().map(|day| day["energy_in_wh"].as_f64().unwrap()).collect();
        assert_eq!(energies, expected, "{query}");
    }
}

#[test]
fn days_have_what_was_left_out_when_they_were_stored() {
    let mut listener = Listener::start();
    let text = json!({
        "date": "2026-10-25", "length_s": 90_000, "sampled_s": 9, "soc": [5, 9], "energy_in_wh": 1,
        "energy_out_wh": 2, "charge_in_ah": 3, "charge_out_ah": 4,
    });
    let day =
        StoredDay { mcu_id: NORTH, date: "2026-10-25".to_owned(), rank: 1, text: text.to_string() };
    listener.journal.put_statistics(&[], &[day]).unwrap();
    let mut insight = Insight::new(NORTH);
    let mut sample = PackRecord::new(NOW, NORTH);
    (sample.v_pack, sample.i_pack) = (Some(53.34), Some(0.0));
    insight.sample(&sample, &UtcDays);
    listener.change(|status| status.batteries[0].figures = insight.figures().map(Into::into));

    let (_, days) = listener.json("/api/batteries/north/days");
    let (_, status) = listener.json("/api/batteries");
    let today = &status["batteries"][0]["insight"]["today"];
    for (day, length, sampled) in [(&days["days"][0], 90_000, 9), (today, 86_400, 0)] {
        assert_eq!((&day["length_s"], &day["sampled_s"]), (&json!(length), &json!(sampled)));
        assert_eq!((&day["from_rows_s"], &day["errors"]), (&json!(0), &json!(0)), "{day}");
        assert_eq!(day.get("rest_spread_mv"), Some(&Value::Null), "{day}");
    }
    assert_eq!(days["days"][0]["soc"], json!([5, 9]));
    assert_eq!(today["v_pack"], json!([53.34, 53.34]));
}

/// The names of all fields, but of those that hold columns.
fn names_of_fields(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                names.insert(name.clone());
                if !["latest", "values"].contains(&name.as_str()) {
                    names_of_fields(field, names);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names_of_fields(item, names)),
        _ => {}
    }
}

#[test]
fn every_field_and_metric_is_documented() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");
    let docs = fs::read_to_string(docs).unwrap();
    let quoted = docs.split('`').skip(1).step_by(2);
    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let documented: BTreeSet<_> = quoted.flat_map(|text| text.split(is_end)).collect();

    let listener = Listener::start();
    let mut insight = Insight::new(NORTH);
    let mut sample = PackRecord::new(NOW, NORTH);
    (sample.v_pack, sample.i_pack, sample.soc) = (Some(53.34), Some(-40.0), Some(50));
    sample.cell_v = [Some(3.3); 16];
    for _ in 0..200 {
        insight.sample(&sample, &UtcDays);
        sample.insert_time_utc += time::Duration::SECOND;
    }
    let mut figures = insight.figures().unwrap();
    figures.capacity_ah = Some(Estimate { value: 280.0, plus_minus: 5.0 });
    let weaknesses = [
        CellWeakness::LowCapacity { part_lacking: 0.1 },
        CellWeakness::SelfDischarge { ah_per_week: 1.0 },
        CellWeakness::HighResistance { times_median: 2.0 },
        CellWeakness::LowCharge { ah_lacking: 3.0 },
    ];
    let weak = weaknesses.map(|weakness| WeakCell {
        cell: 1,
        evidence: String::new(),
        weakness,
        days: 10,
    });
    figures.verdict = Verdict::Weak(weak.into());
    assert!(figures.time_to_go.is_some());
    listener.change(|status| status.batteries[0].figures = Some(figures.into()));

    let mut names = BTreeSet::new();
    for target in ["/api/batteries", "/api/batteries?fields=overview", "/api/batteries/north"] {
        names_of_fields(&listener.json(target).1, &mut names);
    }
    let metrics = listener.get("/metrics").body;
    let metrics = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE bluenova_"));
    names.extend(metrics.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
    assert!(names.len() > 120, "{names:?}");
    names.retain(|name| !documented.contains(name.as_str()));
    assert_eq!(names, BTreeSet::new());
}

#[test]
fn trends_are_those_over_the_days() {
    let mut listener = Listener::start();
    let first = Date::from_calendar_date(2026, Month::January, 1).unwrap();
    let day = |n: u16| {
        let date = (first + time::Duration::days(n.into())).to_string();
        let capacity = 200.0 - f64::from(n) * 0.01 + if n.is_multiple_of(2) { 0.1 } else { -0.1 };
        let text = json!({
            "date": date,
            "energy_in_wh": 0, "energy_out_wh": 0, "charge_in_ah": 0, "charge_out_ah": 0,
            "capacity_ah": [capacity, 2.0],
        });
        let text = text.to_string();
        StoredDay { mcu_id: NORTH, date, rank: 1, text }
    };
    let days: Vec<_> = (0..120).map(day).collect();
    listener.journal.put_statistics(&[], &days).unwrap();
    let trends = |query| listener.json(&format!("/api/batteries/north/trends{query}"));
    let (code, answer) = trends("");
    assert_eq!((code, &answer["battery"], &answer["days"]), (200, &json!("9F3C07B2"), &json!(120)));
    let per_year = answer["capacity_ah_per_year"]["value"].as_f64().unwrap();
    assert!((per_year + 3.65).abs() < 0.1, "{per_year}");
    let (_, answer) = trends("?to=2026-02-01");
    assert_eq!((&answer["days"], &answer["capacity_ah_per_year"]), (&json!(32), &Value::Null));
    assert_eq!(trends("?to=today").0, 400);
}

#[test]
fn what_the_samples_say_is_shown_with_its_sums() {
    let listener = Listener::start();
    listener.change(|status| {
        for (battery, amps) in status.batteries.iter_mut().zip([360.0, -36.0]) {
            let mut insight = Insight::new(battery.mcu_id().unwrap());
            for second in 0..=10 {
                let time = NOW - Duration::from_secs(10 - second);
                let mut sample = PackRecord::new(time, insight.mcu_id());
                (sample.v_pack, sample.i_pack) = (Some(50.0), Some(amps));
                insight.sample(&sample, &UtcDays);
            }
            battery.figures = insight.figures().map(Into::into);
        }
    });
    let (_, answer) = listener.json("/api/batteries");
    let wh = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() / 1000.0;
    let insight = &answer["batteries"][0]["insight"];
    assert_eq!(wh(&insight["counters"]["energy_in_wh"]), 50.0);
    assert_eq!(insight["today"]["date"], "2026-11-22");
    assert_eq!(insight["verdict"], json!({ "is": "not_known_yet" }));
    let bank = &answer["bank"];
    assert_eq!(wh(&bank["counters"]["energy_in_wh"]), 50.0);
    assert_eq!(
        (&bank["today"]["date"], wh(&bank["today"]["energy_out_wh"])),
        (&json!("2026-11-22"), 5.0)
    );
}

#[test]
fn values_of_the_interval_under_way_are_beside_the_row() {
    let listener = Listener::start();
    assert_eq!(listener.json("/api/batteries").1["batteries"][0]["under_way"], Value::Null);
    listener.change(|status| {
        let mut values = record(NORTH);
        (values.insert_time_utc, values.i_pack) = (NOW - Duration::from_secs(1), Some(2.0));
        let now = status.instant;
        status.batteries[0].sampled(values, now);
    });
    let north = &listener.json("/api/batteries").1["batteries"][0];
    let under_way = &north["under_way"];
    assert_eq!((&under_way["age_s"], &under_way["power_w"]), (&json!(1.0), &json!(106.0)));
    assert_eq!(under_way["values"]["i_pack"], 2.0);
    assert_eq!((&north["latest"]["i_pack"], &north["power_w"]), (&json!(-41.75), &json!(-2213.5)));
}
