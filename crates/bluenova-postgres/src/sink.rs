use std::{collections::HashSet, fmt::Write, time::Duration};

use bluenova_record::{COLUMNS, Column, PackRecord, SqlType, TABLE, Value};
use postgres::{Client, Statement, types::ToSql};
use time::{PrimitiveDateTime, UtcDateTime};

use crate::{
    Error, LOCK_CLASS, Settings,
    connect::{self, Session},
    courier::Leash,
    error::{Cause, INSERTING, LOOKING, PREPARING, TRYING_OUT},
    limits::LIMITS,
    table,
};

/// One open connection to the table.
pub struct Sink {
    client: Client,
    insert: Statement,
    target: String,
    user: String,
    notes: Vec<String>,
    leash: Leash,
    /// A transaction could not be ended.
    stuck: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Rows that are new in the table.
    pub added: u64,
    /// Rows that were there already, or came earlier in the same batch.
    pub known: u64,
}

impl Sink {
    /// Connects, and creates the table and its index where they are missing.
    ///
    /// A table that is there is taken as it is: it may have more columns, in any order.
    ///
    /// # Errors
    /// Where the database can't be reached or refuses, or has no table with our columns and
    /// doesn't let us create it.
    pub fn connect(settings: &Settings) -> Result<Self, Error> {
        Self::open(settings, Leash::default())
    }

    /// Stops, at the next step, when `leash` is cut.
    pub(crate) fn open(settings: &Settings, leash: Leash) -> Result<Self, Error> {
        let Session { mut client, target, mut notes } = connect::connect(settings, &leash)?;
        let user = settings.user().to_owned();
        let place = target.as_str();
        let failed = |doing| move |cause: postgres::Error| Error::new(doing, place, cause);
        if leash.is_cut() {
            return Err(Error::unwanted(LOOKING, &target));
        }
        // In one message, for lines on which each takes its time; and in a transaction, under its
        // limits, for preparing waits as long as somebody holds a lock on the table.
        if !table::is_complete(&mut client, &begin(&[])).map_err(failed(LOOKING))? {
            client.batch_execute("ROLLBACK").map_err(failed(LOOKING))?;
            notes.extend(table::ensure(&mut client, &target, &user)?);
            client.batch_execute(&begin(&[])).map_err(failed(PREPARING))?;
        }
        let insert = client.prepare(&insert_sql()).map_err(failed(PREPARING))?;
        client.batch_execute("COMMIT").map_err(failed(PREPARING))?;
        Ok(Self { client, insert, target, user, notes, leash, stuck: false })
    }

    /// What people should know about the connection and the table, although rows get into it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Adds those of `records` that are not in the table yet: all of them, or, on an error, none.
    ///
    /// After an error of the connection it may be that the server has added them and that only its
    /// answer was lost. So connect again and deliver the same records again.
    ///
    /// # Errors
    /// Whatever the server has against it; [`Error::retry`] says what to do.
    pub fn deliver(&mut self, records: &[PackRecord]) -> Result<Delivered, Error> {
        let distinct = distinct(records);
        if distinct.is_empty() {
            return Ok(Delivered::default());
        }
        match self.insert(&distinct) {
            Ok(added) => {
                Ok(Delivered { added, known: (records.len() as u64).saturating_sub(added) })
            }
            Err(cause) => Err(self.failed(INSERTING, cause)),
        }
    }

    /// Tells whether a row like that would be taken: inserts it at a time close by, at which there
    /// is none yet, and takes it back.
    ///
    /// Before a row is set aside because the server refuses it, one that was fine before should
    /// pass; otherwise it's the table that refuses everything.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver) has them.
    pub fn probe(&mut self, record: &PackRecord) -> Result<(), Error> {
        match self.try_out(record) {
            Ok(()) => {
                // Where that fails the connection is gone, and the row with it.
                self.stuck = self.client.batch_execute("ROLLBACK").is_err();
                Ok(())
            }
            Err(cause) => Err(self.failed(TRYING_OUT, cause)),
        }
    }

