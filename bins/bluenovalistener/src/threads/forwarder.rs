use std::{mem, time::Instant};

use bluenova_http::{DeliveryStatus, RateLimit, Shared, duration};
use bluenova_journal::{Batch, SpoolOutbox, Waiting, Wake};
use bluenova_postgres::{Deadlines, Delivered, Rejected, Settings, Sink};
use bluenova_record::{ErrorChain, PackRecord, Timestamp};
use log::{error, info, warn};
use time::UtcDateTime;

use super::{
    delivery_trouble::{ForwardError, Trouble, rows_wait, what_to_expect},
    outage::REMINDER,
};
use crate::console::{lasting, rows};

/// Maximum number of rows of a batch. Each takes a kilobyte, twice while it is read, and an
/// allocator may keep as much for good. Larger batches would need fewer commits.
const MAX_ROWS: usize = 100;

/// Delivers the spool's rows to PostgreSQL, oldest first, and acknowledges those that arrived.
pub(crate) struct Forwarder {
    server: String,
    outbox: SpoolOutbox,
    sink: Sink,
    status: Shared<DeliveryStatus>,
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

/// What is logged once an hour at most.
#[derive(PartialEq)]
enum Warning {
    SlowServer,
    DamagedRows,
    CursorNotWritten,
}

impl Forwarder {
    pub(crate) fn new(
        server: Settings,
        outbox: SpoolOutbox,
        status: Shared<DeliveryStatus>,
    ) -> Self {
        Self {
            server: server.to_string(),
            outbox,
            sink: Sink::new(server, Deadlines::default()),
            status,
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
        match self.outbox.waiting() {
            Waiting { in_memory: 0, in_file: 0 } => {}
            Waiting { in_memory: 0, in_file } => {
                let (waiting, server) = (rows_wait(in_file), &self.server);
                warn!("{waiting} in the journal for {server}, to be delivered at the next start");
            }
            Waiting { in_memory, .. } => {
                error!(
                    "{} lost: in memory only, and PostgreSQL did not take them before the end",
                    rows(in_memory)
                );
            }
        }
    }

    /// Waits until there is something to do; returns whether the spool is closed.
    fn wait(&mut self) -> bool {
        let Some(retry_at) = self.trouble.as_ref().map(Trouble::retry_at) else {
            return self.outbox.wait(None) == Wake::Ended;
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
        let connected = self.sink.connect();
        self.log_warnings();
        connected?;
        if !self.has_connected {
            self.has_connected = true;
            info!("{}: connected", self.server);
        }
        loop {
            let batch = self.outbox.undelivered(self.sink.batch_size().min(MAX_ROWS))?;
            self.damaged += batch.damaged;
            if self.damaged > 0 && self.is_due(Warning::DamagedRows) {
                let damaged = rows(mem::take(&mut self.damaged));
                warn!(
                    "{damaged} damaged in the journal; the values that can be read are delivered"
                );
            }
            if batch.records.is_empty() {
                break;
            }
            self.deliver(&batch)?;
        }
        self.is_caught_up = true;
        self.end_trouble();
        Ok(())
    }

    /// Delivers a batch step by step, so that what a step has settled is never done again.
    fn deliver(&mut self, batch: &Batch) -> Result<(), ForwardError> {
        let mut done = 0;
        while done < batch.records.len() {
            let delivered = self.sink.deliver(&batch.records, done);
            self.log_warnings();
            let delivered = delivered.inspect_err(|error| {
                if error.is_too_slow() {
                    self.log_slow_server(&ErrorChain(error).to_string(), self.sink.batch_size());
                }
            })?;
            if let Some(rejected) = &delivered.rejected {
                self.set_aside(&batch.records[done], rejected)?;
            }
            done += delivered.rows;
            if let Err(error) = self.outbox.delivered(batch.through(done))
                && self.is_due(Warning::CursorNotWritten)
            {
                // The outbox keeps the position in memory, so that this process sends no row twice.
                let why = ErrorChain(&error);
                warn!("{why}. The rows are delivered; they may be sent again after a restart");
            }
            self.delivered(&delivered);
        }
        Ok(())
    }

    fn set_aside(
        &mut self,
        record: &PackRecord,
        Rejected { sqlstate, reason }: &Rejected,
    ) -> Result<(), ForwardError> {
        self.outbox.set_aside(record, sqlstate, reason, UtcDateTime::now())?;
        let (time, id) = (Timestamp(record.insert_time_utc), record.mcu_id);
        error!(
            "PostgreSQL rejected the row of {id:08X} at {time}. It is set aside in the journal \
             (`bluenovalistener set-aside` lists and retries such rows): {reason}"
        );
        Ok(())
    }

    /// A step has succeeded.
    fn delivered(&mut self, delivered: &Delivered) {
        if let Some(why) = &delivered.too_slow {
            self.log_slow_server(why, delivered.rows);
        }
        let taken = delivered.added + delivered.known + delivered.swallowed;
        let waiting = self.outbox.waiting().total();
        self.status.update(|delivery| delivery.rows_delivered(taken, waiting, Instant::now()));
        if self.trouble.as_ref().is_some_and(Trouble::is_of_server) {
            self.end_trouble();
        }
        if delivered.known > 0 && self.is_caught_up && !self.logged_known {
            self.logged_known = true;
            warn!(
                "{}: the table had {} already. None is lost or doubled. Does another listener \
                 record this battery, or was the clock set back?",
                self.server,
                rows(delivered.known)
            );
        }
    }

    fn log_slow_server(&mut self, why: &str, batch_size: usize) {
        if self.is_due(Warning::SlowServer) {
            let batch = rows(batch_size as u64);
            warn!("{why}. The server is slow: delivering {batch} at a time for now");
        }
    }

    fn is_due(&mut self, warning: Warning) -> bool {
        self.warnings.is_due(warning, Instant::now())
    }

    fn log_warnings(&mut self) {
        for warning in self.sink.take_warnings() {
            warn!("{}: {warning}", self.server);
        }
    }

    fn end_trouble(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            self.status.update(|delivery| delivery.trouble = None);
            let away = duration(trouble.lasted());
            let waiting = rows(self.outbox.waiting().total());
            info!("{}: delivering after {away}, {waiting} to go", self.server);
        }
    }

    fn failed(&mut self, error: &ForwardError) {
        self.is_caught_up = false;
        let why = ErrorChain(error).to_string();
        self.status.update(|delivery| delivery.trouble = Some(why.clone()));
        let trouble = self.trouble.get_or_insert_with(Trouble::begin);
        if trouble.goes_on(error, Instant::now()) {
            let lasting = lasting(trouble.lasted());
            let is_in_memory = self.outbox.is_in_memory();
            let expect = what_to_expect(error, self.outbox.waiting(), is_in_memory);
            warn!("{why}. {expect}{lasting}");
        }
    }
}
