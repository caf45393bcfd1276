//! The log: on the console, or in a file that is rotated by size.
//!
//! What is logged goes through a queue to a thread of its own. A terminal that was stopped with
//! Ctrl-S, or a pipe whose reader hangs, must not stop the recorder. Nor must a file that can't be
//! opened: that thread tries it again.

use std::{
    io::{self, Stdout, Write},
    path::Path,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use flexi_logger::{
    DeferredNow, FlexiLoggerError, LogSpecification, Logger, LoggerHandle, writers::LogWriter,
};
use log::{LevelFilter, Record};

use log_file::LogFile;
pub(crate) use rotating_file::ADVICE as ROTATION_ADVICE;

use crate::{console::counted, settings::LogSettings};

mod log_file;
mod rotating_file;

/// Maximum number of lines that wait to be written.
const QUEUE: usize = 4096;

/// Time-outs: for the first try to open the file, for a line to enter the queue, and for a flush of
/// the lines in it.
const OPEN_DEADLINE: Duration = Duration::from_secs(1);
const LINE_DEADLINE: Duration = Duration::from_millis(100);
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.3f %:z";

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the log's thread can't be started")]
    Thread(#[source] io::Error),
    #[error("the log can't be started")]
    Start(#[from] FlexiLoggerError),
}

/// Starts the log of the whole program. A file that can't be opened is reported on standard error.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(settings: &LogSettings) -> Result<LoggerHandle, LogError> {
    let (lines, queue) = mpsc::sync_channel(QUEUE);
    let (opened, is_open) = mpsc::sync_channel(1);
    let settings = settings.clone();
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            let output = Output::open(&settings);
            // It may have taken too long to be waited for.
            let _ = opened.send(());
            write_lines(output, &queue);
        })
        .map_err(LogError::Thread)?;
    // So that a daemon's parent, which has the terminal, shows what is wrong with the file.
    let _ = is_open.recv_timeout(OPEN_DEADLINE);
    let queue = Queue { lines, lost: AtomicU64::new(0) };
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    // The binary words the errors of its dependencies itself.
    let ours = LogSpecification::builder().module("bluenova", LevelFilter::Info).build();
    Ok(Logger::with(ours)
        .log_to_writer(Box::new(queue))
        .panic_if_error_channel_is_broken(false)
        .start()?)
}

/// Time after which a file that can't be opened is tried again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Opens a log file that exists, as the log does, and writes nothing.
///
/// # Errors
/// It can't be opened.
pub(crate) fn try_open(path: &Path) -> io::Result<()> {
    rotating_file::try_open(path)
}

/// Checks what may keep a log file from being rotated although files can be made in its directory.
///
/// # Errors
/// The file can't be renamed, or not to the name that it would get.
pub(crate) fn check_rotation(path: &Path, settings: &LogSettings) -> io::Result<()> {
    rotating_file::check_rotation(path, settings.keep)
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
    Reopen,
}

/// The log's queue, seen from the threads that log.
struct Queue {
    lines: SyncSender<Message>,
    /// Number of lines that did not enter it.
    lost: AtomicU64,
}

impl LogWriter for Queue {
    fn write(&self, now: &mut DeferredNow, record: &Record<'_>) -> io::Result<()> {
        let time = now.format(TIME_FORMAT).to_string();
        let mut text = Vec::with_capacity(128);
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let lost = lost_lines(lost, "its file or terminal was too slow");
            writeln!(text, "{time} WARN  {lost}")?;
        }
        writeln!(text, "{time} {:<5} {}", record.level(), record.args())?;
        if !self.send(Message::Line(text), lost > 0) {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let (done, flushed) = mpsc::sync_channel(1);
        if self.send(Message::Flush(done), false) {
            // The log's thread finishes a flush that takes longer.
            let _ = flushed.recv_timeout(FLUSH_DEADLINE);
        }
        Ok(())
    }

    fn reopen_output(&self) -> Result<(), FlexiLoggerError> {
        self.send(Message::Reopen, false);
        Ok(())
    }
}

impl Queue {
    /// Whether the message has entered the queue. With `hurry` it isn't waited for: the message
    /// before it has waited in vain already.
    fn send(&self, mut message: Message, hurry: bool) -> bool {
        for _ in 0..10 {
            match self.lines.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Full(_)) if hurry => return false,
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            thread::sleep(LINE_DEADLINE / 10);
        }
        false
    }
}

/// A line of the log by the log's own thread.
fn line(level: &str, text: &str) -> Vec<u8> {
    let time = DeferredNow::new().format(TIME_FORMAT).to_string();
    format!("{time} {level:<5} {text}\n").into_bytes()
}

/// What stands in the log for lines that aren't in it.
fn lost_lines(count: u64, why: &str) -> String {
    let are = if count == 1 { "is" } else { "are" };
    format!("{} of the log {are} lost: {why}", counted(count, "line"))
}

/// The log's thread: writes what the queue holds. If writing fails, there is no log to say so.
fn write_lines(mut output: Output, queue: &Receiver<Message>) {
    for message in queue {
        let _ = match message {
            Message::Line(line) => output.write(line),
            Message::Flush(done) => output.flush().and(done.send(()).map_err(io::Error::other)),
            Message::Reopen => output.reopen(),
        };
    }
}

enum Output {
    Console(Stdout),
    File(Box<LogFile>),
}

impl Output {
    fn open(settings: &LogSettings) -> Self {
        match &settings.file {
            None => Self::Console(io::stdout()),
            Some(path) => Self::File(Box::new(LogFile::open(path.clone(), settings))),
        }
    }

    fn write(&mut self, line: Vec<u8>) -> io::Result<()> {
        match self {
            Self::Console(out) => out.write_all(&line).and_then(|()| out.flush()),
            Self::File(file) => file.write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Console(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::Console(_) => Ok(()),
            Self::File(file) => file.reopen(),
        }
    }
}
