//! The path of a journal, or its name in memory, and how to connect to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::{Error, error::SqliteError, files, migrations, recover};

/// How long a connection waits for another one: far longer than any transaction takes, even on
/// an SD card that is busy with itself.
const BUSY: Duration = Duration::from_secs(10);

/// The same for a reader, which waits only while another connection brings a log that was left
/// behind up to date: somebody waits for its answer in turn.
const READER_BUSY: Duration = Duration::from_secs(1);

/// Memory for pages per connection; negative, that is in KiB. SQLite's own default of 2 MiB is
/// more than a journal ever profits from.
const CACHE_KIB: i64 = -256;

/// Pages of the write-ahead log, 4 MiB, after which SQLite brings them to their places in the
/// file. The more there are, the more records share a write; reading them after a crash takes a
/// fraction of a second.
const LOG_PAGES: i64 = 8192;

/// To what the log is cut again after a long reader kept it from being used anew.
const LOG_BYTES: i64 = 8 << 20;

#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// An absolute path: SQLite takes a relative one that begins with `file:` for a URI.
    File(PathBuf),
    /// The URI of a database in memory that connections of this process share.
    Memory(String),
}

#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// Write, and create what is not there.
    Create,
    Write,
    Read,
}

impl Address {
    /// The address of a file that is there, and that SQLite does no harm by opening it.
    ///
    /// It is not opened to find out: POSIX drops the locks that the process has on a file when any
    /// descriptor of it is closed, and they may be those of a journal in use.
    pub(crate) fn of_existing(path: &Path) -> Result<Self, Error> {
        let error = |source| Error::Io { action: "open", path: path.to_owned(), source };
        let path = files::resolve(path).map_err(error)?;
        fs::metadata(&path).map_err(error)?;
        // SQLite says no more than that it can't.
        files::check_is_file(&path).map_err(error)?;
        // While a recovery renames files, SQLite would make the log of one file that of the other.
        if files::is_stub(&path) || recover::is_to_be_finished(&path) {
            return Err(Error::Damaged { path });
        }
        if files::has_foreign_files(&path) {
            return Err(Error::Gone { path });
        }
        Ok(Self::File(path))
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Memory(_) => None,
        }
    }

    pub(crate) fn connect(&self, access: Access) -> Result<Connection, Error> {
        self.try_connect(access).map_err(|source| self.error("open", source))
    }

    /// Connects to what is a journal already, and returns the version of its tables; anything else
    /// is an error.
    pub(crate) fn connect_to_journal(&self, access: Access) -> Result<(Connection, i32), Error> {
        let connection = self.connect(access)?;
        match self.version(&connection)? {
            0 => Err(Error::Foreign { path: self.name() }),
            version => Ok((connection, version)),
        }
    }

    /// The version of the tables, 0 if there is nothing yet; an error if it is no journal that can
    /// be used.
    pub(crate) fn version(&self, connection: &Connection) -> Result<i32, Error> {
        let content = migrations::content_of(connection);
        content.map_err(|source| self.error("open", source))?.version(&self.name())
    }

    fn try_connect(&self, access: Access) -> rusqlite::Result<Connection> {
        let (mode, busy) = match access {
            Access::Create => {
                (OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, BUSY)
            }
            Access::Write => (OpenFlags::SQLITE_OPEN_READ_WRITE, BUSY),
            Access::Read => (OpenFlags::SQLITE_OPEN_READ_ONLY, READER_BUSY),
        };
        // A connection is used by one thread at a time, which Rust sees to.
        let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = match self {
            Self::File(path) => Connection::open_with_flags(path, flags)?,
            Self::Memory(uri) => Connection::open_with_flags(uri, flags)?,
        };
        connection.busy_timeout(busy)?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        connection.pragma_update(None, "mmap_size", 0)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        if let Access::Read = access {
            return Ok(connection);
        }
        // No sync per commit: a killed process loses nothing by that, and for a lost mains there
        // is the checkpoint.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        Ok(connection)
    }

    pub(crate) fn error(&self, action: &'static str, source: rusqlite::Error) -> Error {
        Error::Sqlite { action, path: self.name(), source: SqliteError(source) }
    }

    /// What errors call the journal.
    pub(crate) fn name(&self) -> PathBuf {
        self.path().unwrap_or(Path::new(":memory:")).to_owned()
    }
}
