//! The page of a listener with many batteries.

use std::fs;

use bluenova_test_support::{Browser, ReservedPort, wait_until};

use crate::{
    SECOND, open, overhang,
    support::{Home, TIME_LIMIT, named, talking_battery},
};

#[test]
fn a_fleet_has_a_line_for_each_and_any_battery_is_found() {
    let server = talking_battery(1);
    let nobody = ReservedPort::new();
    let mut lines = vec![named("alive", server.local_addr())];
    lines
        .extend((0..1000).map(|n| named(&format!("dead{n}"), format!("{}/{n}", nobody.address()))));
    let home = Home::new();
    fs::write(home.path("fleet"), lines.join("\n")).unwrap();
    let database = home.sqlite("db");
    let mut listener = home.listen(&[&["-b", "@fleet", "-d", &database], &SECOND[..]].concat());
    let (mut browser, _) = open(&mut listener, "page at ");
    let names = "[...document.querySelectorAll('#list-body a')].map((it) => it.textContent)";
    browser.wait_for(
        "those with trouble come first, and the worst is above them",
        TIME_LIMIT,
        &format!(
            "finder.innerText.includes('1,001 of 1,001 batteries, by trouble')
                && document.querySelectorAll('article').length === 0
                && {names}[0] === 'dead0' && {names}[1000] === 'alive'
                && problems.children.length === 4
                && problems.lastChild.textContent === '… and 997 more'"
        ),
    );
    let dead = browser.text("#list-body .line .trouble");
    assert!(dead.starts_with("no data yet, not connected"), "{dead}");
    wait_until("less is asked for from then on", TIME_LIMIT, || {
        browser.requests().iter().any(|url| url.ends_with("/api/batteries?fields=overview"))
    });
    // What isn't on the screen isn't laid out: the page scrolls smoothly.
    let last = "document.querySelector('#list-body .line:last-child [data-is=name]')";
    assert_eq!(browser.evaluate(&format!("{last}.checkVisibility()")), true);
    let is_skipped = format!("{last}.checkVisibility({{ contentVisibilityAuto: true }}) === false");
    assert_eq!(browser.evaluate(&is_skipped), true);

    let find = |text: &str| {
        format!(
            "finder.querySelector('input').value = '{text}';
             finder.querySelector('input').dispatchEvent(new Event('input')); 0"
        )
    };
    // By its name, its MCU ID, and its address.
    for (text, found) in [("ALIVE", "alive"), ("10abcd", "alive"), ("/777", "dead777")] {
        browser.evaluate(&find(text));
        browser.wait_for(text, TIME_LIMIT, &format!("`${{{names}}}` === '{found}'"));
    }
    browser.evaluate(&find("no such battery"));
    browser.wait_for("none", TIME_LIMIT, "finder.innerText.includes('0 of 1,001 batteries')");
    browser.evaluate(&find(""));
    sorts_by_any_column(&mut browser, names);

    browser.set_size(320, 900);
    assert_eq!(overhang(&mut browser), 0);
    browser.click("#list-body .line:nth-child(3) a");
    browser.wait_for(
        "one of them has its view",
        TIME_LIMIT,
        "location.pathname.startsWith('/battery/dead') && batteries.children.length === 1
            && list.hidden
            && document.querySelector('article [data-is=link]').textContent.includes('/')",
    );
    assert_eq!(overhang(&mut browser), 0);
    assert_eq!(browser.complaints(), <[String; 0]>::default());
    listener.stop();
}

fn sorts_by_any_column(browser: &mut Browser, names: &str) {
    let header = "#list [data-by=name]";
    for (direction, first) in [("ascending", "alive"), ("descending", "dead999")] {
        browser.click(&format!("{header} button"));
        let sorted = format!(
            "document.querySelector('{header}').ariaSort === '{direction}'
                && {names}[0] === '{first}'"
        );
        browser.wait_for("the list is sorted by name", TIME_LIMIT, &sorted);
    }
    // What isn't known comes last.
    browser.click("#list [data-by=soc] button");
    let lowest = format!("{names}[0] === 'alive'");
    browser.wait_for("the list is sorted by state of charge", TIME_LIMIT, &lowest);
}
