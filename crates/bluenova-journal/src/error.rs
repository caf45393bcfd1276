use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::ErrorCode;
use rusqlite::ffi::{
    self, SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_READ, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_SHORT_READ,
};

/// What went wrong with a journal, and with which.
///
/// The path of a journal in memory is `:memory:`, as SQLite has it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process writes to this journal.
    #[error("journal {} is in use by {}", path.display(), name_of(*holder))]
    InUse {
        /// The journal.
        path: PathBuf,
        /// Process ID of the other one, where it is known.
        holder: Option<u32>,
    },
    /// The file is a SQLite database, but not a journal.
    #[error("{} is a file or a SQLite database of something else, not a journal", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is a journal that a newer version of this crate has written to.
    #[error(
        "journal {} has version {found} of the tables, and this program has up to version {known}: \
         use the program that wrote it, or a newer one; nothing was changed",
        path.display()
    )]
    Version {
        /// The journal.
        path: PathBuf,
        /// The version of its tables.
        found: i32,
        /// The newest version that this crate has.
        known: i32,
    },
    /// The disk has too little free space for creating the journal, or for bringing its tables to
    /// this version.
    #[error(
        "journal {} needs {needed} bytes of free disk space to be opened, and there are {free}: \
         make space; nothing was changed",
        path.display()
    )]
    NoSpace {
        /// The journal.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The file is a journal, or was one, and its header or tables are not what was written.
    #[error("journal {} is damaged", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
    },
    /// The file was deleted, or another one was put in its place, while the journal was open.
    #[error("journal {} was deleted or replaced while in use", path.display())]
    Gone {
        /// The journal.
        path: PathBuf,
    },
    /// A query took longer than it may: see [`Reader::time_limit`](crate::Reader::time_limit).
    #[error("reading journal {} took longer than {limit:?}", path.display())]
    TimeLimit {
        /// The journal.
        path: PathBuf,
        /// What it may take.
        limit: Duration,
    },
    /// A call to the operating system failed.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A call to SQLite failed.
    #[error("can't {action} journal {}", path.display())]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// On which journal.
        path: PathBuf,
        /// Why it failed.
        source: SqliteError,
    },
}

/// What SQLite has answered, in one sentence: the error of the crate `rusqlite` has the same text
/// once more in its source.
#[derive(Debug)]
pub struct SqliteError(pub(crate) rusqlite::Error);

impl std::error::Error for SqliteError {}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rusqlite::Error::SqliteFailure(error, text) = &self.0 else { return self.0.fmt(f) };
        let code = error.extended_code;
        let text = text.as_deref().unwrap_or_else(|| ffi::code_to_str(code));
        write!(f, "{text} (error {code} of SQLite)")
    }
}

impl Error {
    /// Whether the file is damaged, or no SQLite database at all.
    ///
    /// [`Journal::open_or_recover`](crate::Journal::open_or_recover) deals with it at the start,
    /// and [`Journal::recover`](crate::Journal::recover) when it shows later.
    pub fn is_damage(&self) -> bool {
        use rusqlite::Error as Sqlite;
        match self {
            Self::Damaged { .. } => true,
            // SQLite has no checksums: where it does not see the damage, our tables lack what was
            // put there, or hold what never was.
            Self::Sqlite {
                source:
                    SqliteError(
                        Sqlite::QueryReturnedNoRows
                        | Sqlite::InvalidColumnType(..)
                        | Sqlite::Utf8Error(..)
                        | Sqlite::FromSqlConversionFailure(..)
                        | Sqlite::IntegralValueOutOfRange(..),
                    ),
                ..
            } => true,
            Self::Sqlite { source: SqliteError(source), .. } => {
                source.sqlite_error().is_some_and(|error| {
                    matches!(
                        error.code,
                        ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        // No statement of ours violates one on tables as we left them.
                        | ErrorCode::ConstraintViolation
                    ) || matches!(
                        error.extended_code,
                        // The disk does not give a part of the file.
                        SQLITE_IOERR_READ | SQLITE_IOERR_SHORT_READ | SQLITE_IOERR_CORRUPTFS
                    )
                })
            }
            _ => false,
        }
    }

    /// Whether it took too long, be it the query itself or waiting for another connection: trying
    /// again later may succeed.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::TimeLimit { .. } => true,
            Self::Sqlite { source: SqliteError(source), .. } => {
                source.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
            }
            _ => false,
        }
    }

    /// Whether there is no space left on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Sqlite { source: SqliteError(source), .. } => {
                source.sqlite_error().is_some_and(|error| {
                    // The second one is how SQLite says it of the index to its log.
                    error.code == ErrorCode::DiskFull || error.extended_code == SQLITE_IOERR_SHMSIZE
                })
            }
            _ => false,
        }
    }
}

fn name_of(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
