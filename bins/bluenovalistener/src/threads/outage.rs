use std::time::{Duration, Instant};

use bluenova_http::RateLimit;

/// How often the same message is logged while its cause lasts.
pub(super) const REMINDER: Duration = Duration::from_secs(3600);

/// Rate limit for the messages of one outage. `K` is the kind of an error: each kind is logged
/// once, and then once an hour.
pub(crate) struct Outage<K> {
    since: Instant,
    limit: RateLimit<K>,
}

impl<K: PartialEq> Outage<K> {
    pub(crate) fn begin() -> Self {
        Self { since: Instant::now(), limit: RateLimit::new(REMINDER) }
    }

    pub(crate) fn lasted(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether to log an error of this kind now; if so, it counts as logged.
    pub(crate) fn is_due(&mut self, kind: K) -> bool {
        self.limit.is_due(kind, Instant::now())
    }
}
