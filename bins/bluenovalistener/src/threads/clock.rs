use time::UtcDateTime;

/// 2021-01-01T00:00:00Z: a clock before that has not been set.
const CLOCK_IS_SET: i64 = 1_609_459_200;

/// Whether this can be the real time.
pub(crate) fn clock_is_set(now: UtcDateTime) -> bool {
    now.unix_timestamp() >= CLOCK_IS_SET
}
