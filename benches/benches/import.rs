//! What importing old logs costs: the release binary itself, on a log of records into PostgreSQL,
//! beside `psql`'s `\copy` of the same rows; and on a log of console lines into an SQLite file.
//!
//! ```text
//! cargo bench -p bluenova-benches --bench import -- 365
//! ```
//!
//! The number is that of the days in the log of records, at a record every ten seconds. A year is a
//! log of 2.3 GB, and as much again for the table and what `\copy` reads.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark without its material is over")]

use std::{
    env,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    process::Command,
    time::Instant,
};

use bluenova_benches::{START, build_listener, console, records};
use bluenova_postgres::schema;
use bluenova_record::PackRecord;
use bluenova_test_support::Cluster;
use time::{Duration, UtcDateTime};

/// Turns of each way. The machine isn't equally fast all the time.
const ROUNDS: usize = 3;

/// Records that differ; the log repeats them at later times.
const DISTINCT: usize = 2000;

/// Seconds of console lines.
const CONSOLE_SECONDS: usize = 200_000;

fn main() {
    // Cargo adds `--bench`.
    let mut args = env::args().skip(1).filter(|arg| arg != "--bench");
    let days: usize = args.next().map_or(30, |days| days.parse().expect("a number of days"));
    let listener = build_listener();
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    of_records(&listener, directory.path(), days * 8640);
    of_console_lines(&listener, directory.path());
}

/// A log of records into PostgreSQL, and the same rows by `\copy`.
fn of_records(listener: &Path, directory: &Path, rows: usize) {
    let log = directory.join("records.log");
    write_records(&log, rows);
    let cluster = Cluster::start_with(&[
        ("fsync", "on"),
        ("shared_buffers", "128MB"),
        ("autovacuum", "off"),
        ("min_wal_size", "1GB"),
    ]);
    cluster.create_database("import");
    let mut client = cluster.client("import");
    client.batch_execute(&schema()).expect("the server is ours");
    let url = cluster.url("import");
    let csv = directory.join("rows.csv");
    let binary = directory.join("rows.bin");
    for round in 0..ROUNDS {
        client.batch_execute("TRUNCATE battery_pack").expect("the server is ours");
        let start = Instant::now();
        import(listener, directory, &["-d", &url, "import"], &log);
        let ours = rows as f64 / start.elapsed().as_secs_f64();
        let count = "SELECT count(*) FROM battery_pack";
        let count: i64 = client.query_one(count, &[]).expect("the server is ours").get(0);
        assert_eq!(count, rows as i64);
        if round == 0 {
            for (file, format) in [(&csv, "csv"), (&binary, "binary")] {
                psql(
                    &url,
                    &format!("\\copy battery_pack TO '{}' (FORMAT {format})", file.display()),
                );
            }
        }
        let by_copy = [(&csv, "csv"), (&binary, "binary")].map(|(file, format)| {
            client.batch_execute("TRUNCATE battery_pack").expect("the server is ours");
            let copy = format!("\\copy battery_pack FROM '{}' (FORMAT {format})", file.display());
            let start = Instant::now();
            psql(&url, &copy);
            rows as f64 / start.elapsed().as_secs_f64()
        });
        println!(
            "{rows} records into PostgreSQL: {ours:.0} rows/s; \\copy of CSV {:.0} rows/s, reached \
             {:.2}; binary \\copy {:.0} rows/s, reached {:.2}",
            by_copy[0],
            ours / by_copy[0],
            by_copy[1],
            ours / by_copy[1],
        );
    }
}

/// A log of console lines into an SQLite file.
fn of_console_lines(listener: &Path, directory: &Path) {
    let log = directory.join("console.log");
    write_console(&log);
    let megabytes = fs::metadata(&log).expect("it was written").len() as f64 / 1e6;
    for round in 0..ROUNDS {
        let database = format!("sqlite:{}", directory.join(format!("{round}.sqlite")).display());
        let start = Instant::now();
        import(listener, directory, &["-d", &database, "import", "--timezone", "UTC"], &log);
        let rate = megabytes / start.elapsed().as_secs_f64();
        println!("{megabytes:.0} MB of console lines into SQLite: {rate:.0} MB/s");
    }
}

