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

/// Time from a failure of such a check until it is tried again: new rows may arrive all the same.
const RETRY_CHECK_AFTER: Duration = Duration::from_secs(60);

/// When the table is checked, and what was found missing.
pub(super) struct LostRows {
    check_at: Instant,
    /// No check begins before, unless the table is suspect.
    not_before: Instant,
    /// Set when somebody asks for a check.
    requested: Arc<AtomicBool>,
    /// The check that goes on slice by slice.
    check: Option<TableCheck>,
    /// Set from a connect, or a change of the table, until [`Forwarder::check_suspect`] has ended.
    is_suspect: bool,
    found: Option<Found>,
}

/// A search for the first row that is missing, among those that are delivered.
struct TableCheck {
    /// None is missing up to there.
    after: Sequence,
    through: Sequence,
    is_asked_for: bool,
}

/// Outcome of checking one batch.
enum CheckOutcome {
    GoesOn,
    HasAll,
    /// Where to go back to, and the time of the first row that is missing.
    Lacks(Sequence, UtcDateTime),
    /// The table was replaced during the check: rows that were seen may be missing.
    OtherTable,
}

/// Rows that are missing in the table and are being delivered again.
struct Found {
    since: UtcDateTime,
    /// How many the table has again.
    delivered: u64,
}

impl LostRows {
    pub(super) fn begin(requested: Arc<AtomicBool>, now: Instant) -> Self {
        let check_at = now + CHECK_EVERY;
        Self { check_at, not_before: now, requested, check: None, is_suspect: false, found: None }
    }

    /// Whether a check is due, though nothing shows that the table is another one.
    fn is_due(&self, now: Instant) -> bool {
        let is_asked_for = self.requested.load(Ordering::Relaxed);
        now >= self.not_before && (now >= self.check_at || is_asked_for)
    }

    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.check_at.max(self.not_before).saturating_duration_since(now)
    }

    /// The table may be another one, or may have lost rows.
    pub(super) fn suspect(&mut self) {
        self.is_suspect = true;
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.is_suspect
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

    fn abandon(&mut self, check: Option<TableCheck>) {
        let is_asked_for = check.is_some_and(|check| check.is_asked_for);
        self.requested.fetch_or(is_asked_for, Ordering::Relaxed);
    }
}

impl Forwarder {
    /// Checks the table before new rows are delivered, where it may have lost some.
    ///
    /// What a server loses is what was committed last. Those rows are looked for first, and where
    /// they are there, new rows don't wait until the others are checked as well, slice by slice.
    /// Otherwise the first row that is missing is looked for, and from there on all are delivered
    /// again.
    ///
    /// In the end the table has the rows that were lost, even if this is interrupted anywhere: it
    /// changes nothing in the table itself, and rows are delivered in their order, so that the last
    /// ones are missing until none is.
    pub(super) fn check_suspect(&mut self) -> Result<(), ForwardError> {
        self.lost_rows.suspect();
        let check = self.lost_rows.check.take();
        self.lost_rows.abandon(check);
        while self.lost_rows.is_suspect {
            let checked = self.try_check_suspect();
            self.lost_rows.is_suspect = self.unless_unreadable(checked)?.unwrap_or(false);
        }
        Ok(())
    }

    /// Returns whether the table was replaced meanwhile.
    fn try_check_suspect(&mut self) -> Result<bool, ForwardError> {
        let checked = self.outbox.begin_check();
        let (Some(checked), Some(through)) = (checked, self.outbox.last_delivered()) else {
            self.sink.table_is_checked();
            self.end_check();
            return Ok(false);
        };
        let has_last = self.has_rows_before(through)?;
        self.sink.table_is_checked();
        if has_last && checked > through.back(FEW_ROWS as u64) {
            self.outbox.checked(through);
            self.end_check();
            return Ok(false);
        }
        // Where lost rows were delivered again, new rows had come before the last of them.
        if has_last && (checked == Sequence::default() || self.has_rows_before(checked)?) {
            self.lost_rows.check_at = Instant::now();
            return Ok(self.sink.has_table_changed());
        }
        let after = self.last_that_is_there(checked)?;
        let mut check = TableCheck { after, through, is_asked_for: false };
        loop {
            match self.check_next_batch(&mut check)? {
                CheckOutcome::GoesOn => {}
                CheckOutcome::HasAll => break,
                CheckOutcome::Lacks(last, since) => {
                    self.deliver_again(last, since);
                    break;
                }
                CheckOutcome::OtherTable => return Ok(true),
            }
        }
        self.end_check();
        Ok(false)
    }

