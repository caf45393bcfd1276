//! States and days: stored beside the rows, never trimmed, and wherever the rows go.

use std::fs;
use std::path::Path;

use bluenova_journal::{DayWriter, Journal, Reader, Retention, StoredDay, StoredInsight};
use time::{Duration, UtcDateTime};

use crate::spool::{House, NOW};
use crate::{BATTERY, START, open, typical};

fn insight(mcu_id: u32, seconds: i64) -> StoredInsight {
    let until = START + Duration::seconds(seconds);
    StoredInsight { mcu_id, until, text: format!("state {seconds} {}", "x".repeat(3000)) }
}

fn day(mcu_id: u32, day: u8, rank: u32) -> StoredDay {
    let date = format!("2026-01-{day:02}");
    StoredDay { mcu_id, date, rank, text: format!("day of rank {rank} {}", "y".repeat(300)) }
}

/// What a reader has of two batteries.
fn seen(reader: &Reader) -> (Vec<StoredInsight>, Vec<StoredDay>) {
    let days = [7, BATTERY].map(|mcu_id| reader.days(mcu_id, "0000-01-01"..="9999-12-31").unwrap());
    (reader.insights().unwrap(), days.concat())
}

/// As programs do it.
fn better(stored: &StoredDay, new: &StoredDay) -> StoredDay {
    if new.rank >= stored.rank { new.clone() } else { stored.clone() }
}

fn seen_in(path: &Path) -> (Vec<StoredInsight>, Vec<StoredDay>) {
    seen(&Reader::open(path).unwrap())
}

#[test]
fn a_state_replaces_the_one_before_and_a_day_one_of_no_higher_rank() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.put_statistics(&[], &[], better).unwrap();
    assert!(journal.is_synced());
    journal.put_statistics(&[insight(BATTERY, 5), insight(7, 1)], &[day(7, 2, 3)], better).unwrap();
    assert!(!journal.is_synced());
    // Backwards, too: the program that stores it has the only true one.
    journal
        .put_statistics(&[insight(BATTERY, 4)], &[day(7, 1, 1), day(BATTERY, 1, 9)], better)
        .unwrap();
    for (rank, kept) in [(2, 3), (3, 3), (4, 4)] {
        journal.put_statistics(&[], &[day(7, 2, rank)], better).unwrap();
        let days = journal.reader().unwrap().days(7, "2026-01-02"..="2026-01-02").unwrap();
        assert_eq!(days, [day(7, 2, kept)]);
    }
    journal
        .put_statistics(&[], &[StoredDay { text: "again".into(), ..day(7, 2, 4) }], better)
        .unwrap();
    drop(journal);
    let (insights, days) = seen_in(&path);
    assert_eq!(insights, [insight(7, 1), insight(BATTERY, 4)]);
    let again = StoredDay { text: "again".into(), ..day(7, 2, 4) };
    assert_eq!(days, [day(7, 1, 1), again, day(BATTERY, 1, 9)]);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.insight(7).unwrap(), Some(insight(7, 1)));
    assert_eq!(reader.insight(8).unwrap(), None);
}

#[test]
fn days_are_merged_beside_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.put_statistics(&[insight(7, 1)], &[day(7, 1, 3)], better).unwrap();
    let mut writer = DayWriter::open(&path).unwrap();
    let sum = |stored: &StoredDay, new: &StoredDay| day(7, 1, stored.rank + new.rank);
    writer.put(&[day(7, 1, 4), day(7, 2, 4)], sum).unwrap();
    journal.put_statistics(&[], &[day(7, 2, 5)], better).unwrap();
    assert_eq!(seen_in(&path), (vec![insight(7, 1)], vec![day(7, 1, 7), day(7, 2, 5)]));
}

/// Days are few bytes and are kept for ever; states are as many as there are batteries.
#[test]
fn nothing_is_trimmed_and_no_row_has_to_go() {
    let retention = Retention { keep: Some(std::time::Duration::ZERO), bound: Some(512 << 10) };
    let mut journal = Journal::in_memory(retention).unwrap();
    let rows: Vec<_> = (0..500).map(typical).collect();
    journal.append(&rows).unwrap();
    let insights: Vec<_> = (0..500).map(|n| insight(n, 1)).collect();
    let days: Vec<_> = (1..=28).map(|n| day(7, n, 1)).collect();
    journal.put_statistics(&insights, &days, better).unwrap();
    assert_eq!(journal.trim(NOW).unwrap().undelivered, 0);
    journal.outbox().unwrap().delivered(journal.last()).unwrap();
    assert!(journal.trim(NOW).unwrap().delivered > 300);
    assert!(seen(&journal.reader().unwrap()) == (insights, days));
}

