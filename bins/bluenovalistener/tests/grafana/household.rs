//! A PostgreSQL with a month of rows of batteries of which everything is known.

use std::{fs, sync::OnceLock};

use bluenova_test_support::Cluster;
use postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use time::{Duration, UtcDateTime, macros::utc_datetime};

use crate::{repository, support::Home};

/// 16 cells; charged with 20 A from 06:00 to 12:00, discharged with 10 A from then on, at 52 V.
pub(crate) const NORTH: u32 = 0x9F3C_07B2;
/// Four cells and NULL in most columns; discharged with 5 A at 13 V.
pub(crate) const SOUTH: u32 = 0x0000_0BAD;
pub(crate) const FROM: UtcDateTime = utc_datetime!(2026-09-01 00:00:00);
pub(crate) const TO: UtcDateTime = utc_datetime!(2026-10-01 00:00:00);

/// A row a minute. North's 10th September lacks three hours, its 12th is missing, from the 20th on
/// its cell 07 is 120 mV above the others, on the 25th it has an error for ten minutes, and on the
/// 28th it is cold, and its breaker open.
const ROWS: &str = "
    INSERT INTO battery_pack
      (insert_time_utc, mcu_id, cell_count, v_pack, i_pack, temp, soc, health, errors, breaker,
       bad_crc, parse_fail, bad_vcell, energy_in, energy_out,
       cell_01_v, cell_02_v, cell_03_v, cell_04_v, cell_05_v, cell_06_v, cell_07_v, cell_08_v,
       cell_09_v, cell_10_v, cell_11_v, cell_12_v, cell_13_v, cell_14_v, cell_15_v, cell_16_v,
       cell_01_t)
    SELECT
      t, 2671511474, 16, 52,
      CASE WHEN extract(HOUR FROM t) < 6 THEN 0 WHEN extract(HOUR FROM t) < 12 THEN 20 ELSE -10 END,
      20, 50 + extract(HOUR FROM t), 97.5,
      CASE WHEN t >= '2026-09-25 10:00' AND t < '2026-09-25 10:10' THEN 'OVERVOLT' ELSE 'NONE' END,
      CASE WHEN t::DATE = '2026-09-28' THEN 'OPEN' ELSE 'CLOSED' END, 1, 0, 0, 900, 800,
      3.25, 3.25, 3.25, 3.25, 3.25, 3.25, CASE WHEN t < '2026-09-20' THEN 3.25 ELSE 3.37 END, 3.25,
      3.25, 3.25, 3.25, 3.25, 3.25, 3.25, 3.25, 3.25,
      CASE WHEN t::DATE = '2026-09-28' THEN -1 ELSE 21 END
    FROM generate_series('2026-09-01'::TIMESTAMP, '2026-09-30 23:59', '1 minute') AS t
    WHERE NOT (t >= '2026-09-10 06:00' AND t < '2026-09-10 09:00')
      AND NOT (t >= '2026-09-12' AND t < '2026-09-13');
    INSERT INTO battery_pack
      (insert_time_utc, mcu_id, v_pack, i_pack, soc, cell_01_v, cell_02_v, cell_03_v, cell_04_v)
    SELECT t, 2989, 13, -5, 10, 3.2, 3.2, 3.2, 3.25
    FROM generate_series('2026-09-01'::TIMESTAMP, '2026-09-30 23:59', '1 minute') AS t";

/// Of the 14th and 15th; then its listener's interval changed from half a minute to five.
pub(crate) const THIRD: u32 = 7;

const ROWS_OF_THIRD: &str = "
    INSERT INTO battery_pack (insert_time_utc, mcu_id, v_pack, i_pack, soc)
    SELECT t, 7, 50, 10, 80
    FROM generate_series('2026-09-14'::TIMESTAMP, '2026-09-14 23:59:30', '30 seconds') AS t
    UNION ALL
    SELECT t, 7, 50, 10, 80
    FROM generate_series('2026-09-15'::TIMESTAMP, '2026-09-15 23:55', '5 minutes') AS t";

/// Hourly until noon of the 26th of October, every ten seconds from then on until the 27th. On the
/// 25th, summer time ends in Berlin.
pub(crate) const HOURLY: u32 = 8;

