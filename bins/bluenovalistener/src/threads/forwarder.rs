//! The forwarder thread: takes what the journal holds to PostgreSQL, oldest first, and notes how
//! far it has come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use bluenova_journal::Outbox;
use bluenova_postgres::{Delivered, Retry, Settings};
use bluenova_record::PackRecord;
use log::{debug, error, info, warn};

use time::UtcDateTime;

use crate::{delivery::Delivery, outage::Outage, status::DeliveryNotes, text};

/// First and longest pause between two attempts; each one is twice as long as the one before. An
/// attempt itself may take 40 s to fail.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(45);

/// The pause where somebody has to mend something first.
const SLOW_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    #[error(transparent)]
    Server(#[from] bluenova_postgres::Error),
}

/// Where rows come from.
pub(crate) struct Source {
    pub(crate) outbox: Outbox,
    /// Whether its rows end with the process.
    pub(crate) in_memory: bool,
    /// Tells the recorder that the file is damaged.
    pub(crate) damaged: Arc<AtomicBool>,
}

/// Delivers rows to PostgreSQL.
pub(crate) struct Forwarder {
    server: Settings,
    wake: Receiver<()>,
    new_sources: Receiver<Source>,
    sources: Vec<Source>,
    delivery: Delivery,
    notes: Arc<DeliveryNotes>,
    has_connected: bool,
    has_delivered: bool,
    said_known: bool,
    trouble: Option<Trouble>,
}

/// What hinders delivery at present.
struct Trouble {
    outage: Outage<Kind>,
    /// Of the server, not of a journal.
    of_server: bool,
    pause: Duration,
    retry_at: Instant,
}

/// Two errors of a kind are no news.
#[derive(PartialEq)]
enum Kind {
    Journal,
    Server { sqlstate: Option<String>, slow: bool },
}

impl Forwarder {
    pub(crate) fn new(
        server: Settings,
        wake: Receiver<()>,
        new_sources: Receiver<Source>,
        notes: Arc<DeliveryNotes>,
    ) -> Self {
        let delivery = Delivery::new(server.clone(), Arc::clone(&notes));
        Self {
            server,
            wake,
            new_sources,
            sources: Vec::new(),
            delivery,
            notes,
            has_connected: false,
            has_delivered: false,
            said_known: false,
            trouble: None,
        }
    }

    /// Where it tells of itself.
    pub(crate) fn notes(&self) -> Arc<DeliveryNotes> {
        Arc::clone(&self.notes)
    }

    /// Delivers until nobody wakes it any more, and then what is left, if the server takes it.
    pub(crate) fn run(mut self) {
        let mut ended = false;
        loop {
            let look = self.notes.look();
            self.sources.extend(self.new_sources.try_iter());
            match self.deliver() {
                Ok(()) => self.notes.found_no_more(&look),
                Err(error) => self.failed(&error),
            }
            if ended {
                break;
            }
            ended = self.wait();
        }
        match (self.waiting_in(true), self.waiting_in(false)) {
            (0, 0) => {}
            (0, rows) => warn!("{rows} rows wait in the journal for {}", self.server),
            (rows, _) => error!("{rows} rows are lost: they were in memory only"),
        }
    }

