//! Console lines, logged with `-r`.

use bluenova_archive::{Damage, Event, LogLines, LogParser, Replay, Replayed, Stamp};
use bluenova_console::Interval;
use bluenova_record::PackRecord;
use time::macros::utc_datetime;

/// The records that a log in UTC makes at an interval of 10 s.
fn replay(log: &str) -> Vec<PackRecord> {
    let mut replay = Replay::new(Interval::from_seconds(10).unwrap());
    let mut records = vec![];
    let mut record = |replayed: Replayed| match replayed {
        Replayed::Record(record) => records.push(*record),
        Replayed::Damage(Damage::LineTime) | Replayed::Sample(_) => {}
        other => panic!("{other:?}"),
    };
    let mut parser = LogParser::default();
    let mut lines = LogLines::new(log.as_bytes());
    while let Some(line) = lines.next_line().unwrap() {
        parser.feed(line, &mut |_, event| match event {
            Event::Console { stamp, battery, text, is_escaped } => {
                replay.feed(battery, utc(stamp), text, is_escaped, &mut record);
            }
            Event::Connection { stamp, battery } => {
                replay.disconnected(battery, utc(stamp), &mut record);
            }
            Event::Ended { stamp } => replay.ended(utc(stamp), &mut record),
            Event::Started { stamp } => replay.restarted(utc(stamp), &mut record),
            Event::Record(_) | Event::Damage(_) => {}
        });
    }
    replay.finish(&mut record);
    records
}

/// The local time is UTC.
fn utc(stamp: Stamp) -> time::UtcDateTime {
    match stamp {
        Stamp::Utc(time) => time,
        Stamp::Local(local) => local.as_utc(),
    }
}

/// Time, state of charge and energy out of each record.
#[track_caller]
fn check(log: &str, expected: &[(time::UtcDateTime, Option<i16>, Option<f32>)]) {
    let records = replay(log);
    let found: Vec<_> =
        records.iter().map(|row| (row.insert_time_utc, row.soc, row.energy_out)).collect();
    assert_eq!(found, expected);
    assert!(records.iter().all(|record| record.mcu_id == 0x9F3C_07B2));
}

#[test]
fn lines_of_the_first_listener_and_of_ours_make_the_same_rows() {
    let expected = [
        (utc_datetime!(2026-11-27 03:58:00), Some(61), Some(812.5)),
        (utc_datetime!(2026-11-27 03:58:10), Some(62), Some(812.5)),
        (utc_datetime!(2026-11-27 03:58:20), Some(63), None),
    ];
    check(
        "2026/11/27 03:57:58 RX: MCU ID: 9F3C07B2\n\
         2026/11/27 03:57:58 RX: SOC: 60\r\n\
         2026/11/27 03:57:59 RX: DEBUG: CALC PACK_CHARGE, STORE IN FLASH\n\
         2026/11/27 03:57:59 RX: Write EnergyOut: 812.5\nSOC: 61\n\
         2026/11/27 03:58:09 RX: SOC: 62\n\
         2026/11/27 03:58:10 Websocket connection established\n\
         2026/11/27 03:58:11 RX: MCU ID: 9F3C07B2\n\
         2026/11/27 03:58:12 RX: SOC: 63\n",
        &expected,
    );
    check(
        "2026-11-27 05:57:58.000 +02:00 INFO  a: RX: MCU ID: 9F3C07B2\n\
         2026-11-27 05:57:58.100 +02:00 INFO  a: RX: SOC: 61\\u{1b}[0m\n\
         2026-11-27 05:57:59.000 +02:00 INFO  a: RX: DEBUG: CALC PACK_CHARGE, STORE IN FLASH\n\
         2026-11-27 05:57:59.000 +02:00 INFO  a: RX: Write EnergyOut: 812.5\n\
         2026-11-27 05:58:09.999 +02:00 INFO  a: RX: SOC: 62\n\
         2026-11-27 05:58:10.000 +02:00 WARN  a: connection lost: x; redialling\n\
         2026-11-27 05:58:11.000 +02:00 INFO  a: RX: MCU ID: 9F3C07B2\n\
         2026-11-27 05:58:12.000 +02:00 INFO  a: RX: SOC: 63\n",
        &expected,
    );
}

#[test]
fn a_listener_that_ended_has_stamped_its_last_interval_with_that_moment() {
    check(
        "2026-11-27 05:58:01.000 +02:00 INFO  a: RX: MCU ID: 9F3C07B2\n\
         2026-11-27 05:58:02.500 +02:00 INFO  a: RX: SOC: 60\n\
         2026-11-27 05:58:02.900 +02:00 INFO  ended\n\
         2026-11-27 05:58:05.000 +02:00 INFO  bluenovalistener 0.1.0: a (ws://x)\n\
         2026-11-27 05:58:06.000 +02:00 INFO  a: RX: MCU ID: 9F3C07B2\n\
         2026-11-27 05:58:06.000 +02:00 INFO  a: RX: SOC: 61\n",
        &[
            (utc_datetime!(2026-11-27 03:58:02.5), Some(60), None),
            (utc_datetime!(2026-11-27 03:58:10), Some(61), None),
        ],
    );
}

