//! What an owner sees first, how serious states look, and the views of one battery and of a wall.

use crate::{answers::Scene, overhang};

/// Figures of both batteries, as the listener's answer has them.
pub(crate) const FIGURES: &str = "
    const insight = {
        counters: { energy_in_wh: 812_345, energy_out_wh: 790_001 },
        today: {
            date: '2026-11-27', length_s: 86_400, sampled_s: 86_400, from_rows_s: 0,
            energy_in_wh: 8432, energy_out_wh: 85,
        },
        energy_uncertainty: 0.0123,
        mean_power_w: -800,
        time_to_go: { goal: 'empty', seconds: 30_000, with_usual_capacity: true },
        capacity_ah: { value: 98.34, plus_minus: 1.42 },
        resistance_celsius: 22.6,
        cells: Array.from({ length: 16 }, (_, i) => ({
            resistance_mohm: { value: 0.4, plus_minus: 0.02 },
            at_rest_mv: { value: i - 8, plus_minus: 0.5 },
        })),
        verdict: { is: 'weak', cells: [{ cell: 7, evidence: 'Cell 07 is empty <b>first</b>' }] },
    };
    for (const battery of answer.batteries) battery.insight = structuredClone(insight);
    answer.bank.today = { energy_in_wh: 16_864, energy_out_wh: 170 };
    answer.bank.time_to_go = { ...insight.time_to_go };
";

/// The first element of the first card that shows this value.
fn of_card(name: &str) -> String {
    format!("document.querySelector('article [data-is={name}]')")
}

#[test]
fn the_first_look_is_in_the_words_of_an_owner() {
    let mut scene = Scene::new();
    let bank = |name: &str, text: &str| {
        format!("document.querySelector('#bank [data-is={name}]').textContent === '{text}'")
    };
    scene.set(&format!("change = (answer) => {{ {FIGURES} }}"));
    scene.wait("the energy of both", &bank("in", "16.9\u{a0}kWh in"));
    for (name, text) in [
        ("out", "0.2\u{a0}kWh out"),
        ("lasts", "lasts until about"),
        ("of", "with the usual capacity"),
        ("covered", ""),
    ] {
        assert_eq!(scene.browser.evaluate(&bank(name, text)), true, "{name}");
    }
    // Eight hours and a third from now: today or tomorrow, in whole ten minutes.
    let until = scene.browser.text("#bank [data-is=until]");
    let time = until.strip_prefix("tomorrow ").unwrap_or(&until);
    assert!(time.len() == 5 && time.ends_with('0') && time.contains(':'), "{until}");
    assert_eq!(scene.browser.text("article [data-is=in]"), "8.4\u{a0}kWh in");

    for (change, lasts, until, of) in [
        ("{ goal: 'empty', seconds: 614 }", "lasts about", "10 min", ""),
        ("{ goal: 'full', seconds: 900_000 }", "full in about", "10 days", ""),
        ("null", "time to go", "not known yet", ""),
    ] {
        scene.set(&format!(
            "change = (answer) => {{
                {FIGURES}
                answer.batteries[0].power_w = -500;
                answer.batteries[0].insight.time_to_go = {change};
            }}"
        ));
        scene.wait(until, &format!("{}.textContent === '{until}'", of_card("until")));
        assert_eq!(scene.browser.text("article [data-is=lasts]"), lasts);
        assert_eq!(scene.browser.text("article [data-is=of]"), of);
    }
    scene.set(&format!(
        "change = (answer) => {{
            {FIGURES}
            answer.batteries[0].insight = null;
            answer.batteries[1].insight.today.sampled_s = 60;
        }}"
    ));
    scene.wait("one has no figures", &format!("{}.textContent === 'not known yet'", of_card("in")));
    let covered = scene.browser.text("#bank [data-is=covered]");
    assert!(covered.ends_with("1 battery not known yet"), "{covered}");

    scene.set(
        "change = (answer) => {
            const [battery] = answer.batteries;
            battery.stale = true;
            battery.age_s = 600;
            battery.under_way = {
                age_s: 0, power_w: -42, values: { ...battery.latest, soc: 33 },
            };
        }",
    );
    scene.wait(
        "values between rows are shown",
        &format!("{}.textContent === '33\u{a0}%'", of_card("soc")),
    );
    let age = scene.browser.text("article [data-is=age]");
    assert!(age.ends_with(" s ago, between rows (from memory)"), "{age}");
    assert_eq!(scene.browser.complaints(), <[String; 0]>::default());
}

