"""A picture of a device's page, by Chromium and its DevTools protocol."""

import base64
import json
import shutil
import subprocess
import tempfile
import urllib.request

from websockets.sync.client import connect

from home_assistant import URL
from waiting import wait_until

PORT = 9222
FLAGS = [
    "--headless",
    # It refuses to run as root otherwise.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--no-first-run",
    f"--remote-debugging-port={PORT}",
]

# Whether the page shows a value of the battery, and has loaded all icons. Its elements hide what is
# in them from the document.
IS_COMPLETE = """
(() => {
    const nodes = [document];
    for (const node of nodes) {
        nodes.push(...(node.shadowRoot?.childNodes ?? []), ...node.childNodes);
    }
    const hasValues = nodes.some((node) => node.data === "State of charge");
    return hasValues && nodes.every((node) => node.localName !== "ha-svg-icon" || node.path);
})()
"""


class Page:
    """A page of a browser that is logged in."""

    def __init__(self, home_assistant):
        wait_until("Chromium answers", lambda: get("json/version"))
        self.last_id = 0
        pages = [target for target in get("json/list") if target["type"] == "page"]
        self.socket = connect(pages[0]["webSocketDebuggerUrl"], max_size=None)
        tokens = {**home_assistant.tokens, "hassUrl": URL[:-1], "clientId": URL}
        tokens["expires"] = 2**53 - 1
        login = f"localStorage.hassTokens = {json.dumps(json.dumps(tokens))}"
        self.call("Page.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=login)

    def call(self, method, **parameters):
        self.last_id += 1
        self.socket.send(json.dumps({"id": self.last_id, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.last_id:
            pass
        return answer["result"]

    def is_complete(self):
        result = self.call("Runtime.evaluate", expression=IS_COMPLETE)["result"]
        assert result["type"] == "boolean", result
        return result["value"]


def get(path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/{path}") as answer:
            return json.load(answer)
    except OSError:
        return None


def take_picture(home_assistant, device, path):
    """Leaves a picture of the device's page at this path."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            page = Page(home_assistant)
            size = {"width": 740, "height": 1240, "deviceScaleFactor": 1, "mobile": False}
            page.call("Emulation.setDeviceMetricsOverride", **size)
            page.call("Page.navigate", url=f"{URL}config/devices/device/{device['id']}")
            wait_until("the page is complete", page.is_complete)
            shot = page.call("Page.captureScreenshot", format="png")
            path.write_bytes(base64.b64decode(shot["data"]))
        finally:
            browser.kill()
            browser.wait()
