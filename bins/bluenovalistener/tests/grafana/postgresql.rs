//! The dashboards for the PostgreSQL data source.

use postgres::Client;
use serde_json::Value;
use time::{Duration, macros::utc_datetime};

use crate::{
    dashboard::{self, Query},
    household::{self, FROM, HOURLY, NORTH, SOUTH, THIRD, TO, Table, days},
    macros::View,
};

const ALL: &[u32] = &[NORTH, SOUTH, THIRD];
const MONTH: View<'_> =
    View { from: FROM, to: TO, timezone: "utc", batteries: ALL, names: "9F3C07B2=attic" };

fn sql(query: &Query) -> &str {
    query.target["rawSql"].as_str().unwrap()
}

/// The answer to the query of a panel, of two of that title the one whose query has that format.
fn answer_of(client: &mut Client, name: &str, title: &str, format: &str, view: &View<'_>) -> Table {
    let queries = dashboard::queries(&dashboard::read(name));
    let query = queries.iter().find(|it| it.title == title && it.target["format"] == format);
    let query = query.unwrap_or_else(|| panic!("no panel {title} in {name}"));
    Table::of(client, &view.expand(sql(query)))
}

/// The answer to the query of a panel.
fn answer(client: &mut Client, name: &str, title: &str, view: &View<'_>) -> Table {
    let queries = dashboard::queries(&dashboard::read(name));
    // The first of that title: rows of a battery have some of the bank's again.
    let query = queries.iter().find(|it| it.title == title);
    let query = query.unwrap_or_else(|| panic!("no panel {title} in {name}"));
    Table::of(client, &view.expand(sql(query)))
}

/// Every query of every panel, for many batteries, one and none, short and long times.
#[test]
fn every_query_has_an_answer() {
    let mut client = household::reader();
    let week = View { from: days(20), to: days(27), timezone: "Europe/Berlin", ..MONTH };
    let week = View { batteries: &[NORTH], ..week };
    let hour = View { from: days(28), to: days(28) + Duration::HOUR, ..MONTH };
    let minutes = View { to: days(28) + Duration::minutes(5), ..hour };
    let years = View { from: TO - Duration::days(730), ..MONTH };
    for name in ["household", "fleet"] {
        let queries = dashboard::queries(&dashboard::read(name));
        assert!(queries.len() > 3, "{name}");
        for query in &queries {
            assert!(sql(query).contains("$__timeFilter(insert_time_utc)"), "{}", query.title);
            for view in [&MONTH, &week, &hour, &minutes, &years] {
                check(&mut client, name, query, view);
            }
            // Nothing to show, and no error.
            let nobody = View { batteries: &[], ..MONTH };
            Table::of(&mut client, &nobody.expand(sql(query)));
            let before = View { from: FROM - Duration::DAY, to: FROM - Duration::HOUR, ..MONTH };
            let table = Table::of(&mut client, &before.expand(sql(query)));
            let counts = table.columns.first().is_some_and(|column| column == "Batteries");
            assert!(table.rows.is_empty() || counts, "{name}: {}", query.title);
        }
    }
}

fn check(client: &mut Client, name: &str, query: &Query, view: &View<'_>) {
    let table = Table::of(client, &view.expand(sql(query)));
    let of = format!("{name}: {}", query.title);
    // Most hours have none.
    assert!(!table.rows.is_empty() || query.title == "Errors and breakers", "{of}: no rows");
    for column in &query.columns {
        assert!(table.columns.contains(column), "{of}: {column} in {:?}", table.columns);
    }
    match query.target["format"].as_str().unwrap() {
        "table" => {}
        "time_series" => check_series(&table, &of, view),
        other => panic!("{of}: {other}"),
    }
}

/// What Grafana makes curves of: times in order, then perhaps a name, and numbers.
fn check_series(table: &Table, of: &str, view: &View<'_>) {
    assert_eq!(table.columns[0], "time", "{of}");
    let times = table.texts("time");
    // Seconds, or times in the form that sorts.
    let mut sorted = times.clone();
    sorted.sort_by(|a, b| match (a.unwrap().parse::<f64>(), b.unwrap().parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    });
    assert_eq!(times, sorted, "{of}");
    let series = match table.columns.get(1).map(String::as_str) {
        Some("metric") => {
            assert_eq!(table.columns, ["time", "metric", "value"], "{of}");
            let mut names = table.texts("metric");
            names.sort_unstable();
            names.dedup();
            assert!(names.iter().all(Option::is_some), "{of}");
            names.len()
        }
        _ => 1,
    };
    assert!(table.rows.len() <= series * view.buckets(), "{of}: {}", table.rows.len());
    for column in table.columns.iter().filter(|it| !matches!(it.as_str(), "time" | "metric")) {
        // Texts would be no numbers.
        let numbers = table.numbers(column);
        assert!(numbers.iter().any(|number| number.is_finite()), "{of}: {column}");
    }
}

