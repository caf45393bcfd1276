//! Many batteries, and compressed answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use bluenova_insight::{Insight, UtcDays};
use bluenova_record::PackRecord;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::support::{Listener, NORTH, NOW, record};

/// Head and decompressed body of an answer to a client that takes gzip, and the length of the body.
fn compressed(listener: &Listener, target: &str) -> (String, Vec<u8>, usize) {
    let mut stream = TcpStream::connect(listener.address()).unwrap();
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\
         Connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut body = answer.split_off(end);
    if head.contains("Transfer-Encoding: chunked") {
        body = unchunked(&body);
    }
    let mut all = vec![];
    GzDecoder::new(&*body).read_to_end(&mut all).unwrap();
    (head, all, body.len())
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut all = vec![];
    loop {
        let end = body.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
        let length = usize::from_str_radix(str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return all;
        }
        all.extend(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}

#[test]
fn answers_are_the_same_compressed() {
    let mut listener = Listener::start();
    let rows: Vec<_> = (0..1200)
        .map(|second| {
            let mut row = record(NORTH);
            row.insert_time_utc -= time::Duration::seconds(second);
            row
        })
        .collect();
    listener.journal.append(&rows).unwrap();
    for target in [
        "/",
        "/metrics",
        "/api/batteries",
        "/api/batteries/north/history",
        "/api/batteries/north/plots",
        "/api/batteries/north/rows.csv",
    ] {
        let plain = listener.get(target);
        assert!(plain.head.contains("\r\nVary: Accept-Encoding"), "{}", plain.head);
        assert!(!plain.head.contains("Content-Encoding"), "{}", plain.head);
        let (head, body, length) = compressed(&listener, target);
        assert!(head.contains("\r\nContent-Encoding: gzip"), "{head}");
        assert!(head.contains("\r\nVary: Accept-Encoding"), "{head}");
        assert!(body == plain.body.as_bytes(), "{target}");
        assert!(length * 2 < body.len(), "{target}: {length} of {}", body.len());
    }
}

/// A thousand batteries, all of whose figures are known.
fn fleet() -> Listener {
    let listener = Listener::start();
    listener.change(|status| {
        let (battery, now) = (status.batteries.remove(0), status.instant);
        status.batteries = (0..1000)
            .map(|id| {
                let mut battery = battery.clone();
                battery.name = format!("battery-{id:04}");
                let mut row = record(id);
                row.cell_v = [Some(3.311); 16];
                battery.row_known(&row, now);
                let mut insight = Insight::new(id);
                for second in 0..=2 {
                    let time = NOW - time::Duration::seconds(2 - second);
                    let sample = PackRecord { insert_time_utc: time, ..row.clone() };
                    insight.sample(&sample, &UtcDays);
                }
                battery.figures = insight.figures().map(Into::into);
                battery
            })
            .collect();
    });
    listener
}

#[test]
fn a_thousand_batteries_have_an_overview() {
    let listener = fleet();
    let mut lengths = vec![];
    for target in ["/api/batteries?fields=overview", "/api/batteries?fields=all", "/api/batteries"]
    {
        let started = Instant::now();
        let (_, body, length) = compressed(&listener, target);
        // For docs/performance.md, with --profile dist -- --nocapture.
        println!("{target}: {} bytes, {length} compressed, {:?}", body.len(), started.elapsed());
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["batteries"].as_array().unwrap().len(), 1000);
        assert_eq!(answer["batteries"][999]["names"], json!(["battery-0999"]));
        lengths.push(body.len());
    }
    assert!(lengths[0] * 4 < lengths[1] && lengths[1] == lengths[2], "{lengths:?}");
    let (_, overview) = listener.json("/api/batteries?fields=overview");
    let first = &overview["batteries"][0];
    for (field, expected) in [
        ("battery", json!("00000000")),
        ("connected", json!(true)),
        ("severity", Value::Null),
        ("problem", Value::Null),
        ("stale", json!(false)),
        ("age_s", json!(4.3)),
        ("soc", json!(63)),
        ("power_w", json!(-2213.5)),
        ("cell_spread_mv", json!(0.0)),
        ("energy_today_in_wh", json!(0.0)),
        ("energy_today_out_wh", json!(1.2)),
    ] {
        assert_eq!(first[field], expected, "{field}");
    }
    assert_eq!(overview["bank"]["fresh"], 1000);
    let (code, answer) = listener.json("/api/batteries?fields=few");
    assert_eq!(
        (code, &answer["error"]),
        (400, &json!("fields: one of all, overview is allowed, not \"few\""))
    );
}
