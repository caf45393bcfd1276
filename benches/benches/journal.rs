//! How many records a second the journal takes, and gives back, in a file on the disk.

#![allow(clippy::expect_used, reason = "a benchmark without its material is over")]

use std::path::Path;

use bluenova_benches::records;
use bluenova_journal::{Journal, Retention};
use bluenova_record::PackRecord;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use time::Duration;

/// Rows that wait for the forwarder: a night without PostgreSQL, for two batteries.
const BACKLOG: usize = 10_000;

/// Rows that the forwarder takes at once.
const BATCH: usize = 100;

fn append(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let mut group = c.benchmark_group("journal");
    for size in [1, BATCH] {
        let mut journal = open(&folder.path().join(format!("append-{size}")));
        let mut batch = records(size);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("append {size}"), |b| {
            b.iter(|| {
                move_on(&mut batch);
                journal.append(&batch).expect("there is room")
            });
        });
    }
    group.finish();
}

fn forward(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let mut journal = open(&folder.path().join("forward"));
    let mut outbox = journal.outbox().expect("it opens once more");
    let mut batch = records(BATCH);
    let mut append = |rows| {
        for _ in (0..rows).step_by(BATCH) {
            move_on(&mut batch);
            journal.append(&batch).expect("there is room");
        }
    };
    append(BACKLOG);
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(format!("forward {BATCH} of {BACKLOG}"), |b| {
        let refill = || append(BATCH);
        let take = |()| {
            let batch = outbox.undelivered(BATCH).expect("readable");
            assert_eq!(batch.records.len(), BATCH);
            outbox.delivered(batch.last).expect("writable");
        };
        b.iter_batched(refill, take, BatchSize::PerIteration);
    });
    group.finish();
}

fn open(path: &Path) -> Journal {
    Journal::open(path, Retention::FOREVER).expect("it's ours")
}

/// Gives the records the times that follow, so that each has one of its own, as in life.
fn move_on(records: &mut [PackRecord]) {
    let length = Duration::SECOND * records.len() as f64;
    for record in records {
        record.insert_time_utc += length;
    }
}

criterion_group!(benches, append, forward);
criterion_main!(benches);