#[test]
fn variables_have_readable_labels() {
    let mut client = household::reader();
    let dashboard = dashboard::read("household");
    let battery = dashboard::variable(&dashboard, "battery").unwrap();
    assert_eq!(battery["refresh"], 2, "it depends on the time range");
    let query = battery["query"].as_str().unwrap();
    let mut answer = |view: &View<'_>| {
        let table = Table::of(&mut client, &view.expand(query));
        let texts = |column| table.texts(column).into_iter().map(|text| text.unwrap().to_owned());
        texts("__text").zip(texts("__value")).collect::<Vec<_>>()
    };
    let pair = |text: &str, id: u32| (text.to_owned(), id.to_string());
    let month = [pair("00000007", 7), pair("00000BAD", SOUTH), pair("attic", NORTH)];
    assert_eq!(answer(&MONTH), month);
    let last = View { from: days(29), names: "x=y, 00000bad=Bob's,,=", ..MONTH };
    assert_eq!(answer(&last), [pair("9F3C07B2", NORTH), pair("Bob's", SOUTH)]);
}

#[test]
fn energy_of_a_day_is_the_known_one() {
    let mut client = household::reader();
    let mut energies = |view: &View<'_>| {
        let table = answer(&mut client, "household", "Energy per day", view);
        let (charged, discharged) = (table.numbers("charged"), table.numbers("discharged"));
        charged.into_iter().zip(discharged).collect::<Vec<_>>()
    };
    let north = View { batteries: &[NORTH], ..MONTH };
    let days = energies(&north);
    // The 12th has no rows.
    assert_eq!(days.len(), 29);
    // Six hours of 20 A and twelve of 10 A at 52 V; on the 10th, three hours of 20 A.
    for (day, (charged, discharged)) in days.iter().enumerate() {
        let expected = if day == 9 { 3120.0 } else { 6240.0 };
        assert!((charged - expected).abs() < 30.0, "{day}: {charged}");
        assert!((discharged - 6240.0).abs() < 30.0, "{day}: {discharged}");
    }
    // Two batteries together; the other has 13 V and 5 A.
    let both = energies(&View { batteries: &[NORTH, SOUTH], ..MONTH });
    assert!((both[0].1 - 6240.0 - 1560.0).abs() < 30.0, "{:?}", both[0]);
    // A day begins at midnight where the reader is: two hours of the month are of a 31st day.
    let berlin = energies(&View { timezone: "Europe/Berlin", ..north });
    assert_eq!(berlin.len(), 31);
    assert!((berlin[0].1 - 5200.0).abs() < 30.0, "{:?}", berlin[0]);
    assert!((berlin[1].1 - 6240.0).abs() < 30.0, "{:?}", berlin[1]);
    // An interval that changes is no gap: 50 V and 10 A, all day.
    let third = energies(&View { batteries: &[THIRD], ..MONTH });
    assert_eq!(third.len(), 2);
    for (charged, _) in third {
        assert!((charged - 12_000.0).abs() < 60.0, "{charged}");
    }
}

#[test]
fn completeness_is_that_of_the_known_holes() {
    let mut client = household::reader();
    let table = answer(&mut client, "household", "Completeness of rows", &MONTH);
    let north = table.of_metric("attic");
    assert_eq!(north.len(), 30);
    for (day, found) in north.iter().enumerate() {
        let expected = match day {
            9 => 21.0 / 24.0,
            11 => 0.0,
            _ => 1.0,
        };
        assert!((found - expected).abs() < 0.002, "{day}: {found}");
    }
    assert!(
        table.of_metric("00000BAD").iter().all(|found| *found > 0.998),
        "{table:?}",
        table = table.rows
    );
    // From its first row on, whatever its interval is.
    let third = table.of_metric("00000007");
    assert_eq!(third.len(), 17, "{third:?}");
    assert!(third[0] > 0.998 && third[1] > 0.99 && third[2] == 0.0, "{third:?}");
    // A day of which the range has a part, and an end of the range within an interval.
    let part = View {
        from: utc_datetime!(2026-09-10 03:00:00),
        to: utc_datetime!(2026-09-10 09:00:30),
        batteries: &[NORTH],
        ..MONTH
    };
    let half = answer(&mut client, "household", "Completeness of rows", &part).of_metric("attic");
    assert!(matches!(half[..], [half] if (half - 0.5).abs() < 0.01), "{half:?}");
}

