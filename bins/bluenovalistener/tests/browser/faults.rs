//! What the page makes of batteries that are silent, of a listener that is gone, and of markup.

use bluenova_simulator::{Control, Fault, Message, Pace};
use bluenova_test_support::{Browser, wait_until};

use crate::{
    SECOND, open, overhang,
    support::{
        Home, TIME_LIMIT, battery, loopback, named, obedient_battery, talking_battery, young_second,
    },
    wait_for_fresh,
};

#[test]
fn a_silent_battery_and_a_lost_listener_are_seen_to_be_stale() {
    let mut server = talking_battery(1);
    let south = server.add(loopback(), battery(9), Pace::Free { speed: 4.0 }).unwrap();
    let home = Home::new();
    let [at_north, at_south] =
        [named("north", server.local_addr()), named("south", south.local_addr())];
    let database = home.sqlite("db");
    let args = ["-b", &at_north, "-b", &at_south, "-d", &database];
    let mut listener = home.listen(&[&args, &SECOND[..]].concat());
    let (mut browser, _) = open(&mut listener, "page at ");
    let is_fresh = "!document.querySelector('article.stale')";
    let fresh =
        browser.wait_for("both are fresh", TIME_LIMIT, &format!("{is_fresh} && {}", looks_of(2)));
    // Texts that get longer by a digit may take another line.
    let shape = "[document.querySelector('article').offsetHeight,
        [...document.querySelectorAll('[data-is=link]')].map((it) => it.innerText.length).join()
            + document.querySelector('[data-is=age]').innerText.replace(/\\d/g, ''),
        /last value \\d\\d/.test(document.querySelectorAll('[data-is=age]')[1].innerText)]";
    let before = browser.evaluate(shape);

    south.fault(Fault::Silence).unwrap();
    let mark = wait_for_mark(&mut browser, 2);
    assert!(mark.starts_with("STALE – last value "), "{mark}");
    // On a busy machine a battery may be late for a moment, this one before its silence.
    wait_until("south is seen to be stale", TIME_LIMIT, || looks(&mut browser, 2) != fresh);
    wait_until("north is as fresh as before", TIME_LIMIT, || looks(&mut browser, 1) == fresh);
    // The page's clock may be ahead of the listener's next answer.
    let said = "problems.innerText.startsWith('south: no data for ') && problems.innerText";
    let problem = browser.wait_for("the problem is said", TIME_LIMIT, said);
    assert!(problem.as_str().unwrap().ends_with("though it is connected"), "{problem}");
    let one = "document.querySelector('#bank [data-is=fresh]').innerText === '1 of 2'";
    browser.wait_for("one is fresh", TIME_LIMIT, one);
    let announced = "announcement.textContent.startsWith('south: no data for some time')";
    browser.wait_for("it is announced", TIME_LIMIT, announced);
    let now = browser.evaluate(shape);
    let is_as_long = now[1] == before[1] && now[2] == before[2];
    assert!(now[0] == before[0] || !is_as_long, "{now} {before}");

    south.fault(Fault::Healthy).unwrap();
    wait_for_fresh(&mut browser, 2);
    browser.wait_for("all is well", TIME_LIMIT, "problems.innerText === 'All is well.'");
    wait_until("south is as fresh as before", TIME_LIMIT, || looks(&mut browser, 2) == fresh);
    assert_eq!(browser.complaints(), <[String; 0]>::default());

    // By the page's own clock.
    listener.stop();
    browser.wait_for(
        "the page says that the listener is gone",
        TIME_LIMIT,
        "problems.innerText.startsWith('No answer from the listener since ')",
    );
    for card in [1, 2] {
        wait_for_mark(&mut browser, card);
        assert_ne!(looks(&mut browser, card), fresh);
    }
    assert_eq!(browser.text("#bank [data-is=fresh]"), "0 of 2");
    assert_eq!(browser.text("#bank [data-is=power]"), "–");
}

