"""Many batteries: the worst first. Data from PostgreSQL."""

from panels import (
    AMBER,
    COLORED_TEXT,
    GREEN,
    POSTGRESQL,
    RED,
    Dashboard,
    by_name,
    sql,
    sql_targets,
    stat,
    table,
    thresholds,
    time_series,
)
from queries import FLEET, HEX, NAME, SPREAD_MV, names_variable, step_variable

FILTER = "$__timeFilter(insert_time_utc)"

WORST_FIRST = sql(
    """
    WITH «fleet»
    SELECT
      «name» AS "Battery",
      «hex» AS "MCU ID",
      CASE WHEN silent THEN age END AS "Silent for",
      error AS "Errors",
      not_closed AS "Breaker",
      soc AS "Charge",
      spread AS "Spread",
      lowest AS "Lowest cell",
      hottest AS "Hottest",
      CASE WHEN NOT silent THEN v_pack * i_pack END AS "Power",
      rows / nullif(max(rows) OVER (), 0)::DOUBLE PRECISION AS "Rows"
    FROM battery
    ORDER BY
      (error IS NOT NULL OR not_closed IS NOT NULL) DESC,
      silent DESC,
      coalesce(soc < 15, FALSE) DESC,
      spread DESC NULLS LAST
    """,
    fleet=FLEET,
    name=NAME,
    hex=HEX,
)


NUMBERS = sql(
    """
    WITH «fleet»
    SELECT
      count(*) AS "Batteries",
      count(*) FILTER (WHERE silent) AS "Silent",
      count(*) FILTER (WHERE error IS NOT NULL OR not_closed IS NOT NULL) AS "In trouble",
      count(*) FILTER (WHERE soc < 15) AS "Nearly empty"
    FROM battery
    """,
    fleet=FLEET,
)


def dashboard():
    made = Dashboard(
        POSTGRESQL,
        "bluenova-fleet",
        "BlueNova fleet",
        "Many batteries, the worst first. Reads the table battery_pack.",
        [names_variable(), step_variable()],
        "now-24h",
    )
    made.add(
        stat(
            "Batteries",
            """Those with a row in the time range. Silent: none for ten minutes, or three intervals
            if that is longer. In trouble: errors other than NONE, or a breaker that isn't CLOSED.
            Nearly empty: state of charge below 15 %.""",
            sql_targets(NUMBERS, "table"),
            "none",
            overrides=by_name(NUMBER_COLORS),
            thresholds=thresholds(GREEN),
        ),
        24,
        4,
    )
    made.add(
        table(
            "Batteries, the worst first",
            """Those with errors or an open breaker, then the silent ones, those of low charge, and
            then by the spread of the cell voltages, all of the newest row in the time range. Rows:
            how many of the rows of the most complete battery in the time range it has; with
            listeners of different intervals (-i) that says little. A battery without any row in the
            time range isn't here: choose a longer one to find it.""",
            sql_targets(WORST_FIRST, "table"),
            COLUMNS,
        ),
        24,
        14,
    )
    made.add(
        time_series(
            "Widest spreads",
            "Highest less lowest cell voltage of the ten batteries whose newest spread is widest.",
            sql_targets(TEN_WIDEST, "time_series"),
            "mvolt",
            "$step",
            ("max",),
            min=0,
            thresholds=thresholds("transparent", (100, AMBER), (300, RED)),
        ),
        12,
        9,
    )
    made.add(
        time_series(
            "State of charge",
            "The lowest, the mean and the highest of all batteries.",
            sql_targets(CHARGE, "time_series"),
            "percent",
            "$step",
            min=0,
            max=100,
        ),
        12,
        9,
    )
    return made.json


NUMBER_COLORS = {
    "Silent": {"thresholds": thresholds(GREEN, (1, RED))},
    "In trouble": {"thresholds": thresholds(GREEN, (1, RED))},
    "Nearly empty": {"thresholds": thresholds(GREEN, (1, AMBER))},
}


def colored(unit, *steps, **more):
    return {
        "unit": unit,
        "thresholds": thresholds(*steps),
        "color": {"mode": "thresholds"},
        "custom.cellOptions": COLORED_TEXT,
        **more,
    }


COLUMNS = {
    "Silent for": colored("s", RED),
    "Charge": colored("percent", RED, (5, AMBER), (15, GREEN)),
    "Spread": colored("mvolt", GREEN, (100, AMBER), (300, RED)),
    "Lowest cell": colored("volt", RED, (2.7, AMBER), (2.9, GREEN), decimals=3),
    "Hottest": colored("celsius", GREEN, (45, AMBER), (55, RED)),
    "Power": {"unit": "watt"},
    "Rows": colored("percentunit", RED, (0.9, AMBER), (0.99, GREEN), decimals=1),
}

# The ten are those of the newest rows: to find the widest spread in the time range, all of its rows
# would be read.
TEN_WIDEST = sql(
    """
    WITH «fleet»,
    widest AS (
      SELECT mcu_id FROM battery WHERE spread IS NOT NULL ORDER BY spread DESC LIMIT 10
    )
    SELECT
      $__timeGroupAlias(insert_time_utc, $__interval, NULL),
      «name» AS metric,
      max(«spread») AS value
    FROM battery_pack
    WHERE «filter» AND mcu_id = ANY (ARRAY(SELECT mcu_id FROM widest))
    GROUP BY 1, mcu_id
    ORDER BY 1, 2
    """,
    fleet=FLEET,
    spread=SPREAD_MV,
    filter=FILTER,
    name=NAME,
)

CHARGE = sql(
    """
    SELECT
      $__timeGroupAlias(insert_time_utc, $__interval, NULL),
      min(soc) AS lowest, avg(soc) AS mean, max(soc) AS highest
    FROM battery_pack
    WHERE «filter»
    GROUP BY 1
    ORDER BY 1
    """,
    filter=FILTER,
)
