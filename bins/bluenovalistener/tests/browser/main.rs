//! The page as people see it: in a real browser, of a real listener.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod accessibility;
mod answers;
mod demo;
mod faults;
mod fleet;
mod gaps;
mod history;
mod pictures;
mod views;

#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the other binary uses the rest")]
mod support;

use bluenova_test_support::Browser;

use crate::support::{Listener, TIME_LIMIT};

/// Arguments with which values are stale after three seconds.
const SECOND: [&str; 4] = ["-i", "1", "--http", "127.0.0.1:0"];

/// Opens the page at the address that is in the next line of the log with `text`.
#[track_caller]
fn open(listener: &mut Listener, text: &str) -> (Browser, String) {
    let line = listener.wait_for(text);
    let at = line.find("http://").unwrap_or_else(|| panic!("no address in {line:?}"));
    let url = line[at..].trim_end().to_owned();
    let mut browser = Browser::start();
    browser.open(&url);
    (browser, url)
}

/// Waits until this many cards are fresh.
#[track_caller]
fn wait_for_fresh(browser: &mut Browser, count: usize) {
    let fresh = format!("document.querySelectorAll('article:not(.stale)').length === {count}");
    browser.wait_for("the batteries are fresh", TIME_LIMIT, &fresh);
}

/// Waits until all plots are there, drawn for this range.
#[track_caller]
fn wait_for_plots(browser: &mut Browser, range: &str) {
    let pressed = format!("document.querySelector('button[value=\"{range}\"]').ariaPressed");
    browser.wait_for("the range is chosen", TIME_LIMIT, &format!("{pressed} === 'true'"));
    let drawn = "document.querySelectorAll('#plots figure svg').length >= 4";
    browser.wait_for("the plots are drawn", TIME_LIMIT, drawn);
}

/// Pixels of the page that stand out to the right of the screen.
fn overhang(browser: &mut Browser) -> i64 {
    // A phone makes its window as wide as what is in it, and shows that smaller.
    let screen = "document.documentElement.clientWidth";
    let overhang = format!("document.documentElement.scrollWidth - {screen}");
    browser.evaluate(&overhang).as_i64().unwrap()
}
