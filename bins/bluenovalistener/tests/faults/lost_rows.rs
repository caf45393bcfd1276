//! Scenario 22: PostgreSQL loses rows that it has acknowledged: a failover to a replica that lags
//! behind, a backup that is restored, a table that is dropped or emptied.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bluenova_journal::{Journal, Retention, SetAside};
use bluenova_simulator::Server;
use bluenova_test_support::{Cluster, Mode, Proxy, TIME_LIMIT, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postgres::Client;
use time::UtcDateTime;

use crate::{
    backlog,
    oracle::{Batteries, Exceptions, Program, check_except, fresh_row, undoubled_rows},
    rounds,
    rows::sqlite_rows,
    seconds,
    server::{database, give, primary_and_standby, recovers, slow_down, speed_up},
    support::{Home, Listener, count, named, shared_cluster, talking_battery},
};

const HAD_LOST: &str = "that it had acknowledged, from ";

fn count_rows(client: &mut Client) -> i64 {
    client.query_one("SELECT count(*) FROM battery_pack", &[]).unwrap().get(0)
}

/// Rows whose commit the program has seen: all but those of the last transaction, since it begins
/// one only then.
fn count_acknowledged(client: &mut Client) -> i64 {
    let sql = "SELECT count(*) FROM battery_pack
               WHERE xmin::text::bigint < (SELECT max(xmin::text::bigint) FROM battery_pack)";
    client.query_one(sql, &[]).unwrap().get(0)
}

/// Waits until the program logs that rows were lost; returns how many.
fn rows_found_lost(listener: &mut Listener) -> i64 {
    let line = listener.wait_for(HAD_LOST);
    let (_, number) = line.split_once("had lost ").unwrap();
    number.split_once(' ').unwrap().0.parse().unwrap()
}

/// Waits until the rows that were `lost` at least are found, and all are there again.
fn heals(client: &mut Client, batteries: Batteries, mut program: Program, lost: i64) {
    assert!(lost > 0, "the fault has cost nothing");
    let found = rows_found_lost(program.listener());
    assert!(found >= lost, "{found} were found of {lost}");
    recovers(client, batteries, program);
}

#[test]
fn s22_a_standby_that_lags_behind_is_promoted_after_kill_9_of_the_primary() {
    let (primary, standby) = primary_and_standby("s22");
    let hosts = [&primary, &standby].map(|cluster| cluster.socket_dir().display().to_string());
    let database = format!(
        "host={} port=5432,5432 user=postgres dbname=s22 target_session_attrs=read-write",
        hosts.join(",")
    );

    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &database);
    fresh_row(&mut primary.client("s22"));
    let mut on_standby = standby.client("s22");
    wait_until("the standby has rows", TIME_LIMIT, || count_rows(&mut on_standby) > 0);
    // The line between the two is cut, and the primary goes on.
    on_standby.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").unwrap();
    on_standby.batch_execute("SELECT pg_reload_conf()").unwrap();
    let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
    wait_until("the standby is cut off", TIME_LIMIT, || {
        on_standby.query_one(receivers, &[]).unwrap().get::<_, i64>(0) == 0
    });
    program.runs_for(seconds(4, 60));
    let acknowledged = count_acknowledged(&mut primary.client("s22"));
    kill(Pid::from_raw(primary.postmaster_pid().unwrap().cast_signed()), Signal::SIGKILL).unwrap();
    let lost = acknowledged - count_rows(&mut on_standby);
    assert!(on_standby.query_one("SELECT pg_promote()", &[]).unwrap().get::<_, bool>(0));
    heals(&mut on_standby, batteries, program, lost);
}

/// Writes a dump of the database to a file.
fn dump(cluster: &Cluster, name: &str) -> PathBuf {
    let path = cluster.socket_dir().join("dump");
    run(cluster.program("pg_dump").args(["-Fc", "-d", &cluster.conninfo(name), "-f"]).arg(&path));
    path
}

