//! What a batch costs, with few and with many rows in the table, beside a plain `COPY` of the same
//! rows, which looks for no duplicates.
//!
//! The server is one of our own, with PostgreSQL's usual settings, `fsync` among them.
//! `BLUENOVA_BENCH_ROWS` gives the row counts of the tables, "0,1000000" unless told otherwise.

#![allow(clippy::expect_used, reason = "a benchmark without its material is over")]

use std::{
    env,
    io::Write,
    time::{Duration, Instant},
};

use bluenova_benches::records;
use bluenova_postgres::{Settings, Sink};
use bluenova_record::{COLUMNS, PackRecord, TABLE, Value};
use bluenova_test_support::Cluster;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use postgres::Client;
use time::{UtcDateTime, macros::utc_datetime};

/// Rows that a batch has.
const BATCHES: [usize; 3] = [1, 100, 1000];

/// Rows that make some 200 MB of log.
const WARM_UP_ROWS: usize = 400_000;

fn batches(c: &mut Criterion) {
    let cluster = Cluster::start_with(&[
        ("fsync", "on"),
        ("shared_buffers", "128MB"),
        ("autovacuum", "off"),
        ("min_wal_size", "1GB"),
    ]);
    // A server that has run for a while has log files to use again, and need not make new ones.
    drop(Table::new(&cluster, WARM_UP_ROWS));
    let sizes = env::var("BLUENOVA_BENCH_ROWS").unwrap_or("0,1000000".to_owned());
    for size in sizes.split(',') {
        let rows: usize = size.trim().parse().expect("BLUENOVA_BENCH_ROWS has numbers");
        let mut table = Table::new(&cluster, rows);
        let mut group = c.benchmark_group(format!("postgres, {rows} rows"));
        group.sample_size(10).warm_up_time(Duration::from_millis(500));
        for size in BATCHES {
            group.throughput(Throughput::Elements(size as u64));
            let batch = records(size);
            group.bench_function(BenchmarkId::new("deliver", size), |b| {
                b.iter_custom(|times| table.measure(Way::Deliver, times, &batch));
            });
            group.bench_function(BenchmarkId::new("copy", size), |b| {
                b.iter_custom(|times| table.measure(Way::Copy, times, &batch));
            });
        }
        group.finish();
    }
}

struct Table {
    /// What it holds when a measurement begins.
    rows: usize,
    sink: Sink,
    client: Client,
    copy: String,
    /// When the next row is.
    now: UtcDateTime,
}

impl Table {
    fn new(cluster: &Cluster, rows: usize) -> Self {
        let name = format!("rows_{rows}");
        cluster.create_database(&name);
        let settings = Settings::resolve(&cluster.url(&name), None, |_| None);
        let sink = Sink::connect(&settings.expect("a URL")).expect("the server is ours");
        let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
        let copy = format!("COPY {TABLE} ({}) FROM STDIN BINARY", names.join(", "));
        let client = cluster.client(&name);
        let mut table = Self { rows, sink, client, copy, now: utc_datetime!(2000-01-01 0:00) };
        table.load();
        table
    }

    /// Fills the table: a row a second, all columns in use.
    fn load(&mut self) {
        if self.rows > 0 {
            let mut few = records(1000.min(self.rows));
            self.stamp(&mut few);
            self.put(Way::Copy, &few);
            let more = (self.rows / few.len()).saturating_sub(1);
            let columns = COLUMNS.iter().filter(|column| column.name != "insert_time_utc");
            let names = columns.map(|column| column.name).collect::<Vec<_>>().join(", ");
            let step = few.len();
            let sql = format!(
                "INSERT INTO {TABLE} (insert_time_utc, {names})
                 SELECT insert_time_utc + n * {step} * interval '1 second', {names}
                 FROM generate_series(1, {more}) n CROSS JOIN {TABLE}"
            );
            self.client.batch_execute(&sql).expect("there is room");
            self.now += Duration::from_secs((more * step) as u64);
        }
        for sql in ["VACUUM ANALYZE", "CHECKPOINT"] {
            self.client.batch_execute(sql).expect("we may");
        }
    }

    /// Gives each record a time that is not in the table yet.
    fn stamp(&mut self, records: &mut [PackRecord]) {
        for record in records {
            record.insert_time_utc = self.now;
            self.now += time::Duration::SECOND;
        }
    }

    /// How long it takes to put `batch` there so many times, with new times of day each.
    fn measure(&mut self, way: Way, times: u64, batch: &[PackRecord]) -> Duration {
        let mut batch = batch.to_vec();
        if self.rows == 0 {
            self.client.batch_execute(&format!("TRUNCATE {TABLE}")).expect("it's ours");
            // Because of that, the server makes its plans anew.
            self.stamp(&mut batch);
            self.put(way, &batch);
        }
        (0..times)
            .map(|_| {
                self.stamp(&mut batch);
                self.put(way, &batch)
            })
            .sum()
    }

    /// How long it takes to put `records` there.
    fn put(&mut self, way: Way, records: &[PackRecord]) -> Duration {
        let count = records.len() as u64;
        match way {
            Way::Deliver => {
                let started = Instant::now();
                let delivered = self.sink.deliver(records).expect("the server is ours");
                let elapsed = started.elapsed();
                assert_eq!(delivered.added, count);
                elapsed
            }
            Way::Copy => {
                // `psql` would read them from a file.
                let rows = encode(records);
                let started = Instant::now();
                let mut copy = self.client.copy_in(&self.copy).expect("the server is ours");
                copy.write_all(&rows).expect("the server reads");
                let copied = copy.finish().expect("the rows are in order");
                let elapsed = started.elapsed();
                assert_eq!(copied, count);
                elapsed
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Deliver,
    Copy,
}

/// Rows in the binary format of `COPY`.
fn encode(records: &[PackRecord]) -> Vec<u8> {
    let mut bytes = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for record in records {
        bytes.extend((COLUMNS.len() as i16).to_be_bytes());
        for column in &COLUMNS {
            match column.get(record) {
                None => bytes.extend((-1_i32).to_be_bytes()),
                Some(Value::Timestamp(time)) => {
                    let since = time - utc_datetime!(2000-01-01 0:00);
                    field(&mut bytes, &(since.whole_microseconds() as i64).to_be_bytes());
                }
                Some(Value::BigInt(number)) => field(&mut bytes, &number.to_be_bytes()),
                Some(Value::SmallInt(number)) => field(&mut bytes, &number.to_be_bytes()),
                Some(Value::Real(number)) => field(&mut bytes, &number.to_be_bytes()),
                Some(Value::Text(text)) => field(&mut bytes, text.as_bytes()),
            }
        }
    }
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

fn field(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend((value.len() as i32).to_be_bytes());
    bytes.extend(value);
}

criterion_group!(benches, batches);
criterion_main!(benches);
