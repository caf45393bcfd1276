//! A row is in the table once, however often and by however many it is delivered.

use std::{sync::Barrier, thread, time::Duration};

use bluenova_postgres::{Retry, Sink};
use bluenova_record::PackRecord;
use bluenova_test_support::wait_until;

use crate::{Database, MINUTE, deliver, delivered, record};

#[test]
fn what_is_there_is_not_added_again() {
    let database = Database::new("again");
    let mut sink = database.sink();
    let records: Vec<_> = (0..10).map(|n| record(n / 2, 1 + (n % 2) as u32)).collect();
    assert_eq!(deliver(&mut sink, &records).unwrap(), delivered(10, 0));
    assert_eq!(deliver(&mut sink, &records).unwrap(), delivered(0, 10));
    assert_eq!(deliver(&mut database.sink(), &records).unwrap(), delivered(0, 10));
    // Often enough for the server to settle on a plan for any parameters.
    for n in 10..30 {
        let records = [record(n, 1), record(n - 1, 1), record(n, 2)];
        let expected = if n == 10 { delivered(3, 0) } else { delivered(2, 1) };
        assert_eq!(deliver(&mut sink, &records).unwrap(), expected, "{n}");
    }
    assert_eq!(database.count(), 51);
}

#[test]
fn the_first_one_of_equals_in_a_batch_counts() {
    let database = Database::new("equals");
    let first = record(0, 1);
    let mut second = first.clone();
    second.v_pack = Some(1.0);
    // The server keeps microseconds; this is the same row to it.
    second.insert_time_utc += Duration::from_nanos(999);
    let batch = [first.clone(), record(0, 2), second, record(0, 2)];
    assert_eq!(deliver(&mut database.sink(), &batch).unwrap(), delivered(2, 2));
    assert_eq!(database.rows(), [first, record(0, 2)]);
}

/// So two sinks that share no lock, through two coordinators, never wait for each other.
#[test]
fn rows_are_added_in_the_order_of_their_keys() {
    let database = Database::new("in_order");
    let mut rows: Vec<_> = (0..100).map(|n| record(n / 10, (n % 10) as u32)).collect();
    let sorted = rows.clone();
    rows.reverse();
    assert_eq!(deliver(&mut database.sink(), &rows).unwrap(), delivered(100, 0));
    let sql = "SELECT mcu_id FROM battery_pack ORDER BY ctid";
    let added = database.client().query(sql, &[]).unwrap();
    let added: Vec<i64> = added.iter().map(|row| row.get(0)).collect();
    assert_eq!(added, sorted.iter().map(|row| i64::from(row.mcu_id)).collect::<Vec<_>>());
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Commit,
    Killed,
}

/// Delivers a batch, and delivers it again while the first attempt's transaction is still open;
/// then lets the first one end.
fn deliver_while_open(database: &Database, end: End) {
    let mut first = database.sink();
    let mut second = database.sink();
    // The row is in, the transaction is open, and stays so as long as we hold the gate.
    database.admin(
        "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';
         CREATE TRIGGER gate AFTER INSERT ON battery_pack EXECUTE PROCEDURE gate()",
    );
    let mut gate = database.client();
    gate.batch_execute("SELECT pg_advisory_lock(1)").unwrap();
    let batch = [record(0, 7), record(0, 8)];
    thread::scope(|scope| {
        let first = scope.spawn(|| deliver(&mut first, &batch));
        wait_for_blocked(database, 1);
        let second = scope.spawn(|| deliver(&mut second, &batch));
        wait_for_blocked(database, 2);
        if end == End::Killed {
            database.admin(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'advisory'
                   AND query LIKE 'INSERT%'",
            );
        }
        let early = second.is_finished();
        gate.batch_execute("SELECT pg_advisory_unlock(1)").unwrap();
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        if end == End::Killed {
            assert_eq!(first.unwrap_err().retry(), Retry::Soon);
            assert_eq!(second.unwrap(), delivered(2, 0));
        } else {
            assert!(!early, "the second one must wait for the first one");
            assert_eq!(first.unwrap(), delivered(2, 0));
            assert_eq!(second.unwrap(), delivered(0, 2));
        }
    });
    assert_eq!(database.rows(), batch);
}

fn wait_for_blocked(database: &Database, sessions: i64) {
    let mut client = database.client();
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event = 'advisory'";
    wait_until("the sinks wait", MINUTE, || {
        client.query_one(sql, &[]).unwrap().get::<_, i64>(0) == sessions
    });
}

