//! Partitions that pg_partman makes, as docs/scaling.md describes it.

use bluenova_test_support::documented_sql;
use time::{Duration, UtcDateTime};

use crate::{Database, deliver, delivered, record};

#[test]
#[ignore = "needs pg_partman, which `./test engines` installs"]
fn partitions_of_pg_partman_as_documented() {
    let [mut set_up, maintenance] =
        documented_sql("With pg_partman").try_into().expect("two steps");
    let database = Database::new("partman");
    let available = "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_partman'";
    let row = database.client().query_opt(available, &[]).unwrap().expect("it is installed");
    let is_old = row.get::<_, &str>(0).starts_with("4.");
    if is_old {
        assert!(set_up.contains("'1 month'"));
        set_up = set_up.replace("'1 month'", "'native', 'monthly'");
    }

    let now = UtcDateTime::now().replace_nanosecond(0).unwrap();
    let rows: Vec<_> = (0..12)
        .map(|n| {
            let mut row = record(0, 1);
            row.insert_time_utc = now - Duration::days(30 * n);
            row
        })
        .collect();
    let (new, old) = rows.split_at(1);
    let mut sink = database.sink();
    assert_eq!(deliver(&mut sink, old).unwrap(), delivered(11, 0));
    database.admin(&set_up);
    database.admin("ALTER TABLE battery_pack OWNER TO homeauto");
    for sink in [&mut sink, &mut database.sink()] {
        assert_eq!(deliver(sink, old).unwrap(), delivered(0, 11));
        assert_eq!(sink.take_warnings(), Vec::<String>::new());
    }
    assert_eq!(deliver(&mut sink, new).unwrap(), delivered(1, 0));
    assert_eq!(sink.find_missing(&rows.clone().into()).unwrap(), None);

    // A row of a month that nobody expects goes into the default partition, and what is older than
    // the documented two years is dropped with its partition.
    let far = |days| {
        let mut row = record(0, 1);
        row.insert_time_utc = now + Duration::days(days);
        row
    };
    assert_eq!(deliver(&mut sink, &[far(3650)]).unwrap(), delivered(1, 0));
    let partitions = || -> i64 {
        let sql = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'battery_pack'::regclass";
        database.client().query_one(sql, &[]).unwrap().get(0)
    };
    if is_old {
        database.admin("DELETE FROM battery_pack_default");
    }
    let before = partitions();
    assert!(before >= 12, "{before}");
    database.admin(
        "UPDATE partman.part_config SET retention = '6 months'
         WHERE parent_table = 'public.battery_pack' AND retention = '2 years'",
    );
    database.admin(&maintenance);
    assert!(partitions() < before, "{} of {before}", partitions());
    let left = database.rows();
    assert!(left.len() < 13 && left.len() > 5, "{}", left.len());
    assert_eq!(deliver(&mut sink, new).unwrap(), delivered(0, 1));
}