fn restore(cluster: &Cluster, name: &str, dump: &Path, options: &[&str]) {
    let mut restore = cluster.program("pg_restore");
    run(restore.args(options).args(["-d", &cluster.conninfo(name)]).arg(dump));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[test]
fn s22_a_dump_is_restored_into_a_new_database() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s22_dump");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s22_dump"));
    fresh_row(&mut client);
    let dump = dump(cluster, "s22_dump");
    program.runs_for(seconds(4, 60));
    program.stop();
    let before = count_rows(&mut client);
    drop(client);
    let mut superuser = cluster.client("postgres");
    superuser.batch_execute("DROP DATABASE s22_dump WITH (FORCE)").unwrap();
    superuser.batch_execute("CREATE DATABASE s22_dump").unwrap();
    restore(cluster, "s22_dump", &dump, &[]);
    let mut client = cluster.client("s22_dump");
    let lost = before - count_rows(&mut client);
    program.launch();
    program.wait_until_connected();
    heals(&mut client, batteries, program, lost);
}

#[test]
fn s22_the_table_is_dropped_and_restored_under_a_running_listener() {
    let cluster = Cluster::start();
    let mut client = database(&cluster, "s22_table");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s22_table"));
    fresh_row(&mut client);
    let dump = dump(&cluster, "s22_table");
    let in_dump = count_rows(&mut client);
    program.runs_for(seconds(4, 60));
    let lost = count_rows(&mut client) - in_dump;
    restore(&cluster, "s22_table", &dump, &["--clean", "--single-transaction"]);
    heals(&mut client, batteries, program, lost.min(1));
}

#[test]
fn s22_the_table_is_emptied_and_its_rows_are_deleted() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s22_empty");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s22_empty"));
    program.runs_for(seconds(3, 30));
    fresh_row(&mut client);
    client.batch_execute("TRUNCATE battery_pack").unwrap();
    assert!(rows_found_lost(program.listener()) > 0);
    fresh_row(&mut client);
    // Nothing shows that by itself.
    client.batch_execute("DELETE FROM battery_pack").unwrap();
    fresh_row(&mut client);
    assert_eq!(count(program.listener().log(), HAD_LOST), 1, "that shows by itself");
    program.listener().signal(Signal::SIGHUP);
    heals(&mut client, batteries, program, 1);
}

/// What the table refuses is set aside once, and what it swallows is never lost, whatever is
/// delivered again.
#[test]
fn s22_rows_that_the_table_does_not_take_are_not_lost() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s22_taken");
    client
        .batch_execute(
            "CREATE FUNCTION digit(at TIMESTAMP, id BIGINT) RETURNS BIGINT LANGUAGE sql AS
             'SELECT (floor(extract(epoch FROM at))::BIGINT * 5 + id) % 10';
             CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE digit BIGINT := digit(NEW.insert_time_utc, NEW.mcu_id);
             BEGIN
                 IF digit = 7 THEN RAISE EXCEPTION 'no luck'; END IF;
                 IF digit IN (3, 4) THEN RETURN NULL; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER take BEFORE INSERT ON battery_pack
             FOR EACH ROW EXECUTE PROCEDURE take()",
        )
        .unwrap();
    let batteries = Batteries::start(5);
    let mut program = Program::start(&batteries, &cluster.url("s22_taken"));
    program.runs_for(seconds(4, 30));
    fresh_row(&mut client);
    for _ in 0..2 {
        client.batch_execute("TRUNCATE battery_pack").unwrap();
        assert!(rows_found_lost(program.listener()) > 0);
    }
    program.listener().signal(Signal::SIGHUP);
    program.listener().wait_for("has all rows that it has acknowledged");
    // So it has after a start.
    program.stop();
    program.launch();
    program.wait_until_connected();
    fresh_row(&mut client);
    program.stop();
    assert_eq!(count(&program.log(), HAD_LOST), 2, "{}", program.log().join("\n"));

    let (stamps, ids): (Vec<String>, Vec<i64>) = program.journal().into_keys().unzip();
    let mut with_digits = |digits: &[i64]| -> Exceptions {
        let sql = "SELECT stamp, id FROM unnest($1::TEXT[], $2::BIGINT[]) AS keys (stamp, id)
                   WHERE digit(stamp::TIMESTAMP, id) = ANY ($3)";
        let rows = client.query(sql, &[&stamps, &ids, &digits]).unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let (refused, not_taken) = (with_digits(&[7]), with_digits(&[3, 4, 7]));
    let set_aside = SetAside::open(&program.home().path("journal.sqlite")).unwrap().rows().unwrap();
    assert!(!refused.is_empty());
    assert_eq!(set_aside.len(), refused.len());
    let rejected = count(&program.log(), "PostgreSQL rejected the row");
    assert_eq!(rejected, refused.len(), "each is rejected once");
    check_except(&mut client, &batteries.end(), &[&program], &not_taken);
}

