//! A batch that the server refuses, or is too slow for, is delivered in smaller steps, and a row is
//! rejected only where it is alone at fault.

use std::sync::Arc;

use bluenova_postgres::{BATCH, Delivered, Rejected, Retry, Sink};
use bluenova_record::PackRecord;

use crate::{Database, deliver, delivered, errors::check, record};

/// Delivers all rows, step by step, and returns the steps.
fn deliver_in_steps(sink: &mut Sink, rows: &[PackRecord]) -> Vec<Delivered> {
    let rows: Arc<[PackRecord]> = rows.into();
    let mut steps = vec![];
    let mut dealt_with = 0;
    while dealt_with < rows.len() {
        let step = sink.deliver(&rows, dealt_with).unwrap();
        let rejected = u64::from(step.rejected.is_some());
        assert_eq!(step.rows as u64, step.added + step.known + rejected, "{step:?}");
        assert!(step.rejected.is_none() || step.rows == 1, "{step:?}");
        dealt_with += step.rows;
        steps.push(step);
    }
    assert_eq!(dealt_with, rows.len());
    steps
}

/// Delivers all rows, and returns those that are rejected, by their index.
pub(crate) fn deliver_and_reject(sink: &mut Sink, rows: &[PackRecord]) -> Vec<(usize, Rejected)> {
    let mut next = 0;
    let mut rejected = vec![];
    for step in deliver_in_steps(sink, rows) {
        rejected.extend(step.rejected.map(|reason| (next, reason)));
        next += step.rows;
    }
    rejected
}

/// A table that refuses the rows of battery 13.
fn database(name: &str) -> Database {
    let database = Database::new(name);
    database.sink();
    database.admin("ALTER TABLE battery_pack ADD CONSTRAINT sane CHECK (mcu_id <> 13)");
    database
}

/// Rows of which those at the indexes in `bad` are refused.
fn rows(count: usize, bad: &[usize]) -> Vec<PackRecord> {
    (0..count).map(|n| record(n as i64, if bad.contains(&n) { 13 } else { 1 })).collect()
}

/// Delivers a full batch to a sink that has not delivered anything yet.
fn check_rejected(name: &str, bad: &[usize]) {
    let database = database(name);
    let mut sink = database.sink();
    let batch = rows(BATCH, bad);
    let rejected = deliver_and_reject(&mut sink, &batch);
    assert_eq!(rejected.iter().map(|(index, _)| *index).collect::<Vec<_>>(), bad, "{name}");
    for (_, Rejected { sqlstate, reason, .. }) in &rejected {
        assert_eq!(sqlstate, "23514");
        let start = format!("can't insert into battery_pack of {name} on /");
        assert!(reason.starts_with(&start) && reason.contains("\"sane\""), "{reason}");
    }
    let mut good = batch.clone();
    good.retain(|row| row.mcu_id != 13);
    assert_eq!(database.rows(), good, "{name}");
    assert!(sink.take_warnings().is_empty());

    // All over again, with a step for each power of two on the way down and up at most.
    let steps = deliver_in_steps(&mut sink, &batch);
    assert!(steps.len() <= 20 * bad.len() + 2, "{name}: {} steps", steps.len());
    assert_eq!(steps.iter().map(|step| step.known).sum::<u64>(), good.len() as u64, "{name}");
    assert_eq!((sink.batch_size(), database.count()), (BATCH, good.len() as i64), "{name}");
}

#[test]
fn bad_rows_are_found_wherever_they_are() {
    check_rejected("bad_first", &[0]);
    check_rejected("bad_last", &[BATCH - 1]);
    check_rejected("bad_within", &[617]);
    check_rejected("bad_pair", &[498, 499]);
    check_rejected("bad_several", &[0, 1, 2, 255, 256, 700, 998, 999]);
}

#[test]
fn a_batch_of_bad_rows_is_held() {
    let database = database("all_bad");
    let mut sink = database.sink();
    let batch: Arc<[_]> = rows(BATCH, &(0..BATCH).collect::<Vec<_>>()).into();
    for _ in 0..3 {
        check(&sink.deliver(&batch, 0).unwrap_err(), Retry::Row, "23514", &["\"sane\""]);
    }
    assert!(sink.is_connected());
    assert_eq!((database.count(), sink.batch_size()), (0, BATCH));

    // The steps double until they are full again.
    database.admin("ALTER TABLE battery_pack DROP CONSTRAINT sane");
    let steps = deliver_in_steps(&mut sink, &batch);
    let sizes: Vec<_> = steps.iter().map(|step| step.rows).collect();
    assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 489]);
    assert_eq!(database.count(), BATCH as i64);
}

#[test]
fn a_few_other_rows_are_probed_before_one_is_rejected() {
    for (name, bad, is_rejected) in [("eight_bad", 8, true), ("nine_bad", 9, false)] {
        let database = database(name);
        let mut sink = database.sink();
        let batch: Arc<[_]> = rows(10, &(0..bad).collect::<Vec<_>>()).into();
        match sink.deliver(&batch, 0) {
            Ok(step) => assert!(is_rejected && step.rejected.is_some(), "{name}: {step:?}"),
            Err(error) => assert!(!is_rejected && error.retry() == Retry::Row, "{name}: {error}"),
        }
        assert_eq!(database.count(), 0, "{name}");
    }
}

