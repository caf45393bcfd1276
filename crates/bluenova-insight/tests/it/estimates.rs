//! Capacity and resistance against batteries of known truth.

use super::model::{Firmware, Load, Model, Truth};
use bluenova_insight::{DayStatistics, Estimate, Figures, Insight, UtcDays};
use fastrand::Rng;
use time::Duration;

/// Feeds samples of `days`, so many seconds apart; those that are farther apart than a second as
/// rows.
fn feed(insight: &mut Insight, model: &mut Model, days: f64, seconds: f64) -> Vec<DayStatistics> {
    let mut ended = vec![];
    for _ in 0..(days * 86_400.0 / seconds) as u64 {
        let Some(sample) = model.sample(seconds) else { continue };
        ended.extend(match seconds > 1.0 {
            true => insight.row(&sample, Duration::seconds_f64(seconds), &UtcDays),
            false => insight.sample(&sample, &UtcDays),
        });
    }
    ended
}

pub(crate) fn figures_of(truth: &Truth, seed: u64, days: f64, seconds: f64) -> Figures {
    let mut insight = Insight::new(7);
    feed(&mut insight, &mut Model::new(truth.clone(), seed), days, seconds);
    insight.figures().unwrap()
}

/// A battery of four cells, so that these tests are quick.
fn small(seed: u64, firmware: Firmware, load: Load) -> Truth {
    let mut truth = Truth::random(&mut Rng::with_seed(seed), firmware, load);
    truth.milliohms.truncate(4);
    truth
}

/// Within `part` of the truth, and known with that uncertainty at most.
#[track_caller]
fn check(estimate: Option<Estimate>, truth: f64, part: f64, uncertainty: f64) {
    let Estimate { value, plus_minus } = estimate.unwrap();
    assert!((value / truth - 1.0).abs() < part, "{value} for {truth}");
    assert!((value - truth).abs() < plus_minus, "{value} ± {plus_minus} for {truth}");
    assert!(plus_minus < uncertainty * value, "{value} ± {plus_minus} for {truth}");
}

/// What a capacity is uncertain by that rests on the firmware's scale, more if a cell seems to be
/// smaller than the others; and one that was seen.
const BY_SCALE: f64 = 0.3;
const SEEN: f64 = 0.05;

#[test]
fn capacity_is_right_whatever_the_firmware_does_near_full() {
    for (seed, firmware, load) in [
        (1, Firmware::Right, Load::Household),
        (1, Firmware::Right, Load::Constant),
        (2, Firmware::StandsStill(0.9), Load::Household),
        (2, Firmware::StandsStill(0.9), Load::Steps),
        (3, Firmware::CountsSensor, Load::Household),
        (4, Firmware::CountsLessUp(0.85), Load::Household),
    ] {
        let truth = small(seed, firmware, load);
        let figures = figures_of(&truth, seed, 14.0, 30.0);
        check(figures.capacity_ah, truth.capacity_ah, 0.03, BY_SCALE);
    }
}

/// A scale that is wrong all the way down and up again can't be told from a battery of another
/// capacity.
#[test]
fn capacity_is_that_of_the_firmwares_scale() {
    let truth = small(5, Firmware::WrongCapacity(1.2), Load::Household);
    let figures = figures_of(&truth, 5, 14.0, 30.0);
    check(figures.capacity_ah, truth.capacity_ah * 1.2, 0.03, BY_SCALE);
}

/// Once the battery was empty, they can be told apart.
#[test]
fn capacity_is_right_in_spite_of_the_firmwares_scale_after_full_and_empty() {
    for (seed, wrong) in [(5, 1.2), (12, 0.9)] {
        let mut truth = small(seed, Firmware::WrongCapacity(wrong), Load::Steps);
        (truth.reserve, truth.depth) = (0.002, 0.99);
        let figures = figures_of(&truth, seed, 2.5, 1.0);
        check(figures.capacity_ah, truth.capacity_ah, 0.03, SEEN);
    }
}

#[test]
fn capacity_is_not_known_from_shallow_cycles_or_few_days() {
    let truth = small(6, Firmware::Right, Load::Shallow);
    assert_eq!(figures_of(&truth, 6, 10.0, 30.0).capacity_ah, None);
    let truth = small(6, Firmware::Right, Load::Household);
    assert_eq!(figures_of(&truth, 6, 0.5, 30.0).capacity_ah, None);
}

#[test]
fn resistance_of_each_cell_is_right() {
    for (seed, load) in [(7, Load::Household), (8, Load::Steps)] {
        let truth = small(seed, Firmware::Right, load);
        let figures = figures_of(&truth, seed, 1.0, 1.0);
        assert_eq!(figures.cells.len(), 4);
        for (cell, milliohms) in figures.cells.iter().zip(&truth.milliohms) {
            check(cell.resistance_mohm, *milliohms, 0.1, 0.3);
        }
    }
}

#[test]
fn resistance_is_not_known_from_a_steady_current_or_from_rows() {
    let mut truth = small(9, Firmware::Right, Load::Constant);
    // Less than one discharge.
    truth.depth = 0.8;
    for cell in figures_of(&truth, 9, 0.2, 1.0).cells {
        assert_eq!(cell.resistance_mohm, None);
    }
    let truth = small(9, Firmware::Right, Load::Steps);
    for cell in figures_of(&truth, 9, 1.0, 10.0).cells {
        assert_eq!(cell.resistance_mohm, None);
    }
}

#[test]
fn a_day_has_estimates_of_its_own() {
    let truth = small(10, Firmware::Right, Load::Household);
    let mut insight = Insight::new(7);
    let mut model = Model::new(truth.clone(), 10);
    feed(&mut insight, &mut model, 4.0, 30.0);
    let days = feed(&mut insight, &mut model, 1.26, 1.0);
    for day in &days[1..] {
        let capacity = day.capacity_ah.unwrap();
        assert!((capacity.value / truth.capacity_ah - 1.0).abs() < 0.03, "{capacity:?}");
        assert!(day.cells.resistance_mohm[4..].iter().all(Option::is_none));
        for (milliohms, truth) in day.cells.resistance_mohm.iter().zip(&truth.milliohms) {
            assert!((f64::from(milliohms.unwrap()) / truth - 1.0).abs() < 0.1, "{milliohms:?}");
        }
    }
}

#[test]
fn a_stored_state_goes_on_with_what_was_learnt() {
    let truth = small(11, Firmware::Right, Load::Steps);
    let mut model = Model::new(truth.clone(), 11);
    let mut insight = Insight::new(7);
    for _ in 0..12 {
        feed(&mut insight, &mut model, 0.25, 10.0);
        feed(&mut insight, &mut model, 0.02, 1.0);
        let text = serde_json::to_string(&insight).unwrap();
        insight = serde_json::from_str(&text).unwrap();
    }
    let figures = insight.figures().unwrap();
    check(figures.capacity_ah, truth.capacity_ah, 0.03, BY_SCALE);
    check(figures.cells[0].resistance_mohm, truth.milliohms[0], 0.1, 0.3);
}

/// States that were stored before there were estimators.
#[test]
fn an_older_state_loads() {
    let text = r#"{"mcu_id":7,"counters":{"energy_in_wh":1.0,"energy_out_wh":0.0,
        "charge_in_ah":0.0,"charge_out_ah":0.0},"last":null,"today":null}"#;
    let insight: Insight = serde_json::from_str(text).unwrap();
    assert_eq!(insight.counters().energy_in_wh, 1.0);
}
