use bluenova_insight::{DayStatistics, Estimate, Insight, UtcDays};
use fastrand::Rng;
use time::Duration;

use super::{MCU_ID, START, full_sample};
use crate::pack::{Kit, Pack};

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
fn a_day_is_at_most_690_bytes_of_json() {
    let mut day = full_day();
    let trouble = (day.breaker_open_s, day.frost_charge_s, day.errors);
    (day.breaker_open_s, day.frost_charge_s, day.errors) = (0.0, 0.0, 0);
    day.capacity_ah = Some(Estimate { value: 277.123, plus_minus: 12.345 });
    day.full_cycles = Some(1.234);
    day.rest_spread_mv = day.spread_mv;
    for cell in 0..16 {
        day.cells.resistance_mohm[cell] = Some(1.234_567);
        day.cells.at_rest_mv[cell] = Some(12.345_67 * (-1.0_f32).powi(cell as i32));
        day.cells.charge_ah[cell] = Some(1.234_56 * (-1.0_f32).powi(cell as i32));
    }
    let text = serde_json::to_string(&day).unwrap();
    assert!(text.len() <= 690, "{} bytes: {text}", text.len());
    let again: DayStatistics = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert_eq!((again.date, again.cell_v), (START.date(), day.cell_v));
    assert_eq!(again.cells.at_rest_mv[14..], [Some(12.3), Some(-12.3)]);

    (day.breaker_open_s, day.frost_charge_s, day.errors) = trouble;
    (day.length_s, day.first_s, day.from_rows_s) = (90_000, 12_345, 12_345.0);
    let text = serde_json::to_string(&day).unwrap();
    assert!(text.len() <= 800, "{} bytes: {text}", text.len());
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

/// A state in which everything was learnt that can be: of sixteen cells, in a month.
fn full_state() -> Insight {
    let kit = Kit { cells: 16, ..Kit::any(&mut Rng::with_seed(3)) };
    let mut pack = Pack::new(kit, None, 3);
    let mut insight = Insight::new(7);
    for day in 0..30 {
        let (count, seconds) = if day < 29 { (8640, 10.0) } else { (86_400, 1.0) };
        for _ in 0..count {
            insight.sample(&pack.sample(seconds), &UtcDays);
        }
    }
    insight
}

#[test]
fn a_state_is_at_most_5500_bytes_of_json_and_goes_on_from_there() {
    let state = full_state();
    let figures = state.figures().unwrap();
    assert!(figures.capacity_ah.is_some() && figures.cells.len() == 16);
    for cell in &figures.cells {
        assert!(cell.resistance_mohm.is_some() && cell.at_rest_mv.is_some(), "{cell:?}");
        assert!(cell.charge_ah_per_week.is_some(), "{cell:?}");
    }
    let text = serde_json::to_string(&state).unwrap();
    assert!(text.len() <= 5500, "{} bytes: {text}", text.len());
    let again: Insight = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert_eq!(again.figures(), Some(figures));

    // What another version stored in another form is learnt anew; the counters stay.
    let mut older: serde_json::Value = serde_json::from_str(&text).unwrap();
    older["capacity"]["parts"] = serde_json::json!([{ "percent": 20.0 }]);
    older["resistance"] = "?".into();
    older["cells"]["curve"]["sums"] = serde_json::json!([1, 2]);
    older["later"] = 1.into();
    let older: Insight = serde_json::from_value(older).unwrap();
    assert_eq!(older.counters(), state.counters());
    let figures = older.figures().unwrap();
    assert_eq!((figures.capacity_ah, figures.cells.len()), (None, 0));
}

#[test]
fn a_garbled_number_of_cells_costs_nothing_that_was_learnt() {
    let mut insight = full_state();
    let known = insight.figures().unwrap().cells;
    for second in 0..5 {
        let mut sample = full_sample(60.0 * 86_400.0 * 365.0 + f64::from(second));
        (sample.mcu_id, sample.cell_count) = (7, Some(6));
        insight.sample(&sample, &UtcDays);
    }
    assert_eq!(insight.figures().unwrap().cells, known);
}
