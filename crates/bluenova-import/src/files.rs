//! The log files: what they are, in which order they are read.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bluenova_archive::{Event, LogLines, LogParser, Stamp};
use flate2::bufread::MultiGzDecoder;
use time::{Duration, UtcDateTime};

use crate::LogZone;

/// Lines in which the time of a file is looked for.
const FIRST_LINES: usize = 5000;

const BUFFER: usize = 256 * 1024;

/// The log of one listener: a file and those into which it was rotated, in the order of time.
#[derive(Clone, Debug)]
pub struct LogSeries {
    pub(crate) files: Vec<LogFile>,
}

/// Why a path can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// There is no file, or it can't be opened.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// The path, as it was given.
        path: PathBuf,
        /// What the system has answered.
        source: io::Error,
    },
    /// A pipe, or the like.
    #[error(
        "{} is no file but something that can be read once only; logs are read twice, so that \
         it has to be stored in a file first", path.display()
    )]
    NoFile {
        /// The path, as it was given.
        path: PathBuf,
    },
}

/// A log file.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    /// Its path as it was given.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// The time of its first line, and the offset of local time by its first record.
    begins: Option<Stamp>,
    offset: Option<Duration>,
}

impl LogSeries {
    /// Looks at all files, and puts those together that were one log, in the order of time. `zone`
    /// is for those that don't show their local time.
    ///
    /// # Errors
    /// One of the paths can't be opened, or isn't that of a file.
    pub fn find<P: AsRef<Path>>(paths: &[P], zone: &LogZone) -> Result<Vec<Self>, LogFileError> {
        let mut all: Vec<Vec<LogFile>> = vec![];
        let mut numbers = HashMap::new();
        for path in paths.iter().map(AsRef::as_ref) {
            let number = *numbers.entry(before_rotation(path)).or_insert_with(|| {
                all.push(vec![]);
                all.len() - 1
            });
            all[number].push(LogFile::look_at(path)?);
        }
        let mut ordered: Vec<_> = all.into_iter().map(|files| in_order(files, zone)).collect();
        ordered.sort_by_key(|(begins, _)| *begins);
        Ok(ordered.into_iter().map(|(_, series)| series).collect())
    }

    /// The size of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl LogFile {
    fn look_at(path: &Path) -> Result<Self, LogFileError> {
        let unreadable = |source| LogFileError::Unreadable { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        }
        if !metadata.is_file() {
            return Err(LogFileError::NoFile { path: path.to_owned() });
        }
        let (path, bytes) = (path.to_owned(), metadata.len());
        let mut file = Self { path, bytes, begins: None, offset: None };
        // A file that breaks off is read as far as it goes, later.
        (file.begins, file.offset) = first_times(file.open(&Arc::default()).map_err(unreadable)?);
        Ok(file)
    }

    /// When the file begins. Without a record of its own it goes by the one of the series that is
    /// nearest in time.
    fn begin(&self, series: &[Self], zone: &LogZone) -> Option<UtcDateTime> {
        let local = match self.begins? {
            Stamp::Utc(time) => return Some(time),
            Stamp::Local(local) => local,
        };
        let others = series.iter().filter_map(|other| match other.begins? {
            Stamp::Local(begins) => Some(((begins - local).abs(), other.offset?)),
            Stamp::Utc(_) => None,
        });
        let nearest = others.min_by_key(|(distance, _)| *distance).map(|(_, offset)| offset);
        Some(match self.offset.or(nearest) {
            Some(offset) => local.as_utc().saturating_sub(offset),
            None => zone.times(local)[0],
        })
    }

    /// Opens the file, which may be gzipped; `bytes` counts what is read of it.
    pub(crate) fn open(&self, bytes: &Arc<AtomicU64>) -> io::Result<LogLines<Box<dyn Read>>> {
        let file = Counted { file: File::open(&self.path)?, bytes: Arc::clone(bytes) };
        let mut file = BufReader::with_capacity(BUFFER, file);
        let is_gzipped = file.fill_buf()?.starts_with(&[0x1F, 0x8B]);
        Ok(LogLines::new(match is_gzipped {
            true => Box::new(MultiGzDecoder::new(file)),
            false => Box::new(file),
        }))
    }
}

/// A file, and how much of it was read.
struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The files of a log in the order of time, and when the first one begins.
fn in_order(files: Vec<LogFile>, zone: &LogZone) -> (Option<UtcDateTime>, LogSeries) {
    let begins: Vec<_> = files.iter().map(|file| file.begin(&files, zone)).collect();
    let mut files: Vec<_> = begins.into_iter().zip(files).collect();
    files.sort_by_key(|(begins, _)| *begins);
    let begins = files.first().and_then(|(begins, _)| *begins);
    (begins, LogSeries { files: files.into_iter().map(|(_, file)| file).collect() })
}

/// The path without what rotation and compression add: `.0`, `.1.gz`, `-20261127`.
fn before_rotation(path: &Path) -> PathBuf {
    let mut name = path.to_string_lossy().into_owned();
    loop {
        let shorter = name.strip_suffix(".gz").or_else(|| {
            let without = name.trim_end_matches(|c: char| c.is_ascii_digit());
            if without.len() == name.len() { None } else { without.strip_suffix(['.', '-']) }
        });
        match shorter {
            Some(shorter) if !shorter.is_empty() => name = shorter.to_owned(),
            _ => return name.into(),
        }
    }
}

/// The time of the first line of a log, and the offset of local time by its first record, if it
/// has one soon.
fn first_times(mut lines: LogLines<Box<dyn Read>>) -> (Option<Stamp>, Option<Duration>) {
    let mut parser = LogParser::default();
    let (mut first, mut offset) = (None, None);
    for _ in 0..FIRST_LINES {
        let Ok(Some(line)) = lines.next_line() else { break };
        first = first.or_else(|| Stamp::of_line(line.bytes));
        parser.feed(line, &mut |_, event| {
            if let Event::Record(logged) = event {
                offset = logged.offset();
            }
        });
        if offset.is_some() {
            break;
        }
    }
    (first, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_belong_together() {
        for (path, expected) in [
            ("/var/log/x.log", "/var/log/x.log"),
            ("/var/log/x.log.0", "/var/log/x.log"),
            ("x.log.12.gz", "x.log"),
            ("x.log-20261127.gz", "x.log"),
            ("x.2.log", "x.2.log"),
            ("2026", "2026"),
            (".gz", ".gz"),
        ] {
            assert_eq!(before_rotation(Path::new(path)), Path::new(expected));
        }
    }
}
