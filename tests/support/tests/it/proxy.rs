//! The proxy forwards, and fails at the point that was set.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use bluenova_test_support::{Cluster, Frozen, Point, Proxy, TIME_LIMIT, wait_until};
use postgres::{Client, NoTls, SimpleQueryMessage};

/// A table of its own, and a proxy.
fn start(table: &str) -> Proxy {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(Cluster::start);
    let proxy = Proxy::start(cluster);
    connect(&proxy).batch_execute(&format!("CREATE TABLE {table} (n int)")).unwrap();
    proxy
}

fn connect(proxy: &Proxy) -> Client {
    Client::connect(&proxy.url("postgres"), NoTls).unwrap()
}

fn add(client: &mut Client, table: &str) -> Result<(), postgres::Error> {
    client.batch_execute("BEGIN")?;
    client.execute(&format!("INSERT INTO {table} VALUES ($1)"), &[&1])?;
    client.batch_execute("COMMIT")
}

fn count(proxy: &Proxy, table: &str) -> i64 {
    connect(proxy).query_one(&format!("SELECT count(*) FROM {table}"), &[]).unwrap().get(0)
}

#[test]
fn a_cut_is_before_or_after_the_commit() {
    let proxy = start("cuts");
    for (point, rows) in
        [(Point::Rows, 0), (Point::Commit, 0), (Point::Answer, 1), (Point::Anywhere, 1)]
    {
        let mut client = connect(&proxy);
        let hits = proxy.hits();
        proxy.cut(point);
        assert!(add(&mut client, "cuts").is_err(), "{point:?}");
        assert!(proxy.hits() > hits, "{point:?}");
        proxy.heal();
        // The server may not have noticed yet that its client is gone.
        wait_until("the rows are as they should be", TIME_LIMIT, || count(&proxy, "cuts") == rows);
    }
    for point in [Point::Accept, Point::StartUp] {
        proxy.cut(point);
        assert!(Client::connect(&proxy.url("postgres"), NoTls).is_err(), "{point:?}");
    }
    proxy.heal();
    let mut client = connect(&proxy);
    assert_eq!(proxy.connections(), 1);
    proxy.cut_all();
    assert!(add(&mut client, "cuts").is_err());
    wait_until("all connections are gone", TIME_LIMIT, || proxy.connections() == 0);
}

#[test]
fn what_is_frozen_goes_on_where_it_stopped() {
    let proxy = start("freezes");
    let mut onlooker = connect(&proxy);
    for (point, meanwhile) in [(Point::Rows, "0"), (Point::Commit, "1"), (Point::Answer, "3")] {
        let mut client = connect(&proxy);
        check_frozen(
            &proxy,
            point,
            move |_| add(&mut client, "freezes").unwrap(),
            || {
                let sql = "SELECT count(*) FROM freezes";
                let answer = onlooker.simple_query(sql).unwrap();
                let rows = answer.iter().find_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                });
                assert_eq!(rows, Some(meanwhile), "{point:?}");
            },
        );
    }
    let mut client = connect(&proxy);
    check_frozen(&proxy, Point::Anywhere, move |_| add(&mut client, "freezes").unwrap(), || {});
    for point in [Point::Accept, Point::StartUp] {
        check_frozen(&proxy, point, |url| drop(Client::connect(url, NoTls).unwrap()), || {});
    }
    assert_eq!(count(&proxy, "freezes"), 4);
}

/// Freezes `point`, and checks that `work` stops there and goes on after `heal`.
fn check_frozen(
    proxy: &Proxy,
    point: Point,
    mut work: impl FnMut(&str) + Send + 'static,
    mut meanwhile: impl FnMut(),
) {
    let hits = proxy.hits();
    let url = proxy.url("postgres");
    proxy.freeze(point);
    let working = thread::spawn(move || work(&url));
    wait_until("it is frozen", TIME_LIMIT, || proxy.hits() > hits);
    meanwhile();
    assert!(!working.is_finished(), "{point:?}");
    proxy.heal();
    working.join().unwrap();
}

#[test]
fn a_delay_counts_once_for_each_question() {
    let proxy = start("delays");
    let mut client = connect(&proxy);
    let delay = Duration::from_millis(50);
    proxy.delay(delay);
    let start = Instant::now();
    client.batch_execute("SELECT 1").unwrap();
    client.batch_execute("SELECT 2").unwrap();
    assert!(start.elapsed() >= delay * 2, "{:?}", start.elapsed());
}

#[test]
fn a_frozen_process_goes_on_when_the_value_is_dropped() {
    let proxy = start("processes");
    let mut client = connect(&proxy);
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let frozen = Frozen::process(pid.cast_unsigned());
    thread::scope(|scope| {
        let adding = scope.spawn(|| add(&mut client, "processes"));
        thread::sleep(Duration::from_millis(50));
        assert!(!adding.is_finished());
        drop(frozen);
        adding.join().unwrap().unwrap();
    });
    assert_eq!(count(&proxy, "processes"), 1);
}
