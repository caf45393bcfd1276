//! `export`: what comes out is what `\copy` of the same rows gives.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
};

use bluenova_journal::{Journal, Retention};
use bluenova_postgres::{Deadlines, Settings, Sink};
use bluenova_record::{COLUMNS, PackRecord, SqlType, Text, Value};
use bluenova_test_support::sample_row;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use time::{Duration, UtcDateTime};

use crate::support::{
    Home, Killed, Listener, TIME_LIMIT, failed, named, shared_cluster, succeeded, talking_battery,
};
use bluenova_test_support::wait_until;

/// 2026-11-22 12:00:00 UTC.
fn start() -> UtcDateTime {
    UtcDateTime::from_unix_timestamp(1_795_348_800).unwrap()
}

/// Rows of two batteries, in turn, ten seconds apart.
fn usual_rows(count: u32) -> Vec<PackRecord> {
    let rows = (0..count).flat_map(|n| {
        [0x9F3C_07B2, 0x10AB_CDEF].map(|id| sample_row(start() + Duration::seconds(10) * n, id))
    });
    rows.collect()
}

/// Rows with any values at all in their columns.
fn any_rows(count: u32) -> Vec<PackRecord> {
    let texts = ["", "NONE", "a,b", "say \"so\"", "two\r\nlines\n", " ü ", "\\.", "NULL", "'"];
    let mut random = fastrand::Rng::with_seed(11);
    let mut rows = vec![];
    for n in 0..count {
        let micros = random.choice([0, 1, 120_000, 999_999]).unwrap();
        let time = start() + Duration::seconds(10) * n + Duration::microseconds(micros);
        let mut row = PackRecord::new(time, random.u32(..));
        for column in COLUMNS.iter().skip(2) {
            if column.is_nullable() && random.u8(..4) == 0 {
                continue;
            }
            let value = match column.sql {
                SqlType::SmallInt => Value::SmallInt(random.i16(..)),
                SqlType::Real if random.bool() => Value::Real(any_real(&mut random)),
                SqlType::Real => Value::Real(random.u32(..100_000) as f32 / 1000.0),
                _ => Value::Text(random.choice(texts).unwrap()),
            };
            column.set(&mut row, Some(value)).unwrap();
        }
        rows.push(row);
    }
    rows
}

/// Any number but NaN, which SQLite doesn't have; often one that is printed in an odd way.
fn any_real(random: &mut fastrand::Rng) -> f32 {
    let odd = [0.0, -0.0, 1e-4, 9.9e-5, 999_999.0, 1e6, f32::MAX, f32::from_bits(1), 34_148.063];
    let number = match random.u8(..3) {
        0 => random.choice(odd).unwrap(),
        // So far apart that short decimals lie in the middle.
        1 => f32::from_bits(random.u32(0x4C00_0000..0x5000_0000)),
        _ => f32::from_bits(random.u32(..)),
    };
    if number.is_nan() { f32::INFINITY } else { number }
}

/// Creates a database, and gives its URL.
fn create_database(name: &str) -> String {
    let cluster = shared_cluster();
    cluster.create_database(name);
    cluster.url(name)
}

fn write_journal(path: &Path, rows: &[PackRecord]) {
    let mut journal = Journal::open(path, Retention::FOREVER).unwrap();
    journal.append(rows).unwrap();
}

fn deliver(url: &str, rows: &[PackRecord]) {
    let settings = Settings::resolve(url, None, |_| None).unwrap();
    let deadlines = Deadlines { connect: TIME_LIMIT, deliver: TIME_LIMIT };
    let mut sink = Sink::new(settings, deadlines);
    let rows: Arc<[PackRecord]> = rows.into();
    let mut dealt_with = 0;
    while dealt_with < rows.len() {
        dealt_with += sink.deliver(&rows, dealt_with).unwrap().rows;
    }
}

/// The lines of a CSV, cut into values; quotes are left on those that have them.
fn parsed(csv: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut value, mut is_quoted) = (vec![], vec![], String::new(), false);
    for c in csv.chars() {
        match c {
            ',' if !is_quoted => line.push(std::mem::take(&mut value)),
            '\n' if !is_quoted => {
                line.push(std::mem::take(&mut value));
                lines.push(std::mem::take(&mut line));
            }
            c => {
                is_quoted ^= c == '"';
                value.push(c);
            }
        }
    }
    assert!(line.is_empty() && value.is_empty(), "the last line has an end");
    lines
}

