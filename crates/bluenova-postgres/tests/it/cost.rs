//! A batch costs the same whatever the table holds, and runs under the settings that it needs.

use bluenova_postgres::BATCH;
use bluenova_test_support::wait_until;

use crate::{Database, MINUTE, cluster, deliver, delivered, record};

/// Entries of indexes, and rows without an index, that the server has read of the table. To make an
/// index counts too.
fn rows_read(database: &Database) -> i64 {
    let sql = "SELECT (SELECT sum(idx_tup_read)
                       FROM pg_stat_user_indexes WHERE relname = 'battery_pack')::bigint
                      + seq_tup_read
               FROM pg_stat_user_tables WHERE relname = 'battery_pack'";
    database.client().query_one(sql, &[]).unwrap().get(0)
}

/// Waits until the counters of ended sessions, which have inserted `added` rows, are in.
fn counters_are_in(database: &Database, added: i64) {
    let sql = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'battery_pack'";
    wait_until("the counters are in", MINUTE, || {
        database.client().query_one(sql, &[]).unwrap().get::<_, i64>(0) >= added
    });
}

/// Loads `rows` rows of four batteries, one per second.
fn load(database: &Database, rows: i64) {
    database.admin(&format!(
        "INSERT INTO battery_pack (insert_time_utc, mcu_id, v_pack)
         SELECT '2020-01-01'::timestamp + (n / 4) * interval '1 second', n % 4, 53
         FROM generate_series(1, {rows}) n"
    ));
}

/// Delivers new and old rows, and checks what the server has read for that.
fn check_cost(name: &str, prepare: impl Fn(&Database)) {
    let database = Database::new(name);
    // The plan is made while the table is empty, for any parameters, and may be kept.
    let mut sink = database.sink();
    for n in 0..10 {
        assert_eq!(deliver(&mut sink, &[record(n, 1)]).unwrap(), delivered(1, 0));
    }
    prepare(&database);
    let mut fresh = database.sink();

    let batch: Vec<_> = (0..100).map(|n| record(n, 1)).collect();
    assert_eq!(deliver(&mut sink, &batch).unwrap(), delivered(90, 10));
    for _ in 0..9 {
        assert_eq!(deliver(&mut fresh, &batch).unwrap(), delivered(0, 100));
    }
    // The server counts when the sessions end.
    drop((sink, fresh));
    counters_are_in(&database, 190);
    // Each known row is read twice: it is counted, and looked for by the insert. The first batch of
    // a sink with known rows is rolled back, then counted and inserted; and planning reads some.
    let (read, most) = (rows_read(&database), 3 * (10 + 900));
    assert!(read <= most, "{name}: {read} rows read, not {most}");
}

#[test]
fn does_not_grow_with_a_table_without_statistics() {
    check_cost("cost_unknown", |database| load(database, 200_000));
    check_cost("cost_by_battery", |database| {
        database.admin("CREATE INDEX by_battery ON battery_pack (mcu_id)");
        load(database, 200_000);
    });
    check_cost("cost_empty", |_| {});
}

#[test]
fn does_not_grow_with_a_table_with_statistics() {
    check_cost("cost_known", |database| {
        load(database, 200_000);
        database.admin("ANALYZE battery_pack");
    });
    check_cost("cost_known_wrongly", |database| {
        database.admin("ANALYZE battery_pack");
        load(database, 200_000);
    });
    check_cost("cost_one_moment", |database| {
        load(database, 200_000);
        // As after an ANALYZE while all rows had the same time stamp.
        database.admin("ALTER TABLE battery_pack ALTER insert_time_utc SET (n_distinct = 1)");
        database.admin("ANALYZE battery_pack");
    });
    if cluster().version() >= 12 {
        check_cost("cost_generic", |database| {
            database.set("plan_cache_mode = force_generic_plan");
            load(database, 20_000);
        });
    }
}

/// The indexes that people have, on a table without any.
const INDEXES: [(&str, &str); 8] = [
    ("time", "CREATE INDEX ON battery_pack (insert_time_utc)"),
    ("unique", "CREATE UNIQUE INDEX ON battery_pack (insert_time_utc, mcu_id)"),
    ("by_battery", "CREATE INDEX ON battery_pack (mcu_id, insert_time_utc)"),
    (
        "both",
        "CREATE INDEX ON battery_pack (insert_time_utc);
         CREATE UNIQUE INDEX ON battery_pack (insert_time_utc, mcu_id)",
    ),
    (
        "both_ways",
        "CREATE INDEX ON battery_pack (insert_time_utc);
         CREATE UNIQUE INDEX ON battery_pack (mcu_id, insert_time_utc)",
    ),
    ("primary_key", "ALTER TABLE battery_pack ADD PRIMARY KEY (mcu_id, insert_time_utc)"),
    (
        "battery_beside",
        "CREATE UNIQUE INDEX ON battery_pack (insert_time_utc, mcu_id);
         CREATE INDEX ON battery_pack (mcu_id)",
    ),
    (
        "brin_beside",
        "CREATE UNIQUE INDEX ON battery_pack (insert_time_utc, mcu_id);
         CREATE INDEX ON battery_pack USING brin (insert_time_utc)",
    ),
];

