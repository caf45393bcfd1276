use bluenova_insight::{Insight, UtcDays};
use bluenova_record::{COLUMNS, PackRecord, SqlType, Value};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use time::{Duration, UtcDateTime};

use super::{MCU_ID, START};

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
                SqlType::Real => Value::Real(*real),
                SqlType::SmallInt => Value::SmallInt(*small),
                SqlType::Varchar(_) => Value::Text(text),
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
