use std::{
    mem,
    time::{Duration, Instant},
};

use bluenova_console::NoOwner;
use log::warn;

/// How long after connecting a missing MCU ID is logged: a battery says it once a second or so.
const MISSING_AFTER: Duration = Duration::from_secs(3);

/// What is wrong with the MCU ID on one connection, each thing logged once.
pub(super) struct OwnerLog {
    connected: Instant,
    /// An interval had no row for want of it.
    pub(super) is_missing: bool,
    said_missing: bool,
    said_other: bool,
}

impl OwnerLog {
    /// For a connection that begins now.
    pub(super) fn begin() -> Self {
        let connected = Instant::now();
        Self { connected, is_missing: false, said_missing: false, said_other: false }
    }

    /// The battery said `id`, and the connection belongs to `owner`.
    pub(super) fn said(&mut self, name: &str, id: u32, owner: Option<u32>) {
        let Some(owner) = owner.filter(|owner| *owner != id) else { return };
        if !mem::replace(&mut self.said_other, true) {
            warn!("{name}: says MCU ID {id:08X} after {owner:08X}; garbled, if it isn't repeated");
        }
    }

    /// Logs that there are no rows for want of the MCU ID; called now and then.
    pub(super) fn log_missing(&mut self, name: &str, owner: Option<u32>) {
        if self.is_missing && !self.said_missing && self.connected.elapsed() >= MISSING_AFTER {
            self.said_missing = true;
            // It may have come meanwhile.
            if owner.is_none() {
                warn!("{name}: {NoOwner}; no row is stored without");
            }
        }
    }
}
