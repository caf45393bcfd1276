//! The table that is there, the one that is missing, and the one that may not be created.

use std::thread;

use bluenova_postgres::{Retry, Sink, schema};

use crate::{House, delivered, record};

fn has_index(house: &House) -> bool {
    let sql = "SELECT to_regclass('battery_pack_time') IS NOT NULL";
    house.client().query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn is_created_where_it_is_missing() {
    let house = House::new("created");
    assert!(house.sink().notes().is_empty());
    assert!(has_index(&house));
    assert_eq!(house.count(), 0);
}

#[test]
fn is_created_once_by_many_at_once() {
    let house = House::new("created_by_many");
    for _ in 0..5 {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(house.sink().notes().is_empty()));
            }
        });
        assert!(has_index(&house));
        house.admin("DROP TABLE battery_pack");
    }
}

#[test]
fn the_error_says_what_to_run_where_it_may_not_be_created() {
    let house = House::of_somebody_else("not_created");
    let error = Sink::connect(&house.settings()).err().expect("the schema is somebody else's");
    assert_eq!(error.sqlstate(), Some("42501"));
    assert_eq!(error.retry(), Retry::Hold);
    let text = error.to_string();
    let grant = "GRANT SELECT, INSERT ON battery_pack TO homeauto";
    assert!(text.starts_with("creating battery_pack in not_created on /tmp/"), "{text}");
    assert!(text.contains("permission denied for schema public (42501)"), "{text}");
    assert!(text.contains("`bluenovalistener schema | psql`"), "{text}");
    assert!(text.ends_with(grant), "{text}");

    house.admin(&schema());
    house.admin(grant);
    assert_eq!(house.sink().deliver(&[record(0, 1)]).unwrap(), delivered(1, 0));
}

#[test]
fn a_missing_index_is_created_or_noted() {
    let house = House::new("no_index");
    house.sink();
    house.admin("DROP INDEX battery_pack_time");
    assert!(house.sink().notes().is_empty());
    assert!(has_index(&house));

    house.admin("DROP INDEX battery_pack_time; ALTER TABLE battery_pack OWNER TO postgres");
    house.admin("GRANT SELECT, INSERT ON battery_pack TO homeauto");
    let mut sink = house.sink();
    let run = "CREATE INDEX battery_pack_time ON battery_pack (insert_time_utc)";
    assert!(sink.notes()[0].contains(run), "{:?}", sink.notes());
    assert!(!has_index(&house));
    assert_eq!(sink.deliver(&[record(0, 1)]).unwrap(), delivered(1, 0));

    for index in ["(mcu_id, insert_time_utc)", "(insert_time_utc, soc)"] {
        house.admin(&format!("CREATE INDEX other ON battery_pack {index}"));
        assert!(house.sink().notes().is_empty(), "{index}");
        house.admin("DROP INDEX other");
    }
}

#[test]
fn the_one_that_is_there_is_taken_as_it_is() {
    let house = House::new("as_it_is");
    // More columns, another order, wider types, a key, in another schema of the search path.
    house.admin(
        &schema()
            .replace("\n    mcu_id          BIGINT,", "")
            .replace("REAL", "DOUBLE PRECISION")
            .replace(
                "(\n",
                "(\n  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mcu_id BIGINT,\n",
            )
            .replace(
                "SMALLINT\n)",
                "INTEGER, place TEXT DEFAULT 'cellar',\n UNIQUE (mcu_id, insert_time_utc))",
            ),
    );
    house.admin(
        "CREATE SCHEMA solar; ALTER TABLE battery_pack SET SCHEMA solar;
         GRANT USAGE ON SCHEMA solar TO homeauto;
         GRANT SELECT, INSERT ON solar.battery_pack TO homeauto",
    );
    house.set("search_path = public, solar");
    let mut sink = house.sink();
    assert_eq!(sink.deliver(&[record(0, 1)]).unwrap(), delivered(1, 0));
    assert_eq!(sink.deliver(&[record(0, 1), record(0, 2)]).unwrap(), delivered(1, 1));
    let sql = "SELECT place, bad_vcell FROM solar.battery_pack WHERE mcu_id = 2";
    let row = house.client().query_one(sql, &[]).unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1)), ("cellar", 0));
}

#[test]
fn a_view_will_do() {
    let house = House::new("a_view");
    house.admin(&schema());
    house.admin(
        "ALTER TABLE battery_pack RENAME TO pack;
         CREATE VIEW battery_pack AS SELECT * FROM pack;
         GRANT SELECT, INSERT ON battery_pack TO homeauto",
    );
    let mut sink = house.sink();
    assert!(sink.notes().is_empty());
    assert_eq!(sink.deliver(&[record(0, 1)]).unwrap(), delivered(1, 0));
    assert_eq!(sink.deliver(&[record(0, 1)]).unwrap(), delivered(0, 1));
}
