//! A gap says why: in a plot, by mouse, keyboard and finger, and among the events.

use std::fs;

use bluenova_journal::{Event, EventKind, Journal, Retention};
use bluenova_record::PackRecord;
use bluenova_test_support::{Browser, ReservedPort, wait_until};
use time::{Duration, UtcDateTime};

use crate::{
    open,
    support::{Home, Listener, TIME_LIMIT, get, named},
    wait_for_plots,
};

/// Rows of the last fifty minutes, but from 30 to 20 minutes ago, when there was no connection.
fn journal_with_a_gap(home: &Home) {
    let now = UtcDateTime::now();
    let ago = |minutes: i64| now - Duration::minutes(minutes);
    let rows = (0..300).map(|n| ago(50) + Duration::seconds(10) * n);
    let kept = rows.filter(|time| !(ago(30)..ago(20)).contains(time));
    let records: Vec<_> = kept
        .map(|time| PackRecord { v_pack: Some(53.0), ..PackRecord::new(time, 0x9F3C_07B2) })
        .collect();
    let events = [
        (55, EventKind::Identified, ""),
        (30, EventKind::NotConnected, "no route <b>to</b> host"),
        (20, EventKind::Identified, ""),
    ]
    .map(|(minutes, kind, why)| Event {
        battery: Some("attic".to_owned()),
        mcu_id: Some(0x9F3C_07B2),
        ..Event::new(ago(minutes), kind, why)
    });
    let mut journal = Journal::open(&home.path("db"), Retention::FOREVER).unwrap();
    journal.append(&records).unwrap();
    journal.put_events(&events).unwrap();
}

/// The page of a listener whose battery is away, and its address.
fn open_without_battery(home: &Home, nobody: &ReservedPort) -> (Listener, Browser, String) {
    let (at, database) = (named("attic", nobody.address()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "10", "--http", "127.0.0.1:0"];
    let mut listener = home.listen(&args);
    let (browser, url) = open(&mut listener, "page at ");
    (listener, browser, url)
}

#[test]
fn a_gap_says_why_when_it_is_pointed_at() {
    let home = Home::new();
    journal_with_a_gap(&home);
    let nobody = ReservedPort::new();
    let (_listener, mut browser, _) = open_without_battery(&home, &nobody);
    browser.evaluate("location.hash = '#1h'; 0");
    wait_for_plots(&mut browser, "1h");
    let says = |what: &str| {
        format!("document.querySelector('#plots figure .reading:not([hidden])')?.innerText{what}")
    };
    let why = says(".endsWith('No row: no connection: no route <b>to</b> host')");
    // In the middle of it, once the page has it.
    browser.hover("#plots figure .plot", 0.6);
    browser.wait_for("the gap says why", TIME_LIMIT, &why);
    let width =
        browser.evaluate("document.querySelector('#plots figure .reading p').offsetWidth > 100");
    assert_eq!(width, true);
    let picture = browser.screenshot();
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/..");
    fs::write(format!("{target}/page-gap.png"), picture).unwrap();

    let values = says(".includes('pack voltage')");
    // The plots may be redrawn meanwhile, with another minute at the edge: then that begins anew.
    wait_until("keys lead to the values behind it, back, and to those before", TIME_LIMIT, || {
        browser.hover("#plots figure .plot", 0.6);
        browser.wait_for("the gap says why", TIME_LIMIT, &why);
        browser.evaluate("document.querySelector('#plots figure .plot').focus(); 0");
        [("ArrowRight", &values), ("ArrowLeft", &why), ("ArrowLeft", &values)].into_iter().all(
            |(key, expected)| {
                browser.press(key);
                browser.evaluate(expected) == true
            },
        )
    });
    browser.press("Escape");

    browser.set_size(360, 740);
    let narrow = "document.querySelector('#plots figure svg').width.baseVal.value < 360";
    browser.wait_for("the plots are redrawn", TIME_LIMIT, narrow);
    // The middle of the gap is further to the left here.
    browser.tap("#plots figure .plot", 0.55);
    browser.wait_for("the gap says why", TIME_LIMIT, &why);
    assert_eq!(crate::overhang(&mut browser), 0);
    assert_eq!(browser.complaints(), <[String; 0]>::default());
}

/// The listener noted that there was no connection, and rows are missing: that is one thing.
#[test]
fn an_outage_is_one_line_of_what_happened() {
    let home = Home::new();
    journal_with_a_gap(&home);
    let nobody = ReservedPort::new();
    let (_listener, mut browser, url) = open_without_battery(&home, &nobody);
    let noted = get(
        url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap(),
        "/api/batteries/9F3C07B2/events",
    );
    assert_eq!(noted.body.matches("no route <b>to</b> host").count(), 2, "{}", noted.body);
    browser.open(&format!("{url}battery/attic"));
    let lines = "[...document.querySelectorAll('#events li')].map((line) => line.innerText)
        .filter((line) => line.includes('no route <b>to</b> host'))";
    browser.wait_for("what happened is shown", TIME_LIMIT, &format!("{lines}.length > 0"));
    let lines = browser.evaluate(lines);
    let [line] = &lines.as_array().unwrap()[..] else { panic!("{lines}") };
    let said = line.as_str().unwrap();
    assert!(said.contains("no rows for ") && said.contains(": no connection: "), "{said}");
}
