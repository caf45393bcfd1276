//! The times of the rows that a battery has.

use bluenova_postgres::{Deadlines, Sink};

use crate::{Database, deliver, record};

#[test]
fn times_of_one_battery_without_the_end() {
    let database = Database::new("times");
    let mut sink = database.sink();
    let rows: Vec<_> = (0..3000).map(|n| record(n, 7)).chain([record(5, 8)]).collect();
    deliver(&mut sink, &rows).unwrap();
    let time = |n| record(n, 7).insert_time_utc;
    let mut times = sink.times(7, time(5)..time(2900)).unwrap();
    times.sort_unstable();
    assert_eq!(times, (5..2900).map(time).collect::<Vec<_>>());
    assert_eq!(sink.times(8, time(0)..time(6)).unwrap(), [time(5)]);
    assert!(sink.times(9, time(0)..time(6)).unwrap().is_empty());
}

#[test]
fn a_column_with_time_zone_gives_the_same() {
    let database = Database::new("times_with_zone");
    drop(database.sink());
    database.admin(
        "ALTER TABLE battery_pack ALTER insert_time_utc TYPE TIMESTAMPTZ
         USING insert_time_utc AT TIME ZONE 'UTC';
         ALTER DATABASE times_with_zone SET TimeZone = 'Asia/Tokyo'",
    );
    let mut sink = database.sink();
    deliver(&mut sink, &[record(5, 7)]).unwrap();
    let time = |n| record(n, 7).insert_time_utc;
    assert_eq!(sink.times(7, time(5)..time(6)).unwrap(), [time(5)]);
}

#[test]
fn a_dry_run_finds_none_without_a_table_and_leaves_none_behind() {
    let database = Database::new("times_no_table");
    let mut sink = Sink::dry_run(database.settings(), Deadlines::default());
    let time = |n| record(n, 7).insert_time_utc;
    assert!(sink.times(7, time(0)..time(6)).unwrap().is_empty());
    let sql = "SELECT to_regclass('battery_pack') IS NULL";
    assert!(database.client().query_one(sql, &[]).unwrap().get::<_, bool>(0));
}
