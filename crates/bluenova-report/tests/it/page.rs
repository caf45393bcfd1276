//! The page in a browser, on a screen and printed.

use std::{fs, process::Command};

use bluenova_record::CELLS;
use bluenova_test_support::Browser;
use serde_json::json;

use crate::{hostile, passport, sources};

/// A page in a file of its own, and its address.
fn file(html: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passport.html");
    fs::write(&path, html).unwrap();
    let url = format!("file://{}", path.display());
    (directory, url)
}

/// What is drawn, and what should not be: scripts, and content that is wider than the window.
const LOOK: &str = "(() => {
    const wide = [...document.querySelectorAll('body *')].filter(it =>
        !it.closest('svg') && it.getBoundingClientRect().right > innerWidth + 1);
    return {
        title: document.title,
        figures: [...document.querySelectorAll('figcaption')].map(it => it.firstChild.textContent),
        svgs: document.querySelectorAll('svg').length,
        rows: [...document.querySelectorAll('section table')].map(it => it.rows.length),
        foreign: document.querySelectorAll('script, img, link, iframe, svg script').length,
        wide: wide.map(it => it.outerHTML.slice(0, 200)),
        smallest: Math.min(...[...document.querySelectorAll('svg text')]
            .filter(text => text.textContent.trim())
            .map(text => text.getBoundingClientRect().height)),
        clipped: [...document.querySelectorAll('svg')].flatMap(svg => {
            const frame = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].filter(text => {
                const it = text.getBoundingClientRect();
                return it.left < frame.left - 1 || it.right > frame.right + 1
                    || it.top < frame.top - 1 || it.bottom > frame.bottom + 1;
            }).map(text => text.textContent);
        }),
    };
})()";

const PLOTS: [&str; 10] = [
    "Internal resistance of each cell",
    "Voltage at rest above the median of the pack",
    "Charge above the median of the pack",
    "Capacity",
    "Internal resistance of the cells",
    "Voltage of the cells at rest, above the median of the pack",
    "Energy by day",
    "State of charge",
    "Highest cell above the lowest one",
    "Temperature of the pack",
];

#[test]
fn a_page_has_everything_and_clips_nothing() {
    let mut browser = Browser::start();
    for (days, cells, plots) in [
        (361, CELLS, &PLOTS[..]),
        (40, 4, &PLOTS),
        (1, CELLS, &PLOTS[..3]),
        (1, 0, &[]),
        (361, 0, &[PLOTS[3], PLOTS[6], PLOTS[7], PLOTS[8], PLOTS[9]]),
    ] {
        let (_directory, url) = file(&passport(sources(days, cells)).html().unwrap());
        for width in [1000, 320] {
            browser.set_size(width, 1200);
            browser.open(&url);
            let look = browser.evaluate(LOOK);
            let case = format!("{days} days, {cells} cells, {width} px: {look}");
            assert_eq!(look["title"], "Battery passport: attic, MCU ID 9F3C07B2");
            assert_eq!(look["figures"], json!(plots), "{case}");
            assert_eq!(look["svgs"], plots.len(), "{case}");
            assert_eq!(look["clipped"], json!([]), "{case}");
            assert_eq!(look["foreign"], 0, "{case}");
            // `null` where nothing is drawn: no label is less than 10 px high.
            assert!(look["smallest"].as_f64().is_none_or(|height| height >= 10.0), "{case}");
            if width > 400 {
                assert_eq!(look["wide"], json!([]), "{case}");
            }
        }
        assert_eq!(browser.complaints(), [""; 0]);
    }
}

#[test]
fn no_text_gets_out_of_its_place() {
    let (_directory, url) = file(&passport(hostile()).html().unwrap());
    let mut browser = Browser::start();
    browser.open(&url);
    let look = browser.evaluate(LOOK);
    assert_eq!((&look["foreign"], &look["svgs"]), (&json!(0), &json!(PLOTS.len())), "{look}");
    assert!(look["title"].as_str().unwrap().contains("</title></style><script>alert(1)"), "{look}");
    let battery = browser.text(".battery");
    assert!(battery.contains("<img src=x onerror='alert(2)'>\\u{202e}\\u{1b}[2J\"&"), "{battery}");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn it_prints_on_few_pages() {
    let (directory, url) = file(&passport(sources(361, CELLS)).html().unwrap());
    let pdf = directory.path().join("passport.pdf");
    let profile = directory.path().join("profile");
    let printed = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--print-to-pdf={}", pdf.display()))
        .arg(url)
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let bytes = fs::read(&pdf).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let pages = text.matches("/Type /Page\n").count();
    assert!((3..=5).contains(&pages), "{pages} pages");
}
