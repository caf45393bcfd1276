//! How many records a second the journal takes, and gives back, in a file on the disk;
//! and what reading a week of them costs.

#![allow(clippy::expect_used, reason = "a benchmark without its material is over")]

use std::hint::black_box;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use bluenova_benches::{START, records};
use bluenova_journal::{Journal, Reader, Retention};
use bluenova_record::{COLUMNS, Column, PackRecord, SqlType, Value};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};
use time::{Date, Duration, Month, Time, UtcDateTime};

/// Rows that wait for the forwarder: a night without PostgreSQL, for two batteries.
const BACKLOG: usize = 10_000;

/// Rows that the forwarder takes at once.
const BATCH: usize = 100;

/// Rows of one battery in seven days, at an interval of ten seconds.
const WEEK: usize = 60_480;

/// Rows of one battery in a day.
const DAY: usize = 8640;

fn append(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let mut group = c.benchmark_group("journal");
    for size in [1, BATCH] {
        let mut journal = open(&directory.path().join(format!("append-{size}")));
        let mut batch = records(size);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("append {size}"), |b| {
            b.iter(|| {
                move_on(&mut batch);
                journal.append(&batch).expect("there is space")
            });
        });
    }
    group.finish();
}

fn forward(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let mut journal = open(&directory.path().join("forward"));
    let mut outbox = journal.outbox().expect("it opens once more");
    let mut batch = records(BATCH);
    let mut append = |rows| {
        for _ in (0..rows).step_by(BATCH) {
            move_on(&mut batch);
            journal.append(&batch).expect("there is space");
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

/// What a page reads for its plots: a week of one battery, alone in the file or one of ten.
fn history(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let columns: Vec<_> = COLUMNS.iter().filter(|column| is_plotted(column)).collect();
    assert_eq!(columns.len() + 1, 20, "the time is one, too");
    let mut group = c.benchmark_group("journal");
    for batteries in [1, 10] {
        let path = directory.path().join(format!("history-{batteries}"));
        // It stays open, as it does in life.
        let (_journal, times) = fill(&path, batteries);
        let read = || assert_eq!(read_rows(&path, &times, &columns), WEEK);
        group.throughput(Throughput::Elements(WEEK as u64)).sample_size(20);
        group.bench_function(format!("history, 20 columns, {batteries} batteries"), |b| {
            b.iter(read);
        });
        group.bench_function(format!("SELECT * into records, {batteries} batteries"), |b| {
            b.iter(|| assert_eq!(select_all(&path, &times).len(), WEEK));
        });
        group.throughput(Throughput::Elements(1)).sample_size(100);
        group.bench_function(format!("open a reader, {batteries} batteries"), |b| {
            b.iter(|| Reader::open(&path).expect("it's there"));
        });
        group.bench_function(format!("open, latest, set aside, {batteries} batteries"), |b| {
            b.iter(|| {
                let reader = Reader::open(&path).expect("it's there");
                (reader.latest().expect("readable"), reader.set_aside().expect("readable"))
            });
        });
    }
    group.finish();
}

/// A day of one battery, alone in the file or one of so many as a fleet has.
fn history_of_a_fleet(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let columns: Vec<_> = COLUMNS.iter().filter(|column| is_plotted(column)).collect();
    let mut group = c.benchmark_group("journal");
    for batteries in [1, 50, 200] {
        let path = directory.path().join(format!("fleet-{batteries}"));
        let (_journal, times) = fill_rows(&path, batteries, DAY);
        let read = || assert_eq!(read_rows(&path, &times, &columns), DAY);
        group.throughput(Throughput::Elements(DAY as u64)).sample_size(20);
        group.bench_function(format!("a day of 1 of {batteries} batteries"), |b| b.iter(read));
    }
    group.finish();
}

/// Reads the rows of a battery, and counts them.
fn read_rows(path: &Path, times: &Range<UtcDateTime>, columns: &[&Column]) -> usize {
    let reader = Reader::open(path).expect("it's there");
    let mut rows = 0;
    let each = |time, values: &[Option<Value<'_>>]| {
        black_box((time, values));
        rows += 1;
        ControlFlow::Continue(())
    };
    reader.history(0, times.clone(), columns, each).expect("readable");
    rows
}

fn is_plotted(column: &Column) -> bool {
    let is_voltage_of_cell = column.name.starts_with("cell_") && column.name.ends_with("_v");
    is_voltage_of_cell || ["v_pack", "i_pack", "soc"].contains(&column.name)
}

/// A week of so many batteries, whose rows lie between each other, and the times of it.
fn fill(path: &Path, batteries: u32) -> (Journal, Range<UtcDateTime>) {
    fill_rows(path, batteries, WEEK)
}

fn fill_rows(path: &Path, batteries: u32, rows: usize) -> (Journal, Range<UtcDateTime>) {
    let mut journal = open(path);
    let mut time = START;
    let patterns = records(1000);
    for n in 0..rows / 60 {
        let mut batch = vec![];
        for i in 0..60 {
            let pattern = &patterns[(60 * n + i) % patterns.len()];
            batch.extend((0..batteries).map(|mcu_id| PackRecord {
                insert_time_utc: time,
                mcu_id,
                ..pattern.clone()
            }));
            time += 10 * Duration::SECOND;
        }
        journal.append(&batch).expect("there is space");
    }
    (journal, START..time)
}

/// What anybody would write who has the file and no [`Reader`].
fn select_all(path: &Path, times: &Range<UtcDateTime>) -> Vec<PackRecord> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it's there");
    let mut select = connection
        .prepare(
            "SELECT * FROM battery_pack
             WHERE insert_time_utc >= ? AND insert_time_utc < ? AND mcu_id = ?
             ORDER BY insert_time_utc",
        )
        .expect("that is SQL");
    let [start, end] = [times.start, times.end].map(|time| {
        let (date, clock) = (time.date(), time.time());
        let (hour, minute, second) = clock.as_hms();
        format!("{date} {hour:02}:{minute:02}:{second:02}")
    });
    let rows = select.query_map((start, end, 0), record_of).expect("readable");
    rows.collect::<Result<_, _>>().expect("readable")
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<PackRecord> {
    let mut record = PackRecord::new(START, 0);
    for (column, i) in COLUMNS.iter().zip(1..) {
        let value = match (column.sql, row.get_ref(i)?) {
            (SqlType::Timestamp, ValueRef::Text(text)) => Some(Value::Timestamp(time_of(text))),
            (SqlType::BigInt, ValueRef::Integer(number)) => Some(Value::BigInt(number)),
            (SqlType::SmallInt, ValueRef::Integer(number)) => Some(Value::SmallInt(number as i16)),
            (_, ValueRef::Real(number)) => Some(Value::Real(number as f32)),
            (_, text @ ValueRef::Text(_)) => Some(Value::Text(text.as_str()?)),
            _ => None,
        };
        column.set(&mut record, value).expect("it is from that column");
    }
    Ok(record)
}

fn time_of(text: &[u8]) -> UtcDateTime {
    let text = str::from_utf8(text).expect("ASCII");
    let part = |range: Range<usize>| text[range].parse::<u8>().expect("a number");
    let month = Month::try_from(part(5..7)).expect("a month");
    let year = text[..4].parse().expect("a year");
    let date = Date::from_calendar_date(year, month, part(8..10)).expect("a date");
    let time = Time::from_hms(part(11..13), part(14..16), part(17..19)).expect("a time");
    UtcDateTime::new(date, time)
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

criterion_group!(benches, append, forward, history, history_of_a_fleet);
criterion_main!(benches);
