use std::{
    collections::HashSet,
    mem,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, mpsc::Sender},
    time::Instant,
};

use bluenova_http::RateLimit;
use bluenova_journal::{Batch, LeftoverOutbox, SpoolOutbox, Waiting, Wake};
use bluenova_postgres::{BATCH, Deadlines, Delivered, Rejected, Settings, Sink};
use bluenova_record::ErrorChain;
use bluenova_status::{DeliveryStatus, Shared};
use log::{info, warn};

use super::{
    NewEvent,
    delivery_trouble::{ForwardError, Trouble, rows_wait},
    leftovers::Leftovers,
    outage::REMINDER,
    retry_schedule::RetrySchedule,
};
use crate::console::rows;
use lost_rows::LostRows;

mod lost_rows;
mod report;
mod set_aside;

/// Rows of a batch, unless there are more batteries. Each row takes a kilobyte, twice while it is
/// read, and an allocator may keep as much for good. Larger batches need fewer commits.
const FEW_ROWS: usize = 100;

/// Delivers the spool's rows to PostgreSQL, oldest first, and acknowledges those that arrived.
pub(crate) struct Forwarder {
    server: String,
    outbox: SpoolOutbox,
    journal: PathBuf,
    /// Found when the forwarder runs: looking for them must not delay the recording.
    leftovers: Option<Leftovers>,
    sink: Sink,
    /// Batteries whose rows were read, up to [`BATCH`].
    batteries: HashSet<u32>,
    status: Shared<DeliveryStatus>,
    events: Sender<NewEvent>,
    retries: RetrySchedule,
    lost_rows: LostRows,
    has_connected: bool,
    /// Whether all rows that may have lost their acknowledgement have been delivered again. Until
    /// then, rows that the table has already are no surprise.
    is_caught_up: bool,
    logged_known: bool,
    warnings: RateLimit<Warning>,
    /// Damaged rows since the last message about them.
    damaged: u64,
    trouble: Option<Trouble>,
}

/// Where the rows of a batch are.
#[derive(Clone, Copy, PartialEq)]
enum BatchSource {
    Spool,
    Leftover,
}

/// What is logged once an hour at most.
#[derive(PartialEq)]
enum Warning {
    SlowServer,
    DamagedRows,
    NotChecked,
    CursorNotWritten,
    RowWaits,
}

impl Forwarder {
    /// `journal` is the path of the spool. `check_requested` is set when somebody asks whether the
    /// table still has its rows.
    pub(crate) fn new(
        server: Settings,
        journal: PathBuf,
        outbox: SpoolOutbox,
        status: Shared<DeliveryStatus>,
        events: Sender<NewEvent>,
        check_requested: Arc<AtomicBool>,
    ) -> Self {
        Self {
            server: server.to_string(),
            outbox,
            journal,
            leftovers: None,
            sink: Sink::new(server, Deadlines::default()),
            batteries: HashSet::new(),
            status,
            events,
            retries: RetrySchedule::begin(Instant::now()),
            lost_rows: LostRows::begin(check_requested, Instant::now()),
            has_connected: false,
            is_caught_up: false,
            logged_known: false,
            warnings: RateLimit::new(REMINDER),
            damaged: 0,
            trouble: None,
        }
    }

    /// Delivers until the spool is closed, and then what is left, if the server takes it.
    pub(crate) fn run(mut self) {
        let leftovers = Leftovers::find(self.journal.clone(), &self.server);
        let found = leftovers.waiting();
        self.status.update(|delivery| delivery.leftovers_found(found, Instant::now()));
        self.leftovers = Some(leftovers);
        let mut ended = false;
        loop {
            let arrivals = self.status.update(|delivery| delivery.arrivals());
            match self.deliver_all() {
                Ok(()) => {
                    self.status.update(|delivery| delivery.found_none(arrivals, Instant::now()));
                }
                Err(error) => self.failed(&error),
            }
            if ended {
                break;
            }
            ended = self.wait();
        }
        // Rows that are in memory only are lost, which the recorder logs.
        let Waiting { in_file, .. } = self.waiting();
        if in_file > 0 {
            let (waiting, server) = (rows_wait(in_file), &self.server);
            warn!("{waiting} in the journal for {server}, to be delivered at the next start");
        }
    }

    /// Waits until there is something to do; returns whether the spool is closed.
    fn wait(&mut self) -> bool {
        let Some(retry_at) = self.trouble.as_ref().map(Trouble::retry_at) else {
            let now = Instant::now();
            let check = self.lost_rows.due_in(now);
            let time_out = self.retries.due_in(now).map_or(check, |retries| retries.min(check));
            return self.outbox.wait(Some(time_out)) == Wake::Ended;
        };
        loop {
            let back_off = retry_at.saturating_duration_since(Instant::now());
            match self.outbox.wait(Some(back_off)) {
                // The new rows wait for the end of the back-off too.
                Wake::Rows => {}
                Wake::TimeOut => return false,
                Wake::Ended => return true,
            }
        }
    }

