"""The alert rules, for Prometheus and for Grafana.

Every query has a series while its alert fires, and none otherwise; its value is the one that the
text says. Texts use `.Labels`, which both programs have, and `.Value`, which is `.Values.A.Value`
in Grafana; and no `$`, which Grafana would replace by environment variables.
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


def beyond(limits):
    """The value of a battery that is beyond a limit, with the cell that has it."""
    return f'bluenova_battery_problem_value{{limit=~"{limits}"}}'


def reported(limit):
    """What a battery reports, as the label `words`."""
    return f'bluenova_battery_problem_info{{limit="{limit}"}}'


def number(unit, digits=0):
    """The value of the query, with its unit."""
    return f'{{{{ printf "%.{digits}f" .Value }}}} {unit}'


def with_cell(text):
    """A text for a value that a cell has, and none for one of the pack."""
    return f"{{{{ if .Labels.cell }}}}{text}{{{{ end }}}}"


NAME = "{{ .Labels.name }} ({{ .Labels.battery }})"
CELL = "{{ if .Labels.cell }}cell {{ .Labels.cell }}{{ else }}a cell{{ end }}"
MOST = ", cell {{ .Labels.cell }} the most"
COLDEST = ", cell {{ .Labels.cell }} the coldest"
HOTTEST = ", cell {{ .Labels.cell }} the hottest"
ROWS = '{{ printf "%.0f" .Value }}'
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
        # The time since its last row, and 0 if it has never had one.
        f"""
        time() - bluenova_battery_last_row_timestamp_seconds
          and on ({BATTERY}) bluenova_battery_silent == 1
        or on ({BATTERY}) 0 * (bluenova_battery_silent == 1)
        """,
        "1m",
        "critical",
        "{{ .Labels.name }}{{ if .Labels.battery }} ({{ .Labels.battery }}){{ end }}"
        "{{ if .Value }} has been silent for {{ humanizeDuration .Value }}"
        "{{ else }} is silent{{ end }}",
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
        reported("errors"),
        "0s",
        "critical",
        f"{NAME} reports {{{{ .Labels.words }}}}",
        """Its own protection has found an error. Look it up in the battery's manual, and see the
        values of the minutes before on the page or in Grafana.""",
    ),
    Alert(
        "BlueNovaBreaker",
        reported("breaker"),
        "0s",
        "critical",
        f"The breaker of {NAME} is {{{{ .Labels.words }}}}",
        """The battery gives and takes nothing. Find the reason (errors, a cell too high or too
        low, heat) before you close the breaker.""",
    ),
    Alert(
        "BlueNovaLowCharge",
        beyond("low-charge"),
        "0s",
        OF_LIMIT,
        f"{NAME} is nearly empty: state of charge {number('%')}",
        """Charge it or take loads off. An empty battery opens its breaker, and one that stays
        empty is damaged.""",
    ),
    Alert(
        "BlueNovaCellSpread",
        beyond("cell-spread.*"),
        "0s",
        OF_LIMIT,
        f"The cells of {NAME} are {number('mV')} apart{with_cell(MOST)}",
        """Charge the battery fully and keep it there for some hours, so that it balances. If the
        same cell is apart again soon, it is weak: show your dealer the passport
        (`bluenovalistener report`).""",
    ),
    Alert(
        "BlueNovaLowCellVoltage",
        beyond("low-cell-voltage"),
        "0s",
        OF_LIMIT,
        f"{NAME}: {CELL} has only {number('V', 2)}",
        """Charge the battery or take loads off now. If the state of charge is still high, the
        cell is out of balance or weak.""",
    ),
    Alert(
        "BlueNovaHighCellVoltage",
        beyond("high-cell-voltage"),
        "0s",
        OF_LIMIT,
        f"{NAME}: {CELL} has a high voltage, {number('V', 2)}",
        """Charge with less current or to a lower voltage, so that the balancing keeps up. See
        whether the charger's voltage is the one that the battery's manual asks for.""",
    ),
    Alert(
        "BlueNovaFrost",
        beyond("frost"),
        "0s",
        OF_LIMIT,
        f"{NAME} is charged at {number('°C')}{with_cell(COLDEST)}",
        """Stop the charging, and warm the room first: lithium that is plated below 0 °C damages a
        cell for ever.""",
    ),
    Alert(
        "BlueNovaHot",
        beyond("high-temperature"),
        "0s",
        OF_LIMIT,
        f"{NAME} is hot: {number('°C')}{with_cell(HOTTEST)}",
        """Reduce the load or the charging, and let air to the battery. One cell that is hotter
        than the others may have a bad contact.""",
    ),
    Alert(
        # One that no scrape has seen: what lasts has an alert of its own.
        "BlueNovaShortProblem",
        f"""
        increase(bluenova_battery_problems_total[10m]) > 0
          unless on ({BATTERY}, limit)
          max_over_time(bluenova_battery_problem{{severity="red"}}[15m])
        """,
        "0s",
        "warning",
        f"{NAME} had a problem for some seconds: {{{{ .Labels.limit }}}}",
        """It was red, and is over. See the values of these minutes on the page or in Grafana; a
        shorter interval (-i) gets more of them into the rows.""",
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
        # In ampere-hours.
        "BlueNovaImbalanceGrows",
        """
        -(bluenova_cell_imbalance_per_week_coulombs
          + bluenova_cell_imbalance_per_week_plus_minus_coulombs) / 3600 > 0.25
        """,
        "1h",
        "warning",
        f"{NAME}: cell {{{{ .Labels.cell }}}} loses {number('Ah', 2)} a week or more against the"
        " others",
        """Charge the battery fully once a week and let it balance. If that doesn't help, the
        cell discharges itself: show your dealer the passport (`bluenovalistener report`).""",
    ),
    Alert(
        "BlueNovaRowsWaiting",
        "bluenova_rows_waiting and on (job, instance) bluenova_delivery_stuck == 1",
        "2m",
        "warning",
        f"Rows of {{{{ .Labels.instance }}}} that wait while PostgreSQL takes none: {ROWS}",
        """They are safe in the journal and are delivered when PostgreSQL is back. See whether it
        runs and its disk has space; the listener's log has its error.""",
    ),
    Alert(
        "BlueNovaRowsSetAside",
        "bluenova_rows_set_aside > 0",
        "0s",
        "warning",
        f"Rows of {{{{ .Labels.instance }}}} that PostgreSQL has rejected: {ROWS}",
        """They are kept. `bluenovalistener set-aside` lists them with the reason, and with
        --retry delivers them again once that is mended.""",
    ),
    Alert(
        "BlueNovaRowsWithoutPartition",
        "bluenova_rows_retried > 0",
        "5m",
        "warning",
        f"Rows of {{{{ .Labels.instance }}}} without a partition in the table: {ROWS}",
        "They are kept and retried. Create the partition; `bluenovalistener set-aside` lists them.",
    ),
    Alert(
        "BlueNovaRowsOnlyInMemory",
        "bluenova_rows_only_in_memory > 0",
        "1m",
        "critical",
        f"Rows of {{{{ .Labels.instance }}}} that are in memory only: {ROWS}",
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
    summary = alert.summary.replace(".Value", ".Values.A.Value")
    condition = {
        # Any value: there is none if nothing is wrong.
        "conditions": [{"evaluator": {"params": [-1_000_000_000], "type": "gt"}}],
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
                summary: {quoted(summary)}
                description: {quoted(clean(alert.remedy))}
            """
        ),
        " " * 6,
    )
