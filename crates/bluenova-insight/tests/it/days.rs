use bluenova_insight::{CellExtremes, DayStatistics, Extremes, Insight, UtcDays};
use bluenova_record::{PackRecord, Text};
use jiff::tz::TimeZone;
use time::{Duration, UtcDateTime, macros::utc_datetime};

use super::{MCU_ID, START, assert_near, full_sample, sample};

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// The days of that many hours of rows, at 36 A and 50 V.
fn days(begin: UtcDateTime, hours: i64, step: Duration) -> Vec<DayStatistics> {
    let (mut insight, zone) = (Insight::new(MCU_ID), berlin());
    let mut row = sample(0.0, 50.0, 36.0);
    row.insert_time_utc = begin;
    let mut days = vec![];
    while row.insert_time_utc <= begin + Duration::hours(hours) {
        days.extend(insight.row(&row, step, &zone));
        row.insert_time_utc += step;
    }
    days
}

#[test]
fn days_have_23_24_or_25_hours() {
    for (begin, hours) in [
        (utc_datetime!(2026-03-28 23:00), 23),
        (utc_datetime!(2026-06-09 22:00), 24),
        (utc_datetime!(2026-10-24 22:00), 25),
    ] {
        // To the second, though the last row of the day has the time of midnight.
        for step in [Duration::seconds(10), Duration::minutes(10), Duration::minutes(7)] {
            let [day] = &days(begin, hours, step)[..] else {
                // A step that doesn't divide the day ends it later.
                assert_eq!(step, Duration::minutes(7));
                continue;
            };
            let length = hours * 3600;
            assert_eq!(i64::from(day.length_s), length);
            assert_near(day.from_rows_s, length as f64, 0.01);
            assert_near(day.counters.charge_in_ah, 36.0 * hours as f64, 0.01);
            assert_eq!(day.completeness(), 1.0);
        }
    }
    let march = &days(utc_datetime!(2026-03-28 23:00), 23, Duration::minutes(10))[0];
    assert_eq!(march.date, utc_datetime!(2026-03-29 0:00).date());
}

#[test]
fn what_flows_across_midnight_is_divided() {
    let mut insight = Insight::new(MCU_ID);
    let at = |second| PackRecord {
        insert_time_utc: utc_datetime!(2026-06-02 00:00) + Duration::seconds(second),
        ..sample(0.0, 50.0, 36.0)
    };
    insight.sample(&at(-3), &UtcDays);
    let ended = insight.sample(&at(7), &UtcDays).unwrap();
    assert_near(ended.counters.charge_in_ah, 0.03, 1e-9);
    assert_near(ended.sampled_s, 3.0, 1e-9);
    let today = insight.figures().unwrap().today;
    assert_near(today.counters.charge_in_ah, 0.07, 1e-9);
    assert_near(insight.counters().charge_in_ah, 0.1, 1e-9);
}

#[test]
fn has_the_lowest_and_highest_of_everything() {
    let mut insight = Insight::new(MCU_ID);
    let first = (60, 20, -10.0, [3.30, 3.31, 3.29, 3.30], [20, 21, 19, 20]);
    let second = (61, 21, 40.0, [3.35, 3.34, 3.34, 3.36], [21, 22, 18, 20]);
    let impossible = (101, -60, 2000.0, [33.0, 0.1, 3.34, 3.36], [121, 22, -51, 20]);
    // What one sample alone has may be garbled.
    let odd = (6, 2, 140.0, [3.35, 3.04, 3.94, 3.36], [2, 22, 18, 82]);
    let samples = [first, first, odd, second, odd, second, second, impossible];
    for (second, (percent, celsius, amps, cell_v, cell_t)) in (0..).zip(samples) {
        let mut sample = sample(f64::from(second), 13.25, amps);
        (sample.cell_count, sample.soc, sample.temp) = (Some(4), Some(percent), Some(celsius));
        for cell in 0..4 {
            sample.cell_v[cell] = Some(cell_v[cell]);
            sample.cell_t[cell] = Some(cell_t[cell]);
        }
        insight.sample(&sample, &UtcDays);
    }
    let day = insight.figures().unwrap().today;
    let extremes = |low, high| Some(Extremes { low, high });
    assert_eq!(day.samples, 8);
    assert_eq!(day.soc, extremes(60.0, 61.0));
    assert_eq!(day.temp, extremes(20.0, 21.0));
    assert_eq!(day.i_pack, extremes(-10.0, 40.0));
    assert_eq!(day.v_pack, extremes(13.25, 13.25));
    assert_eq!(day.power_w, extremes(-133.0, 530.0));
    assert_eq!(day.spread_mv, extremes(20.0, 20.0));
    assert_eq!(day.rest_spread_mv, None);
    assert_eq!(day.cell_v, Some(CellExtremes { low: 3.29, low_cell: 3, high: 3.36, high_cell: 4 }));
    assert_eq!(day.cell_t, Some(CellExtremes { low: 18.0, low_cell: 3, high: 22.0, high_cell: 2 }));
}