#[test]
fn s22_the_cluster_is_restored_to_a_point_in_time() {
    let mut cluster = Cluster::start();
    let archive = cluster.socket_dir().join("archive");
    fs::create_dir(&archive).unwrap();
    give(&archive, &cluster);
    let conf = cluster.data_dir().join("postgresql.conf");
    let old = fs::read_to_string(&conf).unwrap();
    let directory = archive.display();
    let archiving = format!(
        "archive_mode = on\narchive_command = 'cp %p {directory}/%f'\n\
         restore_command = 'cp {directory}/%f %p'\n"
    );
    fs::write(&conf, format!("{old}{archiving}")).unwrap();
    drop(database(&cluster, "s22"));
    cluster.stop(Mode::Fast);
    let base = cluster.socket_dir().join("base");
    copy(&cluster.data_dir(), &base);
    cluster.start_again();

    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s22"));
    let mut client = cluster.client("s22");
    fresh_row(&mut client);
    let target: String = client.query_one("SELECT now()::TEXT", &[]).unwrap().get(0);
    program.runs_for(seconds(4, 60));
    let before = count_acknowledged(&mut client);
    drop(client);
    // It archives the last segment of its log.
    cluster.stop(Mode::Fast);
    fs::remove_dir_all(cluster.data_dir()).unwrap();
    copy(&base, &cluster.data_dir());
    let recovery =
        format!("recovery_target_time = '{target}'\nrecovery_target_action = 'promote'\n");
    fs::write(&conf, format!("{old}{archiving}{recovery}")).unwrap();
    let signal = cluster.data_dir().join("recovery.signal");
    fs::write(&signal, "").unwrap();
    give(&signal, &cluster);
    cluster.start_again();
    let mut client = cluster.client("s22");
    // Until then rows may still come back.
    wait_until("the recovery has ended", TIME_LIMIT, || {
        !client.query_one("SELECT pg_is_in_recovery()", &[]).unwrap().get::<_, bool>(0)
    });
    let lost = before - count_rows(&mut client);
    heals(&mut client, batteries, program, lost);
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-Rp").arg(from).arg(to));
}

/// The server loses thousands of rows; while they are delivered again, the program is killed time
/// and again, and the server ends its sessions.
#[test]
fn s22_healing_is_interrupted() {
    let rows = u32::try_from(rounds(6_000, 30_000)).unwrap();
    let cluster = shared_cluster();
    let mut client = database(cluster, "s22_kill");
    let home = Home::new();
    let journal = home.path("journal.sqlite");
    let start = UtcDateTime::now().replace_nanosecond(0).unwrap() - time::Duration::days(5);
    let mut filled = Journal::open(&journal, Retention::default()).unwrap();
    let filling: Vec<_> = (0..rows).map(|n| backlog::row(start, n)).collect();
    for rows in filling.chunks(1000) {
        filled.append(rows).unwrap();
    }
    drop(filled);
    let server = talking_battery(1);
    let (at, url) = (named("attic", server.local_addr()), cluster.url("s22_kill"));
    let journal = journal.display().to_string();
    let args = ["-b", &at, "-d", &url, "-i", "1", "--journal", &journal];
    let listener = home.listen(&args);
    has_all(&mut client, rows);
    listener.stop();

    client.batch_execute("DELETE FROM battery_pack WHERE health >= 7").unwrap();
    slow_down(&mut client, "STATEMENT", 0.3);
    let mut random = fastrand::Rng::with_seed(22);
    let (mut healed, mut interrupted) = (count_filled(&mut client), 0);
    for round in 0..rounds(5, 30) {
        let listener = home.listen(&args);
        wait_until("some of them are there again", TIME_LIMIT, || {
            count_filled(&mut client) > healed || healed >= rows.into()
        });
        // New rows don't wait for old ones.
        fresh_row(&mut client);
        std::thread::sleep(Duration::from_millis(random.u64(0..500)));
        if round % 2 == 1 {
            let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE datname = current_database() AND pid <> pg_backend_pid()";
            client.query(ended, &[]).unwrap();
        }
        listener.end(Signal::SIGKILL);
        healed = count_filled(&mut client);
        if healed >= rows.into() {
            break;
        }
        interrupted += 1;
    }
    assert!(interrupted > 0, "it was over before the first kill");
    speed_up(&mut client);
    let listener = home.listen(&args);
    has_all(&mut client, rows);
    listener.stop();
    assert_eq!(undoubled_rows(&mut client), sqlite_rows(Path::new(&journal)));
}

