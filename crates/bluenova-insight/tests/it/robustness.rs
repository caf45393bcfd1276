use bluenova_insight::{DayStatistics, Insight, UtcDays, trends};
use bluenova_record::{COLUMNS, PackRecord, SqlType};
use fastrand::Rng;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Value, json};
use time::{Duration, UtcDateTime};

use super::{MCU_ID, START};
use crate::pack::{Kit, Pack};

/// Any record: each column has any value of its type, those at the bounds more often.
fn any_record() -> impl Strategy<Value = PackRecord> {
    let real = prop_oneof![any::<f32>(), -200.0_f32..200.0, Just(f32::NAN), Just(f32::MAX)];
    let small = prop_oneof![any::<i16>(), -100_i16..100, Just(i16::MIN), Just(i16::MAX)];
    let text = prop_oneof![Just(""), Just("NONE"), Just("OPEN"), Just("Ü\u{202e}\"'; --")];
    let column = (any::<bool>(), real, small, text);
    proptest::collection::vec(column, COLUMNS.len()).prop_map(|values| {
        let mut record = PackRecord::new(START, MCU_ID);
        for (column, (is_known, real, small, text)) in COLUMNS.iter().zip(&values) {
            let value = match column.sql {
                SqlType::Real => bluenova_record::Value::Real(*real),
                SqlType::SmallInt => bluenova_record::Value::SmallInt(*small),
                SqlType::Varchar(_) => bluenova_record::Value::Text(text),
                SqlType::Timestamp | SqlType::BigInt => continue,
            };
            if *is_known {
                column.set(&mut record, Some(value)).unwrap();
            }
        }
        record
    })
}

/// Steps of a clock: mostly a second or so, sometimes anything.
fn any_step() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 0_i64..3_000_000_000,
        1 => -100_000_000_000_i64..100_000_000_000,
        1 => any::<i64>(),
    ]
}

/// The first and the last time that there is, and some in between.
fn any_start() -> impl Strategy<Value = UtcDateTime> {
    prop_oneof![
        4 => Just(START),
        1 => Just(UtcDateTime::MIN),
        1 => Just(UtcDateTime::MAX),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_a_battery_sends_spoils_an_insight(
        start in any_start(),
        records in proptest::collection::vec((any_record(), any_step(), 0_u8..4), 1..16),
    ) {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let (mut insight, mut time) = (Insight::new(MCU_ID), start);
        for (mut record, step, how) in records {
            time = time.saturating_add(Duration::nanoseconds(step));
            record.insert_time_utc = time;
            let before = insight.counters();
            match how {
                0 => insight.row(&record, Duration::nanoseconds(step), &zone),
                1 => insight.row(&record, Duration::seconds(step), &UtcDays),
                2 => insight.sample(&record, &zone),
                _ => insight.sample(&record, &UtcDays),
            };
            let counted = insight.counters();
            for (before, after) in [
                (before.energy_in_wh, counted.energy_in_wh),
                (before.energy_out_wh, counted.energy_out_wh),
                (before.charge_in_ah, counted.charge_in_ah),
                (before.charge_out_ah, counted.charge_out_ah),
            ] {
                prop_assert!(after.is_finite() && after >= before, "{before} to {after}");
            }
            let figures = insight.figures_at(time.saturating_add(Duration::nanoseconds(step)));
            if let Some(to_go) = figures.and_then(|figures| figures.time_to_go) {
                prop_assert!(to_go.seconds.is_finite() && to_go.seconds > 0.0);
                prop_assert!(to_go.plus_minus_s.is_finite());
            }
        }
        let text = serde_json::to_string(&insight).unwrap();
        let again: Insight = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(again.counters(), insight.counters());
        prop_assert_eq!(again.until(), insight.until());
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}

/// Values that no state has, but a damaged one may.
fn hostile_values() -> [Value; 14] {
    [
        json!(null),
        json!(0),
        json!(-1),
        json!(17),
        json!(255),
        json!(-32_768),
        json!(65_535),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(1e308),
        json!(-1e308),
        json!("?"),
        json!([]),
        vec![1; 17].into(),
    ]
}

/// The JSON pointers of everything in a value.
fn pointers(value: &Value, here: &str, all: &mut Vec<String>) {
    all.push(here.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| pointers(field, &format!("{here}/{name}"), all));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, item)| pointers(item, &format!("{here}/{n}"), all));
        }
        _ => {}
    }
}

