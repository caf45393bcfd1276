use std::{
    mem,
    time::{Duration, Instant},
};

use bluenova_console::NoOwner;
use bluenova_http::RateLimit;
use log::warn;

use super::outage::REMINDER;

/// Time after connecting until a missing MCU ID is logged: a battery sends it about every second.
const MISSING_AFTER: Duration = Duration::from_secs(3);

/// Time in which a battery talks until a missing MCU ID is logged, even if no line is of a known
/// kind: `check` waits as long.
const TALKS_FOR: Duration = Duration::from_secs(10);

/// Logger of what is wrong with the MCU ID on one connection: each trouble once, and that it is
/// missing every hour.
pub(super) struct OwnerLog {
    connected: Instant,
    /// Whether an interval had no row because no MCU ID had come.
    pub(super) is_missing: bool,
    /// When the first line came.
    talks_since: Option<Instant>,
    missing: RateLimit<()>,
    logged_other: bool,
}

impl OwnerLog {
    /// For a connection that begins now.
    pub(super) fn begin() -> Self {
        Self {
            connected: Instant::now(),
            is_missing: false,
            talks_since: None,
            missing: RateLimit::new(REMINDER),
            logged_other: false,
        }
    }

    /// A line has come.
    pub(super) fn line_came(&mut self) {
        if self.talks_since.is_none() {
            self.talks_since = Some(Instant::now());
        }
    }

    /// The connection is lost: what it lacked is no news any more.
    pub(super) fn disconnected(&mut self) {
        self.is_missing = false;
        self.talks_since = None;
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

    /// Logs that no rows are stored because no MCU ID has come, and returns whether that is so;
    /// called with every tick.
    pub(super) fn log_missing(&mut self, name: &str, owner: Option<u32>) -> bool {
        if owner.is_some() {
            return false;
        }
        let talks = self.talks_since.is_some_and(|since| since.elapsed() >= TALKS_FOR);
        let is_missing = self.is_missing && self.connected.elapsed() >= MISSING_AFTER;
        if (talks || is_missing) && self.missing.is_due((), Instant::now()) {
            warn!("{name}: {NoOwner}; no row is stored until the battery sends it");
        }
        talks || is_missing
    }
}
