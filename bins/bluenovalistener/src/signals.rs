//! Signals, as values on a channel.

use std::{
    fs::File,
    io,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use nix::sys::signal::{SigHandler, Signal, signal};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Time within which the system takes a closed terminal from its processes, after SIGHUP at times.
const CLOSING: Duration = Duration::from_millis(100);

/// SIGTERM, SIGINT and SIGHUP from now on. They arrive on a thread of their own.
///
/// A SIGHUP because the terminal of the program was closed arrives as SIGTERM, or not at all if
/// SIGHUP was ignored (`nohup`). Another one is a request to open the log file again.
///
/// # Errors
/// The system gives no handler or no thread.
pub(crate) fn channel() -> io::Result<Receiver<i32>> {
    // SAFETY: no function of ours is made a handler.
    #[allow(unsafe_code)]
    let before = unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }?;
    let outlives_terminal = matches!(before, SigHandler::SigIgn);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let had_terminal = has_terminal();
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for mut signal in signals.forever() {
            if signal == SIGHUP && had_terminal {
                thread::sleep(CLOSING);
                match has_terminal() {
                    true => {}
                    false if outlives_terminal => continue,
                    false => signal = SIGTERM,
                }
            }
            if sender.send(signal).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// Whether the program has a controlling terminal. A daemon has none, nor what systemd starts.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