#[test]
fn a_damaged_state_is_an_error_or_goes_on() {
    let kit = Kit { cells: 16, ..Kit::any(&mut Rng::with_seed(3)) };
    let mut pack = Pack::new(kit, None, 3);
    let mut insight = Insight::new(7);
    for _ in 0..12 * 720 {
        insight.row(&pack.sample(120.0), Duration::seconds(120), &UtcDays);
    }
    for _ in 0..300 {
        insight.sample(&pack.sample(1.0), &UtcDays);
    }
    let next: Vec<PackRecord> = (0..130).map(|_| pack.sample(1.0)).collect();
    // To the top of the next day, where all estimators end what they began.
    let rows: Vec<PackRecord> = (0..200).map(|_| pack.sample(600.0)).collect();

    let state = serde_json::to_value(&insight).unwrap();
    let mut all = vec![];
    pointers(&state, "", &mut all);
    assert!(all.len() > 100, "{all:?}");
    let mut went_on = 0;
    for (pointer, value) in all.iter().flat_map(|it| hostile_values().map(|value| (it, value))) {
        // Shown where the test fails.
        println!("{pointer} = {value}");
        let mut damaged = state.clone();
        *damaged.pointer_mut(pointer).unwrap() = value;
        let Ok(mut damaged) = serde_json::from_str::<Insight>(&damaged.to_string()) else {
            continue;
        };
        let _ = damaged.figures();
        for sample in &next {
            damaged.sample(sample, &UtcDays);
        }
        for row in &rows {
            damaged.row(row, Duration::seconds(600), &UtcDays);
        }
        let _ = damaged.figures_at(rows[0].insert_time_utc);
        serde_json::to_string(&damaged).unwrap();
        went_on += 1;
    }
    assert!(went_on > all.len(), "{went_on}");
}

#[test]
fn any_text_of_a_day_is_an_error_or_a_day() {
    let day = r#"{"date":"2026-06-01","length_s":90000,"sampled_s":80000,"from_rows_s":2,
        "first_s":1,"last_s":80000,"samples":80000,"energy_in_wh":1,"energy_out_wh":2,
        "charge_in_ah":3,"charge_out_ah":4,"capacity_ah":[280,5],"full_cycles":0.5,"soc":[2,99],
        "cell_v":[3.1,2,3.4,16],"errors":1,"cells":{"mohm":[1.1,null,1.2],"ah":[0.1]}}"#;
    let day: Value = serde_json::from_str(day).unwrap();
    let mut all = vec![];
    pointers(&day, "", &mut all);
    let whole: DayStatistics = serde_json::from_value(day.clone()).unwrap();
    let mut readable = vec![];
    for (pointer, value) in all.iter().flat_map(|it| hostile_values().map(|value| (it, value))) {
        println!("{pointer} = {value}");
        let mut damaged = day.clone();
        *damaged.pointer_mut(pointer).unwrap() = value;
        let damaged = serde_json::from_str::<DayStatistics>(&damaged.to_string());
        readable.extend(damaged.ok());
    }
    assert!(readable.len() > all.len(), "{}", readable.len());
    for day in &readable {
        let _ = (day.completeness(), day.rank());
        let merged = [day.clone().merge(whole.clone()), whole.clone().merge(day.clone())];
        assert!(merged.iter().all(|it| [day.date, whole.date].contains(&it.date)));
    }
    let _ = trends(&readable);
}
