"""Batteries and their listener, out of the listener's metrics. Data from Prometheus."""

from panels import (
    AMBER,
    COLORED_TEXT,
    GREEN,
    PROMETHEUS,
    RED,
    Dashboard,
    data_source,
    prometheus_targets,
    stat,
    table,
    text_for,
    thresholds,
    time_series,
)

# The name that Grafana's own editor gives the query of a variable.
REF_ID = "PrometheusVariableQueryEditor-VariableQuery"

OF = '{name=~"$battery"}'


def battery_variable():
    query = "label_values(bluenova_battery_silent, name)"
    return {
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": data_source(PROMETHEUS),
        "includeAll": True,
        "label": "Battery",
        "multi": True,
        "name": "battery",
        "query": {"qryType": 1, "query": query, "refId": REF_ID},
        "refresh": 2,
        "sort": 1,
        "type": "query",
    }


def dashboard():
    made = Dashboard(
        PROMETHEUS,
        "bluenova-prometheus",
        "BlueNova metrics",
        "Batteries, and the listener that records them, out of the listener's metrics.",
        [battery_variable()],
        "now-24h",
    )
    now(made)
    curves(made)
    one_battery(made)
    listener(made)
    return made.json


def curve(
    title, description, unit, width, queries, calcs=("lastNotNull", "min", "max"), height=9, **more
):
    targets = prometheus_targets(queries)
    return time_series(title, description, targets, unit, None, calcs, **more), width, height


def stat_of_now(title, description, queries, unit, **more):
    """Values at the end of the time range. The last value in the time range, which a range query
    has, may be old."""
    targets = prometheus_targets(queries, instant=True)
    return stat(title, description, targets, unit, values=False, **more)


def now(made):
    made.row("Now")
    for title, description, query, unit, more in [
        (
            "State of charge",
            "Of each battery at the end of the time range. A silent one is missing.",
            f"bluenova_state_of_charge_ratio{OF}",
            "percentunit",
            {"thresholds": thresholds(RED, (0.05, AMBER), (0.15, GREEN))},
        ),
        (
            "Power",
            "Of each battery at the end of the time range. Above zero the battery is charged, below"
            " it is discharged. A silent one is missing.",
            f"bluenova_pack_power_watts{OF}",
            "watt",
            {},
        ),
        (
            "Silent",
            "A silent battery has had no row for three intervals. Is it on, and is its network"
            " cable or WiFi working? `bluenovalistener … check` tries that.",
            f"bluenova_battery_silent{OF}",
            "none",
            {
                "mappings": [text_for({"0": ("no", GREEN), "1": ("silent", RED)})],
                "thresholds": thresholds(GREEN, (1, RED)),
            },
        ),
    ]:
        made.add(stat_of_now(title, description, {"{{name}}": query}, unit, **more), 8, 5)
    made.add(
        table(
            "Problems",
            "Values beyond their limits, errors and open breakers, while they last. The page of the"
            " listener says each in a sentence.",
            prometheus_targets(
                {"": f"bluenova_battery_problem{OF}"}, instant=True, form="table"
            ),
            {"severity": {"custom.cellOptions": COLORED_TEXT, "mappings": [SEVERITY]}},
            [
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": dict.fromkeys(
                            ["Time", "Value", "__name__", "instance", "job"], True
                        ),
                        "indexByName": {"name": 0, "battery": 1, "limit": 2, "severity": 3},
                        "renameByName": {},
                    },
                }
            ],
        ),
        12,
        8,
    )
    made.add(
        *curve(
            "Time to go",
            "Until the battery is empty or full, at the load of the last quarter of an hour.",
            "s",
            12,
            {
                "{{name}}: empty": f"bluenova_time_to_empty_seconds{OF}",
                "{{name}}: full": f"bluenova_time_to_full_seconds{OF}",
            },
            calcs=(),
            height=8,
            min=0,
        )
    )


SEVERITY = text_for({"amber": ("amber", AMBER), "red": ("red", RED)})

# The cells of one battery in a scrape, against each other.
MEDIAN = "group_left () quantile by (job, instance, battery, name)"
DEVIATION = (
    f"1000 * (bluenova_cell_voltage_volts{OF}"
    " - on (job, instance, battery, name) "
    f"{MEDIAN} (0.5, bluenova_cell_voltage_volts{OF}))"
)
SPREAD = (
    f"1000 * (max by (battery, name) (bluenova_cell_voltage_volts{OF})"
    f" - min by (battery, name) (bluenova_cell_voltage_volts{OF}))"
)


