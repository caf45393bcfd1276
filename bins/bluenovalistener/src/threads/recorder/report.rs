//! What happens to rows, for the log, the status and the journal's events.

use std::{mem, time::Instant};

use bluenova_journal::{EventKind, Notice};
use bluenova_record::{ErrorChain, PackRecord, Timestamp};

use super::{super::NewEvent, Recorder};
use crate::console::rows;

impl Recorder {
    pub(super) fn is_busy(&self, is_busy: bool) {
        let since = is_busy.then(Instant::now);
        self.progress.update(|progress| progress.busy_since = since);
    }

    /// Puts what happened to the spool into log and status; returns whether rows have moved.
    pub(super) fn report(&mut self) -> bool {
        let only_in_memory = self.spool.only_in_memory();
        self.status.storage.update(|storage| storage.only_in_memory = only_in_memory);
        let mut have_moved = false;
        for notice in self.spool.take_notices() {
            have_moved |= matches!(notice, Notice::InFile { .. } | Notice::Recovered(_));
            self.note_where_rows_go(&notice);
            self.spool_log.report(&notice, &self.status.storage);
        }
        have_moved
    }

    fn note_where_rows_go(&mut self, notice: &Notice) {
        let (kind, detail) = match notice {
            Notice::InMemory(error) => (EventKind::InMemory, ErrorChain(error).to_string()),
            Notice::InStandIn { error, .. } => {
                (EventKind::InStandIn, ErrorChain(error).to_string())
            }
            Notice::InFile { rows: count } => {
                (EventKind::InFile, format!("with {} from elsewhere", rows(*count as u64)))
            }
            _ => return,
        };
        // While it lasts, the notice comes again every minute.
        if mem::replace(&mut self.rows_go, kind) != kind {
            self.event_times.add(NewEvent::now(kind, detail));
        }
    }

    /// Has the forwarder look for rows. The status comes first, or rows that are delivered at once
    /// would count as waiting.
    pub(super) fn announce_rows(&self) {
        if let Some(delivery) = &self.status.delivery {
            let waiting = self.spool.waiting();
            delivery.update(|delivery| delivery.rows_arrived(waiting, Instant::now()));
        }
        self.spool.wake_outbox();
    }
}

/// The values of a row that the log shows.
pub(super) fn summary(record: &PackRecord) -> String {
    let mut summary = format!("{} UTC", Timestamp(record.insert_time_utc));
    let mut add = |value: Option<String>, unit| {
        if let Some(value) = value {
            summary.push_str("  ");
            summary.push_str(&value);
            summary.push(' ');
            summary.push_str(unit);
        }
    };
    add(record.soc.map(|soc| soc.to_string()), "%");
    add(record.v_pack.map(|v| format!("{v:.2}")), "V");
    add(record.i_pack.map(|i| format!("{i:+.2}")), "A");
    add(record.temp.map(|t| t.to_string()), "°C");
    summary
}
