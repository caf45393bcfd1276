//! The file and what can be wrong with it.

use std::error::Error as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use bluenova_journal::{Error, Journal, Reader, Retention};
use bluenova_record::ErrorChain;
use rusqlite::Connection;

use crate::{BATTERY, nth, open, patiently, undelivered};

fn refusal(path: &Path) -> Error {
    patiently(|| Journal::open(path, Retention::default())).expect_err("must not open")
}

#[test]
fn directories_are_made_for_their_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/journal");
    let mut journal = open(&path);
    assert_eq!(journal.path(), Some(&*path));
    assert!(!journal.is_in_memory());
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    journal.checkpoint().unwrap();
    let mode = fs::metadata(directory.path().join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_name_that_looks_like_a_uri_is_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file:journal?mode=memory#%41");
    drop(open(&path));
    assert!(path.is_file());
}

#[test]
fn what_is_not_a_directory_or_not_a_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = refusal(directory.path());
    assert_eq!(error.to_string(), format!("can't open {}", directory.path().display()));
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == ErrorKind::IsADirectory));
    assert!(!error.is_damage() && !error.is_full());

    let error = refusal(Path::new("/dev/null/directory/journal"));
    assert_eq!(error.to_string(), "can't create directory /dev/null/directory");
    assert!(error.source().is_some());
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_that_cannot_be_written_is_named() {
    // Nobody creates files there, root neither.
    let directory = Path::new("/proc/self/fdinfo");
    let error = refusal(&directory.join("journal"));
    assert_eq!(error.to_string(), "can't lock /proc/self/fdinfo/journal.lock");
}

#[test]
fn other_peoples_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("theirs");
    for sql in [
        "CREATE TABLE battery_pack (insert_time_utc TIMESTAMP)",
        "PRAGMA application_id = 42",
        "PRAGMA application_id = 42; CREATE TABLE history (x)",
    ] {
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(&path).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains("a SQLite database of something else, not"), "{error}");
        assert!(!error.is_damage());
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_sqlite_says_is_said_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("text");
    fs::write(&path, "# A file of notes, which is longer than the header of a database".repeat(9))
        .unwrap();
    let error = Reader::open(&path).unwrap_err();
    let start = format!("can't open journal {}: ", path.display());
    let chain = ErrorChain(&error).to_string();
    assert_eq!(chain, format!("{start}file is not a database (error 26 of SQLite)"));
}

#[test]
fn tables_of_a_later_version_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    drop(open(&path));
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    // Without other tables, another version is a number that was damaged.
    assert!(refusal(&path).is_damage());
    connection.execute_batch("ALTER TABLE battery ADD COLUMN name TEXT").unwrap();
    let error = refusal(&path);
    assert!(matches!(error, Error::Version { found: 99, .. }), "{error:?}");
}

#[test]
fn missing_progress_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    for sql in [
        "DELETE FROM progress",
        "INSERT INTO progress VALUES ('a', 'b')",
        "INSERT INTO progress VALUES (0, 1)",
    ] {
        drop(open(&path));
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("DELETE FROM progress").unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        assert!(refusal(&path).is_damage(), "{sql}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_file_that_was_deleted_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    journal.checkpoint().unwrap();
    fs::rename(&path, directory.path().join("moved")).unwrap();
    assert!(matches!(journal.checkpoint(), Err(Error::Gone { .. })));
    fs::write(&path, "another").unwrap();
    assert!(matches!(journal.checkpoint(), Err(Error::Gone { .. })));
    fs::rename(directory.path().join("moved"), &path).unwrap();
    journal.checkpoint().unwrap();
}

/// The rows can still be had from it, and closing it at last does the new journal no harm.
#[test]
fn what_was_in_a_deleted_file_goes_to_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let mut outbox = journal.outbox().unwrap();
    let rows: Vec<_> = (0..300).map(|n| nth(BATTERY, n)).collect();
    journal.append(&rows[..200]).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(directory.path().join(format!("journal{suffix}"))).unwrap();
    }
    for row in &rows[200..] {
        journal.append(std::slice::from_ref(row)).unwrap();
    }
    assert!(matches!(journal.checkpoint(), Err(Error::Gone { .. })));
    drop(journal);

    let mut journal = open(&path);
    journal.append(&outbox.undelivered(usize::MAX).unwrap().records).unwrap();
    drop(outbox);
    journal.append(&[nth(BATTERY, 300)]).unwrap();
    assert_eq!(undelivered(&journal)[..300], rows);
    // What a killed process would leave.
    let copy = directory.path().join("copy");
    for suffix in ["", "-wal"] {
        let name = |of: &Path| format!("{}{suffix}", of.display());
        fs::copy(name(&path), name(&copy)).unwrap();
    }
    assert_eq!(undelivered(&open(&copy)).len(), 301);
}

#[test]
fn in_memory_nothing_is_on_disk() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    let mut other = Journal::in_memory(Retention::default()).unwrap();
    assert!(journal.is_in_memory() && journal.path().is_none());
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    other.append(&[nth(7, 0), nth(7, 1)]).unwrap();
    journal.checkpoint().unwrap();
    assert_eq!(undelivered(&journal), [nth(BATTERY, 0)]);
    assert_eq!(undelivered(&other).len(), 2);
}

/// What is written is locked, and not only the name beside it.
#[test]
fn a_journal_in_use_is_refused_without_its_lock_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let lock = directory.path().join("journal.lock");
    let mut journal = open(&path);
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    fs::remove_file(&lock).unwrap();
    for _ in 0..2 {
        let error = Journal::open(&path, Retention::default()).unwrap_err();
        assert!(matches!(error, Error::InUse { holder: None, .. }), "{error:?}");
        assert!(!lock.exists(), "it is that of nobody");
    }
    journal.append(&[nth(BATTERY, 1)]).unwrap();
    assert_eq!(undelivered(&journal).len(), 2);
    drop(journal);
    open(&path);
}

#[test]
fn a_lock_file_that_leads_elsewhere_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let lock = directory.path().join("journal.lock");
    let other = directory.path().join("other");
    fs::write(&other, "precious").unwrap();
    symlink(&other, &lock).unwrap();
    let message = format!("can't lock {}", lock.display());
    assert_eq!(refusal(&path).to_string(), message);
    fs::remove_file(&lock).unwrap();
    fs::hard_link(&other, &lock).unwrap();
    assert_eq!(refusal(&path).to_string(), message);
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
}

/// Others than root make files that are theirs, in directories that are theirs.
#[test]
fn the_lock_file_is_of_the_owner_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    if fs::metadata(directory.path()).unwrap().uid() == 0 {
        chown(directory.path(), Some(4711), Some(4712)).unwrap();
    }
    drop(open(&path));
    let owner = |path: &Path| fs::metadata(path).map(|of| (of.uid(), of.gid())).unwrap();
    assert_eq!(owner(&directory.path().join("journal.lock")), owner(directory.path()));
}

#[test]
fn a_journal_that_is_removed_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    let reader = journal.reader().unwrap();
    journal.remove().unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    drop(reader);

    // What somebody has put in its place is not its own.
    let journal = open(&path);
    fs::rename(&path, directory.path().join("elsewhere")).unwrap();
    fs::write(&path, "something").unwrap();
    assert!(matches!(journal.remove(), Err(Error::Gone { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"something");
}
