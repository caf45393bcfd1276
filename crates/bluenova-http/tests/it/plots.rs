//! The history as plots.

use std::time::Duration;

use bluenova_http::plots;
use bluenova_journal::{Event, StoredDay};
use bluenova_record::PackRecord;
use serde_json::{Value, json};
use time::macros::utc_datetime;

use crate::rows::{BATTERY, NOW, journal, query, row};
use crate::support::{Listener, NORTH, SOUTH, record};

const INTERVAL: Duration = Duration::from_secs(10);

fn ask(rows: &[PackRecord], parameters: &[(&str, &str)]) -> Value {
    let (_journal, reader) = journal(rows);
    let plots = plots(&reader, BATTERY, &query(parameters), NOW, INTERVAL).unwrap();
    serde_json::to_value(plots).unwrap()
}

/// A row every ten seconds, the last one `NOW`.
fn rows(count: i64) -> Vec<PackRecord> {
    (0..count).rev().map(|n| row(10 * n)).collect()
}

fn plot<'a>(answer: &'a Value, id: &str) -> &'a Value {
    answer["plots"].as_array().unwrap().iter().find(|plot| plot["id"] == id).unwrap()
}

fn series<'a>(answer: &'a Value, id: &str, name: &str) -> &'a Value {
    let series = plot(answer, id)["series"].as_array().unwrap();
    series.iter().find(|series| series["name"] == name).unwrap()
}

fn svg<'a>(answer: &'a Value, id: &str) -> &'a str {
    plot(answer, id)["svg"].as_str().unwrap()
}

/// The points of all lines of a colour, in pixels.
fn lines(svg: &str, colour: &Value) -> Vec<Vec<(f64, f64)>> {
    let stroke = format!("opacity=\"1\" stroke=\"{}\"", colour.as_str().unwrap());
    let lines = svg.lines().filter(|line| line.starts_with("<polyline") && line.contains(&stroke));
    let points = |line: &str| {
        let (_, points) = line.split_once("points=\"").unwrap();
        let pairs = points.split_once('"').unwrap().0.split_whitespace();
        pairs
            .map(|pair| {
                let (x, y) = pair.split_once(',').unwrap();
                (x.parse::<f64>().unwrap() / 4.0, y.parse::<f64>().unwrap() / 4.0)
            })
            .collect()
    };
    lines.map(points).collect()
}

fn texts(svg: &str) -> Vec<&str> {
    let mut lines = svg.lines();
    let mut texts = vec![];
    while let Some(line) = lines.next() {
        if line.starts_with("<text") {
            texts.extend(lines.next());
        }
    }
    texts
}

#[test]
fn there_are_four_with_their_values() {
    // With room for each row.
    let answer = ask(&rows(360), &[("range", "1h"), ("width", "1200")]);
    assert_eq!(answer["battery"], "9F3C07B2");
    assert_eq!(answer["from"], "2026-11-22T19:00:03Z");
    assert_eq!(answer["to"], "2026-11-22T20:00:03Z");
    let ids: Vec<_> = answer["plots"].as_array().unwrap().iter().map(|plot| &plot["id"]).collect();
    assert_eq!(ids, ["pack", "cells", "spread", "temperatures"]);

    let times = answer["times"].as_array().unwrap();
    assert_eq!(
        times.last().unwrap(),
        &json!(utc_datetime!(2026-11-22 20:00).unix_timestamp() * 1000)
    );
    for plot in answer["plots"].as_array().unwrap() {
        for series in plot["series"].as_array().unwrap() {
            for which in ["low", "high"] {
                let values = series[which].as_array().unwrap();
                assert_eq!(values.len(), times.len());
                assert!(values.iter().all(Value::is_number));
            }
        }
    }
    for (id, name, low, high, unit) in [
        ("pack", "pack voltage", 53.017, 53.017, "V"),
        ("pack", "current", -41.75, -41.75, "A"),
        ("pack", "state of charge", 63.0, 63.0, "%"),
        ("cells", "cell 16", 3.33, 3.33, "V"),
        ("cells", "current", -41.75, -41.75, "A"),
        ("spread", "lowest to highest cell", 3.3, 3.33, "V"),
        ("spread", "spread", 30.0, 30.0, "mV"),
        ("temperatures", "cell 1", 20.0, 20.0, "°C"),
        ("temperatures", "pack", 24.0, 24.0, "°C"),
    ] {
        let series = series(&answer, id, name);
        let value = |which: &str| series[which][0].as_f64().unwrap() as f32;
        assert_eq!((value("low"), value("high")), (low, high), "{name}");
        assert_eq!(series["unit"], unit, "{name}");
    }
}

