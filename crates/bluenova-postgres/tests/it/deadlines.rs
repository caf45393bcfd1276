//! A server that doesn't answer delays the sink no longer than its deadlines, and nothing is lost
//! or doubled by it.

use std::{sync::Arc, time::Duration};

use bluenova_postgres::{BATCH, Deadlines, Delivered, Error, Retry, Settings, Sink};
use bluenova_record::PackRecord;
use bluenova_test_support::{Cluster, Frozen, Point, Proxy, wait_until};

use crate::{
    Database, MINUTE, cluster, deliver, delivered, errors::check, narrowing::deliver_and_reject,
    new_sink, record,
};

/// Long enough for an answer on a busy machine, most of the time.
const DEADLINE: Duration = Duration::from_secs(5);

/// A database behind a proxy.
struct Proxied {
    database: Database,
    proxy: Proxy,
}

impl Proxied {
    fn new(name: &str) -> Self {
        Self { database: Database::new(name), proxy: Proxy::start(cluster()) }
    }

    fn sink(&self, deadline: Duration) -> Sink {
        sink_for(&self.proxy.url(&self.database.name), deadline)
    }
}

fn sink_for(url: &str, deadline: Duration) -> Sink {
    let settings = Settings::resolve(url, Some("homeauto"), |_| None).unwrap();
    new_sink(settings, deadline)
}

/// Tries until all rows are delivered, for the machine may be too busy for the deadline.
fn deliver_at_last(sink: &mut Sink, rows: &[PackRecord]) -> Delivered {
    let (mut result, mut tries) = (None, 0);
    wait_until("the rows are delivered", MINUTE, || {
        tries += 1;
        result = deliver(sink, rows).ok();
        result.is_some()
    });
    let result = result.unwrap();
    // What is known then may come from a try that had no answer in time.
    if tries > 1 { delivered(rows.len() as u64, 0) } else { result }
}

/// Delivers rows to a server that doesn't answer.
#[track_caller]
fn deliver_in_vain(sink: &mut Sink, rows: &[PackRecord]) -> Error {
    let error = deliver(sink, rows).expect_err("nobody answers");
    assert_eq!((error.retry(), error.sqlstate()), (Retry::Soon, None), "{error}");
    assert!(error.to_string().ends_with(": no answer within 5s"), "{error}");
    error
}

fn wait_for_the_stuck(sink: &Sink) {
    wait_until("the connections that were given up have ended", MINUTE, || sink.stuck() == 0);
}

/// Freezes the proxy at a point, and counts the rows in the table after the frozen connection has
/// gone on: one that was given up commits nothing more.
fn check_freeze(name: &str, point: Point, is_connected: bool, rows: i64) {
    let proxied = Proxied::new(name);
    let mut sink = proxied.sink(DEADLINE);
    let records: Vec<_> = (0..3).map(|n| record(n, 1)).collect();
    let error = loop {
        deliver_at_last(&mut sink, &records[..1]);
        wait_for_the_stuck(&sink);
        if !is_connected {
            sink = proxied.sink(DEADLINE);
        }
        let hits = proxied.proxy.hits();
        proxied.proxy.freeze(point);
        let error = deliver_in_vain(&mut sink, &records[..2]);
        if proxied.proxy.hits() > hits {
            break error;
        }
        // A busy machine has not come to that point in time.
        proxied.proxy.heal();
        wait_for_the_stuck(&sink);
    };
    assert_eq!(error.is_too_slow(), is_connected, "{error}");
    assert_eq!((sink.stuck(), sink.is_connected()), (1, false));
    proxied.proxy.heal();
    wait_for_the_stuck(&sink);
    assert_eq!(proxied.database.count(), rows, "{point:?}");

    deliver_at_last(&mut sink, &records);
    assert_eq!(proxied.database.rows(), records, "{point:?}");
}

#[test]
fn a_proxy_that_freezes_while_we_connect() {
    check_freeze("freeze_accept", Point::Accept, false, 1);
    check_freeze("freeze_start_up", Point::StartUp, false, 1);
    check_freeze("freeze_connect", Point::Anywhere, false, 1);
}

