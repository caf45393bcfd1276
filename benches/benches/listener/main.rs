//! What the listener costs as a whole: the release binary itself, on the CPU and in memory, and how
//! soon the rows of a fleet are in PostgreSQL.
//!
//! ```text
//! cargo bench -p bluenova-benches --bench listener -- flood
//! cargo bench -p bluenova-benches --bench listener -- fleet 1 1000 5000
//! cargo bench -p bluenova-benches --bench listener -- delivery 1000 5000 4x500
//! ```
//!
//! The figures come from `/proc`, so that this is for Linux.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark without its material is over")]

use std::env;

use bluenova_benches::build_listener;

mod consoles;
mod delivery;
mod fleet;
mod flood;
mod program;

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (what, sizes) = args.split_first().map_or(("", &[][..]), |(what, rest)| (what, rest));
    let sizes = |usual: &[&str]| match sizes {
        [] => usual.iter().map(|&size| size.to_owned()).collect(),
        sizes => sizes.to_vec(),
    };
    let listener = build_listener();
    if matches!(what, "" | "flood") {
        flood::flood(&listener);
    }
    if matches!(what, "" | "fleet") {
        for size in sizes(&["1", "1000"]) {
            fleet::fleet(&listener, size.parse().expect("a number of batteries"));
        }
    }
    if matches!(what, "" | "delivery") {
        for size in sizes(&["1000"]) {
            // So many listeners, and so many batteries on each.
            let (listeners, batteries) = size.split_once('x').unwrap_or(("1", &size));
            let number = |text: &str| text.parse().expect("a number");
            delivery::delivery(&listener, number(listeners), number(batteries));
        }
    }
}