#[test]
fn the_end_of_the_axis_is_now_whatever_rows_there_are() {
    let answer = ask(&[row(1800)], &[("range", "1h"), ("width", "914")]);
    let (time, voltage) = (&answer["times"][0], series(&answer, "pack", "pack voltage"));
    assert_eq!(time, &json!(utc_datetime!(2026-11-22 19:30).unix_timestamp() * 1000));
    assert_eq!(voltage["low"], json!([53.017_f32]));
    // A single row is a dot, half-way but for the three seconds that now is later.
    let colour = voltage["colour"].as_str().unwrap();
    let svg = svg(&answer, "pack");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"914\" "), "{svg}");
    let dot =
        svg.lines().find(|line| line.starts_with("<circle") && line.contains(colour)).unwrap();
    let x: f64 = dot.split('"').nth(1).unwrap().parse().unwrap();
    let area = &plot(&answer, "pack")["area"];
    let (left, right) = (area["left"].as_f64().unwrap(), area["right"].as_f64().unwrap());
    let expected = left + (right - left) * (1800.0 - 3.0) / 3600.0;
    assert!((x / 4.0 - expected).abs() < 0.5, "{x} in {area}");
    assert_eq!(right, 914.0 - 60.0);
}

#[test]
fn a_peak_of_one_row_is_as_high_in_the_narrowest_plot_of_a_week() {
    let mut rows: Vec<_> = (0..7 * 24 * 60).rev().map(|n| row(60 * n)).collect();
    rows[4567].i_pack = Some(99.0);
    rows[4567].cell_v[3] = Some(3.55);
    let (_journal, reader) = journal(&rows);
    let parameters = query(&[("range", "7d"), ("width", "280")]);
    let answer = plots(&reader, BATTERY, &parameters, NOW, 6 * INTERVAL).unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    assert!(answer["times"].as_array().unwrap().len() <= 85);
    for (id, name, peak) in [("pack", "current", 99.0), ("cells", "cell 4", 3.55)] {
        let series = series(&answer, id, name);
        let highest = series["high"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32);
        assert_eq!(highest.fold(f32::MIN, f32::max), peak);
        let lines = lines(svg(&answer, id), &series["colour"]);
        let heights: Vec<_> = lines.iter().flatten().map(|(_, y)| *y).collect();
        let above = heights.iter().filter(|y| **y < heights[0] - 50.0).count();
        assert_eq!(above, 1, "{name}: {heights:?}");
    }
}

#[test]
fn a_gap_is_a_gap() {
    let mut rows = rows(360);
    // 40 s without a row; 30 s would do.
    rows.drain(100..103);
    rows.drain(200..202);
    // No voltage for five minutes but for a single value.
    for (i, row) in rows.iter_mut().enumerate().filter(|(i, _)| (250..280).contains(i)) {
        row.v_pack = row.v_pack.filter(|_| i == 265);
    }
    let answer = ask(&rows, &[("range", "1h"), ("width", "1200")]);
    for (name, expected) in [("current", 2), ("pack voltage", 3)] {
        let series = series(&answer, "pack", name);
        let lines = lines(svg(&answer, "pack"), &series["colour"]);
        assert_eq!(lines.len(), expected, "{name}");
        let gap = lines[1][0].0 - lines[0].last().unwrap().0;
        let ten_seconds = (1200.0 - 58.0 - 60.0) / 360.0;
        assert!((gap - 4.0 * ten_seconds).abs() < 0.5, "{gap} pixels");
    }
    let voltage = series(&answer, "pack", "pack voltage");
    assert_eq!(
        &voltage["low"].as_array().unwrap()[264..267],
        [json!(null), json!(53.017_f32), json!(null)]
    );
    let dots = svg(&answer, "pack").matches("<circle").count();
    assert_eq!(dots, 1);
    assert_eq!(svg(&answer, "spread").matches("<polygon").count(), 2);
}

