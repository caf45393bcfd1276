//! Writer, outbox and reader at once.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bluenova_journal::{Error, Journal, Retention};

use crate::{BATTERY, START, nth, numbers, open};

/// The recorder, the forwarder and a page, each on its thread: nobody is refused anything, and
/// every row is delivered once, in order.
fn check(mut journal: Journal, rows: u16) {
    let mut outbox = journal.outbox().unwrap();
    let reader = journal.reader().unwrap();
    let (wake, woken) = mpsc::channel::<()>();
    let (look, looked) = mpsc::channel::<()>();

    let forwarder = thread::spawn(move || {
        let mut seen = vec![];
        loop {
            let ended = woken.recv().is_err();
            loop {
                let batch = outbox.undelivered(50).unwrap();
                if batch.records.is_empty() {
                    break;
                }
                seen.extend(numbers(&batch.records));
                outbox.delivered(batch.last).unwrap();
                outbox.flush().unwrap();
            }
            if ended {
                assert_eq!(outbox.waiting().unwrap(), 0);
                return seen;
            }
        }
    });
    // It looks now and then: one that never ends holds up the writer of a journal in memory.
    let page = thread::spawn(move || {
        let mut looks = 0;
        while looked.recv().is_ok() {
            let latest = answer(|| reader.latest());
            let count = answer(|| reader.count(BATTERY));
            assert!(count <= u64::from(rows));
            assert!(numbers(&latest).iter().all(|&n| u64::from(n) < count));
            looks += 1;
        }
        (looks, answer(|| reader.count(BATTERY)))
    });

    for n in 0..rows {
        journal.append(&[nth(BATTERY, n)]).unwrap();
        wake.send(()).unwrap();
        if n % 5 == 0 {
            look.send(()).unwrap();
        }
        if n % 50 == 0 {
            journal.checkpoint().unwrap();
            journal.trim(START).unwrap();
        }
    }
    drop(wake);
    assert_eq!(forwarder.join().unwrap(), Vec::from_iter(0..rows));
    drop(look);
    assert_eq!(page.join().unwrap(), (rows / 5, u64::from(rows)));
}

/// Asks again if a reader had to wait too long for others, as it may.
fn answer<T>(ask: impl Fn() -> Result<T, Error>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match ask() {
            Err(error) if error.is_timeout() && Instant::now() < deadline => thread::yield_now(),
            answer => return answer.unwrap(),
        }
    }
}

#[test]
fn in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    check(open(&directory.path().join("journal")), 1500);
}

#[test]
fn in_memory() {
    check(Journal::in_memory(Retention::default()).unwrap(), 1500);
}

#[test]
fn outbox_and_reader_may_outlive_the_journal() {
    let mut journal = Journal::in_memory(Retention::default()).unwrap();
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    let (mut outbox, reader) = (journal.outbox().unwrap(), journal.reader().unwrap());
    drop(journal);
    assert_eq!(outbox.undelivered(9).unwrap().records.len(), 1);
    drop(outbox);
    assert_eq!(reader.count(BATTERY).unwrap(), 1);
}
