//! Pictures of the page, to be looked at, with a day of history.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use bluenova_console::{Assembler, Interval};
use bluenova_journal::{Journal, Retention};
use bluenova_record::PackRecord;
use bluenova_simulator::{Battery, Pace, Server};
use bluenova_test_support::Browser;
use time::UtcDateTime;

use crate::{
    open,
    support::{Home, Listener, loopback, named},
    wait_for_fresh, wait_for_plots,
};

/// Seconds between two rows of the day before: three intervals of the listener, up to which a plot
/// has no gap. Fewer rows take less time to make.
const STEP: u32 = 30;

/// `target`, where nobody has to clean up.
const TARGET: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/..");

#[test]
fn the_page_has_its_picture_taken() {
    let mut scene = Scene::new();
    for (name, width, dark) in
        [("page-light", 1200, false), ("page-dark", 1200, true), ("page-phone", 360, false)]
    {
        let picture = scene.picture(width, dark);
        fs::write(format!("{TARGET}/{name}.png"), picture).unwrap();
    }
    assert_eq!(scene.browser.complaints(), <[String; 0]>::default());
}

#[test]
#[ignore = "it changes docs/screenshot.png"]
fn screenshot() {
    let picture = Scene::new().picture(1200, false);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/screenshot.png");
    fs::write(path, smaller(&picture)).unwrap();
}

/// A listener to two batteries that has run for a day, and a browser that looks at it.
struct Scene {
    browser: Browser,
    _listener: Listener,
    _batteries: Server,
    _home: Home,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        let start = UtcDateTime::now() - time::Duration::DAY;
        let [north, south] = Battery::pair(start);
        let (north, mut records) = live_a_day(north);
        let (south, of_south) = live_a_day(south);
        records.extend(of_south);
        let mut journal = Journal::open(&home.path("db"), Retention::FOREVER).unwrap();
        journal.append(&records).unwrap();
        drop(journal);

        let pace = Pace::Free { speed: 1.0 };
        let mut batteries = Server::bind(loopback(), north, pace).unwrap();
        let south = batteries.add(loopback(), south, pace).unwrap();
        let north = named("north", batteries.local_addr());
        let south = named("south", south.local_addr());
        let database = home.sqlite("db");
        let others = ["-d", &database, "-i", "10", "--http", "127.0.0.1:0"];
        let mut listener = home.listen(&[&["-b", &north, "-b", &south], &others[..]].concat());
        let (browser, _) = open(&mut listener, "page at ");
        Self { browser, _listener: listener, _batteries: batteries, _home: home }
    }

    fn picture(&mut self, width: u32, dark: bool) -> Vec<u8> {
        let browser = &mut self.browser;
        browser.set_size(width, 900);
        browser.set_dark(dark);
        wait_for_fresh(browser, 2);
        browser.evaluate("location.hash = '#24h'; 0");
        wait_for_plots(browser, "24h");
        let theme = if dark { "dark" } else { "light" };
        let drawn = format!(
            "(() => {{
                const {{ clientWidth }} = document.querySelector('.drawing');
                const query = `?range=24h&width=${{clientWidth}}&theme={theme}&`;
                return plots.ariaBusy === 'false' && performance.getEntriesByType('resource')
                    .some(({{ name }}) => name.includes(query));
            }})()"
        );
        browser.wait_for("the plots are drawn anew", crate::TIME_LIMIT, &drawn);
        browser.screenshot()
    }
}

/// The same picture in 256 colours, which takes a third of the bytes.
fn smaller(picture: &[u8]) -> Vec<u8> {
    let mut child = Command::new("pngquant")
        .args(["--speed", "1", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this needs pngquant; `apt-get install pngquant` installs it");
    child.stdin.take().unwrap().write_all(picture).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "pngquant: {}", output.status);
    output.stdout
}

/// Lets a day pass for a battery. Gives the rows that were recorded of it.
fn live_a_day(mut battery: Battery) -> (Battery, Vec<PackRecord>) {
    let mut assembler = Assembler::new(Interval::from_seconds(STEP).unwrap());
    let end = battery.time() + time::Duration::DAY;
    let mut console = String::new();
    let mut records = vec![];
    while battery.time() < end {
        records.extend(assembler.tick(battery.time()).map(Result::unwrap));
        console.clear();
        battery.print_cycle(&mut console);
        for line in console.lines() {
            assembler.feed(line).unwrap();
        }
        battery.advance(Duration::from_secs(STEP.into()));
    }
    (battery, records)
}
