//! Rows that PostgreSQL has acknowledged and lost again: by a failover to a replica that lagged
//! behind, by a backup that was restored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bluenova_journal::{Batch, Sequence};
use bluenova_record::{ErrorChain, Timestamp};
use log::{info, warn};
use time::UtcDateTime;

use super::{FEW_ROWS, ForwardError, Forwarder, Warning};
use crate::console::rows;

/// How often the rows that were delivered since the last time are looked for in the table.
const CHECK_EVERY: Duration = Duration::from_secs(3600);

/// When the table is checked, and what was found missing.
pub(super) struct LostRows {
    check_at: Instant,
    /// Set when somebody asks for a check.
    requested: Arc<AtomicBool>,
    found: Option<Found>,
}

/// Rows that are missing in the table and are being delivered again.
struct Found {
    since: UtcDateTime,
    /// How many the table has again.
    delivered: u64,
}

impl LostRows {
    pub(super) fn begin(requested: Arc<AtomicBool>, now: Instant) -> Self {
        Self { check_at: now + CHECK_EVERY, requested, found: None }
    }

    /// Whether a check is due, though nothing shows that the table is another one.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.check_at || self.requested.load(Ordering::Relaxed)
    }

    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.check_at.saturating_duration_since(now)
    }

    /// So many rows of those that are delivered again were missing.
    pub(super) fn delivered(&mut self, added: u64) {
        if let Some(found) = &mut self.found {
            found.delivered += added;
        }
    }

    fn found(&mut self, since: UtcDateTime) {
        let found = self.found.get_or_insert(Found { since, delivered: 0 });
        found.since = found.since.min(since);
    }
}

impl Forwarder {
    /// Looks for rows in the table that it has acknowledged. From the first one on that is missing,
    /// all are delivered again.
    ///
    /// In the end the table has the rows that were lost, even if this is interrupted anywhere: it
    /// changes nothing in the table itself, and rows are delivered in their order, so that the last
    /// ones are missing until none is.
    pub(super) fn check_delivered(&mut self) -> Result<(), ForwardError> {
        let is_asked_for = self.lost_rows.requested.swap(false, Ordering::Relaxed);
        match self.first_missing() {
            Ok(Some((last, since))) => {
                self.lost_rows.found(since);
                self.outbox.set_back(last);
                self.is_caught_up = false;
            }
            Ok(None) if is_asked_for && !self.outbox.is_set_back() => {
                info!("{}: has all rows that it has acknowledged", self.server);
            }
            Ok(None) => {}
            // That must not keep new rows from being delivered. Damage is dealt with elsewhere.
            Err(ForwardError::Journal(error)) => {
                if self.is_due(Warning::NotChecked) {
                    let why = ErrorChain(&error);
                    warn!("{why}. Whether PostgreSQL still has older rows can't be checked");
                }
            }
            Err(error) => {
                self.lost_rows.requested.fetch_or(is_asked_for, Ordering::Relaxed);
                return Err(error);
            }
        }
        self.sink.table_is_checked();
        self.lost_rows.check_at = Instant::now() + CHECK_EVERY;
        Ok(())
    }

    /// Where to go back to, and the time of the first row that is missing; `None` if none is.
    fn first_missing(&mut self) -> Result<Option<(Sequence, UtcDateTime)>, ForwardError> {
        let Some(checked) = self.outbox.begin_check() else { return Ok(None) };
        let mut after = self.last_that_is_there(checked)?;
        loop {
            let batch = self.outbox.delivered_after(after, self.batch_rows())?;
            if batch.last == after {
                return Ok(None);
            }
            if let Some(first) = self.find_missing(&batch)? {
                let since = batch.records.get(first).map(|record| record.insert_time_utc);
                return Ok(since.map(|since| (batch.through(first), since)));
            }
            after = batch.last;
            self.outbox.checked(after);
        }
    }

    /// A row at or before `checked` up to which nothing is missing: the last one, unless the batch
    /// that ends there isn't in the table any more. Then this goes back 2, 4, 8, ... batches, until
    /// one is, or the journal begins.
    fn last_that_is_there(&mut self, checked: Sequence) -> Result<Sequence, ForwardError> {
        let mut batches = 1;
        let mut after = checked.back(FEW_ROWS as u64);
        let mut oldest = None;
        loop {
            let batch = self.outbox.delivered_after(after, FEW_ROWS)?;
            let begins = batch.through(0);
            let is_there = !batch.records.is_empty() && self.find_missing(&batch)?.is_none();
            if is_there {
                return Ok(batch.last);
            }
            // Where the journal begins, going back changes nothing.
            if after == Sequence::default() || oldest == Some(begins) {
                return Ok(after);
            }
            oldest = Some(begins);
            batches *= 2;
            after = after.back(batches * FEW_ROWS as u64);
        }
    }

    fn find_missing(&mut self, batch: &Batch) -> Result<Option<usize>, ForwardError> {
        let missing = self.sink.find_missing(&batch.records);
        self.log_warnings();
        Ok(missing?)
    }

    /// Logs what PostgreSQL had lost, once it has it again.
    pub(super) fn log_lost_rows(&mut self) {
        let Some(Found { since, delivered }) = self.lost_rows.found.take() else { return };
        if delivered > 0 {
            warn!(
                "{}: had lost {} that it had acknowledged, from {} UTC on: by a failover, or by a \
                 backup that was restored? They were delivered again from the journal",
                self.server,
                rows(delivered),
                Timestamp(since)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_due_after_an_hour_and_when_it_is_asked_for() {
        let (requested, now) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let lost_rows = LostRows::begin(Arc::clone(&requested), now);
        assert_eq!(lost_rows.due_in(now), Duration::from_secs(3600));
        assert!(!lost_rows.is_due(now) && !lost_rows.is_due(now + Duration::from_secs(3599)));
        assert!(lost_rows.is_due(now + Duration::from_secs(3600)));
        requested.store(true, Ordering::Relaxed);
        assert!(lost_rows.is_due(now));
    }
}