const ROWS_OF_HOURLY: &str = "
    INSERT INTO battery_pack (insert_time_utc, mcu_id, v_pack, i_pack, soc)
    SELECT t, 8, 50, 10, 80
    FROM generate_series('2026-10-20'::TIMESTAMP, '2026-10-26 12:00', '1 hour') AS t
    UNION ALL
    SELECT t, 8, 50, 10, 80
    FROM generate_series('2026-10-26 12:00:10'::TIMESTAMP, '2026-10-27', '10 seconds') AS t";

/// A table of the first listener, with its index, rows that are there twice, one of no battery, and
/// columns of other types: North's first week.
const OLD_TABLE: &str = "
    CREATE SCHEMA old;
    CREATE TABLE old.battery_pack AS
      SELECT * FROM battery_pack WHERE mcu_id = 2671511474 AND insert_time_utc < '2026-09-08';
    INSERT INTO old.battery_pack SELECT * FROM old.battery_pack;
    INSERT INTO old.battery_pack (insert_time_utc) VALUES ('2026-09-03 12:00');
    ALTER TABLE old.battery_pack
      ALTER v_pack TYPE NUMERIC(6, 3), ALTER i_pack TYPE DOUBLE PRECISION, ALTER soc TYPE NUMERIC,
      ALTER cell_01_v TYPE DOUBLE PRECISION, ALTER errors TYPE TEXT;
    CREATE INDEX battery_pack_time ON old.battery_pack (insert_time_utc);
    ANALYZE old.battery_pack;
    GRANT USAGE ON SCHEMA old TO grafana;
    GRANT SELECT ON old.battery_pack TO grafana";

/// A connection of the user that docs/grafana.md makes for Grafana, to a table that the listener
/// has made.
pub(crate) fn reader() -> Client {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start).client_as("grafana", "homeauto")
}

fn start() -> Cluster {
    let cluster = Cluster::start();
    cluster.create_database("homeauto");
    let schema = Home::new().run(&["schema"]);
    assert!(schema.status.success(), "{schema:?}");
    let mut client = cluster.client("homeauto");
    client.batch_execute(str::from_utf8(&schema.stdout).unwrap()).unwrap();
    // As they come: rows of one time lie side by side.
    client
        .batch_execute(&format!("{ROWS}; {ROWS_OF_THIRD}; {ROWS_OF_HOURLY}; {IN_ORDER}"))
        .unwrap();
    let page = fs::read_to_string(repository("docs/grafana.md")).unwrap();
    let sql = page.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    client.batch_execute(&format!("{sql}; {OLD_TABLE}")).unwrap();
    cluster
}

const IN_ORDER: &str = "
    CREATE TABLE ordered AS SELECT * FROM battery_pack ORDER BY insert_time_utc;
    TRUNCATE battery_pack;
    INSERT INTO battery_pack SELECT * FROM ordered;
    DROP TABLE ordered;
    ANALYZE battery_pack";

/// What a query gives, as texts.
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

impl Table {
    pub(crate) fn of(client: &mut Client, sql: &str) -> Self {
        let messages = client.simple_query(sql).unwrap_or_else(|e| panic!("{e:?} in\n{sql}"));
        let mut columns = vec![];
        let mut rows = vec![];
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(described) => {
                    columns = described.iter().map(|it| it.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => rows.push(texts(&row)),
                _ => {}
            }
        }
        Self { columns, rows }
    }

    fn position(&self, column: &str) -> usize {
        let found = self.columns.iter().position(|name| name == column);
        found.unwrap_or_else(|| panic!("no column {column} among {:?}", self.columns))
    }

    pub(crate) fn texts(&self, column: &str) -> Vec<Option<&str>> {
        let at = self.position(column);
        self.rows.iter().map(|row| row[at].as_deref()).collect()
    }

    pub(crate) fn numbers(&self, column: &str) -> Vec<f64> {
        let texts = self.texts(column);
        texts.into_iter().map(|text| text.map_or(f64::NAN, |it| it.parse().unwrap())).collect()
    }

    /// The values of one battery or cell, where `metric` says whose they are.
    pub(crate) fn of_metric(&self, metric: &str) -> Vec<f64> {
        let owners = self.texts("metric");
        let values = self.numbers("value").into_iter().zip(owners);
        values.filter(|(_, owner)| *owner == Some(metric)).map(|(value, _)| value).collect()
    }
}

fn texts(row: &SimpleQueryRow) -> Vec<Option<String>> {
    (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()
}

/// Number of whole days from the beginning of the month.
pub(crate) fn days(count: i64) -> UtcDateTime {
    FROM + Duration::days(count)
}
