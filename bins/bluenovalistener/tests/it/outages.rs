//! What may be away, hang or be killed: no row is lost, none is doubled.

use std::{collections::BTreeSet, net::Ipv6Addr, time::Duration};

use bluenova_journal::{Journal, Retention};
use bluenova_record::PackRecord;
use bluenova_simulator::{Message, Pace, Server};
use bluenova_test_support::{Cluster, Mode, ReservedPort, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postgres::Client;
use time::UtcDateTime;

use crate::{
    rows::{Row, Rows, postgres_rows, said, same_row, sqlite_rows, stamps_of},
    support::{
        Home, Listener, TIME_LIMIT, battery, count, get, loopback, named, obedient_battery,
        shared_cluster, stored, talking_battery, text,
    },
};

const MCU_ID: u32 = 0x10AB_CDEF;

/// Waits until the table has all rows of the log, and nothing else.
#[track_caller]
fn arrives(client: &mut Client, log: &[String], name: &str) {
    let expected: BTreeSet<String> = stored(log, name).into_iter().collect();
    wait_until(&format!("{expected:?} arrive"), TIME_LIMIT, || has(client, &expected));
}

fn has(client: &mut Client, stamps: &BTreeSet<String>) -> bool {
    // Before the first row there may be no table.
    let exists = client.query_one("SELECT to_regclass('battery_pack') IS NOT NULL", &[]);
    exists.unwrap().get(0)
        && stamps.is_subset(&stamps_of(&postgres_rows(client), MCU_ID).into_iter().collect())
}

#[test]
fn postgresql_may_come_late_and_go_and_come() {
    let mut cluster = Cluster::start();
    cluster.create_database("homeauto");
    let url = cluster.url("homeauto");
    cluster.stop(Mode::Fast);
    let server = talking_battery(1);
    let home = Home::new();
    let at = named("attic", server.local_addr());
    let mut listener = home.listen(&["-b", &at, "-d", &url, "-i", "1"]);

    listener.wait_for("Rows are safe");
    listener.wait_for("attic: stored");
    listener.wait_for("attic: stored");
    cluster.start_again();
    listener.wait_for("delivering after");
    arrives(&mut cluster.client("homeauto"), listener.log(), "attic");

    // As in a crash of the server.
    cluster.stop(Mode::Immediate);
    listener.wait_for("Rows are safe");
    listener.wait_for("attic: stored");
    cluster.start_again();
    listener.wait_for("delivering after");
    let ended = listener.stop();
    arrives(&mut cluster.client("homeauto"), &ended.log, "attic");
    let recorded = stamps_of(&postgres_rows(&mut cluster.client("homeauto")), MCU_ID);
    assert_eq!(recorded, stored(&ended.log, "attic"));
    // Once for each outage; a server that is starting or ending gives another reason meanwhile.
    let others = ["is starting up", "is shutting down", "in recovery mode", "not yet accepting"];
    let is_of_outage = |line: &&String| {
        line.contains("Rows are safe") && !others.iter().any(|other| line.contains(other))
    };
    let outages = ended.log.iter().filter(is_of_outage).count();
    assert_eq!(outages, 2, "{}", ended.log.join("\n"));
}

/// Processes that are stopped, and go on when the value is dropped.
pub(crate) struct Stopped(Vec<Pid>);

impl Stopped {
    /// The server and all of its sessions.
    pub(crate) fn server(cluster: &Cluster) -> Self {
        let mut client = cluster.client("postgres");
        let sessions =
            client.query("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()", &[]);
        let mut processes = vec![cluster.postmaster_pid().unwrap().cast_signed()];
        processes.extend(sessions.unwrap().iter().map(|row| row.get::<_, i32>(0)));
        drop(client);
        let processes: Vec<Pid> = processes.into_iter().map(Pid::from_raw).collect();
        for process in &processes {
            kill(*process, Signal::SIGSTOP).unwrap();
        }
        Self(processes)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            _ = kill(*process, Signal::SIGCONT);
        }
    }
}

