//! Figures against the truth of simulated batteries: how far off they are after a month, and how
//! soon they are right.
//!
//! In the everyday form some packs for some days, with `BLUENOVA_TRUTH=full` (`./test insight`) 50
//! packs without and 50 with a weak cell for 30 days, and what that looks like in tables.
//! `BLUENOVA_TRUTH_SEED=100` takes other packs: those from that seed on.
//! `BLUENOVA_TRUTH_CURVES` is the file for a picture of the errors.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod curves;
mod observe;
mod tables;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bluenova_simulator::{PackTruth, SocHabit, Weakness};
use observe::{Course, observe};

/// Days that a pack is observed in the long form.
const DAYS: usize = 30;
/// Packs of the everyday form, by seed, and the days after which it is known what they are: one
/// without a weak cell, then one of each weakness.
const SOME_HEALTHY: [(u64, usize); 1] = [(2, 12)];
const SOME_WEAK: [(u64, usize); 3] = [(50, 2), (51, 12), (54, 10)];
/// Packs with a weak cell in the long form, and as many without.
const PACKS: u64 = 50;
/// How many of those may be left unnamed, and how many good cells beside a weak one be named.
const MISSED: usize = 2;
/// Packs of each kind of which nothing is promised, in the long form.
const OTHERS: u64 = 10;

const CAPACITY: f64 = 0.03;
const RESISTANCE: f64 = 0.10;
const ENERGY: f64 = 0.005;
/// Most bytes of a stored state.
const STATE_BYTES: usize = 6 * 1024;

/// Every combination of a weakness with a habit of the firmware, a number of cells, ….
fn weak(seed: u64) -> PackTruth {
    PackTruth::weak(seed, Weakness::ALL[(seed / 3 % 3) as usize])
}

/// A pack that is never less than half full: nothing is promised of its capacity.
fn shallow(seed: u64) -> PackTruth {
    PackTruth { reserve_percent: 50.0, ..PackTruth::healthy(seed) }
}

/// A pack whose firmware counts with the capacity of the label, however old it is: the same.
fn mistaken(seed: u64) -> PackTruth {
    let truth = PackTruth::healthy(3 * seed + 1);
    PackTruth { soc_habit: SocHabit::Counts(truth.label_ah), ..truth }
}

#[test]
fn figures_are_near_the_truth_after_a_month() {
    let is_full = std::env::var_os("BLUENOVA_TRUTH").is_some_and(|form| form == "full");
    let first = std::env::var("BLUENOVA_TRUTH_SEED");
    let first = first.map_or(0, |seed| seed.parse().expect("the seed is a number"));
    let all = |seeds: std::ops::Range<u64>| seeds.map(|seed| (seed, DAYS)).collect();
    let (healthy, weak, missed): (Vec<_>, Vec<_>, usize) = match is_full {
        true => (all(first..first + PACKS), all(first + PACKS..first + 2 * PACKS), MISSED),
        false => (SOME_HEALTHY.to_vec(), SOME_WEAK.to_vec(), 0),
    };
    let healthy = healthy.into_iter().map(|(seed, days)| (PackTruth::healthy(seed), days));
    let weak = weak.into_iter().map(|(seed, days)| (self::weak(seed), days));
    let courses = observe_all(&healthy.chain(weak).collect::<Vec<_>>());
    println!("{}", tables::all(&courses));
    if let Some(path) = std::env::var_os("BLUENOVA_TRUTH_CURVES") {
        curves::draw(&courses, path.as_ref()).expect("the curves can be drawn");
    }
    if is_full {
        let others = first..first + OTHERS;
        let packs: Vec<_> = others.clone().map(|seed| (shallow(seed), DAYS)).collect();
        println!("never below half full:\n\n{}", tables::all(&observe_all(&packs)));
        let packs: Vec<_> = others.map(|seed| (mistaken(seed), DAYS)).collect();
        println!("a wrong capacity in the firmware:\n\n{}", tables::all(&observe_all(&packs)));
    }
    check(&courses, missed);
}

/// All of them, on all processors.
fn observe_all(packs: &[(PackTruth, usize)]) -> Vec<Course> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut courses = vec![];
        while let Some((truth, days)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let course = observe(truth.clone(), *days);
            println!("{}", tables::line(&course));
            courses.push(course);
        }
        courses
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut courses: Vec<Course> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    courses.sort_by_key(|course| course.truth.seed);
    courses
}

/// Finds all that is wrong at once.
fn check(courses: &[Course], missed: usize) {
    let mut wrong = vec![];
    let (mut not_named, mut named_beside) = (0, 0);
    for course in courses {
        let seed = course.truth.seed;
        let last = course.days.last().expect("there is a day");
        if last.capacity_error.is_none_or(|error| error.abs() > CAPACITY) {
            wrong.push(format!("{seed}: capacity {:?}", last.capacity_error));
        }
        for (cell, error) in last.resistance_errors.iter().enumerate() {
            if error.is_none_or(|error| error.abs() > RESISTANCE) {
                wrong.push(format!("{seed}: resistance of cell {}: {error:?}", cell + 1));
            }
        }
        if course.state_bytes > STATE_BYTES {
            wrong.push(format!("{seed}: a state of {} bytes", course.state_bytes));
        }
        for error in course.energy_errors {
            if error.abs() > ENERGY {
                wrong.push(format!("{seed}: energy {error}"));
            }
        }
        match course.truth.defect {
            None if !last.named.is_empty() => {
                wrong.push(format!("{seed}: named {}, which isn't weak", course.verdict));
            }
            Some(defect) if last.named != [defect.cell] => {
                not_named += usize::from(last.named.first() != Some(&defect.cell));
                named_beside += last.named.iter().filter(|cell| **cell != defect.cell).count();
                println!("{seed}: {defect:?}, but {}", course.verdict);
            }
            _ => {}
        }
    }
    if not_named > missed {
        wrong.push(format!("{not_named} weak cells were not named, or not first"));
    }
    if named_beside > missed {
        wrong.push(format!("{named_beside} good cells were named beside a weak one"));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