#[test]
fn rows_of_a_longer_interval_before_a_restart_are_no_gaps() {
    let rows: Vec<_> = (0..60).rev().map(|n| row(60 * n)).collect();
    let (mut journal, reader) = journal(&rows);
    let curves = |reader: &_| {
        let plots = plots(reader, BATTERY, &query(&[("range", "1h")]), NOW, INTERVAL).unwrap();
        let answer = serde_json::to_value(plots).unwrap();
        let colour = &series(&answer, "pack", "current")["colour"];
        lines(svg(&answer, "pack"), colour).len()
    };
    assert_eq!(curves(&reader), 0, "values without a line");
    // The listener before had a row in a minute.
    for (hours_ago, interval) in [(5, 600), (3, 60)] {
        let since = NOW - time::Duration::hours(hours_ago);
        let started = Event::started(since, "0.1.0", Duration::from_secs(interval));
        journal.put_events(&[started]).unwrap();
    }
    journal.put_events(&[Event::started(NOW, "0.1.0", INTERVAL)]).unwrap();
    assert_eq!(curves(&reader), 1);
    let hour = NOW - time::Duration::HOUR..NOW;
    assert_eq!(reader.longest_interval(&hour).unwrap(), Some(Duration::from_secs(60)));
}

#[test]
fn rows_of_a_longer_interval_have_a_line_where_they_are_as_close_as_pixels() {
    // One a minute, as of an earlier run; in a day a bucket has three of them or more.
    let rows: Vec<_> = (0..24 * 60).rev().map(|n| row(60 * n)).collect();
    let answer = ask(&rows, &[("range", "24h")]);
    let colour = &series(&answer, "pack", "pack voltage")["colour"];
    assert_eq!(lines(svg(&answer, "pack"), colour).len(), 1);
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut rows = rows(30);
    for row in &mut rows {
        row.cell_v[8..].fill(None);
        row.cell_t.fill(None);
        row.i_pack = None;
        row.v_cell_min = None;
        row.v_pack = Some(f32::NAN);
    }
    let answer = ask(&rows, &[("range", "1h")]);
    let names = |id| -> Vec<&str> {
        let series = plot(&answer, id)["series"].as_array().unwrap();
        series.iter().map(|series| series["name"].as_str().unwrap()).collect()
    };
    assert_eq!(names("pack"), ["state of charge"]);
    assert_eq!(names("cells").len(), 8);
    assert_eq!(names("temperatures"), ["pack"]);
    // The cells stand in for the lowest one.
    assert_eq!(series(&answer, "spread", "spread")["high"][0], json!(30.0));
    assert_eq!(texts(svg(&answer, "cells"))[..2], ["cell 1", "cell 8"]);
    assert_eq!(texts(svg(&answer, "pack")).iter().filter(|text| **text == "no data").count(), 1);
}

#[test]
fn one_of_two_values_is_data() {
    let mut rows = rows(30);
    for row in &mut rows {
        row.v_pack = None;
    }
    let answer = ask(&rows, &[("range", "1h")]);
    assert!(!texts(svg(&answer, "pack")).contains(&"no data"));
}

#[test]
fn an_empty_journal_has_plots_without_data() {
    for (range, _) in [("1h", 0), ("6h", 0), ("24h", 0), ("7d", 0)] {
        let answer = ask(&[], &[("range", range)]);
        assert_eq!(answer["times"], json!([]));
        for plot in answer["plots"].as_array().unwrap() {
            assert_eq!(plot["series"], json!([]));
            let svg = plot["svg"].as_str().unwrap();
            assert!(texts(svg).contains(&"no data"), "{svg}");
            assert!(!svg.contains("NaN"));
        }
    }
}

