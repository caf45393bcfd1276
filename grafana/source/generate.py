#!/usr/bin/env python3
"""Writes the dashboards and the alert rules. With --check it writes nothing, and fails if one of
the files differs from what it would write."""

import json
import sys
from pathlib import Path

import alerts
import fleet
import household
import prometheus
import sql_alerts

ROOT = Path(__file__).resolve().parents[2]


def files():
    for module, name in [
        (household, "household.json"),
        (fleet, "fleet.json"),
        (prometheus, "prometheus.json"),
    ]:
        text = json.dumps(module.dashboard(), indent=2, sort_keys=True, ensure_ascii=False)
        yield ROOT / "grafana" / name, text + "\n"
    yield ROOT / "grafana" / "alerts.yaml", alerts.for_grafana()
    yield ROOT / "grafana" / "alerts-postgresql.yaml", sql_alerts.for_grafana()
    yield ROOT / "prometheus" / "alerts.yml", alerts.for_prometheus()


def main():
    check = sys.argv[1:] == ["--check"]
    assert check or not sys.argv[1:], "usage: generate.py [--check]"
    outdated = []
    for path, text in files():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            outdated.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and outdated:
        sys.exit(f"not what grafana/source/generate.py writes: {', '.join(outdated)}")


if __name__ == "__main__":
    main()
