//! What became of a delivery, for the log, the status and the journal's events.

use std::time::Instant;

use bluenova_journal::EventKind;
use bluenova_postgres::Delivered;
use bluenova_record::ErrorChain;
use bluenova_status::duration;
use log::{info, warn};

use super::super::{
    NewEvent,
    delivery_trouble::{ForwardError, Trouble, what_to_expect},
    leftovers::Leftovers,
};
use super::{BatchSource, Forwarder, Warning};
use crate::console::{lasting, rows};

impl Forwarder {
    /// A step has succeeded.
    pub(super) fn delivered(&mut self, delivered: &Delivered, source: BatchSource) {
        if let Some(why) = &delivered.too_slow {
            self.log_slow_server(why, delivered.rows);
        }
        let taken = delivered.added + delivered.known + delivered.swallowed;
        let leftovers = self.leftovers.as_ref().map_or(0, Leftovers::waiting);
        let waiting = self.outbox.waiting().total() + leftovers;
        self.status.update(|delivery| delivery.in_leftovers = leftovers);
        self.status.update(|delivery| delivery.rows_delivered(taken, waiting, Instant::now()));
        if self.trouble.as_ref().is_some_and(Trouble::is_of_server) {
            self.end_trouble();
        }
        // Those of a leftover may have lost their acknowledgement.
        let is_surprise = self.is_caught_up && source == BatchSource::Spool;
        if delivered.known > 0 && is_surprise && !self.logged_known {
            self.logged_known = true;
            warn!(
                "{}: the table had {} already. None is lost or doubled. Does another listener \
                 record this battery, or was the clock set back?",
                self.server,
                rows(delivered.known)
            );
        }
    }

    pub(super) fn log_slow_server(&mut self, why: &str, batch_size: usize) {
        if self.is_due(Warning::SlowServer) {
            let batch = rows(batch_size as u64);
            warn!("{why}. The server is slow: delivering {batch} at a time for now");
        }
    }

    pub(super) fn is_due(&mut self, warning: Warning) -> bool {
        self.warnings.is_due(warning, Instant::now())
    }

    pub(super) fn log_warnings(&mut self) {
        for warning in self.sink.take_warnings() {
            warn!("{}: {warning}", self.server);
        }
    }

    fn note(&self, kind: EventKind, detail: &str) {
        // The recorder is gone first.
        let _ = self.events.send(NewEvent::now(kind, detail));
    }

    pub(super) fn end_trouble(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            self.note(EventKind::ServerBack, "");
            self.status.update(|delivery| delivery.trouble = None);
            self.retries.server_is_back(Instant::now());
            let away = duration(trouble.lasted());
            let waiting = rows(self.waiting().total());
            info!("{}: delivering after {away}, {waiting} to go", self.server);
        }
    }

    pub(super) fn failed(&mut self, error: &ForwardError) {
        self.is_caught_up = false;
        let why = ErrorChain(error).to_string();
        self.status.update(|delivery| delivery.trouble = Some(why.clone()));
        if self.trouble.is_none() {
            self.note(EventKind::ServerAway, &why);
        }
        let trouble = self.trouble.get_or_insert_with(Trouble::begin);
        if trouble.goes_on(error, Instant::now()) {
            let lasting = lasting(trouble.lasted());
            let is_in_memory = self.outbox.is_in_memory();
            let expect = what_to_expect(error, self.waiting(), is_in_memory);
            warn!("{why}. {expect}{lasting}");
        }
    }
}