def curves(made):
    made.row("Batteries")
    made.add(
        *curve(
            "State of charge",
            "As each battery reports it.",
            "percentunit",
            12,
            {"{{name}}": f"bluenova_state_of_charge_ratio{OF}"},
            min=0,
            max=1,
        )
    )
    made.add(
        *curve(
            "Power",
            "Above zero the battery is charged, below it is discharged.",
            "watt",
            12,
            {"{{name}}": f"bluenova_pack_power_watts{OF}"},
        )
    )
    made.add(
        *curve(
            "Energy of the last 24 hours",
            "Energy into and out of each battery, counted at its terminals about once a second, in"
            " the 24 hours before each point.",
            "watth",
            12,
            {
                "{{name}}: charged": f"increase(bluenova_energy_in_joules_total{OF}[1d]) / 3600",
                "{{name}}: discharged":
                    f"increase(bluenova_energy_out_joules_total{OF}[1d]) / 3600",
            },
            calcs=("lastNotNull",),
            min=0,
        )
    )
    made.add(
        *curve(
            "Cell spread",
            "Highest less lowest cell voltage. A spread beyond 100 mV in the middle: charge the"
            " battery fully, and let it balance for some hours.",
            "mvolt",
            12,
            {"{{name}}": SPREAD},
            min=0,
            thresholds=thresholds("transparent", (100, AMBER), (300, RED)),
        )
    )
    made.add(
        *curve(
            "Capacity",
            "Usable capacity, estimated from how the battery is used.",
            "amph",
            12,
            {"{{name}}": f"bluenova_capacity_coulombs{OF} / 3600"},
            calcs=("lastNotNull",),
            decimals=1,
        )
    )
    made.add(
        *curve(
            "Temperature",
            "Of the pack.",
            "celsius",
            12,
            {"{{name}}": f"bluenova_pack_temperature_celsius{OF}"},
        )
    )


def one_battery(made):
    made.row("Cells of $battery", repeat="battery")
    for title, description, unit, query in [
        (
            "Cell voltages",
            "As the battery reports them.",
            "volt",
            f"bluenova_cell_voltage_volts{OF}",
        ),
        (
            "Imbalance per cell",
            "Each cell's voltage less the median of the pack.",
            "mvolt",
            DEVIATION,
        ),
        (
            "Cell temperatures",
            "Cells must not be charged below 0 °C.",
            "celsius",
            f"bluenova_cell_temperature_celsius{OF}",
        ),
        (
            "Internal resistance",
            "Estimated. A cell far above the others is weak.",
            "ohm",
            f"bluenova_cell_resistance_ohms{OF}",
        ),
        (
            "Charge against the median",
            "What each full cell holds more than the median of the pack, estimated. One that falls"
            " from week to week loses charge by itself.",
            "amph",
            f"bluenova_cell_imbalance_coulombs{OF} / 3600",
        ),
    ]:
        made.add(*curve(title, description, unit, 12, {"{{cell}}": query}, calcs=()))
    made.add(
        stat_of_now(
            "Weak cells",
            "How many cells are judged weak, and which. Nothing is shown until enough has been"
            " seen.",
            {
                "weak cells": f"sum(bluenova_cell_weak{OF})",
                "cell {{cell}}": f"bluenova_cell_weak{OF} == 1",
            },
            "none",
            thresholds=thresholds(GREEN, (1, RED)),
        ),
        12,
        9,
    )


def listener(made):
    made.row("Listener")
    made.add(
        *curve(
            "Rows under way to the database",
            "Waiting: in the journal, until the database is back. Set aside: rejected by the"
            " database (`bluenovalistener set-aside`). In memory: lost if the listener ends; look"
            " at the disk of the journal.",
            "short",
            12,
            {
                "waiting": "bluenova_rows_waiting",
                "set aside": "bluenova_rows_set_aside",
                "wait for a partition": "bluenova_rows_retried",
                "in memory only": "bluenova_rows_only_in_memory",
            },
            calcs=("lastNotNull", "max"),
            min=0,
        )
    )
    made.add(
        *curve(
            "Rows per minute",
            "Recorded from each address, and delivered to the database. With an interval of ten"
            " seconds (-i) each battery has six.",
            "short",
            12,
            {
                "{{name}}": "60 * rate(bluenova_rows_recorded_total[$__rate_interval])",
                "delivered": "60 * rate(bluenova_rows_delivered_total[$__rate_interval])",
            },
            calcs=("mean",),
            min=0,
        )
    )
    made.add(
        *curve(
            "Connections",
            "1 while an address is connected.",
            "none",
            12,
            {"{{name}}": "bluenova_connected"},
            calcs=("mean",),
            min=0,
            max=1,
        )
    )
    made.add(
        *curve(
            "Redials and malformed lines per hour",
            "Many redials: a bad network, or another program that is connected to the battery.",
            "short",
            12,
            {
                "{{name}}: redials": "increase(bluenova_redials_total[1h])",
                "{{name}}: malformed lines": "increase(bluenova_malformed_lines_total[1h])",
            },
            calcs=("max",),
            min=0,
        )
    )
