//! The outbox: oldest first, its cursor, its count.

use bluenova_journal::{Journal, Outbox, Retention};

use crate::{BATTERY, nth, numbers, open};

fn with_rows(rows: u16) -> (Journal, Outbox) {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    for n in 0..rows {
        journal.append(&[nth(BATTERY, n)]).unwrap();
    }
    let outbox = journal.outbox().unwrap();
    (journal, outbox)
}

#[test]
fn an_empty_journal_has_nothing_to_deliver() {
    let (_journal, mut outbox) = with_rows(0);
    let batch = outbox.undelivered(10).unwrap();
    assert!(batch.records.is_empty());
    assert_eq!(batch.last.to_string(), "0");
    outbox.delivered(batch.last).unwrap();
    assert_eq!(outbox.waiting().unwrap(), 0);
}

#[test]
fn rows_come_oldest_first_and_once() {
    let (mut journal, mut outbox) = with_rows(300);
    let mut seen = vec![];
    let mut waiting = 300;
    loop {
        assert_eq!(outbox.waiting().unwrap(), waiting);
        let batch = outbox.undelivered(7).unwrap();
        assert_eq!(batch, outbox.undelivered(7).unwrap(), "the same until delivered");
        if batch.records.is_empty() {
            break;
        }
        waiting -= batch.records.len() as u64;
        seen.extend(numbers(&batch.records));
        outbox.delivered(batch.last).unwrap();
    }
    assert_eq!(seen, Vec::from_iter(0..300));

    journal.append(&[nth(BATTERY, 300)]).unwrap();
    assert_eq!(outbox.waiting().unwrap(), 1);
    assert_eq!(numbers(&outbox.undelivered(7).unwrap().records), [300]);
}

#[test]
fn the_cursor_never_goes_back() {
    let (_journal, mut outbox) = with_rows(20);
    let five = outbox.undelivered(5).unwrap();
    let ten = outbox.undelivered(10).unwrap();
    outbox.delivered(ten.last).unwrap();
    outbox.delivered(five.last).unwrap();
    assert_eq!(outbox.waiting().unwrap(), 10);
    assert_eq!(numbers(&outbox.undelivered(1).unwrap().records), [10]);
}

#[test]
fn the_cursor_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    for (run, flush) in [(0_u16, false), (1, true)] {
        let mut journal = open(&path);
        let mut outbox = journal.outbox().unwrap();
        assert_eq!(outbox.waiting().unwrap(), u64::from(run) * 4);
        for n in 0..10 {
            journal.append(&[nth(BATTERY, run * 10 + n)]).unwrap();
        }
        let last = outbox.undelivered(6).unwrap().last;
        outbox.delivered(last).unwrap();
        if flush {
            outbox.flush().unwrap();
        }
    }
    let journal = open(&path);
    let mut outbox = journal.outbox().unwrap();
    assert_eq!(numbers(&outbox.undelivered(100).unwrap().records), Vec::from_iter(12..20));
    assert_eq!(outbox.waiting().unwrap(), 8);
}

#[test]
fn a_backlog_is_not_sent_from_its_start_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let rows: Vec<_> = (0..3000).map(|n| nth(BATTERY, n)).collect();
    journal.append(&rows).unwrap();
    let mut outbox = journal.outbox().unwrap();
    for _ in 0..28 {
        let last = outbox.undelivered(100).unwrap().last;
        outbox.delivered(last).unwrap();
    }
    // What a killed process would find.
    let cursor: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT delivered FROM progress", (), |row| row.get(0))
        .unwrap();
    assert_eq!(cursor, 2000);

    // In quiet times the journal writes it along with its own rows.
    for n in 3000..3200 {
        journal.append(&[nth(BATTERY, n)]).unwrap();
    }
    let cursor: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT delivered FROM progress", (), |row| row.get(0))
        .unwrap();
    assert_eq!(cursor, 2800);
}

#[test]
fn two_outboxes_share_their_cursor() {
    let (journal, mut outbox) = with_rows(10);
    let mut other = journal.outbox().unwrap();
    assert_eq!(outbox.undelivered(4).unwrap(), other.undelivered(4).unwrap());
    let last = outbox.undelivered(4).unwrap().last;
    outbox.delivered(last).unwrap();
    assert_eq!(other.waiting().unwrap(), 6);
    assert_eq!(numbers(&other.undelivered(4).unwrap().records), [4, 5, 6, 7]);
}