#[test]
fn days_begin_at_local_midnight_over_a_change_of_the_clocks() {
    let now = utc_datetime!(2026-10-27 12:00);
    let (_journal, reader) = journal(&[]);
    let parameters = query(&[("range", "7d"), ("zone", "Europe/Berlin"), ("width", "700")]);
    let answer = plots(&reader, BATTERY, &parameters, now, INTERVAL).unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    let texts = texts(svg(&answer, "pack"));
    let days: Vec<_> = texts.iter().filter(|text| text.ends_with(" Oct")).collect();
    assert_eq!(
        days,
        ["21 Oct", "22 Oct", "23 Oct", "24 Oct", "25 Oct", "26 Oct", "27 Oct"]
            .iter()
            .collect::<Vec<_>>()
    );
    assert!(texts.contains(&"Europe/Berlin (CEST, then CET)"), "{texts:?}");
}

#[test]
fn an_unknown_zone_is_replaced_by_one_that_is_named() {
    let names = |zone| {
        let answer = ask(&[], &[("zone", zone)]);
        // What follows the legend's two entries.
        texts(svg(&answer, "spread"))[2].to_owned()
    };
    assert_eq!(names("Asia/Kathmandu"), "Asia/Kathmandu (+0545)");
    assert_eq!(names("UTC"), "UTC");
    let here = names("Mars/Olympus");
    for zone in ["", "../../etc/passwd", "</text><script>", "Etc/Unknown", &"x".repeat(10_000)] {
        assert_eq!(names(zone), here, "{zone}");
    }
}

#[test]
fn plots_fit_any_width_on_light_and_dark_background() {
    let rows = rows(100);
    for theme in ["light", "dark"] {
        for width in ["280", "281", "500", "2000"] {
            let answer = ask(&rows, &[("range", "1h"), ("theme", theme), ("width", width)]);
            let end: f64 = width.parse().unwrap();
            for plot in answer["plots"].as_array().unwrap() {
                let area = &plot["area"];
                let [left, top, right, bottom] =
                    ["left", "top", "right", "bottom"].map(|side| area[side].as_f64().unwrap());
                assert!(0.0 < left && left < right && right < end, "{area}");
                assert!(0.0 < top && top + 100.0 < bottom, "{area}");
                let svg = plot["svg"].as_str().unwrap();
                let sizes = svg.split("font-size=\"").skip(1);
                for size in sizes.map(|rest| rest.split('"').next().unwrap()) {
                    assert!(size.parse::<f64>().unwrap() / 4.0 >= 11.0, "{size}");
                }
                assert!(!svg.contains("style="), "the page's policy refuses that");
            }
        }
    }
    let colour = |theme| {
        let answer = ask(&rows, &[("theme", theme)]);
        series(&answer, "pack", "current")["colour"].to_string()
    };
    assert_ne!(colour("light"), colour("dark"));
}

/// Whatever is beyond the edges of an SVG is invisible.
#[test]
fn labels_of_the_axes_are_in_the_picture() {
    for (most, step) in [(-16.5_f32, 0.25_f32), (1.0, 0.1), (-3.0, 0.0), (-160.0, 3.5)] {
        let mut rows = rows(60);
        for (row, i) in rows.iter_mut().zip(0_u8..) {
            row.i_pack = Some(most + step * f32::from(i));
            row.v_cell_max = Some(3.3 + f32::from(i) / 4000.0);
        }
        let answer = ask(&rows, &[("range", "1h"), ("width", "400")]);
        for plot in answer["plots"].as_array().unwrap() {
            let (area, svg) = (&plot["area"], plot["svg"].as_str().unwrap());
            let right = area["right"].as_f64().unwrap();
            let mut lines = svg.lines();
            while let Some(line) = lines.next() {
                let Some((_, x)) = line.split_once("<text x=\"") else { continue };
                let x = x.split('"').next().unwrap().parse::<f64>().unwrap() / 4.0;
                let label = lines.next().unwrap();
                if x <= right || label.starts_with(char::is_alphabetic) {
                    continue;
                }
                // Twelve pixels high, and about as wide as in wide fonts.
                let width = 12.0 * 0.62 * label.chars().count() as f64;
                let is_end = line.contains("text-anchor=\"end\"");
                let (from, to) = if is_end { (x - width, x) } else { (x, x + width) };
                assert!(
                    right + 3.0 < from && to <= 400.0,
                    "{label} from {from} to {to}, after {right}"
                );
            }
        }
    }
}

