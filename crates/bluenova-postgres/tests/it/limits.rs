//! What takes too long is ended by the server, and told apart.

use std::thread;

use bluenova_postgres::{Retry, Sink};
use bluenova_test_support::wait_until;

use crate::{House, PATIENCE, delivered, errors::check, record};

#[test]
fn a_lower_limit_of_the_server_stays() {
    let house = House::new("lower_limits");
    house.admin("CREATE TABLE seen (name TEXT, setting TEXT); GRANT INSERT ON seen TO homeauto");
    house.sink();
    house.admin(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO seen SELECT name, setting FROM pg_settings; RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON battery_pack EXECUTE FUNCTION note()",
    );
    for (setting, expected) in
        [("'9999ms'", "9999"), ("'1min'", "ours"), ("'1d'", "ours"), ("0", "ours")]
    {
        for (name, ours) in [
            ("lock_timeout", "10000"),
            ("statement_timeout", "30000"),
            ("idle_in_transaction_session_timeout", "60000"),
        ] {
            house.set(&format!("{name} = {setting}"));
            house.admin("TRUNCATE seen");
            house.sink().deliver(&[record(0, 1)]).unwrap();
            let sql = "SELECT setting FROM seen WHERE name = $1";
            let seen: String = house.client().query_one(sql, &[&name]).unwrap().get(0);
            assert_eq!(seen, expected.replace("ours", ours), "{name} = {setting}");
        }
    }
}

#[test]
fn a_lock_on_the_table_is_an_error_and_not_a_hang() {
    let house = House::new("locked");
    house.set("lock_timeout = '200ms'");
    let mut sink = house.sink();
    let mut somebody = house.client();
    somebody.batch_execute("BEGIN; LOCK TABLE battery_pack").unwrap();
    let error = sink.deliver(&[record(0, 1)]).unwrap_err();
    check(&error, Retry::Soon, "55P03", &["lock timeout"]);
    assert!(!error.is_too_slow(), "fewer rows would wait as well");
    let error = Sink::connect(&house.settings()).err().expect("preparing waits for the lock");
    check(&error, Retry::Soon, "55P03", &["preparing to insert into battery_pack of locked on"]);
    somebody.batch_execute("COMMIT").unwrap();
    assert_eq!(sink.deliver(&[record(0, 1)]).unwrap(), delivered(1, 0));
}

/// Makes each row take so many milliseconds.
fn slow_down(house: &House, milliseconds: u32) {
    house.admin(&format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_sleep({milliseconds} / 1000.0); RETURN new; END';
         CREATE TRIGGER slow BEFORE INSERT ON battery_pack FOR EACH ROW EXECUTE FUNCTION slow()"
    ));
}

#[test]
fn a_batch_that_is_too_slow_is_known_by_it() {
    let house = House::new("slow");
    house.set("statement_timeout = '300ms'");
    let mut sink = house.sink();
    slow_down(&house, 100);
    let batch: Vec<_> = (0..10).map(|n| record(n, 1)).collect();
    let error = sink.deliver(&batch).unwrap_err();
    check(&error, Retry::Soon, "57014", &["statement timeout"]);
    assert!(error.is_too_slow());
    assert_eq!(sink.deliver(&batch[..1]).unwrap(), delivered(1, 0));
}

#[test]
fn a_statement_that_somebody_ends_was_not_too_slow() {
    let house = House::new("cancelled");
    let mut sink = house.sink();
    slow_down(&house, 60_000);
    let delivery = thread::spawn(move || sink.deliver(&[record(0, 1)]).unwrap_err());
    let mut client = house.client();
    wait_until("it is ended", PATIENCE, || {
        let sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event = 'PgSleep'";
        !client.query(sql, &[]).unwrap().is_empty()
    });
    let error = delivery.join().unwrap();
    check(&error, Retry::Soon, "57014", &["user request"]);
    assert!(!error.is_too_slow());
}

#[test]
fn who_is_frozen_in_a_transaction_loses_its_locks() {
    let house = House::new("idle");
    house.set("idle_in_transaction_session_timeout = '200ms'");
    // Whoever has the locks of this battery and says nothing more.
    let mut frozen = house.client();
    frozen.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1112436598, 1)").unwrap();
    assert_eq!(house.sink().deliver(&[record(0, 1)]).unwrap(), delivered(1, 0));
    assert!(frozen.batch_execute("COMMIT").is_err());
}
