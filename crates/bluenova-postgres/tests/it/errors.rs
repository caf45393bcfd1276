//! Errors: what to do about them, their text, and that the sink works again afterwards.

use std::error::Error as _;

use bluenova_postgres::{Error, Retry, Settings};
use bluenova_test_support::{Cluster, Mode, wait_until};

use crate::{
    Database, MINUTE, cluster, connect, deliver, delivered, narrowing::deliver_and_reject, record,
};

#[track_caller]
pub(crate) fn check(error: &Error, retry: Retry, sqlstate: &str, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.retry(), retry, "{text}");
    assert_eq!(error.sqlstate(), Some(sqlstate), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} in {text:?}");
    }
    assert!(error.source().is_none(), "the server's answer is in the text already");
}

pub(crate) fn refused(settings: Settings) -> Error {
    connect(settings).err().expect("it can't be reached")
}

#[test]
fn a_missing_right_holds_until_it_is_granted() {
    let database = Database::new("revoked");
    let mut sink = database.sink();
    database.admin("ALTER TABLE battery_pack OWNER TO postgres");
    let error = deliver(&mut sink, &[record(0, 1)]).unwrap_err();
    let grant = "GRANT SELECT, INSERT ON battery_pack TO homeauto";
    check(&error, Retry::Hold, "42501", &["can't insert into battery_pack of revoked on /", grant]);
    check(&refused(database.settings()), Retry::Hold, "42501", &["can't prepare to", grant]);
    database.admin(grant);
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
}

#[test]
fn a_missing_column_holds_with_its_name() {
    let database = Database::new("dropped_column");
    let mut sink = database.sink();
    database.admin("ALTER TABLE battery_pack DROP COLUMN soc");
    let words =
        ["\"soc\"", "dropped_column on /", "run ALTER TABLE battery_pack ADD COLUMN soc SMALLINT"];
    check(&deliver(&mut sink, &[record(0, 1)]).unwrap_err(), Retry::Hold, "42703", &words);
    check(&refused(database.settings()), Retry::Hold, "42703", &words);
    database.admin("ALTER TABLE battery_pack ADD COLUMN soc SMALLINT");
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
}

#[test]
fn a_table_that_is_renamed_holds() {
    let database = Database::new("renamed");
    let mut sink = database.sink();
    database.admin("ALTER TABLE battery_pack RENAME TO old_pack");
    let words = ["relation \"battery_pack\" does not exist (42P01)"];
    check(&deliver(&mut sink, &[record(0, 1)]).unwrap_err(), Retry::Hold, "42P01", &words);
    database.admin("ALTER TABLE old_pack RENAME TO battery_pack");
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
}

#[test]
fn a_server_that_may_not_write_holds() {
    let database = Database::new("read_only");
    database.sink();
    database.set("default_transaction_read_only = on");
    check(&deliver(&mut database.sink(), &[record(0, 1)]).unwrap_err(), Retry::Hold, "25006", &[]);
}

#[test]
fn a_row_at_fault_is_rejected_with_the_reason() {
    let database = Database::new("row_at_fault");
    let mut sink = database.sink();
    database.admin("ALTER TABLE battery_pack ADD CONSTRAINT sane CHECK (mcu_id <> 13)");
    let rejected = deliver_and_reject(&mut sink, &[record(0, 1), record(0, 13)]);
    let [(1, rejected)] = &rejected[..] else { panic!("{rejected:?}") };
    assert_eq!(rejected.sqlstate, "23514");
    for words in ["can't insert into battery_pack of row_at_fault on /", "\"sane\"", "Failing row"]
    {
        assert!(rejected.reason.contains(words), "{words:?} in {rejected:?}");
    }
    assert_eq!(database.count(), 1);

    database.admin(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN RAISE ''not this one'' USING HINT = ''try another''; END';
         CREATE TRIGGER no BEFORE INSERT ON battery_pack FOR EACH ROW EXECUTE PROCEDURE no()",
    );
    let error = deliver(&mut sink, &[record(1, 1)]).unwrap_err();
    check(&error, Retry::Row, "P0001", &["not this one (P0001); try another"]);
    assert_eq!(database.count(), 1);
}

#[test]
fn a_missing_partition_holds_until_it_is_there() {
    let database = Database::new("partitioned");
    database.sink();
    database.admin(
        "ALTER TABLE battery_pack RENAME TO old_pack;
         CREATE TABLE battery_pack (LIKE old_pack) PARTITION BY RANGE (insert_time_utc);
         DROP TABLE old_pack;
         ALTER TABLE battery_pack OWNER TO homeauto",
    );
    if cluster().version() >= 11 {
        database.admin("CREATE INDEX ON battery_pack (insert_time_utc)");
    }
    let mut sink = database.sink();
    let words = ["no partition of relation", "; a partition is missing; create it"];
    check(&deliver(&mut sink, &[record(0, 1)]).unwrap_err(), Retry::Row, "23514", &words);
    check(&sink.probe(&record(0, 1)).unwrap_err(), Retry::Row, "23514", &words);
    database.admin(
        "CREATE TABLE rest PARTITION OF battery_pack FOR VALUES FROM (MINVALUE) TO (MAXVALUE)",
    );
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
    database.admin("ALTER TABLE battery_pack ADD CONSTRAINT sane CHECK (mcu_id <> 13)");
    let rejected = deliver_and_reject(&mut sink, &[record(0, 13)]);
    assert!(rejected[0].1.reason.contains("\"sane\""), "{rejected:?}");
}

