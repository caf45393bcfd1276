//! The rows of the table as CSV, for whoever only reads.

use std::{
    fmt::Write,
    io::{self, BufRead},
    mem,
};

use bluenova_record::{Column, SqlType, TABLE, Timestamp};
use postgres::Client;
use time::UtcDateTime;

use crate::{
    Error, Settings,
    connect::{self, Session},
    error::{Cause, READING},
};

/// Which rows of the table are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSelection {
    /// The earliest time; `None`: no limit.
    pub from: Option<UtcDateTime>,
    /// The time before which they are; `None`: no limit.
    pub to: Option<UtcDateTime>,
    /// MCU IDs of the batteries; of all of them if there is none.
    pub batteries: Vec<u32>,
}

/// A connection that reads the table, in one transaction that changes nothing. It needs no right
/// but to read.
///
/// No part of it has a deadline: a year may rightly take an hour.
pub struct TableReader {
    client: Client,
    target: String,
    /// Warnings for people about the connection.
    pub warnings: Vec<String>,
}

/// The transaction, whose settings end with it.
const BEGIN: [&str; 6] = [
    "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    // For tables whose time stamps are WITH TIME ZONE.
    "SET LOCAL TimeZone = 'UTC'",
    "SET LOCAL DateStyle = 'ISO'",
    // The fewest digits that are certain; servers before version 12 print all that may matter.
    "SET LOCAL extra_float_digits = 3",
    "SET LOCAL statement_timeout = 0",
    // Rows that a policy hides would be missing without a word: an error instead.
    "SET LOCAL row_security = off",
];

impl TableReader {
    /// Connects to the first host that can be reached.
    ///
    /// # Errors
    /// The database can't be reached or refuses the connection.
    pub fn connect(settings: &Settings) -> Result<Self, Error> {
        let session = connect::connect(settings, settings.hosts(), |_| true)?;
        let Session { mut client, target, warnings } = session;
        let begun = client.batch_execute(&BEGIN.join("; "));
        begun.map_err(|cause| Error::new(READING, &target, cause))?;
        Ok(Self { client, target, warnings })
    }

    /// Whether a battery has rows in the table.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn has_battery(&mut self, mcu_id: u32) -> Result<bool, Error> {
        self.ask(&format!(
            "SELECT count(*) FROM (
            SELECT FROM {TABLE} WHERE mcu_id = {mcu_id} LIMIT 1) AS found"
        ))
        .map(|count| count > 0)
    }

    /// How many rows there are. The server reads them all for that, or their index.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn count(&mut self, rows: &TableSelection) -> Result<u64, Error> {
        self.ask(&format!("SELECT count(*) FROM {TABLE}{}", condition(rows)))
    }

    /// Calls `each` with the rows as CSV, piece by piece, in the order of time and battery. There
    /// is no header. Times are RFC 3339; the rest is what `\copy … WITH (FORMAT csv)` writes.
    ///
    /// It takes the connection with it. An error of `each` ends it; the connection then is left to
    /// the system, which closes it with the process: to close it in good order, all rows that are
    /// still to come would have to be read.
    ///
    /// # Errors
    /// The table can't be read, or `each` returned an error.
    pub fn copy_csv<E: From<Error>>(
        mut self,
        rows: &TableSelection,
        columns: &[&Column],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let target = self.target;
        let error = |cause| Error::new(READING, &target, cause);
        let mut out = self.client.copy_out(&copy_sql(rows, columns)).map_err(error)?;
        loop {
            let piece = out.fill_buf().map_err(|cause| error_in_copy(&target, cause))?;
            let length = piece.len();
            if length == 0 {
                return Ok(());
            }
            if let Err(error) = each(piece) {
                drop(out);
                mem::forget(self.client);
                return Err(error);
            }
            out.consume(length);
        }
    }

    /// The number that a statement yields. It is sent as an unnamed statement: a named one would
    /// stay behind in the session, which a pooler gives to the next client.
    fn ask(&mut self, sql: &str) -> Result<u64, Error> {
        let rows = self.client.query_typed(sql, &[]);
        let count =
            rows.and_then(|rows| rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0)));
        let count = count.map_err(|cause| Error::new(READING, &self.target, cause))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

fn error_in_copy(target: &str, error: io::Error) -> Error {
    // The `postgres` crate puts its own errors into those that `BufRead` has.
    match error.downcast::<postgres::Error>() {
        Ok(cause) => Error::new(READING, target, cause),
        Err(_) => Error::new(READING, target, Cause::ThreadDied),
    }
}

/// Names and numbers of ours are all that is in it, so nothing needs to be quoted.
fn copy_sql(rows: &TableSelection, columns: &[&Column]) -> String {
    let values: Vec<_> = columns.iter().map(|column| expression(column)).collect();
    let values = values.join(", ");
    format!(
        "COPY (SELECT {values} FROM {TABLE}{} ORDER BY {TABLE}.insert_time_utc, {TABLE}.mcu_id) \
         TO STDOUT WITH (FORMAT csv)",
        condition(rows)
    )
}

/// A column; a time as RFC 3339, with the decimals of the second that are not zero.
fn expression(column: &Column) -> String {
    let name = column.name;
    match column.sql {
        SqlType::Timestamp => format!(
            "CASE WHEN isfinite({name}) THEN rtrim(rtrim(to_char({name}, \
             'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '0'), '.') || 'Z' ELSE {name}::text END"
        ),
        _ => name.to_owned(),
    }
}

fn condition(rows: &TableSelection) -> String {
    let mut conditions = vec![];
    for (time, comparison) in [(rows.from, ">="), (rows.to, "<")] {
        if let Some(time) = time {
            conditions.push(format!("insert_time_utc {comparison} '{}'", Timestamp(time)));
        }
    }
    if !rows.batteries.is_empty() {
        let ids: Vec<_> = rows.batteries.iter().map(u32::to_string).collect();
        conditions.push(format!("mcu_id IN ({})", ids.join(", ")));
    }
    let mut sql = String::new();
    for (i, condition) in conditions.iter().enumerate() {
        // Writing into a string never fails.
        let _ = write!(sql, " {} {condition}", if i == 0 { "WHERE" } else { "AND" });
    }
    sql
}
