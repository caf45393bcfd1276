//! Signals, as values on a channel.

use std::{
    io,
    sync::mpsc::{self, Receiver},
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// SIGTERM, SIGINT and SIGHUP from now on. They arrive on a thread of their own.
///
/// # Errors
/// The system gives no handler or no thread.
pub(crate) fn channel() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}
