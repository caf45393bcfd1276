//! Every option, every refusal, and the modes.

use std::process::{Command, Output};

use bluenova_test_support::wait_until;
use nix::sys::signal::Signal;
use postgres::Client;

use crate::{
    rows::{Rows, postgres_rows, sqlite_rows},
    support::{
        Home, Listener, TIME_LIMIT, count, exists, named, output, shared_cluster, stored,
        talking_battery, text,
    },
};

/// No password may ever be seen.
const PASSWORD: &str = "sesame";

#[track_caller]
fn check_refused(output: &Output, args: &[&str], says: &[&str]) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
    assert!(error.starts_with("bluenovalistener: "), "{args:?}: {error}");
    for word in says {
        assert!(error.contains(word), "{args:?}: {error:?} lacks {word:?}");
    }
    assert!(!error.contains(PASSWORD), "{args:?}: {error}");
    assert!(!error.contains("panicked"), "{args:?}: {error}");
}

#[test]
fn what_is_not_allowed_is_refused() {
    let home = Home::new();
    let refusals: &[(&[&str], &[&str])] = &[
        (&["-i", "0"], &["-i", "\"0\"", "1 to 86400"]),
        (&["--interval=86401"], &["\"86401\"", "1 to 86400"]),
        (&["--interval", "ten"], &["\"ten\"", "1 to 86400"]),
        (&["-n", "-1"], &["-n", "\"-1\"", "0 to 1000"]),
        (&["--log-keep=1001"], &["\"1001\"", "0 to 1000"]),
        (&["-m", "5X"], &["-m", "\"5X\"", "K, M or G"]),
        (&["--log-size="], &["-m", "\"\"", "bytes"]),
        (&["-f", "yes"], &["-f", "\"yes\"", "0 or 1"]),
        (&["--keep", "3651"], &["--keep", "\"3651\"", "1 to 3650"]),
        (&["-b", "battery:0"], &["-b", "battery:0"]),
        (&["-b", "battery:70000"], &["-b", "battery:70000"]),
        (&["-b", "::1"], &["-b", "::1", "brackets"]),
        (&["-b", "ws://battery"], &["-b", "ws", "HOST[:PORT][/PATH]"]),
        (&["-b", ""], &["-b"]),
        (&["-b", "=battery"], &["-b", "=battery", "name"]),
        (&["-b", "a=battery", "-b", "b=battery:9000"], &["battery:9000/ws/", "twice"]),
        (&["-b", "a=battery", "-b", "a=other"], &["\"a\""]),
        (&["-d", ""], &["-d", "empty"]),
        (&["-d", "sqlite:"], &["sqlite:PATH", "path"]),
        (&["-d", "sqlite:x", "-u", "me"], &["-u", "sqlite:PATH"]),
        (&["-d", "sqlite:x", "--journal", "y"], &["--journal", "sqlite:PATH"]),
        (&["-d", "sqlite:x", "--keep", "1"], &["--keep", "sqlite:PATH"]),
        (&["-d", "postgresql://me:sesame@h:port/x"], &["-d"]),
        (&["-d", "host=h password=sesame port=x"], &["-d"]),
        (&["-d", "host=h sslmode=perhaps"], &["-d"]),
        (&["--http", "9080"], &["--http", "\"9080\"", "127.0.0.1:9080 or [::1]:9080"]),
        (&["--http=localhost"], &["--http", "\"localhost\"", "a port"]),
        (&["--http", "::1:9080"], &["--http", "\"::1:9080\"", "[::1]:9080"]),
        (&["--http", "battery.lan:80"], &["--http", "IP address of this machine"]),
        (&["--http", "127.0.0.1:x", "demo"], &["--http", "\"127.0.0.1:x\""]),
        (&["--http", "127.0.0.1:70000", "check"], &["--http", "\"127.0.0.1:70000\""]),
        (&["--http-host", "nas:80"], &["--http-host", "\"nas:80\"", "without a port"]),
        (&["--nonsense"], &["--nonsense", "--help"]),
        (&["-x"], &["-x", "--help"]),
        (&["nonsense"], &["nonsense", "--help"]),
        (&["chek"], &["did you mean check?"]),
        (&["-d=postgresql://u:sesame@h/db"], &["-d", "--help"]),
        (&["-i", "1.5"], &["a whole number of seconds, 1 to 86400"]),
        (&["-i", "10", "-i", "20"], &["-i is given twice"]),
        (&["-b", "10.0.0.2,10.0.0.3"], &["for several batteries repeat -b"]),
        (&["-b", "fd00::7"], &["[fd00::7]"]),
        (&["check", "--http", "127.0.0.1:70000"], &["--http", "\"127.0.0.1:70000\""]),
        (&["-i"], &["-i", "--help"]),
        (&["--interval"], &["--interval"]),
        (&["-daemon", "-i", "0"], &["-i", "\"0\"", "1 to 86400"]),
        (&["demo", "--seconds", "0"], &["--seconds", "\"0\"", "1 to 86400"]),
        (&["-b", "battery", "demo"], &["-b", "demo"]),
        (&["-daemon", "demo"], &["daemon", "demo"]),
        (&["schema", "more"], &["more"]),
    ];
    for (args, says) in refusals {
        check_refused(&home.run(args), args, says);
    }
    let mut command = home.command(&["-d", "x"]);
    command.env("PGPORT", "five");
    check_refused(&output(command), &["PGPORT=five"], &["PGPORT", "\"five\"", "1 to 65535"]);
    assert!(!exists(&home.path("state")), "nothing was begun");
}

