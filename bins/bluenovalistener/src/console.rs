//! Output for people, on the terminal and in the log.

use bluenova_status::duration;
use std::{
    fmt,
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Prints to standard output. Unlike `print!` this doesn't panic if standard output is closed.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A progress bar for so many rows, on a terminal only: a bar, the number of rows, how many a
/// second, and the time left.
pub(crate) fn progress_bar(rows: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::stderr());
    let per_second = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Where that fails, a part of the bar is missing.
        let _ = write!(out, "{:.0} rows/s", state.per_sec());
    };
    let template = "[{bar:30}] {human_pos} of {human_len} rows, {per_second}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("per_second", per_second).progress_chars("=> "));
    }
    bar
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
    counted(count, "row")
}

/// A number of things whose plural has an s: `1 line`, `3 lines`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