#[test]
fn a_lone_bad_row_is_held_until_a_row_was_accepted() {
    let database = database("lone");
    let mut sink = database.sink();
    let bad = rows(1, &[0]);
    for _ in 0..2 {
        check(&deliver(&mut sink, &bad).unwrap_err(), Retry::Row, "23514", &["\"sane\""]);
    }
    assert_eq!(deliver(&mut sink, &[record(1, 1)]).unwrap(), delivered(1, 0));
    let rejected = deliver_and_reject(&mut sink, &bad);
    assert!(matches!(&rejected[..], [(0, Rejected { .. })]), "{rejected:?}");
    // It is the table's fault as soon as the accepted row is refused too.
    database.admin("ALTER TABLE battery_pack ADD CONSTRAINT none CHECK (mcu_id < 0) NOT VALID");
    check(&deliver(&mut sink, &bad).unwrap_err(), Retry::Row, "23514", &[]);
    assert_eq!(database.count(), 1);
}

#[test]
fn a_table_that_refuses_everything_holds() {
    let database = Database::new("refuses_all");
    let mut sink = database.sink();
    assert_eq!(deliver(&mut sink, &rows(10, &[])).unwrap(), delivered(10, 0));
    database.admin(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
         CREATE TRIGGER no BEFORE INSERT ON battery_pack FOR EACH ROW EXECUTE PROCEDURE no()",
    );
    let batch: Arc<[_]> = rows(100, &[]).into();
    for from in [10, 50, 99] {
        check(&sink.deliver(&batch, from).unwrap_err(), Retry::Row, "P0001", &["no (P0001)"]);
    }
    assert_eq!(database.count(), 10);
    database.admin("DROP TRIGGER no ON battery_pack");
    assert_eq!(deliver(&mut sink, &batch).unwrap(), delivered(90, 10));
}

#[test]
fn what_a_person_can_mend_is_not_narrowed_down() {
    let database = database("hold");
    let mut sink = database.sink();
    database.admin("ALTER TABLE battery_pack RENAME TO away");
    let batch: Arc<[_]> = rows(BATCH, &[5]).into();
    check(&sink.deliver(&batch, 0).unwrap_err(), Retry::Hold, "42P01", &[]);
    database.admin("ALTER TABLE away RENAME TO battery_pack");
    // Had it been narrowed down, the first step would be a smaller one.
    assert_eq!(sink.deliver(&batch, 6).unwrap(), delivered(BATCH as u64 - 6, 0));
}

#[test]
fn a_slow_server_gets_smaller_batches_that_grow_again() {
    let database = Database::new("slow_batches");
    database.sink();
    database.set("statement_timeout = '3s'");
    // Slow for large batches alone, so that it doesn't matter how busy the machine is.
    database.admin(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN IF (SELECT count(*) FROM new) > 200 THEN PERFORM pg_sleep(60); END IF;
            RETURN NULL; END';
         CREATE TRIGGER slow AFTER INSERT ON battery_pack REFERENCING NEW TABLE AS new
           FOR EACH STATEMENT EXECUTE PROCEDURE slow()",
    );
    let mut sink = database.sink();
    let rows: Arc<[_]> = rows(6000, &[]).into();
    let outcome = sink.deliver(&rows, 0).unwrap();
    let too_slow = outcome.too_slow.clone().unwrap();
    assert!(too_slow.contains("statement timeout (57014)"), "{too_slow}");
    assert_eq!(outcome, Delivered { too_slow: Some(too_slow), ..delivered(125, 0) });

    database.admin("DROP TRIGGER slow ON battery_pack");
    let mut dealt_with = 125;
    let mut sizes = vec![];
    while dealt_with < rows.len() {
        sizes.push(sink.batch_size());
        let outcome = sink.deliver(&rows, dealt_with).unwrap();
        assert_eq!(outcome.too_slow, None);
        dealt_with += outcome.rows;
    }
    let expected = [157, 197, 247, 309, 387, 484, 605, 757, 947, BATCH];
    assert_eq!(sizes[..expected.len()], expected, "{sizes:?}");
    assert_eq!(*database.rows(), *rows);
}

#[test]
fn a_connect_that_is_too_slow_is_not_because_of_the_rows() {
    let database = Database::new("slow_connect");
    let mut sink = database.sink();
    assert_eq!(deliver(&mut sink, &rows(1, &[])).unwrap(), delivered(1, 0));
    database.set("statement_timeout = '1s'");
    let mut other = database.client();
    other.batch_execute("BEGIN; LOCK TABLE battery_pack").unwrap();
    // Preparing the insert waits for the lock, too long.
    sink = database.unconnected_sink();
    let batch: Arc<[_]> = rows(BATCH, &[]).into();
    let error = sink.deliver(&batch, 0).unwrap_err();
    check(&error, Retry::Soon, "57014", &["prepare to insert", "statement timeout"]);
    assert!(!error.is_too_slow() && sink.batch_size() == BATCH, "{error}");
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(sink.deliver(&batch, 0).unwrap(), delivered(999, 1));
}

#[test]
fn no_rows_are_no_work() {
    let database = Database::new("no_rows");
    let mut sink = database.unconnected_sink();
    let batch: Arc<[_]> = rows(2, &[]).into();
    for from in [2, 3, usize::MAX] {
        assert_eq!(sink.deliver(&batch, from).unwrap(), delivered(0, 0));
    }
    assert!(!sink.is_connected());
}