#[test]
fn a_server_that_hangs_does_not_keep_the_program_from_ending() {
    let cluster = Cluster::start();
    cluster.create_database("homeauto");
    let url = cluster.url("homeauto");
    let server = talking_battery(1);
    let home = Home::new();
    let at = named("attic", server.local_addr());
    let args = ["-b", &at, "-d", &url, "-i", "1"];
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    arrives(&mut cluster.client("homeauto"), listener.log(), "attic");

    let stopped = Stopped::server(&cluster);
    listener.wait_for("attic: stored");
    listener.wait_for("attic: stored");
    let first = listener.end(Signal::SIGTERM);
    assert_eq!(first.status.code(), Some(0), "{}", first.log.join("\n"));
    assert_eq!(count(&first.log, "wait in the journal"), 1, "{}", first.log.join("\n"));
    drop(stopped);

    // The same command finds the same journal.
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    let second = listener.stop();
    let mut expected = stored(&first.log, "attic");
    expected.extend(stored(&second.log, "attic"));
    assert_eq!(stamps_of(&postgres_rows(&mut cluster.client("homeauto")), MCU_ID), expected);
}

#[test]
fn without_a_server_the_rows_wait_in_the_journal_for_the_next_start() {
    let server = talking_battery(1);
    let home = Home::new();
    let at = named("attic", server.local_addr());
    let journal = home.path("deep/down/journal.sqlite").display().to_string();
    let nowhere = format!("host={} dbname=x", home.path("no").display());
    let mut args = ["-b", &at, "--journal", &journal, "-i", "1", "-d", &nowhere];
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    listener.wait_for("attic: stored");
    let first = listener.stop();
    let recorded = stored(&first.log, "attic");
    assert_eq!(stamps_of(&sqlite_rows(journal.as_ref()), MCU_ID), recorded);
    assert_eq!(count(&first.log, &format!("{} rows wait in the journal", recorded.len())), 1);

    let cluster = shared_cluster();
    cluster.create_database("next_start");
    let url = cluster.url("next_start");
    args[7] = &url;
    let listener = home.listen(&args);
    arrives(&mut cluster.client("next_start"), &first.log, "attic");
    listener.stop();
}

#[test]
fn a_battery_may_come_late_and_by_ipv6() {
    let port = ReservedPort::at(Ipv6Addr::LOCALHOST.into()).unwrap_or_else(|error| {
        eprintln!("this system has no IPv6: {error}");
        ReservedPort::new()
    });
    let address = port.address();
    let home = Home::new();
    let (at, database) = (named("attic", address), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "1"]);
    listener.wait_for("attic: not reachable");
    // Long enough for a second attempt, which isn't worth a line.
    std::thread::sleep(Duration::from_millis(1500));
    let server = Server::bind(address, battery(1), Pace::Free { speed: 4.0 }).unwrap();
    listener.wait_for(&format!("attic: connected to ws://{address}"));
    listener.wait_for("attic: stored");
    drop(server);
    listener.wait_for("attic: connection lost");
    let ended = listener.stop();
    // One line per change of state, however many attempts there were.
    let warnings = count(&ended.log, " WARN ") - count(&ended.log, "no MCU ID");
    assert_eq!(warnings, 2, "{}", ended.log.join("\n"));
    assert!(!sqlite_rows(&home.path("db")).is_empty());
}

/// Sends a cycle, and waits until it has arrived.
fn send_a_cycle(server: &Server, listener: &mut Listener, sentence: &str) -> Row {
    let control = server.control();
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    let mut row = said(&[control.step().unwrap()]);
    for name in ["energy_in", "energy_out"] {
        row.remove(name);
    }
    control.send(Message::Text(sentence.into())).unwrap();
    listener.wait_until_said(&format!("attic: RX: {sentence}"));
    row
}

