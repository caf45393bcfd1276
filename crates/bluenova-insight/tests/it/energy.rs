use bluenova_insight::{Counters, Insight, UtcDays};
use bluenova_record::PackRecord;
use time::Duration;

use super::{MCU_ID, START, assert_near, sample};

fn counted(samples: impl IntoIterator<Item = PackRecord>) -> Counters {
    let mut insight = Insight::new(MCU_ID);
    for sample in samples {
        insight.sample(&sample, &UtcDays);
    }
    insight.counters()
}

/// Volts and amperes of a household: sun, a heat pump that goes on and off, a kettle.
fn household(seconds: f64) -> (f64, f64) {
    let sun = 70.0 * (seconds / 7200.0 * std::f64::consts::TAU).sin();
    let pump = if seconds.rem_euclid(37.0) < 15.0 { -25.0 } else { 0.0 };
    let kettle = if seconds.rem_euclid(600.0) < 130.0 { -42.0 } else { 0.0 };
    let amps = sun + pump + kettle;
    (52.5 + 0.02 * amps, amps)
}

/// What really flowed.
fn truth(seconds: f64) -> Counters {
    let (mut sum, step) = (Counters::default(), 0.01);
    for n in 0..(seconds / step) as u32 {
        let (volts, amps) = household((f64::from(n) + 0.5) * step);
        let hours = step / 3600.0;
        sum.energy_in_wh += (volts * amps).max(0.0) * hours;
        sum.energy_out_wh += (-volts * amps).max(0.0) * hours;
        sum.charge_in_ah += amps.max(0.0) * hours;
        sum.charge_out_ah += (-amps).max(0.0) * hours;
    }
    sum
}

#[track_caller]
fn assert_within_half_a_percent(counted: Counters, truth: Counters) {
    for (counted, truth) in [
        (counted.energy_in_wh, truth.energy_in_wh),
        (counted.energy_out_wh, truth.energy_out_wh),
        (counted.charge_in_ah, truth.charge_in_ah),
        (counted.charge_out_ah, truth.charge_out_ah),
    ] {
        assert_near(counted, truth, truth * 0.005);
    }
}

#[test]
fn jitter_of_times_costs_less_than_half_a_percent() {
    let mut random = fastrand::Rng::with_seed(1);
    let samples = (0..=7200_u32).map(|second| {
        let (volts, amps) = household(second.into());
        sample(f64::from(second) + 0.2 * random.f64() - 0.1, volts, amps)
    });
    assert_within_half_a_percent(counted(samples), truth(7200.0));
}

#[test]
fn times_of_whole_seconds_repeat_and_leave_some_out() {
    // 2.3 samples a second, then one in 1.7 s.
    for step in [1.0 / 2.3, 1.7] {
        let count = (7200.0 / step) as u32;
        let samples = (0..=count).map(|n| {
            let seconds = f64::from(n) * step;
            let (volts, amps) = household(seconds);
            sample(seconds.floor(), volts, amps)
        });
        assert_within_half_a_percent(counted(samples), truth(7200.0));
    }
}

#[test]
fn two_connections_to_one_battery_count_once() {
    let samples = (0..=7200_u32).flat_map(|second| {
        let (volts, amps) = household(second.into());
        let offset = [0.0, 0.04, -0.03][second as usize % 3];
        [sample(second.into(), volts, amps), sample(f64::from(second) + offset, volts, amps)]
    });
    assert_within_half_a_percent(counted(samples), truth(7200.0));
}

