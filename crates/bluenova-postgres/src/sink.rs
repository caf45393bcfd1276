use std::{collections::HashSet, fmt::Write};

use bluenova_record::{COLUMNS, Column, PackRecord, SqlType, TABLE, Value};
use postgres::{Client, NoTls, Statement, types::ToSql};
use time::{PrimitiveDateTime, UtcDateTime};

use crate::{Error, LOCK_CLASS, Settings, table};

/// One open connection to the table.
pub struct Sink {
    client: Client,
    insert: Statement,
    target: String,
    user: String,
    notes: Vec<String>,
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
        let (mut config, target) = settings.for_now();
        config.notice_callback(|notice| log::debug!("PostgreSQL: {notice}"));
        let user = settings.user().to_owned();
        let mut client = config.connect(NoTls).map_err(|e| {
            let missing = e.code().is_some_and(|code| code.code() == "3D000");
            let remedy = missing.then(|| "create it, for example with `createdb`".to_owned());
            Error::new("connecting to", &target, e).with_remedy(remedy)
        })?;
        let notes = table::ensure(&mut client, &target, &user)?;
        let insert = client
            .prepare(&insert_sql())
            .map_err(|e| Error::new("preparing to insert into battery_pack of", &target, e))?;
        Ok(Self { client, insert, target, user, notes, stuck: false })
    }

    /// What people should know about the table, although rows get into it.
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
            Err(e) => {
                self.stuck = self.client.batch_execute("ROLLBACK").is_err();
                let forbidden = e.code().is_some_and(|code| code.code() == "42501");
                let remedy =
                    forbidden.then(|| format!("let its owner run {}", table::grant(&self.user)));
                Err(Error::new("inserting into battery_pack of", &self.target, e)
                    .with_remedy(remedy))
            }
        }
    }

    /// Whether nothing can be delivered over this connection any more. `false` promises nothing.
    pub fn is_closed(&self) -> bool {
        self.stuck || self.client.is_closed()
    }

    fn insert(&mut self, records: &[&PackRecord]) -> Result<u64, postgres::Error> {
        self.client.batch_execute(&begin(records))?;
        let arrays: Vec<_> = COLUMNS.iter().map(|column| array(column, records)).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| -> &(dyn ToSql + Sync) { &**array }).collect();
        let added = self.client.execute(&self.insert, &parameters)?;
        self.client.batch_execute("COMMIT")?;
        Ok(added)
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

    let mut sql = BEGIN.join("; ");
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
        SqlType::Varchar(_) => format!("${}::TEXT[]", i + 1),
        sql => format!("${}::{sql}[]", i + 1),
    });
    format!(
        "INSERT INTO {TABLE} ({names}) SELECT {values} FROM unnest({arrays}) AS new ({names}) \
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_few_and_in_order() {
        let records = [200, 3, 64, 131, 3].map(|id| PackRecord::new(UtcDateTime::UNIX_EPOCH, id));
        let sql = begin(&records.iter().collect::<Vec<_>>());
        let locks: Vec<&str> = sql.split("; ").skip(BEGIN.len()).collect();
        let lock = |bucket| format!("SELECT pg_advisory_xact_lock(1112436598, {bucket})");
        assert_eq!(locks, [lock(0), lock(3), lock(8)]);
    }
}
