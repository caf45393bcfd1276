//! Stores rows: into a few slots that are written again and again, and many at a time behind the
//! others.

use std::borrow::Cow;

use bluenova_record::{PackRecord, Timestamp};
use rusqlite::{Connection, Transaction};
use time::UtcDateTime;

use super::{Appended, Journal, WritePosition, immediate};
use crate::Sequence;
use crate::schema::{self, SLOTS, Statements};

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is new: where its time is in use, the clock was set back.
    Assembler,
    /// It was stored in another journal, and may be here already.
    Journal,
}

impl Journal {
    pub(super) fn try_append(
        &mut self,
        records: &[PackRecord],
        origin: Origin,
    ) -> rusqlite::Result<Appended> {
        let mut head = self.head;
        let free = SLOTS - (head.last - head.settled);
        if i64::try_from(records.len()).unwrap_or(i64::MAX) > free {
            return self.append_to_history(records, origin);
        }
        let mut moved = 0;
        let transaction = immediate(&mut self.connection.sqlite)?;
        for record in records {
            let next = WritePosition { last: head.last + 1, ..head };
            let sql = &self.connection.sql;
            let Some(record) = with_free_time(&transaction, sql, record, next, origin)? else {
                continue;
            };
            head = next;
            moved += u64::from(matches!(record, Cow::Owned(_)));
            let mut put = transaction.prepare_cached(&self.connection.sql.put_recent)?;
            schema::put(&mut put, &[head.last % SLOTS, head.last], &record)?;
        }
        transaction.commit()?;
        self.unsynced.rows |= head.last > self.head.last;
        self.head = head;
        Ok(Appended { last: Sequence(head.last), moved })
    }

    /// Moves the recent rows on and puts `records` behind them.
    pub(super) fn append_to_history(
        &mut self,
        records: &[PackRecord],
        origin: Origin,
    ) -> rusqlite::Result<Appended> {
        let WritePosition { settled, mut last } = self.head;
        let mut moved = 0;
        let delivered = self.connection.state.delivered();
        let transaction = immediate(&mut self.connection.sqlite)?;
        let sql = &self.connection.sql;
        transaction.prepare_cached(&sql.move_recent)?.execute([settled])?;
        let are_free = origin == Origin::Journal && are_free(&transaction, records)?;
        let mut put = transaction.prepare_cached(&sql.put_history)?;
        for record in records {
            // All rows are in `history` now, and looked for there.
            let next = WritePosition { settled: last + 1, last: last + 1 };
            let record = if are_free {
                Some(Cow::Borrowed(record))
            } else {
                with_free_time(&transaction, sql, record, next, origin)?
            };
            let Some(record) = record else { continue };
            last = next.last;
            moved += u64::from(matches!(record, Cow::Owned(_)));
            schema::put(&mut put, &[last], &record)?;
        }
        drop(put);
        transaction
            .prepare_cached(
                "INSERT INTO battery
                 SELECT mcu_id, count(*), max(sequence), '' FROM history WHERE sequence > ?
                 GROUP BY mcu_id
                 ON CONFLICT DO UPDATE
                 SET stored = stored + excluded.stored, newest = excluded.newest",
            )?
            .execute([settled])?;
        transaction
            .prepare_cached("UPDATE progress SET settled = ?, delivered = max(delivered, ?)")?
            .execute((last, delivered))?;
        transaction.commit()?;
        self.connection.state.was_stored(delivered);
        self.unsynced.rows |= last > self.head.last;
        self.unsynced.a_move = true;
        self.head = WritePosition { settled: last, last };
        Ok(Appended { last: Sequence(last), moved })
    }
}

/// Whether these records have times of their own, and no row has a time among theirs. Then none of
/// them has to be looked for: an import comes with thousands that lie behind all other rows.
fn are_free(transaction: &Transaction<'_>, records: &[PackRecord]) -> rusqlite::Result<bool> {
    // With as many digits as the file keeps.
    let time = |record: &PackRecord| record.insert_time_utc.truncate_to_microsecond();
    let mut keys: Vec<_> = records.iter().map(|record| (time(record), record.mcu_id)).collect();
    keys.sort_unstable();
    let (Some((first, _)), Some((last, _))) = (keys.first(), keys.last()) else {
        return Ok(true);
    };
    // Before the year 0 times don't sort as text.
    if first.year() < 0 || keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Ok(false);
    }
    transaction
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM history WHERE insert_time_utc BETWEEN ?1 AND ?2)
                AND NOT EXISTS (SELECT 1 FROM set_aside WHERE insert_time_utc BETWEEN ?1 AND ?2)",
        )?
        .query_row((Timestamp(*first).to_string(), Timestamp(*last).to_string()), |row| row.get(0))
}

/// `record`, which is to be the last row; or a copy of it at another time within the next second,
/// where its battery has a row of that time, or may have had one that was trimmed. `None` if it is
/// a row of another journal that is here already.
fn with_free_time<'a>(
    transaction: &Transaction<'_>,
    sql: &Statements,
    record: &'a PackRecord,
    head: WritePosition,
    origin: Origin,
) -> rusqlite::Result<Option<Cow<'a, PackRecord>>> {
    let mut record = Cow::Borrowed(record);
    // A row of another journal may have been delivered from there, at its own time.
    if origin == Origin::Assembler && is_trimmed(transaction, &record)? {
        // No two rows that lie near to each other get the same.
        let micros = time::Duration::microseconds(head.last % 999_983 + 1);
        move_by(&mut record, micros);
    }
    while is_taken(transaction, &record, head.settled)? {
        if origin == Origin::Journal && is_stored(transaction, sql, &record)? {
            return Ok(None);
        }
        move_by(&mut record, time::Duration::MICROSECOND);
    }
    Ok(Some(record))
}

fn move_by(record: &mut Cow<'_, PackRecord>, by: time::Duration) {
    let later = record.insert_time_utc.checked_add(by);
    record.to_mut().insert_time_utc = later.unwrap_or(UtcDateTime::MIN);
}

/// Whether its time is one that rows of its battery had which are trimmed.
fn is_trimmed(connection: &Connection, record: &PackRecord) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM battery WHERE mcu_id = ? AND trimmed >= ?)")?
        .query_row((record.mcu_id, Timestamp(record.insert_time_utc).to_string()), |row| row.get(0))
}

pub(super) fn is_taken(
    connection: &Connection,
    record: &PackRecord,
    settled: i64,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM history WHERE insert_time_utc = ?1 AND mcu_id = ?2)
                 OR EXISTS (
                     SELECT 1 FROM recent
                     WHERE insert_time_utc = ?1 AND mcu_id = ?2 AND sequence > ?3
                 )
                 OR EXISTS (SELECT 1 FROM set_aside WHERE insert_time_utc = ?1 AND mcu_id = ?2)",
        )?
        .query_row((Timestamp(record.insert_time_utc).to_string(), record.mcu_id, settled), |row| {
            row.get(0)
        })
}

/// Whether there is a row of that battery, time and values.
fn is_stored(
    connection: &Connection,
    sql: &Statements,
    record: &PackRecord,
) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(&sql.select_at)?;
    let time = Timestamp(record.insert_time_utc).to_string();
    let mut rows = select.query((time, record.mcu_id))?;
    while let Some(row) = rows.next()? {
        let stored = schema::read_row(row)?.record;
        // What the journal does not keep of a time does not count.
        let is_same = |stored: PackRecord| {
            PackRecord { insert_time_utc: record.insert_time_utc, ..stored } == *record
        };
        if stored.is_some_and(is_same) {
            return Ok(true);
        }
    }
    Ok(false)
}
