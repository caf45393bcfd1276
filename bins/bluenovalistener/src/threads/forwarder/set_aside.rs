//! Rows that PostgreSQL doesn't take while it takes others.

use std::{sync::Arc, time::Instant};

use bluenova_journal::SetAsideRow;
use bluenova_postgres::{Delivered, Rejected, Retry};
use bluenova_record::{PackRecord, Timestamp};
use log::{error, info, warn};
use time::UtcDateTime;

use super::{BatchSource, ForwardError, Forwarder, Warning};
use crate::console::rows;

/// Rows that wait on their own and are refused again before a round of retries ends: each costs the
/// server a line in its log.
const MAX_REFUSED: u32 = 100;

impl Forwarder {
    pub(super) fn set_aside(
        &mut self,
        record: &PackRecord,
        rejected: &Rejected,
        source: BatchSource,
    ) -> Result<(), ForwardError> {
        let Rejected { sqlstate, reason, is_mendable } = rejected;
        let row = SetAsideRow {
            record: record.clone(),
            sqlstate: sqlstate.clone(),
            message: reason.clone(),
            since: UtcDateTime::now(),
            is_retried: *is_mendable,
        };
        match self.leftover(source) {
            Some(leftover) => leftover.set_aside_row(&row)?,
            None => self.outbox.set_aside_row(&row)?,
        }
        let (time, id) = (Timestamp(record.insert_time_utc), record.mcu_id);
        if !is_mendable {
            error!(
                "PostgreSQL rejected the row of {id:08X} at {time} UTC. It is set aside in the \
                 journal (`bluenovalistener set-aside` lists and retries such rows): {reason}"
            );
            return Ok(());
        }
        self.retries.row_added(Instant::now());
        if self.is_due(Warning::RowWaits) {
            warn!(
                "the row of {id:08X} at {time} UTC waits on its own, while others are delivered. \
                 Such rows are retried within the hour (`bluenovalistener set-aside` lists them): \
                 {reason}"
            );
        }
        Ok(())
    }

    /// Retries the rows that wait on their own, if they are due.
    pub(super) fn retry_set_aside(&mut self) -> Result<(), ForwardError> {
        if !self.retries.is_due(Instant::now()) {
            return Ok(());
        }
        let waiting = self.outbox.retried();
        let mut records: Vec<_> = waiting.into_iter().map(|row| row.record).collect();
        // From another row on each time, since a round ends early where none is taken.
        let first = fastrand::usize(..=records.len());
        records.rotate_left(first);
        let records: Arc<[_]> = records.into();
        let (mut done, mut delivered, mut refused) = (0, 0, 0);
        while done < records.len() && refused < MAX_REFUSED {
            match self.sink.deliver(&records, done) {
                Ok(Delivered { rows, rejected: None, .. }) => {
                    for record in &records[done..done + rows] {
                        self.outbox.remove_set_aside(record)?;
                    }
                    (done, delivered) = (done + rows, delivered + rows);
                }
                Ok(_) => (done, refused) = (done + 1, refused + 1),
                Err(error) if error.retry() == Retry::Row => {
                    (done, refused) = (done + 1, refused + 1);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.log_warnings();
        if delivered > 0 {
            self.status.update(|delivery| delivery.delivered += delivered as u64);
            info!(
                "{}: {} that waited on their own are delivered",
                self.server,
                rows(delivered as u64)
            );
        }
        self.retries.tried(delivered, records.len() - delivered, Instant::now());
        Ok(())
    }
}