#[test]
fn they_follow_the_rows_to_the_stand_in_and_back() {
    let house = House::new();
    fs::write(house.path.parent().unwrap(), "").unwrap();
    let (mut spool, _outbox) = house.open();
    assert!(spool.is_in_memory());
    spool.put_statistics(&[insight(7, 5)], &[day(7, 1, 1)], better).unwrap();
    fs::remove_file(house.path.parent().unwrap()).unwrap();
    spool.maintain(NOW).unwrap();
    assert!(!spool.is_in_memory());
    assert_eq!(seen_in(&house.path), (vec![], vec![day(7, 1, 1)]));

    // The new file has those of the one that was deleted.
    spool.put_statistics(&[insight(7, 6)], &[day(7, 2, 1)], better).unwrap();
    fs::remove_file(&house.path).unwrap();
    spool.maintain(NOW).unwrap();
    spool.put_statistics(&[insight(BATTERY, 7)], &[], better).unwrap();
    let expected = (vec![insight(7, 6), insight(BATTERY, 7)], vec![day(7, 1, 1), day(7, 2, 1)]);
    assert_eq!(seen_in(&house.path), expected);
}

/// A state that a killed process left in the stand-in may be older than that of the file.
#[test]
fn of_two_states_the_newer_one_is_kept() {
    let house = House::new();
    fs::create_dir(house.path.parent().unwrap()).unwrap();
    let mut journal = open(&house.path);
    journal.put_statistics(&[insight(7, 5), insight(BATTERY, 5)], &[day(7, 1, 2)], better).unwrap();
    drop(journal);
    let mut stand_in = open(&house.path.with_file_name("journal.stand-in"));
    stand_in
        .put_statistics(&[insight(7, 4), insight(BATTERY, 6)], &[day(7, 1, 1)], better)
        .unwrap();
    drop(stand_in);
    let (spool, _outbox) = house.open();
    drop(spool);
    let expected = (vec![insight(7, 5), insight(BATTERY, 6)], vec![day(7, 1, 2)]);
    assert_eq!(seen_in(&house.path), expected);
}

#[test]
fn a_recovery_saves_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    journal.append(&[typical(0)]).unwrap();
    let days: Vec<_> = (1..=28).map(|n| day(BATTERY, n, n.into())).collect();
    // More than once, so that pages of older versions lie about.
    for seconds in 1..10 {
        let states: Vec<_> = (0..10).map(|id| insight(id, seconds)).collect();
        journal
            .put_statistics(&states, &days[..usize::try_from(3 * seconds).unwrap()], better)
            .unwrap();
    }
    journal.put_statistics(&[], &days, better).unwrap();
    drop(journal);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..512].fill(0xAA);
    fs::write(&path, bytes).unwrap();
    let (journal, recovery) = crate::recover::reopen(&path);
    assert_eq!(recovery.unwrap().rows, 1);
    let states = (0..10).map(|id| insight(id, 9)).collect();
    assert!(seen(&journal.reader().unwrap()) == (states, days));
}

#[test]
fn a_damaged_byte_costs_the_day_that_it_is_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let days: Vec<_> = (1..=28).map(|n| day(BATTERY, n, n.into())).collect();
    journal.put_statistics(&[], &days, better).unwrap();
    drop(journal);
    let mut bytes = fs::read(&path).unwrap();
    // The row, and not the index: its rank and text are behind the date.
    let row = b"2026-01-09\tday of rank 9";
    let found = bytes.windows(row.len()).position(|text| text == row).unwrap();
    bytes[found] = b'x';
    bytes[..512].fill(0xAA);
    fs::write(&path, bytes).unwrap();
    let (journal, _) = crate::recover::reopen(&path);
    let left: Vec<_> = days.into_iter().filter(|day| day.date != "2026-01-09").collect();
    assert!(seen(&journal.reader().unwrap()).1 == left);
}

#[test]
fn a_journal_of_an_older_version_has_none_until_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-5.sqlite");
    fs::copy(fixture, &path).unwrap();
    assert_eq!(seen_in(&path), (vec![], vec![]));
    assert_eq!(Reader::open(&path).unwrap().insight(7).unwrap(), None);
    let mut journal = open(&path);
    journal.put_statistics(&[insight(7, 1)], &[day(7, 1, 1)], better).unwrap();
    assert_eq!(seen(&journal.reader().unwrap()), (vec![insight(7, 1)], vec![day(7, 1, 1)]));
}

/// What `day` takes is a tenth of a percent of the rows.
#[test]
fn a_day_takes_few_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let empty = fs::metadata(&path).unwrap().len();
    let date = |n| (UtcDateTime::UNIX_EPOCH + Duration::days(n)).date().to_string();
    let year: Vec<_> = (0..365).map(|n| StoredDay { date: date(n), ..day(7, 1, 1) }).collect();
    journal.put_statistics(&[], &year, better).unwrap();
    drop(journal);
    let bytes = fs::metadata(&path).unwrap().len() - empty;
    assert!(bytes < 365 * 640, "{bytes} bytes");
}
