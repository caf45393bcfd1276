//! A table whose rows are on two other servers, as docs/scaling.md makes it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Barrier},
    thread,
};

use bluenova_postgres::{Retry, Settings, Sink, schema};
use bluenova_record::PackRecord;
use bluenova_test_support::{Cluster, Mode, Shards, wait_until};

use crate::{MINUTE, cluster, connect, deliver, delivered, record};

/// `None` where the server is too old: the documented options came with PostgreSQL 14.
fn start() -> Option<Shards> {
    (cluster().version() >= 14).then(|| Shards::start(&schema()))
}

fn settings(coordinator: &Cluster) -> Settings {
    Settings::resolve(&Shards::conninfo(coordinator), None, |_| None).unwrap()
}

fn sink(coordinator: &Cluster) -> Sink {
    let mut sink = connect(settings(coordinator)).unwrap();
    assert_eq!(sink.take_warnings(), Vec::<String>::new());
    // The unique index is on the shards.
    assert_eq!(sink.index_advice().unwrap(), None);
    sink
}

/// The number of rows on each shard, none of them there twice.
fn rows_on(shards: &[Cluster; 2]) -> [i64; 2] {
    shards.each_ref().map(|shard| {
        let sql = "SELECT count(*), count(DISTINCT (insert_time_utc, mcu_id)) FROM battery_pack";
        let row = Shards::superuser(shard).query_one(sql, &[]).unwrap();
        assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1), "rows are doubled");
        row.get(0)
    })
}

/// Rows of so many batteries, all of the same times.
fn batch(seconds: std::ops::Range<i64>, batteries: u32) -> Vec<PackRecord> {
    seconds.flat_map(|second| (1..=batteries).map(move |id| record(second, id))).collect()
}

#[test]
fn each_row_is_on_one_shard_once() {
    let Some(Shards { coordinator, shards }) = start() else { return };
    let mut first = sink(&coordinator);
    let rows = batch(0..10, 100);
    assert_eq!(deliver(&mut first, &rows).unwrap(), delivered(1000, 0));
    assert_eq!(deliver(&mut first, &rows).unwrap(), delivered(0, 1000));
    assert_eq!(deliver(&mut sink(&coordinator), &batch(5..15, 100)).unwrap(), delivered(500, 500));
    assert_eq!(first.find_missing(&rows.clone().into()).unwrap(), None);
    let times = record(0, 7).insert_time_utc..record(15, 7).insert_time_utc;
    let times: BTreeSet<_> = first.times(7, times).unwrap().into_iter().collect();
    assert_eq!(times, (0..15).map(|n| record(n, 7).insert_time_utc).collect());
    let [even, odd] = rows_on(&shards);
    assert!(even > 300 && odd > 300 && even + odd == 1500, "{even} and {odd}");
    // What a shard has lost is found, and only that is added again.
    Shards::superuser(&shards[0]).batch_execute("TRUNCATE battery_pack").unwrap();
    let missing = first.find_missing(&rows.clone().into()).unwrap();
    assert!(missing.is_some());
    let again = deliver(&mut first, &rows).unwrap();
    assert_eq!((again.rows, again.added), (1000, (even / 3 * 2).cast_unsigned()));
}

/// The coordinator asks each shard once per statement, not once per row.
#[test]
fn a_batch_takes_few_round_trips() {
    let Some(Shards { coordinator, shards }) = start() else { return };
    let mut sink = sink(&coordinator);
    let rows = batch(0..10, 100);
    let asked = || shards.each_ref().map(|shard| shard.log().matches(" LOG:  ").count());
    let before = asked();
    assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(1000, 0));
    let first = asked();
    assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(0, 1000));
    let second = asked();
    for shard in [0, 1] {
        let [new, known] = [first[shard] - before[shard], second[shard] - first[shard]];
        assert!(new > 0 && known > 0, "{new} and {known}");
        assert!(new <= 40 && known <= 80, "{new} and {known}");
    }
}

#[test]
fn a_shard_that_is_away_holds_all_rows() {
    let Some(Shards { coordinator, mut shards }) = start() else { return };
    let mut sink = sink(&coordinator);
    let rows = batch(0..1, 20);
    assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(20, 0));
    let [even, odd] = rows_on(&shards);
    shards[1].stop(Mode::Immediate);
    let more = batch(1..2, 20);
    for _ in 0..2 {
        let error = deliver(&mut sink, &more).unwrap_err();
        assert_eq!(error.retry(), Retry::Soon, "{error}");
    }
    shards[1].start_again();
    wait_until("the rows are delivered", MINUTE, || deliver(&mut sink, &more).is_ok());
    assert_eq!(deliver(&mut sink, &more).unwrap(), delivered(0, 20));
    assert_eq!(rows_on(&shards), [2 * even, 2 * odd]);
}

/// Two coordinators share no advisory lock.
#[test]
fn two_coordinators_at_once_double_nothing() {
    let Some(shards) = start() else { return };
    let second = shards.second_coordinator(&schema());
    let rounds = 5;
    let start = Barrier::new(2);
    let run = |coordinator: &Cluster, is_reversed: bool| {
        let (mut sink, start) = (sink(coordinator), &start);
        move || {
            let mut added = 0;
            for round in 0..rounds {
                let mut rows = batch(3 * round..3 * round + 3, 10);
                if is_reversed {
                    rows.reverse();
                }
                start.wait();
                added += deliver_in_time(&mut sink, &rows.into());
            }
            added
        }
    };
    let one = run(&shards.coordinator, false);
    let other = run(&second, true);
    let added = thread::scope(|scope| {
        let (one, other) = (scope.spawn(one), scope.spawn(other));
        one.join().unwrap() + other.join().unwrap()
    });
    let there: i64 = rows_on(&shards.shards).iter().sum();
    assert_eq!((there, added), (rounds * 30, (rounds * 30).cast_unsigned()));
}

/// Delivers all rows, with the retries that their forwarder makes. Returns how many were added.
fn deliver_in_time(sink: &mut Sink, rows: &Arc<[PackRecord]>) -> u64 {
    let (mut done, mut added) = (0, 0);
    wait_until("the batch is delivered", MINUTE, || {
        match sink.deliver(rows, done) {
            Ok(step) => {
                assert_eq!((step.rejected, step.swallowed), (None, 0));
                done += step.rows;
                added += step.added;
            }
            Err(error) => assert_eq!(error.retry(), Retry::Soon, "{error}"),
        }
        done == rows.len()
    });
    added
}
