//! Faults of the program and of PostgreSQL itself: ends, standstills, a full disk, and what people
//! do to a database.

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use bluenova_journal::SetAside;
use bluenova_test_support::{Cleanup, Cluster, Frozen, Mode, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postgres::{Client, NoTls};

use crate::{
    is_full,
    oracle::{Batteries, Exceptions, Program, check, check_except, fresh_row, prepare},
    rounds, seconds,
    support::{TIME_LIMIT, count, shared_cluster, text},
};

/// A database with a table in it.
pub(crate) fn database(cluster: &Cluster, name: &str) -> Client {
    cluster.create_database(name);
    let mut client = cluster.client(name);
    prepare(&mut client);
    client
}

/// The end of a scenario, and of its fault: a fresh row comes, and all others are there.
#[track_caller]
pub(crate) fn recovers(client: &mut Client, batteries: Batteries, mut program: Program) -> usize {
    let took = fresh_row(client);
    program.stop();
    let rows = check(client, &batteries.end(), &[&program]);
    println!("a fresh row after {took:?}; {rows} rows, each of them once");
    rows
}

/// What needs a person is tried again every minute or so; a new start does so at once.
pub(crate) fn is_mended(program: &mut Program) {
    if !is_full() {
        program.stop();
        program.launch();
        program.wait_until_connected();
    }
}

/// A connection, as soon as there is one to be had.
fn reconnect(cluster: &Cluster, database: &str) -> Client {
    let mut client = None;
    wait_until("PostgreSQL is back", TIME_LIMIT, || {
        client = Client::connect(&cluster.conninfo(database), NoTls).ok();
        client.is_some()
    });
    client.unwrap()
}

/// The process that serves the program, as soon as it does that: the first word of a statement, or
/// `idle`.
pub(crate) fn backend(client: &mut Client, doing: &str) -> i32 {
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()
               AND application_name = 'bluenovalistener'
               AND $1 = CASE state WHEN 'active' THEN split_part(query, ' ', 1) ELSE state END";
    let mut pid = None;
    wait_until(&format!("the program's session is at {doing}"), TIME_LIMIT, || {
        pid = client.query(sql, &[&doing]).unwrap().first().map(|row| row.get(0));
        pid.is_some()
    });
    pid.unwrap()
}

fn terminate(client: &mut Client, pid: i32) {
    client.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
}

/// Makes each insert take its time.
pub(crate) fn slow_down(client: &mut Client, each: &str, seconds: f64) {
    client
        .batch_execute(&format!(
            "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
             CREATE TRIGGER take_time BEFORE INSERT ON battery_pack
             FOR EACH {each} EXECUTE PROCEDURE take_time()"
        ))
        .unwrap();
}

pub(crate) fn speed_up(client: &mut Client) {
    client.batch_execute("DROP TRIGGER take_time ON battery_pack").unwrap();
}

#[track_caller]
fn nothing_is_set_aside(program: &Program) {
    let set_aside = SetAside::open(&program.home().path("journal.sqlite")).unwrap();
    assert_eq!(set_aside.rows().unwrap(), []);
}

pub(crate) fn kill_at_random_moments(program: &mut Program, kills: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..kills {
        program.launch();
        program.runs_for(Duration::from_millis(random.u64(0..3000)));
        program.kill();
    }
    program.launch();
    program.wait_until_connected();
}

#[test]
fn s01_kill_9_of_the_program() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s01");
    let batteries = Batteries::start(3);
    let mut program = Program::new(&batteries, &cluster.url("s01"));
    kill_at_random_moments(&mut program, rounds(8, 200), 1);
    recovers(&mut client, batteries, program);
}

#[test]
fn s01_kill_9_of_the_program_while_postgresql_is_away() {
    let mut cluster = Cluster::start();
    drop(database(&cluster, "s01"));
    cluster.stop(Mode::Fast);
    let batteries = Batteries::start(3);
    let mut program = Program::new(&batteries, &cluster.url("s01"));
    kill_at_random_moments(&mut program, rounds(5, 200), 2);
    cluster.start_again();
    let rows = recovers(&mut cluster.client("s01"), batteries, program);
    assert!(rows > 3);
}

