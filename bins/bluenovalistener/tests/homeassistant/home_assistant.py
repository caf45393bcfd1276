"""A real Home Assistant: its process, and its API as its page uses it."""

import json
import signal
import subprocess
import urllib.parse
import urllib.request

from websockets.sync.client import connect

from waiting import wait_until

ADDRESS = "127.0.0.1:8123"
URL = f"http://{ADDRESS}/"

CONFIGURATION = """
http:
  server_host: 127.0.0.1
frontend:
config:
"""

# What it warns of in each run here: it may install nothing, and has no address but this machine's.
ALWAYS = [
    "[homeassistant.bootstrap] Skipping pip installation of required modules.",
    "[aiohttp_fast_zlib] zlib_ng and isal are not available",
    "[homeassistant.components.network] Because the system does not have any enabled IPv4",
]

# All steps of the first start but the one that makes a user: the others set up integrations that
# ask servers on the internet.
ONBOARDING = {
    "version": 4,
    "minor_version": 1,
    "key": "onboarding",
    "data": {"done": ["core_config", "analytics", "integration"]},
}


class HomeAssistant:
    """Runs in a root directory of Debian, with its configuration in a directory there."""

    def __init__(self, root, directory):
        self.root = root
        self.directory = directory
        self.process = None
        self.socket = None
        self.last_id = 0
        self.tokens = None
        self.logs = []
        (directory / ".storage").mkdir(parents=True)
        (directory / ".storage/onboarding").write_text(json.dumps(ONBOARDING))
        (directory / "configuration.yaml").write_text(CONFIGURATION)

    def start(self):
        """Starts it; returns when it takes commands."""
        inside = "/" / self.directory.relative_to(self.root)
        log = f"run-{len(self.logs)}.log"
        self.logs.append(self.directory / log)
        self.process = subprocess.Popen(
            ["chroot", self.root, "/opt/homeassistant/bin/hass", "--skip-pip", "--config", inside]
            + ["--log-file", inside / log],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until("Home Assistant answers", self._answers)
        if self.tokens is None:
            self._make_user()
        self._connect()
        wait_until(
            "Home Assistant has started", lambda: self.call("get_config")["state"] == "RUNNING"
        )

    def stop(self):
        """Ends it, as a person does."""
        self.socket.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def add_broker(self, port):
        """Adds the integration MQTT, by the form that people fill in."""
        flow = self.post("api/config/config_entries/flow", {"handler": "mqtt"})
        broker = {"broker": "127.0.0.1", "port": port}
        result = self.post(f"api/config/config_entries/flow/{flow['flow_id']}", broker)
        assert result["type"] == "create_entry", result

    def call(self, command, **fields):
        """The result of a command of the WebSocket API."""
        self.last_id += 1
        self.socket.send(json.dumps({"id": self.last_id, "type": command, **fields}))
        answer = json.loads(self.socket.recv())
        assert answer["id"] == self.last_id and answer["success"], answer
        return answer["result"]

    def devices(self):
        """The devices that came by MQTT, by name."""
        devices = self.call("config/device_registry/list")
        ours = [d for d in devices if any(domain == "mqtt" for domain, _ in d["identifiers"])]
        return {device["name"]: device for device in ours}

    def entities(self):
        """The registered entities that came by MQTT."""
        entities = self.call("config/entity_registry/list")
        return [entity for entity in entities if entity["platform"] == "mqtt"]

    def states(self):
        """The states of all entities, by entity ID: of one moment."""
        return {state["entity_id"]: state for state in self.call("get_states")}

    def complaints(self):
        """The logs of all runs: warnings and errors, each with the lines that belong to it, but
        those that it always has here."""
        entries = []
        for log in self.logs:
            for line in log.read_text().splitlines():
                if " (MainThread) [" in line or " (SyncWorker_" in line or not entries:
                    entries.append(line)
                else:
                    entries[-1] += "\n" + line
        assert all(any(text in entry for entry in entries) for text in ALWAYS), entries
        return [entry for entry in entries if not any(text in entry for text in ALWAYS)]

    def post(self, path, body, is_form=False):
        """The answer to a request of the REST API."""
        data = urllib.parse.urlencode(body) if is_form else json.dumps(body)
        request = urllib.request.Request(URL + path, data.encode())
        if not is_form:
            request.add_header("Content-Type", "application/json")
        if self.tokens:
            request.add_header("Authorization", f"Bearer {self.tokens['access_token']}")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def _answers(self):
        assert self.process.poll() is None, f"Home Assistant has ended; see {self.logs[-1]}"
        try:
            with urllib.request.urlopen(URL + "manifest.json") as answer:
                return answer.status == 200
        except OSError:
            return False

    def _make_user(self):
        user = {"name": "Test", "username": "test", "password": "test"}
        made = self.post("api/onboarding/users", {**user, "client_id": URL, "language": "en"})
        grant = {"grant_type": "authorization_code", "code": made["auth_code"], "client_id": URL}
        self.tokens = self.post("auth/token", grant, is_form=True)

    def _connect(self):
        self.last_id = 0
        self.socket = connect(f"ws://{ADDRESS}/api/websocket", max_size=None)
        assert json.loads(self.socket.recv())["type"] == "auth_required"
        token = self.tokens["access_token"]
        self.socket.send(json.dumps({"type": "auth", "access_token": token}))
        assert json.loads(self.socket.recv())["type"] == "auth_ok"
