//! A table that is there, one that is missing, and one that may not be created.

use std::thread;

use bluenova_postgres::{Retry, Sink, schema};

use crate::{Database, cluster, connect, deliver, delivered, record};

fn has_index(database: &Database) -> bool {
    let sql = "SELECT to_regclass('battery_pack_time') IS NOT NULL";
    database.client().query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_missing_table_is_created() {
    let database = Database::new("created");
    assert!(database.sink().take_warnings().is_empty());
    assert!(has_index(&database));
    assert_eq!(database.count(), 0);
}

#[test]
fn many_sinks_at_once_create_it_once() {
    let database = Database::new("created_by_many");
    for _ in 0..5 {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(database.sink().take_warnings().is_empty()));
            }
        });
        assert!(has_index(&database));
        database.admin("DROP TABLE battery_pack");
    }
}

#[test]
fn the_error_says_what_to_run_where_it_may_not_be_created() {
    let database = Database::of_another_user("not_created");
    // Everybody had that right before PostgreSQL 15.
    database.admin("REVOKE CREATE ON SCHEMA public FROM public");
    let error = connect(database.settings()).err().expect("the schema is another user's");
    assert_eq!(error.sqlstate(), Some("42501"));
    assert_eq!(error.retry(), Retry::Hold);
    let text = error.to_string();
    let grant = "GRANT SELECT, INSERT ON battery_pack TO homeauto";
    assert!(text.starts_with("can't create battery_pack in not_created on /tmp/"), "{text}");
    assert!(text.contains("permission denied for schema public (42501)"), "{text}");
    assert!(text.contains("`bluenovalistener schema | psql`"), "{text}");
    assert!(text.ends_with(grant), "{text}");

    database.admin(&schema());
    database.admin(grant);
    assert_eq!(deliver(&mut database.sink(), &[record(0, 1)]).unwrap(), delivered(1, 0));
}

#[test]
fn a_missing_index_is_created_or_warned_of() {
    let database = Database::new("no_index");
    database.sink();
    database.admin("DROP INDEX battery_pack_time");
    assert!(database.sink().take_warnings().is_empty());
    assert!(has_index(&database));

    database.admin("DROP INDEX battery_pack_time; ALTER TABLE battery_pack OWNER TO postgres");
    database.admin("GRANT SELECT, INSERT ON battery_pack TO homeauto");
    let mut sink = database.sink();
    let run = "CREATE UNIQUE INDEX battery_pack_time ON battery_pack (insert_time_utc, mcu_id)";
    let warnings = sink.take_warnings();
    assert!(warnings[0].contains(run), "{warnings:?}");
    assert!(!has_index(&database));
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));

    // A range of blocks, or a hash, doesn't lead to a row.
    for method in ["brin", "hash"] {
        database
            .admin(&format!("CREATE INDEX other ON battery_pack USING {method} (insert_time_utc)"));
        assert_eq!(database.sink().take_warnings().len(), 1, "{method}");
        database.admin("DROP INDEX other");
    }
    for (index, serves) in [
        ("(mcu_id, insert_time_utc)", true),
        ("(insert_time_utc, soc)", true),
        ("(soc, insert_time_utc)", false),
    ] {
        database.admin(&format!("CREATE INDEX other ON battery_pack {index}"));
        assert_eq!(database.sink().take_warnings().is_empty(), serves, "{index}");
        database.admin("DROP INDEX other");
    }
}

/// The name may belong to the index of a table that was renamed, or to one that is of no use here.
#[test]
fn an_index_whose_name_is_taken_gets_another() {
    let unique = |sql: &str, of: &str| {
        let database = Database::new(&format!("taken_by_{of}"));
        database.sink();
        database.admin(sql);
        let mut sink = database.sink();
        assert!(sink.take_warnings().is_empty());
        assert_eq!(sink.index_advice().unwrap(), None);
        let sql = "SELECT count(*) FROM pg_index WHERE indisunique AND indisvalid
                   AND indrelid = 'battery_pack'::regclass";
        assert_eq!(database.client().query_one(sql, &[]).unwrap().get::<_, i64>(0), 1, "{of}");
        database
    };
    unique("ALTER TABLE battery_pack RENAME TO battery_pack_2025", "a_renamed_table");
    let database = unique(
        "DROP INDEX battery_pack_time;
         CREATE INDEX battery_pack_time ON battery_pack USING brin (insert_time_utc)",
        "brin",
    );
    // Both are.
    database.admin(
        "DROP INDEX battery_pack_key;
         CREATE INDEX battery_pack_key ON battery_pack (soc)",
    );
    let warnings = database.sink().take_warnings();
    let (_, rest) = warnings[0].split_once("let its owner run ").unwrap();
    let (create, cause) = rest.split_once("; ").unwrap();
    assert_eq!(cause, "(its names are taken)");
    database.admin(create);
    assert!(database.sink().take_warnings().is_empty());
}

