//! How soon the rows of a fleet are in PostgreSQL, and what that costs.

use std::{
    fmt,
    net::SocketAddr,
    path::Path,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use bluenova_record::TABLE;
use bluenova_test_support::{Answer, Cluster, Mode, get, wait_until};
use postgres::Client;
use tempfile::TempDir;
use time::{OffsetDateTime, PrimitiveDateTime, UtcDateTime};

use crate::{
    consoles::Consoles,
    program::{INTERVAL, Listener, cpu, cpu_with_children},
};

/// Intervals that are measured: with and without somebody who looks at the page.
const MEASURED: u64 = 4;

/// Intervals in which the server is away.
const AWAY: u64 = 3;

/// Time for anything to happen.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// How often the rows of the outage are copied for comparison.
const COPIES: usize = 5;

/// Batteries, the listeners that record them, and the server that all rows go to.
struct Fleet {
    consoles: Consoles,
    listeners: Vec<Listener>,
    pages: Vec<SocketAddr>,
    size: usize,
    cluster: Cluster,
    directory: TempDir,
}

/// Lets some listeners record as many batteries each into one table.
pub(crate) fn delivery(program: &Path, listeners: usize, batteries: usize) {
    println!("{listeners} x {batteries} batteries, a row of each every {INTERVAL} s");
    let mut fleet = Fleet::start(program, listeners, batteries);
    println!("  alone: {}", fleet.measure(|_| vec![]));
    println!("  looked at: {}", fleet.measure(look_at));

    fleet.cluster.stop(Mode::Fast);
    let away = interval_end(1);
    sleep_until(interval_end(AWAY) + Duration::from_millis(2500));
    fleet.cluster.start_again();
    // Before any other question, for those count, too.
    println!("  {}", rows_read(&mut fleet.client()));
    let back = UtcDateTime::now();
    let rate = fleet.catch_up(away, back);
    let copied = fleet.copy(away, back);
    println!(
        "  after an outage of {AWAY} intervals: {rate:.0} rows/s; binary \\copy of the same rows: \
         {copied:.0} rows/s; reached {:.2} of it",
        rate / copied
    );
    println!("  {}", bytes_stored(&mut fleet.client()));
}

impl Fleet {
    fn start(program: &Path, listeners: usize, batteries: usize) -> Self {
        let cluster = Cluster::start_with(&[
            ("fsync", "on"),
            ("shared_buffers", "128MB"),
            ("track_commit_timestamp", "on"),
        ]);
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let consoles = Consoles::start();
        let start = |n: usize| {
            let journal = directory.path().join(format!("journal-{n}"));
            let options = [
                ["-d".to_owned(), cluster.url("postgres")],
                ["--journal".to_owned(), journal.display().to_string()],
                ["--http".to_owned(), "127.0.0.1:0".to_owned()],
            ];
            let log = directory.path().join(format!("listener-{n}.log"));
            let batteries = consoles.batteries(n * batteries, batteries);
            Listener::start(program, &log, &batteries, options.as_flattened())
        };
        let listeners: Vec<_> = (0..listeners).map(start).collect();
        let size = listeners.len() * batteries;
        wait_until("all have connected", TIME_LIMIT, || consoles.connected() >= size as u64);
        let mut pages = vec![];
        wait_until("the pages are there", TIME_LIMIT, || {
            pages = listeners.iter().filter_map(page).collect();
            pages.len() == listeners.len()
        });
        Self { consoles, listeners, pages, size, cluster, directory }
    }

    fn client(&self) -> Client {
        self.cluster.client("postgres")
    }

    /// Measures some intervals, while `meanwhile` is done once a second.
    fn measure(&self, meanwhile: impl Fn(SocketAddr) -> Vec<Look>) -> Measured {
        // The first interval isn't whole.
        sleep_until(interval_end(2) - Duration::from_secs(1));
        let (start, since) = (UtcDateTime::now(), Instant::now());
        let before = self.cpu();
        self.consoles.late();
        let end = interval_end(MEASURED) + Duration::from_secs(INTERVAL - 2);
        let mut looks = vec![];
        while UtcDateTime::now() < end {
            looks.extend(self.pages.iter().flat_map(|page| meanwhile(*page)));
            thread::sleep(Duration::from_secs(1));
        }
        let seconds = since.elapsed().as_secs_f64();
        let after = self.cpu();
        let cpu = std::array::from_fn(|n| (after[n] - before[n]).as_secs_f64() / seconds);
        Measured {
            intervals: intervals(&mut self.client(), [start, end], self.size),
            peak_kib: self.listeners.iter().map(Listener::peak_kib).max().unwrap_or_default(),
            cpu,
            late: self.consoles.late(),
            looks,
        }
    }

    /// CPU time of the listeners, of PostgreSQL, and of the simulated batteries.
    fn cpu(&self) -> [Duration; 3] {
        let server = self.cluster.postmaster_pid().map(cpu_with_children).unwrap_or_default();
        let batteries = cpu(&format!("/proc/{}/stat", process::id()));
        [self.listeners.iter().map(Listener::cpu).sum(), server, batteries]
    }

    /// Rows per second that were delivered of those between two times, from the first commit of
    /// them to the last one.
    fn catch_up(&self, start: UtcDateTime, end: UtcDateTime) -> f64 {
        let mut client = self.client();
        let expected = self.size as i64 * AWAY as i64;
        let count = format!("SELECT count(*) FROM {TABLE} WHERE insert_time_utc BETWEEN $1 AND $2");
        let range = [timestamp(start), timestamp(end)];
        wait_until("the rows of the outage are delivered", TIME_LIMIT, || {
            thread::sleep(Duration::from_secs(1));
            let row = client.query_one(&count, &[&range[0], &range[1]]).expect("it is ours");
            row.get::<_, i64>(0) >= expected
        });
        let commits = format!(
            "SELECT count(*), extract(epoch FROM max(at) - min(at))::FLOAT8, \
             count(*) FILTER (WHERE at = first) \
             FROM (SELECT at, min(at) OVER () AS first FROM \
                 (SELECT pg_xact_commit_timestamp(xmin) AS at FROM {TABLE} \
                  WHERE insert_time_utc BETWEEN $1 AND $2) AS commits) AS commits"
        );
        let row = client.query_one(&commits, &[&range[0], &range[1]]).expect("it is ours");
        let (rows, seconds, of_first): (i64, f64, i64) = (row.get(0), row.get(1), row.get(2));
        (rows - of_first) as f64 / seconds
    }

    /// Rows per second of `psql`'s binary `\copy` of the rows between two times into an empty table
    /// with the same indexes; by its own clock, median.
    fn copy(&self, start: UtcDateTime, end: UtcDateTime) -> f64 {
        let file = self.directory.path().join("rows");
        let (file, [start, end]) = (file.display(), [start, end].map(timestamp));
        let rows =
            format!("SELECT * FROM {TABLE} WHERE insert_time_utc BETWEEN '{start}' AND '{end}'");
        let copy = format!("\\copy copied FROM '{file}' (FORMAT binary)");
        let mut psql = Command::new("psql");
        psql.env("LC_ALL", "C").args(["--no-psqlrc", "--set=ON_ERROR_STOP=1"]);
        psql.args(["-c", &format!("CREATE TABLE copied (LIKE {TABLE} INCLUDING ALL)")]);
        psql.args(["-c", &format!("\\copy ({rows}) TO '{file}' (FORMAT binary)")]);
        psql.args(["-c", "CHECKPOINT", "-c", "\\timing on"]);
        for _ in 0..COPIES {
            psql.args(["-c", "TRUNCATE copied", "-c", &copy]);
        }
        let output = psql.arg(self.cluster.url("postgres")).output().expect("there is psql");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut lines = said.lines().skip_while(|line| *line != "Timing is on.");
        let mut rates = vec![];
        while let Some(line) = lines.next() {
            let rows = line.strip_prefix("COPY ").and_then(|rows| rows.parse::<f64>().ok());
            if let Some(rows) = rows {
                let time = lines.next().and_then(|line| line.strip_prefix("Time: "));
                let time = time.and_then(|time| time.split(' ').next()?.parse::<f64>().ok());
                rates.push(rows / time.expect("timing is on") * 1e3);
            }
        }
        rates.sort_by(f64::total_cmp);
        rates[COPIES / 2]
    }
}

struct Measured {
    /// Of each interval, the time from its end to the commit of its last row.
    intervals: Vec<Option<f64>>,
    peak_kib: u64,
    /// Parts of a processor: listeners, PostgreSQL, batteries.
    cpu: [f64; 3],
    late: Duration,
    looks: Vec<Look>,
}

/// An answer of the page.
struct Look {
    target: &'static str,
    bytes: usize,
    seconds: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { intervals, peak_kib, cpu: [listeners, server, batteries], late, looks } = self;
        write!(f, "intervals complete after")?;
        for seconds in intervals {
            match seconds {
                Some(seconds) => write!(f, " {seconds:.2}")?,
                None => write!(f, " (not complete)")?,
            }
        }
        write!(
            f,
            " s; peak {peak_kib} KiB; processors: listeners {listeners:.2}, PostgreSQL \
             {server:.2}, batteries {batteries:.2}; lines late by {late:?} at most"
        )?;
        for target in TARGETS {
            let of_it = || looks.iter().filter(|look| look.target == target);
            if let Some(bytes) = of_it().map(|look| look.bytes).max() {
                let seconds = of_it().map(|look| look.seconds).fold(0.0, f64::max);
                write!(f, "; {target} {bytes} bytes in {seconds:.2} s at most")?;
            }
        }
        Ok(())
    }
}