#[test]
fn s02_stops_and_starts_of_postgresql() {
    let mut cluster = Cluster::start();
    drop(database(&cluster, "s02"));
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s02"));
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..rounds(4, 50) {
        program.runs_for(Duration::from_millis(random.u64(0..1200)));
        cluster.stop([Mode::Fast, Mode::Immediate][round % 2]);
        program.runs_for(Duration::from_millis(random.u64(0..1200)));
        cluster.start_again();
        fresh_row(&mut cluster.client("s02"));
    }
    recovers(&mut cluster.client("s02"), batteries, program);
}

#[test]
fn s03_sessions_that_are_terminated() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s03");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s03"));
    program.records(2);
    for _ in 0..rounds(2, 20) {
        let idle = backend(&mut client, "idle");
        terminate(&mut client, idle);
        fresh_row(&mut client);
    }
    slow_down(&mut client, "STATEMENT", 0.3);
    for _ in 0..rounds(3, 20) {
        let active = backend(&mut client, "INSERT");
        terminate(&mut client, active);
        fresh_row(&mut client);
    }
    recovers(&mut client, batteries, program);
}

#[test]
fn s03_kill_9_of_a_session() {
    let cluster = Cluster::start();
    let mut client = database(&cluster, "s03");
    let batteries = Batteries::start(2);
    let program = Program::start(&batteries, &cluster.url("s03"));
    slow_down(&mut client, "STATEMENT", 0.2);
    for round in 0..rounds(4, 20) {
        let victim = backend(&mut client, ["INSERT", "idle"][round % 2]);
        kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
        // The server takes it for a crash, and ends all sessions.
        wait_until("our session ends", TIME_LIMIT, || client.batch_execute("").is_err());
        client = reconnect(&cluster, "s03");
        fresh_row(&mut client);
    }
    recovers(&mut client, batteries, program);
}

#[test]
fn s07_a_postmaster_that_stands_still() {
    let cluster = Cluster::start();
    let mut client = database(&cluster, "s07");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s07"));
    program.records(2);
    let session = backend(&mut client, "idle");
    let frozen = Frozen::process(cluster.postmaster_pid().unwrap());
    terminate(&mut client, session);
    program.runs_for(seconds(4, 180));
    drop(frozen);
    recovers(&mut client, batteries, program);
}

#[test]
fn s07_sessions_that_stand_still() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s07");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s07"));
    program.records(2);
    slow_down(&mut client, "STATEMENT", 0.3);
    for doing in ["idle", "INSERT"] {
        let frozen = Frozen::process(backend(&mut client, doing).cast_unsigned());
        program.runs_for(seconds(4, 120));
        drop(frozen);
        fresh_row(&mut client);
    }
    recovers(&mut client, batteries, program);
}

/// A small disk in a directory, until the value is dropped.
struct SmallDisk {
    directory: PathBuf,
    _unmount: Cleanup,
}

