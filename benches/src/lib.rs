//! What the benchmarks in `benches/` share: console text and records of a simulated battery, and
//! two other ways of reading the console, to compare ours with.
//!
//! docs/performance.md has the commands and the results.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, reason = "a benchmark without its material is over")]

mod first_listener;
mod kinds;
mod regex_set;

use std::{env, path::PathBuf, process::Command, time::Duration};

use bluenova_console::{Assembler, Interval};
use bluenova_record::PackRecord;
use bluenova_simulator::{Battery, Profile};
use time::{UtcDateTime, macros::utc_datetime};

pub use first_listener::FirstListener;
pub use kinds::Draft;
pub use regex_set::RegexListener;

/// When the simulated battery begins.
pub const START: UtcDateTime = utc_datetime!(2025-06-01 09:00:00);

/// Time between two cycles in the model. A real battery takes a second; here values should change
/// from cycle to cycle, but lines that come once a minute should stay rare.
const BETWEEN_CYCLES: Duration = Duration::from_secs(10);

/// The console of one battery, with noise, over so many cycles of about 45 lines.
pub fn console(cycles: usize) -> String {
    let mut battery = Battery::new(Profile::new(1, START));
    let mut console = String::new();
    for _ in 0..cycles {
        battery.print_cycle(&mut console);
        battery.advance(BETWEEN_CYCLES);
    }
    console
}

/// Records of one battery, all different, a second apart.
pub fn records(count: usize) -> Vec<PackRecord> {
    let mut battery = Battery::new(Profile::new(1, START));
    let mut assembler = Assembler::new(Interval::from_seconds(1).expect("an interval"));
    let mut now = START;
    let mut records = vec![];
    let mut cycle = String::new();
    while records.len() < count {
        battery.advance(BETWEEN_CYCLES);
        cycle.clear();
        battery.print_cycle(&mut cycle);
        records.extend(assembler.tick(now).and_then(Result::ok));
        for line in cycle.lines() {
            assembler.feed(line).expect("the simulator makes no mistakes of its own accord");
        }
        now += time::Duration::SECOND;
    }
    records
}

/// Calls `take` with each line, without its line end: the least that a reader of text has to do.
#[inline]
pub fn each_line<'a>(text: &'a str, mut take: impl FnMut(&'a str)) {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text.as_bytes()) {
        let line = &text[start..end];
        take(line.strip_suffix('\r').unwrap_or(line));
        start = end + 1;
    }
}

/// Builds the program as it is shipped, and returns its path. For programs in
/// `benches/`, which lie beside it. Their profile differs from that of a release in the line tables
/// alone, and most crates are built for it already.
///
/// `BLUENOVALISTENER` names another build to measure instead, an older one, say.
pub fn build_listener() -> PathBuf {
    if let Some(other) = env::var_os("BLUENOVALISTENER") {
        return other.into();
    }
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", "bench", "-p", "bluenovalistener"])
        .status()
        .expect("there is cargo");
    assert!(status.success(), "the listener doesn't build");
    let this = env::current_exe().expect("it has a path");
    this.ancestors().nth(2).expect("it lies in deps").join("bluenovalistener")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise they'd be no comparison.
    #[test]
    fn all_ways_of_reading_give_the_same() {
        let text = console(1500);
        let mut assembler = Assembler::new(Interval::from_seconds(10).unwrap());
        let mut regex = RegexListener::default();
        let mut draft = [Draft::default(), Draft::default()];
        assert_eq!(assembler.tick(START), None);
        each_line(&text, |line| {
            assembler.feed(line).unwrap();
            FirstListener.feed(line, &mut draft[0]);
            regex.feed(line, &mut draft[1]);
        });
        let end = START + Duration::from_secs(10);
        let record = assembler.tick(end).unwrap().unwrap();
        let counted = record.bad_crc + record.parse_fail + record.bad_vcell;
        assert!(counted > 0 && record.energy_in.is_some(), "too short to have them all");
        for draft in draft {
            assert_eq!(draft.finish(end), Some(record.clone()));
        }
    }

    #[test]
    fn there_are_as_many_records_as_asked_for() {
        let records = records(50);
        assert_eq!(records.len(), 50);
        assert!(records.is_sorted_by(|a, b| a.insert_time_utc < b.insert_time_utc));
    }
}
