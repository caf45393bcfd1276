//! What a spool has to say.

use std::path::PathBuf;

use crate::{Error, Recovery};

/// Event of a [`Spool`](crate::Spool), for the log.
#[derive(Debug)]
pub enum Notice {
    /// The file can't be written: rows are kept in memory, and end with the process. It comes again
    /// with each attempt that fails.
    InMemory(Error),
    /// The file can't be written, or is being recovered: rows are kept in a file that stands in for
    /// it. It comes again with each attempt that fails.
    InStandIn {
        /// Why the journal's file can't be written.
        error: Error,
        /// The file that stands in for it.
        path: PathBuf,
    },
    /// The file is written again.
    InFile {
        /// Rows that came along from the stand-in, or from a file that was deleted.
        rows: usize,
    },
    /// The file was damaged, and a new one with what was legible is in its place.
    Recovered(Recovery),
    /// The bound was reached: the oldest rows, not delivered yet, were deleted.
    Evicted {
        /// How many rows.
        rows: u64,
        /// Whether they were in the memory that stands in for the file.
        from_memory: bool,
    },
    /// The rows of a deleted file that could not be read.
    OrphansLost(Error),
    /// Something failed that will be done again, and has cost no row.
    Postponed(Error),
}