#[test]
fn a_constraint_that_is_checked_at_commit_is_an_error_too() {
    let database = Database::new("at_commit");
    let mut sink = database.sink();
    database.admin(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN RAISE ''too late''; END';
         CREATE CONSTRAINT TRIGGER no AFTER INSERT ON battery_pack
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE no()",
    );
    check(&deliver(&mut sink, &[record(0, 1)]).unwrap_err(), Retry::Row, "P0001", &["too late"]);
    database.admin("DROP TRIGGER no ON battery_pack");
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
}

#[test]
fn a_session_that_is_ended_while_idle_is_replaced_silently() {
    let database = Database::of_another_user("ended");
    database.admin(&bluenova_postgres::schema());
    database.admin("DROP INDEX battery_pack_time; GRANT ALL ON battery_pack TO homeauto");
    let mut sink = database.unconnected_sink();
    sink.connect().unwrap();
    for n in 0..3 {
        // As a pooler, a proxy or `idle_session_timeout` ends it.
        let others = "FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.admin(&format!("SELECT pg_terminate_backend(pid) {others}"));
        wait_until("the session has ended", MINUTE, || {
            let sql = format!("SELECT count(*) {others}");
            database.client().query_one(&sql, &[]).unwrap().get::<_, i64>(0) == 0
        });
        assert_eq!(deliver(&mut sink, &[record(n, 1)]).unwrap(), delivered(1, 0));
        // The one about the index comes once.
        assert_eq!(sink.take_warnings().len(), usize::from(n == 0));
    }
    assert_eq!(database.count(), 3);
}

#[test]
fn a_server_that_stops_is_tried_again_soon() {
    let mut cluster = Cluster::start();
    let settings = Settings::resolve(&cluster.url("postgres"), None, |_| None).unwrap();
    for (n, mode) in (0..).zip([Mode::Fast, Mode::Immediate]) {
        let mut sink = connect(settings.clone()).unwrap();
        assert_eq!(deliver(&mut sink, &[record(n, 1)]).unwrap(), delivered(1, 0));
        cluster.stop(mode);
        assert_eq!(deliver(&mut sink, &[record(n, 2)]).unwrap_err().retry(), Retry::Soon);
        let error = refused(settings.clone());
        assert_eq!((error.retry(), error.sqlstate()), (Retry::Soon, None), "{error}");
        assert!(error.to_string().starts_with("can't connect to postgres on /tmp/"), "{error}");
        assert!(error.source().is_some(), "the reason is the system's");
        cluster.start_again();
        let mut sink = connect(settings.clone()).unwrap();
        assert_eq!(deliver(&mut sink, &[record(n, 1)]).unwrap(), delivered(0, 1), "{mode:?}");
    }
}

#[test]
fn a_missing_database_or_user_holds() {
    let url = cluster().url("nowhere");
    let settings = Settings::resolve(&url, None, |_| None).unwrap();
    check(
        &refused(settings),
        Retry::Hold,
        "3D000",
        &["can't connect to nowhere on /", "sudo -u postgres createdb -O 'postgres' 'nowhere'"],
    );
    let url = cluster().url("postgres");
    let settings = Settings::resolve(&url, Some("nobody"), |_| None).unwrap();
    let words = ["\"nobody\"", "`sudo -u postgres createuser 'nobody'`"];
    check(&refused(settings), Retry::Hold, "28000", &words);
}

#[test]
fn a_user_that_the_rules_keep_out_gets_advice() {
    let cluster = Cluster::start_with(&[("listen_addresses", "127.0.0.1")]);
    cluster.create_role("homeauto");
    let rules = "local all postgres trust\nlocal all all peer\n";
    std::fs::write(cluster.data_dir().join("pg_hba.conf"), rules).unwrap();
    cluster.client("postgres").batch_execute("SELECT pg_reload_conf()").unwrap();
    let settings = Settings::resolve(&cluster.url("postgres"), Some("homeauto"), |_| None).unwrap();
    bluenova_test_support::wait_until("the rules count", crate::MINUTE, || {
        connect(settings.clone()).is_err()
    });
    let words = ["`sudo -u 'homeauto' bluenovalistener …`", "-d postgresql://homeauto@localhost/"];
    check(&refused(settings), Retry::Hold, "28000", &words);

    let url = format!("postgresql://127.0.0.1:{}/postgres", cluster.port());
    let settings = Settings::resolve(&url, None, |_| None).unwrap();
    let words = ["pg_hba.conf", "`host postgres homeauto samenet scram-sha-256`"];
    check(&refused(settings), Retry::Hold, "28000", &words);
}

#[test]
fn a_socket_that_is_not_there_is_named() {
    let settings = Settings::resolve("host=/nowhere port=7 dbname=x", None, |_| None).unwrap();
    let error = refused(settings);
    assert_eq!(error.retry(), Retry::Soon, "{error}");
    assert!(error.to_string().contains("no socket /nowhere/.s.PGSQL.7: start the"), "{error}");
    assert!(error.has_remedy(), "no other advice belongs behind it");
}
