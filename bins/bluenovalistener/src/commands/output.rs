//! Where a subcommand writes to: standard output, or a file that appears when it is whole.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crate::signals;

/// Exit status of a program that SIGINT ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// Standard output or a file, with a buffer.
pub(super) struct Output {
    out: BufWriter<Box<dyn Write>>,
    /// The file that is written, to be renamed.
    unfinished: Option<Unfinished>,
    /// What errors call it.
    name: String,
}

struct Unfinished {
    file: File,
    path: PathBuf,
    /// Its name in the end.
    target: PathBuf,
}

impl Output {
    /// Opens what `-o` names; `-` or nothing is standard output.
    ///
    /// # Errors
    /// The file can't be created; the error is worded for the terminal.
    pub(super) fn open(given: Option<&str>, at_signal: &mut AtSignal) -> Result<Self, String> {
        let Some(given) = given.filter(|given| *given != "-") else {
            let out: Box<dyn Write> = Box::new(io::stdout());
            let name = "standard output".to_owned();
            return Ok(Self { out: BufWriter::new(out), unfinished: None, name });
        };
        let name = format!("-o {given}");
        let opened = match fs::metadata(given) {
            // A terminal, a pipe or /dev/null is written as it is.
            Ok(found) if !found.is_file() => open_as_it_is(given),
            // The target of a symbolic link is replaced, not the link.
            Ok(found) => fs::canonicalize(given)
                .and_then(|path| begin(path, Some(found.permissions()), at_signal)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                begin(given.into(), None, at_signal)
            }
            Err(error) => Err(error),
        };
        let (out, unfinished) = opened.map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { out: BufWriter::new(out), unfinished, name })
    }

    /// What errors call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes what is in the buffer, and gives a file its name. What had that name before is gone
    /// then.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        if let Some(unfinished) = &self.unfinished {
            // Else a power failure might leave the new name with an empty file.
            unfinished.file.sync_all()?;
            fs::rename(&unfinished.path, &unfinished.target)?;
            self.unfinished = None;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            let _ = fs::remove_file(&unfinished.path);
        }
    }
}

type Opened = (Box<dyn Write>, Option<Unfinished>);

fn open_as_it_is(given: &str) -> io::Result<Opened> {
    Ok((Box::new(File::options().write(true).open(given)?), None))
}

/// Creates a file beside `target`, where it can be renamed.
fn begin(
    target: PathBuf,
    permissions: Option<fs::Permissions>,
    at_signal: &mut AtSignal,
) -> io::Result<Opened> {
    let path = unfinished_name(&target)?;
    // First: a signal may come as soon as there is a file.
    at_signal.remove(path.clone())?;
    let file = File::create(&path)?;
    let unfinished = Unfinished { file: file.try_clone()?, path, target };
    if let Some(permissions) = permissions {
        unfinished.file.set_permissions(permissions)?;
    }
    Ok((Box::new(file), Some(unfinished)))
}

/// The file that is removed when a signal ends the program.
#[derive(Default)]
pub(super) struct AtSignal {
    file: Option<Arc<Mutex<PathBuf>>>,
}

impl AtSignal {
    /// Lets no signal end the program but with this file removed, in the place of an earlier one.
    fn remove(&mut self, path: PathBuf) -> io::Result<()> {
        if let Some(file) = &self.file {
            *file.lock().unwrap_or_else(PoisonError::into_inner) = path;
            return Ok(());
        }
        let file = Arc::new(Mutex::new(path));
        let (signals, to_remove) = (signals::channel()?, Arc::clone(&file));
        thread::Builder::new().name("remove".to_owned()).spawn(move || {
            if signals.recv().is_ok() {
                let path = to_remove.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = fs::remove_file(&*path);
                process::exit(INTERRUPTED);
            }
        })?;
        self.file = Some(file);
        Ok(())
    }
}

/// The name has the number of this process, so that two exports don't write the same file.
fn unfinished_name(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}", process::id()));
    Ok(target.with_file_name(unfinished))
}
