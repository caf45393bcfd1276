//! Threads and file descriptors stay as few as they are, however often a server freezes. That is
//! counted in a process of its own, in which nobody else has any.

#![cfg(target_os = "linux")]

use std::{env, fs, process::Command, time::Duration};

use bluenova_postgres::{Courier, Deadlines, Settings};
use bluenova_test_support::{Cluster, Point, Proxy, wait_until};

use crate::{PATIENCE, record};

#[test]
fn threads_and_file_descriptors_stay_flat() {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "flat::freeze_often"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

/// Threads of connections.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "postgres").count()
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
    let mut courier = Courier::new(settings, Deadlines { connect: deadline, deliver: deadline });
    let deliver = |courier: &mut Courier, n| {
        wait_until("it is delivered", PATIENCE, || courier.deliver(vec![record(n, 1)]).is_ok());
        wait_until("the rest has ended", PATIENCE, || {
            courier.stuck() == 0 && proxy.connections() == 1
        });
    };

    deliver(&mut courier, 0);
    let at_first = descriptors();
    for n in 0..20 {
        proxy.freeze([Point::Rows, Point::Anywhere, Point::Answer, Point::Accept][n % 4]);
        for _ in 0..if n == 0 { 10 } else { 2 } {
            if courier.deliver(vec![record(n as i64, 1)]).is_err() {
                assert!(threads() <= Courier::MOST_STUCK, "{}", threads());
            }
        }
        proxy.heal();
        deliver(&mut courier, n as i64);
        assert_eq!(threads(), 1, "{n}");
        wait_until("all is as before", PATIENCE, || descriptors() == at_first);
    }
    let mut client = cluster.client("postgres");
    let sql = "SELECT count(*), count(DISTINCT (insert_time_utc, mcu_id)) FROM battery_pack";
    let row = client.query_one(sql, &[]).unwrap();
    assert_eq!((row.get(0), row.get(1)), (20_i64, 20_i64));
}
