//! How often a message of one kind is logged.

use std::time::{Duration, Instant};

/// A rate limit for messages: one of each kind is due in each period.
///
/// What clients, batteries or servers can cause at will goes through one, so that it can't fill
/// the log. A kind is remembered for one period.
#[derive(Clone, Debug)]
pub struct RateLimit<K> {
    every: Duration,
    /// The kinds that were due within the last period, and when.
    recent: Vec<(K, Instant)>,
}

impl<K: PartialEq> RateLimit<K> {
    /// A limit of one message of each kind in a period of `every`.
    pub const fn new(every: Duration) -> Self {
        Self { every, recent: Vec::new() }
    }

    /// Whether a message of this kind is due: the first one is, then the first one after a period.
    pub fn is_due(&mut self, kind: K, now: Instant) -> bool {
        self.recent.retain(|(_, at)| now.saturating_duration_since(*at) < self.every);
        if self.recent.iter().any(|(recent, _)| *recent == kind) {
            return false;
        }
        self.recent.push((kind, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_due_once_a_period() {
        let start = Instant::now();
        let mut limit = RateLimit::new(Duration::from_secs(60));
        for (seconds, kind, expected) in [
            (0, "refused", true),
            (1, "refused", false),
            (2, "no such role", true),
            (59, "refused", false),
            (60, "refused", true),
            (61, "no such role", false),
            (119, "refused", false),
            (122, "no such role", true),
            (500, "refused", true),
        ] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(limit.is_due(kind, now), expected, "{kind} after {seconds} s");
        }
        assert_eq!(limit.recent.len(), 1, "only kinds of the last period are remembered");
    }
}
