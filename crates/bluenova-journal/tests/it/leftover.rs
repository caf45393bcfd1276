//! Journals that a program with other options has left behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bluenova_journal::{Journal, Leftover, LeftoverOutbox, Retention, SetAside, Spool, leftovers};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::recover::{beside, write};
use crate::spool::mend;
use crate::torn::killed;
use crate::{BATTERY, START, nth, numbers, open, patiently, undelivered};

const OURS: &str = "journal-00000000000000aa.sqlite";
const THEIRS: &str = "journal-00000000000000bb.sqlite";

/// A directory with a journal of the program that looks, and one that waits with the rows 0 to 2,
/// of which the first is delivered.
fn directory() -> (TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join(OURS), directory.path().join(THEIRS));
    drop(open(&ours));
    let mut journal = open(&theirs);
    journal.note_destination("homeauto on pi:5432").unwrap();
    journal.append(&[nth(BATTERY, 0), nth(BATTERY, 1), nth(BATTERY, 2)]).unwrap();
    let mut outbox = journal.outbox().unwrap();
    let first = outbox.undelivered(1).unwrap().last;
    outbox.delivered(first).unwrap();
    (directory, ours, theirs)
}

fn found(path: &Path) -> Vec<Leftover> {
    leftovers(path).into_iter().map(Result::unwrap).collect()
}

#[test]
fn it_is_found_with_its_database_and_its_rows() {
    let (directory, ours, theirs) = directory();
    let before = fs::read(&theirs).unwrap();
    let database = Some("homeauto on pi:5432".to_owned());
    let (path, has_torn_log) = (theirs.clone(), false);
    let leftover = [Leftover { path, database, waiting: 2, set_aside: 0, has_torn_log }];
    assert_eq!(found(&ours), leftover);
    // Whatever the journal is called, and whether or not it is there already.
    assert_eq!(found(&directory.path().join("mine.sqlite")), leftover);
    assert_eq!(fs::read(&theirs).unwrap(), before);

    // The journal itself is none, by whichever name.
    assert_eq!(found(&theirs), []);
    symlink(&theirs, directory.path().join("link.sqlite")).unwrap();
    assert_eq!(found(&directory.path().join("link.sqlite")), []);
    fs::hard_link(&theirs, directory.path().join("journal-00000000000000cc.sqlite")).unwrap();
    assert_eq!(found(&theirs), []);
}

#[test]
fn only_names_that_the_program_gives_count() {
    let (directory, ours, theirs) = directory();
    for name in [
        "journal.sqlite",
        "journal-00000000000000BB.sqlite",
        "journal-00000000000000b.sqlite",
        "journal-00000000000000bb.sqlite.damaged-20260101T000000",
        "journal-00000000000000bb.sqlite.recovering",
        "copy of journal-00000000000000bb.sqlite",
    ] {
        fs::rename(&theirs, directory.path().join(name)).unwrap();
        assert_eq!(found(&ours), [], "{name}");
        fs::rename(directory.path().join(name), &theirs).unwrap();
    }
    assert_eq!(found(&ours).len(), 1);
}

#[test]
fn one_without_rows_or_in_use_is_left_alone() {
    let (_directory, ours, theirs) = directory();
    let mut journal = open(&theirs);
    assert_eq!(found(&ours), []);
    // The lock file alone may have been removed.
    fs::remove_file(theirs.with_extension("sqlite.lock")).unwrap();
    assert_eq!(found(&ours), []);
    journal.append(&[nth(BATTERY, 3)]).unwrap();
    let mut outbox = journal.outbox().unwrap();
    let last = outbox.undelivered(9).unwrap().last;
    outbox.delivered(last).unwrap();
    drop((journal, outbox));
    assert_eq!(found(&ours), []);
}

#[test]
fn a_damaged_one_is_an_error_and_stays_as_it_is() {
    let (_directory, ours, theirs) = directory();
    let mut bytes = fs::read(&theirs).unwrap();
    bytes[..512].fill(0xAA);
    fs::write(&theirs, &bytes).unwrap();
    let [Err(error)] = &leftovers(&ours)[..] else { panic!("it is no error") };
    assert!(error.is_damage() && error.to_string().contains(THEIRS), "{error}");
    assert_eq!(fs::read(&theirs).unwrap(), bytes);
}

#[test]
fn an_older_version_does_not_say_for_which_database() {
    let (_directory, ours, theirs) = directory();
    for version in [1, 2] {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        fs::copy(fixtures.join(format!("journal-{version}.sqlite")), &theirs).unwrap();
        let path = theirs.clone();
        let (database, has_torn_log) = (None, false);
        let expected = Leftover { path, database, waiting: 120, set_aside: 2, has_torn_log };
        assert_eq!(found(&ours), [expected]);
    }
}

#[test]
fn its_rows_are_delivered_and_it_is_none_any_more() {
    let (_directory, ours, theirs) = directory();
    let mut outbox = LeftoverOutbox::open(&found(&ours)[0]).unwrap();
    let batch = outbox.undelivered(1).unwrap();
    assert_eq!((numbers(&batch.records), outbox.waiting().unwrap()), (vec![1], 2));
    outbox.delivered(batch.last).unwrap();
    assert_eq!(outbox.waiting().unwrap(), 1);
    // Killed here, a program sends the row again; ended here, it doesn't.
    drop(outbox);
    assert_eq!(numbers(&undelivered(&open(&theirs))), [2]);

    let mut outbox = LeftoverOutbox::open(&found(&ours)[0]).unwrap();
    let batch = outbox.undelivered(9).unwrap();
    assert_eq!(numbers(&batch.records), [2]);
    outbox.delivered(batch.last).unwrap();
    assert!(outbox.undelivered(9).unwrap().records.is_empty());
    drop(outbox);
    assert_eq!(found(&ours), []);
    // The rows are still there to be looked at.
    assert_eq!(open(&theirs).reader().unwrap().count(BATTERY).unwrap(), 3);
}

