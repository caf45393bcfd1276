//! The rows as CSV.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use bluenova_journal::StoredDay;
use bluenova_record::PackRecord;
use bluenova_test_support::TIME_LIMIT;
use time::Duration;

use crate::support::{Listener, NORTH, SOUTH, record};

/// Rows of a battery, ten seconds apart, the last one at 20:00.
fn rows(mcu_id: u32, count: u32) -> Vec<PackRecord> {
    let row = |ago| {
        let mut row = record(mcu_id);
        row.insert_time_utc -= Duration::seconds(10) * ago;
        row.soc = Some((ago % 100) as i16);
        row
    };
    (0..count).rev().map(row).collect()
}

const DAY: &str = "from=2026-11-22T00:00:00Z&to=2026-11-22T20:00:01Z";

#[test]
fn rows_are_those_of_one_battery_in_the_range() {
    let mut listener = Listener::start();
    // More than are read at a time.
    listener.journal.append(&rows(NORTH, 1501)).unwrap();
    listener.journal.append(&rows(SOUTH, 7)).unwrap();
    let answer = listener.get(&format!(
        "/api/batteries/9F3C07B2/rows.csv?{DAY}&columns=insert_time_utc,mcu_id,soc,v_pack,energy_in"
    ));
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut lines = answer.body.lines();
    assert_eq!(lines.next(), Some("insert_time_utc,mcu_id,soc,v_pack,energy_in"));
    assert_eq!(lines.next(), Some("2026-11-22T15:50:00Z,2671511474,0,53.017,"));
    assert_eq!(lines.next(), Some("2026-11-22T15:50:10Z,2671511474,99,53.017,"));
    assert_eq!(lines.clone().count(), 1499);
    assert_eq!(lines.last(), Some("2026-11-22T20:00:00Z,2671511474,0,53.017,"));
}

#[test]
fn rows_of_several_batteries_come_in_one_order() {
    let mut listener = Listener::start();
    listener.journal.append(&rows(NORTH, 400)).unwrap();
    listener.journal.append(&rows(SOUTH, 300)).unwrap();
    let target = format!("/api/rows.csv?{DAY}&columns=mcu_id&batteries=south,north");
    let answer = listener.get(&target);
    assert!(answer.head.contains("filename=\"2-batteries-20261122T000000Z-20261122T200001Z.csv\""));
    let lines: Vec<_> = answer.body.lines().skip(1).collect();
    assert_eq!(lines.len(), 700);
    assert_eq!(lines[698..], ["2989", "2671511474"]);
    assert_eq!(listener.get("/api/rows.csv").status, 400);
}

#[test]
fn every_number_of_rows_comes_out_whole() {
    let mut listener = Listener::start();
    listener.journal.append(&rows(NORTH, 1001)).unwrap();
    for count in [0, 1, 499, 500, 501, 1000, 1001] {
        let from = record(NORTH).insert_time_utc - Duration::seconds(10) * (count - 1);
        let from = bluenova_record::Rfc3339(from);
        let target = format!(
            "/api/batteries/9F3C07B2/rows.csv?from={from}&to=2026-11-22T20:00:11Z&columns=soc"
        );
        let answer = listener.get(&target);
        assert_eq!(answer.body.lines().count() as i32, count + 1, "{count}");
        assert!(answer.body.starts_with("soc\n"), "{count}");
    }
}

#[test]
fn all_columns_of_the_last_day_are_the_default() {
    let mut listener = Listener::start();
    listener.journal.append(&rows(NORTH, 1)).unwrap();
    let answer = listener.get("/api/batteries/9F3C07B2/rows.csv");
    let lines: Vec<_> = answer.body.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("insert_time_utc,mcu_id,n_units,"), "{}", lines[0]);
    assert!(lines[1].starts_with("2026-11-22T20:00:00Z,2671511474,,,,3.311,"), "{}", lines[1]);
}

#[test]
fn the_file_has_a_name_that_every_system_takes() {
    let mut listener = Listener::start();
    listener.journal.append(&rows(NORTH, 1)).unwrap();
    let name = |listener: &Listener| {
        let answer = listener.get(&format!("/api/batteries/9F3C07B2/rows.csv?{DAY}"));
        assert!(answer.head.contains("Content-Type: text/csv; charset=utf-8\r\n"));
        let (_, name) = answer.head.split_once("Content-Disposition: ").expect("it has a name");
        name.lines().next().unwrap().to_owned()
    };
    let of = "9F3C07B2-20261122T000000Z-20261122T200001Z.csv\"";
    assert_eq!(name(&listener), format!("attachment; filename=\"north-{of}"));
    listener.change(|status| status.batteries[0].name = "my \"ü\"_/x".into());
    assert_eq!(name(&listener), format!("attachment; filename=\"my_x-{of}"));
    listener.change(|status| status.batteries.clear());
    assert_eq!(name(&listener), format!("attachment; filename=\"bluenova-{of}"));
}

