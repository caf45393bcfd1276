//! Pictures of the page, to be looked at, with the demonstration's week of history.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use bluenova_test_support::Browser;

use crate::{
    open,
    support::{Home, Listener},
    wait_for_plots,
};

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
    let url = format!("{}battery/north", scene.url);
    scene.browser.open(&url);
    let picture = scene.picture(1200, false);
    fs::write(format!("{TARGET}/page-battery.png"), picture).unwrap();
    assert_eq!(scene.browser.complaints(), <[String; 0]>::default());
}

#[test]
#[ignore = "it changes docs/screenshot.png"]
fn screenshot() {
    let picture = Scene::new().picture(1200, false);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/screenshot.png");
    fs::write(path, smaller(&picture)).unwrap();
}

/// The demonstration, and a browser that looks at it.
struct Scene {
    browser: Browser,
    url: String,
    _demo: Listener,
    _home: Home,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        let mut demo = home.listen(&["--http", "127.0.0.1:0", "demo"]);
        let (browser, url) = open(&mut demo, "See them at ");
        Self { browser, url, _demo: demo, _home: home }
    }

    fn picture(&mut self, width: u32, dark: bool) -> Vec<u8> {
        let browser = &mut self.browser;
        browser.set_size(width, 900);
        browser.set_dark(dark);
        browser.wait_for(
            "the batteries are fresh",
            crate::TIME_LIMIT,
            "document.querySelector('article:not(.stale)')",
        );
        let known = "[...document.querySelectorAll('.look [data-is=in]')]
            .every(({ textContent }) => textContent.includes('kWh'))";
        browser.wait_for("the day's energy is known", crate::TIME_LIMIT, known);
        browser.evaluate("location.hash = '#24h'; 0");
        wait_for_plots(browser, "24h");
        let theme = if dark { "dark" } else { "light" };
        let drawn = format!(
            "(() => {{
                const {{ clientWidth }} = document.querySelector('#plots .drawing');
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
