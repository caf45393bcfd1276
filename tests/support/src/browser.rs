use std::{
    env, fs,
    io::ErrorKind,
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket, client};

use crate::{TIME_LIMIT, wait_until};

/// Names under which Chromium is known, Debian's first.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A browser for tests of their own: it asks nobody on the internet for anything.
const FLAGS: [&str; 14] = [
    "--headless",
    // It refuses to run as root otherwise. What it shows here is our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-port=0",
];

/// Runs its arguments, and ends them and itself at the end of its input: a test that is killed
/// drops nothing. The first argument is the directory that goes then, too.
const GUARD: &str = r#"
    profile=$1; shift
    exec 3<&0
    "$@" 3<&- </dev/null & browser=$!
    (
        read -r _ <&3
        kill -KILL "$browser"
        # Its children take a moment to notice, and write until then.
        while [ -e "$profile" ]; do rm -rf "$profile"; sleep 1; done
        kill -KILL 0
    ) &
    exec 3<&-
    wait "$browser"
"#;

/// A headless Chromium with one page, driven by the DevTools protocol.
///
/// Every call ends within [`TIME_LIMIT`]. The browser and its children end when the value is
/// dropped.
pub struct Browser {
    socket: WebSocket<TcpStream>,
    /// The page, as the protocol names it; none until there is one.
    session: Option<String>,
    last_id: u64,
    is_loaded: bool,
    complaints: Vec<String>,
    requests: Vec<String>,
    process: Process,
}

