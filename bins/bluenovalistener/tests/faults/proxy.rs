//! Faults on the way to PostgreSQL: connections that are cut, that freeze, that swallow everything,
//! that are slow.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{self, Command},
    thread,
    time::Duration,
};

use bluenova_test_support::{Cleanup, Cluster, Mode, Point, Proxy, wait_until};
use nix::unistd::Uid;

use crate::{
    is_full,
    oracle::{Batteries, Program, RECOVERY, check, fresh_row, resent},
    rounds, seconds,
    server::{backend, database, recovers},
    support::{TIME_LIMIT, shared_cluster},
};

/// Cuts the line at `point`, again and again, each time with a single row on its way. What then
/// comes again adds no row if the server had it already, and one otherwise.
fn cuts(name: &str, isolation: &str, point: Point) {
    let cluster = shared_cluster();
    let mut client = database(cluster, name);
    client
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"
        ))
        .unwrap();
    let proxy = Proxy::start(cluster);
    let batteries = Batteries::start(1);
    let mut program = Program::start(&batteries, &proxy.url(name));
    fresh_row(&mut client);
    batteries.pause();
    // The row of what was sent last may still be to come.
    program.runs_for(Duration::from_millis(1500));
    let rounds = rounds(4, 200);
    for _ in 0..rounds {
        let hits = proxy.hits();
        proxy.cut(point);
        batteries.send_once();
        wait_until("the line is cut", TIME_LIMIT, || proxy.hits() > hits);
        proxy.heal();
        program.listener().wait_for("delivering after");
    }
    let resent = resent(&mut client);
    println!("{rounds} cuts, {resent} batches that added no row");
    match point {
        Point::Answer => assert!(resent >= i64::try_from(rounds).unwrap(), "{resent}"),
        _ => assert_eq!(resent, 0),
    }
    batteries.resume();
    recovers(&mut client, batteries, program);
}

#[test]
fn s04_cuts_before_commit() {
    cuts("s04_commit", "read committed", Point::Commit);
}

#[test]
fn s04_cuts_before_commit_with_repeatable_read() {
    cuts("s04_commit_rr", "repeatable read", Point::Commit);
}

#[test]
fn s04_cuts_before_commit_with_serializable() {
    cuts("s04_commit_ser", "serializable", Point::Commit);
}

#[test]
fn s04_cuts_before_the_answer_to_commit() {
    cuts("s04_answer", "read committed", Point::Answer);
}

#[test]
fn s04_cuts_before_the_answer_to_commit_with_repeatable_read() {
    cuts("s04_answer_rr", "repeatable read", Point::Answer);
}

#[test]
fn s04_cuts_before_the_answer_to_commit_with_serializable() {
    cuts("s04_answer_ser", "serializable", Point::Answer);
}

/// The second attempt comes while the first one is still being committed, unseen.
#[test]
fn s04_cuts_while_the_server_commits() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s04_committing");
    client
        .batch_execute(
            "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER take_time AFTER INSERT ON battery_pack
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE take_time()",
        )
        .unwrap();
    let proxy = Proxy::start(cluster);
    let batteries = Batteries::start(1);
    let mut program = Program::start(&batteries, &proxy.url("s04_committing"));
    fresh_row(&mut client);
    batteries.pause();
    // What is still under way comes from before.
    program.runs_for(Duration::from_secs(5));
    for _ in 0..rounds(2, 50) {
        batteries.send_once();
        backend(&mut client, "COMMIT");
        proxy.cut_all();
        program.listener().wait_for("delivering after");
    }
    assert!(resent(&mut client) > 0);
    batteries.resume();
    client.batch_execute("DROP TRIGGER take_time ON battery_pack").unwrap();
    recovers(&mut client, batteries, program);
}

/// Threads and open files of a process, where the system has /proc.
fn threads_and_files(pid: u32) -> Option<[usize; 2]> {
    let entries = |what: &str| Some(fs::read_dir(format!("/proc/{pid}/{what}")).ok()?.count());
    Some([entries("task")?, entries("fd")?])
}

