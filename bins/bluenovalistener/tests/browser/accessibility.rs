//! What axe-core finds in the page: what a keyboard, a screen reader or weak eyes would stumble on.

use std::{env, fs, path::PathBuf};

use bluenova_test_support::{Browser, ReservedPort};
use serde_json::Value;

use crate::{
    SECOND,
    answers::Scene,
    open,
    support::{Home, TIME_LIMIT, named, output, talking_battery, text},
    views::FIGURES,
};

/// Each state that has elements or colours of its own, and how to see that it is shown.
const STATES: [(&str, &str, &str); 3] = [
    ("", "", "document.querySelector('article [data-is=in]').textContent.includes('kWh')"),
    (
        "red, with cells from 4 on, and cold",
        "const problem = { severity: 'red', name: 'frost', names: ['north'], text: 'cold' };
         answer.problem_details = [problem];
         Object.assign(answer.batteries[0], { severity: 'red', problems: [problem] });
         answer.batteries[0].latest.cell_count = 4;
         answer.batteries[0].latest.cell_v.fill(null, 4);
         answer.batteries[0].latest.cell_t.fill(-12);",
        "document.querySelector('.red')",
    ),
    (
        "amber and stale, and nothing is known",
        "const problem = { severity: 'amber', name: 'frost', names: ['north'], text: 'cool' };
         answer.problem_details = [problem];
         Object.assign(answer.batteries[0], { severity: 'amber', problems: [problem] });
         Object.assign(answer.batteries[1], { stale: true, age_s: 900, insight: null });",
        "document.querySelector('.amber') && document.querySelector('.stale')",
    ),
];

#[test]
fn axe_finds_nothing_to_complain_of() {
    let axe = axe();
    let mut scene = Scene::new();
    for (state, change, is_shown) in STATES {
        scene.set(&format!("change = (answer) => {{ {FIGURES} {change} }}"));
        scene.wait(state, &format!("!!({is_shown})"));
        check(&mut scene.browser, &axe, state);
    }
    let url = scene.url.clone();
    for (path, is_shown) in [
        ("battery/north", "document.querySelector('#day-table:not([hidden])')"),
        ("battery/nobody", "!lost.hidden"),
        ("?kiosk", "document.querySelector('#list-body .line')"),
        ("battery/north?kiosk", "!bank.hidden"),
    ] {
        scene.browser.open(&format!("{url}{path}"));
        scene.wait(path, &format!("!!({is_shown})"));
        check(&mut scene.browser, &axe, path);
    }
}

#[test]
fn axe_finds_nothing_to_complain_of_in_a_list_and_a_passport() {
    let axe = axe();
    let server = talking_battery(1);
    let nobody = ReservedPort::new();
    let mut lines = vec![named("alive", server.local_addr())];
    lines.extend((0..5).map(|n| named(&format!("dead{n}"), format!("{}/{n}", nobody.address()))));
    let home = Home::new();
    fs::write(home.path("fleet"), lines.join("\n")).unwrap();
    let database = home.sqlite("db");
    let mut listener = home.listen(&[&["-b", "@fleet", "-d", &database], &SECOND[..]].concat());
    let (mut browser, _) = open(&mut listener, "page at ");
    let is_shown = "document.querySelectorAll('#list-body .line').length === 6
        && document.querySelectorAll('#list-body .red').length > 0";
    browser.wait_for("the list", TIME_LIMIT, is_shown);
    check(&mut browser, &axe, "a list");
    listener.stop();

    let page = home.path("passport.html");
    let report = ["-d", &database, "report", "-o", page.to_str().unwrap()];
    let output = output(home.command(&report));
    assert!(output.status.success(), "{}", text(&output.stderr));
    browser.open(&format!("file://{}", page.display()));
    check(&mut browser, &axe, "a passport");
}

/// Fails if `axe` has anything to say of the page as it is, wide or narrow, light or dark.
#[track_caller]
fn check(browser: &mut Browser, axe: &str, state: &str) {
    // A page that was opened since has none.
    browser.evaluate(&format!("if (!window.axe) {{ {axe} }} 0"));
    for (width, is_dark) in [(1200, false), (1200, true), (320, false)] {
        browser.set_size(width, 900);
        browser.set_dark(is_dark);
        // Colours take a moment to change.
        let is_still = "document.getAnimations().every((it) => it.playState !== 'running')";
        browser.wait_for("nothing moves", TIME_LIMIT, is_still);
        let violations = browser.evaluate(
            "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
                violations.map(({ id, help, nodes }) =>
                    [id, help, ...nodes.map((node) => node.html + node.failureSummary)]))",
        );
        assert_eq!(violations, Value::Array(vec![]), "{state} at {width}, dark: {is_dark}");
    }
}

/// The script of axe-core.
fn axe() -> String {
    let usual = concat!(env!("CARGO_TARGET_TMPDIR"), "/../axe/node_modules/axe-core/axe.min.js");
    let path = env::var_os("BLUENOVA_AXE").map_or_else(|| PathBuf::from(usual), PathBuf::from);
    fs::read_to_string(&path).unwrap_or_else(|e| {
        panic!(
            "this needs axe-core, {}: {e}; `./test` installs it, or `npm install --prefix \
             target/axe --no-save axe-core` does",
            path.display()
        )
    })
}
