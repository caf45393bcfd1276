//! Why an import has ended early.

use std::{io, path::PathBuf};

/// Why an import has ended before all rows of the logs were in the database.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An SQLite file can't be read or written.
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    /// Another import has the journal open.
    #[error("{0}. An import into the same database is running: wait until it has ended")]
    ImportIsRunning(bluenova_journal::Error),
    /// A listener has the SQLite file open that is the database.
    #[error("{0}. A listener records into that file: end it during the import")]
    ListenerIsRunning(bluenova_journal::Error),
    /// PostgreSQL was away for too long, or objects to more than a row.
    #[error(
        "{source}. Rows wait in {}, {waiting} of them; repeat the command when the server is \
         back: it delivers them and goes on", journal.display()
    )]
    Server {
        /// What the server or the network has answered.
        source: Box<bluenova_postgres::Error>,
        /// Rows that are safe in the journal.
        waiting: u64,
        /// Path of the journal of the import.
        journal: PathBuf,
    },
    /// PostgreSQL can't be asked which rows it has.
    #[error("{source}. Repeat the command when that is mended: it goes on from here")]
    Lookup {
        /// What the server or the network has answered.
        source: Box<bluenova_postgres::Error>,
    },
    /// A thread can't be started.
    #[error("a thread of the import can't be started")]
    Thread(#[source] io::Error),
    /// The thread that delivers has panicked.
    #[error("the thread that delivers has failed")]
    DeliveryFailed,
    /// The thread that reads the logs has panicked.
    #[error("the log reader has failed")]
    ReaderFailed,
}