#[test]
fn the_interval_under_way_is_stored_when_the_program_ends() {
    let cluster = shared_cluster();
    cluster.create_database("under_way");
    let url = cluster.url("under_way");
    let server = obedient_battery(1);
    let home = Home::new();
    let at = named("attic", server.local_addr());
    let mut expected = vec![];
    for (signal, sentence) in [(Signal::SIGTERM, "once"), (Signal::SIGINT, "twice")] {
        let mut listener = home.listen(&["-b", &at, "-d", &url, "-i", "86400", "-r"]);
        let row = send_a_cycle(&server, &mut listener, sentence);
        let before = UtcDateTime::now();
        let ended = listener.end(signal);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log.join("\n"));
        let stamps = stored(&ended.log, "attic");
        let [stamp] = stamps.as_slice() else { panic!("{stamps:?}") };
        let [earliest, latest] = [before, UtcDateTime::now()].map(with_micros);
        assert!((&earliest..=&latest).contains(&stamp), "{earliest} {stamp} {latest}");
        expected.push((stamp.clone(), row));
    }
    let mut rows: Rows = postgres_rows(&mut cluster.client("under_way"));
    for row in rows.values_mut() {
        for name in ["energy_in", "energy_out"] {
            row.remove(name);
        }
    }
    assert_eq!(rows.len(), 2);
    for (stamp, row) in expected {
        same_row(&stamp, &rows[&(stamp.clone(), MCU_ID.into())], &row);
    }
}

fn with_micros(time: UtcDateTime) -> String {
    let second = crate::rows::stamp(time.replace_nanosecond(0).unwrap());
    format!("{second}.{:06}", time.microsecond())
}