impl SmallDisk {
    /// `None` where it can't be had: only root may, and not in every container.
    fn mount(directory: PathBuf, megabytes: u64) -> Option<Self> {
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&directory).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| {
            // Whoever still has a file in there loses it later, with its process.
            let unmount = Cleanup::new("umount -l \"$1\"", &[&directory]);
            Self { directory, _unmount: unmount }
        })
    }

    /// Writes until nothing more fits, and gives the file.
    fn fill(&self) -> PathBuf {
        let path = self.directory.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

/// Makes the user that PostgreSQL runs as the owner.
pub(crate) fn give(path: &Path, cluster: &Cluster) {
    let owner = fs::metadata(cluster.data_dir()).unwrap();
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
}

#[test]
fn s09_a_full_disk() {
    let mut cluster = Cluster::start();
    let directory = cluster.socket_dir().join("disk");
    fs::create_dir(&directory).unwrap();
    let disk = SmallDisk::mount(directory.clone(), 48);
    println!("53100 comes from {}", if disk.is_some() { "a full tmpfs" } else { "a trigger" });
    let space = directory.join("space");
    fs::create_dir(&space).unwrap();
    give(&space, &cluster);
    let mut superuser = cluster.client("postgres");
    let tablespace = format!("CREATE TABLESPACE space LOCATION '{}'", space.display());
    superuser.batch_execute(&tablespace).unwrap();
    superuser.batch_execute("CREATE DATABASE s09 TABLESPACE space").unwrap();
    let mut client = cluster.client("s09");
    prepare(&mut client);

    let batteries = Batteries::start(20);
    let mut program = Program::start(&batteries, &cluster.url("s09"));
    program.records(20);
    fresh_row(&mut client);
    let filler = disk.as_ref().map(SmallDisk::fill);
    if disk.is_none() {
        client
            .batch_execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$;
                 CREATE TRIGGER full_disk BEFORE INSERT ON battery_pack
                 FOR EACH STATEMENT EXECUTE PROCEDURE full_disk()",
            )
            .unwrap();
    }
    program.listener().wait_until_said("(53100)");
    program.runs_for(seconds(2, 120));
    match filler {
        Some(filler) => fs::remove_file(filler).unwrap(),
        None => client.batch_execute("DROP TRIGGER full_disk ON battery_pack").unwrap(),
    }
    recovers(&mut client, batteries, program);
    // Only then can its directory be cleared away.
    cluster.stop(Mode::Immediate);
    drop(disk);
}

#[test]
fn s10_a_database_that_is_read_only_for_a_while() {
    let cluster = Cluster::start();
    let mut client = database(&cluster, "s10");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s10"));
    program.records(2);
    let set = |client: &mut Client, value: &str| {
        // Each alone: ALTER SYSTEM is for no transaction, and the first makes the rest read-only.
        let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        client.batch_execute(&sql).unwrap();
        client.batch_execute("SELECT pg_reload_conf()").unwrap();
    };
    set(&mut client, "on");
    program.listener().wait_until_said("(25006)");
    program.runs_for(seconds(2, 60));
    set(&mut client, "off");
    is_mended(&mut program);
    recovers(&mut client, batteries, program);
}

#[test]
fn s10_a_standby_that_is_promoted() {
    let (mut primary, standby) = primary_and_standby("s10");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &standby.url("s10"));
    program.listener().wait_until_said("(25006)");
    program.runs_for(seconds(2, 60));
    primary.stop(Mode::Immediate);
    let mut client = standby.client("s10");
    assert!(client.query_one("SELECT pg_promote()", &[]).unwrap().get::<_, bool>(0));
    is_mended(&mut program);
    recovers(&mut client, batteries, program);
}

/// A primary with a database, and a standby that follows it.
pub(crate) fn primary_and_standby(name: &str) -> (Cluster, Cluster) {
    let mut primary = Cluster::start();
    drop(database(&primary, name));
    let mut standby = Cluster::start();
    for cluster in [&mut primary, &mut standby] {
        cluster.stop(Mode::Fast);
    }
    copy_as_standby(&primary, &standby);
    primary.start_again();
    standby.start_again();
    (primary, standby)
}

/// Makes `standby` follow `primary`; both are stopped.
fn copy_as_standby(primary: &Cluster, standby: &Cluster) {
    let data = standby.data_dir();
    let settings = fs::read(data.join("postgresql.conf")).unwrap();
    fs::remove_dir_all(&data).unwrap();
    let copied = Command::new("cp").arg("-Rp").arg(primary.data_dir()).arg(&data).status();
    assert!(copied.unwrap().success());
    fs::write(data.join("postgresql.conf"), settings).unwrap();
    let mut file = fs::File::options().append(true).open(data.join("postgresql.conf")).unwrap();
    let upstream = primary.conninfo("").replace(" dbname=", "");
    writeln!(file, "primary_conninfo = '{upstream}'").unwrap();
    let signal = data.join("standby.signal");
    fs::write(&signal, "").unwrap();
    give(&signal, standby);
}

