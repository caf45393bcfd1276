//! Threads and file descriptors don't grow in number, however often a server freezes. They are
//! counted in a process of its own, in which no other test has any.

#![cfg(target_os = "linux")]

use std::{env, fs, path::Path, process::Command, time::Duration};

use bluenova_postgres::{Settings, Sink};
use bluenova_test_support::{Cluster, Point, Proxy, wait_until};

use crate::{MINUTE, deliver, new_sink, record};

#[test]
fn threads_and_file_descriptors_stay_flat() {
    passes_alone("flat::freeze_often");
}

#[test]
fn one_thread_makes_all_connections() {
    passes_alone("flat::reconnect_often");
}

#[track_caller]
fn passes_alone(test: &str) {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

/// Numbers of the threads of connections.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let is_ours = |path: &Path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "postgres")
    };
    let ours = tasks.filter(|task| is_ours(&task.path()));
    ours.map(|task| task.file_name().into_string().unwrap()).collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn freeze_often() {
    let cluster = Cluster::start();
    cluster.client("postgres").batch_execute("CREATE ROLE homeauto SUPERUSER LOGIN").unwrap();
    let proxy = Proxy::start(&cluster);
    let url = proxy.url("postgres");
    let settings = Settings::resolve(&url, Some("homeauto"), |_| None).unwrap();
    let deadline = Duration::from_millis(100);
    let mut sink = new_sink(settings, deadline);
    let deliver_at_last = |sink: &mut Sink, n| {
        wait_until("it is delivered", MINUTE, || deliver(sink, &[record(n, 1)]).is_ok());
        wait_until("the rest has ended", MINUTE, || sink.stuck() == 0 && proxy.connections() == 1);
    };

    deliver_at_last(&mut sink, 0);
    let at_first = descriptors();
    for n in 0..20 {
        proxy.freeze([Point::Rows, Point::Anywhere, Point::Answer, Point::Accept][n % 4]);
        for _ in 0..if n == 0 { 10 } else { 2 } {
            if deliver(&mut sink, &[record(n as i64, 1)]).is_err() {
                assert!(threads().len() <= Sink::MAX_STUCK, "{:?}", threads());
            }
        }
        proxy.heal();
        deliver_at_last(&mut sink, n as i64);
        assert_eq!(threads().len(), 1, "{n}");
        wait_until("all is as before", MINUTE, || descriptors() == at_first);
    }
    let mut client = cluster.client("postgres");
    let sql = "SELECT count(*), count(DISTINCT (insert_time_utc, mcu_id)) FROM battery_pack";
    let row = client.query_one(sql, &[]).unwrap();
    assert_eq!((row.get(0), row.get(1)), (20_i64, 20_i64));
}

/// An allocator may keep what each thread has freed.
#[test]
#[ignore = "run by the test above, in a process of its own"]
fn reconnect_often() {
    let cluster = Cluster::start();
    let proxy = Proxy::start(&cluster);
    let settings = Settings::resolve(&proxy.url("postgres"), Some("postgres"), |_| None).unwrap();
    let mut sink = new_sink(settings, MINUTE);
    deliver(&mut sink, &[record(0, 1)]).unwrap();
    let at_first = threads();
    assert_eq!(at_first.len(), 1);
    for n in 1..4 {
        proxy.cut(Point::Accept);
        proxy.cut_all();
        deliver(&mut sink, &[record(n, 1)]).unwrap_err();
        assert!(!sink.is_connected());
        sink.connect().unwrap_err();
        proxy.heal();
        wait_until("it is delivered", MINUTE, || deliver(&mut sink, &[record(n, 1)]).is_ok());
        assert_eq!(threads(), at_first, "{n}");
    }
}
