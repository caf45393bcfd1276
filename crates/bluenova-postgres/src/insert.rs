//! The insert, which adds each row exactly once.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashSet},
    fmt::Write,
    ops::Range,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bluenova_record::{COLUMNS, Column, PackRecord, SqlType, TABLE, Value};
use postgres::{
    Client, SimpleQueryMessage,
    error::SqlState,
    types::{ToSql, Type},
};
use time::{PrimitiveDateTime, UtcDateTime};

use crate::{
    Error, LOCK_CLASS, Retry, Settings,
    connect::{self, Session},
    encoding::Encoding,
    error::{CHECKING, Cause, INSERTING, LOOKING_FOR_TABLE, PREPARING, PROBING},
    host::Host,
    limits::LIMITS,
    statement,
    table::{self, IfMissing},
};

/// An open connection to the table, ready to insert.
pub(crate) struct Inserter {
    client: Client,
    /// The insert. It is sent with its parameters as an unnamed statement: a named one would stay
    /// behind in the session, which a pooler gives to the next client.
    insert: String,
    target: String,
    user: String,
    encoding: Encoding,
    /// The table when the last transaction began.
    table: Option<TableIdentity>,
    /// Whether the rows that are in the table already are counted before the insert: so it is while
    /// some aren't added.
    counts_first: bool,
    /// There is no table, and it was only tried whether it can be created.
    table_is_missing: bool,
    /// Cancel flag: the connection was given up, so nothing more may be committed.
    cancelled: Arc<AtomicBool>,
    /// A transaction could not be ended.
    is_stuck: bool,
}

/// What became of the rows of a transaction; the others are in the table already.
#[derive(Debug, Default)]
pub(crate) struct Inserted {
    pub(crate) added: u64,
    /// Rows that the table didn't have, and that were not added: a trigger or a rule did that.
    pub(crate) swallowed: u64,
    /// The first row that is missing, where rows were only looked for.
    pub(crate) first_missing: Option<usize>,
    /// The table when the transaction began, where it was looked at.
    pub(crate) table: Option<TableIdentity>,
}

/// Identity of the table, to find out whether it is still the same: since when its server runs, its
/// number, and the file that its rows are in, if there is one. `TRUNCATE`, `VACUUM FULL` and the
/// like give it another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableIdentity(String);

impl Inserter {
    /// Connects to one of `hosts`, creates table and index where they are missing, or tries to, and
    /// checks that the insert can be planned. With it come warnings for people. `begun` is called
    /// as soon as there is a session.
    ///
    /// A table that is there is used as it is: it may have more columns, in any order.
    pub(crate) fn connect(
        settings: &Settings,
        hosts: &[Host],
        if_missing: IfMissing,
        cancelled: Arc<AtomicBool>,
        is_trying: impl Fn(&Host) -> bool,
        begun: impl FnOnce(),
    ) -> Result<(Self, Vec<String>), Error> {
        let session = connect::connect(settings, hosts, &is_trying)?;
        begun();
        let Session { mut client, target, mut warnings } = session;
        let user = settings.user().to_owned();
        let name = target.as_str();
        let failed = |doing| move |cause: postgres::Error| Error::new(doing, name, cause);
        if cancelled.load(Ordering::Acquire) {
            return Err(Error::new(LOOKING_FOR_TABLE, name, Cause::Cancelled));
        }
        // In one message, for lines with a long round trip; and in a transaction, under its limits,
        // for planning waits for any lock on the table.
        let found = table::find(&mut client, &begin(&[])).map_err(|e| {
            let refuses = is_refusal(&e) && refuses_transactions(settings, hosts, &is_trying);
            let cause = if refuses { Cause::NoTransactions } else { Cause::Postgres(e) };
            Error::new(LOOKING_FOR_TABLE, name, cause)
        })?;
        let mut table_is_missing = false;
        if !found.is_complete {
            client.batch_execute("ROLLBACK").map_err(failed(LOOKING_FOR_TABLE))?;
            let ensured = table::ensure(&mut client, name, &user, if_missing)?;
            warnings.extend(ensured.warnings);
            table_is_missing = ensured.is_missing;
            client.batch_execute(&begin(&[])).map_err(failed(PREPARING))?;
        }
        let plan = match table_is_missing {
            true => "COMMIT".to_owned(),
            false => format!("EXPLAIN {}; COMMIT", statement::insert(|_| "NULL".to_owned())),
        };
        if let Err(cause) = client.batch_execute(&plan) {
            let error = Error::new(PREPARING, name, cause);
            let remedy = remedy(&error, &user);
            return Err(error.with_remedy(remedy));
        }
        let insert = statement::insert(|i| format!("${}", i + 1));
        let inserter = Self {
            client,
            insert,
            target,
            user,
            encoding: found.encoding,
            table: None,
            counts_first: false,
            table_is_missing,
            cancelled,
            is_stuck: false,
        };
        Ok((inserter, warnings))
    }