#[test]
fn its_own_program_may_start_at_any_moment() {
    let (_directory, ours, theirs) = directory();
    let mut outbox = LeftoverOutbox::open(&found(&ours)[0]).unwrap();
    let batch = outbox.undelivered(1).unwrap();
    let mut journal = open(&theirs);
    journal.append(&[nth(BATTERY, 3)]).unwrap();
    assert_eq!(numbers(&undelivered(&journal)), [1, 2, 3]);
    // What was under way goes on.
    outbox.delivered(batch.last).unwrap();
    assert!(outbox.undelivered(9).unwrap().records.is_empty());
    drop(outbox);
    journal.append(&[nth(BATTERY, 4)]).unwrap();
    journal.checkpoint().unwrap();
    drop(journal);
    assert_eq!(numbers(&undelivered(&open(&theirs))), [2, 3, 4]);
}

#[test]
fn rows_that_are_set_aside_move_once() {
    let (_directory, ours, theirs) = directory();
    let journal = open(&theirs);
    journal.outbox().unwrap().set_aside(&nth(BATTERY, 0), "P0001", "no", START).unwrap();
    drop(journal);
    let leftover = &found(&ours)[0];
    assert_eq!((leftover.waiting, leftover.set_aside), (2, 1));
    let outbox = LeftoverOutbox::open(leftover).unwrap();
    // The journal may be in use.
    let journal = open(&ours);
    // Killed after the first half of it.
    let rows = SetAside::open(&theirs).unwrap().rows().unwrap();
    SetAside::open(&ours).unwrap().add(&rows[0]).unwrap();
    assert_eq!(outbox.move_set_aside(&ours).unwrap(), 1);
    assert_eq!(outbox.move_set_aside(&ours).unwrap(), 0);
    assert_eq!(journal.set_aside().unwrap().rows().unwrap(), rows);
    assert_eq!(SetAside::open(&theirs).unwrap().rows().unwrap(), []);
}

/// A new file that takes the place of a damaged one, too.
#[test]
fn a_spool_notes_its_database_in_every_file() {
    let (_directory, ours, theirs) = directory();
    let is_noted = |database: &str| {
        let noted = found(&ours)[0].database.clone();
        assert_eq!(noted.as_deref(), Some(database));
    };
    is_noted("homeauto on pi:5432");
    let spool = |database| {
        let open = || Spool::open_for(&theirs, Retention::default(), database, START);
        patiently(open).unwrap()
    };
    drop(spool("attic on pi:5432"));
    is_noted("attic on pi:5432");

    let mut bytes = fs::read(&theirs).unwrap();
    bytes[..512].fill(0xAA);
    fs::write(&theirs, &bytes).unwrap();
    mend(&mut spool("attic on pi:5432").0);
    is_noted("attic on pi:5432");
    // One that nobody gives a name keeps the last one.
    drop(patiently(|| Spool::open(&theirs, Retention::default(), START)).unwrap());
    drop(patiently(|| Journal::open(&theirs, Retention::default())).unwrap());
    is_noted("attic on pi:5432");
}

/// Its own program has not started since a power cut: SQLite alone would remove what is behind a
/// tear of the log, as soon as this program closes it.
#[test]
fn rows_behind_a_tear_of_its_log_are_delivered() {
    for are_delivered in [false, true] {
        let (_directory, ours, theirs) = directory();
        let killed = killed(100);
        let mut log = killed.log.clone();
        log[killed.moving.start..][..512].fill(0);
        write(&theirs, &killed.database, Some(&log));
        if are_delivered {
            // Those that SQLite finds.
            let connection = Connection::open(&theirs).unwrap();
            connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
            connection.execute("UPDATE progress SET delivered = 128", ()).unwrap();
            let torn = fs::read(beside(&theirs, "-wal")).unwrap();
            drop(connection);
            write(&theirs, &killed.database, Some(&torn));
            log = torn;
        }
        let leftover = &found(&ours)[0];
        assert!(leftover.has_torn_log && (leftover.waiting == 0) == are_delivered, "{leftover:?}");
        assert_eq!(fs::read(beside(&theirs, "-wal")).unwrap(), log, "looking changes nothing");

        let mut outbox = LeftoverOutbox::open(leftover).unwrap();
        let rows = outbox.undelivered(usize::MAX).unwrap().records.len();
        let behind = usize::from(killed.rows) - 128;
        let expected = if are_delivered { behind } else { usize::from(killed.rows) };
        assert!(rows + 2 >= expected, "{rows} of {expected}");
        drop(outbox);
        assert_eq!(undelivered(&open(&theirs)).len(), rows);
        assert!(!found(&ours)[0].has_torn_log);
    }
}

/// A power cut may leave that: a database whose size did not come to the disk.
#[test]
fn an_empty_file_with_a_log_is_not_passed_over() {
    let (_directory, ours, theirs) = directory();
    write(&theirs, &[], Some(&killed(0).log));
    let [Err(error)] = &leftovers(&ours)[..] else { panic!("it is no error") };
    assert!(error.is_damage(), "{error}");
    write(&theirs, &[], None);
    assert_eq!(found(&ours), []);
}