    /// Whether nothing can be delivered over this connection any more. `false` promises nothing.
    pub fn is_closed(&self) -> bool {
        self.stuck || self.client.is_closed()
    }

    fn insert(&mut self, records: &[&PackRecord]) -> Result<u64, Cause> {
        self.client.batch_execute(&begin(records))?;
        let added = self.add(records)?;
        self.check_leash()?;
        self.client.batch_execute("COMMIT")?;
        Ok(added)
    }

    fn try_out(&mut self, record: &PackRecord) -> Result<(), Cause> {
        self.client.batch_execute(&begin(&[record]))?;
        // One that is there already would not be inserted, and prove nothing.
        for distance in 1..=3 {
            let mut near = record.clone();
            near.insert_time_utc = close_to(record.insert_time_utc, distance);
            if self.add(&[&near])? > 0 {
                break;
            }
        }
        // What is deferred would be checked by the COMMIT that doesn't come.
        self.client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE")?;
        Ok(())
    }

    fn add(&mut self, records: &[&PackRecord]) -> Result<u64, Cause> {
        self.check_leash()?;
        let arrays: Vec<_> = COLUMNS.iter().map(|column| array(column, records)).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| -> &(dyn ToSql + Sync) { &**array }).collect();
        Ok(self.client.execute(&self.insert, &parameters)?)
    }

    fn check_leash(&self) -> Result<(), Cause> {
        if self.leash.is_cut() { Err(Cause::Unwanted) } else { Ok(()) }
    }

    /// Ends the transaction, and says what was wrong.
    fn failed(&mut self, doing: &'static str, cause: Cause) -> Error {
        // The end of the connection is the end of the transaction too.
        self.stuck = self.leash.is_cut() || self.client.batch_execute("ROLLBACK").is_err();
        let error = Error::new(doing, &self.target, cause);
        let remedy = if error.is_about_partitions() {
            Some("a partition is missing; create it, or one that is the DEFAULT".to_owned())
        } else {
            let forbidden = error.sqlstate() == Some("42501");
            forbidden.then(|| format!("let its owner run {}", table::grant(&self.user)))
        };
        error.with_remedy(remedy)
    }
}

/// Locks for all batteries: few, so that a batch of thousands of batteries stays well within the
/// server's table of locks; not one, so that writers of different batteries seldom wait.
const BUCKETS: u32 = 64;

/// The first record of each time and battery, in the order given.
fn distinct(records: &[PackRecord]) -> Vec<&PackRecord> {
    let mut seen = HashSet::with_capacity(records.len());
    let key = |record: &PackRecord| (timestamp(record.insert_time_utc), record.mcu_id);
    records.iter().filter(|record| seen.insert(key(record))).collect()
}

/// The statements that come before the insert, in one message.
///
/// A first attempt whose connection died may still be at work in its own transaction, unseen by
/// us, and so may a second listener. The locks make us wait for them. Each statement but the first
/// sees what was committed before it began, so that an insert that comes after the locks sees all
/// that was done under them; a lock taken within the insert itself would come too late, and so it
/// would under the isolation levels that a server may have as its default.
fn begin(records: &[&PackRecord]) -> String {
    let mut buckets: Vec<u32> = records.iter().map(|record| record.mcu_id % BUCKETS).collect();
    // In order, so that two sinks never wait for each other.
    buckets.sort_unstable();
    buckets.dedup();

    let mut sql = [&BEGIN[..], &LIMITS].concat().join("; ");
    for bucket in buckets {
        let _ = write!(sql, "; SELECT pg_advisory_xact_lock({LOCK_CLASS}, {bucket})");
    }
    sql
}