#[test]
fn a_proxy_that_freezes_while_we_deliver() {
    check_freeze("freeze_begin", Point::Anywhere, true, 1);
    check_freeze("freeze_rows", Point::Rows, true, 1);
    // The commit was on its way already.
    check_freeze("freeze_commit", Point::Commit, true, 2);
    check_freeze("freeze_answer", Point::Answer, true, 2);
}

#[test]
fn a_batch_without_an_answer_is_cut_down() {
    let proxied = Proxied::new("cut_down");
    let mut sink = proxied.sink(DEADLINE);
    let rows: Arc<[_]> = (0..2 * BATCH as i64).map(|n| record(n, 1)).collect();
    deliver_at_last(&mut sink, &rows[..1]);
    proxied.proxy.freeze(Point::Rows);
    let error = sink.deliver(&rows, 0).unwrap_err();
    assert!(error.is_too_slow(), "{error}");
    assert!(error.to_string().ends_with(": no answer within 5s"), "{error}");
    assert_eq!(sink.batch_size(), BATCH / 8);

    // That the connect gets no answer is not because of the rows.
    proxied.proxy.freeze(Point::StartUp);
    assert!(!sink.deliver(&rows, 0).unwrap_err().is_too_slow());
    assert_eq!(sink.batch_size(), BATCH / 8);
    proxied.proxy.heal();
    wait_for_the_stuck(&sink);
    deliver_at_last(&mut sink, &rows);
    assert_eq!(*proxied.database.rows(), *rows);
}

#[test]
fn a_line_that_is_cut_around_the_commit() {
    let proxied = Proxied::new("cut_commit");
    let mut sink = proxied.sink(MINUTE);
    for n in 0..10 {
        let (point, expected) = if n % 2 == 0 {
            (Point::Commit, delivered(1, 0))
        } else {
            (Point::Answer, delivered(0, 1))
        };
        proxied.proxy.cut(point);
        let records = [record(n, 1)];
        let error = deliver(&mut sink, &records).unwrap_err();
        assert_eq!(error.retry(), Retry::Soon, "{error}");
        proxied.proxy.heal();
        assert_eq!(deliver(&mut sink, &records).unwrap(), expected, "{point:?}");
    }
    assert_eq!(proxied.database.count(), 10);
}

#[test]
fn no_more_than_a_few_may_hang() {
    let proxied = Proxied::new("few_stuck");
    let mut sink = proxied.sink(DEADLINE);
    proxied.proxy.freeze(Point::StartUp);
    for stuck in 1..=Sink::MAX_STUCK {
        deliver_in_vain(&mut sink, &[record(0, 1)]);
        assert_eq!(sink.stuck(), stuck);
    }
    wait_until("all of them hang", MINUTE, || proxied.proxy.hits() == Sink::MAX_STUCK);
    let hits = proxied.proxy.hits();
    for _ in 0..10 {
        let error = deliver(&mut sink, &[record(0, 1)]).unwrap_err();
        assert_eq!(error.retry(), Retry::Soon, "{error}");
        let text = error.to_string();
        assert!(text.contains(": the server has left 3 connections hanging"), "{text}");
        assert!(!error.is_too_slow());
    }
    assert_eq!((sink.stuck(), proxied.proxy.hits()), (3, hits));

    // One that breaks allows for another one.
    proxied.proxy.cut_all();
    proxied.proxy.heal();
    wait_for_the_stuck(&sink);
    deliver_at_last(&mut sink, &[record(0, 1)]);
    assert_eq!(proxied.database.count(), 1);
}

/// Two proxies as the hosts, one after the other.
fn sink_to(first: &Proxy, second: &Proxy, name: &str) -> Sink {
    let ports = format!("{},{}", first.port(), second.port());
    let url = format!("host=127.0.0.1,127.0.0.1 port={ports} dbname={name} sslmode=disable");
    sink_for(&url, DEADLINE)
}