/// A sign and a word in front of a text, that are no part of it.
const SIGN: &str = "getComputedStyle(document.querySelector('#problems li'), '::before').content";

#[test]
fn serious_states_look_serious_and_cells_have_a_scale() {
    let mut scene = Scene::new();
    for (severity, word, sign) in
        [("amber", "attention", "▲ Attention: "), ("red", "serious", "◆ Serious: ")]
    {
        scene.set(&format!(
            "change = (answer) => {{
                const problem = {{
                    severity: '{severity}', name: 'low-charge', names: ['north'],
                    text: 'north: state of charge 9 %',
                }};
                answer.problem_details = [problem];
                answer.batteries[0].severity = '{severity}';
                answer.batteries[0].problems = [problem];
            }}"
        ));
        scene.wait(severity, &format!("!!document.querySelector('article.{severity}')"));
        assert_eq!(scene.browser.text("article [data-is=severity]"), word);
        assert_eq!(scene.browser.evaluate(SIGN), format!("\"{sign}\""));
        let marked = format!("[...document.querySelectorAll('article dd.{severity}')].length");
        assert_eq!(scene.browser.evaluate(&marked), 1);
    }
    let paper = "getComputedStyle(document.querySelector('#problems li')).backgroundColor";
    let red = scene.browser.evaluate(paper);
    scene.set("change = () => {}");
    scene.wait("all is well", "problems.innerText === 'All is well.'");
    assert_ne!(scene.browser.evaluate(paper), red);

    let pack = |volts: &str| {
        format!(
            "change = (answer) => {{
                const [battery] = answer.batteries;
                const volts = {volts};
                battery.latest.cell_v = volts;
                battery.latest.cell_t.fill(-12);
                battery.latest.cell_count = volts.length;
                const [low, high] = [Math.min(...volts), Math.max(...volts)];
                battery.cell_mean_v = volts.reduce((sum, v) => sum + v, 0) / volts.length;
                battery.cell_spread_mv = (high - low) * 1000;
                battery.cell_lowest = volts.indexOf(low) + 1;
                battery.cell_highest = volts.indexOf(high) + 1;
            }}"
        )
    };
    for (volts, above, below, highest) in [
        ("[3.3, 3.305, 3.3, 3.3]", "+10\u{a0}mV", "−10\u{a0}mV", "highest cell 2: 3.305\u{a0}V"),
        ("[3.3, 3.3, 3.3, 2.9]", "+500\u{a0}mV", "−500\u{a0}mV", "highest cell 1: 3.300\u{a0}V"),
        ("[-0.2, 3, 3, 3]", "+2500\u{a0}mV", "−2500\u{a0}mV", "highest cell 2: 3.000\u{a0}V"),
        ("[3.3, 3.3, 3.3, 3.3]", "+10\u{a0}mV", "−10\u{a0}mV", "all cells: 3.300\u{a0}V"),
    ] {
        scene.set(&pack(volts));
        scene.wait(volts, &format!("{}.textContent === '{highest}'", of_card("highest")));
        let ends =
            ["above", "below"].map(|name| scene.browser.text(&format!("article [data-is={name}]")));
        assert_eq!(ends, [above, below], "{volts}");
        for width in [1200, 320] {
            scene.browser.set_size(width, 900);
            assert_eq!(overhang(&mut scene.browser), 0, "{volts} at {width}");
            assert_eq!(
                run_together(&mut scene.browser),
                serde_json::json!([]),
                "{volts} at {width}"
            );
        }
    }
    assert_eq!(scene.browser.complaints(), <[String; 0]>::default());
}

