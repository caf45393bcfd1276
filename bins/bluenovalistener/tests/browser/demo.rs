//! Both batteries of the demonstration, alive.

use bluenova_test_support::{Browser, wait_until};

use crate::{
    open, overhang,
    support::{Home, TIME_LIMIT, get},
    wait_for_fresh, wait_for_plots,
};

const NOTHING: [String; 0] = [];

#[test]
fn both_batteries_of_the_demonstration_update_by_themselves() {
    let home = Home::new();
    let mut demo = home.listen(&["--http", "127.0.0.1:0", "demo"]);
    let (mut browser, url) = open(&mut demo, "See them at ");
    wait_for_fresh(&mut browser, 2);
    assert_eq!(names(&mut browser), ["north", "south"]);
    browser.wait_for("all is well", TIME_LIMIT, "problems.innerText === 'All is well.'");
    for (value, unit) in [
        ("soc", "\u{a0}%"),
        ("power", "W"),
        ("v_pack", "\u{a0}V"),
        ("i_pack", "\u{a0}A"),
        ("temp", "\u{a0}°C"),
        ("spread", "\u{a0}mV"),
        ("highest", "\u{a0}V"),
        ("age", " s ago"),
    ] {
        // On a busy machine a battery may be late for a moment, which its age says then.
        wait_until(&format!("{value} is shown"), TIME_LIMIT, || {
            let text = browser.text(&format!("article [data-is={value}]"));
            text.contains(|c: char| c.is_ascii_digit()) && text.ends_with(unit)
        });
    }

    updates(&mut browser);
    changes_range(&mut browser);
    reads_plots(&mut browser);
    changes_battery(&mut browser);
    links_to_the_rows(&mut browser, &url);
    is_drawn_for_the_dark(&mut browser);
    fits_phones(&mut browser);

    assert_eq!(browser.complaints(), NOTHING);
    for asked in browser.requests() {
        assert!(asked.starts_with(&url) || asked.starts_with("data:"), "{asked}");
    }
}

/// The link leads to the rows of the battery and the range that are shown.
fn links_to_the_rows(browser: &mut Browser, url: &str) {
    assert_eq!(browser.text("#csv"), "rows as CSV");
    let battery = browser.evaluate("chooser.querySelector('select').value");
    let battery = battery.as_str().unwrap();
    let linked =
        format!("csv.href.includes('/{battery}/') && document.querySelector('#plots svg')");
    browser.wait_for("the link is for the battery", TIME_LIMIT, &linked);
    let link = browser.evaluate(
        "(() => {
            const query = new URL(csv.href).searchParams;
            const [from, to] = ['from', 'to'].map((name) => Date.parse(query.get(name)));
            const { shown } = document.querySelector('#plots figure');
            return from === shown.from && to === shown.to ? csv.href : 'other times';
        })()",
    );
    let target = link.as_str().unwrap().strip_prefix(url.trim_end_matches('/')).unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let answer = get(address, target);
    let mut lines = answer.body.lines();
    assert!(lines.next().unwrap().starts_with("insert_time_utc,mcu_id,"), "{}", answer.head);
    let id = u32::from_str_radix(battery, 16).unwrap().to_string();
    let rows: Vec<_> = lines.collect();
    let of_battery = |row: &&str| row.split(',').nth(1) == Some(&id);
    assert!(!rows.is_empty() && rows.iter().all(of_battery), "{rows:?}");
}

fn names(browser: &mut Browser) -> Vec<String> {
    let names =
        browser.evaluate("[...document.querySelectorAll('article h2')].map(h => h.innerText)");
    serde_json::from_value(names).unwrap()
}

/// Values change without a reload of the page, and nothing jumps.
fn updates(browser: &mut Browser) {
    browser.evaluate(
        "document.wasHere = true;
         window.rows = () => [...document.querySelectorAll('[data-is=link]')]
             .map((link) => Number(/([\\d,]+) row/.exec(link.innerText)[1].replace(',', '')));
         window.words = () => [...document.querySelectorAll('[data-is=age], [data-is=link]')]
             .map((it) => it.innerText.replace(/[\\d,]+/g, '')).join();
         window.heights = () => [...document.querySelectorAll('article')].map(a => a.offsetHeight);
         window.look = () =>
             ({ rows: rows(), words: words(), heights: heights(), cells: batteries.innerText });",
    );
    // A battery that is late on a busy machine has a longer text, which may take another line.
    let on_time = "[...document.querySelectorAll('article [data-is=age]')]
        .every((age) => /^\\d+ s ago$/.test(age.innerText)) && (window.before = look())";
    browser.wait_for("none is late", TIME_LIMIT, on_time);
    let more = "document.wasHere && rows().every((n, i) => n >= before.rows[i] + 2)
        && batteries.innerText !== before.cells && words() === before.words
        && [heights(), before.heights]";
    let heights = browser.wait_for("both have had two more rows", TIME_LIMIT, more);
    assert_eq!(heights[0], heights[1]);
}

fn changes_range(browser: &mut Browser) {
    wait_for_plots(browser, "24h");
    for range in ["6h", "7d", "24h", "1h"] {
        browser.evaluate("before = document.querySelector('#plots figure svg').outerHTML; 0");
        browser.click(&format!("button[value='{range}']"));
        let changed = "document.querySelector('#plots figure svg').outerHTML !== before";
        browser.wait_for("the plots have changed", TIME_LIMIT, changed);
        wait_for_plots(browser, range);
        assert_eq!(browser.evaluate("location.hash"), format!("#{range}"));
        let asked = format!("plots?range={range}&");
        assert!(browser.requests().iter().any(|url| url.contains(&asked)), "{asked}");
        links_to_the_days(browser, range == "7d");
    }
}