#[test]
fn a_first_attempt_that_is_still_open_and_then_commits() {
    deliver_while_open(&Database::new("open_commits"), End::Commit);
}

#[test]
fn a_first_attempt_that_is_still_open_and_then_dies() {
    deliver_while_open(&Database::new("open_dies"), End::Killed);
}

#[test]
fn the_isolation_that_the_server_prefers_makes_no_difference() {
    for (name, isolation) in [("repeatable", "repeatable read"), ("serial", "serializable")] {
        let database = Database::new(name);
        database.set(&format!("default_transaction_isolation = '{isolation}'"));
        deliver_while_open(&database, End::Commit);
    }
}

/// A writer that shares no lock with us: another program, or a listener on another coordinator of
/// the same shards.
#[test]
fn a_row_that_another_writer_adds_meanwhile_is_known_at_once() {
    let database = Database::new("raced");
    let mut sink = database.sink();
    let batch: Vec<_> = (0..100).map(|n| record(n, 1)).collect();
    let mut other = database.client();
    let time = "'2025-06-15 15:07:30'";
    other
        .batch_execute(&format!(
            "BEGIN; INSERT INTO battery_pack (insert_time_utc, mcu_id) VALUES ({time}, 1)"
        ))
        .unwrap();
    let step = thread::scope(|scope| {
        let step = scope.spawn(|| sink.deliver(&batch.into(), 0));
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event = 'transactionid'";
        let mut watcher = database.client();
        wait_until("the sink waits for the row", MINUTE, || {
            watcher.query_one(sql, &[]).unwrap().get::<_, i64>(0) == 1
        });
        other.batch_execute("COMMIT").unwrap();
        step.join().unwrap()
    });
    assert_eq!(step.unwrap(), delivered(99, 1));
}

/// Two sinks deliver overlapping batches at the same moment, round after round, one of them with
/// its batteries in the opposite order.
fn race(database: &Database, rounds: i64) {
    let batch = |round| -> Vec<PackRecord> {
        (0..12).map(|n| record(round * 3 + n / 4, 60 + (n % 4) as u32 * 3)).collect()
    };
    let start = Barrier::new(2);
    let run = |mut sink: Sink, cut: fn(&mut Vec<PackRecord>)| {
        let start = &start;
        move || {
            let mut results = vec![];
            for round in 0..rounds {
                let mut batch = batch(round);
                cut(&mut batch);
                start.wait();
                results.push(deliver(&mut sink, &batch));
            }
            results
        }
    };
    let a = run(database.sink(), |batch| batch.truncate(10));
    let b = run(database.sink(), |batch| {
        batch.drain(..2);
        batch.reverse();
    });
    let results = thread::scope(|scope| {
        let (a, b) = (scope.spawn(a), scope.spawn(b));
        [a.join().unwrap(), b.join().unwrap()].into_iter().flatten()
    });
    let added: u64 = results.map(|r| r.expect("no deadlock, no conflict").added).sum();
    let sql = "SELECT count(*), count(DISTINCT (insert_time_utc, mcu_id)) FROM battery_pack";
    let row = database.client().query_one(sql, &[]).unwrap();
    let expected = rounds * 12;
    assert_eq!((row.get(0), row.get(1)), (expected, expected));
    assert_eq!(added, expected.cast_unsigned());
}

#[test]
fn two_at_once_double_nothing() {
    race(&Database::new("race"), 50);
    let database = Database::new("race_serializable");
    database.set("default_transaction_isolation = serializable");
    race(&database, 50);
}

#[test]
fn batteries_of_different_buckets_do_not_wait_for_each_other() {
    let database = Database::new("buckets");
    let mut sink = database.sink();
    let mut other = database.sink();
    database.admin(
        "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN IF new.mcu_id = 1 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
            RETURN NULL; END';
         CREATE TRIGGER gate AFTER INSERT ON battery_pack FOR EACH ROW EXECUTE PROCEDURE gate()",
    );
    let mut gate = database.client();
    gate.batch_execute("SELECT pg_advisory_lock(1)").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| deliver(&mut sink, &[record(0, 1)]));
        wait_for_blocked(&database, 1);
        assert_eq!(deliver(&mut other, &[record(0, 2)]).unwrap(), delivered(1, 0));
        gate.batch_execute("SELECT pg_advisory_unlock(1)").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), delivered(1, 0));
    });
}
