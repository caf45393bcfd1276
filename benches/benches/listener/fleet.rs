use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bluenova_benches::START;
use bluenova_simulator::{Battery, Pace, Profile, Server};
use rusqlite::Connection;

use crate::program::{INTERVAL, Listener};

/// How long a fleet is measured, once all have connected.
const MEASURED: Duration = Duration::from_secs(40);

/// Batteries that one thread of the simulator serves.
const PER_SERVER: usize = 1250;

/// Memory and CPU of one process that listens to `size` batteries, each at the real rate.
pub(crate) fn fleet(listener: &Path, size: usize) {
    let (servers, addresses) = batteries(size);
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let database = directory.path().join("bluenova.db");
    let listener = Listener::to_sqlite(listener, &database, &addresses);
    let deadline = Instant::now() + Duration::from_secs(120);
    while owners(&database) < size {
        assert!(Instant::now() < deadline, "{} of {size} only", owners(&database));
        thread::sleep(Duration::from_millis(500));
    }
    let (cpu, written, rows_before) = (listener.cpu(), listener.written(), rows(&database));
    let start = Instant::now();
    thread::sleep(MEASURED);
    let share = (listener.cpu() - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let rows = rows(&database) - rows_before;
    let written = (listener.written() - written) as f64 / rows as f64;
    let peak = listener.peak_kib();
    drop(listener);
    drop(servers);
    println!(
        "fleet of {size}: peak {peak} KiB, {:.1} s of CPU per battery and day, \
         {rows} rows in {MEASURED:?}, {written:.0} bytes written per row, {} intervals missing",
        share * 86_400.0 / size as f64,
        missing(&database)
    );
}

fn batteries(size: usize) -> (Vec<Server>, Vec<String>) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let pace = Pace::Free { speed: 1.0 };
    let battery = |seed| Battery::new(Profile::new(seed as u64, START));
    let (mut servers, mut addresses) = (vec![], vec![]);
    for n in 0..size {
        if n % PER_SERVER == 0 {
            let server = Server::bind(any, battery(n), pace).expect("loopback has a free port");
            addresses.push(server.local_addr().to_string());
            servers.push(server);
        } else if let Some(server) = servers.last_mut() {
            let control = server.add(any, battery(n), pace).expect("loopback has a free port");
            addresses.push(control.local_addr().to_string());
        }
    }
    (servers, addresses)
}

fn query(database: &Path, sql: &str) -> i64 {
    let answer = || -> rusqlite::Result<Option<i64>> {
        Connection::open(database)?.query_row(sql, (), |row| row.get(0))
    };
    // It may not be there yet.
    answer().ok().flatten().unwrap_or(0)
}

fn owners(database: &Path) -> usize {
    query(database, "SELECT count(DISTINCT mcu_id) FROM battery_pack") as usize
}

fn rows(database: &Path) -> i64 {
    query(database, "SELECT count(*) FROM battery_pack")
}

/// Rows that should stand between the first and the last one of a battery, and don't.
fn missing(database: &Path) -> i64 {
    let whole = format!("strftime('%s', insert_time_utc) / {INTERVAL}");
    query(
        database,
        &format!(
            "SELECT sum(last - first + 1 - rows) FROM
                 (SELECT max({whole}) AS last, min({whole}) AS first,
                         count(DISTINCT {whole}) AS rows
                  FROM battery_pack GROUP BY mcu_id)"
        ),
    )
}
