use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    mem,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::geteuid,
};

use crate::settings::LogSettings;

/// What to do about a file that can't be rotated.
pub(crate) const ADVICE: &str = "give its directory to the user that runs the listener, or leave \
                                 the rotation to logrotate or newsyslog with -m 0";

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
    /// Bytes in the file when this process last wrote to it or asked for its length.
    written: u64,
    /// Bytes that were in the file when rotating it failed; it is tried again after as many bytes
    /// as a file has.
    failed_at: u64,
    has_failed: bool,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, settings: &LogSettings) -> io::Result<Self> {
        let file = append_to(path, true)?;
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
            failed_at: 0,
            has_failed: false,
        })
    }

    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.is_full(length) && self.follow_length().is_ok() && self.is_full(length) {
            // If that fails, a long file is better than no log.
            match self.rotate() {
                Ok(()) => self.has_failed = false,
                Err(error) => self.rotation_failed(&error)?,
            }
        }
        self.written += length;
        self.file.write_all(line)?;
        if self.flush_each_line { self.file.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn is_full(&self, more: u64) -> bool {
        let since = self.written.saturating_sub(self.failed_at);
        since > 0 && self.size.is_some_and(|size| since + more > size)
    }

    /// Brings `written` up to date: another program may have cut the file, as logrotate does with
    /// `copytruncate`, or may write to it as well.
    fn follow_length(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.written = self.file.get_ref().metadata()?.len();
        if self.written < self.failed_at {
            self.failed_at = 0;
        }
        Ok(())
    }

    /// Logs that the file can't be rotated, once until it can.
    fn rotation_failed(&mut self, error: &io::Error) -> io::Result<()> {
        self.failed_at = self.written;
        if mem::replace(&mut self.has_failed, true) {
            return Ok(());
        }
        let why = format!(
            "log file {:?} can't be rotated: {error}. It is written on and grows; {ADVICE}",
            self.path
        );
        let line = super::line("WARN", &why);
        self.written += line.len() as u64;
        self.file.write_all(&line)
    }

    /// FILE becomes FILE.1, FILE.1 becomes FILE.2, and so on; the oldest one is removed.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        // If another program has moved or removed the file, there is nothing to rotate.
        if self.is_in_place() {
            for n in (1..self.keep).rev() {
                if older(&self.path, n).exists() {
                    fs::rename(older(&self.path, n), older(&self.path, n + 1))?;
                }
            }
            match self.keep {
                0 => fs::remove_file(&self.path)?,
                _ => fs::rename(&self.path, older(&self.path, 1))?,
            }
        }
        self.reopen()
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let file = append_to(&self.path, true)?;
        (self.written, self.failed_at) = (file.metadata()?.len(), 0);
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
}

/// Opens a file that exists, as the log does, and writes nothing. A pipe isn't opened: its reader
/// would see an end.
pub(super) fn try_open(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.file_type().is_fifo() {
        return Ok(());
    }
    append_to(path, false).map(drop)
}

/// Checks what may keep the file from being renamed although files can be made in its directory.
pub(super) fn check_rotation(path: &Path, keep: u32) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    for n in 1..=keep {
        let older = older(&path, n);
        if older.is_dir() {
            return Err(io::Error::other(format!("{} is a directory", older.display())));
        }
    }
    let (file, directory) = (fs::metadata(&path)?, fs::metadata(path.parent().unwrap_or(&path))?);
    let (user, owners) = (geteuid(), [file.uid(), directory.uid()]);
    let is_sticky = directory.mode() & STICKY != 0;
    if is_sticky && !user.is_root() && !owners.contains(&user.as_raw()) {
        return Err(io::Error::other("only its owner may rename it"));
    }
    Ok(())
}

/// Bit of a directory, /tmp for instance, in which everybody may make files.
const STICKY: u32 = 0o1000;

fn older(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Opens the file without waiting, and has writing wait: to open a named pipe that has no reader is
/// an error, which without the flag would wait for a reader for ever.
fn append_to(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(create).append(true).custom_flags(OFlag::O_NONBLOCK.bits());
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