#[test]
fn kill_9_costs_no_row_that_was_stored() {
    let cluster = shared_cluster();
    cluster.create_database("kill_9");
    let url = cluster.url("kill_9");
    let mut server = talking_battery(1);
    let mut args = vec!["-i".to_owned(), "1".into(), "-d".into(), url];
    args.extend(["-b".to_owned(), named("no1", server.local_addr())]);
    for seed in 2..=4 {
        let pace = Pace::Free { speed: 4.0 };
        let control = server.add(loopback(), battery(seed), pace).unwrap();
        args.extend(["-b".into(), named(&format!("no{seed}"), control.local_addr())]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let home = Home::new();
    let mut logs = vec![];
    // Killed when it stores the first row, and when it is about to deliver the second.
    for delay in [0, 3, 1010] {
        let mut listener = home.listen(&args);
        listener.wait_for(": stored ");
        std::thread::sleep(Duration::from_millis(delay));
        logs.extend(listener.end(Signal::SIGKILL).log);
    }
    let mut listener = home.listen(&args);
    listener.wait_for(": stored ");
    logs.extend(listener.stop().log);

    let rows = postgres_rows(&mut cluster.client("kill_9"));
    for seed in 1..=4_u32 {
        let recorded = stamps_of(&rows, seed << 28 | 0x00AB_CDEF);
        let known = stored(&logs, &format!("no{seed}"));
        for stamp in &known {
            assert!(recorded.contains(stamp), "no{seed} {stamp} is missing: {recorded:?}");
        }
        // A row may have been stored whose line in the log was not; one per kill.
        assert!(recorded.len() <= known.len() + 3, "{recorded:?} {known:?}");
    }
}

#[test]
fn two_listeners_of_one_battery_double_no_row() {
    let cluster = shared_cluster();
    cluster.create_database("two_listeners");
    let url = cluster.url("two_listeners");
    let server = talking_battery(1);
    let at = named("attic", server.local_addr());
    let homes = [Home::new(), Home::new()];
    let mut listeners =
        homes.each_ref().map(|home| home.listen(&["-b", &at, "-d", &url, "-i", "1"]));
    server.control().wait_for_clients(2, TIME_LIMIT).unwrap();
    for listener in &mut listeners {
        for _ in 0..3 {
            listener.wait_for("attic: stored");
        }
    }
    let mut expected = BTreeSet::new();
    for listener in listeners {
        expected.extend(stored(&listener.stop().log, "attic"));
    }
    // This looks for doubled rows itself.
    let recorded = stamps_of(&postgres_rows(&mut cluster.client("two_listeners")), MCU_ID);
    assert_eq!(recorded, expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn what_a_person_can_mend_holds_the_rows_and_is_said_once() {
    let cluster = shared_cluster();
    cluster.create_database("mend");
    // Everybody had that right before PostgreSQL 15.
    let revoke = "REVOKE CREATE ON SCHEMA public FROM public";
    cluster.client("mend").batch_execute(revoke).unwrap();
    cluster.create_role("eve");
    let url = format!("{} user=eve", cluster.conninfo("mend").replace("user=postgres ", ""));
    let server = talking_battery(1);
    let home = Home::new();
    let at = named("attic", server.local_addr());
    let args = ["-b", &at, "-d", &url, "-i", "1"];
    let mut listener = home.listen(&args);
    // The table is missing, and creating it isn't allowed.
    let told = listener.wait_for("can't create battery_pack");
    assert!(told.contains("bluenovalistener schema"), "{told}");
    listener.wait_for("attic: stored");
    listener.wait_for("attic: stored");
    let first = listener.stop();
    assert_eq!(count(&first.log, "can't create battery_pack"), 1, "{}", first.log.join("\n"));

    let mut client = cluster.client("mend");
    client.batch_execute("GRANT CREATE ON SCHEMA public TO eve").unwrap();
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    let second = listener.stop();
    let mut expected = stored(&first.log, "attic");
    expected.extend(stored(&second.log, "attic"));
    assert_eq!(stamps_of(&postgres_rows(&mut client), MCU_ID), expected);
}

#[test]
fn a_damaged_journal_is_no_reason_not_to_record() {
    const DAMAGE: &[u8] = b"this is no database any more. ";
    let cluster = shared_cluster();
    cluster.create_database("damaged");
    let server = talking_battery(1);
    let home = Home::new();
    let (at, url) = (named("attic", server.local_addr()), cluster.url("damaged"));
    let args = ["-b", &at, "-d", &url, "-i", "1", "--journal", "journal.sqlite"];
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    let first = listener.stop();

    let mut journal = std::fs::read(home.path("journal.sqlite")).unwrap();
    journal[..DAMAGE.len()].copy_from_slice(DAMAGE);
    std::fs::write(home.path("journal.sqlite"), journal).unwrap();
    let mut listener = home.listen(&args);
    let loud = listener.wait_for(" ERROR ");
    assert!(loud.contains("Rows are safe in") && loud.contains(".stand-in"), "{loud}");
    let loud = listener.wait_for(" ERROR ");
    assert!(loud.contains("journal.sqlite was damaged"), "{loud}");
    listener.wait_for("attic: stored");
    let second = listener.stop();
    let mut expected = stored(&first.log, "attic");
    expected.extend(stored(&second.log, "attic"));
    let recorded = stamps_of(&postgres_rows(&mut cluster.client("damaged")), MCU_ID);
    assert_eq!(recorded, expected);
    // It may still be looked at.
    let files = std::fs::read_dir(home.path(".")).unwrap().flatten();
    let damage =
        |path: std::path::PathBuf| std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(DAMAGE));
    assert_eq!(files.filter(|file| damage(file.path())).count(), 1);
}

#[test]
fn a_file_that_is_no_journal_is_left_alone() {
    let home = Home::new();
    std::fs::write(home.path("notes.txt"), "milk, bread").unwrap();
    for args in
        [["-d", "homeauto", "--journal", "notes.txt"].as_slice(), &["-d", "sqlite:notes.txt"]]
    {
        let ended = home.run(args);
        assert_eq!(ended.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("notes.txt"), "{args:?}: {said}");
        assert_eq!(home.read("notes.txt"), "milk, bread");
    }
}

#[test]
fn a_row_that_the_server_never_takes_does_not_hold_up_the_others() {
    let cluster = shared_cluster();
    cluster.create_database("poison");
    let mut client = cluster.client("poison");
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    client.batch_execute("ALTER TABLE battery_pack ADD CHECK (soc <> 13)").unwrap();
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, url) = (named("attic", control.local_addr()), cluster.url("poison"));
    let journal = home.path("j.sqlite").display().to_string();
    let args = ["-b", &at, "-d", &url, "-i", "1", "--journal", &journal];
    let mut listener = home.listen(&args);
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    for soc in [12, 13, 14] {
        control.send(Message::Text(format!("MCU ID: 1\nSOC: {soc}").into())).unwrap();
        listener.wait_for(&format!("  {soc} %"));
    }
    // The reason is said, and the row is still there for a person to see.
    listener.wait_until_said("battery_pack_soc_check");
    wait_until("the good rows arrive", TIME_LIMIT, || postgres_rows(&mut client).len() == 2);
    listener.stop();
    assert_eq!(stamps_of(&sqlite_rows(journal.as_ref()), 1).len(), 3);
}

/// A listener of few batteries needs little memory, and a fleet few statements.
#[test]
fn a_batch_has_the_rows_of_an_interval() {
    let cluster = shared_cluster();
    cluster.create_database("batches");
    let mut client = cluster.client("batches");
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    client
        .batch_execute(
            "CREATE TABLE seen (number BIGSERIAL, rows BIGINT);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN INSERT INTO seen (rows) SELECT count(*) FROM new; RETURN NULL; END';
             CREATE TRIGGER note AFTER INSERT ON battery_pack REFERENCING NEW TABLE AS new
               FOR EACH STATEMENT EXECUTE PROCEDURE note()",
        )
        .unwrap();
    let home = Home::new();
    let journal = home.path("journal.sqlite");
    {
        let row =
            |second, id| PackRecord::new(UtcDateTime::from_unix_timestamp(second).unwrap(), id);
        let alone = (0..300).map(|second| row(second, 1));
        let fleet = (300..304).flat_map(|second| (1..=500).map(move |id| row(second, id)));
        let mut journal = Journal::open(&journal, Retention::FOREVER).unwrap();
        journal.append(&alone.chain(fleet).collect::<Vec<_>>()).unwrap();
    }
    let silent = obedient_battery(1);
    let (at, url) = (named("attic", silent.local_addr()), cluster.url("batches"));
    let listener = home.listen(&["-b", &at, "-d", &url, "--journal", "journal.sqlite"]);
    wait_until("all are delivered", TIME_LIMIT, || postgres_rows(&mut client).len() == 2300);
    listener.stop();
    let seen = client.query("SELECT rows FROM seen ORDER BY number", &[]).unwrap();
    let seen: Vec<i64> = seen.iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, [100, 100, 100, 100, 100, 200, 400, 500, 500, 200]);
}

#[test]
fn a_journal_that_is_not_for_this_database_is_named_and_left_alone() {
    let cluster = shared_cluster();
    cluster.create_database("leftover");
    let mut client = cluster.client("leftover");
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    let home = Home::new();
    let path = |digit: char| {
        home.path(&format!("state/bluenova/journal-{}.sqlite", String::from(digit).repeat(16)))
    };
    let wait_in = |digit, database: Option<&str>| {
        let mut journal = Journal::open(&path(digit), Retention::FOREVER).unwrap();
        database.into_iter().for_each(|database| journal.note_destination(database).unwrap());
        journal.append(&[PackRecord::new(UtcDateTime::UNIX_EPOCH, 1)]).unwrap();
    };
    wait_in('a', None);
    wait_in('b', Some("other on pi:5432"));
    std::fs::write(path('c'), [0xAA; 2048]).unwrap();
    let server = talking_battery(1);
    let (at, url) = (named("attic", server.local_addr()), cluster.url("leftover"));
    let args = ["-b", &at, "-d", &url, "-i", "1"];
    let names = [
        format!("--journal '{}'", path('a').display()),
        format!("{}: 1 row waits, for other on pi:5432", path('b').display()),
        format!("{}: file is not a database", path('c').display()),
    ];
    let check = text(&home.run(&[&args[..], &["check"]].concat()).stdout);
    for (name, verdict) in names.iter().zip(["NOT OK", "ok", "NOT OK"]) {
        let line =
            check.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{check}"));
        assert!(line.starts_with(&format!("{verdict} ")), "{line}");
    }
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    names.iter().for_each(|name| listener.wait_until_said(name));
    let ended = listener.stop();
    assert_eq!(stamps_of(&postgres_rows(&mut client), 1), Vec::<String>::new());
    assert_eq!(count(&ended.log, "row waits"), 2, "{}", ended.log.join("\n"));

    // As the log has it.
    let first = path('a').display().to_string();
    let listener = home.listen(&[&args[..], &["--journal", &first]].concat());
    wait_until("its row arrives", TIME_LIMIT, || {
        stamps_of(&postgres_rows(&mut client), 1).len() == 1
    });
    listener.stop();
}

/// A clock that was wrong for a while, say.
#[test]
fn a_row_without_a_partition_waits_and_passes_by_itself() {
    let cluster = shared_cluster();
    cluster.create_database("partition");
    let mut client = cluster.client("partition");
    let schema = bluenova_postgres::schema();
    let (table, _) = schema.split_once(';').unwrap();
    client
        .batch_execute(&format!(
            "{table} PARTITION BY RANGE (insert_time_utc);
             CREATE TABLE until_2031 PARTITION OF battery_pack
               FOR VALUES FROM (MINVALUE) TO ('2031-01-01');
             CREATE INDEX ON until_2031 (insert_time_utc)"
        ))
        .unwrap();
    let home = Home::new();
    let journal = home.path("journal.sqlite");
    let row = |year: i64| {
        let seconds = (year - 1970) * 31_556_952;
        PackRecord::new(UtcDateTime::from_unix_timestamp(seconds).unwrap(), 1)
    };
    {
        // More of them than fit into a batch, and than are refused in a round of retries. Each
        // takes statements of its own.
        let late = (0..110).map(|n| PackRecord {
            insert_time_utc: row(2035).insert_time_utc + time::Duration::seconds(n),
            ..row(2035)
        });
        let rows: Vec<_> = late.chain([row(2020)]).collect();
        Journal::open(&journal, Retention::FOREVER).unwrap().append(&rows).unwrap();
    }
    let server = talking_battery(1);
    let (at, url) = (named("attic", server.local_addr()), cluster.url("partition"));
    let args = ["-b", &at, "-d", &url, "-i", "1", "--journal", "journal.sqlite"];
    let mut listener = home.listen(&[&args[..], &["--http", "127.0.0.1:0"]].concat());
    let page = crate::page::address(&listener.wait_for("page at "));
    let told = listener.wait_for("waits on its own");
    assert!(told.contains("a partition is missing; create it"), "{told}");
    wait_until("others are delivered", TIME_LIMIT, || {
        let recorded = stored(listener.log(), "attic").len();
        recorded > 0 && postgres_rows(&mut client).len() > recorded
    });
    let metrics = || get(page, "/metrics").body;
    wait_until("they are counted", TIME_LIMIT, || metrics().contains("rows_retried 110"));
    assert!(metrics().contains("bluenova_rows_set_aside 0"));
    let listed = text(&home.run(&[&args[..], &["set-aside"]].concat()).stdout);
    let waits = |line: &&str| line.contains("00000001  waits, and is retried: ");
    assert_eq!(listed.lines().filter(waits).count(), 110);

    // First, since it tries all of them again after a minute, and would deliver them.
    let ended = listener.stop();
    assert_eq!(count(&ended.log, "waits on its own"), 1, "{}", ended.log.join("\n"));
    client
        .batch_execute(
            "CREATE TABLE rest PARTITION OF battery_pack
               FOR VALUES FROM ('2031-01-01') TO (MAXVALUE)",
        )
        .unwrap();
    let mut listener = home.listen(&args);
    listener.wait_for("110 rows that waited on their own are delivered");
    listener.stop();
    assert_eq!(
        text(&home.run(&[&args[..], &["set-aside"]].concat()).stdout),
        "no row is set aside\n"
    );
    assert_eq!(postgres_rows(&mut client), sqlite_rows(&journal));
}