#[test]
fn counts_frost_open_breakers_errors_and_the_spread_at_rest() {
    let mut insight = Insight::new(MCU_ID);
    for second in 0..=400_i16 {
        let mut sample = sample(second.into(), 52.0, if second < 50 { 20.0 } else { 1.0 });
        sample.cell_t[3] = Some(if second <= 10 { -1 } else { 0 });
        sample.temp = Some(if (11..=14).contains(&second) { -1 } else { 20 });
        (sample.cell_v[0], sample.cell_v[1]) = (Some(3.3), Some(3.304));
        if second < 50 {
            sample.cell_v[1] = Some(3.34);
        }
        sample.breaker = Some(Text::new(if second > 380 { "OPEN" } else { "CLOSED" }));
        sample.errors = Some(Text::new(["NONE", "A", "B", "A", ""][second as usize % 5]));
        insight.sample(&sample, &UtcDays);
    }
    let day = insight.figures().unwrap().today;
    assert_eq!((day.frost_charge_s, day.breaker_open_s, day.errors), (14.0, 19.0, 2));
    assert_eq!(day.spread_mv, Some(Extremes { low: 4.0, high: 40.0 }));
    assert_eq!(day.rest_spread_mv, Some(Extremes { low: 4.0, high: 4.0 }));
    // A day that goes on after a restart is told the same errors again.
    let text = serde_json::to_string(&insight).unwrap();
    let mut again: Insight = serde_json::from_str(&text).unwrap();
    let mut sample = full_sample(401.0);
    sample.errors = Some(Text::new("B"));
    again.sample(&sample, &UtcDays);
    assert_eq!(again.figures().unwrap().today.errors, 2);
}

/// Garbled lines say things that no other sample says; a row may be the only one of ten seconds.
#[test]
fn what_one_sample_alone_says_does_not_count() {
    let odd = |second: i32| {
        let mut sample = sample(second.into(), 52.0, 20.0);
        sample.cell_t[3] = Some(20);
        if second % 100 == 50 {
            sample.cell_t[3] = Some(-2);
            sample.breaker = Some(Text::new("CLOS"));
            sample.errors = Some(Text::new("NOME"));
        }
        sample
    };
    let mut insight = Insight::new(MCU_ID);
    for second in 0..=400 {
        insight.sample(&odd(second), &UtcDays);
    }
    let found = |insight: &Insight| {
        let day = insight.figures().unwrap().today;
        (day.frost_charge_s, day.breaker_open_s, day.errors)
    };
    assert_eq!(found(&insight), (0.0, 0.0, 0));
    let mut of_rows = Insight::new(MCU_ID);
    for second in (0..=400).step_by(10) {
        of_rows.row(&odd(second), Duration::seconds(10), &UtcDays);
    }
    assert_eq!(found(&of_rows), (40.0, 40.0, 1));
}

#[test]
fn samples_and_rows_make_one_day_that_survives_a_restart() {
    let mut insight = Insight::new(MCU_ID);
    for second in 0..=3600 {
        insight.sample(&sample(second.into(), 50.0, 36.0), &UtcDays);
    }
    let text = serde_json::to_string(&insight).unwrap();
    let mut insight: Insight = serde_json::from_str(&text).unwrap();
    // Rows that the samples cover already are among them.
    for second in (0..=5400).step_by(10) {
        insight.row(&sample(second.into(), 50.0, 36.0), Duration::seconds(10), &UtcDays);
    }
    for second in 5401..=7200 {
        insight.sample(&sample(second.into(), 50.0, 36.0), &UtcDays);
    }
    let day = insight.figures().unwrap().today;
    assert_near(day.counters.charge_in_ah, 72.0, 1e-6);
    assert_eq!((day.sampled_s, day.from_rows_s), (5400.0, 1800.0));
    assert_eq!((day.first_s, day.last_s), (43_200, 50_400));
}

/// Statistics of that part of the first day, of samples or of rows.
fn part(seconds: std::ops::RangeInclusive<u32>, from_rows: bool) -> DayStatistics {
    let mut insight = Insight::new(MCU_ID);
    for second in seconds {
        let record = full_sample(second.into());
        if from_rows {
            insight.row(&record, Duration::seconds(1), &UtcDays);
        } else {
            insight.sample(&record, &UtcDays);
        }
    }
    insight.figures().unwrap().today
}

