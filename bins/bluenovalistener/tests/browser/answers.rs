//! What the page makes of answers that are late, odd or missing, in a browser of some years ago.

use bluenova_simulator::{Pace, Server};
use bluenova_test_support::Browser;

use crate::{
    open, overhang,
    support::{Home, Listener, TIME_LIMIT, battery, loopback, named, talking_battery},
    wait_for_fresh, wait_for_plots,
};

/// Between the page and the listener: `delay` milliseconds, `change` of what `api/batteries` says,
/// and whether `plots` fail.
///
/// Where a busy machine makes a battery late, the page gets the answer of before again; by its own
/// clock none is stale for an hour. A test that is about that changes it.
const BETWEEN: &str = "
    delete AbortSignal.any;
    delete AbortSignal.timeout;
    window.between = { delay: 0, asked: 0, fresh: null, change: () => {}, refuses: () => false };
    const ask = window.fetch;
    window.fetch = async (url, options) => {
        if (String(url).includes('/plots?')) {
            return between.refuses(url)
                ? Response.json({ error: 'no luck' }, { status: 500 })
                : ask(url, options);
        }
        if (!String(url).endsWith('/api/batteries')) return ask(url, options);
        between.asked++;
        if (between.delay) await new Promise((done) => setTimeout(done, between.delay));
        const newest = await (await ask(url, options)).json();
        if (newest.batteries.every((battery) => !battery.stale)) between.fresh = newest;
        const answer = structuredClone(between.fresh ?? newest);
        if (between.fresh) answer.stale_after_s = 3600;
        between.change(answer);
        return Response.json(answer);
    };
";

/// A listener to two batteries, and a browser that looks at it through [`BETWEEN`].
pub(crate) struct Scene {
    pub(crate) browser: Browser,
    pub(crate) url: String,
    _listener: Listener,
    _batteries: Server,
    _home: Home,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut batteries = talking_battery(1);
        let south = batteries.add(loopback(), battery(9), Pace::Free { speed: 4.0 }).unwrap();
        let home = Home::new();
        let north = named("north", batteries.local_addr());
        let south = named("south", south.local_addr());
        let database = home.sqlite("db");
        let args = ["-b", &north, "-b", &south, "-d", &database];
        let mut listener = home.listen(&[&args, &crate::SECOND[..]].concat());
        let (mut browser, url) = open(&mut listener, "page at ");
        browser.run_first(BETWEEN);
        browser.open(&url);
        wait_for_fresh(&mut browser, 2);
        wait_for_plots(&mut browser, "24h");
        Self { browser, url, _listener: listener, _batteries: batteries, _home: home }
    }

    pub(crate) fn set(&mut self, between: &str) {
        self.browser.evaluate(&format!("between.{between}; 0"));
    }

    #[track_caller]
    pub(crate) fn wait(&mut self, what: &str, expression: &str) {
        self.browser.wait_for(what, TIME_LIMIT, expression);
    }
}

#[test]
fn a_browser_of_some_years_ago_will_do() {
    Scene::new();
}

#[test]
fn a_first_answer_may_take_its_time() {
    let mut scene = Scene::new();
    // The sizes of things are known before.
    scene.browser.run_first("between.delay = 1500");
    let url = scene.url.clone();
    scene.browser.open(&url);
    assert_eq!(scene.browser.text("#problems"), "Asking the listener …");
    scene.browser.hover("#plots figure .plot", 0.5);
    wait_for_fresh(&mut scene.browser, 2);
    assert_eq!(scene.browser.complaints(), <[String; 0]>::default());
}

#[test]
fn a_row_that_is_late_is_asked_for_again_soon() {
    let mut scene = Scene::new();
    scene.set(
        "change = (answer) => {
            answer.interval_s = 10;
            answer.stale_after_s = 30;
            answer.batteries[0].age_s = 10.4;
        }",
    );
    scene.wait("it is asked", "[between.asked, (between.first = between.asked)][0]");
    // Every ten seconds would be too seldom for so many.
    scene.wait("it is asked for again", "between.asked >= between.first + 8");
}

#[test]
fn not_all_is_well_when_a_battery_says_so() {
    let mut scene = Scene::new();
    let problem = format!("south says: {}", "CELL_OVERVOLTAGE 過電圧 <b>bold</b> ".repeat(2));
    scene.set(&format!(
        "change = (answer) => {{
            answer.batteries[0].latest.errors = 'NO?E';
            const said = answer.batteries[1];
            said.latest.errors = 'OVERVOLTAGE';
            said.problems = [{{ severity: 'red', name: 'errors', text: {problem:?} }}];
            answer.problem_details = [{{ severity: 'red', names: ['south'], text: {problem:?} }}];
        }}"
    ));
    scene.wait("it is said", &format!("problems.textContent === {problem:?}"));
    scene.wait("the title warns", "document.title.startsWith('⚠ ')");
    assert!(scene.browser.text("#announcement").starts_with("south says: CELL_OVERVOLTAGE"));
    scene.wait("the card has it", "!!document.querySelector('article:nth-of-type(2) .loud')");
    // What is garbled in one row is shown, and is no problem.
    let garbled = scene.browser.text("article:nth-of-type(1) .errors");
    assert!(garbled.contains("NO?E"), "{garbled}");
    let loud = scene.browser.evaluate("document.querySelectorAll('.loud').length");
    assert_eq!(loud, 1);
    scene.set("change = () => {}");
    scene.wait("all is well", "problems.innerText === 'All is well.'");
}

