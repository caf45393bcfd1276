"""Many batteries: the worst first. Data from PostgreSQL."""

from panels import (
    AMBER,
    COLORED_TEXT,
    GREEN,
    POSTGRESQL,
    RED,
    Dashboard,
    sql,
    sql_targets,
    stat,
    table,
    thresholds,
    time_series,
)
from queries import HEX, NAME, SPREAD_MV, names_variable, step_variable

FILTER = "$__timeFilter(insert_time_utc)"

# Two things are asked of the time range: how many rows each battery has, which the index answers
# alone, and its newest row.
FLEET = sql(
    """
    known AS (
      SELECT mcu_id, count(*) AS rows FROM battery_pack WHERE «filter» GROUP BY mcu_id
    ),
    battery AS (
      SELECT
        known.*,
        newest.*,
        extract(EPOCH FROM now() - newest.insert_time_utc AT TIME ZONE 'UTC') AS silent_for
      FROM known CROSS JOIN LATERAL (
        SELECT
          insert_time_utc, soc, v_pack * i_pack AS watts, «spread» AS spread,
          least(«cells») AS lowest, greatest(temp, «temperatures») AS hottest,
          nullif(nullif(errors, 'NONE'), '') AS errors,
          nullif(nullif(breaker, 'CLOSED'), '') AS breaker
        FROM battery_pack
        WHERE «filter» AND battery_pack.mcu_id = known.mcu_id
        ORDER BY insert_time_utc DESC
        LIMIT 1
      ) AS newest
    )
    """,
    filter=FILTER,
    spread=SPREAD_MV,
    cells=", ".join(f"cell_{number:02}_v" for number in range(1, 17)),
    temperatures=", ".join(f"cell_{number:02}_t" for number in range(1, 17)),
)

WORST_FIRST = sql(
    """
    WITH «fleet»
    SELECT
      «name» AS "Battery",
      «hex» AS "MCU ID",
      silent_for AS "Silent for",
      errors AS "Errors",
      breaker AS "Breaker",
      soc AS "Charge",
      spread AS "Spread",
      lowest AS "Lowest cell",
      hottest AS "Hottest",
      watts AS "Power",
      rows / nullif(max(rows) OVER (), 0)::DOUBLE PRECISION AS "Rows"
    FROM battery
    ORDER BY
      (errors IS NOT NULL OR breaker IS NOT NULL) DESC,
      silent_for > 600 DESC,
      coalesce(soc < 15, FALSE) DESC,
      spread DESC NULLS LAST
    """,
    fleet=FLEET,
    name=NAME,
    hex=HEX,
)


def number(condition):
    return sql(
        "WITH «fleet»\nSELECT count(*) AS batteries FROM battery WHERE «condition»",
        fleet=FLEET,
        condition=condition,
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
    for title, description, condition, colors in NUMBERS:
        targets = sql_targets(number(condition), "table")
        made.add(stat(title, description, targets, "short", thresholds=colors), 6, 4)
    made.add(
        table(
            "Batteries, the worst first",
            """Those with errors or an open breaker, then the silent ones, those of low charge, and
            then by the spread of the cell voltages, all of the newest row in the time range. Rows:
            how many of the rows of the most complete battery in the time range it has; with
            listeners of different intervals (-i) that says little.""",
            sql_targets(WORST_FIRST, "table"),
            COLUMNS,
        ),
        24,
        14,
    )
    made.add(
        time_series(
            "Widest spreads",
            "Highest less lowest cell voltage of the ten batteries whose spread is widest.",
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


ZERO_IS_GREEN = thresholds(GREEN, (1, RED))

NUMBERS = [
    ("Batteries", "Batteries with a row in the time range.", "TRUE", thresholds(GREEN)),
    ("Silent", "No row for ten minutes.", "silent_for > 600", ZERO_IS_GREEN),
    (
        "In trouble",
        "Errors other than NONE, or a breaker that isn't CLOSED.",
        "errors IS NOT NULL OR breaker IS NOT NULL",
        ZERO_IS_GREEN,
    ),
    ("Nearly empty", "State of charge below 15 %.", "soc < 15", thresholds(GREEN, (1, AMBER))),
]


def colored(unit, *steps, **more):
    return {
        "unit": unit,
        "thresholds": thresholds(*steps),
        "color": {"mode": "thresholds"},
        "custom.cellOptions": COLORED_TEXT,
        **more,
    }


COLUMNS = {
    "Silent for": colored("s", GREEN, (120, AMBER), (600, RED), decimals=0),
    "Charge": colored("percent", RED, (5, AMBER), (15, GREEN)),
    "Spread": colored("mvolt", GREEN, (100, AMBER), (300, RED), decimals=0),
    "Lowest cell": colored("volt", RED, (2.7, AMBER), (2.9, GREEN), decimals=3),
    "Hottest": colored("celsius", GREEN, (45, AMBER), (55, RED)),
    "Power": {"unit": "watt", "decimals": 0},
    "Rows": colored("percentunit", RED, (0.9, AMBER), (0.99, GREEN), decimals=1),
}

TEN_WIDEST = sql(
    """
    WITH bucket AS (
      SELECT $__timeGroupAlias(insert_time_utc, $__interval), mcu_id, max(«spread») AS spread
      FROM battery_pack
      WHERE «filter»
      GROUP BY 1, mcu_id
    ),
    widest AS (
      SELECT mcu_id FROM bucket GROUP BY mcu_id ORDER BY max(spread) DESC NULLS LAST LIMIT 10
    )
    SELECT time, «name» AS metric, spread AS value
    FROM bucket JOIN widest USING (mcu_id)
    ORDER BY 1, 2
    """,
    spread=SPREAD_MV,
    filter=FILTER,
    name=NAME,
)

CHARGE = sql(
    """
    SELECT
      $__timeGroupAlias(insert_time_utc, $__interval),
      min(soc) AS lowest, avg(soc) AS mean, max(soc) AS highest
    FROM battery_pack
    WHERE «filter»
    GROUP BY 1
    ORDER BY 1
    """,
    filter=FILTER,
)