#[test]
fn there_are_plots_of_whatever_numbers_a_battery_sends() {
    let mut rows = rows(60);
    let numbers = [f32::MAX, f32::MIN, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE, -0.0];
    for (row, number) in rows.iter_mut().zip(numbers.iter().cycle()) {
        row.v_pack = Some(*number);
        row.i_pack = Some(*number);
        row.cell_v = [Some(*number); 16];
        row.v_cell_min = Some(*number);
        row.soc = Some(i16::MIN);
        row.temp = Some(i16::MAX);
    }
    let answer = ask(&rows, &[("range", "1h")]);
    assert_eq!(series(&answer, "pack", "current")["high"][0], json!(f32::MAX));
}

#[test]
fn wrong_parameters_are_explained() {
    let (_journal, reader) = journal(&[]);
    for (name, value, expected) in [
        ("range", "2h", "range: one of 1h, 6h, 24h, 7d, 30d, all is allowed, not \"2h\""),
        ("range", "", "range: one of 1h, 6h, 24h, 7d, 30d, all is allowed, not \"\""),
        ("width", "279", "width: a whole number from 280 to 2000 is allowed, not \"279\""),
        ("width", "2001", "width: a whole number from 280 to 2000 is allowed, not \"2001\""),
        ("width", "wide", "width: a whole number from 280 to 2000 is allowed, not \"wide\""),
        ("theme", "pink", "theme: one of light, dark is allowed, not \"pink\""),
        (
            "to",
            "1970-01-01T00:00:00Z",
            "to: a time after 1970-01-01T00:00:00Z is allowed, not \
          \"1970-01-01T00:00:00Z\"",
        ),
        ("points", "9", "points: not a parameter here; range, from, to, width, theme, zone are"),
    ] {
        let error = plots(&reader, BATTERY, &query(&[(name, value)]), NOW, INTERVAL).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.http_status()), (expected, 400));
    }
}

#[test]
fn any_time_has_plots() {
    let rows: Vec<_> = (0..40).rev().map(|day| row(day * 86_400)).collect();
    let (from, to) = ("2026-11-01T00:00:00+01:00", "2026-11-03T12:00:00Z");
    let answer = ask(&rows, &[("from", from), ("to", to)]);
    assert_eq!(answer["from"], "2026-10-31T23:00:00Z");
    assert_eq!(answer["to"], to);
    assert_eq!(answer["times"].as_array().unwrap().len(), 2);
    assert_eq!(answer["kept_from"], "2026-10-14T20:00:00Z");
    for (range, count) in [("30d", 30), ("all", 40)] {
        let answer = ask(&rows, &[("range", range)]);
        assert_eq!(answer["times"].as_array().unwrap().len(), count, "{range}");
    }
    let both =
        plots(&journal(&[]).1, BATTERY, &query(&[("range", "1h"), ("to", to)]), NOW, INTERVAL);
    assert_eq!(both.unwrap_err().to_string(), "range: not along with `from` or `to`");
}

/// A day as it is stored, of this date.
fn day(date: &str, watt_hours: u32) -> StoredDay {
    let cells: Vec<_> = (0..16).map(|cell| f64::from(cell) - 7.5).collect();
    let text = json!({
        "date": date, "sampled_s": 86_400, "energy_in_wh": watt_hours, "energy_out_wh": 1000,
        "charge_in_ah": 20, "charge_out_ah": 20, "soc": [20, 90], "spread_mv": [3, 40],
        "temp": [12, 19], "cells": { "rest_mv": cells },
    });
    StoredDay { mcu_id: NORTH, date: date.into(), rank: 1, text: text.to_string() }
}

fn ids(answer: &Value) -> Vec<&str> {
    let plots = answer["plots"].as_array().unwrap().iter();
    plots.map(|plot| plot["id"].as_str().unwrap()).collect()
}

const OF_ROWS: [&str; 4] = ["pack", "cells", "spread", "temperatures"];

