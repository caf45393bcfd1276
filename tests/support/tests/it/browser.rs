use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use bluenova_test_support::{Browser, TIME_LIMIT, wait_until};

/// Serves one page to whoever asks, for as long as the process lives. Gives its address.
fn serve(page: &'static str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let _ = client.read(&mut request);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n";
            let _ = client.write_all(format!("{head}{page}").as_bytes());
        }
    });
    format!("http://{address}/")
}

#[test]
fn a_browser_can_be_driven() {
    let url = serve(
        "<meta name=viewport content='width=device-width'><link rel=icon href='data:,'>
         <input autofocus><button>press</button><p></p><script>
         let count = 0;
         const show = (text) => { document.querySelector('p').textContent = text; };
         document.querySelector('button').onclick = () => show(`pressed ${++count}`);
         document.querySelector('input').onkeydown = (event) => show(event.key);
         </script>",
    );
    let mut browser = Browser::start();
    browser.open(&url);
    assert_eq!(
        browser.evaluate("Promise.resolve([innerWidth, 2 + 2])"),
        serde_json::json!([1200, 4])
    );
    browser.click("button");
    browser.wait_for("it is pressed", TIME_LIMIT, "document.querySelector('p').textContent");
    assert_eq!(browser.text("p"), "pressed 1");
    browser.click("input");
    browser.press("ArrowLeft");
    assert_eq!(browser.text("p"), "ArrowLeft");

    browser.set_size(360, 700);
    browser.set_dark(true);
    let dark = browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches && innerWidth");
    assert_eq!(dark, 360);
    assert!(browser.screenshot().starts_with(b"\x89PNG"));
    assert_eq!(browser.complaints(), <[String; 0]>::default());
    assert_eq!(browser.requests().iter().filter(|url| !url.starts_with("data:")).count(), 1);
}

#[test]
fn a_browser_reports_what_goes_wrong() {
    let url = serve(
        "<link rel=icon href='data:,'>
         <meta http-equiv=Content-Security-Policy content=\"script-src 'unsafe-inline'\">
         <script>console.error('alas'); alert('hey'); setTimeout(() => { throw Error('oops'); });
         </script><script src=elsewhere.js></script>",
    );
    let mut browser = Browser::start();
    browser.open(&url);
    let mut complaints = String::new();
    wait_until("the page has thrown", TIME_LIMIT, || {
        complaints = browser.complaints().join("\n");
        complaints.contains("oops")
    });
    for expected in ["alas", "a dialog: \"hey\"", "Content Security Policy"] {
        assert!(complaints.contains(expected), "{expected} in\n{complaints}");
    }
}

#[test]
fn a_browser_ends_with_its_children() {
    // No other test's browser has this directory on its command line.
    let browser = Browser::start();
    let profile = browser.profile().to_owned();
    let name = profile.to_str().unwrap().to_owned();
    assert!(profile.starts_with(env::temp_dir()));
    assert!(processes_with(&name) > 1, "there are children");
    drop(browser);
    wait_until("all of them are gone", TIME_LIMIT, || processes_with(&name) == 0);
    assert!(!profile.exists());
}

/// As with Ctrl-C, which the browser doesn't get.
#[test]
fn a_browser_ends_with_a_test_that_is_killed() {
    let mut test = Command::new(env::current_exe().unwrap())
        .args(["--exact", "browser::holds_a_browser", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines().map_while(Result::ok);
    let name = lines.find_map(|line| Some(line.split_once("profile: ")?.1.to_owned()));
    let name = name.expect("the test names the profile");
    assert!(processes_with(&name) > 1, "there are children");
    test.kill().unwrap();
    test.wait().unwrap();
    wait_until("all of them are gone", TIME_LIMIT, || processes_with(&name) == 0);
    wait_until("the profile is gone", TIME_LIMIT, || !Path::new(&name).exists());
}

#[test]
#[ignore = "another test runs and kills it"]
fn holds_a_browser() {
    let browser = Browser::start();
    println!("profile: {}", browser.profile().display());
    thread::sleep(3 * TIME_LIMIT);
}

fn processes_with(argument: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(argument)
        })
        .count()
}