/// A time of `\copy` as RFC 3339.
fn rfc_3339(time: &str) -> String {
    let time = time.replace(' ', "T");
    let time = if time.contains('.') { time.trim_end_matches('0') } else { &time };
    format!("{time}Z")
}

#[test]
fn what_is_exported_is_what_copy_gives() {
    let url = create_database("exported");
    let home = Home::new();
    let rows = any_rows(2500);
    write_journal(&home.path("journal"), &rows);
    deliver(&url, &rows);

    let sql = "SELECT * FROM battery_pack ORDER BY insert_time_utc, mcu_id";
    let copied = shared_cluster().psql("exported", &format!("\\copy ({sql}) TO STDOUT CSV HEADER"));
    let copied = parsed(&copied);
    assert_eq!(copied.len(), 2501);
    let from_journal = home.run(&["export", "-d", &url, "--journal", "journal"]);
    let from_table = home.run(&["export", "-d", &url, "--from-database"]);
    for output in [from_journal, from_table] {
        let exported = parsed(&succeeded(&output));
        assert_eq!(exported[0], copied[0]);
        for (exported, copied) in exported.iter().zip(&copied).skip(1) {
            assert_eq!(exported[0], rfc_3339(&copied[0]));
            for (name, (exported, copied)) in
                COLUMNS.iter().map(|column| column.name).zip(exported.iter().zip(copied)).skip(1)
            {
                assert_eq!(exported, copied, "{name}");
            }
        }
        assert_eq!(exported.len(), copied.len());
    }
}

#[test]
fn times_batteries_and_columns_can_be_chosen() {
    let url = create_database("chosen");
    let home = Home::new();
    let rows = usual_rows(3);
    write_journal(&home.path("journal"), &rows);
    deliver(&url, &rows);
    let sources = [
        vec!["export", "-d", &url, "--from-database"],
        vec!["export", "-d", &url, "--journal", "journal"],
        vec!["export", "-d", "sqlite:journal"],
    ];
    for source in sources {
        for (options, expected) in [
            (
                "--columns mcu_id,soc --to 2026-11-22T12:00:10Z",
                "mcu_id,soc\n279694831,63\n2671511474,63\n",
            ),
            (
                "--columns=insert_time_utc --from 2026-11-22T13:00:10+01:00 --battery=9f3c07b2",
                "insert_time_utc\n2026-11-22T12:00:10Z\n2026-11-22T12:00:20Z\n",
            ),
            (
                "--from 2026-11-22 --to 2026-11-23 --columns charge_state,mcu_id \
                 --battery 10ABCDEF --battery 9F3C07B2 --from 2026-11-22T12:00:20Z -o -",
                "",
            ),
        ] {
            let options: Vec<_> = options.split_whitespace().collect();
            let output = home.run(&[&source[..], &options].concat());
            if expected.is_empty() {
                assert!(failed(&output).contains("--from"), "given twice");
            } else {
                assert_eq!(succeeded(&output), expected, "{source:?}");
            }
        }
    }
}