#[test]
fn weeks_have_plots_of_the_days_and_years_only_those() {
    let mut listener = Listener::start();
    let days = [("2025-12-24", 9000), ("2026-11-19", 2000), ("2026-11-20", 4000)];
    let days = days.map(|(date, watt_hours)| day(date, watt_hours));
    listener.journal.put_statistics(&[], &days).unwrap();
    let ask =
        |of: &str| listener.json(&format!("/api/batteries/north/plots?zone=Asia/Kathmandu&{of}")).1;
    assert_eq!(ids(&ask("range=24h")), OF_ROWS);

    let week = ask("range=7d");
    assert_eq!(ids(&week), [&OF_ROWS[..], &["at-rest", "energy"]].concat());
    let energy = plot(&week, "energy");
    assert_eq!(energy["title"], "Energy by day, kWh");
    let charged = &series(&week, "energy", "charged");
    assert_eq!((&charged["low"], &charged["unit"]), (&json!([2.0, 4.0]), &json!("kWh")));
    // From midnight to midnight there, with the values at noon.
    let hours = |time: &Value| (time.as_i64().unwrap() - 1_763_000_000_000) / 3_600_000;
    let days = &energy["days"];
    assert_eq!(hours(&days["to"]) - hours(&days["from"]), 8 * 24, "{days}");
    assert_eq!(days["times"][0], json!(utc_datetime!(2026-11-19 06:15).unix_timestamp() * 1000));

    let year = ask("range=all");
    assert_eq!(ids(&year), ["at-rest", "energy", "soc", "spread", "temperature"]);
    assert_eq!(year["from"], "2025-12-24T00:00:00Z");
    assert_eq!(year["times"], json!([]));
    assert_eq!(
        series(&year, "soc", "lowest to highest of the day")["high"],
        json!([90.0, 90.0, 90.0])
    );
}

/// A damaged day costs itself at most: the others have their answers.
#[test]
fn damaged_days_break_no_answer() {
    let whole = |date: &str| serde_json::from_str::<Value>(&day(date, 2000).text).unwrap();
    let wrong_numbers = [json!(1e308), json!(-1e308), json!(i64::MAX), json!(-1)];
    let wrong = wrong_numbers.into_iter().chain([json!(null), json!("?"), json!([]), json!({})]);
    let extremes = [json!([1e308, -1e308]), json!([-1e308, 1e308]), json!([9, 1]), json!([1])];
    let cells = [json!({ "rest_mv": vec![1e308; 17] }), json!({ "mohm": [null, -1e308, 0] })];
    let mut damaged = vec![json!(null), json!([]), json!("2026-11-19")];
    let mut damage = |name: &str, value: Value| {
        let mut text = whole("2026-11-19");
        text[name] = value;
        damaged.push(text);
    };
    for value in wrong {
        for name in ["date", "length_s", "sampled_s", "energy_in_wh", "capacity_ah", "soc"] {
            damage(name, value.clone());
        }
    }
    for (value, name) in extremes.into_iter().zip(["soc", "spread_mv", "temp", "cell_v"]) {
        damage(name, value);
    }
    cells.into_iter().for_each(|value| damage("cells", value));
    for date in ["-9999-01-01", "9999-12-31", "0000-01-01", "2026-02-30"] {
        damage("date", date.into());
    }

    let mut listener = Listener::start();
    listener.journal.put_statistics(&[], &[day("2026-11-18", 2000)]).unwrap();
    for (n, text) in (2..).zip(damaged) {
        // A later version of the same day has a higher rank.
        let text = text.to_string();
        let stored = StoredDay { rank: n, text: text.clone(), ..day("2026-11-19", 0) };
        listener.journal.put_statistics(&[], &[stored]).unwrap();
        let parts = ["days", "trends", "plots?range=30d&zone=UTC", "plots?range=all&zone=UTC"];
        for part in parts {
            let (code, answer) = listener.json(&format!("/api/batteries/north/{part}"));
            assert_eq!(code, 200, "{part} with {text}: {answer}");
            for drawing in answer["plots"].as_array().into_iter().flatten() {
                let svg = drawing["svg"].as_str().unwrap();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{part} with {text}: {svg}");
            }
        }
        let days = listener.json("/api/batteries/north/days").1;
        assert_eq!(days["days"][0]["date"], "2026-11-18", "{text}");
    }
}

