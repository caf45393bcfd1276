//! `import`: rows from old logs, into holes only.

use std::{
    collections::HashSet, fmt::Write as _, fs, io::Write as _, path::PathBuf, thread,
    time::Duration,
};

use bluenova_test_support::{Cluster, Mode, wait_until};
use flate2::{Compression, write::GzEncoder};
use nix::sys::signal::Signal;
use postgres::Client;
use rusqlite::{Connection, OpenFlags};
use time::{UtcDateTime, macros::utc_datetime};

use crate::{
    rows::{Rows, postgres_rows, sqlite_rows},
    support::{Home, TIME_LIMIT, obedient_battery, shared_cluster, text},
};

/// One of the genuine logs, or what the first listener's table had.
fn genuine(name: &str) -> PathBuf {
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates");
    [crates, "bluenova-archive/tests/data", name].iter().collect()
}

/// The rows of a log of the first listener that has a record every 10 s: number, and second since
/// 1970. The number is in `adc_0`, in thousandths.
fn log(records: impl Iterator<Item = i64>, start: UtcDateTime) -> String {
    let mut log = String::new();
    for n in records {
        let time = start + time::Duration::seconds(n * 10 + 1);
        let (date, clock) = (time.date(), time.time());
        let stamp = format!(
            "{:04}/{:02}/{:02} {:02}:{:02}:{:02}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            clock.hour(),
            clock.minute(),
            clock.second()
        );
        let _ = write!(
            log,
            "{stamp}  == Write record: Time: {}, MCU ID 9F3C07B2, NumUnit 2, MyRank 1, CellCount \
             16, Vpack 52.471, Ipack -53.7, Temp 23, Vmin_cell 3.271, Vmax_cell 3.290, SOC 60, \
             Health 98.250, Errors 'NONE', State 'NORMAL', Breaker 'CLOSED', Charge 'DISCHARGE'\n\
             {stamp}  -- ADCvp 52.451, ADC0 {}.{:03}, ADC1 1.614, ADC2 2.420, ADC3 3.225, ADC4 \
             4.031, Bad CRC 1, ParseFail 0, Bad Vcell 1, EnergyIn 902.150, EnergyOut 813.400\n\
             {stamp}  -- Volt: {}\n\
             {stamp}  -- Temp: {}\n",
            time.unix_timestamp(),
            n / 1000,
            n % 1000,
            "3.274 ".repeat(16).trim_end(),
            "23    ".repeat(16),
        );
    }
    log
}

const START: UtcDateTime = utc_datetime!(2024-03-01 00:00:00);

/// A database with the first listener's table, and the rows that it had.
fn database_of_the_first_listener(name: &str) -> (String, Client) {
    let cluster = shared_cluster();
    cluster.create_database(name);
    let mut client = cluster.client(name);
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    let mut copy = client.copy_in("COPY battery_pack FROM STDIN (FORMAT csv, HEADER)").unwrap();
    copy.write_all(&fs::read(genuine("rows.csv")).unwrap()).unwrap();
    assert_eq!(copy.finish().unwrap(), 18);
    (cluster.url(name), client)
}