#[test]
fn a_damaged_row_holds_up_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let rows: Vec<_> = (0..200).map(|n| nth(BATTERY, n)).collect();
    journal.append(&rows).unwrap();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "UPDATE history SET insert_time_utc = 'rubbish' || sequence WHERE sequence <= 150;
             UPDATE history SET soc = 1000000, errors = x'FF00', v_pack = 'x' WHERE sequence = 151",
        )
        .unwrap();
    let mut outbox = journal.outbox().unwrap();
    let batch = outbox.undelivered(100).unwrap();
    assert_eq!(*batch.records, rows[150..200]);
    assert_eq!(batch.damaged, 151);
    outbox.delivered(batch.last).unwrap();
    assert!(outbox.undelivered(100).unwrap().records.is_empty());
    assert!(!journal.is_damaged(), "it is only those rows");
}

/// Damaged rows in between are passed over along with the rows before them.
#[test]
fn a_part_of_a_batch_can_be_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let rows: Vec<_> = (0..10).map(|n| nth(BATTERY, n)).collect();
    journal.append(&rows).unwrap();
    let damage = "UPDATE recent SET insert_time_utc = 'x' WHERE sequence IN (1, 4, 5, 10)";
    rusqlite::Connection::open(&path).unwrap().execute(damage, ()).unwrap();
    let mut outbox = journal.outbox().unwrap();
    let batch = outbox.undelivered(100).unwrap();
    assert_eq!((numbers(&batch.records), batch.damaged), (vec![1, 2, 5, 6, 7, 8], 4));
    for (rows, last, left) in [
        (0, "1", &[1, 2, 5, 6, 7, 8][..]),
        (1, "2", &[2, 5, 6, 7, 8]),
        (2, "5", &[5, 6, 7, 8]),
        (5, "8", &[8]),
        (6, "10", &[]),
        (7, "10", &[]),
    ] {
        assert_eq!(batch.through(rows).to_string(), last, "{rows}");
        outbox.delivered(batch.through(rows)).unwrap();
        assert_eq!(numbers(&outbox.undelivered(100).unwrap().records), left, "{rows}");
    }
    assert_eq!(batch.through(6), batch.last);
    assert_eq!(outbox.waiting().unwrap(), 0);
}

/// SQLite finds nothing amiss then, but the rows behind must not be taken for the next ones.
#[test]
fn rows_that_are_hidden_by_damage_are_missed() {
    let directory = tempfile::tempdir().unwrap();
    for (i, (damage, seen)) in [
        ("DELETE FROM history WHERE sequence BETWEEN 100 AND 110", 90),
        ("DELETE FROM history WHERE sequence > 150", 150),
        ("DELETE FROM recent WHERE sequence = 255", 250),
        ("UPDATE history SET sequence = -1 WHERE sequence = 100", 90),
        ("UPDATE history SET sequence = 1000 WHERE sequence = 200", 190),
    ]
    .into_iter()
    .enumerate()
    {
        let path = directory.path().join(i.to_string());
        let mut journal = open(&path);
        let rows: Vec<_> = (0..300).map(|n| nth(BATTERY, n)).collect();
        journal.append(&rows[..200]).unwrap();
        journal.append(&rows[200..]).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute(damage, ()).unwrap();
        let mut outbox = journal.outbox().unwrap();
        assert!(!journal.is_damaged());
        let mut numbers_seen = vec![];
        let error = loop {
            assert!(numbers_seen.len() < 300, "{damage}: {numbers_seen:?}");
            match outbox.undelivered(10) {
                Ok(batch) => {
                    outbox.delivered(batch.last).unwrap();
                    numbers_seen.extend(numbers(&batch.records));
                }
                Err(error) => break error,
            }
        };
        assert!(error.is_damage(), "{damage}: {error:?}");
        assert!(journal.is_damaged(), "{damage}: the writer can ask");
        assert_eq!(numbers_seen, Vec::from_iter(0..seen), "{damage}");
    }
}
