//! Output for people, on the terminal and in the log.

use std::{
    io::{self, Write},
    time::Duration,
};

use bluenova_http::duration;

/// Prints to standard output. Unlike `print!` this doesn't panic if standard output is closed.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// How long something has lasted, as an addition to a sentence; nothing if it has just begun.
pub(crate) fn lasting(length: Duration) -> String {
    if length < Duration::from_secs(1) {
        return String::new();
    }
    format!(", for {} now", duration(length))
}

/// `1 row`, `3 rows`.
pub(crate) fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}