/// Rows of both batteries, the newest at 20:00.
fn of_both(count: i64) -> Vec<PackRecord> {
    let row = |mcu_id, ago, soc| {
        let mut row = record(mcu_id);
        row.insert_time_utc -= time::Duration::seconds(10 * ago);
        (row.v_pack, row.i_pack, row.soc) = (Some(50.0), Some(2.0), Some(soc));
        (row.cell_count, row.health) = (Some(16), Some(100.0));
        row
    };
    (0..count).rev().flat_map(|ago| [row(NORTH, ago, 20), row(SOUTH, ago, 40)]).collect()
}

#[test]
fn batteries_are_compared_in_one_plot() {
    let mut listener = Listener::start();
    listener.journal.append(&of_both(60)).unwrap();
    for (value, north, south) in
        [("soc", 20.0, 40.0), ("power", 100.0, 100.0), ("voltage", 50.0, 50.0)]
    {
        let target =
            format!("/api/plots?batteries=south,9F3C07B2&value={value}&range=1h&width=1200");
        let (status, answer) = listener.json(&target);
        assert_eq!((status, ids(&answer)), (200, vec![value]));
        assert_eq!(answer["batteries"], json!(["00000BAD", "9F3C07B2"]));
        assert_eq!(answer["times"].as_array().unwrap().len(), 60);
        let (of_north, of_south) =
            (series(&answer, value, "north"), series(&answer, value, "south"));
        assert_eq!((&of_north["low"][7], &of_south["high"][7]), (&json!(north), &json!(south)));
        assert_ne!(of_north["colour"], of_south["colour"]);
    }
    for (target, error) in [
        ("/api/plots", "batteries: names or MCU IDs with commas between them are needed"),
        ("/api/plots?batteries=", "batteries:  is no battery, or has not sent its MCU ID yet"),
        ("/api/plots?batteries=north,9F3C07B2", "batteries: 9F3C07B2 is given twice"),
        ("/api/plots?batteries=1,2,3,4,5,6,7,8,9", "batteries: 8 at most, not 9"),
        (
            "/api/plots?batteries=north&from=2025-01-01T00:00:00Z",
            "from: so many rows would take too long; ask for 86 days at most",
        ),
    ] {
        let (status, answer) = listener.json(target);
        assert_eq!((status, answer["error"].as_str().unwrap()), (400, error));
    }
}

/// Of many batteries the rows of one are looked up, and so a longer time is allowed.
#[test]
fn one_of_many_batteries_may_be_shown_for_longer_than_all() {
    let mut listener = Listener::start();
    let row = |id| PackRecord { mcu_id: id, ..record(NORTH) };
    listener.journal.append(&Vec::from_iter((0..1000).map(row))).unwrap();
    let of = |target: &str| listener.json(&format!("{target}from=2026-11-19T00:00:00Z")).0;
    assert_eq!((of("/api/plots?batteries=7&"), of("/api/bank/plots?")), (200, 400));
    let eight = "/api/plots?batteries=7,8,9,10,11,12,13,14&range=7d";
    let (status, answer) = listener.json(eight);
    let error = "range: so many rows would take too long; ask for 23 hours at most";
    assert_eq!((status, answer["error"].as_str().unwrap()), (400, error));
}

#[test]
fn the_bank_is_the_sum_of_the_batteries_that_report() {
    let mut listener = Listener::start();
    let mut rows = of_both(90);
    let values = |listener: &Listener, name: &str| -> Vec<f64> {
        let (status, answer) = listener.json("/api/bank/plots?range=1h&width=1200");
        assert_eq!(status, 200, "{answer}");
        let series = series(&answer, "bank", name)["low"].as_array().unwrap();
        series.iter().map(|value| value.as_f64().unwrap()).collect()
    };
    // South says nothing in the last ten minutes but one.
    rows.retain(|row| row.mcu_id == NORTH || row.insert_time_utc < utc_datetime!(2026-11-22 19:50));
    listener.journal.append(&rows).unwrap();
    let power = values(&listener, "power of all");
    assert_eq!((power[0], *power.last().unwrap()), (200.0, 100.0));
    let charge = values(&listener, "state of charge");
    assert_eq!((charge[0], *charge.last().unwrap()), (30.0, 20.0));
    let reporting = values(&listener, "batteries reporting");
    assert_eq!((reporting[0], *reporting.last().unwrap()), (2.0, 1.0));
    assert_eq!(reporting.iter().filter(|count| **count == 2.0).count(), 10);
}
