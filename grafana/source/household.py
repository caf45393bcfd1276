"""One household: the bank, its days, and each battery with its cells. Data from PostgreSQL."""

from panels import (
    AMBER,
    BLUE,
    GREEN,
    POSTGRESQL,
    RED,
    Dashboard,
    bars_per_day,
    sql,
    sql_targets,
    stat,
    table,
    text_for,
    thresholds,
    time_series,
)
from queries import (
    CHOSEN,
    COMPLETENESS_PER_DAY,
    ENERGY_PER_DAY,
    HEX,
    NAME,
    SPREAD_MV,
    battery_variable,
    cell_curves,
    curve,
    names_variable,
    newest,
    step_variable,
)

NAME_OF_CHOSEN = NAME.replace("mcu_id", "chosen.mcu_id")


def dashboard():
    made = Dashboard(
        POSTGRESQL,
        "bluenova-household",
        "BlueNova household",
        "Batteries of one household: state of charge, power, energy per day, cells, and whether"
        " rows are missing. Reads the table battery_pack.",
        [battery_variable(), names_variable(), step_variable()],
        "now-7d",
    )
    bank(made)
    days(made)
    trouble(made)
    one_battery(made)
    return made.json


def bank(made):
    made.row("Now")
    made.add(
        stat(
            "State of charge",
            "Of each battery, at the end of the time range.",
            sql_targets(newest_value("newest.soc", "soc"), "table"),
            "percent",
            noValue="silent",
            thresholds=thresholds(RED, (5, AMBER), (15, GREEN)),
        ),
        8,
        5,
    )
    made.add(
        stat(
            "Power",
            "Of each battery, at the end of the time range. Above zero the battery is charged,"
            " below it is discharged.",
            sql_targets(newest_value("newest.v_pack * newest.i_pack", "watts"), "table"),
            "watt",
            noValue="silent",
            thresholds=thresholds(BLUE),
        ),
        8,
        5,
    )
    made.add(
        stat(
            "Silent for",
            "Time since each battery's newest row, if that is more than ten minutes and three"
            " intervals. Is the battery on, and its network cable or WiFi working?"
            " `bluenovalistener … check` tries that. A battery without any row in the time range"
            " isn't here.",
            sql_targets(
                newest(
                    f"{NAME_OF_CHOSEN} AS battery,"
                    " CASE WHEN silent THEN newest.age ELSE 0 END AS seconds"
                ),
                "table",
            ),
            "s",
            mappings=[text_for({"0": ("not silent", GREEN)})],
            thresholds=thresholds(GREEN, (1, RED)),
        ),
        8,
        5,
    )
    made.row("Bank")
    made.add(
        time_series(
            "State of charge",
            "As each battery reports it.",
            sql_targets(curve("avg(soc)"), "time_series"),
            "percent",
            "$step",
            ("lastNotNull", "min", "max"),
            min=0,
            max=100,
            thresholds=thresholds(RED, (15, "transparent")),
        ),
        12,
        9,
    )
    made.add(
        time_series(
            "Power",
            "Voltage times current of each battery, and of all together if there are several. Above"
            " zero they are charged, below they are discharged.",
            sql_targets(POWER, "time_series"),
            "watt",
            "$step",
            ("lastNotNull", "min", "max"),
        ),
        12,
        9,
    )


def newest_value(value, alias):
    """A value of each battery, which a silent one doesn't have."""
    return newest(f"{NAME_OF_CHOSEN} AS battery, CASE WHEN NOT silent THEN {value} END AS {alias}")


def days(made):
    made.row("Days")
    made.add(
        bars_per_day(
            "Energy per day",
            """Energy into and out of the chosen batteries, per day of your time zone: the area
            under voltage times current, from row to row. Where rows are missing nothing is
            counted: compare with the completeness of that day. The battery's own counters
            (energy_in, energy_out) are not used, since their unit isn't documented.""",
            sql_targets(ENERGY_PER_DAY, "time_series"),
            "watth",
            ("sum", "mean"),
            min=0,
        ),
        14,
        9,
    )
    made.add(
        bars_per_day(
            "Completeness of rows",
            """How much of a day has rows: the steps from row to row, and one interval of a step
            that is longer, by the length of the day. `bluenovalistener gaps` says why rows are
            missing.""",
            sql_targets(COMPLETENESS_PER_DAY, "time_series"),
            "percentunit",
            ("min", "mean"),
            min=0,
            max=1,
        ),
        10,
        9,
    )


