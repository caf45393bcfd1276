//! Rows that were delivered and are not in the table any more are found.

use std::sync::Arc;

use bluenova_postgres::Sink;
use bluenova_record::PackRecord;

use crate::{Database, deliver, delivered, record};

/// Rows of one battery; `battery` 13 is for triggers.
fn rows(seconds: std::ops::Range<i64>, battery: u32) -> Arc<[PackRecord]> {
    seconds.map(|n| record(n, battery)).collect()
}

fn delivered_rows(sink: &mut Sink) -> Arc<[PackRecord]> {
    let rows = rows(0..5, 1);
    assert_eq!(deliver(sink, &rows).unwrap(), delivered(5, 0));
    rows
}

#[test]
fn the_first_row_that_is_missing_is_found_and_nothing_is_changed() {
    let database = Database::new("lost_first");
    let mut sink = database.sink();
    let rows = delivered_rows(&mut sink);
    assert_eq!(sink.find_missing(&rows).unwrap(), None);
    assert_eq!(sink.find_missing(&Arc::from([])).unwrap(), None);
    database
        .admin("DELETE FROM battery_pack WHERE extract(second FROM insert_time_utc) IN (42, 43)");
    assert_eq!(sink.find_missing(&rows).unwrap(), Some(2));
    assert_eq!(database.count(), 3);
    // Twice in a batch, and at the same time as one of another battery.
    let twice = [record(0, 1), record(0, 1), record(1, 1), record(2, 2), record(2, 1)].into();
    assert_eq!(sink.find_missing(&twice).unwrap(), Some(3));
    assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(2, 3));
    assert_eq!(sink.find_missing(&rows).unwrap(), None);
}

#[test]
fn many_rows_are_looked_for_at_once() {
    let database = Database::new("lost_many");
    let mut sink = database.sink();
    let rows = rows(0..900, 1);
    assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(900, 0));
    assert_eq!(sink.find_missing(&rows).unwrap(), None);
    database.admin(
        "DELETE FROM battery_pack WHERE insert_time_utc =
                    (SELECT max(insert_time_utc) FROM battery_pack)",
    );
    assert_eq!(sink.find_missing(&rows).unwrap(), Some(899));
}

#[test]
fn what_a_trigger_keeps_out_is_not_missing() {
    let database = Database::new("lost_triggers");
    let mut sink = database.sink();
    database.admin(
        "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF new.mcu_id = 13 THEN RETURN NULL; END IF;
           IF new.mcu_id = 14 THEN
             new.insert_time_utc := new.insert_time_utc + interval '1 hour';
           END IF;
           RETURN new;
         END $$;
         CREATE TRIGGER change BEFORE INSERT ON battery_pack
           FOR EACH ROW EXECUTE PROCEDURE change()",
    );
    for battery in [13, 14] {
        assert_eq!(sink.find_missing(&rows(0..5, battery)).unwrap(), None, "{battery}");
    }
    // Behind such rows one that is missing is found.
    let mixed = [record(0, 13), record(0, 14), record(0, 1)].into();
    assert_eq!(sink.find_missing(&mixed).unwrap(), Some(2));
    assert_eq!(database.count(), 0);

    // Once the table has the changed rows, the unique index keeps them out.
    for row in rows(0..5, 14).iter() {
        sink.deliver(&[row.clone()].into(), 0).unwrap();
    }
    assert_eq!(database.count(), 5);
    assert_eq!(sink.find_missing(&rows(0..5, 14)).unwrap(), None);
    assert_eq!(sink.find_missing(&mixed).unwrap(), Some(2));
}

#[test]
fn rows_that_the_table_refuses_may_be_missing() {
    let database = Database::new("lost_refused");
    let mut sink = database.sink();
    let rows = delivered_rows(&mut sink);
    database.admin("ALTER TABLE battery_pack ADD CHECK (mcu_id <> 13)");
    assert_eq!(sink.find_missing(&rows).unwrap(), None);
    let with_refused = [record(0, 1), record(0, 13)].into();
    assert_eq!(sink.find_missing(&with_refused).unwrap(), Some(1));
    // The connection is as good as before.
    assert_eq!(deliver(&mut sink, &[record(6, 1)]).unwrap(), delivered(1, 0));
    database.admin("REVOKE SELECT ON battery_pack FROM homeauto");
    sink.find_missing(&rows).unwrap_err();
}

#[test]
fn a_table_that_is_another_one_is_noticed() {
    let database = Database::new("lost_table");
    let mut sink = database.sink();
    let mut next = 0;
    let mut changes_with = |sink: &mut Sink, sql: &str| {
        database.admin(sql);
        next += 1;
        deliver(sink, &[record(next, 1)]).unwrap();
        let has_changed = sink.has_table_changed();
        sink.table_is_checked();
        deliver(sink, &[record(next, 2)]).unwrap();
        assert!(!sink.has_table_changed(), "{sql}");
        has_changed
    };
    assert!(changes_with(&mut sink, "SELECT 1"), "it has never been looked at");
    assert!(!changes_with(&mut sink, "DELETE FROM battery_pack"));
    assert!(changes_with(&mut sink, "TRUNCATE battery_pack"));
    let restore = "CREATE TABLE other (LIKE battery_pack INCLUDING ALL);
                   ALTER TABLE other OWNER TO homeauto; DROP TABLE battery_pack;
                   ALTER TABLE other RENAME TO battery_pack";
    assert!(changes_with(&mut sink, restore));
    // A session of its own sees the same table, and so does one that only looks for rows.
    let mut other = database.sink();
    assert_eq!(other.find_missing(&[record(4, 2)].into()).unwrap(), None);
    assert!(!other.has_table_changed());
    deliver(&mut other, &[record(9, 2)]).unwrap();
    assert!(!other.has_table_changed());
    // So it is when that happens while rows are looked for.
    database.admin("TRUNCATE battery_pack");
    assert_eq!(other.find_missing(&[record(4, 2)].into()).unwrap(), Some(0));
    assert!(other.has_table_changed());
}
