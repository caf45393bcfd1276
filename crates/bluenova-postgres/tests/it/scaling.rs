//! What docs/scaling.md says for every PostgreSQL, and that all of its SQL is run by a test.

use std::time::Duration;

use bluenova_postgres::Retry;
use bluenova_record::PackRecord;
use bluenova_test_support::{Cluster, documented_sections, documented_sql, wait_until};

use crate::{Database, MINUTE, cluster, connect, deliver, delivered, new_sink, record};

#[test]
fn all_sql_is_run() {
    let sections: Vec<String> = documented_sections().into_iter().map(|(name, _)| name).collect();
    // The tests of the others are in `partitions`, `partman`, `timescale` and `shards`.
    assert_eq!(
        sections,
        [
            "Partitions by month",
            "With pg_partman",
            "TimescaleDB",
            "Compression",
            "Roll-ups",
            "Long panels",
            "High availability",
            "Shards",
        ]
    );
}

#[test]
fn a_materialised_view_for_long_panels() {
    let [create, refresh] = documented_sql("Long panels").try_into().expect("two steps");
    let database = Database::new("long_panels");
    let mut sink = database.sink();
    let row = |seconds: i64, v_pack: f32| PackRecord {
        v_pack: Some(v_pack),
        soc: None,
        ..record(seconds, 1)
    };
    // 15:06:40 and later; the next hour begins 3200 s after.
    deliver(&mut sink, &[row(0, 52.0), row(10, 53.0), row(3200, 54.0), record(0, 2)]).unwrap();
    let mut owner = cluster().client_as("homeauto", "long_panels");
    owner.batch_execute(&create).expect(&create);
    let check = |expected: &[(i64, f64)]| {
        let sql = "SELECT rows, v_pack FROM battery_pack_hourly WHERE mcu_id = 1 ORDER BY hour";
        let found = database.client().query(sql, &[]).unwrap();
        let found: Vec<(i64, f64)> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(found, expected);
    };
    check(&[(2, 52.5), (1, 54.0)]);
    deliver(&mut sink, &[row(20, 54.0), row(3210, 55.0)]).unwrap();
    check(&[(2, 52.5), (1, 54.0)]);
    owner.batch_execute(&refresh).expect(&refresh);
    check(&[(3, 53.0), (2, 54.5)]);
}

/// Without a standby no commit ends, and what was sent meanwhile is there once.
#[test]
fn synchronous_standbys_that_are_away_hold_rows() {
    let steps = documented_sql("High availability");
    let cluster = Cluster::start();
    cluster.create_database("standbys");
    let settings = || {
        let url = cluster.url("standbys");
        bluenova_postgres::Settings::resolve(&url, None, |_| None).unwrap()
    };
    let admin = |sql: &str| cluster.client("standbys").batch_execute(sql).expect(sql);
    let mut sink = new_sink(settings(), Duration::from_secs(2));
    wait_until("the first row is delivered", MINUTE, || {
        deliver(&mut sink, &[record(0, 1)]).is_ok()
    });
    steps.iter().for_each(|sql| admin(sql));
    // New sessions have the setting before commits wait for its standbys.
    let mut last = 0;
    wait_until("a commit waits for standbys", MINUTE, || {
        last += 1;
        deliver(&mut sink, &[record(last, 1)]).is_err()
    });
    let rows: Vec<_> = (0..last + 10).map(|n| record(n, 1)).collect();
    for _ in 0..2 {
        let error = deliver(&mut sink, &rows).unwrap_err();
        assert_eq!(error.retry(), Retry::Soon, "{error}");
    }
    admin("ALTER SYSTEM RESET synchronous_standby_names");
    admin("SELECT pg_reload_conf()");
    wait_until("the rows are delivered", MINUTE, || deliver(&mut sink, &rows).is_ok());
    let mut fresh = connect(settings()).unwrap();
    assert_eq!(deliver(&mut fresh, &rows).unwrap(), delivered(0, rows.len() as u64));
    let sql = "SELECT count(*) FROM battery_pack";
    let count: i64 = cluster.client("standbys").query_one(sql, &[]).unwrap().get(0);
    assert_eq!(count, rows.len() as i64);
}
