//! Tables in partitions: by month as docs/scaling.md makes them, and what happens to a row without
//! a partition, which waits on its own if others are taken.

use bluenova_postgres::{Rejected, Retry};
use bluenova_record::PackRecord;
use bluenova_test_support::{documented_sql, wait_until};
use time::{UtcDateTime, macros::utc_datetime};

use crate::{
    Database, MINUTE, cluster, deliver, delivered, errors::check, narrowing::deliver_and_reject,
    record,
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

/// A row of another time.
fn at(time: UtcDateTime) -> PackRecord {
    PackRecord { insert_time_utc: time, ..record(0, 1) }
}

/// The partitions of the table, by name.
fn partitions(database: &Database) -> Vec<String> {
    let sql = "SELECT inhrelid::regclass::text FROM pg_inherits
               WHERE inhparent = 'battery_pack'::regclass ORDER BY 1";
    database.client().query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn count_in(database: &Database, partition: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {partition}");
    database.client().query_one(&sql, &[]).unwrap().get(0)
}

#[test]
fn months_by_hand_as_documented() {
    if cluster().version() < 11 {
        return;
    }
    let [convert, add_months, add_default, move_month, retention] =
        documented_sql("Partitions by month").try_into().expect("five steps");
    let database = Database::new("months");
    let mut owner = cluster().client_as("homeauto", "months");
    let mut sink = database.sink();
    database.admin("ALTER TABLE battery_pack ADD site TEXT DEFAULT 'north' CHECK (site <> '')");
    let before: Vec<_> = (0..100).map(|n| record(n, 1)).collect();
    assert_eq!(deliver(&mut sink, &before).unwrap(), delivered(100, 0));

    owner.batch_execute(&convert).expect(&convert);
    // The same session and a new one, to whom the index is complete.
    for sink in [&mut sink, &mut database.sink()] {
        assert_eq!(deliver(sink, &before).unwrap(), delivered(0, 100));
        assert!(sink.take_warnings().is_empty());
    }
    let december: Vec<_> =
        (0..100).map(|n| at(utc_datetime!(2026-12-01 0:00) + time::Duration::seconds(n))).collect();
    assert_eq!(deliver(&mut sink, &december).unwrap(), delivered(100, 0));
    assert_eq!(count_in(&database, "battery_pack_before"), 100);
    assert_eq!(count_in(&database, "battery_pack WHERE site = 'north'"), 200);
    let doubled = owner.batch_execute(
        "INSERT INTO battery_pack (insert_time_utc, mcu_id) VALUES ('2026-12-01', 1)",
    );
    assert_eq!(doubled.unwrap_err().code().unwrap().code(), "23505");

    assert!(add_months.contains("now()"));
    let add_months = add_months.replace("now()", "timestamptz '2026-11-27 12:00Z'");
    for _ in 0..2 {
        owner.batch_execute(&add_months).expect(&add_months);
        let months = ["2026_12", "2027_01", "2027_02", "before"];
        let expected = months.map(|month| format!("battery_pack_{month}"));
        assert_eq!(partitions(&database), expected);
    }
    let early = at(utc_datetime!(2030-01-01 0:00));
    let rejected = deliver_and_reject(&mut sink, &[early.clone(), december[0].clone()]);
    assert!(matches!(rejected[..], [(0, Rejected { is_mendable: true, .. })]), "{rejected:?}");

    owner.batch_execute(&add_default).expect(&add_default);
    let later = at(utc_datetime!(2040-01-01 0:00));
    let both = [early, later];
    assert_eq!(deliver(&mut sink, &both).unwrap(), delivered(2, 0));
    owner.batch_execute(&move_month).expect(&move_month);
    assert_eq!(count_in(&database, "battery_pack_2030_01"), 1);
    assert_eq!(count_in(&database, "battery_pack_rest"), 1);
    assert_eq!(deliver(&mut sink, &both).unwrap(), delivered(0, 2));

    owner.batch_execute(&retention).expect(&retention);
    assert_eq!(database.count(), 102);
    assert_eq!(sink.find_missing(&both.into()).unwrap(), None);
    assert_eq!(deliver(&mut sink, &[record(200, 1)]).unwrap(), delivered(1, 0));
}

/// Whatever index people have, a batch looks into the partitions of its own times only.
#[test]
fn other_months_are_not_read() {
    if cluster().version() < 11 {
        return;
    }
    for (name, index) in [
        ("months_time", "CREATE INDEX ON battery_pack (insert_time_utc)"),
        ("months_unique", "CREATE UNIQUE INDEX ON battery_pack (insert_time_utc, mcu_id)"),
        ("months_primary", "ALTER TABLE battery_pack ADD PRIMARY KEY (insert_time_utc, mcu_id)"),
        ("months_battery", "ALTER TABLE battery_pack ADD PRIMARY KEY (mcu_id, insert_time_utc)"),
    ] {
        let database = partitioned(
            name,
            "RANGE (insert_time_utc)",
            "CREATE TABLE before PARTITION OF battery_pack
               FOR VALUES FROM ('2025-01-01') TO ('2025-06-01');
             CREATE TABLE june PARTITION OF battery_pack
               FOR VALUES FROM ('2025-06-01') TO ('2025-07-01');
             CREATE TABLE rest PARTITION OF battery_pack DEFAULT",
        );
        database.admin("DROP INDEX battery_pack_insert_time_utc_idx");
        database.admin(index);
        let scans = || -> [i64; 3] {
            ["june", "before", "rest"].map(|partition| {
                let sql = "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = $1";
                database.client().query_one(sql, &[&partition]).unwrap().get(0)
            })
        };
        // Each of the two indexes was made by a scan. The server counts when a session ends.
        wait_until("the counters are in", MINUTE, || scans().iter().all(|scans| *scans >= 2));
        let [of_june, others @ ..] = scans();
        let mut sink = database.sink();
        assert!(sink.take_warnings().is_empty(), "{name}");
        let rows: Vec<_> = (0..500).map(|n| record(n / 5, (n % 5) as u32)).collect();
        assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(500, 0));
        assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(0, 500));
        drop(sink);
        wait_until("the counters are in", MINUTE, || scans()[0] > of_june);
        assert_eq!(scans()[1..], others, "{name}");
    }
}