/// The link leads to the days of the battery that are shown, and is only there with such plots.
fn links_to_the_days(browser: &mut Browser, has_days: bool) {
    let link = browser.evaluate("document.getElementById('days-csv').hidden");
    assert_eq!(link, !has_days);
    if !has_days {
        return;
    }
    let link = browser.evaluate("document.getElementById('days-csv').href");
    let (address, target) =
        link.as_str().unwrap().trim_start_matches("http://").split_once('/').unwrap();
    let answer = get(address.parse().unwrap(), &format!("/{target}"));
    let lines: Vec<_> = answer.body.lines().collect();
    assert!(lines[0].starts_with("date,length_s,"), "{target}: {}", answer.body);
    // A day of the demo's week may be cut off at either end.
    assert!((6..=8).contains(&(lines.len() - 1)), "{target}: {}", answer.body);
}

/// Values are to be had by mouse and by keyboard.
fn reads_plots(browser: &mut Browser) {
    for (plot, expected) in [(1, "pack voltage"), (2, "cell 16"), (3, "spread"), (4, "cell 16")] {
        let figure = format!("#plots figure:nth-of-type({plot})");
        // Rows of the history: at the right there is a gap, as long as the start took.
        browser.hover(&format!("{figure} .plot"), 0.5);
        let reading = format!("document.querySelector('{figure} .reading').innerText");
        browser.wait_for("values are shown", TIME_LIMIT, &reading);
        let reading = browser.text(&format!("{figure} .reading"));
        assert!(reading.contains(expected), "{expected} in {reading}");
        assert!(reading.contains(|c: char| c.is_ascii_digit()), "{reading}");
        let at = browser.evaluate(&format!(
            "(() => {{
                const line = document.querySelector('{figure} .crosshair').getBoundingClientRect();
                const plot = document.querySelector('{figure} svg').getBoundingClientRect();
                return line.height > 50 && line.top >= plot.top && line.bottom <= plot.bottom
                    && line.left > plot.left && line.right < plot.right;
            }})()"
        ));
        assert_eq!(at, true, "the crosshair is in plot {plot}");
    }
    browser.hover("h1", 0.5);
    let hidden = "[...document.querySelectorAll('.reading')].every(reading => reading.hidden)";
    browser.wait_for("values are gone", TIME_LIMIT, hidden);

    browser.evaluate("csv.focus(); 0");
    browser.press("Tab");
    browser.press("End");
    let last = browser.text("#plots .reading time");
    browser.press("Home");
    let first = browser.text("#plots .reading time");
    // There may be one bucket so far, and midnight in it.
    assert!(first <= last || last.starts_with("00:"), "{first} to {last}");
    browser.press("Escape");
    browser.wait_for("values are gone", TIME_LIMIT, hidden);
}

fn changes_battery(browser: &mut Browser) {
    assert_eq!(browser.evaluate("document.querySelector('#chooser select').ariaLabel"), "Battery");
    let south = browser.evaluate("document.querySelector('#chooser select').options[1].value");
    let south = south.as_str().unwrap();
    browser.evaluate(
        "document.querySelector('#chooser select').selectedIndex = 1;
         document.querySelector('#chooser select').dispatchEvent(new Event('change'));",
    );
    let hash = format!("location.hash === '#1h/{south}'");
    browser.wait_for("the battery is in the address", TIME_LIMIT, &hash);
    bluenova_test_support::wait_until("its plots are asked for", TIME_LIMIT, || {
        let asked = format!("api/batteries/{south}/plots?range=1h&");
        browser.requests().iter().any(|url| url.contains(&asked))
    });
}

fn is_drawn_for_the_dark(browser: &mut Browser) {
    let paper = "getComputedStyle(document.body).backgroundColor";
    let light = browser.evaluate(paper);
    browser.set_dark(true);
    browser.wait_for("the page is dark", TIME_LIMIT, &format!("{paper} !== {light}"));
    bluenova_test_support::wait_until("dark plots are asked for", TIME_LIMIT, || {
        browser.requests().iter().any(|url| url.contains("theme=dark"))
    });
}

/// Nobody has to scroll sideways, and values that a finger has asked for stay.
fn fits_phones(browser: &mut Browser) {
    for width in [360, 320] {
        browser.set_size(width, 740);
        let narrow = format!(
            "[...document.querySelectorAll('.plots svg')].every(
                (svg) => svg.width.baseVal.value < {width})"
        );
        browser.wait_for("the plots are redrawn", TIME_LIMIT, &narrow);
        // The plots of the bank may be drawn anew a little later.
        let fits = "document.documentElement.scrollWidth === document.documentElement.clientWidth";
        browser.wait_for("nothing stands out", TIME_LIMIT, fits);
        for plot in 1..=4 {
            browser.tap(&format!("#plots figure:nth-of-type({plot}) .plot"), 0.5);
            let shown = "[...document.querySelectorAll('#plots .reading')].map((r) => !r.hidden)";
            let expected: Vec<bool> = (1..=4).map(|other| other == plot).collect();
            let only_it = format!("JSON.stringify({shown}) === '{expected:?}'.replaceAll(' ', '')");
            browser.wait_for("values of the plot are shown", TIME_LIMIT, &only_it);
            assert_eq!(overhang(browser), 0, "at {width} pixels, values of plot {plot}");
        }
    }
}
