//! TimescaleDB, as docs/scaling.md describes it: the Apache edition in a real server, and what only
//! the Community edition has in PGlite, which serves one session at a time.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bluenova_postgres::{Settings, Sink};
use bluenova_record::PackRecord;
use bluenova_test_support::{Cluster, documented_sql};
use postgres::{Client, Config, NoTls};
use tempfile::TempDir;
use time::Duration;

use crate::{connect, deliver, delivered, record, table::advised};

/// Rows of three batteries, one per hour for so many days.
fn rows(days: i64) -> Vec<PackRecord> {
    let hours = 0..24 * days;
    hours.flat_map(|hour| (1..=3).map(move |battery| record(hour * 3600, battery))).collect()
}

/// The same rows half an hour later.
fn late(rows: &[PackRecord]) -> Vec<PackRecord> {
    let later = |row: &PackRecord| PackRecord {
        insert_time_utc: row.insert_time_utc + Duration::minutes(30),
        ..row.clone()
    };
    rows.iter().map(later).collect()
}

#[test]
#[ignore = "needs TimescaleDB, which `./test engines` installs"]
fn a_hypertable_as_documented() {
    let cluster = Cluster::start_with(&[("shared_preload_libraries", "timescaledb")]);
    cluster.create_role("homeauto");
    cluster.create_database("hyper");
    let admin = |sql: &str| cluster.client("hyper").batch_execute(sql).expect(sql);
    let count = |what: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {what}");
        cluster.client("hyper").query_one(&sql, &[]).unwrap().get(0)
    };
    admin("ALTER DATABASE hyper OWNER TO homeauto");
    let settings = || Settings::resolve(&cluster.url("hyper"), Some("homeauto"), |_| None).unwrap();
    let [hypertable, retention] = documented_sql("TimescaleDB").try_into().expect("two steps");

    let mut sink = connect(settings()).unwrap();
    let old = rows(60);
    assert_eq!(deliver(&mut sink, &old).unwrap(), delivered(4320, 0));
    admin(&hypertable);
    let chunks = count("show_chunks('battery_pack')");
    assert!((9..=10).contains(&chunks), "{chunks}");
    for sink in [&mut sink, &mut connect(settings()).unwrap()] {
        assert_eq!(deliver(sink, &old).unwrap(), delivered(0, 4320));
        assert_eq!(sink.take_warnings(), Vec::<String>::new());
    }
    let late = late(&old);
    assert_eq!(deliver(&mut sink, &late).unwrap(), delivered(4320, 0));
    assert_eq!(deliver(&mut sink, &late).unwrap(), delivered(0, 4320));
    assert_eq!(count("(SELECT DISTINCT insert_time_utc, mcu_id FROM battery_pack) AS keys"), 8640);

    // The table of an earlier version, as a hypertable: what is advised can be run.
    admin("DROP INDEX battery_pack_time; CREATE INDEX of_time ON battery_pack (insert_time_utc)");
    let advice = sink.index_advice().unwrap().expect("the index isn't unique");
    advised(&advice).into_iter().for_each(admin);
    assert_eq!(sink.index_advice().unwrap(), None);

    let ancient = record(-10 * 365 * 86_400, 1);
    assert_eq!(deliver(&mut sink, &[ancient]).unwrap(), delivered(1, 0));
    assert!(retention.contains("'2 years'"));
    // Whenever this test runs, that is between the two.
    let spans = "INTERVAL '1 day' * (extract(day FROM now() - '2024-01-01'))";
    admin(&retention.replace("INTERVAL '2 years'", spans));
    assert_eq!(count("battery_pack"), 8640);
    assert_eq!(sink.find_missing(&late.into()).unwrap(), None);
}

/// PostgreSQL with TimescaleDB's Community edition, which ends when the value is dropped.
struct PGlite {
    server: Child,
    directory: TempDir,
}

impl PGlite {
    fn start() -> Self {
        let packages = env::var_os("BLUENOVA_PGLITE").map(PathBuf::from);
        let packages = packages.expect("`./test engines` installs PGlite, and says where it is");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/support/pglite.mjs");
        // Packages are looked for beside the script.
        let copy = packages.join("pglite.mjs");
        fs::copy(&script, &copy).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("node");
        command.arg(copy).arg(directory.path().join(".s.PGSQL.5432"));
        let mut server =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Node.js runs");
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { server, directory }
    }

    /// A session, once the one before has ended.
    fn client(&self) -> Client {
        let mut config = Config::new();
        config.host_path(self.directory.path()).user("postgres").password("any").dbname("postgres");
        config.connect(NoTls).unwrap()
    }

    fn sink(&self) -> Sink {
        let host = self.directory.path().display();
        let conninfo = format!("host={host} user=postgres password=any dbname=postgres");
        connect(Settings::resolve(&conninfo, None, |_| None).unwrap()).unwrap()
    }

    #[track_caller]
    fn deliver(&self, rows: &[PackRecord], added: u64) {
        let known = rows.len() as u64 - added;
        assert_eq!(deliver(&mut self.sink(), rows).unwrap(), delivered(added, known));
    }

    fn admin(&self, sql: &str) {
        self.client().batch_execute(sql).expect(sql);
    }

    fn number(&self, sql: &str) -> i64 {
        self.client().query_one(sql, &[]).expect(sql).get(0)
    }
}

impl Drop for PGlite {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

const COMPRESS: &str = "SELECT compress_chunk(chunk, if_not_compressed => true)
                        FROM show_chunks('battery_pack') chunk";
const COMPRESSED: &str = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed";
const KEYS: &str = "SELECT count(DISTINCT (insert_time_utc, mcu_id)) FROM battery_pack";
const ROWS: &str = "SELECT count(*) FROM battery_pack";

#[test]
#[ignore = "needs TimescaleDB, which `./test engines` installs"]
fn compressed_chunks_and_roll_ups_as_documented() {
    let server = PGlite::start();
    let first = rows(14);
    server.deliver(&first, 1008);
    server.admin(&documented_sql("TimescaleDB")[0]);
    documented_sql("Compression").iter().for_each(|sql| server.admin(sql));
    server.admin(COMPRESS);
    assert!(server.number(COMPRESSED) >= 2);

    // What is in compressed chunks is known, and what is late goes into them, once.
    server.deliver(&first, 0);
    let late = late(&first);
    let mixed: Vec<_> = first[..100].iter().chain(&late[..100]).cloned().collect();
    server.deliver(&mixed, 100);
    server.deliver(&late, 908);
    for _ in 0..2 {
        server.deliver(&late, 0);
        server.deliver(&first, 0);
        server.admin(COMPRESS);
    }
    assert_eq!((server.number(ROWS), server.number(KEYS)), (2016, 2016));
    assert_eq!(server.sink().find_missing(&late.into()).unwrap(), None);
    let again =
        server.client().batch_execute("INSERT INTO battery_pack SELECT * FROM battery_pack");
    assert_eq!(again.unwrap_err().code().unwrap().code(), "23505");

    let [create, refresh] = documented_sql("Roll-ups").try_into().expect("two steps");
    server.admin(&create);
    server.admin(&refresh);
    let rolled_up = "SELECT sum(rows)::BIGINT FROM battery_pack_hourly";
    let hours = "SELECT count(*) FROM battery_pack_hourly";
    assert_eq!((server.number(rolled_up), server.number(hours)), (2016, 1008));
    server.deliver(&[record(10, 1)], 1);
    server.admin(&refresh);
    assert_eq!((server.number(rolled_up), server.number(hours)), (2017, 1008));
}