def trouble(made):
    made.row("Trouble")
    made.add(
        table(
            "Errors and breakers",
            """The newest 100 times at which a battery began to report errors, or a breaker that
            isn't closed, or ceased to. An open breaker cuts the battery off: find the reason
            before you close it.""",
            sql_targets(CHANGES, "table"),
            {"time": {"unit": "dateTimeAsIso"}},
        ),
        14,
        8,
    )
    made.add(
        time_series(
            "Cell spread",
            """Highest less lowest cell voltage, the greatest in each step. Some 10 to 50 mV are
            usual in the middle; near full and near empty it grows. A spread beyond 100 mV in the
            middle: charge the battery fully, and let it balance for some hours.""",
            sql_targets(curve(f"max({SPREAD_MV})"), "time_series"),
            "mvolt",
            "$step",
            ("lastNotNull", "max"),
            min=0,
            thresholds=thresholds("transparent", (100, AMBER), (300, RED)),
        ),
        10,
        8,
    )


# Means are added up, since the batteries' rows have different times.
POWER = sql(
    """
    WITH bucket AS (
      SELECT
        $__timeGroupAlias(insert_time_utc, $__interval, NULL),
        mcu_id,
        avg(v_pack * i_pack) AS watts
      FROM battery_pack
      WHERE $__timeFilter(insert_time_utc) AND «chosen»
      GROUP BY 1, mcu_id
    )
    SELECT time, «name» AS metric, watts AS value FROM bucket
    UNION ALL
    SELECT time, 'all together', sum(watts) FROM bucket
    GROUP BY time
    HAVING count(watts) > 1
    ORDER BY 1, 2
    """,
    name=NAME,
    chosen=CHOSEN,
)

CHANGES = sql(
    """
    WITH state AS (
      SELECT
        insert_time_utc, mcu_id, errors, breaker, system_state, charge_state,
        lag(errors) OVER battery AS errors_before,
        lag(breaker) OVER battery AS breaker_before
      FROM battery_pack
      WHERE $__timeFilter(insert_time_utc) AND «chosen»
      WINDOW battery AS (PARTITION BY mcu_id ORDER BY insert_time_utc)
    )
    SELECT
      insert_time_utc AS "time", «name» AS battery, errors, breaker, system_state, charge_state
    FROM state
    WHERE coalesce(nullif(errors, ''), 'NONE') <> coalesce(nullif(errors_before, ''), 'NONE')
      OR coalesce(nullif(breaker, ''), 'CLOSED') <> coalesce(nullif(breaker_before, ''), 'CLOSED')
    ORDER BY 1 DESC
    LIMIT 100
    """,
    chosen=CHOSEN,
    name=NAME,
)

DEVIATION = """(average - (
          SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY other) FROM unnest(cells) AS other
        )) * 1000"""