fn import(listener: &Path, home: &Path, args: &[&str], log: &Path) {
    let mut command = Command::new(listener);
    let output = command.args(args).arg(log).env("HOME", home).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn psql(url: &str, command: &str) {
    let mut psql = Command::new("psql");
    psql.env("LC_ALL", "C").args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "-c"]);
    let output = psql.arg(command).arg(url).output().expect("there is psql");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn write_records(path: &Path, rows: usize) {
    let records = records(DISTINCT);
    let mut log = BufWriter::new(File::create(path).expect("there is room"));
    for n in 0..rows {
        let time = START + Duration::seconds(n as i64 * 10 + 1);
        write_record(&mut log, time, &records[n % DISTINCT]).expect("there is room");
    }
    log.flush().expect("there is room");
}

/// The four lines of the first listener.
fn write_record(log: &mut impl Write, time: UtcDateTime, row: &PackRecord) -> std::io::Result<()> {
    let stamp = stamp(time);
    let whole = |value: Option<i16>| value.unwrap_or(-1);
    writeln!(
        log,
        "{stamp}  == Write record: Time: {}, MCU ID {:08X}, NumUnit {}, MyRank {}, CellCount {}, \
         Vpack {}, Ipack {}, Temp {}, Vmin_cell {}, Vmax_cell {}, SOC {}, Health \
         {}, Errors '{}', State '{}', Breaker '{}', Charge '{}'",
        time.unix_timestamp(),
        row.mcu_id,
        whole(row.n_units),
        whole(row.unit_rank),
        whole(row.cell_count),
        real(row.v_pack, 3),
        real(row.i_pack, 1),
        whole(row.temp),
        real(row.v_cell_min, 3),
        real(row.v_cell_max, 3),
        whole(row.soc),
        real(row.health, 3),
        row.errors.as_deref().unwrap_or_default(),
        row.system_state.as_deref().unwrap_or_default(),
        row.breaker.as_deref().unwrap_or_default(),
        row.charge_state.as_deref().unwrap_or_default(),
    )?;
    write!(log, "{stamp}  -- ADCvp {}", real(row.adc_vp, 3))?;
    for (channel, voltage) in row.adc.iter().enumerate() {
        write!(log, ", ADC{channel} {}", real(*voltage, 3))?;
    }
    writeln!(
        log,
        ", Bad CRC {}, ParseFail {}, Bad Vcell {}, EnergyIn {}, EnergyOut {}",
        row.bad_crc,
        row.parse_fail,
        row.bad_vcell,
        real(row.energy_in, 3),
        real(row.energy_out, 3),
    )?;
    write!(log, "{stamp}  -- Volt:")?;
    for voltage in &row.cell_v {
        write!(log, " {}", real(*voltage, 3))?;
    }
    write!(log, "\n{stamp}  -- Temp: ")?;
    for temperature in &row.cell_t {
        write!(log, "{:<6}", whole(*temperature))?;
    }
    writeln!(log)
}

fn real(value: Option<f32>, decimals: usize) -> String {
    value.map_or_else(|| "nan".to_owned(), |value| format!("{value:.decimals$}"))
}

fn write_console(path: &Path) {
    let mut log = BufWriter::new(File::create(path).expect("there is room"));
    let text = console(DISTINCT);
    let lines: Vec<&str> = text.lines().collect();
    let per_second = lines.len() / DISTINCT;
    for second in 0..CONSOLE_SECONDS {
        let stamp = stamp(START + Duration::seconds(second as i64));
        for n in second * per_second..(second + 1) * per_second {
            let line = lines[n % lines.len()];
            writeln!(log, "{stamp} RX: {line}").expect("there is room");
        }
    }
    log.flush().expect("there is room");
}

/// As the first listener has it, without the blank behind it.
fn stamp(time: UtcDateTime) -> String {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.as_hms();
    let month = u8::from(month);
    format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}")
}
