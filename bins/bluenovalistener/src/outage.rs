//! What is wrong at present, and whether that was said already: once per change of state, and then
//! now and then.

use std::time::{Duration, Instant};

/// How often a state that lasts is mentioned again.
const REMINDER: Duration = Duration::from_secs(3600);

/// Something that doesn't work, for a while. `K` tells one kind of trouble from another.
pub(crate) struct Outage<K> {
    since: Instant,
    /// What was said, and when; there are only so many kinds.
    mentioned: Vec<(K, Instant)>,
}

impl<K: PartialEq> Outage<K> {
    pub(crate) fn begin() -> Self {
        Self { since: Instant::now(), mentioned: Vec::new() }
    }

    /// How long it has lasted.
    pub(crate) fn lasted(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether to speak of it: nothing of that kind was said yet, or long ago.
    pub(crate) fn is_news(&mut self, kind: K) -> bool {
        match self.mentioned.iter_mut().find(|(said, _)| *said == kind) {
            Some((_, at)) if at.elapsed() < REMINDER => false,
            Some((_, at)) => {
                *at = Instant::now();
                true
            }
            None => {
                self.mentioned.push((kind, Instant::now()));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_is_said_once() {
        let mut outage = Outage::begin();
        let said = ["refused", "refused", "no such role", "no such role", "refused"]
            .map(|kind| outage.is_news(kind));
        assert_eq!(said, [true, false, true, false, false]);
    }
}