    /// Looks at the next batch of a check, if one goes on or is due; returns whether there is more
    /// to do at once.
    pub(super) fn check_slice(&mut self) -> Result<bool, ForwardError> {
        let now = Instant::now();
        if self.lost_rows.check.is_none() && !self.lost_rows.is_due(now) {
            return Ok(false);
        }
        let mut check = self.lost_rows.check.take();
        let checked = self.try_check_slice(&mut check);
        match self.unless_unreadable(checked) {
            Ok(Some(CheckOutcome::GoesOn)) => {
                self.lost_rows.check = check;
                return Ok(true);
            }
            Ok(Some(CheckOutcome::OtherTable)) => {
                self.lost_rows.abandon(check);
                self.check_suspect()?;
                return Ok(true);
            }
            Ok(Some(CheckOutcome::HasAll)) => {
                let is_asked_for = check.is_some_and(|check| check.is_asked_for);
                if is_asked_for && !self.outbox.is_set_back() {
                    info!("{}: has all rows that it has acknowledged", self.server);
                }
            }
            Ok(Some(CheckOutcome::Lacks(last, since))) => self.deliver_again(last, since),
            Ok(None) => {}
            Err(error) => {
                self.lost_rows.abandon(check);
                self.lost_rows.not_before = Instant::now() + RETRY_CHECK_AFTER;
                return Err(error);
            }
        }
        self.end_check();
        Ok(self.outbox.is_set_back() || self.lost_rows.is_due(now))
    }

    fn try_check_slice(
        &mut self,
        check: &mut Option<TableCheck>,
    ) -> Result<CheckOutcome, ForwardError> {
        if let Some(check) = check {
            return self.check_next_batch(check);
        }
        let is_asked_for = self.lost_rows.requested.swap(false, Ordering::Relaxed);
        let checked = self.outbox.begin_check();
        let through = self.outbox.last_delivered();
        let (after, through) = checked.zip(through).unwrap_or_default();
        let check = check.insert(TableCheck { after, through, is_asked_for });
        check.after = self.last_that_is_there(after)?;
        Ok(if self.sink.has_table_changed() {
            CheckOutcome::OtherTable
        } else {
            CheckOutcome::GoesOn
        })
    }

    /// Looks for the rows of the next batch.
    fn check_next_batch(&mut self, check: &mut TableCheck) -> Result<CheckOutcome, ForwardError> {
        if check.after >= check.through {
            return Ok(CheckOutcome::HasAll);
        }
        let limit = self.sink.batch_size().min(self.batch_rows());
        let batch = self.outbox.delivered_after(check.after, limit)?;
        if batch.last == check.after {
            return Ok(CheckOutcome::HasAll);
        }
        let first = self.find_missing(&batch)?;
        if self.sink.has_table_changed() {
            return Ok(CheckOutcome::OtherTable);
        }
        if let Some(first) = first {
            let since = batch.records.get(first).map(|record| record.insert_time_utc);
            return Ok(since
                .map_or(CheckOutcome::HasAll, |t| CheckOutcome::Lacks(batch.through(first), t)));
        }
        check.after = batch.last;
        self.outbox.checked(batch.last);
        Ok(CheckOutcome::GoesOn)
    }

    /// Has the rows after `last` delivered again.
    fn deliver_again(&mut self, last: Sequence, since: UtcDateTime) {
        self.lost_rows.found(since);
        self.outbox.set_back(last);
        self.is_caught_up = false;
    }

    fn end_check(&mut self) {
        self.lost_rows.check_at = Instant::now() + CHECK_EVERY;
    }

    /// Takes what a journal that can't be read has for checked: that must not keep new rows from
    /// being delivered. Damage is dealt with elsewhere.
    fn unless_unreadable<T>(
        &mut self,
        checked: Result<T, ForwardError>,
    ) -> Result<Option<T>, ForwardError> {
        match checked {
            Err(ForwardError::Journal(error)) => {
                if self.is_due(Warning::NotChecked) {
                    let why = ErrorChain(&error);
                    warn!("{why}. Whether PostgreSQL still has older rows can't be checked");
                }
                self.sink.table_is_checked();
                Ok(None)
            }
            checked => checked.map(Some),
        }
    }

    /// Whether the table has the batch that ends at `last`.
    fn has_rows_before(&mut self, last: Sequence) -> Result<bool, ForwardError> {
        let batch = self.outbox.delivered_after(last.back(FEW_ROWS as u64), FEW_ROWS)?;
        Ok(!batch.records.is_empty() && self.find_missing(&batch)?.is_none())
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
        let mut lost_rows = LostRows::begin(Arc::clone(&requested), now);
        assert_eq!(lost_rows.due_in(now), Duration::from_secs(3600));
        assert!(!lost_rows.is_due(now) && !lost_rows.is_due(now + Duration::from_secs(3599)));
        assert!(lost_rows.is_due(now + Duration::from_secs(3600)));
        requested.store(true, Ordering::Relaxed);
        assert!(lost_rows.is_due(now));
        // One that has failed isn't begun again at once.
        lost_rows.not_before = now + RETRY_CHECK_AFTER;
        assert!(!lost_rows.is_due(now) && lost_rows.is_due(now + RETRY_CHECK_AFTER));
    }
}