#[test]
fn errors_are_json() {
    let mut listener = Listener::start();
    listener.journal.append(&rows(NORTH, 1)).unwrap();
    for (target, status, expected) in [
        ("9F3C07B2/rows.csv?columns=volts", 400, "columns: there is no column \"volts\"; the "),
        ("9F3C07B2/rows.csv?points=5", 400, "points: not a parameter here; from, to, columns are"),
        ("9F3C07B2/rows.csv?from=now", 400, "from: an RFC 3339 time"),
        ("7/rows.csv", 404, "7 is a battery without any row"),
        ("attic/rows.csv", 404, "attic is neither the name of a battery nor an MCU ID"),
    ] {
        let (code, error) = listener.json(&format!("/api/batteries/{target}"));
        assert_eq!(code, status, "{target}");
        assert!(error["error"].as_str().unwrap().starts_with(expected), "{target}: {error}");
    }
}

#[test]
fn downloads_that_nobody_takes_hold_up_nothing() {
    let mut listener = Listener::start();
    // More than what the systems of both ends buffer.
    listener.journal.append(&rows(NORTH, 40_000)).unwrap();
    let address = listener.address();
    let stuck: Vec<_> = (0..4)
        .map(|_| {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(TIME_LIMIT)).unwrap();
            let target = "/api/batteries/9F3C07B2/rows.csv?from=2026-01-01T00:00:00Z";
            write!(client, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut start = [0; 15];
            client.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 200 OK");
            client
        })
        .collect();
    let mut next = record(NORTH);
    next.insert_time_utc += Duration::seconds(10);
    listener.journal.append(&[next]).unwrap();
    listener.journal.checkpoint().unwrap();
    let target = "/api/batteries/9F3C07B2/history?from=2026-11-22T19:00:00Z";
    assert_eq!(listener.json(target).0, 200);
    drop(stuck);
}

#[test]
fn days_are_lines_with_units_in_the_header() {
    let mut listener = Listener::start();
    let day = |date: &str, text: &str| StoredDay {
        mcu_id: NORTH,
        date: date.to_owned(),
        rank: 1,
        text: format!(
            r#"{{"date":"{date}","energy_in_wh":1,"energy_out_wh":2,"charge_in_ah":3.5,
                "charge_out_ah":4{text}}}"#
        ),
    };
    let full = r#","length_s":90000,"sampled_s":9,"capacity_ah":[280.1,2],"full_cycles":0.25,
        "soc":[5,90],"i_pack":[-12.5,3],"cell_v":[3.34,2,3.4,7],"cells":{"mohm":[0.3,null,0.42]}"#;
    let days = [day("2026-11-20", full), day("2026-11-21", ""), day("2026-11-22", "")];
    listener.journal.put_statistics(&[], &days).unwrap();
    // The page has the MCU ID in its link.
    let answer = listener.get("/api/batteries/9F3C07B2/days.csv?to=2026-11-21");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("Content-Type: text/csv; charset=utf-8"), "{}", answer.head);
    assert!(answer.head.contains("filename=\"north-9F3C07B2-days.csv\""), "{}", answer.head);
    let lines: Vec<Vec<_>> = answer.body.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    let value = |day: usize, name: &str| {
        let at = lines[0].iter().position(|column| *column == name);
        lines[day][at.unwrap_or_else(|| panic!("{name} is missing in {}", answer.body))]
    };
    for (name, first, second) in [
        ("date", "2026-11-20", "2026-11-21"),
        ("length_s", "90000", "86400"),
        ("sampled_s", "9", "0"),
        ("energy_in_wh", "1", "1"),
        ("charge_in_ah", "3.5", "3.5"),
        ("capacity_ah", "280.1", ""),
        ("capacity_plus_minus_ah", "2.0", ""),
        ("full_cycles", "0.25", ""),
        ("soc_lowest_percent", "5", ""),
        ("soc_highest_percent", "90", ""),
        ("current_lowest_a", "-12.5", ""),
        ("lowest_cell_v", "3.34", ""),
        ("highest_cell", "7", ""),
        ("temperature_lowest_c", "", ""),
        ("errors", "0", "0"),
        ("cell_01_resistance_mohm", "0.3", ""),
        ("cell_02_resistance_mohm", "", ""),
        ("cell_03_resistance_mohm", "0.42", ""),
        ("cell_16_charge_ah", "", ""),
    ] {
        assert_eq!((value(1, name), value(2, name)), (first, second), "{name}");
    }
    assert_eq!(listener.get("/api/batteries/north/days.csv?from=now").status, 400);
}
