"""What the SQL of several panels has in common.

The times of the table are UTC without a time zone. Grafana's macros compare them with times in
UTC, and count seconds from them as of UTC, which is right whatever the zone of server and browser.
"""

from panels import POSTGRESQL, data_source, sql

HEX = "lpad(upper(to_hex(mcu_id)), 8, '0')"

# The name from the text box "Names", or else the MCU ID.
NAME = (
    f"coalesce(nullif(btrim(substring(${{names:sqlstring}} FROM '(?i)' || {HEX} || '=([^,]*)')),"
    f" ''), {HEX})"
)

# Without a battery in the list, this is false; `IN ()` would be an error.
CHOSEN = "mcu_id = ANY ('{${battery:csv}}'::BIGINT[])"

CELL_NUMBERS = [f"{number:02}" for number in range(1, 17)]
CELLS_V = ", ".join(f"cell_{number}_v" for number in CELL_NUMBERS)
CELLS_T = ", ".join(f"cell_{number}_t" for number in CELL_NUMBERS)
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
            WITH battery AS (
              SELECT DISTINCT mcu_id
              FROM battery_pack
              WHERE $__timeFilter(insert_time_utc) AND mcu_id IS NOT NULL
            )
            SELECT mcu_id AS __value, «name» AS __text FROM battery ORDER BY __text
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


def steps(moment):
    """Steps from row to row, on the day of a moment of the row.

    The usual step is the listener's interval when it recorded the row: the shortest step of the row
    and its two neighbours on one side, so that it is neither a gap nor the interval before a
    change. A row that is there twice makes a step of nothing."""
    return sql(
        """
        step AS (
          SELECT
            mcu_id,
            insert_time_utc,
            (extract(EPOCH FROM insert_time_utc - lag(insert_time_utc) OVER battery))::FLOAT8
              AS seconds,
            v_pack * i_pack + lag(v_pack * i_pack) OVER battery AS twice_the_watts
          FROM battery_pack
          WHERE $__timeFilter(insert_time_utc) AND «chosen»
          WINDOW battery AS (PARTITION BY mcu_id ORDER BY insert_time_utc)
        ),
        measured AS (
          SELECT
            mcu_id,
            date_trunc('day', «moment» AT TIME ZONE 'UTC' AT TIME ZONE '$__timezone') AS day,
            seconds,
            twice_the_watts,
            coalesce(
              greatest(
                CASE WHEN lag(seconds, 2) OVER battery IS NOT NULL THEN min(nullif(seconds, 0))
                  OVER (battery ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) END,
                CASE WHEN lead(seconds, 2) OVER battery IS NOT NULL THEN min(nullif(seconds, 0))
                  OVER (battery ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING) END
              ),
              min(nullif(seconds, 0)) OVER (battery ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING)
            ) AS usual
          FROM step
          WINDOW battery AS (PARTITION BY mcu_id ORDER BY insert_time_utc)
        )
        """,
        moment=moment,
        chosen=CHOSEN,
    )


# Charging and discharging within one step cancel out, which matters little in steps of ten seconds.
# A row has the end of its interval, so that one of midnight ends a day.
ENERGY_PER_DAY = sql(
    """
    WITH «steps»
    SELECT
      day AT TIME ZONE '$__timezone' AS "time",
      sum(greatest(twice_the_watts, 0) * seconds) / 7200 AS charged,
      -sum(least(twice_the_watts, 0) * seconds) / 7200 AS discharged
    FROM measured
    WHERE seconds > 0 AND seconds <= 3 * usual
    GROUP BY 1
    ORDER BY 1
    """,
    steps=steps("(insert_time_utc - INTERVAL '1 microsecond')"),
)

# Days without a row count, those before a battery's first row don't. After a gap, a row accounts
# for one interval. A row of midnight begins a day here: of a day with a row an hour, that of its
# first hour would be missing until one o'clock.
COMPLETENESS_PER_DAY = sql(
    """
    WITH «steps»,
    found AS (
      SELECT
        mcu_id,
        day,
        sum(coalesce(CASE WHEN seconds <= 1.5 * usual THEN seconds END, usual)) AS seconds
      FROM measured
      GROUP BY mcu_id, day
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
        least((day.day + INTERVAL '1 day') AT TIME ZONE '$__timezone', $__timeTo(), now())
        - greatest(day.day AT TIME ZONE '$__timezone', $__timeFrom())), 0)) AS value
    FROM day LEFT JOIN found USING (mcu_id, day)
    WHERE day.day AT TIME ZONE '$__timezone' < now()
    ORDER BY 1, 2
    """,
    steps=steps("insert_time_utc"),
    name=NAME,
)


def with_newest(battery, bound=""):
    """Joins the newest row of each battery, and whether it is older than it should be. `battery`
    is the relation of the batteries, `bound` a further condition for the rows.

    The interval is the shorter one of the last two steps. Ten minutes are for restarts. Ages are
    those at the end of the time range."""
    return sql(
        """
        CROSS JOIN LATERAL (
          SELECT
            *,
            extract(EPOCH FROM least(now(), $__timeTo()::TIMESTAMPTZ))
              - extract(EPOCH FROM insert_time_utc) AS age
          FROM battery_pack
          WHERE $__timeFilter(insert_time_utc)«bound» AND battery_pack.mcu_id = «battery».mcu_id
          ORDER BY insert_time_utc DESC
          LIMIT 1
        ) AS newest
        CROSS JOIN LATERAL (
          SELECT newest.age > greatest(600, 3 * min(seconds)) AS silent
          FROM (
            SELECT extract(EPOCH FROM insert_time_utc - lead(insert_time_utc) OVER (
              ORDER BY insert_time_utc DESC
            )) AS seconds
            FROM battery_pack
            WHERE $__timeFilter(insert_time_utc) AND insert_time_utc <= newest.insert_time_utc
              AND battery_pack.mcu_id = newest.mcu_id
            ORDER BY insert_time_utc DESC
            LIMIT 3
          ) AS step
          WHERE seconds > 0
        ) AS silence
        """,
        battery=battery,
        bound=bound,
    )


# All batteries with a row in the time range. To find a battery's newest row among those of many
# others, the index would be read back to it.
FLEET = sql(
    """
    known AS (
      SELECT mcu_id, count(*) AS rows, max(insert_time_utc) AS newest
      FROM battery_pack
      WHERE $__timeFilter(insert_time_utc)
      GROUP BY mcu_id
    ),
    battery AS (
      SELECT
        known.rows,
        silence.silent,
        newest.*,
        «spread» AS spread,
        least(«cells_v») AS lowest,
        greatest(«cells_v») AS highest,
        least(temp, «cells_t») AS coldest,
        greatest(temp, «cells_t») AS hottest,
        CASE WHEN upper(errors) NOT IN ('', 'NONE') THEN errors END AS error,
        CASE WHEN upper(breaker) NOT IN ('', 'CLOSED') THEN breaker END AS not_closed
      FROM known
      «with_newest»
    )
    """,
    spread=SPREAD_MV,
    cells_v=CELLS_V,
    cells_t=CELLS_T,
    with_newest=with_newest("known", " AND insert_time_utc <= known.newest"),
)


def newest(columns):
    """The newest row of each chosen battery."""
    return sql(
        """
        SELECT «columns»
        FROM unnest('{${battery:csv}}'::BIGINT[]) AS chosen (mcu_id)
        «with_newest»
        ORDER BY 1
        """,
        columns=columns,
        with_newest=with_newest("chosen"),
    )
