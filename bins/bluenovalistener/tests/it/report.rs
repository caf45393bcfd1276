//! `report`: the passport of each battery, with the real program, from journals and from logs.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Output,
};

use bluenova_journal::{Event, EventKind, Journal, Retention, StoredDay};
use bluenova_record::PackRecord;
use bluenova_test_support::sample_row;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use time::{Duration, UtcDateTime};

use crate::support::{Home, failed, named, output, succeeded, talking_battery, text};

const ATTIC: u32 = 0x9F3C_07B2;
const CELLAR: u32 = 0x10AB_CDEF;

/// 2026-11-22 12:00:00 UTC.
fn start() -> UtcDateTime {
    UtcDateTime::from_unix_timestamp(1_795_348_800).unwrap()
}

/// Rows of an hour.
fn hour(mcu_id: u32) -> Vec<PackRecord> {
    (0..=360).map(|n| sample_row(start() + Duration::seconds(10) * n, mcu_id)).collect()
}

fn write_journal(path: &Path, rows: &[PackRecord]) -> Journal {
    let mut journal = Journal::open(path, Retention::FOREVER).unwrap();
    journal.append(rows).unwrap();
    journal
}

/// Runs it in Berlin.
#[track_caller]
fn run(home: &Home, args: &[&str]) -> Output {
    let mut command = home.command(args);
    command.env("TZ", "Europe/Berlin");
    output(command)
}

