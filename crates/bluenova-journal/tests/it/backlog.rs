//! A week's backlog of one battery.

use bluenova_journal::Journal;
use bluenova_journal::Retention;

use crate::{BATTERY, nth, numbers};

const ROWS: u16 = 60_000;

#[test]
fn a_backlog_is_drained_in_order_a_batch_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal =
        Journal::open(&directory.path().join("journal"), Retention::default()).unwrap();
    for n in (0..ROWS).step_by(1000) {
        let thousand: Vec<_> = (n..n + 1000).map(|n| nth(BATTERY, n)).collect();
        journal.append(&thousand).unwrap();
    }
    let mut outbox = journal.outbox().unwrap();
    let mut next = 0;
    loop {
        assert_eq!(outbox.waiting().unwrap(), u64::from(ROWS - next));
        let batch = outbox.undelivered(1000).unwrap();
        if batch.records.is_empty() {
            break;
        }
        assert_eq!(batch.records.len(), 1000);
        assert_eq!(numbers(&batch.records), Vec::from_iter(next..next + 1000));
        outbox.delivered(batch.last).unwrap();
        next += 1000;
    }
    assert_eq!(next, ROWS);
}