#[test]
fn a_first_host_that_hangs_leaves_the_second_one_its_turn() {
    let proxied = Proxied::new("turns");
    proxied.database.sink();
    proxied.proxy.freeze(Point::StartUp);
    let here = cluster().socket_dir().display();
    let (frozen, port) = (proxied.proxy.port(), cluster().port());
    let url = format!("host=127.0.0.1,{here} port={frozen},{port} dbname=turns");
    let mut sink = sink_for(&url, DEADLINE);
    deliver_in_vain(&mut sink, &[record(0, 1)]);
    assert_eq!(deliver_at_last(&mut sink, &[record(0, 1)]), delivered(1, 0));
    assert_eq!((sink.stuck(), proxied.proxy.connections()), (1, 1));

    // The next connection leads to the second one again, for the first one still hangs.
    proxied.database.admin("ALTER TABLE battery_pack RENAME TO away");
    wait_until("the table is missed", MINUTE, || {
        deliver(&mut sink, &[record(1, 1)]).unwrap_err().retry() == Retry::Hold
    });
    proxied.database.admin("ALTER TABLE away RENAME TO battery_pack");
    assert_eq!(deliver_at_last(&mut sink, &[record(1, 1)]), delivered(1, 0));
    assert_eq!((sink.stuck(), proxied.proxy.connections()), (1, 1));
}

#[test]
fn a_second_host_that_comes_back_is_found_however_many_hang_on_the_first() {
    let proxied = Proxied::new("comes_back");
    proxied.database.sink();
    proxied.proxy.freeze(Point::StartUp);
    let second = Proxy::start(cluster());
    second.cut(Point::Accept);
    let mut sink = sink_to(&proxied.proxy, &second, "comes_back");
    for _ in 0..Sink::MAX_STUCK {
        deliver_in_vain(&mut sink, &[record(0, 1)]);
    }
    for _ in 0..3 {
        let error = deliver(&mut sink, &[record(0, 1)]).unwrap_err().to_string();
        assert!(error.contains(&format!("on 127.0.0.1:{}", second.port())), "{error}");
    }
    assert_eq!(sink.stuck(), Sink::MAX_STUCK);
    second.heal();
    assert_eq!(deliver_at_last(&mut sink, &[record(0, 1)]), delivered(1, 0));
    assert_eq!(sink.stuck(), Sink::MAX_STUCK);
}

#[test]
fn a_connection_is_kept_until_an_error_that_is_not_about_a_row() {
    let proxied = Proxied::new("kept");
    let mut sink = proxied.sink(MINUTE);
    assert!(!sink.is_connected());
    deliver(&mut sink, &[record(0, 1)]).unwrap();
    proxied.database.admin("ALTER TABLE battery_pack ADD CONSTRAINT sane CHECK (mcu_id <> 13)");
    let poison = record(0, 13);
    assert_eq!(deliver_and_reject(&mut sink, std::slice::from_ref(&poison)).len(), 1);
    check(&sink.probe(&poison).unwrap_err(), Retry::Row, "23514", &["sane"]);
    sink.probe(&record(0, 1)).unwrap();
    assert!(sink.is_connected());
    assert_eq!(proxied.proxy.connections(), 1);

    // A session that may not write stays so, even when others may.
    proxied.database.set("default_transaction_read_only = on");
    proxied.proxy.cut_all();
    check(&deliver(&mut sink, &[record(1, 1)]).unwrap_err(), Retry::Hold, "25006", &[]);
    assert!(!sink.is_connected());
    let mut admin = cluster().client("postgres");
    admin.batch_execute("ALTER DATABASE kept RESET default_transaction_read_only").unwrap();
    assert_eq!(deliver(&mut sink, &[record(1, 1)]).unwrap(), delivered(1, 0));
    assert_eq!(proxied.database.count(), 2);
}