/// The journal has the MCU IDs that batteries have sent, so that they need not be there.
#[test]
fn a_name_stands_for_the_battery_that_has_it() {
    let url = create_database("named");
    let home = Home::new();
    let (attic, cellar) = (talking_battery(1), talking_battery(2));
    let names = [named("attic", attic.local_addr()), named("cellar", cellar.local_addr())];
    let listener = ["-b", &names[0], "-b", &names[1], "-d", &url, "-i", "1"];
    let mut running = home.listen(&listener);
    running.wait_for("cellar: stored");
    running.wait_until_said("attic: stored");
    let export = |more: &[&str]| {
        let export = ["export", "--columns", "mcu_id", "--battery", "cellar"];
        home.run(&[&listener[..], &export, more].concat())
    };
    let ids = |output: &Output| {
        succeeded(output).lines().skip(1).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let only_cellar = BTreeSet::from(["548130287".to_owned()]);
    // The listener goes on.
    assert_eq!(ids(&export(&[])), only_cellar);
    wait_until("a row is delivered", TIME_LIMIT, || export(&["--from-database"]).status.success());
    running.stop();
    drop((attic, cellar));
    assert_eq!(ids(&export(&[])), only_cellar);
    assert_eq!(ids(&export(&["--from-database"])), only_cellar);
}

/// As for rows of a listener that noted no MCU ID.
#[test]
fn a_battery_is_asked_for_an_id_that_is_not_in_the_journal() {
    let home = Home::new();
    let battery = talking_battery(2);
    let at = named("cellar", battery.local_addr());
    write_journal(&home.path("db"), &[sample_row(start(), 7), sample_row(start(), 548_130_287)]);
    let args = ["-b", &at, "-d", "sqlite:db", "export", "--battery", "cellar", "--columns"];
    let export = || home.run(&[&args[..], &["mcu_id"]].concat());
    assert_eq!(succeeded(&export()), "mcu_id\n548130287\n");
    drop(battery);
    let error = failed(&export());
    let expected = "--battery cellar: the battery can't be asked for its MCU ID; give that.";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn errors_name_what_is_wrong() {
    let url = create_database("wrong");
    let home = Home::new();
    write_journal(&home.path("db"), &usual_rows(1));
    write_journal(&home.path("empty"), &[]);
    deliver(&url, &usual_rows(1));
    for (args, expected) in [
        (
            "-d sqlite:db --columns v_pac",
            "--columns: did you mean v_pack? there is no column \"v_pac\"; the columns are \
             insert_time_utc, mcu_id,",
        ),
        ("-d sqlite:db --columns soc,soc", "--columns: column soc is given twice"),
        (
            "-d sqlite:db --battery 7",
            "there are no rows of 00000007 in /HOME/db, but of 10ABCDEF, 9F3C07B2",
        ),
        ("-d URL --from-database --battery 7", "there are no rows of 00000007 in battery_pack of"),
        (
            "-d sqlite:db --battery attic",
            "--battery \"attic\": the name of a battery in -b (10.0.0.2) or an MCU ID",
        ),
        (
            "-d sqlite:db --from 2026-11-23 --to 2026-11-22",
            "--from 2026-11-23T00:00:00Z must be before --to 2026-11-22T00:00:00Z",
        ),
        ("-d sqlite:db --from yesterday", "--from \"yesterday\": a time"),
        (
            "-d sqlite:db --from 2026-11-23 --battery 9F3C07B2",
            "there are no rows of 9F3C07B2 from 2026-11-23T00:00:00Z in /HOME/db, where the first \
             one is of 2026-11-22T12:00:00Z, and the last one of 2026-11-22T12:00:00Z\n",
        ),
        (
            "-d x --journal db --to 2026-11-22",
            ", and the last one of 2026-11-22T12:00:00Z; the table in PostgreSQL may have older \
             ones (--from-database)\n",
        ),
        ("-d x --journal db --from 2026-11-23", ", and the last one of 2026-11-22T12:00:00Z\n"),
        (
            "-d URL --from-database --to 2026-11-22",
            "there are no rows to 2026-11-22T00:00:00Z in battery_pack of wrong on ",
        ),
        ("-d sqlite:empty", "there are no rows in /HOME/empty yet"),
        ("-d sqlite:none", "there is no file /HOME/none: no listener has recorded into it yet"),
        ("-d x --journal none", "there is no journal /HOME/none; give the listener's options"),
        ("-d sqlite:db -o none/x.csv", "-o none/x.csv: No such file or directory"),
        ("-d sqlite:db -o .", "-o .: Is a directory"),
        ("-d sqlite:db -o /dev/full", "-o /dev/full can't be written: No space left on device"),
    ] {
        let expected = expected.replace("/HOME", home.directory().to_str().unwrap());
        let args: Vec<_> = args.split(' ').map(|arg| arg.replace("URL", &url)).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let error = failed(&home.run(&[&["export"], &args[..]].concat()));
        assert!(error.contains(&expected), "{args:?}\n{error}\n{expected}");
    }
}

/// As `| head` does.
#[test]
fn a_reader_may_have_enough() {
    let url = create_database("enough");
    let home = Home::new();
    let rows = usual_rows(5000);
    write_journal(&home.path("db"), &rows);
    deliver(&url, &rows);
    for args in
        [["export", "-d", "sqlite:db", "-o", "-"], ["export", "-d", &url, "--from-database", "-o-"]]
    {
        let args: Vec<_> = args.into_iter().filter(|arg| *arg != "-o-").collect();
        let mut command = home.command(&args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Killed(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("insert_time_utc,mcu_id,"), "{line}");
        let mut errors = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!((child.0.wait().unwrap().code(), &*errors), (Some(0), ""));
    }
}

/// Of megabytes, less than one is ever in memory.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_rows() {
    const MIB: usize = 1 << 20;
    let url = create_database("growing");
    let home = Home::new();
    let rows = usual_rows(10_000);
    write_journal(&home.path("db"), &rows);
    deliver(&url, &rows);
    for args in [&["-d", "sqlite:db"][..], &["-d", &url, "--from-database"]] {
        let mut command = home.command(&[&["export"], args].concat());
        command.stdout(Stdio::piped());
        let mut child = Killed(command.spawn().unwrap());
        let mut out = child.0.stdout.take().unwrap();
        let mut read = vec![0; MIB];
        out.read_exact(&mut read).unwrap();
        let before = peak_kib(child.0.id());
        for _ in 0..4 {
            out.read_exact(&mut read).unwrap();
        }
        // It waits for a reader, and so is still there.
        let grown = peak_kib(child.0.id()) - before;
        assert!(grown < 1024, "{args:?}: {grown} KiB more for 4 MiB");
        assert!(out.read_to_end(&mut read).unwrap() > MIB / 4, "that was most of it");
        assert!(child.0.wait().unwrap().success());
    }
}

/// The most memory that a process has had.
fn peak_kib(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let (_, peak) = status.split_once("VmHWM:").unwrap();
    peak.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_file_is_whole_or_as_it_was() {
    let home = Home::new();
    write_journal(&home.path("db"), &usual_rows(2));
    let export = |more: &[&str]| {
        let args = ["export", "-d", "sqlite:db", "--columns", "soc", "-o", "link.csv"];
        home.run(&[&args[..], more].concat())
    };
    fs::write(home.path("old.csv"), "old").unwrap();
    fs::set_permissions(home.path("old.csv"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("old.csv", home.path("link.csv")).unwrap();

    failed(&export(&["--from", "2030-01-01"]));
    assert_eq!(home.read("old.csv"), "old");

    assert_eq!(succeeded(&export(&[])), "link.csv: 4 rows\n");
    assert_eq!(home.read("old.csv"), "soc\n63\n63\n63\n63\n");
    let mode = fs::metadata(home.path("old.csv")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(fs::symlink_metadata(home.path("link.csv")).unwrap().is_symlink());
    assert_eq!(unfinished(&home), <[String; 0]>::default());
}

fn unfinished(home: &Home) -> Vec<String> {
    let files = fs::read_dir(home.directory()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".old.csv.")).collect()
}

#[test]
fn an_interrupted_export_leaves_nothing() {
    let url = create_database("interrupted");
    let home = Home::new();
    deliver(&url, &usual_rows(1));
    // The export waits for the lock.
    let mut other = shared_cluster().client("interrupted");
    other.batch_execute("BEGIN; LOCK TABLE battery_pack").unwrap();
    fs::write(home.path("old.csv"), "old").unwrap();
    let args = ["export", "-d", &url, "--from-database", "-o", "old.csv"];
    let listener = Listener::start(home.command(&args));
    wait_until("it has begun", TIME_LIMIT, || !unfinished(&home).is_empty());
    kill(Pid::from_raw(listener.pid().cast_signed()), Signal::SIGINT).unwrap();
    let ended = listener.ended();
    assert_eq!(ended.status.code(), Some(130), "{:?}", ended.log);
    assert_eq!(unfinished(&home), <[String; 0]>::default());
    assert_eq!(home.read("old.csv"), "old");
}

/// Texts are cut at 32 characters here as in the table.
#[test]
fn texts_are_as_wide_as_in_the_table() {
    let home = Home::new();
    let mut row = sample_row(start(), 7);
    row.errors = Some(Text::new(&"ü".repeat(40)));
    write_journal(&home.path("db"), &[row]);
    let output = home.run(&["export", "-d", "sqlite:db", "--columns", "errors"]);
    assert_eq!(succeeded(&output), format!("errors\n{}\n", "ü".repeat(32)));
}