/// Runs an import that has to end well; returns what it prints.
#[track_caller]
fn run_import(home: &Home, database: &str, args: &[&str]) -> String {
    let args = [&["-d", database, "import"][..], args].concat();
    let output = home.run(&args);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Journals in the state directory.
fn journals(home: &Home) -> Vec<String> {
    let Ok(files) = fs::read_dir(home.path("state/bluenova")) else { return vec![] };
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_rows_that_postgresql_lost_are_added_and_no_other_row_changes() {
    let home = Home::new();
    let (database, mut client) = database_of_the_first_listener("import_genuine");
    let before = postgres_rows(&mut client);
    let plain = genuine("plain.log");
    let (plain, raw) = (plain.to_str().unwrap(), genuine("raw.log"));
    let raw = raw.to_str().unwrap();

    let shown = run_import(&home, &database, &["--dry-run", raw, plain]);
    assert!(
        shown.contains("2026-11-27 9F3C07B2: 4 rows would be added, 9 there already"),
        "{shown}"
    );
    assert_eq!(postgres_rows(&mut client), before);
    assert_eq!(journals(&home), [""; 0], "a dry run leaves nothing behind");

    let shown = run_import(&home, &database, &[raw, plain]);
    assert!(shown.contains("battery 9F3C07B2: 4 rows added, 9 there already"), "{shown}");
    let after = postgres_rows(&mut client);
    for (key, row) in &before {
        assert_eq!(after.get(key), Some(row), "a row that was there has changed");
    }
    let of_plain = |rows: &Rows| rows.keys().filter(|(_, id)| *id == 0x9F3C_07B2).count();
    assert_eq!((of_plain(&before), of_plain(&after)), (9, 13));
    // Its console lines show more than its records: the first two seconds, and the last ones.
    let (lost, at_the_ends): (Vec<_>, Vec<_>) = after
        .keys()
        .filter(|key| key.1 == 0x1B20_CC54 && !before.contains_key(key))
        .map(|(time, _)| time.as_str())
        .partition(|time| time.ends_with('1'));
    assert_eq!(lost.len(), 4);
    assert_eq!(at_the_ends, ["2026-11-27 01:58:00", "2026-11-27 02:00:20"]);

    let shown = run_import(&home, &database, &[raw, plain]);
    assert!(shown.contains("battery 9F3C07B2: 0 rows added, 13 there already"), "{shown}");
    assert_eq!(postgres_rows(&mut client), after);
    assert_eq!(journals(&home), [""; 0], "the journal of the import is removed");
}

#[test]
fn rotated_and_gzipped_files_in_any_order_are_one_log() {
    let home = Home::new();
    let whole = fs::read_to_string(genuine("raw.log")).unwrap();
    // Within a record, and within a console line's interval.
    let cuts = [whole.find(" -- Volt").unwrap() + 100, whole.rfind("RX: SOC").unwrap()];
    let cuts = cuts.map(|at| at + whole[at..].find('\n').unwrap() + 1);
    fs::write(home.path("x.log"), &whole[cuts[1]..]).unwrap();
    let mut gzip = GzEncoder::new(vec![], Compression::fast());
    gzip.write_all(&whole.as_bytes()[cuts[0]..cuts[1]]).unwrap();
    fs::write(home.path("x.log.0.gz"), gzip.finish().unwrap()).unwrap();
    fs::write(home.path("x.log.1"), &whole[..cuts[0]]).unwrap();

    let raw = genuine("raw.log");
    run_import(&home, &home.sqlite("whole"), &[raw.to_str().unwrap()]);
    let shown = run_import(&home, &home.sqlite("parts"), &["x.log.0.gz", "x.log", "x.log.1"]);
    assert!(!shown.contains("damaged"), "{shown}");
    assert_eq!(sqlite_rows(&home.path("parts")), sqlite_rows(&home.path("whole")));
}

#[test]
fn a_gzipped_file_that_breaks_off_is_read_as_far_as_it_goes() {
    let home = Home::new();
    let mut gzip = GzEncoder::new(vec![], Compression::fast());
    gzip.write_all(log(0..100, START).as_bytes()).unwrap();
    let bytes = gzip.finish().unwrap();
    fs::write(home.path("x.log.gz"), &bytes[..bytes.len() - 20]).unwrap();
    let database = home.sqlite("x");
    let output = home.run(&["-d", &database, "import", "x.log.gz"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("x.log.gz can't be read to its end"));
    assert!(sqlite_rows(&home.path("x")).len() > 50);
}

#[test]
fn an_import_that_is_killed_is_completed_by_the_next_one() {
    let home = Home::new();
    let cluster = shared_cluster();
    cluster.create_database("import_killed");
    let (database, mut client) = (cluster.url("import_killed"), cluster.client("import_killed"));
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    const RECORDS: i64 = 20_000;
    fs::write(home.path("x.log"), log(0..RECORDS, START)).unwrap();
    let count = |client: &mut Client| {
        client.query_one("SELECT count(*) FROM battery_pack", &[]).unwrap().get::<_, i64>(0)
    };
    for least in [1, 4_000, 9_000] {
        let import = home.listen(&["-d", &database, "import", "x.log"]);
        wait_until("rows arrive", TIME_LIMIT, || count(&mut client) >= least);
        import.end(Signal::SIGKILL);
    }
    let before = count(&mut client);
    assert!(before < RECORDS, "it was not killed in between");
    run_import(&home, &database, &["x.log"]);
    let sql = "SELECT count(*), count(DISTINCT insert_time_utc), sum(round(adc_0 * 1000)) \
               FROM battery_pack";
    let row = client.query_one(sql, &[]).unwrap();
    let sum = (RECORDS * (RECORDS - 1) / 2) as f64;
    let found: (i64, i64, f64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(found, (RECORDS, RECORDS, sum));
    assert_eq!(journals(&home), [""; 0]);
}

#[test]
fn only_holes_are_filled_whatever_the_seconds_are() {
    let home = Home::new();
    let database = home.sqlite("x");
    fs::write(home.path("all.log"), log((0..100).filter(|n| !(40..60).contains(n)), START))
        .unwrap();
    run_import(&home, &database, &["all.log"]);
    // The same intervals, recorded three seconds later.
    let later = START + time::Duration::seconds(3);
    fs::write(home.path("later.log"), log(0..100, later)).unwrap();
    let shown = run_import(&home, &database, &["later.log"]);
    assert!(shown.contains("20 rows added, 80 within 5 s of another row"), "{shown}");
    assert_eq!(sqlite_rows(&home.path("x")).len(), 100);
}

#[test]
fn a_file_that_a_listener_records_into_is_left_alone() {
    let home = Home::new();
    let battery = obedient_battery(1);
    let database = home.sqlite("x");
    let mut listener = home.listen(&["-b", &battery.local_addr().to_string(), "-d", &database]);
    listener.wait_for("connected to");
    let plain = genuine("plain.log");
    let plain = plain.to_str().unwrap();
    let output = home.run(&["-d", &database, "import", plain]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("A listener records into that file"));
    // What would be added can be looked at nevertheless.
    let shown = run_import(&home, &database, &["--dry-run", plain]);
    assert!(shown.contains("13 rows would be added"), "{shown}");
    listener.stop();
}

#[test]
fn console_lines_without_records_need_a_time_zone() {
    let home = Home::new();
    // The hour from 02:00 comes twice in that night.
    let mut lines = String::new();
    for time in ["01:59:58", "02:59:58", "02:00:08", "02:59:59"] {
        for line in ["MCU ID: 9F3C07B2", "SOC: 60"] {
            let _ = writeln!(lines, "2026/10/25 {time} RX: {line}");
        }
    }
    fs::write(home.path("x.log"), lines).unwrap();
    let times = |database: &str, zone: &str| {
        let shown = run_import(&home, &home.sqlite(database), &["x.log", "--timezone", zone]);
        assert!(shown.contains("time zone: no record shows that of x.log"), "{shown}");
        let rows = sqlite_rows(&home.path(database));
        rows.into_keys().map(|(time, _)| time).collect::<Vec<_>>()
    };
    let in_berlin = [
        "2026-10-25 00:00:00",
        "2026-10-25 01:00:00",
        "2026-10-25 01:00:10",
        "2026-10-25 02:00:00",
    ];
    assert_eq!(times("berlin", "Europe/Berlin"), in_berlin);
    assert_eq!(times("rule", "CET-1CEST,M3.5.0,M10.5.0/3"), in_berlin);
    assert_eq!(times("fixed", "+00:00")[0], "2026-10-25 02:00:00");

    let output = home.run(&["-d", &home.sqlite("y"), "import", "x.log", "--timezone", "Mars"]);
    assert!(text(&output.stderr).contains("--timezone \"Mars\""));
}

#[test]
fn damage_is_counted_and_the_first_of_each_kind_shown() {
    let home = Home::new();
    let log = log(0..10, START)
        .replace("Vpack 52.471", "Vpack 5?.471")
        .replacen("MCU ID 9", "MCU ID ?", 1);
    fs::write(home.path("x.log"), log).unwrap();
    let shown = run_import(&home, &home.sqlite("x"), &["x.log"]);
    for expected in [
        "battery 9F3C07B2: 9 rows added",
        "damaged: a value of a record can't be read: Vpack, 9 times; first at x.log:5",
        "damaged: time or MCU ID of a record can't be read, once; first at x.log:1",
    ] {
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn a_server_that_is_away_costs_nothing() {
    let home = Home::new();
    let output = home.run(&["-d", "postgresql://127.0.0.1:1/x", "import", "x.log"]);
    assert!(text(&output.stderr).contains("x.log can't be read"), "{}", text(&output.stderr));
    fs::write(home.path("x.log"), log(0..10, START)).unwrap();
    let output = home.run(&["-d", "postgresql://127.0.0.1:1/x", "import", "x.log"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("127.0.0.1"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "", "it hasn't looked at any row");
}

#[test]
fn a_file_that_is_no_log_is_named_and_costs_no_other_one() {
    let home = Home::new();
    let bzip2 = b"BZh91AY&SY\x0a\xb2\x00\x0a\xff";
    fs::write(home.path("x.log.0.bz2"), bzip2).unwrap();
    let utf_16: Vec<u8> = log(0..10, START).encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(home.path("wide.log"), utf_16).unwrap();
    fs::write(home.path("empty.log"), "").unwrap();
    fs::write(home.path("x.log"), log(0..10, START)).unwrap();
    let files = ["x.log.0.bz2", "wide.log", "empty.log", "x.log"];
    let output = home.run(&[&["-d", &home.sqlite("x"), "import"][..], &files].concat());
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    for (file, is_named) in [(files[0], true), (files[1], true), (files[2], false)] {
        let named = format!("not read: no line of {file} begins with a time");
        assert_eq!(shown.contains(&named), is_named, "{shown}");
    }
    assert_eq!(sqlite_rows(&home.path("x")).len(), 10);
}

#[test]
fn a_damaged_mcu_id_makes_no_battery() {
    let home = Home::new();
    let damaged = |log: String, from, to| log.replacen("9F3C07B2", from, 1).replacen("7B2,", to, 3);
    fs::write(home.path("x.log"), damaged(log(0..10, START), "9F3C07B", "7B3,")).unwrap();
    let shown = run_import(&home, &home.sqlite("x"), &["x.log"]);
    let batteries: HashSet<i64> =
        sqlite_rows(&home.path("x")).into_keys().map(|(_, id)| id).collect();
    assert_eq!(batteries.len(), 2, "{shown}");
    let expected = "damaged: no other record has the MCU ID of a record, once; first at x.log:1\n";
    assert!(shown.contains(expected), "{shown}");

    fs::write(home.path("two.log"), log(0..1, START) + &log(1..2, START).replace("9F3", "1F3"))
        .unwrap();
    run_import(&home, &home.sqlite("two"), &["two.log"]);
    assert_eq!(sqlite_rows(&home.path("two")).len(), 2, "they are as good as each other");
}

#[test]
fn an_interval_that_a_listener_is_recording_is_left_to_it() {
    let home = Home::new();
    // By the time that the import looks at its clock, too.
    let now = UtcDateTime::now() + time::Duration::minutes(5);
    let mut lines = String::new();
    for time in [now - time::Duration::HOUR, now] {
        let (date, clock) = (time.date(), time.time());
        for line in ["MCU ID: 9F3C07B2", "SOC: 60"] {
            let (hour, minute, second) = clock.as_hms();
            let _ = writeln!(
                lines,
                "{date} {hour:02}:{minute:02}:{second:02}.000 +00:00 INFO  house: RX: {line}"
            );
        }
    }
    fs::write(home.path("x.log"), lines).unwrap();
    let shown = run_import(&home, &home.sqlite("x"), &["x.log"]);
    assert!(shown.contains("9F3C07B2: 1 row added"), "{shown}");
    assert!(shown.contains("not added: 1 row of the last 10 s"), "{shown}");
    assert_eq!(sqlite_rows(&home.path("x")).len(), 1);
}

#[test]
fn a_server_that_is_restarted_costs_no_import() {
    let home = Home::new();
    let mut cluster = Cluster::start();
    cluster.create_database("homeauto");
    let database = cluster.url("homeauto");
    cluster.client("homeauto").batch_execute(&bluenova_postgres::schema()).unwrap();
    // Those of the second half are of a day each, which is looked up.
    const RECORDS: i64 = 2000;
    let days = log((0..RECORDS / 2).map(|n| n * 8640), utc_datetime!(2011-01-01 00:00:00));
    fs::write(home.path("x.log"), log(0..RECORDS / 2, START) + &days).unwrap();
    let count = |cluster: &Cluster| {
        let sql = "SELECT count(*), count(DISTINCT insert_time_utc) FROM battery_pack";
        let row = cluster.client("homeauto").query_one(sql, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };

    let import = home.listen(&["-d", &database, "import", "x.log"]);
    wait_until("rows arrive", TIME_LIMIT, || count(&cluster).0 > 0);
    cluster.stop(Mode::Immediate);
    cluster.start_again();
    let ended = import.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log.join("\n"));
    assert_eq!(count(&cluster), (RECORDS, RECORDS));
    assert_eq!(journals(&home), [""; 0]);
}

#[test]
fn a_listener_delivers_what_an_import_that_was_killed_has_left() {
    let home = Home::new();
    let mut cluster = Cluster::start();
    cluster.create_database("homeauto");
    let database = cluster.url("homeauto");
    let mut client = cluster.client("homeauto");
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    // The server takes some rows, and then no more until it has been killed.
    client
        .batch_execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF (SELECT count(*) FROM battery_pack) > 5000 THEN
                 PERFORM pg_advisory_xact_lock(1);
               END IF;
               RETURN NULL;
             END $$;
             CREATE TRIGGER wait AFTER INSERT ON battery_pack
               FOR EACH STATEMENT EXECUTE PROCEDURE wait();
             SELECT pg_advisory_lock(1)",
        )
        .unwrap();
    fs::write(home.path("x.log"), log(0..20_000, START)).unwrap();
    let count = |cluster: &Cluster| {
        let sql = "SELECT count(*) FROM battery_pack";
        cluster.client("homeauto").query_one(sql, &[]).unwrap().get::<_, i64>(0)
    };

    let import = home.listen(&["-d", &database, "import", "x.log"]);
    wait_until("rows arrive", TIME_LIMIT, || count(&cluster) > 0);
    cluster.stop(Mode::Immediate);
    drop(client);
    let journal = || {
        let names = journals(&home);
        let name = names.iter().find(|name| name.ends_with(".sqlite"))?;
        Some(sqlite_rows(&home.path("state/bluenova").join(name)))
    };
    // The batch that the server has not acknowledged.
    let mut before = journal();
    wait_until("the import waits for the server", TIME_LIMIT, || {
        thread::sleep(Duration::from_millis(300));
        let is_waiting = before.is_some() && journal() == before;
        before = journal();
        is_waiting
    });
    import.end(Signal::SIGKILL);
    cluster.start_again();
    let waiting = journal().unwrap();
    let delivered = postgres_rows(&mut cluster.client("homeauto"));
    assert!(waiting.keys().any(|key| !delivered.contains_key(key)), "nothing waits");

    let listener = home.listen(&["-b", "127.0.0.1:1", "-d", &database]);
    wait_until("the listener has delivered them", TIME_LIMIT, || {
        let rows = postgres_rows(&mut cluster.client("homeauto"));
        waiting.keys().all(|key| rows.contains_key(key))
    });
    listener.stop();
    run_import(&home, &database, &["x.log"]);
    assert_eq!(count(&cluster), 20_000);
}

#[test]
fn an_import_into_a_file_that_is_killed_is_completed_by_the_next_one() {
    // A busy machine may let an import end before this test can kill it: then a longer one.
    let mut records = 60_000;
    while !is_completed_after_a_kill(records) {
        records *= 2;
        assert!(records < 1_000_000, "it was not killed in between");
    }
}

/// Kills an import of so many records, and completes it; `false` if it had ended already.
fn is_completed_after_a_kill(records: i64) -> bool {
    let home = Home::new();
    fs::write(home.path("x.log"), log(0..records, START)).unwrap();
    let database = home.sqlite("x");
    let count = || {
        // There is neither file nor table at first.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let database = Connection::open_with_flags(home.path("x"), flags);
        let sql = "SELECT count(*) FROM battery_pack";
        database.and_then(|open| open.query_row(sql, (), |row| row.get::<_, i64>(0))).unwrap_or(0)
    };
    for least in [1, 10_000] {
        let import = home.listen(&["-d", &database, "import", "x.log"]);
        wait_until("rows arrive", TIME_LIMIT, || count() >= least);
        import.end(Signal::SIGKILL);
    }
    let was_killed = count() < records;
    run_import(&home, &database, &["x.log"]);
    let rows = sqlite_rows(&home.path("x"));
    assert_eq!(rows.len(), records as usize);
    was_killed
}

#[test]
fn records_of_nobody_and_of_a_clock_that_was_not_set_are_left_out() {
    let home = Home::new();
    let nobody = log(0..3, START).replace("9F3C07B2", "FFFFFFFF");
    let long_ago = log(0..2, UtcDateTime::UNIX_EPOCH);
    fs::write(home.path("nobody.log"), nobody).unwrap();
    fs::write(home.path("old.log"), long_ago).unwrap();
    let shown = run_import(&home, &home.sqlite("x"), &["nobody.log", "old.log"]);
    assert!(shown.contains("not added: 3 rows without an MCU ID"), "{shown}");
    assert!(shown.contains("not added: 2 rows from a clock that wasn't set"), "{shown}");
    assert!(shown.contains("no rows in these logs"), "{shown}");
}

#[test]
fn a_row_that_postgresql_rejects_is_set_aside_and_holds_up_no_other() {
    let home = Home::new();
    let cluster = shared_cluster();
    cluster.create_database("import_rejected");
    let (database, mut client) =
        (cluster.url("import_rejected"), cluster.client("import_rejected"));
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    client.batch_execute("ALTER TABLE battery_pack ADD CHECK (adc_0 <> 0.005::REAL)").unwrap();
    fs::write(home.path("x.log"), log(0..10, START)).unwrap();

    let output = home.run(&["-d", &database, "import", "x.log"]);
    let error = text(&output.stderr);
    assert!(error.contains("PostgreSQL rejects 1 row"), "{error}");
    assert_eq!(postgres_rows(&mut client).len(), 9);
    let journal = journals(&home).into_iter().find(|name| name.ends_with(".sqlite")).unwrap();
    let journal = home.path("state/bluenova").join(journal);
    let journal = journal.to_str().unwrap();
    assert!(error.contains(journal), "{error}");
    let listed = home.run(&["-d", &database, "--journal", journal, "set-aside"]);
    assert!(text(&listed.stdout).contains("2024-03-01 00:00:51 UTC  9F3C07B2"), "{listed:?}");
}
