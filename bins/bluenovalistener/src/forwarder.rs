//! The forwarder thread: takes what the journal holds to PostgreSQL, oldest first, and notes how
//! far it has come.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use bluenova_journal::Outbox;
use bluenova_postgres::{Delivered, Retry, Settings, Sink};
use log::{error, info, warn};

use crate::{outage::Outage, text};

/// Rows in one transaction at most.
const BATCH: usize = 1000;

/// First and longest pause between two attempts; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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
}

/// Delivers rows to PostgreSQL.
pub(crate) struct Forwarder {
    server: Settings,
    wake: Receiver<()>,
    new_sources: Receiver<Source>,
    sources: Vec<Source>,
    sink: Option<Sink>,
    has_delivered: bool,
    said_known: bool,
    trouble: Option<Trouble>,
}

/// What hinders delivery at present.
struct Trouble {
    outage: Outage<Kind>,
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
    pub(crate) fn new(server: Settings, wake: Receiver<()>, new_sources: Receiver<Source>) -> Self {
        Self {
            server,
            wake,
            new_sources,
            sources: Vec::new(),
            sink: None,
            has_delivered: false,
            said_known: false,
            trouble: None,
        }
    }

    /// Delivers until nobody wakes it any more, and then what is left, if the server takes it.
    pub(crate) fn run(mut self) {
        let mut ended = false;
        loop {
            self.sources.extend(self.new_sources.try_iter());
            match self.deliver() {
                Ok(rows) => self.delivered(rows),
                Err(error) => self.failed(&error),
            }
            if ended {
                break;
            }
            ended = self.wait();
        }
        match (self.waiting(true), self.waiting(false)) {
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

    fn deliver(&mut self) -> Result<Delivered, ForwardError> {
        let mut sink = match self.sink.take() {
            Some(sink) => sink,
            None => self.connect()?,
        };
        let mut rows = Delivered::default();
        let mut unreadable = None;
        let mut at = 0;
        while let Some((source, later)) = self.sources[at..].split_first_mut() {
            // Its file was deleted and a new one is in its place, so that nothing more will come.
            let replaced = !source.in_memory && later.iter().any(|later| !later.in_memory);
            match source.deliver(&mut sink, &mut rows) {
                Ok(()) => {}
                Err(ForwardError::Journal(error)) if replaced => {
                    error!("rows are lost with their journal: {}", text::chain(&error));
                }
                // The next one may be fine.
                Err(error @ ForwardError::Journal(_)) => unreadable = Some(error),
                // A connection on which something went wrong isn't used again.
                Err(error @ ForwardError::Server(_)) => return Err(error),
            }
            if replaced {
                self.sources.remove(at);
            } else {
                at += 1;
            }
        }
        self.sink = Some(sink);
        unreadable.map_or(Ok(rows), Err)
    }

    fn connect(&self) -> Result<Sink, bluenova_postgres::Error> {
        let sink = Sink::connect(&self.server)?;
        for note in sink.notes() {
            warn!("{}: {note}", self.server);
        }
        Ok(sink)
    }

    fn delivered(&mut self, rows: Delivered) {
        match self.trouble.take() {
            Some(trouble) => {
                let away = text::duration(trouble.outage.lasted());
                info!("{}: delivering after {away}, {} rows", self.server, rows.added);
            }
            // After trouble, rows may be there whose acknowledgement was lost.
            None if self.has_delivered && rows.known > 0 && !self.said_known => {
                self.said_known = true;
                warn!(
                    "{}: {} rows were there already; a second listener, or a clock that was set back?",
                    self.server, rows.known
                );
            }
            None if !self.has_delivered => info!("{}: connected", self.server),
            None => {}
        }
        self.has_delivered = true;
    }

    fn failed(&mut self, error: &ForwardError) {
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
            pause: FIRST_PAUSE / 2,
            retry_at: now,
        });
        trouble.pause = if slow { LONGEST_PAUSE } else { (trouble.pause * 2).min(LONGEST_PAUSE) };
        // Listeners that lost the server together should not come back together.
        trouble.retry_at = now + trouble.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        if trouble.outage.is_news(kind) {
            let since = text::since(trouble.outage.lasted());
            let waiting = self.waiting(true) + self.waiting(false);
            warn!("{}; {waiting} rows wait in the journal{since}", text::chain(error));
        }
    }

    fn waiting(&self, in_memory: bool) -> u64 {
        let sources = self.sources.iter().filter(|source| source.in_memory == in_memory);
        sources.filter_map(|source| source.outbox.waiting().ok()).sum()
    }
}

impl Source {
    /// Delivers all that it has, and counts it into `rows`.
    fn deliver(&mut self, sink: &mut Sink, rows: &mut Delivered) -> Result<(), ForwardError> {
        loop {
            let batch = self.outbox.undelivered(BATCH)?;
            if batch.records.is_empty() {
                return Ok(());
            }
            let Delivered { added, known } = sink.deliver(&batch.records)?;
            rows.added += added;
            rows.known += known;
            if let Err(error) = self.outbox.delivered(batch.last) {
                // It is known in memory all the same; the rows would only be sent once more.
                warn!("{}", text::chain(&error));
            }
        }
    }
}