#[track_caller]
fn json_of(home: &Home, args: &[&str]) -> Value {
    let text = succeeded(&run(home, args));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn rows_alone_make_a_passport() {
    let home = Home::new();
    let mut journal = write_journal(&home.path("db"), &hour(ATTIC));
    let identified = Event::new(start(), EventKind::Identified, "");
    let events = [Event { battery: Some("attic".to_owned()), mcu_id: Some(ATTIC), ..identified }];
    journal.put_events(&events).unwrap();
    drop(journal);
    let database = home.sqlite("db");
    let passport = succeeded(&run(&home, &["-d", &database, "report"]));
    for line in [
        "Battery attic, MCU ID 9F3C07B2\n",
        "period           2026-11-22 to 2026-11-22 (Europe/Berlin), 1 day\n",
        "known            4.2 % of that time; rebuilt from rows\n",
        "build            16 cells in series, unit 2 of 3\n",
        "capacity         not known yet\n",
        "charged          0.00 kWh, 0.00 Ah\n",
        "discharged       2.21 kWh, 41.8 Ah\n",
        "health           97.25 %, by its firmware\n",
    ] {
        assert!(passport.contains(line), "{line}: {passport}");
    }
    let json = json_of(&home, &["-d", &database, "report", "--json"]);
    let passport = &json["passports"][0];
    let charge = passport["total"]["charge_out_ah"].as_f64().unwrap();
    assert!((charge - 41.75).abs() < 1e-3, "{charge}");
    assert_eq!(passport["identity"]["mcu_id"], "9F3C07B2");
    assert_eq!(passport["days"][0]["is_rebuilt_from_rows"], true);
}

#[test]
fn batteries_come_in_the_order_of_the_command_line() {
    let home = Home::new();
    let (cellar, other) = (ATTIC + 1, ATTIC - 1);
    let rows: Vec<_> = [ATTIC, cellar, other].into_iter().flat_map(hour).collect();
    let mut journal = write_journal(&home.path("db"), &rows);
    let event = |name: &str, mcu_id| Event {
        battery: Some(name.to_owned()),
        mcu_id: Some(mcu_id),
        ..Event::new(start(), EventKind::Identified, name)
    };
    journal.put_events(&[event("attic", ATTIC), event("cellar", cellar)]).unwrap();
    drop(journal);
    let database = home.sqlite("db");
    let addresses = ["-b", "cellar=127.0.0.1", "-b", "attic=127.0.0.2", "-b", "new=127.0.0.3"];
    let json = json_of(&home, &[&addresses[..], &["-d", &database, "report", "--json"]].concat());
    let passports = json["passports"].as_array().unwrap();
    let names: Vec<_> = passports.iter().map(|it| it["identity"]["name"].as_str()).collect();
    assert_eq!(names, [Some("cellar"), Some("attic"), None]);
}

#[test]
fn days_that_the_journal_has_are_taken_and_others_rebuilt() {
    let home = Home::new();
    let rows: Vec<_> = [0, 1, 2, 3]
        .iter()
        .flat_map(|day| {
            hour(ATTIC).into_iter().map(move |row| PackRecord {
                insert_time_utc: row.insert_time_utc + Duration::DAY * *day,
                ..row
            })
        })
        .collect();
    let mut journal = write_journal(&home.path("db"), &rows);
    // A day is kept for ever, its rows aren't.
    let day = |date: &str| StoredDay {
        mcu_id: ATTIC,
        date: date.to_owned(),
        rank: 1,
        text: json!({
            "date": date, "length_s": 86_400, "first_s": 0, "last_s": 86_399, "sampled_s": 86_400.0,
            "energy_in_wh": 7000.0,
            "energy_out_wh": 6000.0, "charge_in_ah": 140.0, "charge_out_ah": 120.0,
        })
        .to_string(),
    };
    journal.put_statistics(&[], &[day("2026-01-31"), day("2026-11-23")]).unwrap();
    drop(journal);
    let database = home.sqlite("db");
    let report = |more: &[&str]| {
        let json = json_of(&home, &[&["-d", &database, "report", "--json"], more].concat());
        let passport = &json["passports"][0];
        let days = passport["days"].as_array().unwrap();
        let days: Vec<_> = days
            .iter()
            .map(|day| {
                let wh = day["energy_out_wh"].as_f64().unwrap().round();
                (day["date"].as_str().unwrap().to_owned(), wh)
            })
            .collect();
        days
    };
    let all = [
        ("2026-01-31", 6000.0),
        ("2026-11-22", 2213.0),
        ("2026-11-23", 6000.0),
        ("2026-11-24", 2213.0),
        ("2026-11-25", 2213.0),
    ]
    .map(|(date, wh)| (date.to_owned(), wh));
    assert_eq!(report(&[]), all);
    assert_eq!(report(&["--from", "2026-11-22", "--to", "2026-11-23"]), all[1..3]);
    // A time stands for the day that it is in, in local time.
    assert_eq!(report(&["--from", "2026-11-23T23:00:00Z"]), all[3..]);
    assert_eq!(report(&["--to", "2026-01-31"]), all[..1]);
    let passport = succeeded(&run(&home, &["-d", &database, "report", "--from", "2026-11-01"]));
    assert!(passport.contains("2026-11-22 to 2026-11-25 (Europe/Berlin), 4 days\n"), "{passport}");
    assert!(passport.contains("3 of 4 days rebuilt from rows"), "{passport}");
}

#[test]
fn a_day_that_is_damaged_is_rebuilt_and_costs_no_other() {
    let home = Home::new();
    let mut journal = write_journal(&home.path("db"), &hour(ATTIC));
    let day = |date: &str, text: &str| StoredDay {
        mcu_id: ATTIC,
        date: date.to_owned(),
        rank: 1,
        text: text.to_owned(),
    };
    let whole = r#"{"date":"2026-11-21","energy_in_wh":0,"energy_out_wh":900,"charge_in_ah":0,
        "charge_out_ah":9,"sampled_s":80000,"last_s":86000}"#;
    let days = [day("2026-11-20", "{"), day("2026-11-21", whole), day("2026-11-22", "[]")];
    journal.put_statistics(&[], &days).unwrap();
    drop(journal);
    let output = run(&home, &["-d", &home.sqlite("db"), "report", "--json"]);
    let warnings = text(&output.stderr);
    for date in ["2026-11-20", "2026-11-22"] {
        let warning = format!("9F3C07B2, {date}: the day is damaged in the journal: ");
        assert!(warnings.contains(&warning), "{warnings}");
    }
    let json: Value = serde_json::from_str(&succeeded(&output)).unwrap();
    let dates: Vec<_> = json["passports"][0]["days"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| day["date"].as_str().unwrap())
        .collect();
    assert_eq!(dates, ["2026-11-21", "2026-11-22"]);
}

