//! Limits on the time that the server takes for our statements.

/// Lowers a setting to a limit, where there is such a setting: PostgreSQL before 9.6 lacks some.
macro_rules! limit {
    ($name:literal, $limit:literal) => {
        concat!(
            "SELECT set_config('",
            $name,
            "', '",
            $limit,
            "', true) ",
            "WHERE current_setting('",
            $name,
            "', true)::interval ",
            "NOT BETWEEN interval '1ms' AND interval '",
            $limit,
            "'",
        )
    };
}

/// The limits of a transaction, for the message that begins it. A lower limit of the server, the
/// database or the role stays; 0 means none.
///
/// With the first limit, a lock that another session holds on the table for minutes is an error
/// instead of a hang; with the second one, so is a slow trigger. The third one releases our own
/// locks if this process is frozen or cut off, so that another listener can go on.
pub(crate) const LIMITS: [&str; 3] = [
    LOCK_LIMIT,
    limit!("statement_timeout", "30s"),
    limit!("idle_in_transaction_session_timeout", "60s"),
];

/// The only limit for creating an index, which may rightly take minutes.
pub(crate) const LOCK_LIMIT: &str = limit!("lock_timeout", "10s");
