use bluenova_insight::{Goal, Insight, TimeToGo, UtcDays};
use time::Duration;

use super::{MCU_ID, START, assert_near, sample};

/// Ampere-hours that are taken as long as the battery's own aren't known.
const USUAL_AH: f64 = 280.0;

/// A battery of the usual capacity that starts with a state of charge and has had a current for so
/// many seconds.
fn after(seconds: u32, percent: f64, amps: impl Fn(u32) -> f64) -> Insight {
    let mut insight = Insight::new(MCU_ID);
    let mut charge = USUAL_AH * percent / 100.0;
    for second in 0..=seconds {
        let mut sample = sample(second.into(), 52.0, amps(second));
        sample.soc = Some((charge / USUAL_AH * 100.0).round() as i16);
        insight.sample(&sample, &UtcDays);
        charge += amps(second) / 3600.0;
    }
    insight
}

fn to_go(insight: &Insight) -> Option<TimeToGo> {
    insight.figures().unwrap().time_to_go
}

#[test]
fn follows_from_charge_and_current() {
    let discharged = to_go(&after(900, 60.0, |_| -28.0)).unwrap();
    assert_eq!((discharged.goal, discharged.with_usual_capacity), (Goal::Empty, true));
    // 60 % less 7 Ah at 28 A: 5.75 h.
    assert_near(discharged.seconds / 3600.0, 5.75, 0.06);
    // What isn't known of the capacity is in it: 180 of 280 Ah.
    assert_near(discharged.plus_minus_s / discharged.seconds, 0.643, 0.01);
    let charged = to_go(&after(900, 60.0, |_| 28.0)).unwrap();
    assert_eq!(charged.goal, Goal::Full);
    assert_near(charged.seconds / 3600.0, 3.75, 0.06);
}

#[test]
fn neither_a_kettle_nor_a_cloud_decides() {
    let calm = to_go(&after(900, 60.0, |_| -10.0)).unwrap();
    let kettle =
        to_go(&after(900, 60.0, |second| if second > 840 { -50.0 } else { -10.0 })).unwrap();
    // A minute of 50 A in a quarter of an hour: 12.7 A, not 50.
    assert_near(calm.seconds / kettle.seconds, 1.27, 0.03);
    assert!(kettle.plus_minus_s / kettle.seconds > calm.plus_minus_s / calm.seconds);
}

#[test]
fn is_none_when_idle_unknown_stale_or_over() {
    assert_eq!(to_go(&after(900, 60.0, |_| -0.4)), None, "idle");
    assert_eq!(to_go(&after(100, 60.0, |_| -28.0)), None, "less than two minutes");
    assert_eq!(to_go(&after(900, 100.4, |_| 1.0)), None, "full");
    assert_eq!(to_go(&after(900, -0.4, |_| -1.0)), None, "empty");
    let mut without_percent = Insight::new(MCU_ID);
    for second in 0..900 {
        without_percent.sample(&sample(second.into(), 52.0, -28.0), &UtcDays);
    }
    assert_eq!(to_go(&without_percent), None, "no state of charge");
    assert_near(without_percent.figures().unwrap().mean_power_w.unwrap(), -1456.0, 0.01);

    let insight = after(900, 60.0, |_| -28.0);
    let at = |seconds| insight.figures_at(START + Duration::seconds(seconds)).unwrap();
    assert!(at(900 + 120).time_to_go.is_some());
    assert_eq!(at(900 + 121).time_to_go, None);
    assert_eq!(at(900 + 121).mean_power_w, None);
}

#[test]
fn does_not_jump_where_the_percent_changes() {
    let mut insight = after(900, 60.0, |_| -28.0);
    let (mut charge, mut last) = (USUAL_AH * 0.6 - 7.0 - 28.0 / 3600.0, None::<f64>);
    for second in 901..=3600_u32 {
        let mut sample = sample(second.into(), 52.0, -28.0);
        sample.soc = Some((charge / USUAL_AH * 100.0).round() as i16);
        insight.sample(&sample, &UtcDays);
        charge -= 28.0 / 3600.0;
        let seconds = to_go(&insight).unwrap().seconds;
        // A percent is 360 s.
        if let Some(last) = last {
            assert_near(last - seconds, 1.0, 2.0);
        }
        last = Some(seconds);
    }
    assert_near(last.unwrap(), charge / 28.0 * 3600.0, 10.0);
}

#[test]
fn a_percent_that_is_garbled_once_changes_nothing() {
    let mut insight = after(900, 60.0, |_| -28.0);
    let before = to_go(&insight).unwrap().seconds;
    let mut garbled = sample(901.0, 52.0, -28.0);
    garbled.soc = Some(6);
    insight.sample(&garbled, &UtcDays);
    assert_near(to_go(&insight).unwrap().seconds, before - 1.0, 0.5);
    // Twice it is believed: the firmware goes from about 90 to 100 when the battery is full.
    garbled.insert_time_utc += Duration::SECOND;
    insight.sample(&garbled, &UtcDays);
    assert_near(to_go(&insight).unwrap().seconds, 6.0 * 360.0, 200.0);
}

#[test]
fn the_quarter_of_an_hour_slides() {
    let insight = after(2000, 60.0, |second| if second < 1000 { -80.0 } else { -20.0 });
    // What was before second 1080 is forgotten.
    assert_near(insight.figures().unwrap().mean_power_w.unwrap(), -1040.0, 0.01);
}