#[test]
fn warnings_are_handed_out_once_for_each_connection() {
    let proxied = Proxied::new("warnings");
    proxied.database.sink();
    proxied.database.admin(
        "DROP INDEX battery_pack_time; ALTER TABLE battery_pack OWNER TO postgres;
         GRANT SELECT, INSERT ON battery_pack TO homeauto",
    );
    let mut sink = proxied.sink(MINUTE);
    sink.connect().unwrap();
    assert_eq!(sink.take_warnings().len(), 1);
    deliver(&mut sink, &[record(0, 1)]).unwrap();
    assert!(sink.take_warnings().is_empty());
    // A session that ended while idle is replaced without a word.
    proxied.proxy.cut_all();
    deliver(&mut sink, &[record(1, 1)]).unwrap();
    assert!(sink.take_warnings().is_empty());
    // The same warning of several connections waits once.
    for n in 2..4 {
        proxied.proxy.cut(Point::Rows);
        deliver(&mut sink, &[record(n, 1)]).unwrap_err();
        proxied.proxy.heal();
        deliver(&mut sink, &[record(n, 1)]).unwrap();
    }
    assert_eq!(sink.take_warnings().len(), 1);
}

#[test]
fn dropping_it_waits_for_nothing() {
    let proxied = Proxied::new("dropped");
    let mut sink = proxied.sink(DEADLINE);
    deliver_at_last(&mut sink, &[record(0, 1)]);
    proxied.proxy.freeze(Point::Anywhere);
    deliver_in_vain(&mut sink, &[record(1, 1)]);
    // It would wait for ever here.
    drop(sink);
    proxied.proxy.heal();
    wait_until("the connections are gone", MINUTE, || proxied.proxy.connections() == 0);
    assert_eq!(proxied.database.count(), 1);

    let mut sink = proxied.sink(DEADLINE);
    deliver_at_last(&mut sink, &[record(1, 1)]);
    drop(sink);
    wait_until("the connections are gone", MINUTE, || proxied.proxy.connections() == 0);
}

#[test]
fn a_line_with_a_long_round_trip_is_used_little() {
    let proxied = Proxied::new("latency");
    proxied.database.sink();
    // A tenth of the default, which is for a round trip of 5 s.
    let usual = Deadlines::default();
    let deadlines = Deadlines { connect: usual.connect / 10, deliver: usual.deliver / 10 };
    let settings = Settings::resolve(&proxied.proxy.url("latency"), Some("homeauto"), |_| None);
    let mut sink = Sink::new(settings.unwrap(), deadlines);
    proxied.proxy.delay(Duration::from_millis(500));
    deliver_at_last(&mut sink, &[record(0, 1)]);
}

#[test]
fn processes_of_the_server_that_stand_still() {
    let cluster = Cluster::start();
    cluster.client("postgres").batch_execute("CREATE ROLE homeauto SUPERUSER LOGIN").unwrap();
    let url = cluster.url("postgres");
    let mut sink_1 = sink_for(&url, DEADLINE);
    let mut sink_2 = sink_for(&url, DEADLINE);
    let count = || -> i64 {
        let sql = "SELECT count(*) FROM battery_pack";
        cluster.client("postgres").query_one(sql, &[]).unwrap().get(0)
    };
    assert_eq!(deliver_at_last(&mut sink_1, &[record(0, 1)]), delivered(1, 0));

    let postmaster = Frozen::process(cluster.postmaster_pid().unwrap());
    assert_eq!(deliver_at_last(&mut sink_1, &[record(1, 1)]), delivered(1, 0));
    deliver_in_vain(&mut sink_2, &[record(2, 1)]);
    drop(postmaster);
    wait_for_the_stuck(&sink_2);
    assert_eq!(count(), 2);
    drop(sink_2);

    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'bluenovalistener'";
    let mut admin = cluster.client("postgres");
    let mut pids = vec![];
    wait_until("one session is left", MINUTE, || {
        pids = admin.query(sql, &[]).unwrap();
        pids.len() == 1
    });
    let backend = Frozen::process(pids[0].get::<_, i32>(0).cast_unsigned());
    deliver_in_vain(&mut sink_1, &[record(2, 1)]);
    assert_eq!(deliver_at_last(&mut sink_1, &[record(2, 1)]), delivered(1, 0), "over another one");
    drop(backend);
    wait_for_the_stuck(&sink_1);
    assert_eq!(deliver_at_last(&mut sink_1, &[record(2, 1)]), delivered(0, 1));
    assert_eq!(count(), 3);
}
