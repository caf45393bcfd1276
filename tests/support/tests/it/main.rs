//! The throwaway cluster lives, dies and cleans up as it says.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod browser;
mod port;
mod proxy;

use std::{
    env, fs,
    io::{BufRead, BufReader},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bluenova_test_support::{Cleanup, Cluster, Mode, TIME_LIMIT, wait_until};
use postgres::{Client, NoTls};

fn count(cluster: &Cluster) -> i64 {
    cluster.client("house").query_one("SELECT count(*) FROM t", &[]).unwrap().get(0)
}

#[test]
fn keeps_its_rows_over_any_stop_and_leaves_nothing_behind() {
    let mut cluster = Cluster::start();
    cluster.create_database("house");
    cluster.create_role("guest");
    assert!(cluster.client_as("guest", "house").batch_execute("CREATE TABLE t (n int)").is_err());
    cluster.client("house").batch_execute("CREATE TABLE t (n int)").unwrap();

    for (mode, rows) in [(Mode::Fast, 1), (Mode::Immediate, 2)] {
        cluster.client("house").batch_execute("INSERT INTO t VALUES (1)").unwrap();
        cluster.stop(mode);
        assert_eq!(cluster.postmaster_pid(), None);
        cluster.start_again();
        assert_eq!(count(&cluster), rows);
    }

    let directory = cluster.socket_dir().to_owned();
    assert!(directory.exists());
    drop(cluster);
    assert!(!directory.exists());
}

#[test]
fn takes_settings_and_is_reached_by_url_conninfo_and_tcp() {
    let cluster = Cluster::start_with(&[
        ("listen_addresses", "127.0.0.1"),
        ("application_name", "it's a test"),
    ]);
    let tcp = format!("host=127.0.0.1 port={} user={}", cluster.port(), cluster.user());
    for address in [cluster.url("postgres"), cluster.conninfo("postgres"), tcp] {
        let mut client = Client::connect(&address, NoTls).expect(&address);
        let name: String = client.query_one("SHOW application_name", &[]).unwrap().get(0);
        assert_eq!(name, "it's a test");
    }
}

#[test]
fn is_gone_after_a_panic() {
    let mut directory = PathBuf::new();
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let cluster = Cluster::start();
        directory = cluster.socket_dir().to_owned();
        panic!("the test fails");
    }));
    assert!(result.is_err());
    assert!(!directory.exists());
}

/// Not a test by itself: what the next one runs and kills.
#[test]
#[ignore = "runs until it is killed"]
fn start_a_cluster_and_wait() {
    let cluster = Cluster::start();
    let pid = cluster.postmaster_pid().unwrap();
    println!("\ncluster {pid} {}", cluster.socket_dir().display());
    std::thread::sleep(TIME_LIMIT);
}

#[test]
fn is_gone_after_a_kill() {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "start_a_cluster_and_wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with("cluster "))
        .unwrap();
    let mut words = line.split(' ').skip(1);
    let pid: i32 = words.next().unwrap().parse().unwrap();
    let directory = Path::new(words.next().unwrap());
    assert!(directory.exists());

    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the directory is gone", TIME_LIMIT, || !directory.exists());
    // Nothing there, or empty for a process that nobody has waited for; no /proc, no opinion.
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(command.is_empty(), "postmaster {pid} is alive");
}

#[test]
fn a_cleanup_runs_when_it_is_dropped_unless_it_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let [dropped, cancelled] = ["dropped", "cancelled"].map(|name| directory.path().join(name));
    drop(Cleanup::new("touch \"$1\"", &[&dropped]));
    Cleanup::new("touch \"$1\"", &[&cancelled]).cancel();
    assert!(dropped.exists() && !cancelled.exists());
}

#[test]
#[should_panic(expected = "in vain until pigs fly")]
fn wait_until_names_what_it_waited_for() {
    wait_until("pigs fly", Duration::from_millis(1), || false);
}
