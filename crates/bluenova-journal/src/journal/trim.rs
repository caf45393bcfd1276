//! Deletes rows that are older than is to be kept, and the oldest ones beyond the bound.

use std::time::Duration;

use bluenova_record::Timestamp;
use rusqlite::Connection;
use time::UtcDateTime;

use super::append::Origin;
use super::{Journal, Trimmed, bytes_in_use, immediate};
use crate::events;

/// Rows that one call of [`Journal::trim`] deletes at most, so that it takes well under a second
/// on a slow machine. A single battery brings six to sixty a minute.
const TRIM_ROWS: u32 = 4096;

/// Rows that are evicted at a time while the database is beyond its bound.
const BOUND_ROWS: u32 = 64;

/// The part of their age by which rows are let outlive it, so that many go at a time. Deleting them
/// one by one would cost as many writes as storing them.
const GRACE: u32 = 32;

impl Journal {
    pub(super) fn try_trim(&mut self, now: UtcDateTime) -> rusqlite::Result<Trimmed> {
        let mut trimmed = Trimmed::default();
        let mut rows_left = TRIM_ROWS;
        if let Some(keep) = self.retention.keep
            && let Some(last) = self.last_outdated(now, keep)?
        {
            trimmed = self.delete_through(last)?;
            rows_left -= u32::try_from(trimmed.delivered).unwrap_or(0).min(rows_left);
        }
        if let Some(bound) = self.retention.bound {
            let mut bound = bound;
            if bytes_in_use(&self.connection.sqlite)? > bound {
                // That is worth finding out only then: it takes reading them.
                bound += bytes_not_of_rows(&self.connection.sqlite)?;
            }
            while rows_left >= BOUND_ROWS && bytes_in_use(&self.connection.sqlite)? > bound {
                let Some(last) = self.last_of_oldest(BOUND_ROWS)? else { break };
                trimmed.add(self.delete_through(last)?);
                rows_left -= BOUND_ROWS;
            }
        }
        Ok(trimmed)
    }

    /// The last delivered row that is to be deleted for its age.
    fn last_outdated(&mut self, now: UtcDateTime, keep: Duration) -> rusqlite::Result<Option<i64>> {
        let (Some(cutoff), Some(overdue)) = (before(now, keep), before(now, keep + keep / GRACE))
        else {
            return Ok(None);
        };
        let overdue = Timestamp(overdue).to_string();
        // Rows are deleted from `history` only.
        if self.recent_has_older(&overdue)? {
            self.append_to_history(&[], Origin::Assembler)?;
        }
        let mut statement = self.connection.sqlite.prepare_cached(
            "SELECT sequence, insert_time_utc FROM history
             WHERE sequence <= ? ORDER BY sequence LIMIT ?",
        )?;
        let mut rows = statement.query((self.connection.state.delivered(), TRIM_ROWS))?;
        let mut limit = overdue;
        let mut last = None;
        while let Some(row) = rows.next()? {
            if row.get_ref(1)?.as_str()? >= limit.as_str() {
                break;
            }
            if last.is_none() {
                limit = Timestamp(cutoff).to_string();
            }
            last = Some(row.get(0)?);
        }
        Ok(last)
    }

    fn recent_has_older(&self, time: &str) -> rusqlite::Result<bool> {
        self.connection
            .sqlite
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM recent WHERE sequence > ? AND insert_time_utc < ?)",
            )?
            .query_row((self.head.settled, time), |row| row.get(0))
    }

    fn last_of_oldest(&self, rows: u32) -> rusqlite::Result<Option<i64>> {
        self.connection
            .sqlite
            .prepare_cached(
                "SELECT max(sequence)
                 FROM (SELECT sequence FROM history ORDER BY sequence LIMIT ?)",
            )?
            .query_row([rows], |row| row.get(0))
    }

    fn delete_through(&mut self, last: i64) -> rusqlite::Result<Trimmed> {
        let delivered_through = self.connection.state.delivered();
        let detail = if self.is_in_memory() { "from memory" } else { "from the journal" };
        let transaction = immediate(&mut self.connection.sqlite)?;
        if last > delivered_through {
            events::put_evicted(&transaction, delivered_through, last, detail)?;
        }
        transaction
            .prepare_cached(
                "UPDATE battery
                 SET stored = stored - gone.n, trimmed = max(trimmed, gone.latest)
                 FROM (
                     SELECT mcu_id, count(*) AS n, max(insert_time_utc) AS latest
                     FROM history WHERE sequence <= ? GROUP BY mcu_id
                 ) AS gone
                 WHERE battery.mcu_id = gone.mcu_id",
            )?
            .execute([last])?;
        let mut delete = transaction.prepare_cached("DELETE FROM history WHERE sequence <= ?")?;
        let delivered = delete.execute([last.min(delivered_through)])?;
        let undelivered = delete.execute([last])?;
        drop(delete);
        transaction.commit()?;
        Ok(Trimmed { delivered: delivered as u64, undelivered: undelivered as u64 })
    }
}

impl Trimmed {
    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.undelivered += other.undelivered;
    }
}

/// What rows that are set aside, events, states and days take: no row has to go for those.
fn bytes_not_of_rows(connection: &Connection) -> rusqlite::Result<u64> {
    let bytes: Option<i64> = connection.query_row(
        "SELECT sum(pgsize) FROM dbstat('main', 1)
         WHERE name IN (SELECT name FROM sqlite_schema 
                        WHERE tbl_name IN ('set_aside', 'event', 'insight', 'day'))",
        (),
        |row| row.get(0),
    )?;
    Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
}

/// `None` if nothing can be as old as that.
fn before(now: UtcDateTime, keep: Duration) -> Option<UtcDateTime> {
    now.checked_sub(keep.try_into().ok()?)
}