    /// Waits until there is something to do; tells whether this is the end.
    fn wait(&self) -> bool {
        let Some(trouble) = &self.trouble else { return self.wake.recv().is_err() };
        loop {
            let pause = trouble.retry_at.saturating_duration_since(Instant::now());
            match self.wake.recv_timeout(pause) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    /// Delivers all that there is.
    fn deliver(&mut self) -> Result<(), ForwardError> {
        self.delivery.connect()?;
        if !self.has_connected {
            self.has_connected = true;
            info!("{}: connected", self.server);
        }
        let mut unreadable = None;
        let mut at = 0;
        while let Some((source, later)) = self.sources[at..].split_first_mut() {
            // A new file is in the place of its own, so that nothing more will come.
            let replaced = !source.in_memory && later.iter().any(|later| !later.in_memory);
            match source.deliver(&mut self.delivery) {
                Ok(Some(rows)) => {
                    self.delivered(rows);
                    continue;
                }
                Ok(None) => {}
                // What could be read of it is in the new one.
                Err(ForwardError::Journal(error)) if replaced => debug!("{}", text::chain(&error)),
                // The next one may be fine.
                Err(error @ ForwardError::Journal(_)) => unreadable = Some(error),
                Err(error @ ForwardError::Server(_)) => return Err(error),
            }
            if replaced {
                self.sources.remove(at);
            } else {
                at += 1;
            }
        }
        match unreadable {
            Some(error) => Err(error),
            None => {
                self.end_trouble();
                Ok(())
            }
        }
    }

    /// A batch has passed.
    fn delivered(&mut self, rows: Delivered) {
        let waiting = self.waiting();
        self.notes.delivered(rows.added + rows.known, waiting);
        let had_trouble = self.trouble.is_some();
        if self.trouble.as_ref().is_some_and(|trouble| trouble.of_server) {
            self.end_trouble();
        }
        // After trouble, rows may be there whose acknowledgement was lost.
        if rows.known > 0 && self.has_delivered && !had_trouble && !self.said_known {
            self.said_known = true;
            warn!(
                "{}: {} rows were there already; a second listener, or a clock that was set back?",
                self.server, rows.known
            );
        }
        self.has_delivered = true;
    }

    fn end_trouble(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            self.notes.works();
            let away = text::duration(trouble.outage.lasted());
            let waiting = self.waiting();
            info!("{}: delivering after {away}, {waiting} rows to go", self.server);
        }
    }

    fn failed(&mut self, error: &ForwardError) {
        self.notes.failed(error);
        let (kind, slow) = match error {
            ForwardError::Journal(_) => (Kind::Journal, false),
            ForwardError::Server(error) => {
                let slow = error.retry() != Retry::Soon;
                let sqlstate = error.sqlstate().map(str::to_owned);
                (Kind::Server { sqlstate, slow }, slow)
            }
        };
        let now = Instant::now();
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            outage: Outage::begin(),
            of_server: true,
            pause: FIRST_PAUSE / 2,
            retry_at: now,
        });
        trouble.pause = match kind {
            // A new journal may come at any moment.
            Kind::Journal => FIRST_PAUSE,
            _ if slow => SLOW_PAUSE,
            _ => (trouble.pause * 2).min(LONGEST_PAUSE),
        };
        trouble.of_server = kind != Kind::Journal;
        // Listeners that lost the server together should not come back together.
        trouble.retry_at = now + trouble.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        if trouble.outage.is_news(kind) {
            let since = text::since(trouble.outage.lasted());
            let waiting = self.waiting();
            warn!("{}; {waiting} rows wait in the journal{since}", text::chain(error));
        }
    }

    fn waiting(&self) -> u64 {
        self.waiting_in(true) + self.waiting_in(false)
    }

    fn waiting_in(&self, in_memory: bool) -> u64 {
        let sources = self.sources.iter().filter(|source| source.in_memory == in_memory);
        sources.filter_map(|source| source.outbox.waiting().ok()).sum()
    }
}

impl Source {
    /// Delivers its next batch; `None` if there is none.
    fn deliver(&mut self, delivery: &mut Delivery) -> Result<Option<Delivered>, ForwardError> {
        let batch = self.outbox.undelivered(delivery.size()).inspect_err(|error| {
            if error.is_damage() {
                self.damaged.store(true, Ordering::Relaxed);
            }
        })?;
        if batch.records.is_empty() {
            return Ok(None);
        }
        let rows =
            delivery.deliver(&batch.records, |record, error| self.set_aside(record, error))?;
        if let Err(error) = self.outbox.delivered(batch.last) {
            // It is known in memory all the same; the rows would only be sent once more.
            warn!("{}", text::chain(&error));
        }
        Ok(Some(rows))
    }

    fn set_aside(
        &mut self,
        record: &PackRecord,
        why: &bluenova_postgres::Error,
    ) -> Result<(), ForwardError> {
        let (stamp, id) = (text::timestamp(record.insert_time_utc), record.mcu_id);
        error!("the row of {id:08X} at {stamp} is set aside: {}", text::chain(why));
        let sqlstate = why.sqlstate().unwrap_or_default();
        Ok(self.outbox.set_aside(record, sqlstate, &text::chain(why), UtcDateTime::now())?)
    }
}