impl Browser {
    /// Starts it with an empty page, 1200 by 900 pixels, light, in Berlin.
    ///
    /// # Panics
    /// Where Chromium isn't installed or doesn't start.
    pub fn start() -> Self {
        let (process, url) = Process::start();
        let address = url.strip_prefix("ws://").and_then(|url| url.split('/').next());
        let stream = TcpStream::connect(address.expect("the address is a WebSocket's"))
            .unwrap_or_else(|e| panic!("can't connect to Chromium at {url}: {e}"));
        stream.set_read_timeout(Some(TIME_LIMIT)).expect("there is a time-out");
        let (socket, _) =
            client(&url, stream).unwrap_or_else(|e| panic!("no DevTools at {url}: {e}"));
        let mut browser = Self {
            socket,
            session: None,
            last_id: 0,
            is_loaded: false,
            complaints: vec![],
            requests: vec![],
            process,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Emulation.setTimezoneOverride", json!({ "timezoneId": "Europe/Berlin" }));
        browser.set_size(1200, 900);
        browser
    }

    /// Goes to `url`, and waits until the document and all that it names are loaded.
    pub fn open(&mut self, url: &str) {
        self.is_loaded = false;
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {}", answer["errorText"]);
        let deadline = Instant::now() + TIME_LIMIT;
        while !self.is_loaded {
            let message = self.receive(deadline).unwrap_or_else(|| panic!("{url} never loads"));
            self.take_in(&message);
        }
    }

    /// Has every page that is opened from now on run a script before its own.
    pub fn run_first(&mut self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
    }

    /// The value of an expression in the page; that of a promise, if it is one.
    ///
    /// # Panics
    /// With the exception, if it throws one.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let mut answer = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true }),
        );
        let exception = &answer["exceptionDetails"];
        assert!(exception.is_null(), "{expression}: {exception}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true, as JavaScript sees it, and gives its value.
    ///
    /// # Panics
    /// Names `what`, and gives the text of the page, when that isn't so within `at_most`.
    pub fn wait_for(&mut self, what: &str, at_most: Duration, expression: &str) -> Value {
        let deadline = Instant::now() + at_most;
        // A page that is just being replaced has neither body nor variables.
        let expression = format!("(() => {{ try {{ return {expression} }} catch {{}} }})()");
        loop {
            let value = self.evaluate(&expression);
            if !matches!(value, Value::Null | Value::Bool(false)) && value != 0 && value != "" {
                return value;
            }
            if Instant::now() > deadline {
                let text = self.evaluate("document.body.innerText");
                let text = text.as_str().unwrap_or_default();
                let complaints = self.complaints().join("\n");
                panic!("waited {at_most:?} in vain until {what}; {complaints}\nthe page:\n{text}");
            }
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// The text that an element shows.
    ///
    /// # Panics
    /// If there is no element that `selector` selects.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({selector:?}).innerText"));
        text.as_str().expect("text is text").to_owned()
    }

    /// Clicks into the middle of the element that `selector` selects.
    pub fn click(&mut self, selector: &str) {
        let [x, y] = self.point_in(selector, 0.5);
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.mouse(kind, x, y);
        }
    }

    /// Touches an element, at a `share` of its width from the left, and lifts the finger.
    pub fn tap(&mut self, selector: &str, share: f64) {
        let [x, y] = self.point_in(selector, share);
        let down = json!({ "type": "touchStart", "touchPoints": [{ "x": x, "y": y }] });
        self.call("Input.dispatchTouchEvent", down);
        self.call("Input.dispatchTouchEvent", json!({ "type": "touchEnd", "touchPoints": [] }));
    }

    /// Drags the mouse over an element, from a `share` of its width to another one; `meanwhile` is
    /// before the button is let go.
    pub fn drag(&mut self, selector: &str, from: f64, to: f64, meanwhile: impl FnOnce(&mut Self)) {
        let [x, y] = self.point_in(selector, from);
        let [end, _] = self.point_in(selector, to);
        self.mouse("mouseMoved", x, y);
        self.mouse("mousePressed", x, y);
        for x in [f64::midpoint(x, end), end] {
            let event =
                json!({ "type": "mouseMoved", "x": x, "y": y, "button": "left", "buttons": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
        meanwhile(self);
        self.mouse("mouseReleased", end, y);
    }

    /// Puts two fingers on an element, at these shares of its width, moves them to others, and
    /// lifts them.
    pub fn pinch(&mut self, selector: &str, from: [f64; 2], to: [f64; 2]) {
        for (kind, shares) in [("touchStart", from), ("touchMove", to)] {
            let points = shares.map(|share| self.point_in(selector, share));
            let points: Vec<_> = points.iter().map(|[x, y]| json!({ "x": x, "y": y })).collect();
            let event = json!({ "type": kind, "touchPoints": points });
            self.call("Input.dispatchTouchEvent", event);
        }
        self.call("Input.dispatchTouchEvent", json!({ "type": "touchEnd", "touchPoints": [] }));
    }

    /// Moves the mouse over an element, to a `share` of its width from the left.
    pub fn hover(&mut self, selector: &str, share: f64) {
        let [x, y] = self.point_in(selector, share);
        self.mouse("mouseMoved", x, y);
    }

    /// Presses a key, as `KeyboardEvent.key` names it, and lets go of it: `Tab`, `ArrowLeft`.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            "+" => 187,
            "-" => 189,
            _ => panic!("there is no code for the key {key}"),
        };
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Makes the page so large, in pixels; one below 500 pixels is a phone with a touch screen.
    pub fn set_size(&mut self, width: u32, height: u32) {
        let mobile = width < 500;
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.call("Emulation.setTouchEmulationEnabled", json!({ "enabled": mobile }));
    }

    /// Makes the page dark, or light.
    pub fn set_dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// The whole page as a PNG file, what one would have to scroll to among it.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let data = answer["data"].as_str().expect("a screenshot has data");
        BASE64.decode(data.as_bytes()).expect("the data are Base64")
    }

    /// All that went wrong in the page since the start: exceptions, errors and warnings on its
    /// console, breaches of its policy, dialogs.
    pub fn complaints(&mut self) -> Vec<String> {
        self.catch_up();
        self.complaints.clone()
    }

    /// The addresses of all that was asked for since the start.
    pub fn requests(&mut self) -> Vec<String> {
        self.catch_up();
        self.requests.clone()
    }

    /// The directory with all its files; it goes with the browser.
    pub fn profile(&self) -> &Path {
        self.process.profile.path()
    }

    fn point_in(&mut self, selector: &str, share: f64) -> [f64; 2] {
        let point = self.evaluate(&format!(
            "(() => {{
                const element = document.querySelector({selector:?});
                element.scrollIntoView({{ block: 'center' }});
                const box = element.getBoundingClientRect();
                return [box.x + {share} * box.width, box.y + box.height / 2];
            }})()"
        ));
        [0, 1].map(|i| point[i].as_f64().expect("a point is two numbers"))
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let pressed = kind == "mousePressed";
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let event = json!({
            "type": kind, "x": x, "y": y,
            "button": button, "buttons": u8::from(pressed), "clickCount": 1,
        });
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Events come in the order in which things happened: what was before this call is in then.
    fn catch_up(&mut self) {
        self.evaluate("0");
    }