/// A role that may do what the program needs, and nothing else.
fn create_writer(client: &mut Client, name: &str) {
    client
        .batch_execute(&format!(
            "CREATE ROLE {name} LOGIN; GRANT SELECT, INSERT ON battery_pack TO {name}"
        ))
        .unwrap();
}

/// Conninfo string of the database of that name, as the role of that name.
fn as_writer(cluster: &Cluster, name: &str) -> String {
    cluster.conninfo(name).replace("user=postgres", &format!("user={name}"))
}

/// Somebody breaks something, and mends it later: the rows wait, all of them, and it is said once.
fn holds_until_it_is_mended(name: &str, breaks: &str, says: &str, mends: &str) {
    let cluster = shared_cluster();
    let mut client = database(cluster, name);
    create_writer(&mut client, name);
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &as_writer(cluster, name));
    fresh_row(&mut client);
    client.batch_execute(breaks).unwrap();
    program.listener().wait_until_said(says);
    program.runs_for(seconds(2, 90));
    client.batch_execute(mends).unwrap();
    is_mended(&mut program);
    fresh_row(&mut client);
    program.stop();
    assert_eq!(count(&program.log(), says), 1, "{}", program.log().join("\n"));
    nothing_is_set_aside(&program);
    check(&mut client, &batteries.end(), &[&program]);
}

#[test]
fn s11_insert_is_revoked() {
    holds_until_it_is_mended(
        "s11_insert",
        "REVOKE INSERT ON battery_pack FROM s11_insert",
        "(42501)",
        "GRANT INSERT ON battery_pack TO s11_insert",
    );
}

#[test]
fn s11_the_table_is_renamed() {
    holds_until_it_is_mended(
        "s11_table",
        // The next time it would create a new one, which it mayn't.
        "ALTER TABLE battery_pack RENAME TO other",
        "(42P01)",
        "ALTER TABLE other RENAME TO battery_pack",
    );
}

#[test]
fn s11_a_column_is_dropped() {
    holds_until_it_is_mended(
        "s11_column",
        "ALTER TABLE battery_pack DROP COLUMN adc_4",
        "(42703)",
        "ALTER TABLE battery_pack ADD COLUMN adc_4 REAL",
    );
}

#[test]
fn s11_a_column_that_must_not_be_null_is_added() {
    holds_until_it_is_mended(
        "s11_not_null",
        "ALTER TABLE battery_pack ADD COLUMN extra SMALLINT NOT NULL DEFAULT 1;
         ALTER TABLE battery_pack ALTER COLUMN extra DROP DEFAULT",
        "(23502)",
        "ALTER TABLE battery_pack DROP COLUMN extra",
    );
}

#[test]
fn s11_the_database_is_dropped() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s11_dropped");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s11_dropped"));
    fresh_row(&mut client);
    let mut superuser = cluster.client("postgres");
    superuser.batch_execute("DROP DATABASE s11_dropped WITH (FORCE)").unwrap();
    drop(client);
    program.listener().wait_until_said("(3D000)");
    program.runs_for(seconds(2, 90));
    let mut client = database(cluster, "s11_dropped");
    is_mended(&mut program);
    fresh_row(&mut client);
    program.stop();
    assert_eq!(count(&program.log(), "(3D000)"), 1, "{}", program.log().join("\n"));
    // What was in there comes again.
    check(&mut client, &batteries.end(), &[&program]);
}

