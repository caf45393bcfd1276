"""Alert rules for Grafana that need no Prometheus: they read the table battery_pack.

Each query has a row with a value above zero for each battery that is in trouble. The limits are
those that the listener has by default.
"""

from alerts import Alert, file_for_grafana, grafana_rule
from panels import sql, sql_targets
from queries import CELL_NUMBERS, CELLS_V, HEX, SPREAD_MV

BATTERY = "{{ .Labels.battery }}"
CELL = "{{ if .Labels.cell }}cell {{ .Labels.cell }}{{ else }}a cell{{ end }}"
CELLS_T = ", ".join(f"cell_{number}_t" for number in CELL_NUMBERS)
MEDIAN_V = (
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY other)"
    f" FROM unnest(ARRAY[{CELLS_V}]) AS other"
)

# The newest row of the last day, which is the time range of the rules, of each battery.
NEWEST = sql(
    """
    WITH known AS (
      SELECT DISTINCT mcu_id FROM battery_pack WHERE $__timeFilter(insert_time_utc)
    ),
    battery AS (
      SELECT
        newest.*,
        «hex» AS battery,
        extract(EPOCH FROM $__timeTo()::TIMESTAMP - insert_time_utc) AS silent_for
      FROM known CROSS JOIN LATERAL (
        SELECT
          *,
          «spread» AS spread, least(«cells») AS lowest, greatest(«cells») AS highest,
          least(temp, «temperatures») AS coldest
        FROM battery_pack
        WHERE $__timeFilter(insert_time_utc) AND battery_pack.mcu_id = known.mcu_id
        ORDER BY insert_time_utc DESC
        LIMIT 1
      ) AS newest
    )
    """,
    hex=HEX.replace("mcu_id", "known.mcu_id"),
    spread=SPREAD_MV,
    cells=CELLS_V,
    temperatures=CELLS_T,
)


def of_fresh(columns, condition):
    """Of the batteries that have a row in the last ten minutes."""
    return (
        f"{NEWEST}\nSELECT battery, {columns} AS value\nFROM battery\n"
        f"WHERE silent_for <= 600 AND {condition}"
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
        f"{NEWEST}\nSELECT battery, silent_for AS value FROM battery WHERE silent_for > 600",
        "0s",
        "critical",
        f"No row of {BATTERY} has come for ten minutes",
        """See whether the battery is on, its network works, the listener runs, and PostgreSQL
        takes rows: `bluenovalistener … check` tries all of it. Of a battery that was removed, the
        alert ends after a day.""",
    ),
    Alert(
        "BlueNovaSqlErrors",
        of_fresh("errors, 1", "coalesce(errors, '') NOT IN ('', 'NONE')"),
        "0s",
        "critical",
        f"{BATTERY} reports {{{{ .Labels.errors }}}}",
        """Its own protection has found an error. Look it up in the battery's manual, and see the
        values of the minutes before on the dashboard.""",
    ),
    Alert(
        "BlueNovaSqlBreaker",
        of_fresh("breaker, 1", "coalesce(breaker, '') NOT IN ('', 'CLOSED')"),
        "0s",
        "critical",
        f"The breaker of {BATTERY} is {{{{ .Labels.breaker }}}}",
        """The battery gives and takes nothing. Find the reason (errors, a cell too high or too
        low, heat) before you close the breaker.""",
    ),
    Alert(
        "BlueNovaSqlLowCharge",
        of_fresh("100 - soc", "soc < 15"),
        "0s",
        "warning",
        f"{BATTERY} is nearly empty",
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
        f"The cells of {BATTERY} are apart, {CELL} the most",
        """Charge the battery fully and keep it there for some hours, so that it balances. If the
        same cell is apart again soon, it is weak: show your dealer the passport
        (`bluenovalistener report`).""",
    ),
    Alert(
        "BlueNovaSqlFrost",
        of_fresh(
            cell(CELLS_T, "celsius", "celsius, number") + ", 100 - coldest",
            "i_pack > 1 AND coldest < 3",
        ),
        "0s",
        "critical",
        f"{BATTERY} is charged in the cold, {CELL} the coldest",
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
