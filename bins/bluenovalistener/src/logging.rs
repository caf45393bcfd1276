//! The log: on the console, or in a file that is rotated by size.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use flexi_logger::{
    DeferredNow, FlexiLoggerError, LogSpecification, Logger, LoggerHandle, WriteMode,
    writers::LogWriter,
};
use log::Record;

use crate::settings::LogSettings;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("log file {path:?} can't be opened")]
    Open { path: PathBuf, source: io::Error },
    #[error("the log can't be started")]
    Start(#[from] FlexiLoggerError),
}

/// Starts the log of the whole program.
///
/// # Errors
/// The log file can't be opened.
pub(crate) fn start(settings: &LogSettings) -> Result<LoggerHandle, LogError> {
    // What our dependencies have to say is said by us, in our words.
    let logger = Logger::with(
        LogSpecification::builder().module("bluenova", log::LevelFilter::Info).build(),
    );
    // A terminal that has gone away must not take the recorder with it.
    let logger = logger.panic_if_error_channel_is_broken(false);
    let logger = match &settings.file {
        None => logger.log_to_stdout().format(line).write_mode(WriteMode::Direct),
        Some(path) => logger.log_to_writer(Box::new(RotatingFile::open(path, settings)?)),
    };
    Ok(logger.start()?)
}

fn line(out: &mut dyn Write, now: &mut DeferredNow, record: &Record<'_>) -> io::Result<()> {
    let time = now.format("%Y-%m-%d %H:%M:%S%.3f %:z");
    write!(out, "{time} {:<5} {}", record.level(), record.args())
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
    state: Mutex<State>,
}

struct State {
    file: BufWriter<File>,
    written: u64,
}

impl RotatingFile {
    fn open(path: &Path, settings: &LogSettings) -> Result<Self, LogError> {
        let state =
            State::open(path).map_err(|source| LogError::Open { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            keep: settings.keep,
            size: settings.size,
            flush_each_line: settings.flush_each_line,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A line that panicked in mid-write is no reason to lose the later ones.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on; the oldest one goes.
    fn rotate(&self, state: &mut State) -> io::Result<()> {
        state.file.flush()?;
        let older = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..self.keep).rev() {
            if older(n).exists() {
                fs::rename(older(n), older(n + 1))?;
            }
        }
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            fs::rename(&self.path, older(1))?;
        }
        *state = State::open(&self.path)?;
        Ok(())
    }
}

impl State {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { file: BufWriter::new(file), written })
    }
}

impl LogWriter for RotatingFile {
    fn write(&self, now: &mut DeferredNow, record: &Record<'_>) -> io::Result<()> {
        let mut text = Vec::with_capacity(128);
        line(&mut text, now, record)?;
        text.push(b'\n');

        let mut state = self.state();
        let length = text.len() as u64;
        let full = self.size.is_some_and(|size| state.written + length > size);
        if full && state.written > 0 {
            // Where that fails, a long file is better than no log.
            let _ = self.rotate(&mut state);
        }
        state.written += length;
        state.file.write_all(&text)?;
        if self.flush_each_line { state.file.flush() } else { Ok(()) }
    }

    fn flush(&self) -> io::Result<()> {
        self.state().file.flush()
    }

    fn reopen_output(&self) -> Result<(), FlexiLoggerError> {
        let mut state = self.state();
        state.file.flush()?;
        *state = State::open(&self.path)?;
        Ok(())
    }
}
