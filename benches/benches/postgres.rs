//! Cost of a backlog and of a single row in tables of several sizes, beside `psql`'s binary `\copy`
//! of equal rows into the same table, which looks for no duplicates.
//!
//! ```text
//! cargo bench -p bluenova-benches --bench postgres
//! cargo bench -p bluenova-benches --bench postgres -- 0 1000000 10000000
//! ```
//!
//! The server is a throwaway one with PostgreSQL's default settings, `fsync` among them. Ten
//! million rows take some 5 GB while it runs.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark without its material is over")]

use std::{env, fmt::Write, fs, process::Command, sync::Arc, time::Instant};

use bluenova_benches::records;
use bluenova_postgres::{BATCH, Deadlines, Settings, Sink, schema};
use bluenova_record::{COLUMNS, PackRecord, TABLE, Value};
use bluenova_test_support::Cluster;
use postgres::Client;
use time::{Duration, UtcDateTime, macros::utc_datetime};

/// Rows in the backlog.
const BACKLOG: usize = 20_000;

/// Rows that are delivered alone, in each round.
const SINGLES: usize = 50;

/// Turns of each way. The machine isn't equally fast all the time.
const ROUNDS: usize = 21;

/// Rows that make some 200 MB of log.
const WARM_UP_ROWS: usize = 400_000;

/// A way for rows into the table.
#[derive(Clone, Copy)]
enum Way {
    /// The sink, in batches.
    Sink,
    /// The backlog by one `\copy`, in one transaction.
    Copy,
    /// The backlog by as many `\copy`s as the sink has batches, in as many transactions.
    CopyBatches,
}

const WAYS: [(Way, &str); 3] =
    [(Way::Sink, "sink"), (Way::Copy, "\\copy"), (Way::CopyBatches, "\\copy by batches")];

fn main() {
    // Cargo adds `--bench`.
    let args = env::args().skip(1).filter(|arg| arg != "--bench");
    let sizes: Vec<usize> = args.map(|n| n.parse().expect("a number of rows")).collect();
    let cluster = Cluster::start_with(&[
        ("fsync", "on"),
        ("shared_buffers", "128MB"),
        ("autovacuum", "off"),
        ("min_wal_size", "1GB"),
    ]);
    // A server that has run for a while recycles its log files instead of creating new ones.
    Table::new(&cluster, WARM_UP_ROWS).drop(&cluster);
    check_that_the_ways_are_equal(&cluster);
    let sizes = if sizes.is_empty() { vec![0, 1_000_000] } else { sizes };
    let mut tables: Vec<Table> = sizes.iter().map(|&rows| Table::new(&cluster, rows)).collect();
    let results = measure(&mut tables);
    println!("Medians of {ROUNDS} rounds; quartiles in brackets");
    for (rows, results) in sizes.iter().zip(results) {
        println!("{rows} rows in the table");
        print(&results);
    }
}

/// Checks that all ways insert the same rows; otherwise they could not be compared.
fn check_that_the_ways_are_equal(cluster: &Cluster) {
    let mut table = Table::new(cluster, 0);
    let batch = records(BATCH);
    table.deliver(&batch);
    let aside = format!("CREATE TEMP TABLE delivered AS TABLE {TABLE}; TRUNCATE {TABLE}");
    table.client.batch_execute(&aside).expect("it's ours");
    table.copy(&[&batch]);
    let sql = format!("SELECT count(*) FROM (TABLE delivered UNION TABLE {TABLE}) AS row");
    let rows: i64 = table.client.query_one(&sql, &[]).expect("the server is ours").get(0);
    assert_eq!(rows, BATCH as i64, "the ways don't insert the same rows");
    table.drop(cluster);
}

/// Lets all ways into all tables take turns.
fn measure(tables: &mut [Table]) -> Vec<[Results; WAYS.len()]> {
    let mut results: Vec<_> = tables.iter().map(|_| WAYS.map(|_| Results::default())).collect();
    for round in 0..ROUNDS {
        for (table, results) in tables.iter_mut().zip(&mut results) {
            for turn in 0..WAYS.len() {
                let way = (round + turn) % WAYS.len();
                table.measure(WAYS[way].0, &mut results[way]);
            }
        }
    }
    results
}

fn print(results: &[Results]) {
    let ours = &results[0].rates;
    for ((way, name), Results { rates, singles }) in WAYS.iter().zip(results) {
        let rate = quantile(rates, 0.5);
        let (single, slow) = (quantile(singles, 0.5) * 1e3, quantile(singles, 0.9) * 1e3);
        print!("  {name:16} {rate:7.0} rows/s, one row {single:.2} ms (p90 {slow:.2})");
        if !matches!(way, Way::Sink) {
            let parts: Vec<f64> = ours.iter().zip(rates).map(|(ours, rate)| ours / rate).collect();
            let [low, part, high] = [0.25, 0.5, 0.75].map(|at| quantile(&parts, at));
            print!("; the sink reaches {part:.2} of it ({low:.2} to {high:.2})");
        }
        println!();
    }
}

/// Results of one way.
#[derive(Default)]
struct Results {
    /// Rows a second, in each round.
    rates: Vec<f64>,
    /// Seconds for each row that was delivered alone.
    singles: Vec<f64>,
}

/// A table in a database of its own.
struct Table {
    database: String,
    is_empty: bool,
    sink: Sink,
    client: Client,
    url: String,
    /// Time of the next row.
    now: UtcDateTime,
}

