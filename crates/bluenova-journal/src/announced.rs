//! What the listener has announced to others, and must take back one day.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use crate::address::{Access, Address};
use crate::connection::JournalConnection;
use crate::{Error, files, leftover};

/// What was announced by MQTT and not taken back yet: a text for each topic.
///
/// It needs no lock, like [`SetAside`](crate::SetAside). A recovery of a damaged journal doesn't
/// find it again.
#[derive(Debug)]
pub struct Announced {
    connection: JournalConnection,
}

impl Announced {
    /// Opens what was announced by the listener of the journal at `path`, which may be in use.
    ///
    /// # Errors
    /// As [`SetAside::open`](crate::SetAside::open).
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { connection: JournalConnection::beside_writer(path)? })
    }

    /// The text of each topic.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn all(&self) -> Result<BTreeMap<String, String>, Error> {
        read(&self.connection.sqlite).map_err(|source| self.connection.error("read", source))
    }

    /// Notes what is announced on `topic`. It writes nothing if that was noted already.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn put(&self, topic: &str, text: &str) -> Result<(), Error> {
        // Most announcements are those of the start before. To find that out takes no lock, which
        // a writer on a slow disk may hold for long.
        let noted = get(&self.connection.sqlite, topic);
        let noted = noted.map_err(|source| self.connection.error("read", source))?;
        if noted.as_deref() == Some(text) {
            return Ok(());
        }
        let put = "INSERT INTO announced VALUES (?1, ?2)
                   ON CONFLICT DO UPDATE SET text = ?2";
        let done = self.connection.sqlite.execute(put, (topic, text));
        done.map(drop).map_err(|source| self.connection.error("note an announcement in", source))
    }

    /// Takes over what was announced by the listeners of other journals in the directory of this
    /// one, at `path`: a listener that was given other options names its journal otherwise. Of a
    /// journal that no process has open, all is taken over or nothing, as `is_ours` says of it.
    ///
    /// # Errors
    /// If this file can't be written or is damaged. Others that can't be used are passed over.
    pub fn take_over(
        &self,
        path: &Path,
        is_ours: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> Result<(), Error> {
        let noted = self.all()?;
        for other in leftover::other_journals(path) {
            let Ok(theirs) = of_unused(&other) else { continue };
            if theirs.is_empty() || !is_ours(&theirs) {
                continue;
            }
            let Ok(other) = Self::open(&other) else { continue };
            for (topic, text) in &theirs {
                if !noted.contains_key(topic) {
                    self.put(topic, text)?;
                }
                // If that fails, it is taken over again at the next start.
                let _ = other.remove(topic);
            }
        }
        Ok(())
    }

    /// Forgets what was announced on `topic`, since it was taken back.
    ///
    /// # Errors
    /// If the file can't be written or is damaged.
    pub fn remove(&self, topic: &str) -> Result<(), Error> {
        let done = self.connection.sqlite.execute("DELETE FROM announced WHERE topic = ?", [topic]);
        done.map(drop).map_err(|source| self.connection.error("forget an announcement in", source))
    }
}

/// What is noted in a journal; nothing where a process has it open, or it is of a version that had
/// no announcements.
fn of_unused(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    if files::is_in_use(path)? {
        return Ok(BTreeMap::new());
    }
    let address = Address::of_existing(path)?;
    let (connection, _) = address.connect_to_journal(Access::Read)?;
    let noted = match connection.table_exists(Some("main"), "announced") {
        Ok(true) => read(&connection),
        other => other.map(|_| BTreeMap::new()),
    };
    noted.map_err(|source| address.error("read", source))
}

fn get(connection: &Connection, topic: &str) -> rusqlite::Result<Option<String>> {
    let select = "SELECT text FROM announced WHERE topic = ?";
    connection.query_row(select, [topic], |row| row.get(0)).optional()
}

fn read(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut select = connection.prepare("SELECT topic, text FROM announced")?;
    select.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
