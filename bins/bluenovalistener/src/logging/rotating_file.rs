use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};

use crate::settings::LogSettings;

/// A log file with exactly the given name, rotated to FILE.1, FILE.2, …
///
/// flexi_logger's own file writer can't rotate by size without another name for the current file,
/// and the crate file-rotate panics if the directory is deleted.
pub(super) struct RotatingFile {
    path: PathBuf,
    keep: u32,
    size: Option<u64>,
    flush_each_line: bool,
    file: BufWriter<File>,
    /// Bytes in the file, or since rotating it failed.
    written: u64,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, settings: &LogSettings) -> io::Result<Self> {
        let file = append_to(path)?;
        // The target of a symbolic link is rotated, not the link.
        let (path, metadata) = (fs::canonicalize(path)?, file.metadata()?);
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

    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let full = self.size.is_some_and(|size| self.written + length > size);
        if full && self.written > 0 {
            // If that fails, a long file is better than no log.
            if self.rotate().is_err() {
                self.written = 0;
            }
        }
        self.written += length;
        self.file.write_all(line)?;
        if self.flush_each_line { self.file.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on; the oldest one is removed.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        // If another program has moved or removed the file, there is nothing to rotate.
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

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = append_to(&self.path)?;
        self.written = file.metadata()?.len();
        // The old file may lack the space for what is still to be flushed.
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

/// Opens the file without waiting, and has writing wait: to open a named pipe that has no reader is
/// an error, which without the flag would wait for a reader for ever.
fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let file = options.open(path).map_err(|error| {
        let is_pipe = || fs::metadata(path).is_ok_and(|it| it.file_type().is_fifo());
        if error.raw_os_error() == Some(Errno::ENXIO as i32) && is_pipe() {
            io::Error::new(error.kind(), "it has no reader")
        } else {
            error
        }
    })?;
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}
