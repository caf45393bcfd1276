use std::{
    mem,
    time::{Duration, Instant},
};

use bluenova_console::NoOwner;
use log::warn;

/// Time after connecting until a missing MCU ID is logged: a battery sends it about every second.
const MISSING_AFTER: Duration = Duration::from_secs(3);

/// Logger of what is wrong with the MCU ID on one connection: each trouble once.
pub(super) struct OwnerLog {
    connected: Instant,
    /// Whether an interval had no row because no MCU ID had come.
    pub(super) is_missing: bool,
    logged_missing: bool,
    logged_other: bool,
}

impl OwnerLog {
    /// For a connection that begins now.
    pub(super) fn begin() -> Self {
        let connected = Instant::now();
        Self { connected, is_missing: false, logged_missing: false, logged_other: false }
    }

    /// Logs that the battery sent `id`, if the connection belongs to another `owner`.
    pub(super) fn check_owner(&mut self, name: &str, id: u32, owner: Option<u32>) {
        let Some(owner) = owner.filter(|owner| *owner != id) else { return };
        if !mem::replace(&mut self.logged_other, true) {
            warn!(
                "{name}: sent MCU ID {id:08X} after {owner:08X}: a garbled line, or another \
                 battery has this address now"
            );
        }
    }

    /// Logs that no rows are stored because no MCU ID has come; called with every tick.
    pub(super) fn log_missing(&mut self, name: &str, owner: Option<u32>) {
        if self.is_missing && !self.logged_missing && self.connected.elapsed() >= MISSING_AFTER {
            self.logged_missing = true;
            // The MCU ID may have come meanwhile.
            if owner.is_none() {
                warn!("{name}: {NoOwner}; no row is stored until the battery sends it");
            }
        }
    }
}
