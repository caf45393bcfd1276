//! Several processes: this binary starts itself again, with a test of that name and a directory.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, io};

use bluenova_journal::{Error, Journal, Retention};

use crate::{BATTERY, nth, numbers, open, undelivered};

const DIRECTORY: &str = "BLUENOVA_JOURNAL_TEST_DIRECTORY";

/// The directory that this process shall work in, if it was started by [`start`].
pub(crate) fn directory_of_child() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Starts the ignored test `name` in a process of its own; returns what it prints.
pub(crate) fn start(name: &str, directory: &std::path::Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = command(name, directory).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

pub(crate) fn command(name: &str, directory: &std::path::Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory);
    command
}

/// Appends until it is killed, and prints the number of each record once it is stored.
#[test]
#[ignore = "a part of others"]
fn append_for_ever() {
    let Some(directory) = directory_of_child() else { return };
    let mut journal = open(&directory.join("journal"));
    let first = undelivered(&journal).len() as u16;
    for n in first.. {
        journal.append(&[nth(BATTERY, n)]).unwrap();
        println!("stored {n}");
    }
}

/// The number that the child prints next.
fn stored(output: &mut impl BufRead) -> Option<u16> {
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        // A line that the kill cut in two does not count.
        if let Some((_, number)) = line.trim_end_matches('\n').split_once("stored ")
            && line.ends_with('\n')
        {
            return number.parse().ok();
        }
        line.clear();
    }
    None
}

#[test]
fn a_killed_process_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=8 {
        let (mut child, mut output) = start("processes::append_for_ever", directory.path());
        for _ in 0..30 * round {
            stored(&mut output).unwrap();
        }
        child.kill().unwrap();
        let last = std::iter::from_fn(|| stored(&mut output)).last();
        child.wait().unwrap();

        let journal = open(&directory.path().join("journal"));
        let records = numbers(&undelivered(&journal));
        assert_eq!(records, Vec::from_iter(0..records.len() as u16), "round {round}");
        assert!(last.is_none_or(|last| records.len() > last.into()), "round {round}");
    }
}

#[test]
fn a_second_process_is_told_who_was_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let (mut child, mut output) = start("processes::append_for_ever", directory.path());
    stored(&mut output).unwrap();

    let error = Journal::open(&path, Retention::default()).unwrap_err();
    let message = format!("journal {} is in use by process {}", path.display(), child.id());
    assert_eq!(error.to_string(), message);
    assert!(matches!(error, Error::InUse { holder, .. } if holder == Some(child.id())));
    assert!(stored(&mut output).is_some(), "the first one goes on");

    child.kill().unwrap();
    io::copy(&mut output, &mut io::sink()).unwrap();
    child.wait().unwrap();
    // The lock ends with the process, which may take the system a moment.
    open(&path);
}

#[test]
fn nor_can_one_process_open_it_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let journal = open(&path);
    let error = Journal::open(&path, Retention::default()).unwrap_err();
    assert!(
        matches!(error, Error::InUse { holder, .. } if holder == Some(std::process::id())),
        "{error:?}"
    );
    drop(journal);
    open(&path);
}
