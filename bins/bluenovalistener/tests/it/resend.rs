//! `resend`: the rows of the journal go to PostgreSQL once more.

use std::process::{Command, Output, Stdio};

use bluenova_journal::{Journal, Retention};
use bluenova_record::{PackRecord, Timestamp};
use bluenova_test_support::wait_until;
use postgres::Client;
use time::{Duration, UtcDateTime};

use crate::support::{
    Home, TIME_LIMIT, count, named, obedient_battery, output, shared_cluster, text,
};

const MCU_ID: u32 = 0x5E_5E4D;
const ROWS: u32 = 2500;

/// Rows of the last hours, one every ten seconds, in a journal of the home.
fn fill(home: &Home) -> Vec<PackRecord> {
    let start = UtcDateTime::now().replace_nanosecond(0).unwrap() - Duration::hours(12);
    let row = |n: u32| PackRecord {
        health: Some(n as f32),
        ..PackRecord::new(start + Duration::seconds(10) * n, MCU_ID)
    };
    let rows: Vec<_> = (0..ROWS).map(row).collect();
    let path = home.path("journal.sqlite");
    let mut journal = Journal::open(&path, Retention::default()).unwrap();
    journal.append(&rows).unwrap();
    rows
}

fn count_rows(client: &mut Client) -> u32 {
    let sql = "SELECT count(*) FROM battery_pack";
    client.query_one(sql, &[]).unwrap().get::<_, i64>(0).try_into().unwrap()
}

/// Runs `resend`, which must end with that exit code and print that it found so many missing.
#[track_caller]
fn resends(home: &Home, args: &[&str], code: i32, rows: u32, missing: u32) -> Output {
    let output = home.run(args);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let printed = text(&output.stdout);
    let starts = match rows {
        0 => printed.starts_with("there is no row from "),
        _ => printed.starts_with(&format!("{rows} rows")),
    };
    let says = match (rows, missing) {
        (0, _) => printed.ends_with(" UTC on in the journal\n"),
        (_, 0) => printed.contains("in the journal; none was missing in "),
        (_, 1) => printed.contains("in the journal; 1 was missing in "),
        _ => printed.contains(&format!("in the journal; {missing} were missing in ")),
    };
    assert!(starts && says, "{printed}");
    let end = if missing == 1 { ", and is there now\n" } else { ", and are there now\n" };
    assert_eq!(printed.ends_with(end), missing > 0, "{printed}");
    output
}

#[test]
fn resend_delivers_what_is_missing_beside_a_running_listener() {
    let cluster = shared_cluster();
    cluster.create_database("resend");
    let mut client = cluster.client("resend");
    let home = Home::new();
    let rows = fill(&home);
    let (url, journal) = (cluster.url("resend"), home.path("journal.sqlite"));
    let args = ["-d", &url, "--journal", journal.to_str().unwrap()];
    let resend = [&args[..], &["resend"]].concat();
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    let server = obedient_battery(1);
    let at = named("attic", server.local_addr());
    let mut listener = home.listen(&[&args[..], &["-b", &at]].concat());
    wait_until("all are delivered", TIME_LIMIT, || count_rows(&mut client) == ROWS);
    client.batch_execute("DELETE FROM battery_pack WHERE health IN (0, 1000, 2499)").unwrap();
    let since = Timestamp(rows[1000].insert_time_utc).to_string();
    let of_late = [&resend[..], &["--since", &since]].concat();
    resends(&home, &of_late, 0, ROWS - 1000, 2);
    resends(&home, &[&resend[..], &["--since=10s"]].concat(), 0, 0, 0);
    resends(&home, &resend, 0, ROWS, 1);
    assert_eq!(count_rows(&mut client), ROWS);
    let doubled = "SELECT count(*) - count(DISTINCT insert_time_utc) FROM battery_pack";
    assert_eq!(client.query_one(doubled, &[]).unwrap().get::<_, i64>(0), 0);
    assert_eq!(count(listener.log(), "the table had"), 0);
    listener.stop();

    client.batch_execute("DELETE FROM battery_pack").unwrap();
    let resent = resends(&home, &resend, 0, ROWS, ROWS);
    assert_eq!(text(&resent.stderr), "", "there is no progress bar without a terminal");
    assert_eq!(count_rows(&mut client), ROWS);
    resends(&home, &resend, 0, ROWS, 0);
}

#[test]
fn rows_that_are_rejected_are_listed_and_rows_that_are_set_aside_are_left_out() {
    let cluster = shared_cluster();
    cluster.create_database("resend_rejected");
    let mut client = cluster.client("resend_rejected");
    client.batch_execute(&bluenova_postgres::schema()).unwrap();
    client.batch_execute("ALTER TABLE battery_pack ADD CHECK (health NOT IN (7, 8))").unwrap();
    let home = Home::new();
    let rows = fill(&home);
    let path = home.path("journal.sqlite");
    let journal = Journal::open(&path, Retention::default()).unwrap();
    journal.outbox().unwrap().set_aside(&rows[7], "23514", "no", UtcDateTime::now()).unwrap();
    drop(journal);
    let url = cluster.url("resend_rejected");
    let args = ["resend", "-d", &url, "--journal", path.to_str().unwrap()];
    let stderr = text(&resends(&home, &args, 1, ROWS, ROWS - 2).stderr);
    assert_eq!(count_rows(&mut client), ROWS - 2);
    let listed: Vec<&str> = stderr.lines().collect();
    let time = Timestamp(rows[8].insert_time_utc);
    assert_eq!(listed.len(), 2, "{stderr}");
    assert!(listed[0].contains(&format!("{time} UTC  {MCU_ID:08X}  ")), "{stderr}");
    assert!(listed[0].contains("(23514)"), "{stderr}");
    assert_eq!(listed[1], "bluenovalistener: PostgreSQL has rejected 1 row");
}

#[test]
fn a_terminal_shows_how_far_resend_is() {
    let cluster = shared_cluster();
    cluster.create_database("resend_bar");
    let home = Home::new();
    fill(&home);
    let (url, program) = (cluster.url("resend_bar"), env!("CARGO_BIN_EXE_bluenovalistener"));
    let line = format!("'{program}' -d '{url}' --journal journal.sqlite resend");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(home.directory()).env_clear();
    command.env("TERM", "xterm").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    let shown = output(command);
    assert!(shown.status.success(), "{shown:?}");
    let shown = text(&shown.stdout);
    assert!(shown.contains(" of 2,500 rows, ") && shown.contains(" rows/s, "), "{shown}");
    assert!(shown.contains("2500 were missing in "), "{shown}");
}

#[test]
fn resend_says_what_is_wrong() {
    let home = Home::new();
    let check = |args: &[&str], code: i32, words: &str| {
        let output = home.run(args);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains(words), "{stderr}");
    };
    check(&["resend", "-d", &home.sqlite("rows")], 1, "with -d sqlite:PATH there is no server");
    check(&["resend", "-d", "x"], 1, "there is no journal ");
    fill(&home);
    let journal = home.path("journal.sqlite");
    let args = ["resend", "-d", "x", "--journal", journal.to_str().unwrap()];
    check(
        &[&args[..], &["--since", "soon"]].concat(),
        2,
        "--since \"soon\": a time in UTC such as",
    );
    let away = ["resend", "-d", "host=/nowhere", "--journal", journal.to_str().unwrap()];
    check(&away, 1, "can't connect to");
}