#[test]
fn what_happened_is_summed_up() {
    let home = Home::new();
    let mut rows = hour(ATTIC);
    for row in &mut rows[100..110] {
        row.errors = Some(bluenova_record::Text::new("<b>OVERTEMP</b>"));
    }
    let mut journal = write_journal(&home.path("db"), &rows);
    let at = |minutes, kind| {
        let event = Event::new(start() + Duration::minutes(minutes), kind, "");
        Event { battery: Some("attic".to_owned()), mcu_id: Some(ATTIC), ..event }
    };
    let events = [at(10, EventKind::NotConnected), at(13, EventKind::Connected)];
    journal.put_events(&events).unwrap();
    drop(journal);
    let database = home.sqlite("db");
    let json = json_of(&home, &["-d", &database, "report", "--json"]);
    let events: Vec<_> = json["passports"][0]["events"].as_array().unwrap().iter().collect();
    let found: Vec<_> =
        events.iter().map(|it| (&it["event"], &it["count"], &it["seconds"])).collect();
    assert_eq!(
        found,
        [
            (&json!("no connection to the battery"), &json!(1), &json!(180.0)),
            (&json!("error <b>OVERTEMP</b>"), &json!(1), &json!(100.0)),
        ]
    );
    let page = succeeded(&run(&home, &["-d", &database, "report", "-o", "-"]));
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert!(page.contains("error &lt;b&gt;OVERTEMP&lt;/b&gt;") && !page.contains("<b>"));
}

#[test]
fn pages_go_where_they_are_told() {
    let home = Home::new();
    drop(write_journal(&home.path("db"), &[hour(ATTIC), hour(CELLAR)].concat()));
    let database = home.sqlite("db");
    let report = |more: &[&str]| run(&home, &[&["-d", &database, "report"], more].concat());

    let both = succeeded(&report(&[]));
    assert!(
        both.contains("MCU ID 9F3C07B2\n") && both.contains("\n\nBattery MCU ID 10ABCDEF\n")
            || both.contains("\n\nBattery MCU ID 9F3C07B2\n"),
        "{both}"
    );
    let error = failed(&report(&["-o", "x.html"]));
    assert!(
        error.contains("-o x.html: there are 2 batteries (MCU ID 10ABCDEF; MCU ID 9F3C07B2)"),
        "{error}"
    );
    assert!(error.contains("--battery") && error.contains("directory"), "{error}");
    assert!(!home.path("x.html").exists());

    fs::write(home.path("x.html"), "older").unwrap();
    succeeded(&report(&["-o", "x.html", "--battery", "9f3c07b2"]));
    assert!(home.read("x.html").contains("<title>Battery passport: MCU ID 9F3C07B2</title>"));
    fs::create_dir(home.path("pages")).unwrap();
    succeeded(&report(&["-o", "pages"]));
    let names = || {
        let names = fs::read_dir(home.path("pages")).unwrap();
        let mut names: Vec<_> =
            names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["passport-10ABCDEF.html", "passport-9F3C07B2.html"]);
    succeeded(&report(&["--json", "-o", "x.json"]));
    let json: Value = serde_json::from_str(&home.read("x.json")).unwrap();
    assert_eq!(json["passports"].as_array().unwrap().len(), 2);
    let error = failed(&report(&["--json", "-o", "pages"]));
    assert!(error.contains("-o pages: with --json a file is allowed"), "{error}");
    let error = failed(&report(&["-o", "nowhere/x.html", "--battery", "10ABCDEF"]));
    assert!(error.contains("-o nowhere/x.html: No such file or directory"), "{error}");
}

#[test]
fn errors_name_what_is_wrong_and_what_there_is() {
    let home = Home::new();
    let database = home.sqlite("db");
    let report =
        |more: &[&str]| failed(&run(&home, &[&["-d", &database, "report"], more].concat()));
    let error = report(&[]);
    assert!(error.contains("there is no file ") && error.contains("--from-log"), "{error}");
    drop(write_journal(&home.path("db"), &[]));
    let error = report(&[]);
    assert!(error.contains("nothing is known yet in "), "{error}");
    drop(write_journal(&home.path("db"), &hour(ATTIC)));
    for (more, says) in [
        (&["--battery", "10ABCDEF"][..], "has nothing of 10ABCDEF, but of 9F3C07B2"),
        (&["--battery", "shed"], "--battery \"shed\": the name of a battery"),
        (&["--from", "yesterday"], "--from \"yesterday\": a day such as 2026-11-22, as your clock"),
        (&["--to", "2026-13-01"], "--to \"2026-13-01\": a day such as 2026-11-22, as your clock"),
        (
            &["--from", "2026-11-23", "--to", "2026-11-22"],
            "--from 2026-11-23 must not be after --to 2026-11-22",
        ),
        (&["--from", "2026-12-01"], "nothing is known since 2026-12-01 in "),
        (&["--to", "2026-01-01"], "nothing is known until 2026-01-01 in "),
        (&["x.log"], "x.log: logs are read with --from-log in front of them"),
        (&["--timezone", "UTC"], "--timezone is of no use without --from-log"),
        (&["--from-log"], "no log file is given: report --from-log FILE…"),
        (&["--from-log", "x.log"], "x.log can't be read"),
        (&["--from-log", "x.log", "--timezone", "Nowhere/City"], "--timezone \"Nowhere/City\""),
    ] {
        let error = report(more);
        assert!(error.contains(says), "{more:?}: {error}");
    }
}

