//! Imports into an SQLite file. The tests of `bluenovalistener` import into PostgreSQL, too.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{fmt::Write, fs, path::Path};

use bluenova_console::Interval;
use bluenova_import::{
    Destination, Import, ImportError, ImportProgress, Imported, LogSeries, LogZone, RowStore,
    RowTally,
};
use bluenova_insight::DayStatistics;
use bluenova_journal::{Journal, Reader, Retention};
use time::{Date, Duration, Month, UtcDateTime, macros::utc_datetime};

const START: UtcDateTime = utc_datetime!(2024-03-01 23:59:00);

const ID: u32 = 0x9F3C_07B2;

/// A log of the first listener with records at these seconds after [`START`].
fn log(seconds: impl IntoIterator<Item = i64>) -> String {
    let mut log = String::new();
    for second in seconds {
        let time = START + Duration::seconds(second);
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second) = time.as_hms();
        let (month, unix) = (u8::from(month), time.unix_timestamp());
        let stamp = format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}");
        writeln!(log, "{stamp}  == Write record: Time: {unix}, MCU ID {ID:08X}, NumUnit 2")
            .unwrap();
    }
    log
}

/// Imports a log, in a dry run or really; returns what came of it, and how far it said it was.
fn import(log: &Path, database: &Path, is_dry_run: bool) -> (Imported, Vec<ImportProgress>) {
    import_from("UTC", log, database, is_dry_run)
}

/// The same for a log from that zone.
fn import_from(
    zone: &str,
    log: &Path,
    database: &Path,
    is_dry_run: bool,
) -> (Imported, Vec<ImportProgress>) {
    let zone = LogZone::resolve(Some(zone)).unwrap();
    let logs = LogSeries::find(&[log], &zone).unwrap();
    let destination = Destination::Sqlite { path: database };
    let mut store = RowStore::open(&destination, is_dry_run, UtcDateTime::now).unwrap();
    let interval = Interval::from_seconds(10).unwrap();
    let now = START + Duration::DAY;
    let mut progress = vec![];
    let imported =
        Import { logs, zone, interval, now }.run(&mut store, |so_far| progress.push(so_far));
    assert_eq!(store.finish().unwrap(), None);
    (imported, progress)
}

fn rows(database: &Path) -> u64 {
    Reader::open(database).unwrap().count(ID).unwrap()
}

#[test]
fn rows_that_are_missing_are_added_and_counted_by_day() {
    let directory = tempfile::tempdir().unwrap();
    let (path, database) = (directory.path().join("x.log"), directory.path().join("x.sqlite"));
    let days = [1, 2].map(|day| {
        let date = Date::from_calendar_date(2024, Month::March, day).unwrap();
        (date, ID)
    });
    let tally = |added, known, near| RowTally { added, known, near };

    fs::write(&path, log([0, 10, 20, 60])).unwrap();
    let (imported, progress) = import(&path, &database, false);
    imported.ended.unwrap();
    let expected = [(days[0], tally(3, 0, 0)), (days[1], tally(1, 0, 0))];
    assert_eq!(imported.tallies, expected.into());
    let last = progress.last().unwrap();
    assert_eq!(
        (last.added, last.read, last.total),
        (4, last.total, fs::metadata(&path).unwrap().len())
    );
    assert_eq!(rows(&database), 4);

    // One that is there, two that are near, one of them past midnight, and two that are missing.
    fs::write(&path, log([20, 30, 34, 55, 70])).unwrap();
    for (is_dry_run, rows_then) in [(true, 4), (false, 6)] {
        let (imported, _) = import(&path, &database, is_dry_run);
        imported.ended.unwrap();
        let expected = [(days[0], tally(1, 1, 2)), (days[1], tally(1, 0, 0))];
        assert_eq!(imported.tallies, expected.into());
        assert_eq!(rows(&database), rows_then);
    }
}

/// A log of ours with a cycle of the console each second, of a battery that is charged by 36 A: an
/// ampere-hour in 100 s.
fn console_log(seconds: std::ops::RangeInclusive<i64>) -> String {
    let mut log = String::new();
    for second in seconds {
        let time = START + Duration::seconds(second);
        let (date, (hour, minute, second)) = (time.date(), time.as_hms());
        for line in ["MCU ID: 9F3C07B2", "Vpack: 50000", "Current: 36"] {
            let stamp = format!("{date} {hour:02}:{minute:02}:{second:02}.000 +00:00");
            writeln!(log, "{stamp} INFO  home: RX: {line}").unwrap();
        }
    }
    log
}

/// Seconds of the days of the battery: those that samples cover, that rows cover, and that were
/// counted.
fn seconds_of_days(database: &Path) -> [f64; 3] {
    let days = Reader::open(database).unwrap().days(ID, "2024-01-01"..="2024-12-31").unwrap();
    days.iter().fold([0.0; 3], |[sampled, from_rows, counted], day| {
        let day: DayStatistics = serde_json::from_str(&day.text).unwrap();
        let charge = day.counters.charge_in_ah * 100.0;
        [sampled + day.sampled_s, from_rows + day.from_rows_s, counted + charge]
    })
}

#[test]
fn days_are_worked_out_of_samples_and_importing_again_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (path, database) = (directory.path().join("x.log"), directory.path().join("x.sqlite"));
    let import_log = |log: String, is_dry_run| {
        fs::write(&path, log).unwrap();
        import(&path, &database, is_dry_run).0.ended.unwrap();
    };
    let check = |expected: f64| {
        let [sampled, from_rows, counted] = seconds_of_days(&database);
        // The last cycle of each log has no end.
        let is_near = |seconds: f64| (seconds - expected).abs() < 2.0;
        assert!(is_near(sampled) && is_near(counted), "{sampled}, {counted}");
        assert!(from_rows.abs() < 0.1, "{from_rows}");
    };
    import_log(log([0]), false);
    import_log(console_log(0..=100), true);
    check(0.0);
    for _ in 0..2 {
        import_log(console_log(0..=100), false);
        check(99.0);
    }
    // Fewer samples of the same time, and later ones.
    let before = seconds_of_days(&database);
    import_log(console_log(20..=50), false);
    assert_eq!(seconds_of_days(&database), before);
    for _ in 0..2 {
        import_log(console_log(200..=301), false);
        check(199.0);
    }
}

#[test]
fn days_are_those_of_the_place_that_the_log_is_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    fs::write(&path, console_log(0..=30)).unwrap();
    for (zone, expected) in [("-10:00", "2024-03-01"), ("+05:00", "2024-03-02")] {
        let database = directory.path().join(expected);
        import_from(zone, &path, &database, false).0.ended.unwrap();
        let days = Reader::open(&database).unwrap().days(ID, "0000"..="9999").unwrap();
        let dates: Vec<_> = days.iter().map(|day| day.date.as_str()).collect();
        assert_eq!(dates, [expected], "{zone}");
    }
}

#[test]
fn a_file_that_a_listener_has_open_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sqlite");
    let _listener = Journal::open(&path, Retention::FOREVER).unwrap();
    let destination = Destination::Sqlite { path: &path };
    let opened = RowStore::open(&destination, false, UtcDateTime::now);
    assert!(matches!(opened, Err(ImportError::ListenerIsRunning(_))));
}
