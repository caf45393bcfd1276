//! A server that doesn't answer holds nobody up, and nothing is lost or doubled by it.

use std::time::{Duration, Instant};

use bluenova_postgres::{Courier, Deadlines, Delivered, Error, Retry, Settings};
use bluenova_record::PackRecord;
use bluenova_test_support::{Cluster, Frozen, Point, Proxy, wait_until};

use crate::{House, PATIENCE, cluster, delivered, errors::check, record};

/// Long enough for an answer on a busy machine, most of the time.
const DEADLINE: Duration = Duration::from_millis(500);

/// A database behind a proxy.
struct Street {
    house: House,
    proxy: Proxy,
}

impl Street {
    fn new(name: &str) -> Self {
        Self { house: House::new(name), proxy: Proxy::start(cluster()) }
    }

    fn courier(&self) -> Courier {
        courier(&self.proxy.url(&self.house.name))
    }
}

pub(crate) fn courier(url: &str) -> Courier {
    let settings = Settings::resolve(url, Some("homeauto"), |_| None).unwrap();
    Courier::new(settings, Deadlines { connect: DEADLINE, deliver: DEADLINE })
}

/// Tries until it succeeds, for the machine may be too busy for our deadline.
fn deliver(courier: &mut Courier, records: &[PackRecord]) -> Delivered {
    let mut result = None;
    wait_until("the records are delivered", PATIENCE, || {
        result = courier.deliver(records).ok();
        result.is_some()
    });
    result.unwrap()
}

/// There is no answer, and we know it in time.
#[track_caller]
fn deliver_in_vain(courier: &mut Courier, records: &[PackRecord]) -> Error {
    let start = Instant::now();
    let error = courier.deliver(records).expect_err("nobody answers");
    assert!(start.elapsed() < DEADLINE * 4, "{:?}", start.elapsed());
    assert_eq!((error.retry(), error.sqlstate()), (Retry::Soon, None), "{error}");
    assert!(error.to_string().ends_with(": no answer within 500ms"), "{error}");
    error
}

fn wait_for_the_stuck(courier: &Courier) {
    wait_until("the stuck ones have ended", PATIENCE, || courier.stuck() == 0);
}

/// Freezes the proxy at a point, and counts the rows that are in after what was frozen went on.
fn check_freeze(name: &str, point: Point, is_connected: bool, rows: i64) {
    let street = Street::new(name);
    let mut courier = street.courier();
    let records: Vec<_> = (0..3).map(|n| record(n, 1)).collect();
    deliver(&mut courier, &records[..1]);
    if !is_connected {
        courier = street.courier();
    }

    street.proxy.freeze(point);
    let error = deliver_in_vain(&mut courier, &records[..2]);
    assert_eq!(error.is_too_slow(), is_connected, "{error}");
    assert_eq!((courier.stuck(), courier.is_connected()), (1, false));
    street.proxy.heal();
    wait_for_the_stuck(&courier);
    assert_eq!(street.house.count(), rows, "{point:?}");

    deliver(&mut courier, &records);
    assert_eq!(street.house.rows(), records, "{point:?}");
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
    // It was on its way already.
    check_freeze("freeze_commit", Point::Commit, true, 2);
    check_freeze("freeze_answer", Point::Answer, true, 2);
}

#[test]
fn a_line_that_is_cut_around_the_commit() {
    let street = Street::new("cut_commit");
    let mut courier = street.courier();
    for n in 0..10 {
        let (point, expected) = if n % 2 == 0 {
            (Point::Commit, delivered(1, 0))
        } else {
            (Point::Answer, delivered(0, 1))
        };
        street.proxy.cut(point);
        let records = [record(n, 1)];
        let error = courier.deliver(records.to_vec()).unwrap_err();
        assert_eq!(error.retry(), Retry::Soon, "{error}");
        street.proxy.heal();
        assert_eq!(deliver(&mut courier, &records), expected, "{point:?}");
    }
    assert_eq!(street.house.count(), 10);
}