#[test]
fn s11_the_password_is_changed() {
    let cluster = Cluster::start();
    let mut client = database(&cluster, "s11");
    create_writer(&mut client, "s11");
    client.batch_execute("ALTER ROLE s11 PASSWORD 'sesame'").unwrap();
    let rules = cluster.data_dir().join("pg_hba.conf");
    let old = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("local all s11 scram-sha-256\n{old}")).unwrap();
    client.batch_execute("SELECT pg_reload_conf()").unwrap();

    let batteries = Batteries::start(2);
    let mut program = Program::new(&batteries, &as_writer(&cluster, "s11"));
    let passwords = program.home().path(".pgpass");
    fs::write(&passwords, "*:*:*:*:sesame\n").unwrap();
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600)).unwrap();
    program.launch();
    fresh_row(&mut client);
    client.batch_execute("ALTER ROLE s11 PASSWORD 'changed'").unwrap();
    let session = backend(&mut client, "idle");
    terminate(&mut client, session);
    program.listener().wait_until_said("(28P01)");
    program.runs_for(seconds(2, 90));
    client.batch_execute("ALTER ROLE s11 PASSWORD 'sesame'").unwrap();
    is_mended(&mut program);
    fresh_row(&mut client);
    program.stop();
    let log = program.log().join("\n");
    assert_eq!(count(&program.log(), "(28P01)"), 1, "{log}");
    assert!(!log.contains("sesame"), "{log}");
    check(&mut client, &batteries.end(), &[&program]);
}

#[test]
fn s11_there_are_no_connections_left() {
    let cluster = Cluster::start_with(&[("max_connections", "8")]);
    let mut client = database(&cluster, "s11");
    create_writer(&mut client, "s11");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &as_writer(&cluster, "s11"));
    fresh_row(&mut client);
    let session = backend(&mut client, "idle");
    terminate(&mut client, session);
    // It connects again after the back-off; by then all connections are in use. On a busy machine
    // it may come before, and loses that connection, too.
    let sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name = 'bluenovalistener'";
    let mut others = vec![];
    wait_until("nobody gets in any more", TIME_LIMIT, || {
        others.extend(Client::connect(&as_writer(&cluster, "s11"), NoTls).ok());
        client.query(sessions, &[]).unwrap();
        count(program.listener().log(), "(53300)") > 0
    });
    program.runs_for(seconds(2, 90));
    drop(others);
    recovers(&mut client, batteries, program);
}

#[test]
fn s12_one_row_in_a_hundred_is_refused() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s12");
    client
        .batch_execute(
            "CREATE TABLE arrival (number BIGSERIAL, at TIMESTAMP);
             CREATE FUNCTION arrives() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 INSERT INTO arrival (at) VALUES (NEW.insert_time_utc);
                 RETURN NULL;
             END $$;
             CREATE TRIGGER arrives AFTER INSERT ON battery_pack
             FOR EACH ROW EXECUTE PROCEDURE arrives();
             CREATE FUNCTION is_bad(at TIMESTAMP, id BIGINT) RETURNS bool LANGUAGE sql AS
             'SELECT (floor(extract(epoch FROM at))::BIGINT * 25 + id) % 100 = 7';
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF is_bad(NEW.insert_time_utc, NEW.mcu_id) THEN
                     RAISE EXCEPTION 'no luck with %', NEW.health;
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON battery_pack
             FOR EACH ROW EXECUTE PROCEDURE refuse()",
        )
        .unwrap();
    let batteries = Batteries::start(25);
    let mut program = Program::start(&batteries, &cluster.url("s12"));
    // Every four seconds one comes.
    program.runs_for(seconds(9, 300));
    fresh_row(&mut client);
    program.stop_with_nothing_left();

    // The rows of the program's end bear the moments at which their threads ended, which is in any
    // order.
    let is_sorted = "SELECT coalesce(bool_and(at >= before), true) FROM (
                         SELECT date_trunc('second', at) AS at,
                                date_trunc('second', lag(at) OVER (ORDER BY number)) AS before
                         FROM arrival) AS pairs";
    assert!(client.query_one(is_sorted, &[]).unwrap().get::<_, bool>(0), "not in order");
    let bad = bad_rows(&mut client, &program);
    assert!(bad.len() >= 2, "{bad:?}");
    let set_aside = SetAside::open(&program.home().path("journal.sqlite")).unwrap().rows().unwrap();
    assert_eq!(set_aside.len(), bad.len());
    for row in &set_aside {
        let why = format!("no luck with {}", row.record.health.unwrap());
        assert!(row.sqlstate == "P0001" && row.message.contains(&why), "{row:?}");
    }
    let args: Vec<&str> = program.args().into_iter().chain(["set-aside"]).collect();
    let listed = text(&program.home().run(&args).stdout);
    assert_eq!(listed.lines().count(), bad.len(), "{listed}");
    for (stamp, id) in &bad {
        let is_listed = |line: &str| {
            line.starts_with(&format!("{stamp} UTC  {id:08X}  ")) && line.contains("no luck with")
        };
        assert!(listed.lines().any(is_listed), "{stamp} {id:08X}:\n{listed}");
    }
    let sent = batteries.end();
    let rows = check_except(&mut client, &sent, &[&program], &bad);

    let args: Vec<&str> = args.into_iter().chain(["--retry"]).collect();
    assert_eq!(program.home().run(&args).status.code(), Some(1), "they are still refused");
    client.batch_execute("DROP TRIGGER refuse ON battery_pack").unwrap();
    let again = program.home().run(&args);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    nothing_is_set_aside(&program);
    assert_eq!(check(&mut client, &sent, &[&program]), rows + bad.len());
}

