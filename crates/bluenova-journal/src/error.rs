use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

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
        /// Process ID of the other one, where it could be told.
        holder: Option<u32>,
    },
    /// The file is a SQLite database, but not a journal.
    #[error("{} is a SQLite database of something else, not a journal", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is a journal whose tables this version does not know.
    #[error("journal {} has version {found} of the tables, which is not known here", path.display())]
    Version {
        /// The journal.
        path: PathBuf,
        /// The version that it bears.
        found: i32,
    },
    /// The file was deleted, or another one was put in its place, while the journal was open.
    #[error("journal {} was deleted or replaced while in use", path.display())]
    Gone {
        /// The journal.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// SQLite refused something.
    #[error("cannot {action} journal {}", path.display())]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// On which journal.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
}

impl Error {
    /// Whether the file is damaged, or no SQLite database at all.
    ///
    /// [`set_aside`](crate::set_aside) makes room for a new one.
    pub fn is_damage(&self) -> bool {
        use rusqlite::Error as Sqlite;
        match self {
            // SQLite has no checksums: where it does not see the damage, our tables hold what was
            // never put there.
            Self::Sqlite {
                source:
                    Sqlite::QueryReturnedNoRows
                    | Sqlite::InvalidColumnType(..)
                    | Sqlite::IntegralValueOutOfRange(..),
                ..
            } => true,
            _ => matches!(self.code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)),
        }
    }

    /// Whether there is no room left on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => self.code() == Some(ErrorCode::DiskFull),
        }
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite { source, .. } => source.sqlite_error_code(),
            _ => None,
        }
    }
}

fn name_of(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
