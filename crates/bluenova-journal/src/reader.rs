use std::sync::Arc;

use bluenova_record::PackRecord;
use rusqlite::{Connection, OptionalExtension};

use crate::Error;
use crate::address::{Access, Address};
use crate::journal::Cursor;
use crate::schema::{self, Statements};

/// A look at the rows, beside the writer.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    sql: Statements,
    address: Address,
    /// Keeps the name of a database in memory from being given to another one.
    _cursor: Arc<Cursor>,
}

impl Reader {
    pub(crate) fn new(address: Address, cursor: Arc<Cursor>) -> Result<Self, Error> {
        let connection = address.connect(Access::Read)?;
        Ok(Self { connection, sql: Statements::new(), address, _cursor: cursor })
    }

    /// The row of each battery that was appended last, by `mcu_id`.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn latest(&self) -> Result<Vec<PackRecord>, Error> {
        self.try_latest().map_err(|source| self.address.error("read", source))
    }

    /// How many rows of a battery there are.
    ///
    /// # Errors
    /// If the file can't be read or is damaged.
    pub fn count(&self, mcu_id: u32) -> Result<u64, Error> {
        self.try_count(mcu_id).map_err(|source| self.address.error("read", source))
    }

    fn try_latest(&self) -> rusqlite::Result<Vec<PackRecord>> {
        // One transaction, so that no row goes between the two questions.
        let transaction = self.connection.unchecked_transaction()?;
        let mut newest = transaction.prepare_cached(
            "SELECT max(newest) FROM (
                 SELECT mcu_id, newest FROM battery
                 UNION ALL
                 SELECT mcu_id, sequence FROM recent
                 WHERE sequence > (SELECT settled FROM progress)
             ) GROUP BY mcu_id ORDER BY mcu_id",
        )?;
        let mut one = transaction.prepare_cached(&self.sql.select_one)?;
        let mut latest = vec![];
        let mut sequences = newest.query(())?;
        while let Some(row) = sequences.next()? {
            let sequence: i64 = row.get(0)?;
            let row = one.query_row([sequence], schema::record).optional()?;
            latest.extend(row.and_then(|(_, record)| record));
        }
        Ok(latest)
    }

    fn try_count(&self, mcu_id: u32) -> rusqlite::Result<u64> {
        let count: i64 = self
            .connection
            .prepare_cached(
                "SELECT coalesce((SELECT stored FROM battery WHERE mcu_id = ?1), 0)
                     + (SELECT count(*) FROM recent
                        WHERE mcu_id = ?1 AND sequence > (SELECT settled FROM progress))",
            )?
            .query_row([mcu_id], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