/// What the trigger refuses of the journal.
fn bad_rows(client: &mut Client, program: &Program) -> Exceptions {
    let (stamps, ids): (Vec<String>, Vec<i64>) = program.journal().into_keys().unzip();
    let sql = "SELECT stamp, id FROM unnest($1::TEXT[], $2::BIGINT[]) AS keys (stamp, id)
               WHERE is_bad(stamp::TIMESTAMP, id)";
    let bad = client.query(sql, &[&stamps, &ids]).unwrap();
    bad.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Rows of one battery have no partition, while those of the others are taken.
#[test]
fn s12_a_partition_is_missing() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s12_partition");
    client
        .batch_execute(
            "ALTER TABLE battery_pack RENAME TO whole;
             CREATE TABLE battery_pack (LIKE whole) PARTITION BY LIST (mcu_id);
             DROP TABLE whole;
             CREATE TABLE others PARTITION OF battery_pack FOR VALUES IN (x'20000000'::BIGINT);
             CREATE INDEX battery_pack_time ON battery_pack (insert_time_utc)",
        )
        .unwrap();
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s12_partition"));
    program.listener().wait_until_said("waits on its own");
    fresh_row(&mut client);
    let newest = "SELECT max(insert_time_utc) FROM battery_pack";
    let first: time::PrimitiveDateTime = client.query_one(newest, &[]).unwrap().get(0);
    program.runs_for(seconds(3, 120));
    program.kill();
    program.launch();
    program.wait_until_connected();
    program.runs_for(seconds(3, 120));
    // A row of the other battery.
    fresh_row(&mut client);
    client.batch_execute("CREATE TABLE rest PARTITION OF battery_pack DEFAULT").unwrap();
    program.stop();
    program.launch();
    program.wait_until_connected();
    // The program that was stopped may have tried them in its last moment.
    wait_until("the rows that waited on their own are delivered", TIME_LIMIT, || {
        let sql = "SELECT count(*) FROM rest WHERE insert_time_utc <= $1";
        client.query_one(sql, &[&first]).unwrap().get::<_, i64>(0) > 0
    });
    recovers(&mut client, batteries, program);
}