/// A file may be on a disk that is mounted a moment later: a service manager has to try again.
#[test]
fn a_file_that_can_not_be_read_is_no_wrong_command_line() {
    let home = Home::new();
    let output = home.run(&["-b", "@nowhere/fleet", "-d", "sqlite:x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nowhere/fleet: the file can't be read"), "{output:?}");
}

#[test]
fn help_and_version() {
    let home = Home::new();
    for args in [["--help"], ["-h"]] {
        let output = home.run(&args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
        let help = text(&output.stdout);
        for word in [
            "-daemon",
            "--daemon",
            "-b, --battery",
            "-d, --database",
            "-u, --user",
            "-i, --interval",
            "-l, --log-file",
            "-n, --log-keep",
            "-m, --log-size",
            "-f, --log-flush",
            "-r, --raw",
            "--journal",
            "--keep",
            "--sync",
            "--http",
            "--http-host",
            "--version",
            "demo",
            "schema",
            "sqlite:PATH",
            "86400",
        ] {
            assert!(help.contains(word), "{args:?}: {help} lacks {word:?}");
        }
    }
    for (args, word) in [
        (["demo", "--help"], "--seconds"),
        (["demo", "-h"], "--seconds"),
        (["schema", "--help"], "SQL"),
    ] {
        let output = home.run(&args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text(&output.stdout).contains(word), "{args:?}: {}", text(&output.stdout));
    }
    for name in ["--version", "-V", "version"] {
        let output = home.run(&[name]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        let expected = format!("bluenovalistener {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(text(&output.stdout), expected);
    }
}

#[test]
fn schema_is_that_of_the_first_listener_with_a_unique_index() {
    let output = Home::new().run(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let cluster = shared_cluster();
    cluster.create_database("schema");
    let mut client = cluster.client("schema");
    client.batch_execute(&text(&output.stdout)).unwrap();
    let sql = "SELECT upper(attname || ' ' || format_type(atttypid, atttypmod)) FROM pg_attribute
               WHERE attrelid = 'battery_pack'::regclass AND attnum > 0 ORDER BY attnum";
    let columns: Vec<String> =
        client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    let columns: Vec<String> = columns
        .iter()
        .map(|column| {
            column
                .replace("CHARACTER VARYING", "VARCHAR")
                .replace("TIMESTAMP WITHOUT TIME ZONE", "TIMESTAMP")
        })
        .collect();
    let original = include_str!("../../../../crates/bluenova-record/tests/it/original-table.txt");
    assert_eq!(columns, original.lines().collect::<Vec<_>>());
    let sql = "SELECT indexdef FROM pg_indexes WHERE indexname = 'battery_pack_time'";
    let index: String = client.query_one(sql, &[]).unwrap().get(0);
    assert!(index.starts_with("CREATE UNIQUE INDEX"), "{index}");
    assert!(index.ends_with("(insert_time_utc, mcu_id)"), "{index}");
}

#[test]
fn demo_shows_two_batteries_and_keeps_their_rows() {
    let home = Home::new();
    let output = home.run(&["--http", "127.0.0.1:0", "demo", "--seconds", "8"]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", text(&output.stderr));
    for name in ["north", "south"] {
        let lines: Vec<&str> = shown.lines().filter(|line| line.starts_with(name)).collect();
        assert!(lines.len() >= 2, "{shown}");
        let last = lines.last().unwrap();
        for unit in [" % ", " V ", " A ", " °C ", " mV)"] {
            assert!(last.contains(unit), "{last:?} lacks {unit:?}");
        }
        assert!(last.trim_end().ends_with(char::is_numeric), "{last:?} lacks the rows");
    }
    let rows = sqlite_rows(&home.path("state/bluenova/demo.sqlite"));
    let owners: std::collections::BTreeSet<i64> = rows.keys().map(|(_, id)| *id).collect();
    assert_eq!(owners.len(), 2);
    let told = format!("{}", home.path("state/bluenova/demo.sqlite").display());
    assert!(shown.contains(&told), "{shown}");
    let log = home.read("state/bluenova/demo.log");
    let stored = count(&log.lines().collect::<Vec<_>>(), ": stored ");
    // A row a minute, and one a second in the minute under way. The first row of each battery may
    // lack a minute before it.
    let history = rows.len() - stored;
    assert!((20_154..=20_160 + 2 * 60).contains(&history), "{history} rows of a week");
    assert!(shown.contains("A week of history"), "{shown}");
    assert!(days(&home) >= 14);

    let again = home.run(&["--http", "127.0.0.1:0", "demo", "--seconds", "1"]);
    assert!(!text(&again.stdout).contains("A week of history"), "once is enough");
}

#[test]
fn a_second_demo_at_the_same_time_says_so() {
    let home = Home::new();
    let demo = ["--http", "127.0.0.1:0", "demo"];
    let mut first = home.listen(&demo);
    // The first one is about to make its history, or has made it.
    first.wait_for("A week of history");
    let second = home.run(&demo);
    assert_eq!(second.status.code(), Some(1), "{}", text(&second.stdout));
    let error = text(&second.stderr);
    assert!(error.starts_with("bluenovalistener: another demo is running, "), "{error}");
    assert_eq!(text(&second.stdout), "");
    // It does the first one no harm.
    first.wait_for("north  ");
    first.stop();
    let third = home.run(&[&demo[..], &["--seconds", "1"]].concat());
    assert_eq!(third.status.code(), Some(0), "{}", text(&third.stderr));
}

/// Number of ended days in the demo's database, of both batteries.
fn days(home: &Home) -> u32 {
    let path = home.path("state/bluenova/demo.sqlite");
    let database = rusqlite::Connection::open(path).unwrap();
    database.query_row("SELECT count(*) FROM day", (), |row| row.get(0)).unwrap()
}

#[test]
fn the_table_of_the_demo_fits_a_narrow_terminal() {
    let home = Home::new();
    let program = env!("CARGO_BIN_EXE_bluenovalistener");
    let line = format!("stty cols 30 rows 10; {program} demo --http 127.0.0.1:0 --seconds 3");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(home.directory()).env_clear();
    command.env("HOME", home.directory()).env("PATH", std::env::var_os("PATH").unwrap());
    let shown = text(&output(command).stdout);
    let frames: Vec<&str> = shown.split("\u{1b}[?7l").skip(1).collect();
    assert!(frames.len() > 5, "{shown:?}");
    for frame in frames {
        // Long lines are cut within the table, and wrapped behind it.
        let (table, _) = frame.split_once("\u{1b}[?7h").unwrap_or_else(|| panic!("{frame:?}"));
        assert!(table.contains("north  ") && table.contains("south  "), "{frame:?}");
        let lines: Vec<_> = table.replace("\u{1b}[K", "").lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3, "{frame:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 30), "{frame:?}");
    }
}

#[test]
fn a_journal_has_one_program_only() {
    let server = talking_battery(1);
    let home = Home::new();
    let at = named("attic", server.local_addr());
    let nowhere = format!("host={}", home.path("no").display());
    // Both kinds: the database as it is, and the journal on the way to one.
    for database in [["-d", &home.sqlite("db")], ["-d", &nowhere]] {
        let args = [&["-b", &at], &database[..]].concat();
        let mut first = home.listen(&args);
        first.wait_for("attic: connected");
        let second = home.run(&args);
        let error = text(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{error}");
        assert!(error.contains(&format!("in use by process {}", first.pid())), "{error}");
        assert!(error.contains("end that process") && error.contains("--journal"), "{error}");
        assert!(!text(&second.stdout).contains("in use"), "said once: {}", text(&second.stdout));
        first.stop();
    }
    // Another battery has a journal of its own.
    let other = talking_battery(2);
    let other_at = named("attic", other.local_addr());
    let mut first = home.listen(&["-b", &at, "-d", &nowhere]);
    first.wait_for("attic: connected");
    let mut second = home.listen(&["-b", &other_at, "-d", &nowhere]);
    second.wait_for("attic: connected");
}

fn arrive(client: &mut Client, log: &[String]) -> Rows {
    let stored = stored(log, "attic").len();
    assert!(stored > 0, "{}", log.join("\n"));
    let rows = postgres_rows(client);
    assert_eq!(rows.len(), stored, "{}", log.join("\n"));
    rows
}

#[test]
fn databases_are_named_as_libpq_has_it() {
    let cluster = shared_cluster();
    cluster.create_role("ada");
    let server = talking_battery(1);
    let at = named("attic", server.local_addr());
    let directory = cluster.socket_dir().display().to_string();
    let port = cluster.port().to_string();
    let url_directory = directory.replace('/', "%2F");
    let url = format!("postgresql://ada:{PASSWORD}@{url_directory}:{port}/by_url");
    let server = format!("host={directory} port={port} password={PASSWORD}");
    let environment = [("PGHOST", directory.as_str()), ("PGPORT", &port), ("PGPASSWORD", PASSWORD)];
    let conninfo = format!("{server} user=ada dbname=by_conninfo");
    let overruled = format!("{server} user=eve dbname=by_option");
    let forms: [(&str, &[&str], Option<&str>); 6] = [
        ("by_name", &["-d", "by_name", "-u", "ada"], Some("eve")),
        ("by_environment", &["--database=by_environment"], Some("ada")),
        ("by_url", &["--database", &url], None),
        ("by_conninfo", &["-d", &conninfo], None),
        ("by_option", &["-d", &overruled, "--user=ada"], None),
        ("homeauto", &["--user", "ada"], None),
    ];
    let running: Vec<(&str, Home, Listener)> = forms
        .into_iter()
        .map(|(database, args, user)| {
            cluster.create_database(database);
            let grant = "GRANT CREATE ON SCHEMA public TO ada";
            cluster.client(database).batch_execute(grant).unwrap();
            let home = Home::new();
            let mut command = home.command(args);
            command.args(["-b", &at, "-i", "1"]).envs(environment);
            command.envs(user.map(|user| ("PGUSER", user)));
            (database, home, Listener::start(command))
        })
        .collect();
    for (database, home, mut listener) in running {
        listener.wait_for("attic: stored");
        let log = listener.stop().log;
        let mut client = cluster.client(database);
        arrive(&mut client, &log);
        // The owner of the table shows as whom the program connected.
        let sql = "SELECT tableowner FROM pg_tables WHERE tablename = 'battery_pack'";
        let owner: String = client.query_one(sql, &[]).unwrap().get(0);
        assert_eq!(owner, "ada", "{database}");
        assert_eq!(count(&log, PASSWORD), 0, "{}", log.join("\n"));
        assert!(count(&log, database) > 0, "{}", log.join("\n"));
        assert!(exists(&home.path("state/bluenova")));
    }
}

#[test]
fn every_option_has_its_short_and_its_long_form() {
    let cluster = shared_cluster();
    cluster.create_role("bob");
    let server = talking_battery(1);
    let at = named("attic", server.local_addr());
    let server = format!("host={} port={} dbname=", cluster.socket_dir().display(), cluster.port());
    let [short, long, equal] =
        ["options_short", "options_long", "options_equal"].map(|name| format!("{server}{name}"));
    let args_short = [
        "-b",
        &at,
        "-d",
        &short,
        "-u",
        "bob",
        "-i",
        "1",
        "-l",
        "x.log",
        "-n",
        "2",
        "-m",
        "4K",
        "-f",
        "1",
        "-r",
        "--journal",
        "j/j.sqlite",
        "--keep",
        "1",
        "--sync",
        "1",
    ];
    let args_long = [
        "--battery",
        &at,
        "--database",
        &long,
        "--user",
        "bob",
        "--interval",
        "1",
        "--log-file",
        "x.log",
        "--log-keep",
        "2",
        "--log-size",
        "4096",
        "--log-flush",
        "1",
        "--raw",
        "--journal",
        "j/j.sqlite",
        "--keep",
        "1",
    ];
    let equal = [format!("--battery={at}"), format!("--database={equal}"), "--user=bob".to_owned()];
    let args_equal = [
        &equal[0],
        &equal[1],
        &equal[2],
        "--interval=1",
        "--log-file=x.log",
        "--log-keep=2",
        "--log-size=4k",
        "--log-flush=1",
        "--raw",
        "--journal=j/j.sqlite",
        "--keep=1",
        "--sync=1",
    ];
    for (database, args) in [
        ("options_short", &args_short[..]),
        ("options_long", &args_long),
        ("options_equal", &args_equal),
    ] {
        cluster.create_database(database);
        let mut client = cluster.client(database);
        client.batch_execute("GRANT CREATE ON SCHEMA public TO bob").unwrap();
        let home = Home::new();
        let listener = home.listen(args);
        wait_until("the log was rotated twice", TIME_LIMIT, || exists(&home.path("x.log.2")));
        let has_rows = "SELECT to_regclass('battery_pack') IS NOT NULL";
        wait_until("two rows are there", TIME_LIMIT, || {
            client.query_one(has_rows, &[]).unwrap().get::<_, bool>(0)
                && postgres_rows(&mut client).len() >= 2
        });
        let ended = listener.stop();
        assert!(ended.log.is_empty(), "all goes to the file: {:?}", ended.log);
        assert!(!exists(&home.path("x.log.3")));
        assert!(home.read("x.log.1").contains("attic: RX: "), "{database}");
        assert_eq!(sqlite_rows(&home.path("j/j.sqlite")), postgres_rows(&mut client));
        assert!(!exists(&home.path("state")));
    }
}

#[test]
fn without_a_journal_rows_are_delivered_all_the_same() {
    let cluster = shared_cluster();
    cluster.create_database("no_journal");
    let server = talking_battery(1);
    let home = Home::new();
    std::fs::write(home.path("file"), "no directory").unwrap();
    let (at, url) = (named("attic", server.local_addr()), cluster.url("no_journal"));
    let args = ["-b", &at, "-d", &url, "-i", "1", "--journal", "file/journal.sqlite"];
    let mut listener = home.listen(&args);
    let loud = listener.wait_for(" ERROR ");
    assert!(loud.contains("file/journal.sqlite") || loud.contains("/file"), "{loud}");
    assert!(loud.contains("memory"), "{loud}");
    listener.wait_for("attic: stored");
    let ended = listener.stop();
    arrive(&mut cluster.client("no_journal"), &ended.log);
    assert_eq!(count(&ended.log, " ERROR "), 1, "{}", ended.log.join("\n"));
}

/// The line of `check` about `what`.
#[track_caller]
fn checked(home: &Home, what: &str, args: &[&str]) -> String {
    let output = home.run(&[&["check", "-b", "127.0.0.1:1"], args].concat());
    let found = text(&output.stdout);
    let line = found.lines().find(|line| line.contains(&format!(" {what}: ")));
    line.unwrap_or_else(|| panic!("{args:?}: {found}{}", text(&output.stderr))).to_owned()
}

#[test]
fn check_says_how_to_make_the_index_unique() {
    let (home, cluster) = (Home::new(), shared_cluster());
    cluster.create_database("key");
    let url = cluster.url("key");
    let mut client = cluster.client("key");
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    let found = checked(&home, "database", &["-d", &url]);
    assert!(found.starts_with("ok      database: rows can be inserted"), "{found}");
    assert!(!found.contains("INDEX"), "{found}");
    client
        .batch_execute(
            "DROP INDEX battery_pack_time;
             CREATE INDEX battery_pack_time ON battery_pack (insert_time_utc)",
        )
        .unwrap();
    let output = home.run(&["check", "-b", "127.0.0.1:1", "-d", &url]);
    let found = text(&output.stdout);
    let (_, found) = found.split_once("ok      database: rows can be inserted").unwrap();
    assert!(
        found.ends_with(
            "        Then the owner of the table runs, one by one:
          CREATE UNIQUE INDEX CONCURRENTLY battery_pack_key ON battery_pack (insert_time_utc, \
             mcu_id);
        If that has succeeded, nothing needs the old one:
          DROP INDEX CONCURRENTLY battery_pack_time;\n"
        ),
        "{found}"
    );
}

#[test]
fn check_says_what_to_look_at_where_no_broker_answers() {
    let home = Home::new();
    let database = home.sqlite("db");
    for (url, says) in [
        ("mqtt://127.0.0.1:1", "). Does the broker run, and are address and port right? The list"),
        ("mqtt://no.invalid", ". Is the name right? The broker's IP address, in place of it, need"),
    ] {
        let found = checked(&home, "MQTT", &["-d", &database, "--mqtt", url]);
        assert!(found.starts_with("WARNING MQTT: ") && found.contains(says), "{found}");
    }
}

#[test]
fn check_says_what_the_listener_would_do_and_makes_nothing() {
    let home = Home::new();
    let database = home.sqlite("db");
    std::fs::write(home.path("text"), "no journal at all".repeat(100)).unwrap();
    std::fs::write(home.path("empty"), "").unwrap();
    std::fs::write(home.path("full"), "").unwrap();
    std::fs::create_dir(home.path("full.2")).unwrap();
    nix::unistd::mkfifo(&home.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("target", home.path("link")).unwrap();
    std::os::unix::fs::symlink("no/such/target", home.path("lost")).unwrap();
    let before = std::fs::read_dir(home.directory()).unwrap().count();
    for (what, args, says) in [
        ("database", &["-d", "sqlite:/proc/x/c.sqlite"][..], "NOT OK  database: /proc/x/c.sqlite"),
        ("database", &["-d", &database], "ok      database: the listener will create"),
        ("database", &["-d", &home.sqlite("empty")], "ok "),
        ("database", &["-d", &home.sqlite("text/db")], "NOT OK "),
        ("database", &["-d", &home.sqlite("full.2")], "is a directory; choose the path of a file"),
        ("log", &["-d", &database, "-l", "no/such/x.log"], "there is no directory"),
        ("log", &["-d", &database, "-l", "."], "WARNING log: "),
        (
            "log",
            &["-d", &database, "-l", "/proc/x.log"],
            "WARNING log: /proc/x.log can't be opened",
        ),
        ("log", &["-d", &database, "-l", "no/such/x.log"], "WARNING log: "),
        ("log", &["-d", &database, "-l", "full", "-n", "1"], "ok      log: "),
        ("log", &["-d", &database, "-l", "full", "-n", "2"], "full.2 is a directory"),
        ("log", &["-d", &database, "-l", "full", "-n", "2", "-m", "0"], "ok      log: "),
        ("log", &["-d", &database, "-l", "pipe"], "ok      log: "),
        ("log", &["-d", &database, "-l", "link"], "ok      log: the listener will create"),
        ("log", &["-d", &database, "-l", "lost"], "WARNING log: "),
        ("log", &["-d", &database, "-l", "x.log"], "ok      log: the listener will create"),
        ("log", &["-d", &database, "-l", "empty"], "ok      log: "),
        ("log", &["-d", &database, "-l", "/proc/self/comm"], "WARNING log: "),
        ("page", &["-d", &database, "--http", "0.0.0.0:0"], "other machines can reach it"),
    ] {
        let line = checked(&home, what, args);
        assert!(line.contains(says), "{args:?}: {line} lacks {says}");
        assert!(!line.contains("directory /,") && !line.contains("/: "), "{line}");
    }
    assert_eq!(std::fs::read_dir(home.directory()).unwrap().count(), before, "nothing is made");
}

#[test]
fn check_and_the_listener_agree_on_a_file_that_is_no_journal() {
    let home = Home::new();
    let no_journal = "no journal at all".repeat(100);
    for (file, content) in [("long", no_journal.as_str()), ("short", "hello")] {
        std::fs::write(home.path(file), content).unwrap();
        let database = home.sqlite(file);
        let line = checked(&home, "database", &["-d", &database]);
        assert!(line.starts_with("NOT OK  database: ") && line.contains("not a journal"), "{line}");
        let listener = home.run(&["-b", "127.0.0.1:1", "-d", &database]);
        assert!(text(&listener.stderr).contains("not a journal"), "{}", text(&listener.stderr));
        assert_eq!(listener.status.code(), Some(1));
        assert_eq!(home.read(file), content);
    }
    // A journal that was in use is damaged.
    std::fs::write(home.path("long.lock"), "").unwrap();
    let line = checked(&home, "database", &["-d", &home.sqlite("long")]);
    assert!(line.starts_with("NOT OK  database: DAMAGED: "), "{line}");
    assert_eq!(home.read("long"), no_journal);
    assert!(
        !home
            .directory()
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().contains("damaged") })
    );
}

/// What is neither a file nor becomes one: a directory, though it is not there yet; a FIFO, which
/// would hold up who opens it.
#[test]
fn check_and_the_listener_agree_on_a_path_that_is_no_file() {
    let home = Home::new();
    nix::unistd::mkfifo(&home.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("loop", home.path("loop")).unwrap();
    std::os::unix::fs::symlink("/proc/x/db", home.path("lost")).unwrap();
    for (file, ends) in [("pipe", true), ("new/", true), ("/dev/null", true), ("loop", false)] {
        let database = format!("sqlite:{file}");
        let line = checked(&home, "database", &["-d", &database]);
        assert!(line.starts_with("NOT OK  database: can't open "), "{line}");
        assert!(!home.path("new").exists());
        let to_server =
            ["-d", "postgresql://127.0.0.1:1/x", "--journal", file, "-b", "127.0.0.1:1"];
        if ends {
            let listener = home.run(&to_server);
            assert_eq!(listener.status.code(), Some(1), "{file}");
            assert!(text(&listener.stderr).contains("can't open "), "{}", text(&listener.stderr));
        } else {
            let mut listener = home.listen(&to_server);
            listener.wait_for("kept in memory only");
        }
    }
    let line = checked(&home, "database", &["-d", "sqlite:lost"]);
    assert!(line.starts_with("NOT OK  database: /proc/x/db can't be made"), "{line}");
}

/// A power cut may leave that: a database whose size, or name, did not come to the disk.
#[test]
fn check_and_the_listener_agree_on_a_log_without_a_file() {
    let (server, home) = (talking_battery(1), Home::new());
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "1"]);
    listener.wait_for("attic: stored");
    let mut log = listener.end(Signal::SIGKILL).log;
    for is_there in [true, false] {
        let _ = std::fs::remove_file(home.path("db"));
        if is_there {
            std::fs::write(home.path("db"), "").unwrap();
        }
        let line = checked(&home, "database", &["-d", &database]);
        assert!(line.starts_with("NOT OK  database: DAMAGED: "), "{line}");
        assert_eq!(home.path("db").exists(), is_there, "nothing is made");
    }
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "1"]);
    listener.wait_for("attic: stored");
    log.extend(listener.stop().log);
    assert_eq!(sqlite_rows(&home.path("db")).len(), stored(&log, "attic").len());
}

#[test]
fn check_leaves_no_file_beside_a_journal() {
    let (server, home) = (talking_battery(1), Home::new());
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("j/db"));
    let mut listener = home.listen(&["-b", &at, "-d", &database, "-i", "1"]);
    listener.wait_for("attic: stored");
    listener.stop();
    std::fs::remove_file(home.path("j/db.lock")).unwrap();
    let line = checked(&home, "database", &["-d", &database]);
    assert!(line.starts_with("ok ") && line.contains("can be written"), "{line}");
    let files: Vec<_> = std::fs::read_dir(home.path("j")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
}

#[test]
fn check_creates_no_table() {
    let (home, cluster) = (Home::new(), shared_cluster());
    cluster.create_database("checked");
    let line = checked(&home, "database", &["-d", &cluster.url("checked")]);
    assert!(line.starts_with("ok ") && line.contains("the table doesn't exist yet"), "{line}");
    let sql = "SELECT to_regclass('battery_pack') IS NULL";
    assert!(cluster.client("checked").query_one(sql, &[]).unwrap().get::<_, bool>(0));
    assert!(!exists(&home.path("state")));
}

#[test]
fn rows_that_end_with_the_program_are_said_to_be_lost() {
    let server = talking_battery(1);
    let home = Home::new();
    std::fs::write(home.path("file"), "no directory").unwrap();
    let at = named("attic", server.local_addr());
    let nowhere = format!("host={}", home.path("no").display());
    let args = ["-b", &at, "-i", "1", "-d", &nowhere, "--journal", "file/journal"];
    let mut listener = home.listen(&args);
    listener.wait_for("attic: stored");
    let ended = listener.end(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log.join("\n"));
    assert_eq!(count(&ended.log, "in memory only are lost"), 1, "{}", ended.log.join("\n"));
    // Besides the warning at the start.
    assert_eq!(count(&ended.log, " lost"), 2, "{}", ended.log.join("\n"));
    assert_eq!(count(&ended.log, "a thread failed"), 1, "{}", ended.log.join("\n"));
}

#[test]
fn rows_that_are_lost_are_not_said_to_wait_in_the_journal() {
    let (server, home) = (talking_battery(1), Home::new());
    std::fs::write(home.path("file"), "no directory").unwrap();
    let at = named("attic", server.local_addr());
    // It takes connections, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let database = format!("host=127.0.0.1 port={}", silent.local_addr().unwrap().port());
    let args = ["-b", &at, "-i", "1", "-d", &database, "--journal", "file/journal", "-m", "1K"];
    let mut listener = home.listen(&args);
    listener.wait_for("no effect: -m");
    listener.wait_for("attic: stored");
    let ended = listener.end(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log.join("\n"));
    // Besides the warning at the start.
    assert_eq!(count(&ended.log, " lost"), 2, "{}", ended.log.join("\n"));
    assert_eq!(count(&ended.log, "PostgreSQL doesn't answer"), 1, "{}", ended.log.join("\n"));
    assert_eq!(count(&ended.log, "wait in the journal"), 0, "{}", ended.log.join("\n"));
}
