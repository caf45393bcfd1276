//! Scenario 20: memory stays where it began, with many batteries, a page that is looked at, and a
//! server that stops and hangs.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use bluenova_simulator::{Battery, Pace, Profile, Server};
use bluenova_test_support::{Answer, Cluster, Frozen, Mode, wait_until};
use time::UtcDateTime;

use crate::{
    is_full,
    oracle::RECOVERY,
    process::Process,
    rounds, seconds,
    support::{Home, get, loopback, named},
};

/// What the program may take more at the end than a minute after its start. In the short form, with
/// a start of a few seconds, that includes what it takes once.
const GROWTH_KIB: u64 = 2 << 10;
const GROWTH_IN_SHORT_FORM_KIB: u64 = 6 << 10;

#[test]
fn s21_memory_stays_where_it_began() {
    let mut cluster = Cluster::start();
    let (server, addresses) = batteries(20);
    let home = Home::new();
    let (url, journal) = (cluster.url("postgres"), home.path("journal.sqlite"));
    let (journal, log) = (journal.display().to_string(), home.path("log").display().to_string());
    let mut args =
        ["-i", "1", "-r", "-d", &url, "--journal", &journal, "-l", &log, "--http", "127.0.0.1:0"]
            .map(str::to_owned)
            .to_vec();
    for (n, address) in addresses.iter().enumerate() {
        args.extend(["-b".to_owned(), named(&format!("no{n}"), address)]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let listener = home.listen(&args);
    let process = Process(listener.pid());
    let page = page(&home);

    let is_over = AtomicBool::new(false);
    let (before, after, outages) = thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| look_at(page, &is_over));
        delivered_after(page, seconds(10, 60));
        let before = process.memory();
        let outages = rounds(2, 5);
        for n in 0..outages {
            outage(&mut cluster, n, seconds(5, 45));
            delivered_after(page, seconds(1, 10));
        }
        (before, process.memory(), outages)
    });
    println!("memory: {before} KiB at the start, {after} KiB after {outages} outages");
    let growth = if is_full() { GROWTH_KIB } else { GROWTH_IN_SHORT_FORM_KIB };
    assert!(after <= before + growth, "{before} KiB became {after} KiB");
    listener.stop();
    drop(server);
}

fn batteries(count: u64) -> (Server, Vec<SocketAddr>) {
    let battery = |seed| Battery::new(Profile::new(seed, UtcDateTime::UNIX_EPOCH));
    let pace = Pace::Free { speed: 1.0 };
    let mut server = Server::bind(loopback(), battery(1), pace).unwrap();
    let mut addresses = vec![server.control().local_addr()];
    for seed in 2..=count {
        addresses.push(server.add(loopback(), battery(seed), pace).unwrap().local_addr());
    }
    (server, addresses)
}

/// Where the page is, according to the log.
fn page(home: &Home) -> SocketAddr {
    let mut address = None;
    wait_until("the page is there", RECOVERY, || {
        let log = home.read("log");
        address = log.split_once("page at http://").and_then(|(_, rest)| {
            let (address, _) = rest.split_once('\n')?;
            address.trim_end_matches('/').parse().ok()
        });
        address.is_some()
    });
    address.unwrap()
}

/// Ends the looking at the page, even where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks for all that a browser and a scraper ask for, once a second.
fn look_at(page: SocketAddr, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let all = get(page, "/api/batteries").json();
        let ids = all["batteries"].as_array().unwrap().iter();
        for id in ids.filter_map(|battery| battery["battery"].as_str()).take(2) {
            is_answered(&get(page, &format!("/api/batteries/{id}/plots?width=900")));
        }
        is_answered(&get(page, "/"));
        is_answered(&get(page, "/metrics"));
        thread::sleep(Duration::from_secs(1));
    }
}

fn is_answered(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Stops the server, or has it hang, for a while.
fn outage(cluster: &mut Cluster, n: usize, length: Duration) {
    if n.is_multiple_of(2) {
        cluster.stop(Mode::Immediate);
        thread::sleep(length);
        cluster.start_again();
    } else {
        let sessions = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'
                        AND pid <> pg_backend_pid()";
        let sessions = cluster.client("postgres").query(sessions, &[]).unwrap();
        let sessions = sessions.iter().map(|row| row.get::<_, i32>(0).cast_unsigned());
        let _frozen: Vec<_> =
            sessions.chain(cluster.postmaster_pid()).map(Frozen::process).collect();
        thread::sleep(length);
    }
}

/// Waits that long, and until no rows of before wait.
fn delivered_after(page: SocketAddr, length: Duration) {
    thread::sleep(length);
    wait_until("PostgreSQL has all rows", RECOVERY, || {
        let all = get(page, "/api/batteries").json();
        let delivery = &all["storage"]["delivery"];
        delivery["waiting"] == 0 && delivery["trouble"].is_null()
    });
}
