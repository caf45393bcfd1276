//! The forwarder thread: takes what the journal holds to PostgreSQL, oldest first, and notes how
//! far it has come.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use bluenova_journal::Outbox;
use bluenova_postgres::{Retry, Settings, Sink};
use log::{info, warn};

use crate::text;

/// Rows in one transaction at most.
const BATCH: usize = 1000;

/// First and longest pause between two attempts; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a state that lasts is mentioned again.
const REMINDER: Duration = Duration::from_secs(3600);

#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    #[error(transparent)]
    Server(#[from] bluenova_postgres::Error),
}

/// Delivers rows to PostgreSQL.
pub(crate) struct Forwarder {
    server: Settings,
    wake: Receiver<()>,
    new_outboxes: Receiver<Outbox>,
    outboxes: Vec<Outbox>,
    sink: Option<Sink>,
    has_delivered: bool,
    trouble: Option<Trouble>,
}

/// What hinders delivery at present.
struct Trouble {
    since: Instant,
    mentioned: Instant,
    pause: Duration,
    retry_at: Instant,
}

impl Forwarder {
    pub(crate) fn new(
        server: Settings,
        wake: Receiver<()>,
        new_outboxes: Receiver<Outbox>,
    ) -> Self {
        Self {
            server,
            wake,
            new_outboxes,
            outboxes: Vec::new(),
            sink: None,
            has_delivered: false,
            trouble: None,
        }
    }

    /// Delivers until nobody wakes it any more, and then what is left, if the server takes it.
    pub(crate) fn run(mut self) {
        let mut ended = false;
        loop {
            self.outboxes.extend(self.new_outboxes.try_iter());
            match self.deliver() {
                Ok(rows) => self.delivered(rows),
                Err(error) => self.failed(&error),
            }
            if ended {
                break;
            }
            ended = self.wait();
        }
        let waiting = self.waiting();
        if waiting > 0 {
            warn!("{waiting} rows wait in the journal for {}", self.server);
        }
    }

    /// Waits until there is something to do; tells whether this is the end.
    fn wait(&self) -> bool {
        let Some(trouble) = &self.trouble else { return self.wake.recv().is_err() };
        loop {
            match self.wake.recv_timeout(trouble.retry_at.saturating_duration_since(Instant::now()))
            {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    fn deliver(&mut self) -> Result<u64, ForwardError> {
        let mut sink = match self.sink.take() {
            Some(sink) => sink,
            None => self.connect()?,
        };
        let mut rows = 0;
        for outbox in &mut self.outboxes {
            loop {
                let batch = outbox.undelivered(BATCH)?;
                if batch.records.is_empty() {
                    break;
                }
                let delivered = sink.deliver(&batch.records)?;
                outbox.delivered(batch.last)?;
                rows += delivered.added;
            }
        }
        // A connection on which something went wrong isn't used again.
        self.sink = Some(sink);
        Ok(rows)
    }

    fn connect(&self) -> Result<Sink, bluenova_postgres::Error> {
        let sink = Sink::connect(&self.server)?;
        for note in sink.notes() {
            warn!("{}: {note}", self.server);
        }
        Ok(sink)
    }

    fn delivered(&mut self, rows: u64) {
        match self.trouble.take() {
            Some(trouble) => {
                let away = text::duration(trouble.since.elapsed());
                info!("{}: delivering after {away}; {rows} rows", self.server);
            }
            None if !self.has_delivered => info!("{}: connected", self.server),
            None => {}
        }
        self.has_delivered = true;
    }

    fn failed(&mut self, error: &ForwardError) {
        let now = Instant::now();
        let slow = matches!(error, ForwardError::Server(error) if error.retry() != Retry::Soon);
        let trouble = self.trouble.get_or_insert(Trouble {
            since: now,
            mentioned: now,
            pause: Duration::ZERO,
            retry_at: now,
        });
        let first = trouble.pause.is_zero();
        trouble.pause = match trouble.pause {
            _ if slow => LONGEST_PAUSE,
            pause if pause.is_zero() => FIRST_PAUSE,
            pause => (pause * 2).min(LONGEST_PAUSE),
        };
        // Listeners that lost the server together should not come back together.
        trouble.retry_at = now + trouble.pause.mul_f64(0.75 + fastrand::f64() / 2.0);
        if first || trouble.mentioned.elapsed() >= REMINDER {
            trouble.mentioned = now;
            let since = text::duration(trouble.since.elapsed());
            let waiting = self.waiting();
            let since = if first { String::new() } else { format!(" (for {since} now)") };
            warn!("{}; {waiting} rows wait in the journal{since}", text::chain(error));
        }
    }

    fn waiting(&self) -> u64 {
        self.outboxes.iter().filter_map(|outbox| outbox.waiting().ok()).sum()
    }
}