#[test]
fn s12_everything_is_refused() {
    holds_until_it_is_mended(
        "s12_everything",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION $$not today$$; END';
         CREATE TRIGGER refuse BEFORE INSERT ON battery_pack
         FOR EACH ROW EXECUTE PROCEDURE refuse()",
        "not today (P0001)",
        "DROP TRIGGER refuse ON battery_pack",
    );
}

#[test]
fn s13_somebody_locks_the_table() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s13_lock");
    let batteries = Batteries::start(2);
    let mut program = Program::start(&batteries, &cluster.url("s13_lock"));
    fresh_row(&mut client);
    client.batch_execute("BEGIN; LOCK TABLE battery_pack").unwrap();
    // The program waits for the lock until its deadline, and tries again later.
    program.listener().wait_until_said("(55P03)");
    program.runs_for(seconds(1, 180));
    client.batch_execute("COMMIT").unwrap();
    recovers(&mut client, batteries, program);
}

#[test]
fn s13_each_row_takes_3_seconds() {
    let cluster = shared_cluster();
    let mut client = database(cluster, "s13_slow");
    let batteries = Batteries::start(1);
    let mut program = Program::start(&batteries, &cluster.url("s13_slow"));
    fresh_row(&mut client);
    slow_down(&mut client, "ROW", 3.0);
    program.runs_for(seconds(2, 240));
    // Meanwhile rows do arrive, only slowly. This waits for the insert under way.
    speed_up(&mut client);
    recovers(&mut client, batteries, program);
}

/// Two programs at once: the end of the scenario.
fn both_recover(client: &mut Client, batteries: Batteries, mut programs: [Program; 2]) {
    fresh_row(client);
    programs.iter_mut().for_each(Program::stop);
    let [one, other] = &programs;
    check(client, &batteries.end(), &[one, other]);
}

#[test]
fn s17_two_programs_for_two_batteries_on_one_table() {
    let mut cluster = Cluster::start();
    drop(database(&cluster, "s17"));
    let url = cluster.url("s17");
    let batteries = Batteries::start(2);
    let mut programs =
        [0, 1].map(|battery| Program::listening_to(&batteries, battery..battery + 1, &url));
    programs.iter_mut().for_each(Program::launch);
    programs.iter_mut().for_each(Program::wait_until_connected);
    thread::sleep(seconds(2, 30));
    cluster.stop(Mode::Immediate);
    thread::sleep(seconds(1, 30));
    cluster.start_again();
    both_recover(&mut cluster.client("s17"), batteries, programs);
}

#[test]
fn s17_two_programs_for_one_battery_on_two_databases() {
    let cluster = shared_cluster();
    let batteries = Batteries::start(1);
    let names = ["s17_one", "s17_other"];
    let mut clients = names.map(|name| database(cluster, name));
    let mut programs = names.map(|name| Program::start(&batteries, &cluster.url(name)));
    for client in &mut clients {
        fresh_row(client);
    }
    thread::sleep(seconds(2, 30));
    // What happens to one is no concern of the other.
    let session = backend(&mut clients[0], "idle");
    terminate(&mut clients[0], session);
    clients.iter_mut().for_each(|client| _ = fresh_row(client));
    programs.iter_mut().for_each(Program::stop);
    let sent = batteries.end();
    for (client, program) in clients.iter_mut().zip(&programs) {
        check(client, &sent, &[program]);
    }
}

#[test]
fn s17_two_programs_for_one_battery_on_one_table_while_postgresql_stops_and_starts() {
    let mut cluster = Cluster::start();
    drop(database(&cluster, "s17"));
    let url = cluster.url("s17");
    let batteries = Batteries::start(1);
    let programs = [(); 2].map(|()| Program::start(&batteries, &url));
    for round in 0..rounds(3, 50) {
        cluster.stop([Mode::Immediate, Mode::Fast][round % 2]);
        thread::sleep(Duration::from_millis(700));
        cluster.start_again();
        fresh_row(&mut cluster.client("s17"));
    }
    both_recover(&mut cluster.client("s17"), batteries, programs);
}
