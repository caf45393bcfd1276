//! A probe row is inserted, and nothing remains of it.

use bluenova_postgres::{Deadlines, Retry, Sink};
use time::UtcDateTime;
use time::macros::utc_datetime;

use crate::{Database, MINUTE, connect, deliver, errors::check, record};

#[test]
fn a_good_row_passes_and_leaves_nothing_behind() {
    let database = Database::new("probe_good");
    let mut sink = database.sink();
    sink.probe(&record(0, 1)).unwrap();
    assert_eq!(database.count(), 0);
    // It is there already, and so are those next to it, and there is a key.
    deliver(&mut sink, &[record(0, 1)]).unwrap();
    database.admin("ALTER TABLE battery_pack ADD UNIQUE (insert_time_utc, mcu_id)");
    for _ in 0..2 {
        sink.probe(&record(0, 1)).unwrap();
    }
    for time in [utc_datetime!(9999-12-31 23:59:59.999999), UtcDateTime::MIN] {
        let mut edge = record(0, 1);
        edge.insert_time_utc = time;
        assert_eq!(sink.probe(&edge).is_ok(), time.year() == 9999, "{time}");
    }
    deliver(&mut sink, &[record(1, 1)]).unwrap();
    assert_eq!(database.count(), 2);
}

#[test]
fn a_dry_run_creates_nothing_and_has_the_same_verdict() {
    let tables = "SELECT count(*) FROM pg_class
                  WHERE relname LIKE 'battery_pack%' OR relnamespace = 'public'::regnamespace";
    let count = |database: &Database| database.client().query_one(tables, &[]).unwrap().get(0);
    let dry_run = |database: &Database| {
        let mut sink =
            Sink::dry_run(database.settings(), Deadlines { connect: MINUTE, deliver: MINUTE });
        sink.connect()
            .and_then(|()| sink.probe(&record(0, 1)))
            .map(|()| sink.take_warnings().join("; "))
    };

    let database = Database::new("dry_run");
    assert!(dry_run(&database).unwrap().contains("the table doesn't exist yet"));
    assert_eq!(count(&database), 0_i64);
    deliver(&mut database.sink(), &[record(0, 1)]).unwrap();
    assert_eq!(dry_run(&database).unwrap(), "");
    database.admin("DROP INDEX battery_pack_time");
    assert!(dry_run(&database).unwrap().contains("has no index on insert_time_utc"));
    assert_eq!((count(&database), database.count()), (1, 1));

    let foreign = Database::of_another_user("dry_run_foreign");
    foreign.admin("REVOKE CREATE ON SCHEMA public FROM public");
    let error = dry_run(&foreign).unwrap_err();
    check(&error, Retry::Hold, "42501", &["can't create battery_pack in dry_run_foreign"]);
    let of_listener = connect(foreign.settings()).err().unwrap();
    assert_eq!(error.to_string(), of_listener.to_string());
}

#[test]
fn what_is_wrong_with_a_row_shows() {
    let database = Database::new("probe_bad");
    let mut sink = database.sink();
    deliver(&mut sink, &[record(0, 1)]).unwrap();
    database.admin("ALTER TABLE battery_pack ADD CONSTRAINT sane CHECK (mcu_id <> 13)");
    let error = sink.probe(&record(0, 13)).unwrap_err();
    check(&error, Retry::Row, "23514", &["a test row into battery_pack of", "\"sane\""]);
    sink.probe(&record(0, 1)).unwrap();

    // What refuses everything refuses the row that is there already.
    database.admin(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
         CREATE TRIGGER no BEFORE INSERT ON battery_pack FOR EACH ROW EXECUTE PROCEDURE no()",
    );
    check(&sink.probe(&record(0, 1)).unwrap_err(), Retry::Row, "P0001", &["no (P0001)"]);
    database.admin(
        "DROP TRIGGER no ON battery_pack;
         CREATE CONSTRAINT TRIGGER no AFTER INSERT ON battery_pack
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE no()",
    );
    check(&sink.probe(&record(0, 1)).unwrap_err(), Retry::Row, "P0001", &["no (P0001)"]);
    database.admin("DROP TRIGGER no ON battery_pack");
    sink.probe(&record(0, 1)).unwrap();
    assert_eq!(database.count(), 1);
}
