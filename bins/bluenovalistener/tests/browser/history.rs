//! Which time the plots are of, and of which batteries.

use bluenova_test_support::Browser;

use crate::{answers::Scene, overhang};

const PLOT: &str = "#plots figure .plot";

/// Milliseconds from the begin to the end of the plots that are shown.
const LENGTH: &str =
    "(({ shown }) => shown.to - shown.from)(document.querySelector('#plots figure'))";

fn length(browser: &mut Browser) -> f64 {
    browser.evaluate(LENGTH).as_f64().unwrap()
}

/// Waits until the plots are those of a time between these minutes long.
#[track_caller]
fn wait_for_length(scene: &mut Scene, minutes: std::ops::Range<f64>) {
    let drawn = "plots.ariaBusy === 'false' && !document.querySelector('.outdated')";
    let (least, most) = (minutes.start * 60_000.0, minutes.end * 60_000.0);
    let fits = format!("{drawn} && {LENGTH} >= {least} && {LENGTH} < {most}");
    scene.wait(&format!("they are {minutes:?} minutes long"), &fits);
}

#[test]
fn any_time_and_several_batteries_are_chosen_in_many_ways() {
    let mut scene = Scene::new();
    scene.browser.click("#ranges [value='1h']");
    wait_for_length(&mut scene, 60.0..60.1);
    is_zoomed_by_mouse_and_keys(&mut scene);
    goes_back_and_forward(&mut scene);
    takes_times_that_are_typed(&mut scene);
    compares_batteries(&mut scene);
    is_pinched(&mut scene);
    assert_eq!(scene.browser.complaints(), <[String; 0]>::default());
}

fn is_zoomed_by_mouse_and_keys(scene: &mut Scene) {
    let selection = "(({ hidden, offsetWidth, innerText }) => [hidden, offsetWidth, innerText])(
        document.querySelector('.selection:not([hidden])'))";
    // The axis is a little shorter than the plot is wide.
    scene.browser.drag(PLOT, 0.6, 0.4, |browser| {
        let shown = browser.evaluate(selection);
        assert!(shown[1].as_f64().unwrap() > 50.0, "{shown}");
        assert!(shown[2].as_str().unwrap().contains(" – "), "{shown}");
    });
    wait_for_length(scene, 12.0..20.0);
    assert_eq!(scene.browser.evaluate("!document.querySelector('.selection:not([hidden])')"), true);
    let pressed = "document.querySelector('#ranges [aria-pressed=true]')?.value ?? 'none'";
    assert_eq!(scene.browser.evaluate(pressed), "none");
    let before = length(&mut scene.browser) / 60_000.0;

    scene.browser.evaluate(&format!("document.querySelector('{PLOT}').focus(); 0"));
    scene.browser.press("+");
    wait_for_length(scene, before / 2.0 - 0.1..before / 2.0 + 0.1);
    scene.browser.press("-");
    wait_for_length(scene, before - 0.1..before + 0.1);
    let begin = "document.querySelector('#plots figure').shown.from";
    let first = scene.browser.evaluate(begin).as_f64().unwrap();
    scene.browser.click("#earlier");
    let earlier = first - before * 30_000.0;
    scene.wait("it is earlier", &format!("Math.abs({begin} - {earlier}) < 1000"));
    scene.browser.click("#closer");
    wait_for_length(scene, before / 2.0 - 0.1..before / 2.0 + 0.1);
    // A time that is over stays, and is not drawn again.
    let fixed = scene.browser.evaluate("location.search");
    assert!(fixed.as_str().unwrap().starts_with("?from="), "{fixed}");
}

fn goes_back_and_forward(scene: &mut Scene) {
    let there = scene.browser.evaluate("location.search");
    scene.browser.click("#ranges [value='6h']");
    wait_for_length(scene, 360.0..360.1);
    assert_eq!(scene.browser.evaluate("location.search + location.hash"), "#6h");
    scene.browser.evaluate("history.back(); 0");
    scene.wait("it is as before", &format!("location.search === {there}"));
    wait_for_length(scene, 2.0..20.0);
    scene.browser.evaluate("history.forward(); 0");
    wait_for_length(scene, 360.0..360.1);
}

