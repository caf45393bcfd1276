//! How long the server may take over our statements.

/// PostgreSQL before 9.6 doesn't know all of them.
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

/// The transaction's own limits, for the message that begins it. A limit that the server, the
/// database or the role has set stays where it is lower; 0 means none.
///
/// Who holds a lock on the table for minutes shows as an error by the first one, and a slow trigger
/// by the second one, instead of a hang; the third one lets go of our own locks, should we be
/// frozen or cut off, so that another listener can go on.
pub(crate) const LIMITS: [&str; 3] = [
    LOCK_LIMIT,
    limit!("statement_timeout", "30s"),
    limit!("idle_in_transaction_session_timeout", "60s"),
];

/// The one that goes before making an index, too, which may well take its time.
pub(crate) const LOCK_LIMIT: &str = limit!("lock_timeout", "10s");
