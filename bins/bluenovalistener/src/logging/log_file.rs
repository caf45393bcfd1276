use std::{
    collections::VecDeque,
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use super::{RETRY_AFTER, rotating_file::RotatingFile};
use crate::settings::LogSettings;

/// Maximum number of bytes that wait for the file.
const WAITING_BYTES: usize = 256 * 1024;

/// The log file, or the lines that wait until it can be opened.
///
/// Its directory may be on a disk that is mounted later, or the file is a pipe whose reader is
/// started later. Until then the lines are on the console, and wait here.
pub(super) struct LogFile {
    path: PathBuf,
    settings: LogSettings,
    file: Option<RotatingFile>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// Number of lines that were left out of `waiting`.
    lost: u64,
    retry_at: Instant,
}

impl LogFile {
    /// Tries to open the file for the first time; reports on standard error if that fails.
    pub(super) fn open(path: PathBuf, settings: &LogSettings) -> Self {
        let opened = RotatingFile::open(&path, settings);
        if let Err(error) = &opened {
            let _ = writeln!(
                io::stderr(),
                "bluenovalistener: log file {path:?} can't be opened: {error}. Recording goes on, \
                 and the file is tried again every {} s; until then the log is on the console",
                RETRY_AFTER.as_secs()
            );
        }
        Self {
            path,
            settings: settings.clone(),
            file: opened.ok(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            lost: 0,
            retry_at: Instant::now() + RETRY_AFTER,
        }
    }

    pub(super) fn write(&mut self, line: Vec<u8>) -> io::Result<()> {
        self.retry();
        if let Some(file) = &mut self.file {
            let written = file.write(&line);
            self.close_broken_pipe(&written);
            if self.file.is_some() {
                return written;
            }
        }
        let shown = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
        self.keep(line);
        shown
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.retry();
        let flushed = self.file.as_mut().map_or(Ok(()), RotatingFile::flush);
        self.close_broken_pipe(&flushed);
        flushed
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.retry_at = Instant::now();
        self.retry();
        self.file.as_mut().map_or(Ok(()), RotatingFile::reopen)
    }

    /// Opens the file if it isn't open and a try is due, and writes the lines that wait for it.
    fn retry(&mut self) {
        if self.file.is_some() || Instant::now() < self.retry_at {
            return;
        }
        self.retry_at = Instant::now() + RETRY_AFTER;
        let Ok(mut file) = RotatingFile::open(&self.path, &self.settings) else { return };
        if self.lost > 0 {
            let lost = super::lost_lines(self.lost, "its file couldn't be opened");
            let _ = file.write(&super::line("WARN", &lost));
        }
        for line in self.waiting.drain(..) {
            let _ = file.write(&line);
        }
        (self.waiting_bytes, self.lost) = (0, 0);
        self.file = Some(file);
    }

    /// Closes a pipe whose reader has gone: the next reader is waited for.
    fn close_broken_pipe(&mut self, result: &io::Result<()>) {
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.file = None;
        }
    }

    /// Keeps a line for the file, and drops the oldest lines beyond the limit.
    fn keep(&mut self, line: Vec<u8>) {
        self.waiting_bytes += line.len();
        self.waiting.push_back(line);
        while self.waiting_bytes > WAITING_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= oldest.len();
            self.lost += 1;
        }
    }
}