/// Texts of the cells that overlap each other, or are wider than what they are in.
fn run_together(browser: &mut bluenova_test_support::Browser) -> serde_json::Value {
    browser.evaluate(
        "(() => {
            const texts = '.scale span, .cells b, .volts, .celsius, .extremes span';
            const found = [...document.querySelectorAll('article')].flatMap((card) => {
                const boxes = [...card.querySelectorAll(texts)]
                    .filter((it) => it.textContent && it.offsetHeight)
                    .map((it) => {
                        const range = document.createRange();
                        range.selectNodeContents(it);
                        return [it.textContent, range.getBoundingClientRect()];
                    });
                const meet = ([, a], [, b]) =>
                    a.left < b.right - 1 && b.left < a.right - 1
                    && a.top < b.bottom - 3 && b.top < a.bottom - 3;
                return boxes.flatMap((one, i) => boxes.slice(i + 1)
                    .filter((other) => meet(one, other))
                    .map((other) => `${one[0]} and ${other[0]}`));
            });
            return found;
        })()",
    )
}

#[test]
fn a_battery_has_a_view_at_an_address_of_its_own() {
    let mut scene = Scene::new();
    let figures = format!("change = (answer) => {{ {FIGURES} }}");
    scene.set(&figures);
    // They make the cards higher, and what is clicked on moves.
    scene.wait("the figures are shown", &format!("{}.textContent.includes('kWh')", of_card("in")));
    let is_view = |name: &str| {
        format!(
            "location.pathname === '/battery/{name}' && !detail.hidden && bank.hidden
                && batteries.children.length === 1 && title.textContent === '{name}'
                && document.title.endsWith('{name} – BlueNova')"
        )
    };
    scene.browser.evaluate("document.wasHere = true; location.hash = '#6h'; 0");
    scene.browser.click("article:nth-of-type(2) h2 a");
    scene.wait("the view of south", &is_view("south"));
    assert_eq!(scene.browser.evaluate("document.wasHere && location.hash"), "#6h");
    assert_eq!(scene.browser.evaluate("document.activeElement.id"), "title");
    let drawn =
        "document.querySelectorAll('#plots figure svg').length >= 4 && plots.ariaBusy === 'false'
        && !document.querySelector('.outdated') && chooser.hidden";
    scene.wait("its plots are drawn", drawn);
    let capacity = "document.querySelector('#detail [data-is=capacity]').textContent";
    scene.wait("its capacity is known", &format!("{capacity} !== 'not known yet'"));
    for (name, text) in [
        ("capacity", "98.3 ± 1.4\u{a0}Ah"),
        ("charged", "812\u{a0}kWh ± 1.2\u{a0}%"),
        ("verdict", "1 cell is weak."),
    ] {
        assert_eq!(scene.browser.text(&format!("#detail [data-is={name}]")), text);
    }
    assert_eq!(scene.browser.text("#evidence"), "Cell 07 is empty <b>first</b>");
    let cells = "document.querySelectorAll('#cell-table tbody tr').length === 16
        && document.querySelector('#cell-table tbody td').textContent === '0.40 ± 0.02'
        && document.querySelectorAll('#cell-table thead th').length === 3
        && document.querySelector('#cell-table thead th + th').textContent
            === 'resistance, mΩ at 23\u{a0}°C'";
    assert_eq!(scene.browser.evaluate(cells), true);
    scene.wait(
        "the day under way",
        "days.children.length === 1 && days.innerText.includes('8.4\u{a0}kWh')",
    );

    // As the listener itself has the day, which is mostly of samples.
    scene.set("change = () => {}");
    let known = "/^[0-9]+\u{a0}%/.test(days.querySelector('[data-is=known]')?.textContent)";
    scene.wait("how much of the day is known", known);

    // A cell that was charged less than the others isn't a bad one.
    scene.set(&format!(
        "change = (answer) => {{
            {FIGURES}
            const [weak] = answer.batteries[1].insight.verdict.cells;
            weak.weakness = 'low_capacity';
            const low = {{ cell: 2, weakness: 'low_charge', evidence: '' }};
            answer.batteries[1].insight.verdict.cells.push(low, {{ ...low, cell: 3 }});
        }}"
    ));
    let verdict = "document.querySelector('#detail [data-is=verdict]').textContent";
    let balance = format!("{verdict} === '1 cell is weak. 2 cells need balancing.'");
    scene.wait("two need balancing", &balance);

    scene.browser.evaluate("history.back(); 0");
    scene.wait("all of them", "location.pathname === '/' && batteries.children.length === 2");
    assert_eq!(scene.browser.evaluate("document.wasHere"), true);

    // Opened directly, by name and by MCU ID.
    let id = scene.browser.evaluate("document.querySelector('article code').textContent");
    let (url, id) = (scene.url.clone(), id.as_str().unwrap().to_owned());
    scene.browser.open(&format!("{url}battery/{id}"));
    scene.wait(
        "the view of north",
        "batteries.children.length === 1 && title.textContent === 'north'",
    );
    scene.browser.click("#back");
    scene.wait("all of them", "location.pathname === '/' && batteries.children.length === 2");
    scene.browser.open(&format!("{url}battery/nobody"));
    scene.wait(
        "it says that there is none",
        "!lost.hidden && document.querySelector('#history').hidden",
    );
    assert_eq!(scene.browser.complaints(), <[String; 0]>::default());
}

