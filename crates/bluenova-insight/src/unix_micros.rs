//! Times as they are stored in a state.

use serde::{Deserialize, Serialize};
use time::{Duration, UtcDateTime};

const PER_SECOND: f64 = 1e6;

/// Microseconds since 1970, in UTC: what sinks keep of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct UnixMicros(i64);

impl UnixMicros {
    pub(crate) fn of(time: UtcDateTime) -> Self {
        // Without a division of 128 bits. All years up to 9999 fit.
        Self(time.unix_timestamp() * 1_000_000 + i64::from(time.microsecond()))
    }

    /// `None` for a year beyond 9999, which only a damaged state contains.
    pub(crate) fn time(self) -> Option<UtcDateTime> {
        UtcDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000).ok()
    }

    /// Time that has passed since `earlier`; negative if `earlier` is the later one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::microseconds(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / PER_SECOND
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(self) -> f64 {
        self.0 as f64 / PER_SECOND
    }

    /// Number of the minute since 1970 that it is in.
    pub(crate) fn minute(self) -> i64 {
        self.0.div_euclid(60_000_000)
    }
}