const TARGETS: [&str; 3] = ["/api/batteries", "/metrics", "/healthz"];

/// Asks for all that a browser and a scraper ask for.
fn look_at(page: SocketAddr) -> Vec<Look> {
    let look = |target| {
        let started = Instant::now();
        let Answer { status, body, .. } = get(page, target, TIME_LIMIT);
        assert_eq!(status, 200, "{body}");
        Look { target, bytes: body.len(), seconds: started.elapsed().as_secs_f64() }
    };
    TARGETS.map(look).into()
}

/// Where the listener's page is, as soon as the log has it.
fn page(listener: &Listener) -> Option<SocketAddr> {
    let log = listener.log();
    let (_, rest) = log.split_once("page at http://")?;
    let (address, _) = rest.split_once('\n')?;
    address.trim_end_matches('/').parse().ok()
}

/// Time from the end of each interval between two times to the commit of its last row, in seconds;
/// `None` where rows are missing.
fn intervals(client: &mut Client, times: [UtcDateTime; 2], size: usize) -> Vec<Option<f64>> {
    let sql = format!(
        "SELECT count(*), count(DISTINCT mcu_id), extract(epoch FROM max(
             pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC' - insert_time_utc))::FLOAT8
         FROM {TABLE} WHERE insert_time_utc BETWEEN $1 AND $2
         GROUP BY insert_time_utc ORDER BY insert_time_utc"
    );
    let [start, end] = times.map(timestamp);
    let rows = client.query(&sql, &[&start, &end]).expect("it is ours");
    let delay = |row: &postgres::Row| {
        let (rows, batteries): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!(rows, batteries, "rows are doubled");
        (rows == size as i64).then(|| row.get(2))
    };
    let mut delays: Vec<_> = rows.iter().map(delay).collect();
    delays.resize(MEASURED as usize, None);
    delays
}

