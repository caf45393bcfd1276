use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How far apart two messages of the same kind are at least.
const GAP: Duration = Duration::from_secs(60);

/// Keeps what a client can cause at will from filling the log.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether it may be said again; if so, it counts as said.
    pub(crate) fn due(&self) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.is_none_or(|said| said.elapsed() >= GAP);
        if due {
            *said = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_in_a_while() {
        let seldom = Seldom::new();
        assert!(seldom.due());
        assert!(!seldom.due());
        *seldom.0.lock().unwrap() = Instant::now().checked_sub(GAP);
        assert!(seldom.due());
    }
}
