//! The log: on the console, or in a file that is rotated by size.
//!
//! What is logged goes through a queue to a thread of its own. A terminal that was stopped with
//! Ctrl-S, or a pipe that nobody reads, must not stop the recorder.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Stdout, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
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

use crate::settings::LogSettings;

/// Lines that may wait to be written.
const QUEUE: usize = 4096;

/// How long a line may wait for a place in the queue, and the end of the program for the last line.
const PATIENCE: Duration = Duration::from_millis(100);
const LAST_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("log file {path:?} can't be opened")]
    Open { path: PathBuf, source: io::Error },
    #[error("the log's thread can't be started")]
    Thread(#[source] io::Error),
    #[error("the log can't be started")]
    Start(#[from] FlexiLoggerError),
}

/// Starts the log of the whole program.
///
/// # Errors
/// The log file can't be opened.
pub(crate) fn start(settings: &LogSettings) -> Result<LoggerHandle, LogError> {
    let output = match &settings.file {
        None => Output::Console(io::stdout()),
        Some(path) => Output::File(RotatingFile::open(path, settings)?),
    };
    let (lines, queue) = mpsc::sync_channel(QUEUE);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(output, &queue))
        .map_err(LogError::Thread)?;
    let queue = Queue { lines, lost: AtomicU64::new(0) };
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    // What our dependencies have to say is said by us, in our words.
    let ours = LogSpecification::builder().module("bluenova", LevelFilter::Info).build();
    Ok(Logger::with(ours)
        .log_to_writer(Box::new(queue))
        .panic_if_error_channel_is_broken(false)
        .start()?)
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
    Reopen,
}

/// The near end of the log's queue.
struct Queue {
    lines: SyncSender<Message>,
    /// Lines that found no place.
    lost: AtomicU64,
}

impl LogWriter for Queue {
    fn write(&self, now: &mut DeferredNow, record: &Record<'_>) -> io::Result<()> {
        let time = now.format("%Y-%m-%d %H:%M:%S%.3f %:z").to_string();
        let mut text = Vec::with_capacity(128);
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            writeln!(text, "{time} WARN  {lost} lines of the log are lost: nobody took them")?;
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
            // If it takes longer there is nothing to be done about it.
            let _ = flushed.recv_timeout(LAST_PATIENCE);
        }
        Ok(())
    }

    fn reopen_output(&self) -> Result<(), FlexiLoggerError> {
        self.send(Message::Reopen, false);
        Ok(())
    }
}

impl Queue {
    /// Tells whether there was a place. `hurry` is for when there was none the last time: whoever
    /// logs has waited for the log once, and doesn't again.
    fn send(&self, mut message: Message, hurry: bool) -> bool {
        for _ in 0..10 {
            match self.lines.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Full(_)) if hurry => return false,
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            thread::sleep(PATIENCE / 10);
        }
        false
    }
}

/// The far end of the log's queue. Where writing fails there is nobody left to tell.
fn write_lines(mut output: Output, queue: &Receiver<Message>) {
    for message in queue {
        let _ = match message {
            Message::Line(line) => output.write(&line),
            Message::Flush(done) => output.flush().and(done.send(()).map_err(io::Error::other)),
            Message::Reopen => output.reopen(),
        };
    }
}

enum Output {
    Console(Stdout),
    File(RotatingFile),
}

impl Output {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Console(out) => out.write_all(line).and_then(|()| out.flush()),
            Self::File(file) => file.write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Console(out) => out.flush(),
            Self::File(file) => file.file.flush(),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::Console(_) => Ok(()),
            Self::File(file) => file.reopen(),
        }
    }
}

/// A log file with exactly the name that was given, whose older parts are FILE.1, FILE.2, …
///
/// flexi_logger's own file writer can't rotate by size without another name for the current file,
/// and the crate file-rotate panics when the folder has gone.
struct RotatingFile {
    path: PathBuf,
    keep: u32,
    size: Option<u64>,
    flush_each_line: bool,
    file: BufWriter<File>,
    /// Bytes in the file, or since rotating it failed.
    written: u64,
}

impl RotatingFile {
    fn open(path: &Path, settings: &LogSettings) -> Result<Self, LogError> {
        let file = append_to(path)
            // What a link leads to is rotated, not the link.
            .and_then(|file| Ok((fs::canonicalize(path)?, file.metadata()?, file)));
        let (path, metadata, file) =
            file.map_err(|source| LogError::Open { path: path.to_owned(), source })?;
        Ok(Self {
            path,
            keep: settings.keep,
            // A terminal, a pipe or /dev/null can't be rotated.
            size: settings.size.filter(|_| metadata.is_file()),
            flush_each_line: settings.flush_each_line,
            file: BufWriter::new(file),
            written: metadata.len(),
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let full = self.size.is_some_and(|size| self.written + length > size);
        if full && self.written > 0 {
            // Where that fails, a long file is better than no log.
            if self.rotate().is_err() {
                self.written = 0;
            }
        }
        self.written += length;
        self.file.write_all(line)?;
        if self.flush_each_line { self.file.flush() } else { Ok(()) }
    }

    /// FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on; the oldest one goes.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        // Somebody may have moved or removed the file: then there is nothing to rotate.
        if self.is_in_place() {
            for n in (1..self.keep).rev() {
                if self.older(n).exists() {
                    fs::rename(self.older(n), self.older(n + 1))?;
                }
            }
            match self.keep {
                0 => fs::remove_file(&self.path)?,
                _ => fs::rename(&self.path, self.older(1))?,
            }
        }
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = append_to(&self.path)?;
        self.written = file.metadata()?.len();
        // The old file may have no room for what is still to be flushed.
        self.file = BufWriter::new(file);
        Ok(())
    }

    fn is_in_place(&self) -> bool {
        let open = self.file.get_ref().metadata();
        match (open, fs::metadata(&self.path)) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    fn older(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