/// The one index of the table, and whether it is unique.
fn index(database: &Database) -> (String, bool) {
    let sql = "SELECT pg_get_indexdef(indexrelid), indisunique FROM pg_index
               WHERE indrelid = 'battery_pack'::regclass";
    let row = database.client().query_one(sql, &[]).unwrap();
    (row.get(0), row.get(1))
}

#[test]
fn the_index_is_unique_where_it_can_be() {
    let database = Database::new("unique_index");
    let mut sink = database.sink();
    assert!(index(&database).1);
    assert_eq!(sink.index_advice().unwrap(), None);

    // Rows of the first listener, which added some twice.
    let twice = "INSERT INTO battery_pack (insert_time_utc, mcu_id) VALUES ('2020-01-01', 1)";
    database.admin(&format!("DROP INDEX battery_pack_time; {twice}; {twice}"));
    assert!(database.sink().take_warnings().is_empty());
    let (definition, is_unique) = index(&database);
    assert!(definition.ends_with("(insert_time_utc, mcu_id)"), "{definition}");
    assert!(!is_unique);
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));

    database.admin("DELETE FROM battery_pack WHERE insert_time_utc = '2020-01-01'");
    run_advice(&database, &mut sink);
    assert!(index(&database).1);
}

/// The statements of the advice about the index, behind the query for doubled rows.
pub(crate) fn advised(advice: &str) -> Vec<&str> {
    statements(advice).skip(1).collect()
}

/// The indented lines of the advice, each of them one statement.
fn statements(advice: &str) -> impl Iterator<Item = &str> {
    advice.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(';'))
}

fn run_advice(database: &Database, sink: &mut Sink) {
    let advice = sink.index_advice().unwrap().unwrap();
    for statement in advised(&advice) {
        database.admin(statement);
    }
}

#[test]
fn the_advice_makes_the_index_of_the_first_listener_unique() {
    let database = Database::new("upgrade");
    database.sink();
    database.admin(
        "DROP INDEX battery_pack_time;
         CREATE INDEX battery_pack_time ON battery_pack (insert_time_utc);
         INSERT INTO battery_pack (insert_time_utc, mcu_id, soc)
         VALUES ('2020-01-01', 1, NULL), ('2020-01-01', 1, NULL), ('2020-01-01', 2, 50)",
    );
    let mut sink = database.sink();
    let advice = sink.index_advice().unwrap().unwrap();
    assert_eq!(
        advised(&advice),
        [
            "CREATE UNIQUE INDEX CONCURRENTLY battery_pack_key \
             ON battery_pack (insert_time_utc, mcu_id)",
            "DROP INDEX CONCURRENTLY battery_pack_time",
        ]
    );
    // psql runs what is pasted to its end, whatever fails: the last one has to stand apart.
    assert!(advice.contains(";\nIf that has succeeded, nothing needs the old one:\n  DROP INDEX"));
    let query = statements(&advice).next().unwrap();
    let doubled = |expected| {
        assert_eq!(database.client().query(query, &[]).unwrap().len(), expected, "{query}");
    };
    doubled(1);
    // It fails, and leaves an invalid index behind.
    let failed = database.client().batch_execute(advised(&advice)[0]);
    assert_eq!(failed.unwrap_err().code().unwrap().code(), "23505");
    let advice = sink.index_advice().unwrap().unwrap();
    assert_eq!(advised(&advice)[0], "DROP INDEX CONCURRENTLY battery_pack_key");

    database.admin(&remove_duplicates());
    doubled(0);
    assert_eq!(database.count(), 2);
    run_advice(&database, &mut sink);
    assert_eq!(sink.index_advice().unwrap(), None);
    assert!(index(&database).1);
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
}

/// What docs/running.md says about rows that are there twice.
fn remove_duplicates() -> String {
    let page = include_str!("../../../../docs/running.md");
    let (_, rest) = page.split_once("### A unique index").unwrap();
    let (_, rest) = rest.split_once("removes all but one of them:\n\n```sql\n").unwrap();
    let (sql, _) = rest.split_once("```").unwrap();
    sql.to_owned()
}

#[test]
fn rows_with_the_same_key_and_other_values_are_not_removed() {
    let database = Database::new("doubled");
    database.sink();
    database.admin(
        "DROP INDEX battery_pack_time;
         INSERT INTO battery_pack (insert_time_utc, mcu_id, soc)
         VALUES ('2020-01-01', 1, NULL), ('2020-01-01', 1, 50), ('2020-01-01', 1, 50)",
    );
    database.admin(&remove_duplicates());
    assert_eq!(database.count(), 2);
}

