use bluenova_insight::{DayStatistics, Estimate, Insight, UtcDays};
use time::Duration;

use super::{MCU_ID, START, full_sample};

/// The statistics of a day in which everything was seen.
fn full_day() -> DayStatistics {
    let mut insight = Insight::new(MCU_ID);
    let mut ended = None;
    for n in 0..=90_000 {
        let mut sample = full_sample(f64::from(n) * 1.003_7);
        sample.insert_time_utc -= Duration::hours(12);
        ended = insight.sample(&sample, &UtcDays).or(ended);
    }
    ended.unwrap()
}

#[test]
fn a_day_is_at_most_600_bytes_of_json() {
    let mut day = full_day();
    let trouble = (day.breaker_open_s, day.frost_charge_s, day.errors);
    (day.breaker_open_s, day.frost_charge_s, day.errors) = (0.0, 0.0, 0);
    day.capacity_ah = Some(Estimate { value: 277.123, plus_minus: 12.345 });
    day.full_cycles = Some(1.234);
    day.rest_spread_mv = day.spread_mv;
    for cell in 0..16 {
        day.cells.resistance_mohm[cell] = Some(1.234_567);
        day.cells.at_rest_mv[cell] = Some(12.345_67 * (-1.0_f32).powi(cell as i32));
    }
    let text = serde_json::to_string(&day).unwrap();
    assert!(text.len() <= 600, "{} bytes: {text}", text.len());
    let again: DayStatistics = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert_eq!((again.date, again.cell_v), (START.date(), day.cell_v));
    assert_eq!(again.cells.at_rest_mv[14..], [Some(12.3), Some(-12.3)]);

    (day.breaker_open_s, day.frost_charge_s, day.errors) = trouble;
    (day.length_s, day.first_s, day.from_rows_s) = (90_000, 12_345, 12_345.0);
    let text = serde_json::to_string(&day).unwrap();
    assert!(text.len() <= 720, "{} bytes: {text}", text.len());
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