    /// Adds those of `records` that are not in the table yet, in one transaction. On an error it
    /// adds none, unless the server's answer to the commit was lost.
    pub(crate) fn insert(&mut self, records: &[PackRecord]) -> Result<Inserted, Error> {
        let mut distinct = distinct(records);
        // Two sinks that add the same rows by way of two coordinators share no lock. In one order,
        // the second one waits for the first, and never each for the other.
        distinct.sort_by_key(|record| (record.insert_time_utc, record.mcu_id));
        let inserted = self.in_the_encoding(|inserter| inserter.commit(&distinct));
        inserted.map_err(|cause| self.failed(INSERTING, cause))
    }

    /// Looks for `records` in the table. The first one is missing that the table doesn't have, but
    /// would have if all were inserted: that is tried, and rolled back. So a row is not missing
    /// that a trigger swallows, or stores under another key. Where the insert fails because of a
    /// row, or takes too long, no more is known than which the table doesn't have.
    pub(crate) fn find_missing(&mut self, records: &[PackRecord]) -> Result<Inserted, Error> {
        if self.table_is_missing {
            return Ok(Inserted::default());
        }
        let distinct = distinct(records);
        let missing = self.find(&distinct)?;
        let first = missing.and_then(|missing| distinct.get(missing));
        let first_missing =
            first.and_then(|first| records.iter().position(|record| ptr::eq(record, *first)));
        Ok(Inserted { first_missing, table: self.table.clone(), ..Inserted::default() })
    }

    /// The index of the first one of `records` that is missing.
    fn find(&mut self, records: &[&PackRecord]) -> Result<Option<usize>, Error> {
        let unknown = Cell::new(None);
        let found = self.in_the_encoding(|inserter| inserter.try_find(records, &unknown));
        let error = match found {
            Ok(missing) => return Ok(missing),
            Err(cause) => self.failed(CHECKING, cause),
        };
        // The table has a row where this one would go, as where a trigger changes its time.
        let is_taken = error.sqlstate() == Some("23505");
        match unknown.get() {
            Some(_) if is_taken && records.len() == 1 => Ok(None),
            Some(_) if is_taken => {
                for (index, record) in records.iter().enumerate() {
                    if self.find(&[record])?.is_some() {
                        return Ok(Some(index));
                    }
                }
                Ok(None)
            }
            Some(first) if error.retry() == Retry::Row || error.sqlstate() == Some("57014") => {
                Ok(Some(first))
            }
            _ => Err(error),
        }
    }

    /// Inserts a row like `record` at a time close by, at which there is none yet, and rolls the
    /// transaction back. Where the table could be created, whoever creates it may insert.
    pub(crate) fn probe(&mut self, record: &PackRecord) -> Result<(), Error> {
        if self.table_is_missing {
            return Ok(());
        }
        let tried = self.in_the_encoding(|inserter| inserter.try_insert(record));
        tried.map_err(|cause| self.failed(PROBING, cause))?;
        // Where that fails the connection is gone, and the row with it.
        self.is_stuck = self.client.batch_execute("ROLLBACK").is_err();
        Ok(())
    }

    /// The times of the rows that a battery has in `times`, the start included, in no order.
    pub(crate) fn times(
        &mut self,
        mcu_id: u32,
        times: &Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, Error> {
        if self.table_is_missing {
            return Ok(vec![]);
        }
        let found = self.try_times(mcu_id, times);
        found.map_err(|cause| self.failed(CHECKING, cause))
    }

    /// What could be done for the index of a table that was there before.
    pub(crate) fn index_advice(&mut self) -> Result<Option<String>, Error> {
        table::index_advice(&mut self.client).map_err(|e| self.failed(CHECKING, e.into()))
    }

    /// Whether nothing can be delivered over this connection any more. `false` promises nothing.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_stuck || self.client.is_closed()
    }