/// What the server has read for the rows that it has.
fn rows_read(client: &mut Client) -> String {
    let sql = format!(
        "SELECT n_tup_ins, coalesce(seq_tup_read, 0)::FLOAT8, coalesce(idx_tup_fetch, 0)::FLOAT8,
             (SELECT sum(idx_tup_read)::FLOAT8 FROM pg_stat_user_indexes WHERE relname = '{TABLE}')
         FROM pg_stat_user_tables WHERE relname = '{TABLE}'"
    );
    let row = client.query_one(&sql, &[]).expect("there is the table");
    let rows: i64 = row.get(0);
    let per_row = |column| row.get::<_, f64>(column) / rows as f64;
    format!(
        "read per row inserted: {:.2} rows by scans of the table, {:.2} by an index; {:.2} entries \
         of the index",
        per_row(1),
        per_row(2),
        per_row(3)
    )
}

/// What a row takes on the server's disk.
fn bytes_stored(client: &mut Client) -> String {
    let sql = format!(
        "SELECT (pg_table_size('{TABLE}') / count(*))::BIGINT,
             (pg_indexes_size('{TABLE}') / count(*))::BIGINT FROM {TABLE}"
    );
    let row = client.query_one(&sql, &[]).expect("it is ours");
    let (table, index): (i64, i64) = (row.get(0), row.get(1));
    format!("stored per row: {table} bytes in the table, {index} in its index")
}

/// The end of an interval: 1 is the one under way.
fn interval_end(number: u64) -> UtcDateTime {
    let seconds = UtcDateTime::now().unix_timestamp().cast_unsigned();
    let end = (seconds / INTERVAL + number) * INTERVAL;
    UtcDateTime::from_unix_timestamp(end.cast_signed()).expect("it is soon")
}

fn sleep_until(time: UtcDateTime) {
    let left = Duration::try_from(time - UtcDateTime::now());
    thread::sleep(left.unwrap_or_default());
}

fn timestamp(time: UtcDateTime) -> PrimitiveDateTime {
    let time = OffsetDateTime::from(time);
    PrimitiveDateTime::new(time.date(), time.time())
}