/// A running listener that has delivered, in this run, rows of a journal that was filled before, so
/// that a check looks for all of them.
struct FilledListener {
    client: Client,
    proxy: Proxy,
    listener: Listener,
    _battery: Server,
}

/// Rows of the journal: sixty batches.
const FILLED: u32 = 6_000;

impl FilledListener {
    fn start(cluster: &Cluster, home: &Home, name: &str) -> Self {
        let mut client = database(cluster, name);
        let journal = home.path("journal.sqlite");
        let start = UtcDateTime::now().replace_nanosecond(0).unwrap() - time::Duration::days(5);
        let filling: Vec<_> = (0..FILLED).map(|n| backlog::row(start, n)).collect();
        Journal::open(&journal, Retention::default()).unwrap().append(&filling).unwrap();
        let battery = talking_battery(1);
        let proxy = Proxy::start(cluster);
        let (at, url) = (named("attic", battery.local_addr()), proxy.url(name));
        let journal = journal.display().to_string();
        let listener = home.listen(&["-b", &at, "-d", &url, "-i", "1", "--journal", &journal]);
        has_all(&mut client, FILLED);
        fresh_row(&mut client);
        Self { client, proxy, listener, _battery: battery }
    }

    /// Lets the line be fast again; all rows are there in the end, and some were missing.
    fn heals(mut self) {
        self.proxy.delay(Duration::ZERO);
        assert!(rows_found_lost(&mut self.listener) > 0);
        has_all(&mut self.client, FILLED);
        self.listener.stop();
    }
}

#[test]
fn s22_new_rows_do_not_wait_for_a_check() {
    let home = Home::new();
    let mut filled = FilledListener::start(shared_cluster(), &home, "s22_slices");
    let client = &mut filled.client;
    let sql = "DELETE FROM battery_pack WHERE insert_time_utc =
               (SELECT insert_time_utc FROM battery_pack WHERE mcu_id = $1
                ORDER BY insert_time_utc OFFSET 5900 LIMIT 1)";
    assert_eq!(client.execute(sql, &[&i64::from(backlog::MCU_ID)]).unwrap(), 1);
    // Each batch takes three round trips, so that the check takes a minute and a half until there.
    filled.proxy.delay(Duration::from_millis(500));
    filled.listener.signal(Signal::SIGHUP);
    for _ in 0..3 {
        fresh_row(client);
    }
    assert!(count_filled(client) < FILLED.into(), "the check was over before");
    filled.heals();
}

#[test]
fn s22_the_table_is_emptied_during_a_check() {
    let (cluster, home) = (Cluster::start(), Home::new());
    let mut filled = FilledListener::start(&cluster, &home, "s22_during");
    let client = &mut filled.client;
    // To look for rows is a transaction that is rolled back.
    let sql = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let mut count_checks = || client.query_one(sql, &[]).unwrap().get::<_, i64>(0);
    let before = count_checks();
    filled.proxy.delay(Duration::from_millis(100));
    filled.listener.signal(Signal::SIGHUP);
    wait_until("rows have been looked for", TIME_LIMIT, || count_checks() > before + 5);
    client.batch_execute("TRUNCATE battery_pack").unwrap();
    filled.heals();
}

fn count_filled(client: &mut Client) -> i64 {
    let sql = "SELECT count(*) FROM battery_pack WHERE mcu_id = $1";
    client.query_one(sql, &[&i64::from(backlog::MCU_ID)]).unwrap().get(0)
}

fn has_all(client: &mut Client, rows: u32) {
    wait_until("all rows are there", TIME_LIMIT, || count_filled(client) >= rows.into());
}
