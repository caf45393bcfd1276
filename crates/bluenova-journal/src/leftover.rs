//! Journals that a program with other options has left behind, with rows that nobody delivers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::address::{Access, Address};
use crate::{
    Batch, Error, Outbox, Sequence, SetAside, SetAsideRow, destination, files, outbox, recover,
    set_aside,
};

/// A journal that no process has open, and that has rows for a database: rows that wait, rows that
/// are set aside, or rows in a torn log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The file.
    pub path: PathBuf,
    /// What [`Journal::note_destination`](crate::Journal::note_destination) noted; `None` in
    /// journals of older versions.
    pub database: Option<String>,
    /// Rows that are not delivered.
    pub waiting: u64,
    /// Rows that are set aside.
    pub set_aside: u64,
    /// There may be more rows in its log, which a power failure has torn:
    /// [`LeftoverOutbox::open`] stores them in the journal.
    pub has_torn_log: bool,
}

/// The leftovers in the directory of the journal at `path`, other than that one, in the order of
/// their names: files named `journal-`, 16 hexadecimal digits, `.sqlite`, and their stand-ins. An
/// error stands for a file that can't be read.
///
/// Nothing in them is changed.
pub fn leftovers(path: &Path) -> Vec<Result<Leftover, Error>> {
    other_journals(path).iter().filter_map(|other| look_at(other).transpose()).collect()
}

/// The journals in the directory of the one at `path`, other than that one, in the order of their
/// names: those that a program could have named that was given no path, and their stand-ins.
pub fn other_journals(path: &Path) -> Vec<PathBuf> {
    let Ok(path) = files::resolve(path) else { return vec![] };
    let Ok(entries) = fs::read_dir(files::directory_of(&path)) else { return vec![] };
    let mut others: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_name_of_journal))
        .map(|entry| entry.path())
        .filter(|other| *other != path && !files::is_same(other, &path))
        .collect();
    others.sort();
    others
}

/// Whether a program that was given no path could have named a journal so, or its stand-in.
fn is_name_of_journal(name: &str) -> bool {
    let name = name.strip_suffix(".stand-in").unwrap_or(name);
    let digits = name.strip_prefix("journal-").and_then(|rest| rest.strip_suffix(".sqlite"));
    digits.is_some_and(|digits| {
        digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// `None` if a process has the journal open, or if there is nothing to deliver.
fn look_at(path: &Path) -> Result<Option<Leftover>, Error> {
    let is_empty = fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
    // One that is empty may have a log that isn't.
    if is_empty && !files::is_stub(path) || files::is_in_use(path)? {
        return Ok(None);
    }
    let address = Address::of_existing(path)?;
    let (connection, _) = address.connect_to_journal(Access::Read)?;
    let error = |source| address.error("read", source);
    let leftover = Leftover {
        path: path.to_owned(),
        database: destination::read(&connection).map_err(error)?,
        waiting: outbox::waiting(&connection, |stored| stored).map_err(error)?,
        set_aside: set_aside::count(&connection).map_err(error)?,
        has_torn_log: address.path().is_some_and(recover::has_torn_log),
    };
    let has_rows = leftover.waiting + leftover.set_aside > 0 || leftover.has_torn_log;
    Ok(has_rows.then_some(leftover))
}

/// The rows of a [`Leftover`] that are not delivered.
///
/// It holds no lock: a program that has the options of that journal may start at any moment, and
/// records. It delivers these rows itself then, and [`undelivered`](Self::undelivered) returns none
/// any more.
#[derive(Debug)]
pub struct LeftoverOutbox {
    path: PathBuf,
    outbox: Outbox,
}

impl LeftoverOutbox {
    /// Opens the outbox of a leftover.
    ///
    /// # Errors
    /// If the file can't be opened for writing, or is damaged.
    pub fn open(leftover: &Leftover) -> Result<Self, Error> {
        let path = leftover.path.clone();
        // Closing the journal as its last user, SQLite would remove what is behind the tear.
        recover::store_torn_log(&files::resolve(&path).map_err(|source| Error::Io {
            action: "open",
            path: path.clone(),
            source,
        })?)?;
        Ok(Self { outbox: Outbox::of_existing(&path)?, path })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The oldest rows that are not delivered, `limit` at most; none, too, as soon as a process has
    /// the journal open.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn undelivered(&mut self, limit: usize) -> Result<Batch, Error> {
        if files::is_in_use(&self.path)? {
            return Ok(Batch::default());
        }
        self.outbox.undelivered(limit)
    }

    /// Notes that the rows up to `last` are delivered: see [`Outbox::delivered`].
    ///
    /// # Errors
    /// As for [`Outbox::delivered`].
    pub fn delivered(&mut self, last: Sequence) -> Result<(), Error> {
        self.outbox.delivered(last)
    }

    /// How many rows are not delivered.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn waiting(&self) -> Result<u64, Error> {
        self.outbox.waiting()
    }

    /// Sets aside a row of the last batch: see [`Outbox::set_aside`].
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn set_aside_row(&mut self, row: &SetAsideRow) -> Result<(), Error> {
        self.outbox.set_aside_row(row)
    }

    /// Moves the rows that are set aside to the journal at `path`, which may be in use, so that
    /// they are listed there; returns how many.
    ///
    /// Each is there before it is removed here, whatever interrupts this.
    ///
    /// # Errors
    /// If one of the two can't be read or written.
    pub fn move_set_aside(&self, path: &Path) -> Result<u64, Error> {
        let rows = self.outbox.rows_set_aside()?;
        if rows.is_empty() {
            return Ok(0);
        }
        let (mut from, mut to) = (SetAside::open(&self.path)?, SetAside::open(path)?);
        for row in &rows {
            to.add(row)?;
            from.remove(&row.record)?;
        }
        Ok(rows.len() as u64)
    }
}
