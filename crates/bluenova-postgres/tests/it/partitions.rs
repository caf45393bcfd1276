//! A row without a partition waits on its own, if others are taken.

use bluenova_postgres::{Rejected, Retry};
use bluenova_record::PackRecord;

use crate::{
    Database, cluster, deliver, delivered, errors::check, narrowing::deliver_and_reject, record,
};

/// A table with a partition for 2025, in which the times of most records lie.
fn database(name: &str) -> Database {
    partitioned(
        name,
        "RANGE (insert_time_utc)",
        "CREATE TABLE of_2025 PARTITION OF battery_pack
           FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    )
}

fn partitioned(name: &str, by: &str, partitions: &str) -> Database {
    let database = Database::new(name);
    database.sink();
    database.admin(&format!(
        "ALTER TABLE battery_pack RENAME TO old_pack;
         CREATE TABLE battery_pack (LIKE old_pack) PARTITION BY {by};
         DROP TABLE old_pack;
         ALTER TABLE battery_pack OWNER TO homeauto;
         {partitions}"
    ));
    if cluster().version() >= 11 {
        database.admin("CREATE INDEX ON battery_pack (insert_time_utc)");
    }
    database
}

/// A record of 2031.
fn of_2031(seconds: i64) -> PackRecord {
    record(6 * 365 * 86_400 + seconds, 1)
}

/// A record of 2020.
fn of_2020(seconds: i64) -> PackRecord {
    record(-5 * 365 * 86_400 + seconds, 1)
}

/// Checks which rows wait on their own, by their index.
#[track_caller]
fn check_waiting(database: &Database, rows: &[PackRecord], waiting: &[usize]) {
    let rejected = deliver_and_reject(&mut database.sink(), rows);
    let indexes: Vec<_> = rejected.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, waiting);
    for (_, Rejected { sqlstate, reason, is_mendable }) in rejected {
        assert_eq!((sqlstate.as_str(), is_mendable), ("23514", true), "{reason}");
    }
    assert_eq!(database.count() as usize, rows.len() - waiting.len());
}

#[test]
fn a_row_without_a_partition_lets_others_pass() {
    let within = database("partition_within");
    let mut rows: Vec<_> = (0..100).map(|n| record(n, 1)).collect();
    rows.insert(50, of_2031(0));
    check_waiting(&within, &rows, &[50]);

    // However many come before the others, and whichever way the clock went.
    let before = database("partition_before");
    let rows: Vec<_> =
        (0..10).flat_map(|n| [of_2031(n), of_2020(n)]).chain([record(0, 1)]).collect();
    check_waiting(&before, &rows, &Vec::from_iter(0..20));
}

#[test]
fn a_battery_without_a_partition_lets_others_pass() {
    let partition = "CREATE TABLE of_7 PARTITION OF battery_pack FOR VALUES IN (7)";
    let database = partitioned("partition_of_one", "LIST (mcu_id)", partition);
    // The battery that can't be stored has the last word.
    let rows: Vec<_> = (0..10).map(|n| record(n / 2, if n % 2 == 0 { 7 } else { 8 })).collect();
    check_waiting(&database, &rows, &[1, 3, 5, 7, 9]);
}

#[test]
fn rows_are_held_while_none_is_taken() {
    let database = database("partition_none");
    let mut sink = database.sink();
    let late: Vec<_> = (0..30).map(of_2031).collect();
    let words = ["no partition of relation", "; a partition is missing; create it"];
    for _ in 0..2 {
        check(&deliver(&mut sink, &late).unwrap_err(), Retry::Row, "23514", &words);
    }
    // The partition of the last month takes what nobody sends any more.
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
    check(&deliver(&mut sink, &late).unwrap_err(), Retry::Row, "23514", &words);
    assert_eq!(database.count(), 1);

    // Rows from before the last one that was taken are not those to come.
    let rejected = deliver_and_reject(&mut sink, &[of_2020(0)]);
    assert!(matches!(rejected[..], [(0, Rejected { is_mendable: true, .. })]), "{rejected:?}");

    database.admin(
        "CREATE TABLE rest PARTITION OF battery_pack
           FOR VALUES FROM ('2030-01-01') TO ('2040-01-01')",
    );
    assert_eq!(deliver(&mut sink, &late).unwrap(), delivered(30, 0));
}

/// The look-up of rows that exist reads the partitions of the batch alone.
#[test]
fn a_foreign_partition_whose_server_is_away_holds_its_rows() {
    let database = database("partition_foreign");
    database.admin(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere');
         CREATE USER MAPPING FOR PUBLIC SERVER away OPTIONS (user 'x', password 'x');
         CREATE FOREIGN TABLE of_2031 PARTITION OF battery_pack
           FOR VALUES FROM ('2030-01-01') TO ('2040-01-01') SERVER away;
         GRANT USAGE ON FOREIGN SERVER away TO homeauto;
         ALTER TABLE of_2031 OWNER TO homeauto",
    );
    let mut sink = database.sink();
    let error = deliver(&mut sink, &[record(0, 1), of_2031(0)]).unwrap_err();
    check(&error, Retry::Soon, "08001", &["could not connect to server \"away\""]);
    if cluster().version() >= 12 {
        assert_eq!(deliver(&mut sink, &[record(1, 1)]).unwrap(), delivered(1, 0));
    }
    database.admin("ALTER TABLE battery_pack DETACH PARTITION of_2031");
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
}
