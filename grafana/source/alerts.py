"""The alert rules, for Prometheus and for Grafana.

Every query has a value above zero while its alert fires, and no series otherwise: both programs
take that for the condition. Texts use `.Labels`, which both have, and no `$`, which Grafana would
replace by environment variables.
"""

import json
from dataclasses import dataclass
from textwrap import dedent, indent

BATTERY = "job, instance, battery, name"


@dataclass
class Alert:
    name: str
    query: str
    hold: str
    severity: str
    summary: str
    remedy: str


def clean(text):
    return " ".join(dedent(text).split())


def worst_cell(limits, value, pick):
    """A problem of a battery, with the number of the cell that `pick` finds by `value`, if the
    battery reports its cells. The value is 1."""
    problem = f'bluenova_battery_problem{{limit=~"{limits}"}}'
    return f"""
        0 * {pick} by ({BATTERY}) (1, {value})
          + on ({BATTERY}) group_right (cell) {problem}
        or on ({BATTERY}, limit) {problem}
    """


VOLTAGE = "bluenova_cell_voltage_volts"
DEVIATION = (
    f"abs({VOLTAGE} - on ({BATTERY}) group_left () quantile by ({BATTERY}) (0.5, {VOLTAGE}))"
)

NAME = "{{ .Labels.name }} ({{ .Labels.battery }})"
CELL = "{{ if .Labels.cell }}cell {{ .Labels.cell }}{{ else }}a cell{{ end }}"
OF_LIMIT = '{{ if eq .Labels.severity "red" }}critical{{ else }}warning{{ end }}'

ALERTS = [
    Alert(
        "BlueNovaListenerDown",
        '1 - up{job="bluenova"} == 1 or absent(up{job="bluenova"})',
        "2m",
        "critical",
        "{{ if .Labels.instance }}The listener at {{ .Labels.instance }} doesn't answer"
        "{{ else }}Prometheus asks no listener{{ end }}",
        """{{ if .Labels.instance }}No battery is recorded, or the listener's page can't be reached.
        See whether it runs (systemctl status bluenovalistener), and what its log says.{{ else }}The
        other rules can't fire. See whether the scrape configuration of Prometheus has a job
        bluenova, with the listener's page (--http) as target.{{ end }}""",
    ),
    Alert(
        "BlueNovaBatterySilent",
        "bluenova_battery_silent == 1",
        "1m",
        "critical",
        "{{ .Labels.name }}{{ if .Labels.battery }} ({{ .Labels.battery }}){{ end }} is silent",
        """It has had no row for three intervals. See whether the battery is on and its network
        works; `bluenovalistener … check` tries the connection.""",
    ),
    Alert(
        "BlueNovaNotConnected",
        "1 - bluenova_connected == 1",
        "5m",
        "warning",
        "{{ .Labels.name }} is not connected",
        """The listener dials this address in vain. See whether the battery is on, its cable or
        WiFi works, and the address is still its own.""",
    ),
    Alert(
        "BlueNovaErrors",
        f'max by ({BATTERY}, errors) (bluenova_state_info{{errors!~"|NONE"}})',
        "0s",
        "critical",
        f"{NAME} reports {{{{ .Labels.errors }}}}",
        """Its own protection has found an error. Look it up in the battery's manual, and see the
        values of the minutes before on the page or in Grafana.""",
    ),
    Alert(
        "BlueNovaBreaker",
        f'max by ({BATTERY}, breaker) (bluenova_state_info{{breaker!~"|CLOSED"}})',
        "0s",
        "critical",
        f"The breaker of {NAME} is {{{{ .Labels.breaker }}}}",
        """The battery gives and takes nothing. Find the reason (errors, a cell too high or too
        low, heat) before you close the breaker.""",
    ),
    Alert(
        "BlueNovaLowCharge",
        'bluenova_battery_problem{limit="low-charge"}',
        "0s",
        OF_LIMIT,
        f"{NAME} is nearly empty",
        """Charge it or take loads off. An empty battery opens its breaker, and one that stays
        empty is damaged.""",
    ),
    Alert(
        "BlueNovaCellSpread",
        worst_cell("cell-spread.*", DEVIATION, "topk"),
        "0s",
        OF_LIMIT,
        f"The cells of {NAME} are apart, {CELL} the most",
        """Charge the battery fully and keep it there for some hours, so that it balances. If the
        same cell is apart again soon, it is weak: show your dealer the passport
        (`bluenovalistener report`).""",
    ),
    Alert(
        "BlueNovaLowCellVoltage",
        worst_cell("low-cell-voltage", VOLTAGE, "bottomk"),
        "0s",
        OF_LIMIT,
        f"{NAME}: {CELL} has a low voltage",
        """Charge the battery or take loads off now. If the state of charge is still high, the
        cell is out of balance or weak.""",
    ),
    Alert(
        "BlueNovaHighCellVoltage",
        worst_cell("high-cell-voltage", VOLTAGE, "topk"),
        "0s",
        OF_LIMIT,
        f"{NAME}: {CELL} has a high voltage",
        """Charge with less current or to a lower voltage, so that the balancing keeps up. See
        whether the charger's voltage is the one that the battery's manual asks for.""",
    ),
    Alert(
        "BlueNovaFrost",
        worst_cell("frost", "bluenova_cell_temperature_celsius", "bottomk"),
        "0s",
        OF_LIMIT,
        f"{NAME} is charged in the cold, {CELL} the coldest",
        """Stop the charging, and warm the room first: lithium that is plated below 0 °C damages a
        cell for ever.""",
    ),
    Alert(
        "BlueNovaHot",
        worst_cell("high-temperature", "bluenova_cell_temperature_celsius", "topk"),
        "0s",
        OF_LIMIT,
        f"{NAME} is hot, {CELL} the hottest",
        """Reduce the load or the charging, and let air to the battery. One cell that is hotter
        than the others may have a bad contact.""",
    ),
    Alert(
        "BlueNovaWeakCell",
        "bluenova_cell_weak == 1",
        "1h",
        "warning",
        f"{NAME}: cell {{{{ .Labels.cell }}}} is weak",
        """The page of the battery says why and how sure that is, and `bluenovalistener report`
        writes it down for your dealer.""",
    ),
    Alert(
        # A quarter of an ampere-hour a week for certain, which is 900 coulombs.
        "BlueNovaImbalanceGrows",
        """
        -(bluenova_cell_imbalance_per_week_coulombs
          + bluenova_cell_imbalance_per_week_plus_minus_coulombs) > 900
        """,
        "1h",
        "warning",
        f"{NAME}: cell {{{{ .Labels.cell }}}} loses charge against the others, week by week",
        """Charge the battery fully once a week and let it balance. If that doesn't help, the
        cell discharges itself: show your dealer the passport (`bluenovalistener report`).""",
    ),
    Alert(
        "BlueNovaRowsWaiting",
        "bluenova_delivery_stuck == 1",
        "2m",
        "warning",
        "Rows of {{ .Labels.instance }} wait, and PostgreSQL takes none",
        """They are safe in the journal and are delivered when PostgreSQL is back. See whether it
        runs and its disk has space; the listener's log has its error.""",
    ),
    Alert(
        "BlueNovaRowsSetAside",
        "bluenova_rows_set_aside > 0",
        "0s",
        "warning",
        "PostgreSQL has rejected rows of {{ .Labels.instance }}",
        """They are kept. `bluenovalistener set-aside` lists them with the reason, and with
        --retry delivers them again once that is mended.""",
    ),
    Alert(
        "BlueNovaRowsWithoutPartition",
        "bluenova_rows_retried > 0",
        "5m",
        "warning",
        "Rows of {{ .Labels.instance }} have no partition in the table",
        "They are kept and retried. Create the partition; `bluenovalistener set-aside` lists them.",
    ),
    Alert(
        "BlueNovaRowsOnlyInMemory",
        "bluenova_rows_only_in_memory > 0",
        "1m",
        "critical",
        "Rows of {{ .Labels.instance }} are in memory only",
        """The journal can't be written, and these rows end with the process. See whether its disk
        is full, read-only or broken, and don't stop the listener until that is mended.""",
    ),
]