    /// Tries again as long as the server's answer shows that its encoding lacks a character.
    fn in_the_encoding<T>(
        &mut self,
        work: impl Fn(&mut Self) -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        loop {
            match work(self) {
                Err(Cause::Postgres(e))
                    if e.as_db_error().is_some_and(|answer| self.encoding.learn(answer)) =>
                {
                    self.client.batch_execute("ROLLBACK")?;
                }
                result => return result,
            }
        }
    }

    fn commit(&mut self, records: &[&PackRecord]) -> Result<Inserted, Cause> {
        self.begin(records)?;
        let known = match self.counts_first {
            true => Some(self.known(records)?.into_iter().filter(|known| *known).count()),
            false => None,
        };
        let added = self.add(records)?;
        let Some(known) = known.or((added == records.len() as u64).then_some(0)) else {
            // A trigger may have swallowed the others, or stored them elsewhere.
            self.client.batch_execute("ROLLBACK")?;
            self.counts_first = true;
            return self.commit(records);
        };
        self.check_cancelled()?;
        self.client.batch_execute("COMMIT")?;
        self.counts_first = added < records.len() as u64;
        let swallowed = (records.len().saturating_sub(known) as u64).saturating_sub(added);
        Ok(Inserted { added, swallowed, table: self.table.clone(), ..Inserted::default() })
    }

    /// Finds the first record that is missing, and puts the first one into `unknown` that the table
    /// doesn't have, before it inserts any.
    fn try_find(
        &mut self,
        records: &[&PackRecord],
        unknown: &Cell<Option<usize>>,
    ) -> Result<Option<usize>, Cause> {
        self.begin(records)?;
        let before = self.known(records)?;
        unknown.set(before.iter().position(|is_known| !is_known));
        let mut missing = None;
        if unknown.get().is_some() {
            self.add(records)?;
            let after = self.known(records)?;
            missing = before.iter().zip(after).position(|(before, after)| !before && after);
        }
        self.client.batch_execute("ROLLBACK")?;
        Ok(missing)
    }

    /// Of each record, whether it is in the table.
    fn known(&mut self, records: &[&PackRecord]) -> Result<Vec<bool>, Cause> {
        self.check_cancelled()?;
        let wanted = Keys::of(records);
        let rows = self.client.query_typed(&statement::select_keys(), &wanted.parameters())?;
        let found = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let found =
            found.collect::<Result<HashSet<(PrimitiveDateTime, i64)>, postgres::Error>>()?;
        Ok(records.iter().map(|record| found.contains(&key(record))).collect())
    }

    fn try_insert(&mut self, record: &PackRecord) -> Result<(), Cause> {
        self.begin(&[record])?;
        // A row that is in the table already would not be inserted, and prove nothing.
        for distance in 1..=3 {
            let mut near = record.clone();
            near.insert_time_utc = close_to(record.insert_time_utc, distance);
            if self.add(&[&near])? > 0 {
                break;
            }
        }
        // Deferred constraints would be checked at the COMMIT, which never comes.
        self.client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE")?;
        Ok(())
    }