/// Connections that the program may have given up and not be rid of yet; each has a thread and
/// a few files.
const STUCK: usize = bluenova_postgres::Sink::MAX_STUCK;

/// Freezes the line at `point` for a while. Threads and files stay few meanwhile, and afterwards
/// are as many as before.
fn freezes(name: &str, point: Point) {
    let cluster = shared_cluster();
    let mut client = database(cluster, name);
    let proxy = Proxy::start(cluster);
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &proxy.url(name));
    fresh_row(&mut client);
    let pid = program.listener().pid();
    let before = threads_and_files(pid);
    let hits = proxy.hits();
    proxy.freeze(point);
    if matches!(point, Point::Accept | Point::StartUp) {
        proxy.cut_all();
    }
    wait_until("the line is frozen", TIME_LIMIT, || proxy.hits() > hits);
    program.runs_for(seconds(4, 240));
    if let (Some([threads, files]), Some(now)) = (before, threads_and_files(pid)) {
        let most = [threads + STUCK + 1, files + 4 * (STUCK + 1)];
        assert!(now[0] <= most[0] && now[1] <= most[1], "{now:?} after {before:?}");
    }
    proxy.heal();
    fresh_row(&mut client);
    wait_until("as many threads and files as before", RECOVERY, || {
        threads_and_files(pid) == before
    });
    recovers(&mut client, batteries, program);
}

#[test]
fn s05_freezes_at_accept() {
    freezes("s05_accept", Point::Accept);
}

#[test]
fn s05_freezes_in_start_up() {
    freezes("s05_start_up", Point::StartUp);
}

#[test]
fn s05_freezes_in_a_query() {
    freezes("s05_rows", Point::Rows);
}

#[test]
fn s05_freezes_at_commit() {
    freezes("s05_commit", Point::Commit);
}

#[test]
fn s05_freezes_at_the_answer_to_commit() {
    freezes("s05_answer", Point::Answer);
}

/// A network namespace with two lines into it, gone when the value is dropped.
struct Namespace {
    _delete: Cleanup,
}

impl Namespace {
    fn name() -> String {
        format!("bluenova{}", process::id())
    }

    /// Where the batteries and PostgreSQL are: at our ends of the two lines, in networks that are
    /// set apart for tests.
    fn addresses() -> [Ipv4Addr; 2] {
        let first = Ipv4Addr::new(198, 18, 0, 0).to_bits() + ((process::id() & 0x3FFF) << 3);
        [first + 1, first + 5].map(Ipv4Addr::from_bits)
    }

    /// Our end of a line.
    fn line(letter: char) -> String {
        format!("bn{}{letter}", process::id())
    }

    /// `None` where it can't be had.
    fn start() -> Option<Self> {
        let name = Self::name();
        if !Uid::effective().is_root() || !ip(&format!("netns add {name}")) {
            return None;
        }
        // The lines go with it.
        let delete = Cleanup::new("\"$1\" netns del \"$2\"", &[ip_program(), &name]);
        let namespace = Self { _delete: delete };
        let mut is_done = ip(&format!("-n {name} link set lo up"));
        for (letter, ours) in ['b', 'p'].into_iter().zip(Self::addresses()) {
            let line = Self::line(letter);
            let theirs = Ipv4Addr::from_bits(ours.to_bits() + 1);
            for command in [
                format!("link add {line} type veth peer name line{letter} netns {name}"),
                format!("addr add {ours}/30 dev {line}"),
                format!("link set {line} up"),
                format!("-n {name} addr add {theirs}/30 dev line{letter}"),
                format!("-n {name} link set line{letter} up"),
            ] {
                is_done &= ip(&command);
            }
        }
        is_done.then_some(namespace)
    }

    /// Makes a command run in there.
    fn wrap(command: Command) -> Command {
        let mut wrapped = Command::new(ip_program());
        wrapped.args(["netns", "exec", &Self::name()]);
        wrapped.arg(command.get_program()).args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            value.map(|value| wrapped.env(name, value));
        }
        if let Some(directory) = command.get_current_dir() {
            wrapped.current_dir(directory);
        }
        wrapped
    }
}

