//! The sink against a real PostgreSQL.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod copy_out;
mod cost;
mod deadlines;
mod encodings;
mod encryption;
mod errors;
mod flat;
mod hosts;
mod limits;
mod lost_rows;
mod narrowing;
mod once;
mod partitions;
mod partman;
mod passwords;
mod poolers;
mod probe;
mod row_times;
mod rows;
mod scaling;
mod shards;
mod table;
mod times;
mod timescale;
mod triggers;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bluenova_postgres::{Deadlines, Delivered, Error, Settings, Sink};
use bluenova_record::{COLUMNS, PackRecord, SqlType, Text, Value};
use bluenova_test_support::Cluster;
use postgres::Client;
use time::{PrimitiveDateTime, UtcDateTime};

/// Time-out for everything that happens soon, unless something is broken.
const MINUTE: Duration = Duration::from_secs(60);

/// A database of the cluster that all tests share.
struct Database {
    name: String,
}

impl Database {
    /// A database that belongs to `homeauto`, the user of the sink.
    fn new(name: &str) -> Self {
        let database = Self::of_another_user(name);
        database.admin(&format!("ALTER DATABASE {name} OWNER TO homeauto"));
        database
    }

    /// A database in which `homeauto` may not create anything.
    fn of_another_user(name: &str) -> Self {
        cluster().create_database(name);
        Self { name: name.to_owned() }
    }

    fn settings(&self) -> Settings {
        let url = cluster().url(&self.name);
        Settings::resolve(&url, Some("homeauto"), |_| None).unwrap()
    }

    fn sink(&self) -> Sink {
        connect(self.settings()).expect("the database is in order")
    }

    fn unconnected_sink(&self) -> Sink {
        new_sink(self.settings(), MINUTE)
    }

    fn client(&self) -> Client {
        cluster().client(&self.name)
    }

    fn admin(&self, sql: &str) {
        self.client().batch_execute(sql).expect(sql);
    }

    /// Sets an option of all sessions that begin from now on.
    fn set(&self, setting: &str) {
        self.admin(&format!("ALTER DATABASE {} SET {setting}", self.name));
    }

    fn count(&self) -> i64 {
        let sql = "SELECT count(*) FROM battery_pack";
        self.client().query_one(sql, &[]).unwrap().get(0)
    }

    /// All rows, by time and battery.
    fn rows(&self) -> Vec<PackRecord> {
        let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
        let sql = format!(
            "SELECT {} FROM battery_pack ORDER BY insert_time_utc, mcu_id",
            names.join(",")
        );
        self.client().query(&sql, &[]).unwrap().iter().map(record_of).collect()
    }
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start_with(&[("autovacuum", "off"), ("max_connections", "200")]);
        cluster.create_role("homeauto");
        cluster
    })
}

fn record_of(row: &postgres::Row) -> PackRecord {
    let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0);
    for column in &COLUMNS {
        let text: Option<String>;
        let value = match column.sql {
            SqlType::Timestamp => row
                .get::<_, Option<PrimitiveDateTime>>(column.name)
                .map(|time| Value::Timestamp(time.assume_utc().into())),
            SqlType::BigInt => row.get::<_, Option<i64>>(column.name).map(Value::BigInt),
            SqlType::SmallInt => row.get::<_, Option<i16>>(column.name).map(Value::SmallInt),
            SqlType::Real => row.get::<_, Option<f32>>(column.name).map(Value::Real),
            SqlType::Varchar(_) => {
                text = row.get(column.name);
                text.as_deref().map(Value::Text)
            }
        };
        column.set(&mut record, value).unwrap();
    }
    record
}

/// The record of a battery at a number of seconds.
fn record(seconds: i64, mcu_id: u32) -> PackRecord {
    let time = UtcDateTime::from_unix_timestamp(1_750_000_000 + seconds).unwrap();
    let mut record = PackRecord::new(time, mcu_id);
    record.v_pack = Some(53.017);
    record.errors = Some(Text::new("NONE"));
    record
}

/// A sink that is connected. Its deadlines are out of the way.
fn connect(settings: Settings) -> Result<Sink, Error> {
    let mut sink = new_sink(settings, MINUTE);
    sink.connect().map(|()| sink)
}

fn new_sink(settings: Settings, deadline: Duration) -> Sink {
    Sink::new(settings, Deadlines { connect: deadline, deliver: deadline })
}

/// Delivers all rows, step by step, of which none is rejected.
#[track_caller]
fn deliver(sink: &mut Sink, rows: &[PackRecord]) -> Result<Delivered, Error> {
    let rows: Arc<[PackRecord]> = rows.into();
    let mut sum = delivered(0, 0);
    while sum.rows < rows.len() {
        let step = sink.deliver(&rows, sum.rows)?;
        assert_eq!(step, delivered(step.added, step.known));
        sum = delivered(sum.added + step.added, sum.known + step.known);
    }
    Ok(sum)
}

fn delivered(added: u64, known: u64) -> Delivered {
    Delivered { rows: (added + known) as usize, added, known, ..Delivered::default() }
}