    fn try_times(
        &mut self,
        mcu_id: u32,
        times: &Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, Cause> {
        self.begin(&[])?;
        let (start, end) = (timestamp(times.start), timestamp(times.end));
        let mcu_id = i64::from(mcu_id);
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&start, Type::TIMESTAMP), (&end, Type::TIMESTAMP), (&mcu_id, Type::INT8)];
        let sql = format!(
            "SELECT insert_time_utc::TIMESTAMP FROM {TABLE} \
             WHERE insert_time_utc >= $1 AND insert_time_utc < $2 AND mcu_id = $3"
        );
        let rows = self.client.query_typed(&sql, &parameters)?;
        let found = rows.iter().map(|row| row.try_get(0).map(PrimitiveDateTime::as_utc));
        let found = found.collect::<Result<_, _>>()?;
        self.client.batch_execute("COMMIT")?;
        Ok(found)
    }

    fn begin(&mut self, records: &[&PackRecord]) -> Result<(), Cause> {
        let sql = format!("{}; {IDENTIFY}", begin(records));
        let messages = self.client.simple_query(&sql).map_err(|e| match e.code() {
            // The code is that of the server, or of a pooler, which ends the session.
            None => Cause::Ended(e),
            Some(code) if matches!(code.code().get(..4), Some("57P0" | "08P0" | "0800")) => {
                Cause::Ended(e)
            }
            Some(_) => Cause::Postgres(e),
        })?;
        let identity = messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        self.table = identity.map(|identity| TableIdentity(identity.to_owned()));
        Ok(())
    }

    fn add(&mut self, records: &[&PackRecord]) -> Result<u64, Cause> {
        self.check_cancelled()?;
        let arrays: Vec<_> =
            COLUMNS.iter().map(|column| array(column, records, &self.encoding)).collect();
        let keys = Keys::of(records);
        let parameters: Vec<_> = arrays
            .iter()
            .zip(&COLUMNS)
            .map(|(array, column)| (&**array as &(dyn ToSql + Sync), array_type(column)))
            .chain(keys.parameters())
            .collect();
        Ok(self.client.execute_typed(&self.insert, &parameters)?)
    }

    fn check_cancelled(&self) -> Result<(), Cause> {
        if self.is_cancelled() { Err(Cause::Cancelled) } else { Ok(()) }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Ends the transaction after an error, and adds to the error what to do about it.
    fn failed(&mut self, doing: &'static str, cause: Cause) -> Error {
        // The end of the connection ends the transaction too.
        self.is_stuck = self.is_cancelled() || self.client.batch_execute("ROLLBACK").is_err();
        let error = Error::new(doing, &self.target, cause);
        let remedy = remedy(&error, &self.user);
        error.with_remedy(remedy)
    }
}

/// Whether sessions end as soon as a transaction begins, although they do other work: that is how a
/// pooler of statements refuses.
fn refuses_transactions(
    settings: &Settings,
    hosts: &[Host],
    is_trying: impl Fn(&Host) -> bool,
) -> bool {
    let Ok(Session { mut client, .. }) = connect::connect(settings, hosts, is_trying) else {
        return false;
    };
    client.batch_execute("SELECT 1").is_ok()
        && client.batch_execute("BEGIN").is_err_and(|e| is_refusal(&e))
}

/// Whether a session may have been ended by such a pooler. Its message, a protocol violation, is
/// often lost in the `postgres` crate, which sees the end of the connection first.
fn is_refusal(error: &postgres::Error) -> bool {
    error.code().is_none_or(|code| *code == SqlState::PROTOCOL_VIOLATION)
}

/// What a person should do about an error of the insert.
fn remedy(error: &Error, user: &str) -> Option<String> {
    if error.is_about_partitions() {
        return Some("a partition is missing; create it, or one that is the DEFAULT".to_owned());
    }
    match error.sqlstate()? {
        "42501" if error.is_about_row_security() => Some(format!(
            "a policy hides rows of {TABLE}, so that they would be added again; have a superuser \
             run {}, or its owner ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY",
            table::bypass_row_security(user)
        )),
        "42703" => {
            let add = table::add_column(&error.reason())?;
            Some(format!("let its owner run {add}"))
        }
        "42501" => Some(format!("let its owner run {}", table::grant(user))),
        _ => None,
    }
}

/// Number of locks for all batteries: few, so that a batch of thousands of batteries stays well
/// within the server's table of locks; not one, so that writers of different batteries seldom wait.
const BUCKETS: u32 = 64;

/// The first record of each time and battery, in the order given.
fn distinct(records: &[PackRecord]) -> Vec<&PackRecord> {
    let mut seen = HashSet::with_capacity(records.len());
    records.iter().filter(|record| seen.insert(key(record))).collect()
}

/// The statements before the insert, in one message.
///
/// A first attempt whose connection died may still have a transaction open, whose rows are
/// invisible to us, and so may a second listener. The locks make us wait for them. Under READ
/// COMMITTED each statement sees everything that was committed before it began, so that an insert
/// after the locks sees all rows that were inserted under them. A lock within the insert itself
/// would come too late, and so would any lock under the stricter isolation that a server may have
/// as its default.
fn begin(records: &[&PackRecord]) -> String {
    let mut buckets: Vec<u32> = records.iter().map(|record| record.mcu_id % BUCKETS).collect();
    // In order, so that two sinks never deadlock.
    buckets.sort_unstable();
    buckets.dedup();

    let mut sql = [&BEGIN[..], &LIMITS].concat().join("; ");
    // The server takes the array apart, and locks, from front to back.
    let buckets: Vec<_> = buckets.iter().map(u32::to_string).collect();
    let _ = write!(
        sql,
        "; SELECT pg_advisory_xact_lock({LOCK_CLASS}, bucket) \
         FROM unnest('{{{}}}'::INT[]) AS bucket",
        buckets.join(",")
    );
    sql
}

