//! The database for which the rows of a journal are.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// `None` if it was never noted, as in journals of older versions.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Option<String>> {
    if !connection.table_exists(Some("main"), "destination")? {
        return Ok(None);
    }
    let select = "SELECT database FROM destination";
    connection.query_row(select, (), |row| row.get(0)).optional()
}

/// Writes nothing where it is noted already: that would cost a page at each start.
pub(crate) fn write(connection: &mut Connection, database: &str) -> rusqlite::Result<()> {
    if read(connection)?.as_deref() == Some(database) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM destination", ())?;
    transaction.execute("INSERT INTO destination VALUES (?)", [database])?;
    transaction.commit()
}
