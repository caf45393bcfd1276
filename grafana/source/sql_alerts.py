"""Alert rules for Grafana that need no Prometheus: they read the table battery_pack.

Each query has a row for each battery that is in trouble, with the value that the text says. The
limits are those that the listener has by default.
"""

from alerts import COLDEST, MOST, Alert, file_for_grafana, grafana_rule, number, with_cell
from panels import sql, sql_targets
from queries import CELLS_T, CELLS_V, FLEET, HEX

BATTERY = "{{ .Labels.battery }}"
MEDIAN_V = (
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY other)"
    f" FROM unnest(ARRAY[{CELLS_V}]) AS other"
)

# The newest row of the last day, which is the time range of the rules, of each battery.
BATTERIES = sql("WITH «fleet»", fleet=FLEET)
LABEL = f"{HEX} AS battery"

# The rules are evaluated each minute. With a row every few seconds, a line that was garbled on its
# way, alone in its row, is no alarm; with rows that are a minute apart, it is one.
ANOTHER_ROW = "1m"


def of_fresh(columns, condition):
    """Of the batteries that are not silent."""
    return (
        f"{BATTERIES}\nSELECT {LABEL}, {columns} AS value\nFROM battery\n"
        f"WHERE NOT silent AND {condition}"
    )


def cell(values, value, order):
    """The number of the cell that comes first in an order."""
    return (
        f"(SELECT lpad(number::TEXT, 2, '0') FROM unnest(ARRAY[{values}]) WITH ORDINALITY"
        f" AS cell ({value}, number) WHERE {value} IS NOT NULL ORDER BY {order} LIMIT 1) AS cell"
    )


ALERTS = [
    Alert(
        "BlueNovaSqlSilent",
        f"{BATTERIES}\nSELECT {LABEL}, age AS value\nFROM battery\nWHERE silent",
        "0s",
        "critical",
        f"{BATTERY} has been silent for {{{{ humanizeDuration .Value }}}}",
        """It has had no row for ten minutes, or three intervals if that is longer. See whether the
        battery is on, its network works, the listener runs, and PostgreSQL
        takes rows: `bluenovalistener … check` tries all of it. Of a battery that was removed, the
        alert ends after a day.""",
    ),
    Alert(
        "BlueNovaSqlErrors",
        of_fresh("error AS errors, 1", "error IS NOT NULL"),
        ANOTHER_ROW,
        "critical",
        f"{BATTERY} reports {{{{ .Labels.errors }}}}",
        """Its own protection has found an error. Look it up in the battery's manual, and see the
        values of the minutes before on the dashboard.""",
    ),
    Alert(
        "BlueNovaSqlBreaker",
        of_fresh("not_closed AS breaker, 1", "not_closed IS NOT NULL"),
        ANOTHER_ROW,
        "critical",
        f"The breaker of {BATTERY} is {{{{ .Labels.breaker }}}}",
        """The battery gives and takes nothing. Find the reason (errors, a cell too high or too
        low, heat) before you close the breaker.""",
    ),
    Alert(
        "BlueNovaSqlLowCharge",
        of_fresh("soc", "soc < 15"),
        ANOTHER_ROW,
        "warning",
        f"{BATTERY} is nearly empty: state of charge {number('%')}",
        """Charge it or take loads off. An empty battery opens its breaker, and one that stays
        empty is damaged.""",
    ),
    Alert(
        "BlueNovaSqlCellSpread",
        of_fresh(
            cell(CELLS_V, "volts", f"abs(volts - ({MEDIAN_V})) DESC, number") + ", spread",
            "spread > CASE WHEN lowest >= 3.0 AND highest <= 3.4 THEN 100 ELSE 300 END",
        ),
        "5m",
        "warning",
        f"The cells of {BATTERY} are {number('mV')} apart{with_cell(MOST)}",
        """Charge the battery fully and keep it there for some hours, so that it balances. If the
        same cell is apart again soon, it is weak: show your dealer the passport
        (`bluenovalistener report`).""",
    ),
    Alert(
        "BlueNovaSqlFrost",
        of_fresh(
            cell(CELLS_T, "celsius", "celsius, number") + ", coldest",
            "i_pack > 1 AND coldest < 3",
        ),
        ANOTHER_ROW,
        "critical",
        f"{BATTERY} is charged at {number('°C')}{with_cell(COLDEST)}",
        """Stop the charging, and warm the room first: lithium that is plated below 0 °C damages a
        cell for ever.""",
    ),
]


def for_grafana():
    rules = []
    for alert in ALERTS:
        (model,) = sql_targets(alert.query, "table")
        rules.append(grafana_rule(alert, model, "BLUENOVA_POSTGRESQL", 86400))
    return file_for_grafana("bluenova-postgresql", "BLUENOVA_POSTGRESQL", rules)