#[test]
fn curves_show_what_the_rows_have() {
    let mut client = household::reader();
    let north = View { batteries: &[NORTH], ..MONTH };
    let spread = answer(&mut client, "household", "Cell spread", &MONTH).of_metric("attic");
    let above = spread.iter().filter(|mv| (**mv - 120.0).abs() < 0.01).count();
    assert!(spread.iter().all(|mv| (mv - 120.0).abs() < 0.01 || mv.abs() < 0.01), "{spread:?}");
    assert!((above as f64 / spread.len() as f64 - 11.0 / 29.0).abs() < 0.02, "{above}");
    // A battery of four cells.
    let spread = answer(&mut client, "household", "Cell spread", &MONTH).of_metric("00000BAD");
    assert!(spread.iter().all(|mv| (mv - 50.0).abs() < 0.01), "{spread:?}");

    let imbalance = answer(&mut client, "household", "Imbalance per cell", &north);
    let last = |metric: &str| *imbalance.of_metric(metric).last().unwrap();
    assert!((last("07") - 120.0).abs() < 0.01 && last("08").abs() < 0.01, "{}", last("07"));
    let south = View { batteries: &[SOUTH], ..MONTH };
    let cells = answer(&mut client, "household", "Cell voltages", &south);
    let mut numbers: Vec<_> = cells.texts("metric").into_iter().flatten().collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, ["01", "02", "03", "04"]);

    // They begin and end; the newest is the first.
    let changes = answer(&mut client, "household", "Errors and breakers", &MONTH);
    let (none, error) = (Some("NONE"), Some("OVERVOLT"));
    assert_eq!(changes.texts("errors"), [none, none, none, error]);
    let (open, closed) = (Some("OPEN"), Some("CLOSED"));
    assert_eq!(changes.texts("breaker"), [closed, open, closed, closed]);
    assert_eq!(changes.texts("time")[3], Some("2026-09-25 10:00:00"));

    let power = answer_of(&mut client, "household", "Power", "time_series", &MONTH);
    let (attic, south) = (power.of_metric("attic"), power.of_metric("00000BAD"));
    let all = power.of_metric("all together");
    assert!(attic.len() > 600 && all.len() >= attic.len(), "{}", all.len());
    assert!((all[0] - attic[0] - south[0]).abs() < 0.01, "{} {} {}", all[0], attic[0], south[0]);
}

/// What a silent battery said last isn't shown as if it were new.
#[test]
fn a_silent_battery_has_no_newest_values() {
    let mut client = household::reader();
    let mut newest = |view: &View<'_>| {
        let mut of = |title| answer_of(&mut client, "household", title, "table", view);
        let charge = of("State of charge");
        assert_eq!(charge.texts("battery"), of("Power").texts("battery"));
        (charge.numbers("soc"), of("Power").numbers("watts"), of("Silent for").numbers("seconds"))
    };
    // The third has had none for two weeks. Power: 50 V and 10 A, 13 V and -5 A, 52 V and -10 A.
    let (charge, power, silent) = newest(&MONTH);
    assert!(charge[0].is_nan() && charge[1..] == [10.0, 73.0], "{charge:?}");
    assert!(power[0].is_nan() && power[1..] == [-65.0, -520.0], "{power:?}");
    let since = (TO - utc_datetime!(2026-09-15 23:55:00)).as_seconds_f64();
    assert_eq!(silent, [since, 0.0, 0.0]);
    // A row an hour, and ten seconds after the interval was changed.
    let hourly = View { batteries: &[HOURLY], ..MONTH };
    for (to, expected) in [
        (utc_datetime!(2026-10-24 12:59:00), 0.0),
        (utc_datetime!(2026-10-24 10:00:30), 0.0),
        (utc_datetime!(2026-10-27 00:09:00), 0.0),
        (utc_datetime!(2026-10-27 00:11:00), 660.0),
    ] {
        let (_, _, silent) = newest(&View { from: to - Duration::DAY, to, ..hourly });
        assert_eq!(silent, [expected], "{to}");
    }
}

/// The first listener's, with rows that are there twice, on a server in another time zone.
#[test]
fn an_old_table_shows_the_same() {
    let mut client = household::reader();
    client.batch_execute("SET search_path = old; SET TimeZone = 'Asia/Kolkata'").unwrap();
    let view = View { to: days(7) - Duration::MINUTE, batteries: &[NORTH], ..MONTH };
    for name in ["household", "fleet"] {
        for query in &dashboard::queries(&dashboard::read(name)) {
            check(&mut client, name, query, &view);
        }
    }
    let energy = answer(&mut client, "household", "Energy per day", &view);
    let (charged, discharged) = (energy.numbers("charged"), energy.numbers("discharged"));
    assert_eq!(charged.len(), 7);
    let all = charged.iter().chain(&discharged);
    assert!(all.into_iter().all(|wh| (wh - 6240.0).abs() < 30.0), "{charged:?} {discharged:?}");
    let found = answer(&mut client, "household", "Completeness of rows", &view);
    assert!(found.of_metric("attic").iter().all(|part| *part > 0.998), "{:?}", found.rows);
    let newest = answer_of(&mut client, "household", "State of charge", "table", &view);
    assert_eq!(newest.numbers("soc"), [73.0]);
    let worst = answer(&mut client, "fleet", "Batteries, the worst first", &view);
    assert_eq!(worst.texts("Battery"), [Some("attic")]);
    let dashboard = dashboard::read("household");
    let battery = dashboard::variable(&dashboard, "battery").unwrap();
    let batteries = Table::of(&mut client, &view.expand(battery["query"].as_str().unwrap()));
    assert_eq!(batteries.texts("__text"), [Some("attic")]);
}