impl Table {
    /// A table with `rows` rows, one a second, all columns in use.
    fn new(cluster: &Cluster, rows: usize) -> Self {
        let database = format!("rows_{rows}");
        cluster.create_database(&database);
        let url = cluster.url(&database);
        let settings = Settings::resolve(&url, None, |_| None).expect("a URL");
        let mut table = Self {
            is_empty: rows == 0,
            sink: Sink::new(settings, Deadlines::default()),
            client: cluster.client(&database),
            url,
            database,
            now: utc_datetime!(2000-01-01 0:00),
        };
        table.client.batch_execute(&schema()).expect("the database is new");
        table.load(rows);
        table
    }

    /// Loads some rows of a simulated battery over and over.
    fn load(&mut self, rows: usize) {
        let few = self.new_records(BATCH.min(rows));
        if !few.is_empty() {
            self.copy(&[&few]);
            let times = rows / few.len() - 1;
            let columns = COLUMNS.iter().filter(|column| column.name != "insert_time_utc");
            let names = columns.map(|column| column.name).collect::<Vec<_>>().join(", ");
            let step = few.len();
            // `OFFSET 0` keeps the rows in the order of time.
            let sql = format!(
                "CREATE TEMP TABLE few AS TABLE {TABLE};
                 INSERT INTO {TABLE} (insert_time_utc, {names})
                 SELECT insert_time_utc + n * {step} * interval '1 second', {names}
                 FROM generate_series(1, {times}) AS n
                 CROSS JOIN LATERAL (SELECT * FROM few WHERE n > 0 OFFSET 0) AS few"
            );
            self.client.batch_execute(&sql).expect("there is room");
            self.now += Duration::seconds((times * step) as i64);
        }
        self.client.batch_execute("VACUUM ANALYZE").expect("we may");
    }

    fn drop(self, cluster: &Cluster) {
        let Self { database, sink, client, .. } = self;
        drop((sink, client));
        let sql = format!("DROP DATABASE {database} WITH (FORCE)");
        cluster.client("postgres").batch_execute(&sql).expect("it's ours");
    }

    /// Records with times that are not in the table yet.
    fn new_records(&mut self, count: usize) -> Vec<PackRecord> {
        let mut records = records(count);
        for record in &mut records {
            record.insert_time_utc = self.now;
            self.now += Duration::SECOND;
        }
        records
    }

    /// One turn.
    fn measure(&mut self, way: Way, results: &mut Results) {
        if self.is_empty {
            self.client.batch_execute(&format!("TRUNCATE {TABLE}")).expect("it's ours");
        }
        self.client.batch_execute("CHECKPOINT").expect("we may");
        let records = self.new_records(1 + SINGLES + BACKLOG);
        let (singles, backlog) = records.split_at(1 + SINGLES);
        let singles = singles.chunks(1);
        let times: Vec<f64> = match way {
            Way::Sink => {
                singles.chain(backlog.chunks(BATCH)).map(|batch| self.deliver(batch)).collect()
            }
            Way::Copy => self.copy(&singles.chain([backlog]).collect::<Vec<_>>()),
            Way::CopyBatches => {
                self.copy(&singles.chain(backlog.chunks(BATCH)).collect::<Vec<_>>())
            }
        };
        // The first one warms up the caches, and the plan after a TRUNCATE.
        let (singles, backlog) = times.split_at(1 + SINGLES);
        results.singles.extend(&singles[1..]);
        results.rates.push(BACKLOG as f64 / backlog.iter().sum::<f64>());
    }

    /// Seconds that the sink takes for a batch, in one transaction.
    fn deliver(&mut self, batch: &[PackRecord]) -> f64 {
        let started = Instant::now();
        let rows: Arc<[PackRecord]> = batch.into();
        let delivered = self.sink.deliver(&rows, 0).expect("the server is ours");
        let elapsed = started.elapsed();
        assert_eq!(delivered.added, batch.len() as u64);
        elapsed.as_secs_f64()
    }

    /// Seconds that `psql` takes to copy each batch from a file, by its own clock: neither its
    /// start nor its connecting counts.
    fn copy(&self, batches: &[&[PackRecord]]) -> Vec<f64> {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
        let names = names.join(", ");
        let mut script = "\\timing on\n".to_owned();
        for (number, batch) in batches.iter().enumerate() {
            let file = directory.path().join(number.to_string());
            fs::write(&file, encode(batch)).expect("there is room");
            let file = file.display();
            let _ = writeln!(script, "\\copy {TABLE} ({names}) FROM '{file}' (FORMAT binary)");
        }
        let file = directory.path().join("script");
        fs::write(&file, script).expect("there is room");

        let mut psql = Command::new("psql");
        psql.env("LC_ALL", "C").args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file"]);
        let output = psql.arg(file).arg(&self.url).output().expect("there is psql");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let copied: f64 = numbers(&said, "COPY ").sum();
        assert_eq!(copied, batches.concat().len() as f64);
        numbers(&said, "Time: ").map(|milliseconds| milliseconds / 1e3).collect()
    }
}

/// The numbers in the lines that begin with `label`.
fn numbers(text: &str, label: &str) -> impl Iterator<Item = f64> {
    let rest = text.lines().filter_map(move |line| line.strip_prefix(label));
    rest.map(|rest| rest.split(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
}

/// The value below which that part of all values lies.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
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
