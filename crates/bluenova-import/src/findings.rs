//! What logs have besides rows.

use std::{io, path::PathBuf};

use bluenova_archive::Damage;

/// What was found in the logs besides rows that can be added.
#[derive(Debug, Default)]
pub struct Findings {
    /// Damaged lines and records, each kind once.
    pub damage: Vec<FoundDamage>,
    /// Files that can't be read to their end, and why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
    /// Files without a single line that begins with a time.
    pub no_logs: Vec<PathBuf>,
    /// Number of records and intervals without an MCU ID.
    pub without_owner: u64,
    /// Number of records from before the clock was set, or from the future.
    pub wrong_clock: u64,
    /// Number of rows of console lines that a listener may be recording.
    pub under_way: u64,
    /// Files whose local times were taken to be of the zone that is given, or of the system's.
    pub by_zone: Vec<PathBuf>,
}

/// Where a kind of damage was found first, and how often.
#[derive(Debug)]
pub struct FoundDamage {
    /// What is damaged.
    pub damage: Damage,
    /// How often it was found.
    pub count: u64,
    /// The file in which it was found first.
    pub path: PathBuf,
    /// The line in that file, counted from 1.
    pub line: u64,
}
