//! A pooler between the sink and the server: PgBouncer, as Debian has it.

use std::{thread, time::Duration};

use bluenova_postgres::{Retry, Settings, Sink};
use bluenova_test_support::{PgBouncer, wait_until};

use crate::{
    Database, MINUTE, cluster, connect, deliver, delivered, errors::refused, new_sink, record,
};

fn pooled(bouncer: &PgBouncer, database: &Database) -> Settings {
    Settings::resolve(&bouncer.url(&database.name), Some("homeauto"), |_| None).unwrap()
}

/// Delivers by several sinks in turn, each time over whatever session of the server is free.
fn check_mode(name: &str, mode: &str, slots: u32) {
    let database = Database::new(name);
    let bouncer = PgBouncer::start(cluster(), slots, &format!("pool_mode = {mode}"));
    let mut sinks: Vec<Sink> =
        (0..3).map(|_| connect(pooled(&bouncer, &database)).unwrap()).collect();
    for n in 0..4 {
        thread::scope(|scope| {
            for (id, sink) in (1..).zip(&mut sinks) {
                let row = record(n, id);
                scope.spawn(move || {
                    assert_eq!(deliver(sink, &[row]).unwrap(), delivered(1, 0));
                });
            }
        });
        // A listener that starts again, over a session that others have used.
        sinks.remove(0);
        sinks.push(connect(pooled(&bouncer, &database)).unwrap());
    }
    assert_eq!(database.count(), 12);
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'homeauto' AND datname = $1";
    let sessions: i64 = database.client().query_one(sql, &[&name]).unwrap().get(0);
    assert!(sessions <= i64::from(slots), "{sessions} sessions");
    let warnings = sinks.iter_mut().flat_map(Sink::take_warnings).collect::<Vec<_>>();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn transactions_of_more_sinks_than_sessions_are_pooled() {
    check_mode("pool_transaction", "transaction", 2);
}

#[test]
fn sessions_are_pooled() {
    check_mode("pool_session", "session", 4);
}

#[test]
fn a_pooler_that_ends_idle_clients_is_connected_to_again_silently() {
    let database = Database::new("pool_idle");
    let bouncer = PgBouncer::start(
        cluster(),
        2,
        "pool_mode = transaction\nclient_idle_timeout = 3\nserver_idle_timeout = 3",
    );
    let mut sink = connect(pooled(&bouncer, &database)).unwrap();
    for n in 0..2 {
        wait_until("the pooler has ended it", MINUTE, || bouncer.clients(&database.name) == 0);
        assert_eq!(deliver(&mut sink, &[record(n, 1)]).unwrap(), delivered(1, 0));
    }
    assert!(sink.take_warnings().is_empty());
}

#[test]
fn a_pool_whose_sessions_are_all_in_use_is_named() {
    let database = Database::new("pool_used_up");
    let bouncer = PgBouncer::start(cluster(), 1, "pool_mode = session");
    let first = connect(pooled(&bouncer, &database)).unwrap();
    let mut second = new_sink(pooled(&bouncer, &database), Duration::from_secs(5));
    let error = second.connect().unwrap_err();
    assert_eq!(error.retry(), Retry::Soon, "{error}");
    assert!(error.to_string().contains("raise its pool_size"), "{error}");
    drop(first);
    wait_until("the second one has its turn", MINUTE, || {
        deliver(&mut second, &[record(0, 1)]).is_ok()
    });
    assert_eq!(database.count(), 1);
}

#[test]
fn a_pool_of_statements_is_named_with_its_remedy() {
    let database = Database::new("pool_statement");
    let bouncer = PgBouncer::start(cluster(), 2, "pool_mode = statement");
    let error = refused(pooled(&bouncer, &database));
    assert_eq!(error.retry(), Retry::Hold, "{error}");
    let text = error.to_string();
    assert!(text.contains("set pool_mode = transaction"), "{text}");
}
