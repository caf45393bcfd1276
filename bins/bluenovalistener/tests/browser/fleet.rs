//! The page of a listener with many batteries.

use std::fs;

use crate::{
    SECOND, open, overhang,
    support::{Home, TIME_LIMIT, loopback, named, talking_battery},
};

#[test]
fn a_fleet_has_a_few_cards_and_any_battery_is_found() {
    let server = talking_battery(1);
    // Nothing listens there.
    let nobody = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let mut lines = vec![named("alive", server.local_addr())];
    lines.extend((0..1000).map(|n| named(&format!("dead{n}"), format!("{nobody}/{n}"))));
    let home = Home::new();
    fs::write(home.path("fleet"), lines.join("\n")).unwrap();
    let database = home.sqlite("db");
    let mut listener = home.listen(&[&["-b", "@fleet", "-d", &database], &SECOND[..]].concat());
    let (mut browser, _) = open(&mut listener, "page at ");
    browser.wait_for(
        "the first of the dead ones have cards, and the others are counted",
        TIME_LIMIT,
        "finder.innerText.includes('24 of 1,001 batteries')
            && document.querySelectorAll('article').length === 24
            && document.querySelector('article h2').textContent === 'dead0'
            && problems.children.length === 11
            && problems.lastChild.textContent === '… and 990 more'",
    );
    let find = |text: &str| {
        format!(
            "finder.querySelector('input').value = '{text}';
             finder.querySelector('input').dispatchEvent(new Event('input')); 0"
        )
    };
    let names = "[...document.querySelectorAll('article h2')].map((it) => it.textContent)";
    // By its name, its MCU ID, and its address.
    for (text, found) in [("ALIVE", "alive"), ("10abcd", "alive"), ("/777", "dead777")] {
        browser.evaluate(&find(text));
        browser.wait_for(text, TIME_LIMIT, &format!("`${{{names}}}` === '{found}'"));
    }
    browser.evaluate(&find("no such battery"));
    browser.wait_for("none", TIME_LIMIT, "finder.innerText.includes('0 of 0 batteries')");
    browser.set_size(360, 900);
    assert_eq!(overhang(&mut browser), 0);
    assert_eq!(browser.complaints(), <[String; 0]>::default());
    listener.stop();
}