    /// Calls a method of the protocol, and gives its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            let mut message = self.receive(deadline).unwrap_or_else(|| {
                panic!("Chromium doesn't answer {method} within {TIME_LIMIT:?}")
            });
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.take_in(&message);
        }
    }

    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.socket
            .send(Message::text(message.to_string()))
            .unwrap_or_else(|e| panic!("can't send {method} to Chromium: {e}"));
        self.last_id
    }

    /// The next message; none comes before the deadline otherwise.
    fn receive(&mut self, deadline: Instant) -> Option<Value> {
        loop {
            let left = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())?;
            self.socket.get_ref().set_read_timeout(Some(left)).expect("there is a time-out");
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return Some(serde_json::from_str(&text).expect("Chromium speaks JSON"));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(e))
                    if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(e) => panic!("Chromium is gone: {e}"),
            }
        }
    }

    /// Keeps the content of an event.
    fn take_in(&mut self, event: &Value) {
        let params = &event["params"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match event["method"].as_str().unwrap_or_default() {
            "Log.entryAdded" => {
                let entry = &params["entry"];
                if matches!(entry["level"].as_str(), Some("error" | "warning")) {
                    self.complaints.push(format!("{} {}", text(&entry["text"]), entry["url"]));
                }
            }
            "Runtime.exceptionThrown" => self.complaints.push(params.to_string()),
            "Runtime.consoleAPICalled"
                if matches!(params["type"].as_str(), Some("error" | "warning" | "assert")) =>
            {
                self.complaints.push(params["args"].to_string());
            }
            "Page.javascriptDialogOpening" => {
                self.complaints.push(format!("a dialog: {}", params["message"]));
                // Nothing goes on while it's open. Nobody waits for the answer to this.
                self.send("Page.handleJavaScriptDialog", json!({ "accept": true }));
            }
            "Network.requestWillBeSent" => self.requests.push(text(&params["request"]["url"])),
            "Page.loadEventFired" => self.is_loaded = true,
            _ => {}
        }
    }
}

/// Chromium and all its children, in a process group of their own, and its files.
struct Process {
    child: Child,
    profile: TempDir,
}

impl Process {
    /// Starts it, and gives the WebSocket address of its DevTools.
    fn start() -> (Self, String) {
        let profile = tempfile::tempdir().expect("there is room for a profile");
        let log = fs::File::create(profile.path().join("log")).expect("it can be written");
        let child = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .args([profile.path(), &program()])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("can't run Chromium: {e}"));
        let mut process = Self { child, profile };
        let url = process.wait_for_address();
        (process, url)
    }

    /// It writes its port and a path, a line each, into a file when it is ready.
    fn wait_for_address(&mut self) -> String {
        let path = |name: &str| self.profile.path().join(name);
        let (ready, log) = (path("DevToolsActivePort"), path("log"));
        let mut url = None;
        wait_until("Chromium is ready", TIME_LIMIT, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("Chromium ended, {status}:\n{log}");
            }
            let text = fs::read_to_string(&ready).unwrap_or_default();
            url = text
                .split_once('\n')
                .filter(|(_, path)| !path.is_empty())
                .map(|(port, path)| format!("ws://127.0.0.1:{port}{path}"));
            url.is_some()
        });
        url.unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // All of them may have ended already.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
        // Children may have been about to write.
        for _ in 0..100 {
            if fs::remove_dir_all(self.profile.path()).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn program() -> PathBuf {
    let directories: Vec<PathBuf> =
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    NAMES
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|path| path.is_file())
        .expect(
            "this test needs Chromium, and found none; `./test` installs it, or \
             `apt-get install chromium` does",
        )
}