#[test]
fn no_more_than_a_few_may_hang() {
    let street = Street::new("few_stuck");
    let mut courier = street.courier();
    street.proxy.freeze(Point::StartUp);
    for stuck in 1..=Courier::MOST_STUCK {
        deliver_in_vain(&mut courier, &[record(0, 1)]);
        assert_eq!(courier.stuck(), stuck);
    }
    let hits = street.proxy.hits();
    for _ in 0..10 {
        let start = Instant::now();
        let error = courier.deliver(vec![record(0, 1)]).unwrap_err();
        assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());
        assert_eq!(error.retry(), Retry::Soon, "{error}");
        let text = error.to_string();
        assert!(text.contains(": 3 connections were given up and still hang"), "{text}");
        assert!(!error.is_too_slow());
    }
    assert_eq!((courier.stuck(), street.proxy.hits()), (3, hits));

    // One that breaks makes room for another.
    street.proxy.cut_all();
    street.proxy.heal();
    wait_for_the_stuck(&courier);
    deliver(&mut courier, &[record(0, 1)]);
    assert_eq!(street.house.count(), 1);
}

/// Two proxies as the hosts, one after the other.
fn courier_to(first: &Proxy, second: &Proxy, name: &str) -> Courier {
    let ports = format!("{},{}", first.port(), second.port());
    courier(&format!("host=127.0.0.1,127.0.0.1 port={ports} dbname={name} sslmode=disable"))
}

#[test]
fn a_first_host_that_hangs_leaves_the_second_one_its_turn() {
    let street = Street::new("turns");
    street.house.sink();
    street.proxy.freeze(Point::StartUp);
    let here = cluster().socket_dir().display();
    let (frozen, port) = (street.proxy.port(), cluster().port());
    let mut courier = courier(&format!("host=127.0.0.1,{here} port={frozen},{port} dbname=turns"));
    deliver_in_vain(&mut courier, &[record(0, 1)]);
    assert_eq!(deliver(&mut courier, &[record(0, 1)]), delivered(1, 0));
    assert_eq!((courier.stuck(), street.proxy.connections()), (1, 1));

    // The next connection leads to the second one again, for the first one still hangs.
    street.house.admin("ALTER TABLE battery_pack RENAME TO away");
    assert_eq!(courier.deliver(vec![record(1, 1)]).unwrap_err().retry(), Retry::Hold);
    street.house.admin("ALTER TABLE away RENAME TO battery_pack");
    assert_eq!(deliver(&mut courier, &[record(1, 1)]), delivered(1, 0));
    assert_eq!((courier.stuck(), street.proxy.connections()), (1, 1));
}

#[test]
fn a_second_host_that_comes_back_is_found_however_many_hang_on_the_first() {
    let street = Street::new("comes_back");
    street.house.sink();
    street.proxy.freeze(Point::StartUp);
    let second = Proxy::start(cluster());
    second.cut(Point::Accept);
    let mut courier = courier_to(&street.proxy, &second, "comes_back");
    for _ in 0..Courier::MOST_STUCK {
        deliver_in_vain(&mut courier, &[record(0, 1)]);
    }
    for _ in 0..3 {
        let error = courier.deliver(vec![record(0, 1)]).unwrap_err().to_string();
        assert!(error.contains(&format!("on 127.0.0.1:{}", second.port())), "{error}");
    }
    assert_eq!(courier.stuck(), Courier::MOST_STUCK);
    second.heal();
    assert_eq!(deliver(&mut courier, &[record(0, 1)]), delivered(1, 0));
    assert_eq!(courier.stuck(), Courier::MOST_STUCK);
}

#[test]
fn a_connection_is_kept_until_an_error_that_is_not_the_rows() {
    let street = Street::new("kept");
    let mut courier = street.courier();
    assert!(!courier.is_connected());
    deliver(&mut courier, &[record(0, 1)]);
    street.house.admin("ALTER TABLE battery_pack ADD CONSTRAINT sane CHECK (mcu_id <> 13)");
    let poison = record(0, 13);
    check(&courier.deliver(vec![poison.clone()]).unwrap_err(), Retry::Row, "23514", &["sane"]);
    check(&courier.probe(&poison).unwrap_err(), Retry::Row, "23514", &["sane"]);
    courier.probe(&record(0, 1)).unwrap();
    assert!(courier.is_connected());
    assert_eq!(street.proxy.connections(), 1);

    // A session that may not write stays so, whatever becomes of the database.
    street.house.set("default_transaction_read_only = on");
    street.proxy.cut_all();
    assert_eq!(courier.deliver(vec![record(1, 1)]).unwrap_err().retry(), Retry::Soon);
    check(&courier.deliver(vec![record(1, 1)]).unwrap_err(), Retry::Hold, "25006", &[]);
    assert!(!courier.is_connected());
    let mut admin = cluster().client("postgres");
    admin.batch_execute("ALTER DATABASE kept RESET default_transaction_read_only").unwrap();
    assert_eq!(deliver(&mut courier, &[record(1, 1)]), delivered(1, 0));
    assert_eq!(street.house.count(), 2);
}

