//! What hinders delivery: how long to wait before the next attempt, and what to say of it.

use std::time::{Duration, Instant};

use bluenova_journal::Waiting;
use bluenova_postgres::Retry;

use super::outage::Outage;
use crate::console::rows;

/// First and longest back-off between two attempts; each is twice as long as the one before. An
/// attempt itself may take 40 s to fail.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(45);

/// The back-off where a person has to mend something first.
const MENDING_BACK_OFF: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    #[error(transparent)]
    Server(#[from] bluenova_postgres::Error),
}

/// The present trouble with delivery.
pub(super) struct Trouble {
    outage: Outage<TroubleKind>,
    /// Whether the server, not a journal, is at fault.
    of_server: bool,
    back_off: Duration,
    retry_at: Instant,
}

/// Kind of a trouble: each is logged once an hour.
#[derive(PartialEq)]
enum TroubleKind {
    Journal,
    Server { sqlstate: Option<String>, slow: bool },
}

impl Trouble {
    pub(super) fn begin() -> Self {
        Self {
            outage: Outage::begin(),
            of_server: true,
            back_off: FIRST_BACK_OFF / 2,
            retry_at: Instant::now(),
        }
    }

    /// An attempt has failed: sets the time of the next one. Returns whether to log it.
    pub(super) fn goes_on(&mut self, error: &ForwardError, now: Instant) -> bool {
        let (kind, slow) = match error {
            ForwardError::Journal(_) => (TroubleKind::Journal, false),
            ForwardError::Server(error) => {
                let slow = error.retry() != Retry::Soon;
                let sqlstate = error.sqlstate().map(str::to_owned);
                (TroubleKind::Server { sqlstate, slow }, slow)
            }
        };
        self.of_server = kind != TroubleKind::Journal;
        self.back_off = match kind {
            // A new journal may replace it at any moment.
            TroubleKind::Journal => FIRST_BACK_OFF,
            _ if slow => MENDING_BACK_OFF,
            _ => (self.back_off * 2).min(LONGEST_BACK_OFF),
        };
        // Listeners that lost the server together should not come back together.
        self.retry_at = now + self.back_off.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.outage.is_due(kind)
    }

    pub(super) fn is_of_server(&self) -> bool {
        self.of_server
    }

    pub(super) fn retry_at(&self) -> Instant {
        self.retry_at
    }

    pub(super) fn lasted(&self) -> Duration {
        self.outage.lasted()
    }
}

/// Whether the server didn't answer at all.
fn is_unreachable(error: &bluenova_postgres::Error) -> bool {
    error.sqlstate().is_none() && error.retry() == Retry::Soon
}

/// What to look at where the server didn't answer at all, unless the error says that already.
pub(crate) fn what_to_look_at_there(error: &bluenova_postgres::Error) -> Option<&'static str> {
    (is_unreachable(error) && !error.has_remedy())
        .then_some("Is the server running, and reachable from here?")
}

/// What to look at, what is safe, and when the rows are delivered.
pub(super) fn what_to_expect(error: &ForwardError, waiting: Waiting, is_in_memory: bool) -> String {
    let (look_at, then) = match error {
        ForwardError::Server(error) if error.retry() == Retry::Soon => {
            (what_to_look_at_there(error), "when it is back")
        }
        ForwardError::Server(_) => (None, "once that is mended"),
        ForwardError::Journal(_) => (None, "as far as the journal can be read"),
    };
    let look_at = look_at.map(|look_at| format!("{look_at} ")).unwrap_or_default();
    let kept = match (error, waiting.in_memory) {
        // How many of them can be read shows when it is recovered.
        (ForwardError::Journal(_), _) => "Rows wait in the journal".to_owned(),
        (_, 0) if !is_in_memory => "Rows are safe in the journal".to_owned(),
        (_, 0) => "Rows are kept in memory only".to_owned(),
        (_, count) => format!("Rows are kept, {count} of them in memory only,"),
    };
    let so_far = match waiting.total() {
        0 => String::new(),
        count => format!("; {}", rows_wait(count)),
    };
    format!("{look_at}{kept} and are delivered {then}{so_far}")
}

pub(super) fn rows_wait(count: u64) -> String {
    let verb = if count == 1 { "waits" } else { "wait" };
    format!("{} {verb}", rows(count))
}