#[test]
fn a_start_is_no_alarm() {
    let server = obedient_battery(1);
    let home = Home::new();
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let args = ["-b", &at, "-d", &database, "-i", "86400", "--http", "127.0.0.1:0"];
    let mut listener = home.listen(&args);
    let (mut browser, _) = open(&mut listener, "page at ");
    let starts = "problems.innerText.startsWith('attic: first values in ')";
    browser.wait_for("the banner says when", TIME_LIMIT, starts);
    assert_eq!(browser.evaluate("problems.matches('.quiet')"), true);
    assert!(browser.text("article [data-is=age]").starts_with("first values in "));
    assert_eq!(browser.evaluate("document.title"), "starting – BlueNova");
    assert_eq!(browser.complaints(), <[String; 0]>::default());
}

/// Waits until a card is marked as stale, and gives what the mark says.
#[track_caller]
fn wait_for_mark(browser: &mut Browser, card: usize) -> String {
    // In one look: a battery that is late for a moment would be on time at the next.
    let mark = format!(
        "(() => {{
            const card = document.querySelector('article:nth-of-type({card})');
            return card.matches('.stale') && card.querySelector('[data-is=age]').innerText;
        }})()"
    );
    let mark = browser.wait_for("a card is stale", TIME_LIMIT, &mark);
    mark.as_str().unwrap().to_owned()
}

/// How a card shows its values: paper, colour and weight of the charge, colour of the gauge.
fn looks(browser: &mut Browser, card: usize) -> serde_json::Value {
    browser.evaluate(&looks_of(card))
}

fn looks_of(card: usize) -> String {
    format!(
        "(() => {{
            const card = document.querySelector('article:nth-of-type({card})');
            const style = (part) => getComputedStyle(card.querySelector(part));
            return [getComputedStyle(card).backgroundImage, style('[data-is=soc]').color,
                style('[data-is=soc]').fontWeight, style('.gauge > *').backgroundColor];
        }})()"
    )
}

#[test]
fn markup_of_a_battery_is_text() {
    let server = obedient_battery(1);
    let control = server.control();
    let home = Home::new();
    let (at, database) = (named("<b>attic", server.local_addr()), home.sqlite("db"));
    let mut listener = home.listen(&[&["-b", &at, "-d", &database], &SECOND[..]].concat());
    control.wait_for_clients(1, TIME_LIMIT).unwrap();
    let (mut browser, url) = open(&mut listener, "page at ");
    browser.set_size(360, 740);

    let said = [
        ("Errors: \"", "<img src=x onerror=alert(1)>", "\"", "errors"),
        ("System_State: ", "<svg onload=alert(2)>", "", "system_state"),
        ("Breaker: ", "</script><script>alert(3)", "", "breaker"),
        ("Charge State: ", "<iframe/src=//x>", "", "charge_state"),
    ];
    young_second(time::UtcDateTime::UNIX_EPOCH);
    control.step().unwrap();
    for (prefix, text, end, _) in said {
        say(&control, &format!("{prefix}{text}{end}"));
    }
    for (_, text, _, field) in said {
        let shown = format!("document.querySelector('article [data-is={field}]')?.textContent");
        browser.wait_for(text, TIME_LIMIT, &format!("{shown} === {text:?}"));
    }
    assert_eq!(browser.text("article h2"), "<b>attic");
    assert!(browser.evaluate("document.title").as_str().unwrap().contains("BlueNova"));
    assert_eq!(overhang(&mut browser), 0);
    crate::wait_for_plots(&mut browser, "24h");

    let made = browser.evaluate(
        "[document.querySelectorAll('img, iframe, article svg, article script, h2 b').length,
          document.scripts.length]",
    );
    assert_eq!(made, serde_json::json!([0, 1]));
    assert_eq!(browser.complaints(), <[String; 0]>::default());
    for asked in browser.requests() {
        assert!(asked.starts_with(&url) || asked.starts_with("data:"), "{asked}");
    }
}

fn say(control: &Control, line: &str) {
    control.send(Message::Text(line.into())).unwrap();
}