#[test]
fn notes_are_handed_out_once_for_each_connection() {
    let street = Street::new("notes");
    street.house.sink();
    street.house.admin(
        "DROP INDEX battery_pack_time; ALTER TABLE battery_pack OWNER TO postgres;
         GRANT SELECT, INSERT ON battery_pack TO homeauto",
    );
    let mut courier = street.courier();
    wait_until("it is connected", PATIENCE, || courier.connect().is_ok());
    assert_eq!(courier.take_notes().len(), 1);
    deliver(&mut courier, &[record(0, 1)]);
    assert!(courier.take_notes().is_empty());
    assert_eq!(deliver(&mut courier, &[]), delivered(0, 0));
}

#[test]
fn dropping_it_waits_for_nothing() {
    let street = Street::new("dropped");
    let mut courier = street.courier();
    deliver(&mut courier, &[record(0, 1)]);
    street.proxy.freeze(Point::Anywhere);
    deliver_in_vain(&mut courier, &[record(1, 1)]);
    let start = Instant::now();
    drop(courier);
    assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());
    street.proxy.heal();
    wait_until("the connections are gone", PATIENCE, || street.proxy.connections() == 0);
    assert_eq!(street.house.count(), 1);

    let mut courier = street.courier();
    deliver(&mut courier, &[record(1, 1)]);
    drop(courier);
    wait_until("the connections are gone", PATIENCE, || street.proxy.connections() == 0);
}

#[test]
fn a_slow_line_asks_few_questions() {
    let street = Street::new("latency");
    street.house.sink();
    // A tenth of what is granted to a line that takes 5 s for each.
    let usual = Deadlines::default();
    let deadlines = Deadlines { connect: usual.connect / 10, deliver: usual.deliver / 10 };
    let settings = Settings::resolve(&street.proxy.url("latency"), Some("homeauto"), |_| None);
    let mut courier = Courier::new(settings.unwrap(), deadlines);
    street.proxy.delay(Duration::from_millis(500));
    deliver(&mut courier, &[record(0, 1)]);
}

#[test]
fn processes_of_the_server_that_stand_still() {
    let cluster = Cluster::start();
    cluster.client("postgres").batch_execute("CREATE ROLE homeauto SUPERUSER LOGIN").unwrap();
    let url = cluster.url("postgres");
    let mut courier_1 = courier(&url);
    let mut courier_2 = courier(&url);
    let count = || -> i64 {
        let sql = "SELECT count(*) FROM battery_pack";
        cluster.client("postgres").query_one(sql, &[]).unwrap().get(0)
    };
    assert_eq!(deliver(&mut courier_1, &[record(0, 1)]), delivered(1, 0));

    let postmaster = Frozen::process(cluster.postmaster_pid().unwrap());
    assert_eq!(deliver(&mut courier_1, &[record(1, 1)]), delivered(1, 0));
    deliver_in_vain(&mut courier_2, &[record(2, 1)]);
    drop(postmaster);
    wait_for_the_stuck(&courier_2);
    assert_eq!(count(), 2);
    drop(courier_2);

    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'bluenovalistener'";
    let mut admin = cluster.client("postgres");
    let mut pids = vec![];
    wait_until("one session is left", PATIENCE, || {
        pids = admin.query(sql, &[]).unwrap();
        pids.len() == 1
    });
    let backend = Frozen::process(pids[0].get::<_, i32>(0).cast_unsigned());
    deliver_in_vain(&mut courier_1, &[record(2, 1)]);
    assert_eq!(deliver(&mut courier_1, &[record(2, 1)]), delivered(1, 0), "over another one");
    drop(backend);
    wait_for_the_stuck(&courier_1);
    assert_eq!(deliver(&mut courier_1, &[record(2, 1)]), delivered(0, 1));
    assert_eq!(count(), 3);
}