HEAD = "# Written by grafana/source/generate.py from the files beside it.\n"


def query(alert):
    return dedent(alert.query).strip()


def quoted(text):
    """A text in quotes, as JSON and so YAML have it."""
    return json.dumps(text, ensure_ascii=False)


def for_prometheus():
    text = HEAD + "groups:\n  - name: bluenova\n    rules:\n"
    for alert in ALERTS:
        text += f"      - alert: {alert.name}\n"
        text += f"        expr: |-\n{indent(query(alert), ' ' * 10)}\n"
        if alert.hold != "0s":
            text += f"        for: {alert.hold}\n"
        text += f"        labels:\n          severity: {quoted(alert.severity)}\n"
        text += f"        annotations:\n          summary: {quoted(alert.summary)}\n"
        text += f"          description: {quoted(clean(alert.remedy))}\n"
    return text


def for_grafana():
    rules = []
    for alert in ALERTS:
        model = {
            "editorMode": "code",
            "expr": query(alert),
            "instant": True,
            "range": False,
            "refId": "A",
        }
        rules.append(grafana_rule(alert, model, "BLUENOVA_PROMETHEUS", 600))
    return file_for_grafana("bluenova", "BLUENOVA_PROMETHEUS", rules)


def file_for_grafana(group, variable, rules):
    head = dedent(
        f"""\
        # The UID of the data source is in the environment variable {variable}.
        apiVersion: 1
        groups:
          - orgId: 1
            name: {group}
            folder: BlueNova
            interval: 1m
            rules:
        """
    )
    return HEAD + head + "".join(rules)


def grafana_rule(alert, model, variable, seconds):
    """`model` is the query as the data source has it; `variable` has the UID of that one."""
    uid = "bluenova-" + alert.name.removeprefix("BlueNova").lower()
    condition = {
        "conditions": [{"evaluator": {"params": [0], "type": "gt"}}],
        "datasource": {"type": "__expr__", "uid": "__expr__"},
        "expression": "A",
        "refId": "B",
        "type": "threshold",
    }
    return indent(
        dedent(
            f"""\
            - uid: {uid}
              title: {alert.name}
              condition: B
              data:
                - refId: A
                  relativeTimeRange: {{from: {seconds}, to: 0}}
                  datasourceUid: ${variable}
                  model: {json.dumps(model)}
                - refId: B
                  datasourceUid: __expr__
                  model: {json.dumps(condition)}
              for: {alert.hold}
              # No series means that nothing is wrong.
              noDataState: OK
              execErrState: Error
              labels:
                severity: {quoted(alert.severity)}
              annotations:
                summary: {quoted(alert.summary)}
                description: {quoted(clean(alert.remedy))}
            """
        ),
        " " * 6,
    )
