//! The causes of gaps, and what they are called.

use std::fmt;

use crate::events::{Event, EventKind};

/// Why an interval has no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// The other database rejected the row, which is set aside.
    SetAside,
    /// The row is in the journal, and not delivered yet.
    Waiting,
    /// The row is in the journal and was delivered, and is not in the table.
    NotInTable,
    /// The listener didn't run.
    NotRunning,
    /// The clock was not set, or was set forward; with that in words.
    ClockNotSet(String),
    /// The battery was not connected; with the last error, if there was one.
    NotConnected(String),
    /// The battery was connected and sent nothing.
    Silent,
    /// The battery had not sent its MCU ID.
    NoMcuId,
    /// The listener ran without this battery among its options.
    NotListenedTo,
    /// The row was deleted before it could be delivered, since there was no more room.
    Evicted,
    /// It was before the first event that the journal has.
    BeforeEvents,
    /// No event explains it.
    Unknown,
}

impl GapCause {
    /// A short name, as programs take it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SetAside => "set_aside",
            Self::Waiting => "waiting",
            Self::NotInTable => "not_in_table",
            Self::NotRunning => "not_running",
            Self::ClockNotSet(_) => "clock_not_set",
            Self::NotConnected(_) => "not_connected",
            Self::Silent => "silent",
            Self::NoMcuId => "no_mcu_id",
            Self::NotListenedTo => "not_listened_to",
            Self::Evicted => "evicted",
            Self::BeforeEvents => "before_events",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is what this event says, so that who shows both says it twice.
    pub fn is_said_by(&self, event: &Event) -> bool {
        match (self, event.kind) {
            (Self::ClockNotSet(how), EventKind::ClockNotSet) => *how == event.detail,
            (Self::NotConnected(why), EventKind::NotConnected) => *why == event.detail,
            (Self::Silent, EventKind::Silent) | (Self::NoMcuId, EventKind::NoMcuId) => true,
            _ => false,
        }
    }
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SetAside => "rejected by PostgreSQL and set aside (see set-aside)",
            Self::Waiting => "still waiting for the server",
            Self::NotInTable => "in the journal but missing in the table (resend delivers it)",
            Self::NotRunning => "the listener didn't run",
            Self::ClockNotSet(how) => how,
            Self::NotConnected(why) if why.is_empty() => "not connected yet",
            Self::NotConnected(why) => return write!(f, "no connection: {why}"),
            Self::Silent => "connected, but the battery sent nothing",
            Self::NoMcuId => "connected, but the battery sent no MCU ID",
            Self::NotListenedTo => "the listener had other batteries (-b)",
            Self::Evicted => "lost: there was no more room for rows that wait",
            Self::BeforeEvents => "unknown, since causes were not recorded yet",
            Self::Unknown => "the cause isn't known",
        })
    }
}
