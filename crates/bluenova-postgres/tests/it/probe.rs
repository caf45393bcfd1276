//! A probe row is inserted, and nothing remains of it.

use bluenova_postgres::Retry;
use time::UtcDateTime;
use time::macros::utc_datetime;

use crate::{Database, deliver, errors::check, record};

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
