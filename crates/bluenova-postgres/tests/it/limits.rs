//! The server ends what takes too long.

use std::thread;

use bluenova_postgres::Retry;
use bluenova_test_support::wait_until;

use crate::{
    Database, MINUTE, deliver, delivered,
    errors::{check, refused},
    record,
};

#[test]
fn a_lower_limit_of_the_server_stays() {
    let database = Database::new("lower_limits");
    database.admin("CREATE TABLE seen (name TEXT, setting TEXT); GRANT INSERT ON seen TO homeauto");
    database.sink();
    database.admin(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO seen SELECT name, setting FROM pg_settings; RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON battery_pack EXECUTE PROCEDURE note()",
    );
    for (setting, expected) in
        [("'9999ms'", "9999"), ("'1min'", "ours"), ("'1d'", "ours"), ("0", "ours")]
    {
        for (name, ours) in [
            ("lock_timeout", "10000"),
            ("statement_timeout", "30000"),
            ("idle_in_transaction_session_timeout", "60000"),
        ] {
            database.set(&format!("{name} = {setting}"));
            database.admin("TRUNCATE seen");
            deliver(&mut database.sink(), &[record(0, 1)]).unwrap();
            let sql = "SELECT setting FROM seen WHERE name = $1";
            let seen: String = database.client().query_one(sql, &[&name]).unwrap().get(0);
            assert_eq!(seen, expected.replace("ours", ours), "{name} = {setting}");
        }
    }
}

#[test]
fn a_lock_on_the_table_is_an_error_and_not_a_hang() {
    let database = Database::new("locked");
    database.set("lock_timeout = '2s'");
    let mut sink = database.sink();
    let mut other = database.client();
    other.batch_execute("BEGIN; LOCK TABLE battery_pack").unwrap();
    let error = deliver(&mut sink, &[record(0, 1)]).unwrap_err();
    check(&error, Retry::Soon, "55P03", &["lock timeout"]);
    assert!(!error.is_too_slow(), "fewer rows would wait as well");
    let error = refused(database.settings());
    check(&error, Retry::Soon, "55P03", &["prepare to insert into battery_pack of locked on"]);
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
}

/// Makes each row take so many milliseconds.
fn slow_down(database: &Database, milliseconds: u32) {
    database.admin(&format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_sleep({milliseconds} / 1000.0); RETURN new; END';
         CREATE TRIGGER slow BEFORE INSERT ON battery_pack FOR EACH ROW EXECUTE PROCEDURE slow()"
    ));
}

#[test]
fn a_row_that_is_too_slow_is_an_error() {
    let database = Database::new("slow");
    database.set("statement_timeout = '5s'");
    let mut sink = database.sink();
    slow_down(&database, 60_000);
    let error = deliver(&mut sink, &[record(0, 1)]).unwrap_err();
    check(&error, Retry::Soon, "57014", &["statement timeout"]);
    assert!(error.is_too_slow());
    database.admin("DROP TRIGGER slow ON battery_pack");
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
}

#[test]
fn a_statement_that_a_person_cancels_was_not_too_slow() {
    let database = Database::new("cancelled");
    let mut sink = database.sink();
    slow_down(&database, 60_000);
    let delivery = thread::spawn(move || deliver(&mut sink, &[record(0, 1)]).unwrap_err());
    let mut client = database.client();
    wait_until("it is ended", MINUTE, || {
        let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event = 'PgSleep'";
        !client.query(sql, &[]).unwrap().is_empty()
    });
    let error = delivery.join().unwrap();
    check(&error, Retry::Soon, "57014", &["user request"]);
    assert!(!error.is_too_slow());
}

#[test]
fn a_session_that_is_frozen_in_a_transaction_loses_its_locks() {
    let database = Database::new("idle");
    // A session with the lock of this battery that sends nothing more.
    let mut frozen = database.client();
    frozen.batch_execute("SET idle_in_transaction_session_timeout = '200ms'").unwrap();
    frozen.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1112436598, 1)").unwrap();
    assert_eq!(deliver(&mut database.sink(), &[record(0, 1)]).unwrap(), delivered(1, 0));
    assert!(frozen.batch_execute("COMMIT").is_err());
}