#[test]
fn two_statistics_of_a_date_are_added_or_the_more_complete_one_is_taken() {
    let (morning, evening) = (part(0..=3000, false), part(5000..=8000, false));
    let joined = morning.clone().merge(evening.clone());
    assert_eq!(joined, evening.clone().merge(morning.clone()));
    assert_eq!((joined.sampled_s, joined.samples), (6000.0, 6002));
    assert_eq!((joined.first_s, joined.last_s), (43_200, 51_200));
    let charge = |day: &DayStatistics| day.counters.charge_in_ah;
    assert_near(charge(&joined), charge(&morning) + charge(&evening), 1e-9);
    assert_eq!(joined.soc.unwrap().low, morning.soc.unwrap().low);
    assert_eq!(joined.soc.unwrap().high, evening.soc.unwrap().high);
    // Once more changes nothing.
    assert_eq!(joined.clone().merge(evening.clone()), joined);
    assert_eq!(morning.clone().merge(joined.clone()), joined);
    // Of the same hours nothing is added.
    let (longer, rows) = (part(0..=3100, true), part(0..=5000, true));
    assert_eq!(longer.merge(morning.clone()), morning);
    assert_eq!(morning.clone().merge(rows.clone()), rows);
    let other_date = DayStatistics { date: morning.date.next_day().unwrap(), ..evening };
    assert_eq!(morning.clone().merge(other_date), morning);
}

#[test]
fn a_clock_that_is_set_back_across_midnight_makes_a_second_part_of_the_day() {
    let mut insight = Insight::new(MCU_ID);
    let first = insight.sample(&sample(100.0, 50.0, 36.0), &UtcDays);
    let tomorrow = PackRecord { insert_time_utc: START + Duration::DAY, ..sample(0.0, 50.0, 36.0) };
    let ended = insight.sample(&tomorrow, &UtcDays).unwrap();
    assert_eq!((first, ended.date), (None, START.date()));
    let ended = insight.sample(&sample(200.0, 50.0, 36.0), &UtcDays).unwrap();
    assert_eq!(ended.date, (START + Duration::DAY).date());
    assert_eq!(insight.figures().unwrap().today.date, START.date());
}

/// Whoever adds a field to a day adds it to both forms.
#[test]
fn a_whole_day_has_what_a_stored_one_leaves_out_and_the_same_values() {
    let json = |text: String| -> serde_json::Value { serde_json::from_str(&text).unwrap() };
    let of = |day: &DayStatistics| {
        let (stored, whole) = (serde_json::to_string(day), serde_json::to_string(&day.whole()));
        (json(stored.unwrap()), json(whole.unwrap()))
    };
    let empty = r#"{"date":"2026-11-27","energy_in_wh":0,"energy_out_wh":0,"charge_in_ah":0,
                    "charge_out_ah":0}"#;
    let (short, whole) = of(&serde_json::from_str(empty).unwrap());
    let fields = |json: &serde_json::Value| json.as_object().unwrap().clone();
    assert!(fields(&short).len() < 10, "{short}");
    assert_eq!(
        (&whole["length_s"], &whole["errors"], &whole["cells"]),
        (&86_400.into(), &0.into(), &serde_json::json!({}))
    );
    assert!(fields(&whole).contains_key("soc") && whole["soc"].is_null(), "{whole}");

    // A day of which nothing is left out.
    let full = r#"{"date":"2026-11-27","length_s":90000,"sampled_s":3.4,"from_rows_s":2,
        "first_s":1,"last_s":9,"samples":5,"energy_in_wh":1.6,"energy_out_wh":2,"charge_in_ah":0.16,
        "charge_out_ah":0.2,"capacity_ah":[280.04,2.5],"full_cycles":0.125,"soc":[5,9],
        "v_pack":[50.1,53],"i_pack":[-3,4.25],"power_w":[-160,200],"temp":[20,21],
        "cell_v":[3.34,2,3.4,7],"cell_t":[19,1,22,4],"spread_mv":[3,40],"rest_spread_mv":[2,3.5],
        "errors":1,"frost_charge_s":7,"breaker_open_s":8,
        "cells":{"mohm":[0.3,null,0.42],"rest_mv":[1,-2.5],"ah":[0.1]}}"#;
    let (short, whole_of_full) = of(&serde_json::from_str(full).unwrap());
    assert_eq!(short, whole_of_full);
    assert_eq!(
        Vec::from_iter(fields(&short).keys()),
        Vec::from_iter(fields(&json(full.into())).keys())
    );
    assert_eq!(Vec::from_iter(fields(&whole).keys()), Vec::from_iter(fields(&short).keys()));
}
