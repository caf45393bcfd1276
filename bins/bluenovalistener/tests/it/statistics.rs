//! What is counted of a battery's samples, over restarts.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bluenova_insight::{DayStatistics, Insight};
use bluenova_journal::{Journal, Reader, Retention};
use bluenova_record::PackRecord;
use bluenova_simulator::{Control, Message};
use bluenova_test_support::wait_until;
use nix::sys::signal::Signal;
use time::UtcDateTime;

use crate::support::{Home, Listener, TIME_LIMIT, count, named, obedient_battery};

const MCU_ID: u32 = 0x9F3C_07B2;

/// What is said when all rows before the start are counted.
const CAUGHT_UP: &str = "energy and other figures go on from";

/// Says cycles of a battery that is charged by 36 A, an ampere-hour in 100 s, for that long. Gives
/// the seconds between the first and the last one.
fn say(control: &Control, length: Duration) -> f64 {
    let start = Instant::now();
    while start.elapsed() < length {
        for line in [format!("MCU ID: {MCU_ID:08X}"), "Vpack: 50000".into(), "Current: 36".into()] {
            control.send(Message::Text(line.into_bytes())).unwrap();
        }
        thread::sleep(Duration::from_millis(100));
    }
    start.elapsed().as_secs_f64()
}

/// Waits until another row is stored, so that all that was said before is in the database.
fn wait_for_row(listener: &mut Listener, control: &Control) {
    let rows = |listener: &mut Listener| count(listener.log(), ": stored ");
    let before = rows(listener);
    wait_until("a row is stored", TIME_LIMIT, || {
        say(control, Duration::from_millis(100));
        rows(listener) > before
    });
}

/// Seconds that were counted of what was said, as the state has it that was stored last.
fn counted(database: &Path) -> f64 {
    let stored = Reader::open(database).unwrap().insight(MCU_ID).unwrap().unwrap();
    let insight: Insight = serde_json::from_str(&stored.text).unwrap();
    insight.counters().charge_in_ah * 100.0
}

#[test]
fn a_killed_process_costs_the_counters_the_interval_under_way_at_most() {
    let home = Home::new();
    let (database, battery) = (home.path("db"), obedient_battery(1));
    let control = battery.control();
    // One battery under two names: it counts once.
    let address = battery.local_addr();
    let (one, other) =
        (named("one", address), named("other", format!("localhost:{}", address.port())));
    let sqlite = home.sqlite("db");
    let start = || {
        let listener = home.listen(&["-b", &one, "-b", &other, "-d", &sqlite, "-i", "1"]);
        control.wait_for_clients(2, TIME_LIMIT).unwrap();
        listener
    };
    let began = Instant::now();
    let mut listener = start();
    let first = say(&control, Duration::from_secs(4));
    wait_for_row(&mut listener, &control);
    assert_eq!(listener.end(Signal::SIGKILL).status.code(), None);
    assert_eq!(Reader::open(&database).unwrap().insight(MCU_ID).unwrap(), None);

    // Nothing was stored but the rows.
    let mut listener = start();
    let second = say(&control, Duration::from_secs(2));
    listener.wait_until_said(CAUGHT_UP);
    listener.stop();
    let so_far = counted(&database);
    // A second of the rows, one of the start, and the half cycles at both ends of each.
    let most = began.elapsed().as_secs_f64();
    assert!((first + second - 3.0..=most).contains(&so_far), "{so_far}: {first}, {second}, {most}");

    // From the state on.
    let mut listener = start();
    let third = say(&control, Duration::from_secs(3));
    wait_for_row(&mut listener, &control);
    listener.end(Signal::SIGKILL);
    assert_eq!(counted(&database).to_bits(), so_far.to_bits());
    let mut listener = start();
    say(&control, Duration::from_millis(300));
    listener.wait_until_said(CAUGHT_UP);
    listener.stop();
    let (in_all, most) = (counted(&database), began.elapsed().as_secs_f64());
    assert!((so_far + third - 2.0..=most).contains(&in_all), "{in_all}: {so_far}, {third}, {most}");
}

/// As a program has it that is upgraded: a database of years of rows, and no state.
#[test]
fn rows_of_an_older_version_are_counted_day_by_day_while_new_ones_come() {
    let home = Home::new();
    let database = home.path("db");
    let now = UtcDateTime::now().truncate_to_second();
    let rows: Vec<_> = (0..30_000)
        .map(|n| {
            let mut row = PackRecord::new(now - time::Duration::seconds(10 * (30_000 - n)), MCU_ID);
            (row.v_pack, row.i_pack) = (Some(50.0), Some(36.0));
            row
        })
        .collect();
    let mut journal = Journal::open(&database, Retention::FOREVER).unwrap();
    rows.chunks(5000).for_each(|rows| journal.append(rows).map(drop).unwrap());
    drop(journal);
    let older = "DROP TABLE insight; DROP TABLE day; PRAGMA user_version = 5";
    rusqlite::Connection::open(&database).unwrap().execute_batch(older).unwrap();

    let battery = obedient_battery(1);
    let (control, one) = (battery.control(), named("one", battery.local_addr()));
    let mut listener = home.listen(&["-b", &one, "-d", &home.sqlite("db"), "-i", "1"]);
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    wait_until("the rows are counted", TIME_LIMIT, || {
        say(&control, Duration::from_millis(100));
        listener.log().iter().any(|line| line.contains(CAUGHT_UP))
    });
    say(&control, Duration::from_secs(1));
    listener.stop();
    let counted = counted(&database);
    assert!((299_990.0..300_120.0).contains(&counted), "{counted}");

    // Rows of 83 hours have two whole days in them, in any time zone.
    let days = Reader::open(&database).unwrap().days(MCU_ID, "0000-01-01"..="9999-12-31").unwrap();
    let days: Vec<DayStatistics> =
        days.iter().map(|day| serde_json::from_str(&day.text).unwrap()).collect();
    assert!((3..=4).contains(&days.len()), "{days:?}");
    for day in &days[1..3] {
        assert!(day.is_rebuilt() && day.completeness() > 0.999, "{day:?}");
        let charge = f64::from(day.length_s) / 100.0;
        assert!((day.counters.charge_in_ah - charge).abs() < 0.2, "{day:?}");
    }
}
