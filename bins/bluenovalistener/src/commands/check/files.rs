use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    process,
};

use super::Finding;
use crate::{
    logging::{self, ROTATION_ADVICE},
    settings::LogSettings,
};

/// Whether there is nothing at `path` yet. What is no file, or can't be looked at, never becomes a
/// journal.
pub(super) fn is_missing_or_empty(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(file) => file.is_file() && file.len() == 0,
        Err(error) => {
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                && !path.as_os_str().as_bytes().ends_with(b"/")
        }
    }
}

/// Whether there are transactions beside the journal at `path` that it may lack.
pub(super) fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// Checks whether a file can be made, in its directory or in a new one: by a file that is removed
/// at once, in the first directory that exists.
pub(super) fn can_be_made(path: &Path) -> Result<(), String> {
    // The target of a symbolic link is made.
    let target = fs::read_link(path).map(|target| path.with_file_name(target));
    let path = target.as_deref().unwrap_or(path);
    let directory = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
    try_writing_in(directory).map_err(|error| {
        let (shown, parent) = (path.display(), path.parent().unwrap_or(path));
        let verb = if parent.exists() { "See to" } else { "Make" };
        format!(
            "{shown} can't be made: {error}. {verb} the directory {}: it has to be on a disk with \
             free space, and to belong to the user that runs the listener",
            parent.display()
        )
    })
}

/// Checks whether the log file can be opened and rotated, with the log's own code.
pub(super) fn log_file(path: &Path, settings: &LogSettings) -> Finding {
    let shown = path.display();
    // The target of a symbolic link is made, or rotated, not the link.
    let real = fs::canonicalize(path)
        .or_else(|_| fs::read_link(path).map(|target| path.with_file_name(target)));
    let real = real.unwrap_or_else(|_| path.to_owned());
    let directory = real.parent().unwrap_or(Path::new("/"));
    match logging::try_open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            try_writing_in(directory).map_err(|error| match directory.exists() {
                true => not_opened(path, &format!("{error} in {}", directory.display())),
                false => {
                    not_opened(path, &format!("there is no directory {}", directory.display()))
                }
            })?;
            return Ok(format!("the listener will create {shown}"));
        }
        opened => opened.map_err(|error| not_opened(path, &error.to_string()))?,
    }
    if settings.size.is_some() && real.is_file() {
        logging::check_rotation(path, settings).and_then(|()| try_writing_in(directory)).map_err(
            |error| {
                format!(
                    "{shown} can be written, but not rotated: {error} in {}. The listener writes \
                     on, and the file grows; {ROTATION_ADVICE}",
                    directory.display()
                )
            },
        )?;
    }
    Ok(format!("{shown} can be written"))
}

fn not_opened(path: &Path, why: &str) -> String {
    format!(
        "{} can't be opened: {why}. The listener records, logs to the console meanwhile, and tries \
         the file every {} s. Make its directory, and give both to the user that runs the \
         listener, or choose another file with -l",
        path.display(),
        logging::RETRY_AFTER.as_secs()
    )
}

/// Writes a file of a few blocks, as the start of a journal has. Its name is removed before that,
/// so that nothing is left behind whatever happens.
fn try_writing_in(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".bluenovalistener-check-{}", process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    file.write_all(&[0; 64 * 1024])?;
    file.sync_all()
}
