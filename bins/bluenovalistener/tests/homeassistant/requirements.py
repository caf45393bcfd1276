"""Prints what Home Assistant would install by itself when it starts with the integration MQTT.

Run by its Python. It installs such things when it needs them, for which it would need a network.
"""

import json
from pathlib import Path

import homeassistant.components
from homeassistant import bootstrap

# What it sets up whatever its configuration says, and what this test uses.
wanted = {"config", "mqtt", "onboarding"}
wanted |= bootstrap.CORE_INTEGRATIONS | bootstrap.DEFAULT_INTEGRATIONS

components = Path(homeassistant.components.__path__[0])
seen = set()
requirements = set()
while wanted:
    name = wanted.pop()
    manifest = json.loads((components / name / "manifest.json").read_text())
    seen.add(name)
    requirements.update(manifest.get("requirements", []))
    wanted.update(set(manifest.get("dependencies", [])) - seen)
print(*sorted(requirements), sep="\n")
