"""What the SQL of several panels has in common.

The times of the table are UTC without a time zone. Grafana's macros compare them with times in
UTC, and count seconds from them as of UTC, which is right whatever the zone of server and browser.
"""

from panels import POSTGRESQL, data_source, sql

HEX = "lpad(upper(to_hex(mcu_id)), 8, '0')"

# The name from the text box "Names", or else the MCU ID.
NAME = f"coalesce(substring(${{names:sqlstring}} FROM '(?i)' || {HEX} || '=([^,]*)'), {HEX})"

# Without a battery in the list, this is false; `IN ()` would be an error.
CHOSEN = "mcu_id = ANY ('{${battery:csv}}'::BIGINT[])"

CELL_NUMBERS = [f"{number:02}" for number in range(1, 17)]
CELLS_V = ", ".join(f"cell_{number}_v" for number in CELL_NUMBERS)
SPREAD_MV = f"(greatest({CELLS_V}) - least({CELLS_V})) * 1000"


def averages(column):
    return ", ".join(f"avg(cell_{number}_{column})" for number in CELL_NUMBERS)


def battery_variable():
    return {
        "allowCustomValue": False,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": data_source(POSTGRESQL),
        "description": "Batteries with a row in the time range.",
        "includeAll": True,
        "label": "Battery",
        "multi": True,
        "name": "battery",
        "query": sql(
            """
            SELECT DISTINCT mcu_id AS __value, «name» AS __text
            FROM battery_pack
            WHERE $__timeFilter(insert_time_utc)
            ORDER BY __text
            """,
            name=NAME,
        ),
        "refresh": 2,
        "type": "query",
    }


def names_variable():
    return {
        "current": {"selected": True, "text": "", "value": ""},
        "description": "The table has no names. Put them here: 9F3C07B2=attic,00000BAD=cellar",
        "label": "Names",
        "name": "names",
        "query": "",
        "type": "textbox",
    }


def step_variable():
    steps = ["10s", "30s", "1m", "5m", "15m", "1h"]
    return {
        "current": {"selected": True, "text": "1m", "value": "1m"},
        "description": "Points of a curve are no closer than this. It must be at least the"
        " listener's interval (-i), or curves fall apart.",
        "label": "Finest step",
        "name": "step",
        "options": [{"selected": step == "1m", "text": step, "value": step} for step in steps],
        "query": ",".join(steps),
        "type": "custom",
    }


def curve(value):
    """A value of each battery over time, in buckets."""
    return sql(
        """
        SELECT
          $__timeGroupAlias(insert_time_utc, $__interval, NULL),
          «name» AS metric,
          «value» AS value
        FROM battery_pack
        WHERE $__timeFilter(insert_time_utc) AND «chosen»
        GROUP BY 1, mcu_id
        ORDER BY 1, 2
        """,
        name=NAME,
        value=value,
        chosen=CHOSEN,
    )


def cell_curves(column, value):
    """A value of each cell over time, in buckets, from the bucket's averages."""
    return sql(
        """
        WITH bucket AS (
          SELECT
            $__timeGroupAlias(insert_time_utc, $__interval, NULL),
            ARRAY[«averages»] AS cells
          FROM battery_pack
          WHERE $__timeFilter(insert_time_utc) AND «chosen»
          GROUP BY 1
        )
        SELECT time, lpad(number::TEXT, 2, '0') AS metric, «value» AS value
        FROM bucket CROSS JOIN LATERAL unnest(cells) WITH ORDINALITY AS cell (average, number)
        WHERE average IS NOT NULL
        ORDER BY 1, 2
        """,
        averages=averages(column),
        chosen=CHOSEN,
        value=value,
    )


# Steps from row to row by battery, local day and length, and the usual length of that day. A join
# of the steps with the usual lengths would take minutes: the planner expects a handful of each.
STEPS = sql(
    """
    step AS (
      SELECT
        mcu_id,
        date_trunc('day', insert_time_utc AT TIME ZONE 'UTC' AT TIME ZONE '$__timezone') AS day,
        round(extract(EPOCH FROM insert_time_utc - lag(insert_time_utc) OVER battery)) AS seconds,
        v_pack * i_pack + lag(v_pack * i_pack) OVER battery AS twice_the_watts
      FROM battery_pack
      WHERE $__timeFilter(insert_time_utc) AND «chosen»
      WINDOW battery AS (PARTITION BY mcu_id ORDER BY insert_time_utc)
    ),
    length AS (
      SELECT
        mcu_id,
        day,
        seconds,
        count(*) AS rows,
        sum(greatest(twice_the_watts, 0) * seconds) / 7200 AS charged,
        -sum(least(twice_the_watts, 0) * seconds) / 7200 AS discharged,
        first_value(seconds) OVER (
          PARTITION BY mcu_id, day ORDER BY seconds IS NULL, count(*) DESC, seconds
        ) AS usual
      FROM step
      GROUP BY mcu_id, day, seconds
    )
    """,
    chosen=CHOSEN,
)

# Charging and discharging within one step cancel out, which matters little in steps of ten seconds.
ENERGY_PER_DAY = sql(
    """
    WITH «steps»
    SELECT
      day AT TIME ZONE '$__timezone' AS "time",
      sum(charged) AS charged,
      sum(discharged) AS discharged
    FROM length
    WHERE seconds <= 3 * usual
    GROUP BY 1
    ORDER BY 1
    """,
    steps=STEPS,
)

# Days without a row count, those before a battery's first row don't.
COMPLETENESS_PER_DAY = sql(
    """
    WITH «steps»,
    found AS (
      SELECT mcu_id, day, sum(rows) * max(usual) AS seconds FROM length GROUP BY mcu_id, day
    ),
    day AS (
      SELECT mcu_id, generate_series(
        min(found.day),
        date_trunc(
          'day', $__timeTo()::TIMESTAMPTZ AT TIME ZONE '$__timezone' - INTERVAL '1 second'
        ),
        '1 day'
      ) AS day
      FROM found
      GROUP BY mcu_id
    )
    SELECT
      day.day AT TIME ZONE '$__timezone' AS "time",
      «name» AS metric,
      least(1, coalesce(found.seconds, 0) / nullif(extract(EPOCH FROM
        least((day.day + INTERVAL '1 day') AT TIME ZONE '$__timezone', $__timeTo())
        - greatest(day.day AT TIME ZONE '$__timezone', $__timeFrom())), 0)) AS value
    FROM day LEFT JOIN found USING (mcu_id, day)
    ORDER BY 1, 2
    """,
    steps=STEPS,
    name=NAME,
)


def newest(columns):
    """The newest row of each chosen battery."""
    return sql(
        """
        SELECT «columns»
        FROM unnest('{${battery:csv}}'::BIGINT[]) AS chosen (mcu_id)
        CROSS JOIN LATERAL (
          SELECT * FROM battery_pack
          WHERE $__timeFilter(insert_time_utc) AND battery_pack.mcu_id = chosen.mcu_id
          ORDER BY insert_time_utc DESC
          LIMIT 1
        ) AS newest
        ORDER BY 1
        """,
        columns=columns,
    )
