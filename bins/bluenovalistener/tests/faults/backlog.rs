//! Scenario 16: a week of rows that wait is delivered in order, fast, and with bounded memory.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bluenova_journal::{Journal, Retention};
use bluenova_record::PackRecord;
use bluenova_test_support::{sample_row, wait_until};
use nix::sys::signal::Signal;
use postgres::Client;
use time::UtcDateTime;

use crate::{
    oracle::RECOVERY,
    process::Process,
    rounds,
    support::{Home, Listener, named, obedient_battery, shared_cluster},
};

pub(crate) const MCU_ID: u32 = 0xBAC1;

/// What the program may take at most, however much there is to deliver.
const MEMORY_KIB: u64 = 48 << 10;

#[test]
fn s16_a_week_of_rows_is_delivered_in_order_with_bounded_memory() {
    // Seven days of rows at ten seconds.
    let rows = u32::try_from(rounds(5_000, 60_480)).unwrap();
    let cluster = shared_cluster();
    cluster.create_database("backlog");
    let mut client = cluster.client("backlog");
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    client.batch_execute("ALTER TABLE battery_pack ADD arrival bigserial").unwrap();

    let home = Home::new();
    let journal = home.path("journal.sqlite");
    let start = UtcDateTime::now().replace_nanosecond(0).unwrap() - time::Duration::days(7);
    fill(&journal, (0..rows).map(|n| row(start, n)));
    let server = obedient_battery(1);
    let (at, url) = (named("attic", server.local_addr()), cluster.url("backlog"));
    let journal = journal.display().to_string();
    let args = ["-b", &at, "-d", &url, "-i", "1", "--journal", &journal];

    // Killed on the way, so that a part of it comes a second time.
    let mut took = Duration::ZERO;
    let listener = home.listen(&args);
    took += until_arrived(&mut client, rows / 3);
    let mut memory = Process(listener.pid()).peak_memory();
    listener.end(Signal::SIGKILL);
    let listener: Listener = home.listen(&args);
    took += until_arrived(&mut client, rows);
    memory = memory.max(Process(listener.pid()).peak_memory());
    listener.stop();

    arrived_in_order(&mut client, start, rows);
    println!(
        "backlog: {rows} rows in {took:.1?}, {:.0} a second; at most {memory} KiB",
        f64::from(rows) / took.as_secs_f64(),
    );
    assert!(memory < MEMORY_KIB, "{memory} KiB");
}

fn fill(journal: &Path, rows: impl Iterator<Item = PackRecord>) {
    let mut journal = Journal::open(journal, Retention::default()).unwrap();
    let rows: Vec<PackRecord> = rows.collect();
    for rows in rows.chunks(1000) {
        journal.append(rows).unwrap();
    }
}

/// A row that differs from all others; the state of health is its number.
pub(crate) fn row(start: UtcDateTime, n: u32) -> PackRecord {
    let (small, volts) = (i16::try_from(n % 100).unwrap(), 3.0 + f32::from(n as u8) / 512.0);
    PackRecord {
        health: Some(n as f32),
        cell_v: [Some(volts); 16],
        v_pack: Some(volts),
        i_pack: Some(-volts),
        temp: Some(small),
        soc: Some(small),
        ..sample_row(start + time::Duration::seconds(10) * n, MCU_ID)
    }
}

/// Waits until there are so many rows; returns how long that took.
fn until_arrived(client: &mut Client, rows: u32) -> Duration {
    let started = Instant::now();
    wait_until(&format!("{rows} rows have arrived"), RECOVERY, || {
        let count = client.query_one("SELECT count(*) FROM battery_pack", &[]);
        count.unwrap().get::<_, i64>(0) >= rows.into()
    });
    started.elapsed()
}

/// Each row is there once with its values, and came after those before it.
fn arrived_in_order(client: &mut Client, start: UtcDateTime, rows: u32) {
    let found = client
        .query(
            "SELECT extract(epoch FROM insert_time_utc)::bigint, mcu_id, health, soc, v_pack
             FROM battery_pack ORDER BY arrival",
            &[],
        )
        .unwrap();
    assert_eq!(found.len(), usize::try_from(rows).unwrap());
    for (found, n) in found.iter().zip(0..) {
        let expected = row(start, n);
        assert_eq!(found.get::<_, Option<f32>>(2), expected.health, "out of order");
        assert_eq!(found.get::<_, i64>(0), expected.insert_time_utc.unix_timestamp());
        assert_eq!(found.get::<_, i64>(1), i64::from(MCU_ID));
        assert_eq!(found.get::<_, Option<i16>>(3), expected.soc);
        assert_eq!(found.get::<_, Option<f32>>(4), expected.v_pack);
    }
}