/// All settings are the transaction's own, so that nothing depends on the session, which a pooler
/// may have given to somebody else in between.
const BEGIN: [&str; 5] = [
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    // For tables whose time stamps are WITH TIME ZONE.
    "SET LOCAL TimeZone = 'UTC'",
    // A planner whose statistics are of old may take reading the whole table for the better way.
    "SET LOCAL enable_seqscan = off",
    // Compiling takes longer than running; PostgreSQL before 11 doesn't know the setting.
    "SELECT set_config('jit', 'off', true) WHERE current_setting('jit', true) = 'on'",
    // An acknowledged row must survive a crash of the server.
    "SELECT set_config('synchronous_commit', 'local', true) \
     WHERE current_setting('synchronous_commit') = 'off'",
];

/// One statement for a batch of any size: each parameter is one column as an array.
///
/// The arrays are taken apart by the list of a `SELECT`, row by row. With `unnest` in a `FROM`, the
/// server would store each column by itself first, which takes it longer than all the rest.
///
/// Two things are there for the planner alone. `OFFSET 0` keeps it from turning the question for
/// each row into a join with the table, which it might carry out by reading all of it. `BETWEEN`
/// makes an index on the time look better than one on the battery, which looks as good to a planner
/// without statistics (after `pg_upgrade`, say) and leads to all rows that the battery ever had.
fn insert_sql() -> String {
    let list = |f: &dyn Fn(usize, &Column) -> String| {
        let items: Vec<_> = COLUMNS.iter().enumerate().map(|(i, column)| f(i, column)).collect();
        items.join(", ")
    };
    let names = list(&|_, column| column.name.to_owned());
    let values = list(&|_, column| format!("new.{}", column.name));
    let arrays = list(&|i, column| match column.sql {
        // A cast to VARCHAR(n) would cut the text without a word.
        SqlType::Varchar(_) => format!("unnest(${}::TEXT[]) AS {}", i + 1, column.name),
        sql => format!("unnest(${}::{sql}[]) AS {}", i + 1, column.name),
    });
    format!(
        "INSERT INTO {TABLE} ({names}) SELECT {values} FROM (SELECT {arrays}) AS new \
         WHERE NOT EXISTS (SELECT 1 FROM {TABLE} AS old \
         WHERE old.insert_time_utc = new.insert_time_utc AND old.mcu_id = new.mcu_id \
         AND old.insert_time_utc BETWEEN new.insert_time_utc AND new.insert_time_utc OFFSET 0)"
    )
}

/// The values of `column`, in the type that the server expects in its array.
fn array<'a>(column: &Column, records: &[&'a PackRecord]) -> Box<dyn ToSql + Sync + 'a> {
    macro_rules! values {
        ($variant:ident, $convert:expr) => {
            Box::new(
                records
                    .iter()
                    .map(|record| match column.get(record) {
                        Some(Value::$variant(value)) => Some($convert(value)),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            )
        };
    }
    match column.sql {
        SqlType::Timestamp => values!(Timestamp, timestamp),
        SqlType::BigInt => values!(BigInt, |n| n),
        SqlType::SmallInt => values!(SmallInt, |n| n),
        SqlType::Real => values!(Real, |n| n),
        SqlType::Varchar(_) => values!(Text, |text| text),
    }
}

/// At the server's resolution: what differs by less is the same to it.
fn timestamp(time: UtcDateTime) -> PrimitiveDateTime {
    PrimitiveDateTime::new(time.date(), time.time().truncate_to_microsecond())
}

/// So many microseconds later, or, at the end of time, earlier.
fn close_to(time: UtcDateTime, microseconds: u64) -> UtcDateTime {
    let distance = Duration::from_micros(microseconds);
    let later = time.checked_add(distance.try_into().unwrap_or_default());
    later.unwrap_or_else(|| time - distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_few_and_in_order() {
        let records = [200, 3, 64, 131, 3].map(|id| PackRecord::new(UtcDateTime::UNIX_EPOCH, id));
        let sql = begin(&records.iter().collect::<Vec<_>>());
        let locks: Vec<&str> = sql.split("; ").skip(BEGIN.len() + LIMITS.len()).collect();
        let lock = |bucket| format!("SELECT pg_advisory_xact_lock(1112436598, {bucket})");
        assert_eq!(locks, [lock(0), lock(3), lock(8)]);
    }
}