/// Not always in the `PATH` of those who may use it.
fn ip_program() -> &'static str {
    let candidates = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];
    candidates.into_iter().find(|path| Path::new(path).exists()).unwrap_or("ip")
}

fn ip(args: &str) -> bool {
    let output = Command::new(ip_program()).args(args.split(' ')).output();
    output.is_ok_and(|output| {
        if !output.status.success() {
            eprintln!("ip {args}: {}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success()
    })
}

#[test]
fn s06_a_black_hole() {
    match Namespace::start() {
        Some(namespace) => {
            println!("the black hole is a line of a network namespace");
            black_hole_in(&namespace);
        }
        None => {
            println!("the black hole is a proxy");
            freezes("s06", Point::Anywhere);
        }
    }
}

fn black_hole_in(_: &Namespace) {
    let [batteries_at, postgresql_at] = Namespace::addresses();
    let cluster = Cluster::start_with(&[("listen_addresses", &postgresql_at.to_string())]);
    let rules = cluster.data_dir().join("pg_hba.conf");
    let old = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("{old}\nhost all all {postgresql_at}/30 trust\n")).unwrap();
    let mut client = database(&cluster, "s06");
    client.batch_execute("SELECT pg_reload_conf()").unwrap();
    let batteries = Batteries::start_at((batteries_at, 0).into(), 2);
    let url = format!("postgresql://postgres@{postgresql_at}:{}/s06", cluster.port());
    let mut program = Program::new(&batteries, &url).wrapped(Namespace::wrap);
    program.launch();
    program.wait_until_connected();
    fresh_row(&mut client);
    let line = Namespace::line('p');
    // The second time it is longer than the program waits for an answer.
    for length in [seconds(4, 30), seconds(2, 300)] {
        assert!(ip(&format!("link set {line} down")));
        program.runs_for(length);
        assert!(ip(&format!("link set {line} up")));
        fresh_row(&mut client);
    }
    recovers(&mut client, batteries, program);
}

#[test]
fn s13_a_line_that_takes_seconds() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s13_line");
    let proxy = Proxy::start(cluster);
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &proxy.url("s13_line"));
    fresh_row(&mut client);
    proxy.delay(if is_full() { Duration::from_secs(5) } else { Duration::from_millis(700) });
    // Rows go on coming, over a new connection too.
    fresh_row(&mut client);
    proxy.cut_all();
    fresh_row(&mut client);
    program.runs_for(seconds(1, 60));
    fresh_row(&mut client);
    proxy.delay(Duration::ZERO);
    recovers(&mut client, batteries, program);
}

#[test]
fn s17_two_programs_for_one_battery_on_one_table_over_lines_that_are_cut() {
    let mut cluster = Cluster::start();
    let mut client = database(&cluster, "s17");
    let proxies = [(); 2].map(|()| Proxy::start(&cluster));
    let batteries = Batteries::start(1);
    let mut programs =
        proxies.each_ref().map(|proxy| Program::start(&batteries, &proxy.url("s17")));
    for round in 0..rounds(4, 200) {
        let point = [Point::Answer, Point::Commit][round / 2 % 2];
        let proxy = &proxies[round % 2];
        let hits = proxy.hits();
        proxy.cut(point);
        wait_until("the line is cut", TIME_LIMIT, || proxy.hits() > hits);
        proxy.heal();
        // The other one may bring the row meanwhile.
        programs[round % 2].listener().wait_for("delivering after");
    }
    drop(client);
    cluster.stop(Mode::Fast);
    thread::sleep(Duration::from_millis(500));
    cluster.start_again();
    client = cluster.client("s17");
    fresh_row(&mut client);
    programs.iter_mut().for_each(Program::stop);
    let [one, other] = &programs;
    check(&mut client, &batteries.end(), &[one, other]);
}