/// All settings are local to the transaction, so that nothing depends on the session, which a
/// pooler may share among clients.
const BEGIN: [&str; 7] = [
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    // Rows that a policy hides would be added again: an error instead.
    "SET LOCAL row_security = off",
    // For tables whose time stamps are WITH TIME ZONE.
    "SET LOCAL TimeZone = 'UTC'",
    // With old statistics the planner may prefer to read the whole table.
    "SET LOCAL enable_seqscan = off",
    // A BRIN index on the time, which has no other use, is read once for each time.
    "SET LOCAL enable_bitmapscan = off",
    // Compiling takes longer than running; PostgreSQL before 11 lacks the setting.
    "SELECT set_config('jit', 'off', true) WHERE current_setting('jit', true) = 'on'",
    // An acknowledged row must survive a crash of the server.
    "SELECT set_config('synchronous_commit', 'local', true) \
     WHERE current_setting('synchronous_commit') = 'off'",
];

/// The values of [`TableIdentity`]; some are null for a view or a partitioned table.
const IDENTIFY: &str = "SELECT concat_ws(' ', pg_postmaster_start_time(), \
     to_regclass('battery_pack')::oid, pg_relation_filenode(to_regclass('battery_pack')))";

/// The values of `column`, in the type that the server expects in its array.
fn array<'a>(
    column: &Column,
    records: &[&'a PackRecord],
    encoding: &Encoding,
) -> Box<dyn ToSql + Sync + 'a> {
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
        SqlType::Varchar(limit) => values!(Text, |text| encoding.fit(text, limit)),
    }
}

/// The type of the array that [`array`] makes.
fn array_type(column: &Column) -> Type {
    match column.sql {
        SqlType::Timestamp => Type::TIMESTAMP_ARRAY,
        SqlType::BigInt => Type::INT8_ARRAY,
        SqlType::SmallInt => Type::INT2_ARRAY,
        SqlType::Real => Type::FLOAT4_ARRAY,
        SqlType::Varchar(_) => Type::TEXT_ARRAY,
    }
}

/// The times and the batteries that some rows have. From their numbers the planner estimates how
/// many rows the table has of them: so there is each time once. Each battery is there as often as
/// it has rows, for without statistics an index on a single battery would look best.
struct Keys {
    times: Vec<PrimitiveDateTime>,
    ids: Vec<i64>,
    least: Option<PrimitiveDateTime>,
    greatest: Option<PrimitiveDateTime>,
}

impl Keys {
    fn of(records: &[&PackRecord]) -> Self {
        let (times, ids): (BTreeSet<_>, _) = records.iter().map(|record| key(record)).unzip();
        Self {
            least: times.first().copied(),
            greatest: times.last().copied(),
            times: times.into_iter().collect(),
            ids,
        }
    }

    /// The parameters of the query for keys, in its order.
    fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 4] {
        [
            (&self.times, Type::TIMESTAMP_ARRAY),
            (&self.ids, Type::INT8_ARRAY),
            (&self.least, Type::TIMESTAMP),
            (&self.greatest, Type::TIMESTAMP),
        ]
    }
}

/// What identifies a row in the table.
fn key(record: &PackRecord) -> (PrimitiveDateTime, i64) {
    (timestamp(record.insert_time_utc), record.mcu_id.into())
}

/// The time at the server's resolution, a microsecond.
pub(crate) fn timestamp(time: UtcDateTime) -> PrimitiveDateTime {
    PrimitiveDateTime::new(time.date(), time.time().truncate_to_microsecond())
}

/// The time so many microseconds later, or earlier where there is no later one.
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
        let expected = "SELECT pg_advisory_xact_lock(1112436598, bucket) \
                        FROM unnest('{0,3,8}'::INT[]) AS bucket";
        assert_eq!(locks, [expected]);
    }
}