#[test]
fn a_partitioned_table_is_advised_as_well_and_a_view_is_not() {
    if cluster().version() >= 11 {
        let database = Database::new("upgrade_partitions");
        let (table, _) = schema().split_once(';').map(|(a, b)| (a.to_owned(), b.len())).unwrap();
        database.admin(&format!(
            "{table} PARTITION BY RANGE (insert_time_utc);
             CREATE TABLE rest PARTITION OF battery_pack DEFAULT;
             ALTER TABLE battery_pack OWNER TO homeauto;
             CREATE INDEX of_time ON battery_pack (insert_time_utc)"
        ));
        let mut sink = database.sink();
        run_advice(&database, &mut sink);
        assert_eq!(sink.index_advice().unwrap(), None);
        assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
    }
    let database = Database::new("upgrade_view");
    database.admin(&schema());
    database.admin(
        "ALTER TABLE battery_pack RENAME TO pack; CREATE VIEW battery_pack AS TABLE pack;
         GRANT SELECT, INSERT ON battery_pack TO homeauto",
    );
    assert_eq!(database.sink().index_advice().unwrap(), None);
}

/// What is advised can be run, and nothing is advised where no such index can be.
#[test]
fn the_advice_fits_the_table() {
    let table = schema().split_once(';').unwrap().0.to_owned();
    let of_time = "CREATE INDEX of_time ON battery_pack (insert_time_utc)";
    let partitions = [
        ("by_time", "RANGE (insert_time_utc)", "DEFAULT", true),
        ("by_battery", "HASH (mcu_id)", "FOR VALUES WITH (MODULUS 1, REMAINDER 0)", true),
        ("by_value", "LIST (soc)", "DEFAULT", false),
        ("by_day", "RANGE ((insert_time_utc::date))", "DEFAULT", false),
        ("by_two", "RANGE (insert_time_utc)", "DEFAULT PARTITION BY LIST (soc)", false),
    ];
    for (name, by, partition, is_advised) in partitions {
        if cluster().version() < 11 {
            continue;
        }
        let database = Database::new(&format!("advice_{name}"));
        database.admin(&format!(
            "{table} PARTITION BY {by};
             CREATE TABLE part PARTITION OF battery_pack {partition};
             ALTER TABLE battery_pack OWNER TO homeauto; {of_time}"
        ));
        check_advice(&database, is_advised);
    }

    let database = Database::new("advice_inherits");
    database.admin(&format!(
        "{table}; CREATE TABLE of_2025 () INHERITS (battery_pack);
         ALTER TABLE battery_pack OWNER TO homeauto; {of_time}"
    ));
    check_advice(&database, false);

    let database = Database::new("advice_name_taken");
    database.admin(&format!(
        "{table}; ALTER TABLE battery_pack OWNER TO homeauto; {of_time};
         CREATE TABLE other (id INT); CREATE INDEX battery_pack_key ON other (id)"
    ));
    check_advice(&database, true);
}

#[track_caller]
fn check_advice(database: &Database, is_advised: bool) {
    let mut sink = database.sink();
    if is_advised {
        run_advice(database, &mut sink);
    }
    assert_eq!(sink.index_advice().unwrap(), None);
}

#[test]
fn a_table_that_is_there_is_used_as_it_is() {
    let database = Database::new("as_it_is");
    // More columns, another order, wider types, a key, in another schema of the search path.
    database.admin(
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
    database.admin(
        "CREATE SCHEMA solar; ALTER TABLE battery_pack SET SCHEMA solar;
         GRANT USAGE ON SCHEMA solar TO homeauto;
         GRANT SELECT, INSERT ON solar.battery_pack TO homeauto",
    );
    database.set("search_path = public, solar");
    let mut sink = database.sink();
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
    assert_eq!(deliver(&mut sink, &[record(0, 1), record(0, 2)]).unwrap(), delivered(1, 1));
    let sql = "SELECT place, bad_vcell FROM solar.battery_pack WHERE mcu_id = 2";
    let row = database.client().query_one(sql, &[]).unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1)), ("cellar", 0));
}

#[test]
fn rows_of_others_without_time_or_battery_do_no_harm() {
    let database = Database::new("nulls");
    database.admin(&schema().replace(" NOT NULL", ""));
    database.admin(
        "GRANT SELECT, INSERT ON battery_pack TO homeauto;
         INSERT INTO battery_pack (insert_time_utc, mcu_id)
         SELECT time, id FROM (VALUES ('2025-06-15 15:06:40'::timestamp), (NULL)) AS t (time),
                              (VALUES (2), (NULL)) AS i (id)",
    );
    let mut sink = database.sink();
    let rows = [record(0, 1), record(0, 2)];
    assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(1, 1));
    assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(0, 2));
    assert_eq!(database.count(), 5);
}

#[test]
fn a_view_is_as_good() {
    let database = Database::new("a_view");
    database.admin(&schema());
    database.admin(
        "ALTER TABLE battery_pack RENAME TO pack;
         CREATE VIEW battery_pack AS SELECT * FROM pack;
         GRANT SELECT, INSERT ON battery_pack TO homeauto",
    );
    let mut sink = database.sink();
    assert!(sink.take_warnings().is_empty());
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(0, 1));
}