fn takes_times_that_are_typed(scene: &mut Scene) {
    let type_in = |from: &str, to: &str| {
        format!(
            "(() => {{
                const form = document.querySelector('#period form');
                document.querySelector('#period').open = true;
                form.elements.from.value = '{from}';
                form.elements.to.value = '{to}';
                form.requestSubmit();
                return document.querySelector('#period-trouble').textContent;
            }})()"
        )
    };
    let told = scene.browser.evaluate(&type_in("2026-03-29T04:00", "2026-03-29T00:00"));
    assert_eq!(told, "“From” has to be before “to”.");
    // In Berlin that night has no hour from two to three.
    assert_eq!(scene.browser.evaluate(&type_in("2026-03-29T00:00", "2026-03-29T04:00")), "");
    let expected = "?from=2026-03-28T23:00:00.000Z&to=2026-03-29T02:00:00.000Z";
    assert_eq!(scene.browser.evaluate("location.search"), expected);
    wait_for_length(scene, 180.0..180.1);
    assert_eq!(scene.browser.text("#period summary"), "29 Mar, 00:00 – 04:00");
    let link = "csv.href.includes('from=2026-03-28T23%3A00%3A00Z&to=2026-03-29T02%3A00%3A00Z')";
    assert_eq!(scene.browser.evaluate(link), true);
}

fn compares_batteries(scene: &mut Scene) {
    scene.browser.click("#ranges [value='1h']");
    scene.browser.click("#compare summary");
    scene.wait("both can be chosen", "document.querySelectorAll('#compared input').length >= 2");
    for n in [1, 2] {
        scene.browser.click(&format!("#compared label:nth-child({n}) input"));
    }
    let compared = "plots.ariaBusy === 'false' && plots.children.length === 1
        && document.querySelector('#plots figcaption').textContent === 'State of charge'
        && document.querySelector('#plots figure').shown.series.map((it) => it.name).join()
            === 'north,south'";
    scene.wait("both are in one plot", compared);
    assert_eq!(scene.browser.evaluate("csv.href.includes('/api/rows.csv?')"), true);
    assert_eq!(scene.browser.evaluate("chooser.hidden"), true);
    scene.browser.evaluate(
        "document.querySelector('#compare select').value = 'power';
         document.querySelector('#compare select').dispatchEvent(new Event('change')); 0",
    );
    let powers = "document.querySelector('#plots figcaption').textContent === 'Power'";
    scene.wait("by power", powers);
    // Whoever is given the address sees the same.
    let url = scene.browser.evaluate("location.href");
    // Otherwise the browser would see that it is there already.
    scene.browser.open("about:blank");
    scene.browser.open(url.as_str().unwrap());
    scene.wait("by power", powers);
    scene.browser.set_size(320, 740);
    scene.browser.evaluate("for (const it of document.querySelectorAll('details')) it.open = true");
    scene.wait("it is narrow", "plots.clientWidth < 320");
    assert_eq!(overhang(&mut scene.browser), 0);
    let bank = "document.querySelectorAll('#bank-plots svg').length === 1
        && document.querySelector('#bank-plots figure').shown.series[0].name === 'power of all'";
    scene.wait("all of them are in a plot", bank);
}

fn is_pinched(scene: &mut Scene) {
    scene.browser.click("#ranges [value='24h']");
    wait_for_length(scene, 1440.0..1440.1);
    scene.browser.pinch(PLOT, [0.45, 0.6], [0.3, 0.75]);
    // Three times as far apart.
    wait_for_length(scene, 470.0..490.0);
    scene.browser.tap(PLOT, 0.5);
    assert!(scene.browser.evaluate("location.search").as_str().unwrap().contains("from="));
}