#[test]
fn a_line_with_a_damaged_time_is_left_out() {
    let line = |time: &str, soc| format!("2026/11/27 03:{time} RX: SOC: {soc}\n");
    let start = "2026/11/27 03:58:01 RX: MCU ID: 9F3C07B2\n".to_owned();
    let expected = |second, soc| {
        (utc_datetime!(2026-11-27 03:58:00) + time::Duration::seconds(second), Some(soc), None)
    };
    let damaged = start.clone() + &line("58:02", 60) + &line("59:03", 61) + &line("58:04", 62);
    check(&damaged, &[expected(10, 62)]);
    let damaged = start.clone() + &line("58:02", 60) + &line("38:03", 61) + &line("58:04", 62);
    check(&damaged, &[expected(10, 62)]);
    let set_back = start.clone() + &line("58:02", 60) + &line("38:03", 61) + &line("38:04", 62);
    check(&set_back, &[expected(10, 60), expected(-1190, 62)]);
    let after_silence = start + &line("58:02", 60) + &line("59:03", 61) + &line("59:04", 62);
    check(&after_silence, &[expected(10, 60), expected(70, 62)]);
}

#[test]
fn each_battery_of_a_log_has_rows_of_its_own() {
    let records = replay(
        "2026-11-27 05:58:01.000 +02:00 INFO  a: RX: MCU ID: 00000001\n\
         2026-11-27 05:58:01.000 +02:00 INFO  b: RX: MCU ID: 00000002\n\
         2026-11-27 05:58:02.000 +02:00 INFO  a: RX: SOC: 1\n\
         2026-11-27 05:58:02.000 +02:00 INFO  b: RX: SOC: 2\n",
    );
    let found: Vec<_> = records.iter().map(|row| (row.mcu_id, row.soc)).collect();
    assert_eq!(found, [(1, Some(1)), (2, Some(2))]);
}

/// Events of a log, worded.
fn events(log: &[u8]) -> Vec<String> {
    let mut events = vec![];
    let mut parser = LogParser::default();
    let mut lines = LogLines::new(log);
    while let Some(line) = lines.next_line().unwrap() {
        parser.feed(line, &mut |at, event| match event {
            Event::Console { text, .. } => {
                events.push(format!("{} {}", at.line, String::from_utf8_lossy(text)));
            }
            Event::Damage(damage) => {
                assert_eq!(damage, Damage::CutLine);
                events.push(format!("{} cut", at.line));
            }
            _ => {}
        });
    }
    events
}

#[test]
fn half_a_line_is_no_line() {
    let stamp = "2026/11/27 03:57:58 ";
    let ours = "2026-11-27 05:58:02.000 +02:00 INFO  a: ";
    for (log, expected) in [
        (format!("{stamp}RX: SOC: 6"), &["1 cut"][..]),
        (format!("{stamp}RX: SOC: 6\0\0\0\n{stamp}RX: SOC: 61\n"), &["1 cut", "2 SOC: 61"]),
        (format!("\0\0{stamp}RX: SOC: 61\n"), &["1 cut", "1 SOC: 61"]),
        (format!("{stamp}RX: SOC: 6{stamp}RX: SOC: 61\n"), &["1 cut", "1 SOC: 61"]),
        (format!("{ours}RX: SOC: 6{ours}RX: SOC: 61\n"), &["1 cut", "1 SOC: 61"]),
        (format!("{stamp}Error\n\tSOC: 3\n{stamp}RX: a\nb\n\nc\n"), &["3 a", "4 b"]),
        (format!("{stamp}RX: --- PO PARAMS --- (i=3\n"), &["1 --- PO PARAMS --- (i=3"]),
    ] {
        assert_eq!(events(log.as_bytes()), expected, "{log:?}");
    }
}

#[test]
fn each_cycle_of_the_console_is_a_sample() {
    let interval = Interval::from_seconds(10).unwrap();
    let start = utc_datetime!(2026-11-22 12:00);
    // With times in milliseconds as ours has them, and in seconds as the first listener's.
    for step in [time::Duration::milliseconds(200), time::Duration::seconds(1)] {
        let mut replay = Replay::new(interval).with_samples();
        let mut samples = vec![];
        let mut take = |replayed| {
            if let Replayed::Sample(sample) = replayed {
                samples.push((sample.insert_time_utc, sample.mcu_id, sample.i_pack));
            }
        };
        for n in 0..5 {
            let time = start + step * n;
            let current = format!("Current: -{n}");
            for line in ["MCU ID: 9F3C07B2", "Vpack: 50000", &current] {
                replay.feed(b"attic", time, line.as_bytes(), false, &mut take);
            }
            if n == 2 {
                // The cycle may have been cut: its values are of two connections.
                replay.disconnected(b"attic", time, &mut take);
            }
        }
        replay.finish(&mut take);
        let sample = |n: i16| (start + step * i32::from(n), 0x9F3C_07B2, Some(-f32::from(n)));
        assert_eq!(samples, [sample(0), sample(1), sample(3)], "every {step}");
    }
}
