use bluenova_insight::{DayStatistics, Insight, UtcDays};
use time::Duration;

use super::{MCU_ID, START, full_sample};

/// An insight that has had a full day, and the statistics of that day.
fn after_a_day() -> (Insight, DayStatistics) {
    let mut insight = Insight::new(MCU_ID);
    let mut ended = None;
    for n in 0..=90_000 {
        let mut sample = full_sample(f64::from(n) * 1.003_7);
        sample.insert_time_utc -= Duration::hours(12);
        ended = insight.sample(&sample, &UtcDays).or(ended);
    }
    (insight, ended.unwrap())
}

#[test]
fn a_day_is_at_most_600_bytes_of_json() {
    let (_, mut day) = after_a_day();
    let trouble = (day.breaker_open_s, day.frost_charge_s, day.errors);
    (day.breaker_open_s, day.frost_charge_s, day.errors) = (0.0, 0.0, 0);
    day.full_cycles = Some(1.234);
    day.rest_spread_mv = day.spread_mv;
    for cell in 0..16 {
        day.cells.resistance_mohm[cell] = Some(1.234_567);
        day.cells.at_rest_mv[cell] = Some(-12.345_67);
    }
    let text = serde_json::to_string(&day).unwrap();
    assert!(text.len() <= 600, "{} bytes: {text}", text.len());
    let again: DayStatistics = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert_eq!((again.date, again.cell_v), (START.date(), day.cell_v));
    assert_eq!(again.cells.at_rest_mv, [Some(-12.3); 16]);

    (day.breaker_open_s, day.frost_charge_s, day.errors) = trouble;
    (day.length_s, day.first_s, day.from_rows_s) = (90_000, 12_345, 12_345.0);
    let text = serde_json::to_string(&day).unwrap();
    assert!(text.len() <= 700, "{} bytes: {text}", text.len());
    assert_eq!(serde_json::from_str::<DayStatistics>(&text).unwrap().length_s, 90_000);
}

#[test]
fn a_day_of_which_little_is_known_is_short() {
    let mut insight = Insight::new(MCU_ID);
    insight.sample(&bluenova_record::PackRecord::new(START, MCU_ID), &UtcDays);
    let text = serde_json::to_string(&insight.figures().unwrap().today).unwrap();
    assert!(text.len() <= 200, "{} bytes: {text}", text.len());
    let shortest = r#"{"date":"2026-06-01","energy_in_wh":0,"energy_out_wh":0,
        "charge_in_ah":0,"charge_out_ah":0}"#;
    let day: DayStatistics = serde_json::from_str(shortest).unwrap();
    assert_eq!((day.samples, day.soc, day.completeness()), (0, None, 0.0));
}

#[test]
fn the_state_is_at_most_4_kib_and_its_json_2_kib() {
    let (insight, _) = after_a_day();
    // No part of it is on the heap: each is an array of a fixed length.
    assert!(size_of_val(&insight) <= 4096, "{} bytes", size_of_val(&insight));
    let text = serde_json::to_string(&insight).unwrap();
    assert!(text.len() <= 2048, "{} bytes: {text}", text.len());
}