    fn deliver_all(&mut self) -> Result<(), ForwardError> {
        let mut is_new = !self.sink.is_connected();
        let connected = self.sink.connect();
        self.log_warnings();
        connected?;
        if !self.has_connected {
            self.has_connected = true;
            info!("{}: connected", self.server);
        }
        loop {
            if mem::take(&mut is_new) || self.lost_rows.is_due(Instant::now()) {
                self.check_delivered()?;
            }
            let (batch, source) = self.undelivered()?;
            if self.outbox.may_repeat() {
                self.is_caught_up = false;
            }
            self.damaged += batch.damaged;
            if self.damaged > 0 && self.is_due(Warning::DamagedRows) {
                let damaged = rows(mem::take(&mut self.damaged));
                warn!(
                    "{damaged} damaged in the journal; the values that can be read are delivered"
                );
            }
            if !self.outbox.is_set_back() {
                self.log_lost_rows();
            }
            if batch.records.is_empty() {
                break;
            }
            self.deliver(&batch, source)?;
        }
        self.is_caught_up = true;
        self.end_trouble();
        self.retry_set_aside()
    }

    /// The spool's rows come first, batch by batch, since they are newer.
    fn undelivered(&mut self) -> Result<(Batch, BatchSource), bluenova_journal::Error> {
        let limit = self.sink.batch_size().min(self.batch_rows());
        let batch = self.outbox.undelivered(limit)?;
        let (batch, source) = match &mut self.leftovers {
            Some(leftovers) if batch.records.is_empty() && batch.damaged == 0 => {
                (leftovers.undelivered(limit), BatchSource::Leftover)
            }
            _ => (batch, BatchSource::Spool),
        };
        if self.batteries.len() < BATCH {
            self.batteries.extend(batch.records.iter().map(|record| record.mcu_id));
        }
        Ok((batch, source))
    }

    /// Rows of a batch at most: what all batteries send in an interval. A batch reads those rows of
    /// its times that the table has already; so with batches of a few rows, a fleet would have its
    /// rows read over and over.
    fn batch_rows(&self) -> usize {
        self.batteries.len().clamp(FEW_ROWS, BATCH)
    }

    fn waiting(&mut self) -> Waiting {
        let mut waiting = self.outbox.waiting();
        waiting.in_file += self.leftovers.as_ref().map_or(0, Leftovers::waiting);
        waiting
    }

    /// Delivers a batch step by step, so that what a step has settled is never done again.
    fn deliver(&mut self, batch: &Batch, source: BatchSource) -> Result<(), ForwardError> {
        let mut done = 0;
        while done < batch.records.len() {
            let delivered = self.deliver_step(batch, done)?;
            if self.sink.has_table_changed() {
                self.check_delivered()?;
                if self.outbox.is_set_back() {
                    // The rows of this step come again, with those that are missing.
                    return Ok(());
                }
            }
            if let Some(rejected) = &delivered.rejected {
                self.set_aside(&batch.records[done], rejected, source)?;
            }
            done += delivered.rows;
            let noted = match self.leftover(source) {
                Some(leftover) => leftover.delivered(batch.through(done)),
                None => self.outbox.delivered(batch.through(done)),
            };
            if let Err(error) = noted
                && self.is_due(Warning::CursorNotWritten)
            {
                // The outbox keeps the position in memory, so that this process sends no row twice.
                let why = ErrorChain(&error);
                warn!("{why}. The rows are delivered; they may be sent again after a restart");
            }
            if batch.is_again {
                self.lost_rows.delivered(delivered.added);
            }
            self.delivered(&delivered, source);
        }
        Ok(())
    }

    fn deliver_step(
        &mut self,
        batch: &Batch,
        done: usize,
    ) -> Result<Delivered, bluenova_postgres::Error> {
        let delivered = self.sink.deliver(&batch.records, done);
        self.log_warnings();
        match delivered {
            Err(error) if error.is_about_partitions() && self.takes_newest(batch) => {
                let rejected = Some(Rejected::because(&error));
                Ok(Delivered { rows: 1, rejected, ..Delivered::default() })
            }
            Err(error) => {
                if error.is_too_slow() {
                    self.log_slow_server(&ErrorChain(&error).to_string(), self.sink.batch_size());
                }
                Err(error)
            }
            delivered => delivered,
        }
    }

    /// Whether the server takes the newest row, which is behind those of the batch: then it is the
    /// batch that waits on its own, however long that is.
    fn takes_newest(&mut self, batch: &Batch) -> bool {
        let newest = self.outbox.newest();
        let behind = newest.filter(|newest| batch.records.last() != Some(newest));
        behind.is_some_and(|newest| self.sink.probe(&newest).is_ok())
    }

    /// The leftover that the last batch is from, if it is from one.
    fn leftover(&mut self, source: BatchSource) -> Option<&mut LeftoverOutbox> {
        match source {
            BatchSource::Spool => None,
            BatchSource::Leftover => self.leftovers.as_mut()?.current(),
        }
    }
}
