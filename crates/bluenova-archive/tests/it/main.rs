//! Logs as people have them, and each kind of damage.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

use bluenova_archive::{Damage, Event, LogLines, LogParser, Position};
use bluenova_record::PackRecord;

mod console;
mod genuine;
mod records;
mod zones;

/// Things in a log, with the numbers of their lines.
type Found<T> = Vec<(u64, T)>;

/// The records and the damage in a log.
fn read(log: &[u8]) -> (Found<PackRecord>, Found<Damage>) {
    let (mut records, mut damage) = (vec![], vec![]);
    let mut event = |at: Position, event: Event<'_>| match event {
        Event::Record(logged) => records.push((logged.at.line, logged.record)),
        Event::Damage(found) => damage.push((at.line, found)),
        _ => {}
    };
    let mut parser = LogParser::default();
    let mut lines = LogLines::new(log);
    while let Some(line) = lines.next_line().unwrap() {
        parser.feed(line, &mut event);
    }
    parser.finish(&mut event);
    (records, damage)
}