#[test]
fn it_works_while_a_listener_runs() {
    let server = talking_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "1"];
    let mut listener = home.listen(&args);
    for _ in 0..3 {
        listener.wait_for("attic: stored");
    }
    let passport = succeeded(&run(&home, &[&args[..], &["report", "--battery", "attic"]].concat()));
    assert!(passport.starts_with("Battery attic, MCU ID 10ABCDEF\n"), "{passport}");
    listener.stop();
}

/// A log as the first listener wrote it with `-r`: rows and console lines.
fn log(name: &str) -> String {
    format!("{}/../../crates/bluenova-archive/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn logs_alone_make_a_passport() {
    let home = Home::new();
    let passport = |file: &str, more: &[&str]| {
        json_of(&home, &[&["report", "--json", "--from-log", file], more].concat())["passports"]
            .clone()
    };
    // The records of the first listener stand in for samples where there are none.
    let plain = passport(&log("plain.log"), &[]);
    assert_eq!(plain[0]["days"][0]["is_rebuilt_from_rows"], true, "{plain}");
    let raw = passport(&log("raw.log"), &[]);
    let raw = &raw[0];
    assert_eq!(raw["days"][0]["is_rebuilt_from_rows"], false, "{raw}");
    assert!(raw["total"]["energy_out_wh"].as_f64().unwrap() > 10.0, "{raw}");
    assert_eq!(raw["identity"]["cell_count"], 16);
    assert_eq!(raw["origin"], "the log raw.log");

    let gzipped = home.path("raw.log.gz");
    let mut out = GzEncoder::new(File::create(&gzipped).unwrap(), Compression::fast());
    out.write_all(&fs::read(log("raw.log")).unwrap()).unwrap();
    out.finish().unwrap();
    let zipped = passport(&gzipped.display().to_string(), &[]);
    assert_eq!((&zipped[0]["total"], &zipped[0]["days"]), (&raw["total"], &raw["days"]));
    assert_eq!(passport(&log("raw.log"), &["--timezone", "+14:00"])[0]["period"]["zone"], "+14");
}

#[test]
fn samples_of_our_own_logs_are_counted_one_by_one() {
    let home = Home::new();
    let mut lines = String::new();
    for second in 0..600 {
        // A minute of 60 A in each two: rows of ten seconds don't show where it begins.
        let amps = if second % 7 < 3 { -60 } else { 0 };
        let time = format!("2026-11-22 12:{:02}:{:02}.000 +00:00", second / 60, second % 60);
        for line in ["MCU ID: 9F3C07B2", "Vpack: 50000", &format!("Current: {amps}")] {
            lines += &format!("{time} INFO  attic: RX: {line}\n");
        }
    }
    fs::write(home.path("x.log"), lines).unwrap();
    let json = json_of(&home, &["report", "--from-log", "x.log", "--json", "--battery", "attic"]);
    let passport = &json["passports"][0];
    let charge = passport["total"]["charge_out_ah"].as_f64().unwrap();
    // 257 of 600 seconds with 60 A.
    assert!((charge - 60.0 * 257.0 / 3600.0).abs() < 0.05, "{charge}");
    assert_eq!(passport["identity"]["name"], "attic");
    let error = failed(&run(&home, &["report", "--from-log", "x.log", "--battery", "shed"]));
    assert!(
        error.contains("the logs know nothing of it, but of attic, MCU ID 9F3C07B2"),
        "{error}"
    );
}