#[test]
fn a_wall_has_large_figures_and_a_theme_stays() {
    let mut scene = Scene::new();
    let url = scene.url.clone();
    let light = "getComputedStyle(document.body).backgroundColor";
    let before = scene.browser.evaluate(light);
    scene.browser.evaluate(
        "theme.querySelector('select').value = 'dark';
         theme.querySelector('select').dispatchEvent(new Event('change'));",
    );
    assert_ne!(scene.browser.evaluate(light), before);
    let coloured = "document.querySelector('meta[name=theme-color]').content";
    assert_eq!(scene.browser.evaluate(coloured), "#0e1116");
    scene.wait(
        "plots are dark",
        "performance.getEntriesByType('resource')
        .some(({ name }) => name.includes('theme=dark'))",
    );

    scene.browser.open(&format!("{url}?kiosk"));
    scene.wait("both are there", "document.querySelectorAll('#list-body .line').length === 2");
    assert_ne!(scene.browser.evaluate(light), before, "the theme is remembered");
    let seen = scene.browser.evaluate(
        "[...document.querySelectorAll('button, select, input, article, figure')]
            .filter((it) => it.offsetWidth > 1 && it.closest('[hidden]') === null
                && it.getBoundingClientRect().width > 1
                && getComputedStyle(it.closest('header, .tools, .head') ?? it).position
                    !== 'absolute')
            .length",
    );
    assert_eq!(seen, 0);
    for (width, least) in [(1200, 80.0), (320, 20.0)] {
        scene.browser.set_size(width, 800);
        let size =
            "parseFloat(getComputedStyle(document.querySelector('#bank [data-is=soc]')).fontSize)";
        assert!(scene.browser.evaluate(size).as_f64().unwrap() > least);
        assert_eq!(overhang(&mut scene.browser), 0);
    }
    scene.browser.open(&format!("{url}battery/south?kiosk"));
    scene.wait("south alone", "!bank.hidden && list.hidden && document.title.includes('south')");
    let shown = "title.innerText === 'south' && title.getBoundingClientRect().width > 20
        && bank.ariaLabel === 'south' && back.offsetHeight + theme.offsetHeight === 0";
    assert_eq!(scene.browser.evaluate(shown), true, "whose figures they are");
    assert_eq!(scene.browser.complaints(), <[String; 0]>::default());
}
