//! A batch costs the same whatever the table holds, and runs under the settings that it needs.

use bluenova_postgres::BATCH;
use bluenova_test_support::wait_until;

use crate::{Database, MINUTE, cluster, deliver, delivered, record};

/// What the server has read of the table.
struct Read {
    rows_by_scan: i64,
    index_probes: i64,
    rows_by_probe: i64,
}

fn read(database: &Database) -> Read {
    let sql = "SELECT seq_tup_read, idx_scan, idx_tup_fetch
               FROM pg_stat_user_tables WHERE relname = 'battery_pack'";
    let row = database.client().query_one(sql, &[]).unwrap();
    Read { rows_by_scan: row.get(0), index_probes: row.get(1), rows_by_probe: row.get(2) }
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
    wait_until("the counters are in", MINUTE, || read(&database).index_probes >= 2210);
    let Read { rows_by_scan, index_probes, rows_by_probe } = read(&database);
    // The first batch with known rows of each sink is rolled back, and its rows are counted before
    // they are inserted again.
    assert_eq!((index_probes, rows_by_probe), (2210, 1930), "{name}");
    // Making an index reads the rows that were there before `load`.
    assert!(rows_by_scan <= 10, "{name}: {rows_by_scan}");
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
fn a_batch_is_one_transaction_of_small_statements() {
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
    assert_eq!((sum, most, transactions), (BATCH as i64, 250, 1));
}