def one_battery(made):
    made.row("Battery $battery", repeat="battery")
    made.add(
        time_series(
            "Cell voltages",
            "Average of each cell in each step.",
            sql_targets(cell_curves("v", "average"), "time_series"),
            "volt",
            "$step",
            decimals=3,
        ),
        12,
        9,
    )
    made.add(
        time_series(
            "Imbalance per cell",
            """Each cell's voltage less the median of the pack. A cell that is above the others
            when the battery is nearly full, or below them when it is nearly empty, more from week
            to week, loses its balance: charge the battery fully, and let it balance. If it comes
            back soon, the cell is weak.""",
            sql_targets(cell_curves("v", DEVIATION), "time_series"),
            "mvolt",
            "$step",
            ("lastNotNull", "min", "max"),
            decimals=1,
        ),
        12,
        9,
    )
    made.add(
        time_series(
            "Cell temperatures",
            "Average of each cell in each step. Cells must not be charged below 0 °C.",
            sql_targets(cell_curves("t", "average"), "time_series"),
            "celsius",
            "$step",
            thresholds=thresholds(BLUE, (0, "transparent"), (45, AMBER), (55, RED)),
        ),
        8,
        8,
    )
    made.add(
        time_series(
            "Voltage of the pack",
            "Average in each step.",
            sql_targets(curve("avg(v_pack)"), "time_series"),
            "volt",
            "$step",
            decimals=2,
        ),
        8,
        8,
    )
    made.add(
        time_series(
            "Current of the pack",
            "Average in each step. Above zero the battery is charged, below it is discharged.",
            sql_targets(curve("avg(i_pack)"), "time_series"),
            "amp",
            "$step",
            decimals=1,
        ),
        8,
        8,
    )
    made.add(
        time_series(
            "Temperature of the pack",
            "Average in each step.",
            sql_targets(curve("avg(temp)"), "time_series"),
            "celsius",
            "$step",
        ),
        8,
        8,
    )
    made.add(
        time_series(
            "Errors on the cell bus",
            """Frames between the cells and the battery's controller that were damaged, and cell
            voltages that it rejected, in each step. A few are usual; many mean a bad contact.""",
            sql_targets(BUS_ERRORS, "time_series"),
            "short",
            "$step",
            bars=True,
            min=0,
        ),
        8,
        8,
    )
    made.add(
        table(
            "Newest row",
            """What the battery reported last, and when. The energies are in the firmware's unit.
            The MCU ID is what the table and the listener call the battery.""",
            sql_targets(NEWEST, "table"),
            {},
        ),
        8,
        8,
    )
    made.add(
        time_series(
            "State of health",
            "As the battery reports it.",
            sql_targets(curve("avg(health)"), "time_series"),
            "percent",
            "$step",
            decimals=1,
        ),
        12,
        7,
    )
    made.add(
        time_series(
            "Energies as reported",
            """The battery's own counters, in the firmware's unit. They are repeated in each row
            until the connection is lost.""",
            sql_targets(REPORTED_ENERGIES, "time_series"),
            "short",
            "$step",
            ("lastNotNull",),
        ),
        12,
        7,
    )


REPORTED_ENERGIES = sql(
    """
    SELECT
      $__timeGroupAlias(insert_time_utc, $__interval, NULL),
      max(energy_in) AS energy_in,
      max(energy_out) AS energy_out
    FROM battery_pack
    WHERE $__timeFilter(insert_time_utc) AND «chosen»
    GROUP BY 1
    ORDER BY 1
    """,
    chosen=CHOSEN,
)

BUS_ERRORS = sql(
    """
    SELECT
      $__timeGroupAlias(insert_time_utc, $__interval),
      sum(bad_crc) AS damaged,
      sum(parse_fail) AS unreadable,
      sum(bad_vcell) AS "bad voltages"
    FROM battery_pack
    WHERE $__timeFilter(insert_time_utc) AND «chosen»
    GROUP BY 1
    ORDER BY 1
    """,
    chosen=CHOSEN,
)

# A line for each value. Grafana's own transformation for that is newer than Grafana 11.0.
NEWEST = sql(
    """
    WITH newest AS (
      «newest»
    )
    SELECT line.* FROM newest CROSS JOIN LATERAL (VALUES
      ('time', to_char(
        insert_time_utc AT TIME ZONE 'UTC' AT TIME ZONE '$__timezone', 'YYYY-MM-DD HH24:MI:SS'
      )),
      ('MCU ID', «hex»),
      ('unit', unit_rank::TEXT || ' of ' || n_units::TEXT),
      ('cells', cell_count::TEXT),
      ('state of health', health::TEXT || ' %'),
      ('errors', errors::TEXT),
      ('system state', system_state::TEXT),
      ('breaker', breaker::TEXT),
      ('charge state', charge_state::TEXT),
      ('energy in', energy_in::TEXT),
      ('energy out', energy_out::TEXT)
    ) AS line ("what", "value")
    """,
    newest=newest("newest.*").replace("\n", "\n  "),
    hex=HEX,
)
