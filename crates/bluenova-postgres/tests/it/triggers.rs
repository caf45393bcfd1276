//! Tables that do something of their own with a row: triggers, policies, keys.

use std::thread;

use bluenova_postgres::{Delivered, Retry};
use bluenova_test_support::wait_until;

use crate::{
    Database, MINUTE, deliver, delivered,
    errors::{check, refused},
    record,
};

#[test]
fn rows_that_a_trigger_swallows_are_not_known_ones() {
    let database = Database::new("swallows");
    let mut sink = database.sink();
    database.admin(
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN IF new.mcu_id = 13 THEN RETURN NULL; END IF; RETURN new; END';
         CREATE TRIGGER swallow BEFORE INSERT ON battery_pack
           FOR EACH ROW EXECUTE PROCEDURE swallow()",
    );
    for n in 0..2 {
        let rows = [record(n, 1), record(n, 13), record(0, 1)].into();
        let expected =
            Delivered { rows: 3, added: 1, known: 1, swallowed: 1, ..Delivered::default() };
        assert_eq!(sink.deliver(&rows, 0).unwrap(), expected);
        let warnings = sink.take_warnings();
        assert_eq!(warnings.len(), usize::from(n == 0), "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("swallows rows")), "{warnings:?}");
    }
    assert_eq!(database.count(), 2);
}

#[test]
fn rows_that_a_trigger_stores_elsewhere_are_neither_known_nor_lost() {
    let database = Database::new("routed");
    database.sink();
    // Partitions as before PostgreSQL 10.
    database.admin(
        "CREATE TABLE pack_2025 () INHERITS (battery_pack);
         ALTER TABLE pack_2025 OWNER TO homeauto;
         CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO pack_2025 SELECT new.*; RETURN NULL; END';
         CREATE TRIGGER route BEFORE INSERT ON battery_pack
           FOR EACH ROW EXECUTE PROCEDURE route()",
    );
    let mut sink = database.sink();
    let first = deliver_one(&mut sink, 0);
    assert_eq!((first.known, first.rows), (0, 1));
    let again = deliver_one(&mut sink, 0);
    assert_eq!((again.known, again.rows), (1, 1));
    assert_eq!(database.count(), 1);
}

fn deliver_one(sink: &mut bluenova_postgres::Sink, seconds: i64) -> Delivered {
    sink.deliver(&[record(seconds, 1)].into(), 0).unwrap()
}

#[test]
fn a_policy_that_hides_rows_holds_them() {
    let database = Database::of_another_user("policy");
    database.admin(&bluenova_postgres::schema());
    database.admin(
        "GRANT SELECT, INSERT ON battery_pack TO homeauto;
         CREATE POLICY write ON battery_pack FOR INSERT WITH CHECK (true)",
    );
    let mut sink = database.sink();
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
    database.admin("ALTER TABLE battery_pack ENABLE ROW LEVEL SECURITY");
    let words = ["ALTER ROLE homeauto BYPASSRLS", "DISABLE ROW LEVEL SECURITY"];
    let error = deliver(&mut sink, &[record(0, 1)]).unwrap_err();
    check(&error, Retry::Hold, "42501", &words);
    check(&refused(database.settings()), Retry::Hold, "42501", &words);
    database.admin("ALTER TABLE battery_pack DISABLE ROW LEVEL SECURITY");
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(0, 1));
    assert_eq!(database.count(), 1);
}

#[test]
fn an_equal_row_that_another_writer_commits_meanwhile_is_known() {
    let database = Database::new("another_writer");
    let mut sink = database.sink();
    database.admin("ALTER TABLE battery_pack ADD UNIQUE (insert_time_utc, mcu_id)");
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
    let mut other = database.client();
    other
        .batch_execute(
            "BEGIN; INSERT INTO battery_pack (insert_time_utc, mcu_id)
             SELECT insert_time_utc + interval '1 s', mcu_id FROM battery_pack",
        )
        .unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| deliver(&mut sink, &[record(1, 1)]));
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event = 'transactionid'";
        let mut client = database.client();
        wait_until("the sink waits", MINUTE, || {
            client.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 1
        });
        other.batch_execute("COMMIT").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), delivered(0, 1));
    });
    assert_eq!(database.count(), 2);
}