/// Delivers two intervals of 1,000 batteries, a few at a time, into a table that has a hundred.
fn check_fleet(name: &str, indexes: &str, statistics: bool) {
    const BATTERIES: u32 = 1000;
    let database = Database::new(name);
    database.sink();
    let load = "INSERT INTO battery_pack (insert_time_utc, mcu_id, v_pack)
                SELECT '2020-01-01'::timestamp + n / 1000 * interval '10 seconds', n % 1000, 53
                FROM generate_series(0, 99999) n";
    database.admin(&format!("DROP INDEX battery_pack_time; {indexes}; {load}"));
    if statistics {
        database.admin("ANALYZE battery_pack");
    }
    let before = rows_read(&database);
    let mut sink = database.sink();
    let rows = |interval: i64| Vec::from_iter((0..BATTERIES).map(|id| record(interval * 10, id)));
    for interval in 0..2 {
        for batch in rows(interval).chunks(125) {
            assert_eq!(deliver(&mut sink, batch).unwrap(), delivered(batch.len() as u64, 0));
        }
    }
    drop(sink);
    let added = i64::from(2 * BATTERIES);
    counters_are_in(&database, 100_000 + added);
    let read = rows_read(&database) - before;
    assert!(read <= 5 * added, "{name}: {read} rows read for {added}");
    let again = deliver(&mut database.sink(), &rows(1)).unwrap();
    assert_eq!(again, delivered(0, BATTERIES.into()), "{name}");
}

#[test]
fn a_fleet_at_one_time_costs_a_few_rows_read_for_each() {
    for (name, indexes) in INDEXES {
        check_fleet(&format!("fleet_{name}"), indexes, false);
        check_fleet(&format!("fleet_{name}_known"), indexes, true);
    }
}

/// Tables that people have made: whatever the types, the index is used, and a row is known again.
#[test]
fn columns_of_other_types_cost_as_little() {
    for (name, change) in [
        ("with_zone", "insert_time_utc TYPE TIMESTAMPTZ USING insert_time_utc AT TIME ZONE 'UTC'"),
        ("int", "mcu_id TYPE INT"),
        ("numeric", "mcu_id TYPE NUMERIC"),
        ("domain", "mcu_id TYPE unit, ALTER insert_time_utc TYPE moment"),
    ] {
        let sql = format!(
            "CREATE DOMAIN unit AS BIGINT CHECK (value >= 0); CREATE DOMAIN moment AS TIMESTAMP;
             ALTER TABLE battery_pack ALTER {change};
             CREATE UNIQUE INDEX ON battery_pack (insert_time_utc, mcu_id)"
        );
        for statistics in [false, true] {
            check_fleet(&format!("types_{name}_{statistics}"), &sql, statistics);
        }
    }
}

#[test]
fn settings_are_the_transactions_own() {
    let database = Database::new("settings");
    database.set("synchronous_commit = off");
    database.set("default_transaction_isolation = serializable");
    database.admin("CREATE TABLE seen (name TEXT, setting TEXT); GRANT INSERT ON seen TO homeauto");
    let mut sink = database.sink();
    database.admin(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO seen SELECT name, setting FROM pg_settings; RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON battery_pack EXECUTE PROCEDURE note()",
    );
    deliver(&mut sink, &[record(0, 1)]).unwrap();
    let jit = (cluster().version() >= 11).then_some(("jit", "off"));
    for (name, expected) in jit.into_iter().chain([
        ("synchronous_commit", "local"),
        ("transaction_isolation", "read committed"),
        ("TimeZone", "UTC"),
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("application_name", "bluenovalistener"),
        ("row_security", "off"),
        ("lock_timeout", "10000"),
        ("statement_timeout", "30000"),
        ("idle_in_transaction_session_timeout", "60000"),
    ]) {
        let sql = "SELECT setting FROM seen WHERE name = $1";
        let setting: String = database.client().query_one(sql, &[&name]).unwrap().get(0);
        assert_eq!(setting, expected, "{name}");
    }
}

#[test]
fn a_batch_is_one_statement() {
    let database = Database::new("statements");
    database.admin("CREATE TABLE seen (rows BIGINT, xid BIGINT); GRANT INSERT ON seen TO homeauto");
    let mut sink = database.sink();
    database.admin(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO seen SELECT count(*), txid_current() FROM new; RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON battery_pack REFERENCING NEW TABLE AS new
           FOR EACH STATEMENT EXECUTE PROCEDURE note()",
    );
    let batch: Vec<_> = (0..BATCH as i64).map(|n| record(n, 1)).collect();
    assert_eq!(deliver(&mut sink, &batch).unwrap(), delivered(BATCH as u64, 0));
    let sql = "SELECT sum(rows)::bigint, max(rows), count(DISTINCT xid) FROM seen";
    let seen = database.client().query_one(sql, &[]).unwrap();
    let [sum, most, transactions]: [i64; 3] = [0, 1, 2].map(|column| seen.get(column));
    assert_eq!((sum, most, transactions), (BATCH as i64, BATCH as i64, 1));
}