#[test]
fn a_value_that_is_missing_or_garbled_costs_nothing() {
    let garbled = |spoil: fn(&mut PackRecord)| {
        let mut samples: Vec<_> = (0..=60_u32).map(|n| sample(n.into(), 50.0, -36.0)).collect();
        for n in [0, 20, 21, 22, 40] {
            spoil(&mut samples[n]);
        }
        counted(samples)
    };
    // The first sample counts for nothing.
    let spoilt: [fn(&mut PackRecord); 5] = [
        |sample| sample.i_pack = None,
        |sample| sample.i_pack = Some(1e9),
        |sample| sample.i_pack = Some(f32::NAN),
        |sample| sample.v_pack = Some(-3.0),
        |sample| (sample.cell_count, sample.v_pack) = (Some(4), Some(50.0)),
    ];
    for spoil in spoilt {
        let counters = garbled(spoil);
        assert_near(counters.charge_out_ah, 0.59, 1e-9);
        assert_near(counters.energy_out_wh, 29.5, 1e-6);
        assert_eq!((counters.charge_in_ah, counters.energy_in_wh), (0.0, 0.0));
    }
}

#[test]
fn a_jump_counts_when_the_next_sample_confirms_it() {
    let with = |changed: &[(u32, f64)]| {
        counted((0..=10_u32).map(|n| {
            let change = changed.iter().find(|(at, _)| *at == n);
            sample(n.into(), 50.0, change.map_or(36.0, |(_, amps)| *amps))
        }))
    };
    assert_near(with(&[]).charge_in_ah, 0.1, 1e-9);
    // One alone is an error of transmission, wherever it stands.
    assert_near(with(&[(5, 936.0)]).charge_in_ah, 0.1, 1e-9);
    assert_near(with(&[(0, 936.0)]).charge_in_ah, 0.09, 1e-9);
    assert_near(with(&[(5, -936.0)]).charge_out_ah, 0.0, 1e-9);
    // From second 8 on it is so: the second of the jump is left out.
    let stays = with(&[(8, 396.0), (9, 396.0), (10, 396.0)]);
    assert_near(stays.charge_in_ah, 0.07 + 0.22, 1e-9);
    // A kettle is no jump.
    assert_near(with(&[(5, -36.0)]).charge_in_ah, 0.085, 1e-9);
}

#[test]
fn a_clock_that_is_set_back_by_hours_stops_nothing() {
    let mut insight = Insight::new(MCU_ID);
    let hour = 3600.0;
    for second in 0..=60 {
        insight.sample(&sample(4.0 * hour + f64::from(second), 50.0, 36.0), &UtcDays);
    }
    assert_near(insight.counters().charge_in_ah, 0.6, 1e-9);
    let until = insight.until();
    for second in 0..=60 {
        insight.sample(&sample(f64::from(second), 50.0, 36.0), &UtcDays);
    }
    assert_near(insight.counters().charge_in_ah, 1.2, 1e-9);
    // The rows of the hours before it was set back are not counted again.
    assert_eq!(insight.until(), until);
    for second in [70, 80, 90] {
        insight.row(&sample(second.into(), 50.0, 36.0), Duration::seconds(10), &UtcDays);
    }
    assert_near(insight.counters().charge_in_ah, 1.2, 1e-9);
}

#[test]
fn a_small_correction_of_the_clock_costs_no_second_twice() {
    let times = (0..=60).chain(31..=90).map(f64::from);
    let counters = counted(times.map(|second| sample(second, 50.0, 36.0)));
    assert_near(counters.charge_in_ah, 0.9, 1e-9);
}

#[test]
fn rows_count_across_two_intervals() {
    let mut insight = Insight::new(MCU_ID);
    let interval = Duration::minutes(10);
    for (minute, expected) in [(0, 0.0), (10, 6.0), (30, 18.0), (51, 18.0), (61, 24.0), (61, 24.0)]
    {
        insight.row(&sample(f64::from(minute) * 60.0, 50.0, 36.0), interval, &UtcDays);
        assert_near(insight.counters().charge_in_ah, expected, 1e-9);
    }
    let today = insight.figures().unwrap().today;
    assert_eq!((today.from_rows_s, today.sampled_s, today.is_rebuilt()), (2400.0, 0.0, true));
    // An interval of any length is allowed.
    insight.row(&sample(9000.0, 50.0, 36.0), Duration::MAX, &UtcDays);
    assert_eq!(insight.until(), Some(START + Duration::seconds(9000)));
}