/// Hourly rows, a day of 25 hours, and a day on which the interval changes.
#[test]
fn days_have_their_length_and_any_interval() {
    let mut client = household::reader();
    let (from, to) = (utc_datetime!(2026-10-22 22:00:00), utc_datetime!(2026-10-26 23:00:00));
    let timezone = "Europe/Berlin";
    let view = View { from, to, timezone, batteries: &[HOURLY], ..MONTH };
    let energy = answer(&mut client, "household", "Energy per day", &view);
    // 500 W.
    let charged = energy.numbers("charged");
    let expected = [12_000.0, 12_000.0, 12_500.0, 12_000.0];
    assert_eq!(charged.len(), 4, "{charged:?}");
    for (charged, expected) in charged.iter().zip(expected) {
        assert!((charged - expected).abs() < 1.0, "{charged} for {expected}");
    }
    let found = answer(&mut client, "household", "Completeness of rows", &view);
    assert_eq!(found.of_metric("00000008"), [1.0; 4], "{:?}", found.rows);
}

#[test]
fn the_fleet_has_the_worst_first() {
    let mut client = household::reader();
    let during = View { to: utc_datetime!(2026-09-25 10:05:00), ..MONTH };
    let worst = |client: &mut Client, view: &View<'_>| {
        let table = answer(client, "fleet", "Batteries, the worst first", view);
        let names = table.texts("Battery").into_iter().map(|name| name.unwrap().to_owned());
        (names.collect::<Vec<_>>(), table)
    };
    // That of errors is the first, then the silent one, then the empty one.
    let (names, table) = worst(&mut client, &during);
    assert_eq!(names, ["attic", "00000007", "00000BAD"]);
    assert_eq!(table.texts("Errors"), [Some("OVERVOLT"), None, None]);
    let spreads = table.numbers("Spread");
    assert!((spreads[0] - 120.0).abs() < 0.01 && (spreads[2] - 50.0).abs() < 0.01, "{spreads:?}");
    let silent = table.numbers("Silent for");
    assert!(silent[0].is_nan() && silent[1] > 86_400.0 && silent[2].is_nan(), "{silent:?}");
    let power = table.numbers("Power");
    assert!(power[0] == 1040.0 && power[1].is_nan() && power[2] == -65.0, "{power:?}");
    let (names, table) = worst(&mut client, &MONTH);
    assert_eq!(names, ["00000007", "00000BAD", "attic"]);
    // Missing are a day and three hours of 30 days.
    let rows = table.numbers("Rows");
    assert!((rows[1] - 1.0).abs() < 1e-9 && (rows[2] - 0.9625).abs() < 0.0001, "{rows:?}");
    let mut numbers = |view: &View<'_>| {
        let table = answer(&mut client, "fleet", "Batteries", view);
        ["Batteries", "Silent", "In trouble", "Nearly empty"].map(|it| table.numbers(it)[0])
    };
    assert_eq!(numbers(&MONTH), [3.0, 1.0, 0.0, 1.0]);
    assert_eq!(numbers(&during), [3.0, 1.0, 1.0, 1.0]);
    assert_eq!(
        numbers(&View { from: FROM - Duration::DAY, to: FROM - Duration::HOUR, ..MONTH }),
        [0.0; 4]
    );
}

/// Of the usual time ranges the table isn't read from end to end.
#[test]
fn the_index_is_used() {
    let mut client = household::reader();
    for name in ["household", "fleet"] {
        let dashboard = dashboard::read(name);
        let variable = dashboard::variable(&dashboard, "battery").map(|it| &it["query"]);
        let queries = dashboard::queries(&dashboard);
        let texts = queries.iter().map(sql).chain(variable.and_then(Value::as_str));
        for text in texts {
            for hours in [1, 24, 7 * 24] {
                let from = TO - Duration::hours(hours);
                let explain = format!("EXPLAIN {}", View { from, ..MONTH }.expand(text));
                let plan: Vec<String> =
                    Table::of(&mut client, &explain).rows.concat().into_iter().flatten().collect();
                let plan = plan.join("\n");
                assert!(plan.contains("battery_pack_time"), "{text}\n{plan}");
                assert!(!plan.contains("Seq Scan on battery_pack"), "{text}\n{plan}");
            }
        }
    }
}
