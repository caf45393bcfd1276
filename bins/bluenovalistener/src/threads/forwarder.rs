use std::time::{Duration, Instant};

use bluenova_http::{DeliveryStatus, Shared, duration};
use bluenova_journal::{Batch, SpoolOutbox, Waiting, Wake};
use bluenova_postgres::{Deadlines, Delivered, Rejected, Retry, Settings, Sink};
use bluenova_record::{ErrorChain, PackRecord, Timestamp};
use log::{error, info, warn};
use time::UtcDateTime;

use super::outage::Outage;
use crate::console::{lasting, rows};

/// First and longest back-off between two attempts; each is twice as long as the one before. An
/// attempt itself may take 40 s to fail.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(45);

/// The back-off where a person has to mend something first.
const MENDING_BACK_OFF: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    #[error(transparent)]
    Server(#[from] bluenova_postgres::Error),
}

/// Takes what the spool holds to PostgreSQL, oldest first, and acknowledges what has arrived.
pub(crate) struct Forwarder {
    server: String,
    outbox: SpoolOutbox,
    sink: Sink,
    status: Shared<DeliveryStatus>,
    has_connected: bool,
    /// Rows that are known to the server already are no surprise until it has taken new ones.
    has_added: bool,
    said_known: bool,
    slowness: Outage<()>,
    damage: Outage<()>,

    trouble: Option<Trouble>,
}

/// What hinders delivery at present.
struct Trouble {
    outage: Outage<TroubleKind>,
    /// Of the server, not of a journal.
    of_server: bool,
    back_off: Duration,
    retry_at: Instant,
}

/// Each kind is logged once.
#[derive(PartialEq)]
enum TroubleKind {
    Journal,
    Server { sqlstate: Option<String>, slow: bool },
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
            has_added: false,
            said_known: false,
            slowness: Outage::begin(),
            damage: Outage::begin(),

            trouble: None,
        }
    }

    /// Delivers until the spool has ended, and then what is left, if the server takes it.
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
                warn!("{} in the journal for {}", rows_wait(in_file), self.server);
            }
            Waiting { in_memory, .. } => {
                error!("{} lost: they were in memory only", rows(in_memory));
            }
        }
    }

    /// Waits until there is something to do; returns whether this is the end.
    fn wait(&self) -> bool {
        let Some(trouble) = &self.trouble else { return self.outbox.wait(None) == Wake::Ended };
        loop {
            let back_off = trouble.retry_at.saturating_duration_since(Instant::now());
            match self.outbox.wait(Some(back_off)) {
                // Those rows wait as well.
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
            let batch = self.outbox.undelivered(self.sink.batch_size())?;
            if batch.damaged > 0 && self.damage.is_news(()) {
                let damaged = rows(batch.damaged);
                warn!("{damaged} damaged in the journal: what is legible of them is delivered");
            }
            if batch.records.is_empty() {
                break;
            }
            self.deliver(&batch)?;
        }
        self.end_trouble();
        Ok(())
    }

    /// Delivers a batch step by step, so that what a step has settled is never done again.
    fn deliver(&mut self, batch: &Batch) -> Result<(), ForwardError> {
        let mut done = 0;
        while done < batch.records.len() {
            let delivered = self.sink.deliver(&batch.records, done);
            self.log_warnings();
            let delivered = delivered?;
            if let Some(rejected) = &delivered.rejected {
                self.set_aside(&batch.records[done], rejected)?;
            }
            done += delivered.rows;
            if let Err(error) = self.outbox.delivered(batch.through(done)) {
                // It holds as long as the process lasts: the rows may be sent once more after that.
                warn!("{}", ErrorChain(&error));
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
        let (time, id) = (Timestamp(record.insert_time_utc), record.mcu_id);
        error!("the row of {id:08X} at {time} is set aside: {reason}");
        Ok(self.outbox.set_aside(record, sqlstate, reason, UtcDateTime::now())?)
    }

    /// A step has succeeded.
    fn delivered(&mut self, delivered: &Delivered) {
        if let Some(why) = &delivered.too_slow
            && self.slowness.is_news(())
        {
            warn!("{why}; going on with {} at a time", rows(self.sink.batch_size() as u64));
        }
        let taken = delivered.added + delivered.known;
        let waiting = self.outbox.waiting().total();
        self.status.update(|delivery| delivery.rows_delivered(taken, waiting, Instant::now()));
        if self.trouble.as_ref().is_some_and(|trouble| trouble.of_server) {
            self.end_trouble();
        }
        // Before, there may be rows whose acknowledgement was lost.
        if delivered.known > 0 && self.has_added && !self.said_known {
            self.said_known = true;
            warn!(
                "{}: {} rows were there already; a second listener, or a clock that was set back?",
                self.server, delivered.known
            );
        }
        self.has_added |= delivered.added > 0;
    }

    fn log_warnings(&mut self) {
        for warning in self.sink.take_warnings() {
            warn!("{}: {warning}", self.server);
        }
    }

    fn end_trouble(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            self.status.update(|delivery| delivery.trouble = None);
            let away = duration(trouble.outage.lasted());
            let waiting = rows(self.outbox.waiting().total());
            info!("{}: delivering after {away}, {waiting} to go", self.server);
        }
    }

    fn failed(&mut self, error: &ForwardError) {
        self.has_added = false;
        let why = ErrorChain(error).to_string();
        self.status.update(|delivery| delivery.trouble = Some(why.clone()));
        let (kind, slow) = match error {
            ForwardError::Journal(_) => (TroubleKind::Journal, false),
            ForwardError::Server(error) => {
                let slow = error.retry() != Retry::Soon;
                let sqlstate = error.sqlstate().map(str::to_owned);
                (TroubleKind::Server { sqlstate, slow }, slow)
            }
        };
        let now = Instant::now();
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            outage: Outage::begin(),
            of_server: true,
            back_off: FIRST_BACK_OFF / 2,
            retry_at: now,
        });
        trouble.of_server = kind != TroubleKind::Journal;
        trouble.back_off = match kind {
            // A new journal may come at any moment.
            TroubleKind::Journal => FIRST_BACK_OFF,
            _ if slow => MENDING_BACK_OFF,
            _ => (trouble.back_off * 2).min(LONGEST_BACK_OFF),
        };
        // Listeners that lost the server together should not come back together.
        trouble.retry_at = now + trouble.back_off.mul_f64(0.5 + fastrand::f64() / 2.0);
        if trouble.outage.is_news(kind) {
            let lasting = lasting(trouble.outage.lasted());
            warn!("{why}. {}{lasting}", what_is_safe(error, self.outbox.waiting()));
        }
    }
}

/// What becomes of the rows meanwhile.
fn what_is_safe(error: &ForwardError, waiting: Waiting) -> String {
    let then = match error {
        ForwardError::Server(error) if error.retry() == Retry::Soon => "when it is back",
        ForwardError::Server(_) => "once that is mended",
        ForwardError::Journal(_) => "once it can be read",
    };
    let kept = match waiting.in_memory {
        0 => "Rows are safe in the journal".to_owned(),
        count => format!("Rows are kept, {count} of them in memory only,"),
    };
    let so_far = match waiting.total() {
        0 => String::new(),
        count => format!("; {}", rows_wait(count)),
    };
    format!("{kept} and are delivered {then}{so_far}")
}

fn rows_wait(count: u64) -> String {
    let verb = if count == 1 { "waits" } else { "wait" };
    format!("{} {verb}", rows(count))
}