#[test]
fn rows_that_become_more_are_not_spoken_of_again() {
    let mut scene = Scene::new();
    scene.set(
        "change = (answer) => {
            const text = `${between.asked} rows are in memory only: the disk is full`;
            answer.problem_details = [{ severity: 'red', names: [], text }];
        }",
    );
    let announced = "announcement.textContent === 'some rows are in memory only: the disk is full'";
    scene.wait("it is announced", announced);
    scene.browser.evaluate(
        "between.spoken = 0;
         new MutationObserver(() => between.spoken++)
             .observe(announcement, { childList: true, characterData: true, subtree: true });
         between.first = problems.textContent;",
    );
    scene.wait("there are more", "between.first !== problems.textContent");
    assert_eq!(scene.browser.evaluate("between.spoken"), 0);
}

#[test]
fn cards_are_in_the_order_of_the_listener() {
    let mut scene = Scene::new();
    let names = "[...document.querySelectorAll('article h2')].map((h) => h.innerText).join()";
    for (change, expected) in [
        ("answer.batteries.reverse()", "south,north"),
        // Both turn out to be one battery.
        (
            "answer.batteries.splice(0, 1, {
                ...answer.batteries[0], names: ['a', 'b'], addresses: ['a', 'b'] })",
            "a = b,south",
        ),
        ("0", "north,south"),
    ] {
        scene.set(&format!("change = (answer) => {{ {change} }}"));
        scene.wait(expected, &format!("{names} === '{expected}'"));
    }
}

#[test]
fn a_pack_has_as_many_cells_as_it_says() {
    let mut scene = Scene::new();
    let shown = "[...document.querySelectorAll('article:first-child .cells li')]
        .filter((cell) => cell.offsetHeight).length";
    for (cells, known, expected) in [("15", 15, 15), ("4", 4, 4), ("4", 5, 5), ("null", 0, 16)] {
        scene.set(&format!(
            "change = (answer) => {{
                answer.batteries[0].latest.cell_count = {cells};
                answer.batteries[0].latest.cell_v.fill(null, {known});
            }}"
        ));
        scene.wait("cells are shown", &format!("{shown} === {expected}"));
    }
}

#[test]
fn long_words_can_be_read_on_a_phone() {
    let mut scene = Scene::new();
    scene.browser.set_size(320, 740);
    let long = "FAULT_RECOVERY_MODE_OF_THE_SECOND_KIND";
    scene.set(&format!(
        "change = (answer) => {{ answer.batteries[0].latest.system_state = {long:?} }}"
    ));
    let state = "document.querySelector('article [data-is=system_state]')";
    scene.wait("it is shown", &format!("{state}.innerText === {long:?}"));
    let hidden = scene.browser.evaluate(&format!("{state}.scrollWidth - {state}.clientWidth"));
    assert_eq!(hidden, 0);
    assert_eq!(overhang(&mut scene.browser), 0);
}

#[test]
fn a_sum_that_is_too_old_is_not_in_the_title_either() {
    let mut scene = Scene::new();
    // Stale by the page's clock, before the next answer.
    scene.set(
        "change = (answer) => {
            answer.interval_s = 10;
            answer.batteries[0].age_s = answer.stale_after_s - 1;
            between.delay = 120_000;
        }",
    );
    scene.wait("a battery is stale", "document.querySelectorAll('article.stale').length === 1");
    assert_eq!(scene.browser.text("#bank [data-is=power]"), "–");
    let title = scene.browser.evaluate("document.title");
    assert!(title.as_str().unwrap().ends_with("–, power – – BlueNova"), "{title}");
}

#[test]
fn plots_that_failed_are_drawn_soon_and_never_those_of_another_battery() {
    let mut scene = Scene::new();
    let south =
        scene.browser.evaluate("document.querySelector('#chooser select').options[1].value");
    let south = south.as_str().unwrap();
    scene.set("refuses = (url) => url.includes('range=7d')");
    scene.browser.evaluate(&format!("location.hash = '#7d/{south}'; 0"));
    let told = "document.querySelector('#plots-trouble:not([hidden])')?.innerText";
    let why = "These plots could not be drawn anew: no luck";
    scene.wait("it is told", &format!("{told} === '{why}'"));
    let opacity = "Number(getComputedStyle(document.querySelector('.drawing')).opacity)";
    scene.wait("those of north are pale", &format!("{opacity} < 0.5"));
    scene.browser.hover("#plots figure .plot", 0.9);
    scene.browser.hover("#plots figure .plot", 0.95);
    let hidden = "[...document.querySelectorAll('.reading')].every((reading) => reading.hidden)";
    assert_eq!(scene.browser.evaluate(hidden), true);

    // Plots of a week are drawn every half an hour otherwise.
    scene.set("refuses = () => false");
    scene.wait("they are drawn", &format!("!{told} && {opacity} === 1"));
    scene.browser.hover("#plots figure .plot", 0.94);
    scene.wait("values are shown", &format!("!({hidden})"));
}
