//! Which rows the table has.

use std::ops::ControlFlow;
use std::time::Duration;

use bluenova_postgres::{Deadlines, Error, row_times};
use bluenova_record::PackRecord;
use time::UtcDateTime;

use crate::{Database, MINUTE, deliver, record};

fn times(database: &Database, from: i64, to: i64) -> Result<Vec<(UtcDateTime, u32)>, Error> {
    let mut found = vec![];
    let times = record(from, 0).insert_time_utc..record(to, 0).insert_time_utc;
    let deadlines = Deadlines { connect: MINUTE, deliver: MINUTE };
    row_times(&database.settings(), deadlines, times, |time, mcu_id| {
        found.push((time, mcu_id));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn key(row: &PackRecord) -> (UtcDateTime, u32) {
    (row.insert_time_utc, row.mcu_id)
}

#[test]
fn all_rows_come_in_the_order_of_time() {
    let database = Database::new("row_times");
    let mut rows: Vec<_> = (0..2500).rev().map(|n| record(n, 7)).collect();
    rows.push(record(2500, u32::MAX));
    deliver(&mut database.sink(), &rows).unwrap();
    database.admin("INSERT INTO battery_pack (insert_time_utc, mcu_id) VALUES (now(), -1)");
    rows.sort_by_key(|row| row.insert_time_utc);
    assert_eq!(times(&database, 0, 2501).unwrap(), Vec::from_iter(rows.iter().map(key)));
    assert_eq!(times(&database, 1, 3).unwrap(), Vec::from_iter(rows[1..3].iter().map(key)));
    assert_eq!(times(&database, 3, 3).unwrap(), []);
}

#[test]
fn times_are_utc_in_a_table_with_time_zones() {
    let database = Database::new("row_times_zones");
    let rows: Vec<_> = (0..3).map(|n| record(n, 7)).collect();
    deliver(&mut database.sink(), &rows).unwrap();
    database.set("TimeZone TO 'Asia/Tokyo'");
    database.admin(
        "ALTER TABLE battery_pack ALTER insert_time_utc TYPE TIMESTAMPTZ \
         USING insert_time_utc AT TIME ZONE 'UTC'",
    );
    database.admin("INSERT INTO battery_pack (insert_time_utc, mcu_id) VALUES ('infinity', 7)");
    assert_eq!(times(&database, 0, 2).unwrap(), Vec::from_iter(rows[..2].iter().map(key)));
}

#[test]
fn no_right_but_to_read_is_needed() {
    let database = Database::of_another_user("row_times_read_only");
    database.admin(&bluenova_postgres::schema());
    database.admin("INSERT INTO battery_pack (insert_time_utc, mcu_id) VALUES ('2026-01-01', 7)");
    assert_eq!(times(&database, -1_000_000, 0).unwrap_err().sqlstate(), Some("42501"));
    database.admin("GRANT SELECT ON battery_pack TO homeauto");
    assert_eq!(times(&database, 0, 365 * 86_400).unwrap().len(), 1);
}

#[test]
fn without_a_table_nothing_is_created() {
    let database = Database::new("row_times_no_table");
    let error = times(&database, 0, 1).unwrap_err();
    assert_eq!(error.sqlstate(), Some("42P01"));
    assert!(error.to_string().starts_with("can't read battery_pack of row_times_no_table"));
    let sql = "SELECT to_regclass('battery_pack') IS NULL";
    assert!(database.client().query_one(sql, &[]).unwrap().get::<_, bool>(0));
}

#[test]
fn a_table_that_is_locked_keeps_the_caller_no_longer_than_its_deadline() {
    let database = Database::new("row_times_locked");
    deliver(&mut database.sink(), &[record(0, 7)]).unwrap();
    let mut client = database.client();
    let mut lock = client.transaction().unwrap();
    lock.batch_execute("LOCK TABLE battery_pack").unwrap();
    let deadlines = Deadlines { connect: MINUTE, deliver: Duration::from_millis(100) };
    let times = UtcDateTime::UNIX_EPOCH..UtcDateTime::MAX;
    let read = row_times(&database.settings(), deadlines, times, |_, _| ControlFlow::Continue(()));
    let error = bluenova_record::ErrorChain(&read.unwrap_err()).to_string();
    assert!(error.contains("no answer"), "{error}");
}

#[test]
fn the_caller_may_end_it() {
    let database = Database::new("row_times_end");
    let rows: Vec<_> = (0..10).map(|n| record(n, 7)).collect();
    deliver(&mut database.sink(), &rows).unwrap();
    let times = UtcDateTime::UNIX_EPOCH..UtcDateTime::MAX;
    let mut seen = 0;
    row_times(&database.settings(), Deadlines::default(), times, |_, _| {
        seen += 1;
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(seen, 3);
}
