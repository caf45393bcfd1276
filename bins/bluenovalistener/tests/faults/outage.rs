//! Scenario 18: what an hour without PostgreSQL costs in log lines, attempts, processor time and
//! bytes. An hour at an interval of ten seconds has as many rows as six minutes at one second.

use std::time::{Duration, Instant};

use bluenova_test_support::{Point, Proxy, TIME_LIMIT};

use crate::{
    is_full,
    oracle::{Batteries, Program, check, fresh_row, prepare},
    process::Process,
    seconds,
    support::shared_cluster,
};

/// The back-off before each attempt is half of this to all of it, in seconds; the last one stays.
const BACK_OFF: [u64; 7] = [1, 2, 4, 8, 16, 32, 45];

/// What may be written to the disk for a record. The rest of an hour's blocks is shared by far more
/// records than there are in a short outage.
const BYTES: u64 = 16 << 10;

#[test]
fn s18_an_hour_of_outage_is_cheap_and_quiet() {
    let cluster = shared_cluster();
    cluster.create_database("outage");
    let mut client = cluster.client("outage");
    prepare(&mut client);
    let proxy = Proxy::start(cluster);
    let batteries = Batteries::start(1);
    let mut program = Program::start(&batteries, &proxy.url("outage"));
    program.records(2);
    fresh_row(&mut client);

    let process = Process(program.listener().pid());
    let usage = || (process.processor_time(), process.written(), process.written_to_disk());
    let logged = program.listener().log().len();
    let before = usage();
    let cut = Instant::now();
    proxy.cut(Point::Accept);
    proxy.cut_all();
    let attempts = attempts_during(&proxy, &mut program, seconds(6, 360));
    let after = usage();
    let lines = program.listener().log()[logged..].to_vec();
    let (stored, others): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line.contains(": stored "));
    proxy.heal();
    let recovery = fresh_row(&mut client);
    program.stop();

    let records = stored.len() as u64;
    let processor = (after.0 - before.0) / u32::try_from(records).unwrap();
    let (written, to_disk) = ((after.1 - before.1) / records, (after.2 - before.2) / records);
    println!(
        "outage: {records} records, {} other lines, {} attempts; per record {processor:?} of \
         processor time, {written} bytes written, {to_disk} to the disk; a fresh row after \
         {recovery:.1?}",
        others.len(),
        attempts.len(),
    );
    // The outage itself; after an hour a reminder would come.
    assert!(others.len() <= 2, "{others:#?}");
    assert!(processor < Duration::from_millis(50), "{processor:?} per record");
    assert!(to_disk < BYTES, "{to_disk} bytes per record");
    backed_off(cut, &attempts);
    check(&mut client, &batteries.end(), &[&program]);
}

/// When the program tried to connect.
fn attempts_during(proxy: &Proxy, program: &mut Program, length: Duration) -> Vec<Instant> {
    let mut attempts = vec![];
    let (mut hits, start) = (proxy.hits(), Instant::now());
    while start.elapsed() < length || attempts.len() < 2 && start.elapsed() < TIME_LIMIT {
        program.runs_for(Duration::from_millis(10));
        if proxy.hits() > hits {
            hits = proxy.hits();
            attempts.push(Instant::now());
        }
    }
    attempts
}

/// The back-off grew from the moment of the cut, and was not the same for all listeners that there
/// may be. An attempt may be noticed late, and may be late, but it is never early.
fn backed_off(cut: Instant, attempts: &[Instant]) {
    let gaps: Vec<Duration> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The first one came at once. The next back-off was begun by it or by the cut.
    let longest = BACK_OFF.map(Duration::from_secs);
    let mut earliest = cut;
    for (i, (attempt, gap)) in attempts[1..].iter().zip(&gaps).enumerate() {
        earliest += longest[i.min(longest.len() - 1)] / 2;
        assert!(*attempt >= earliest, "attempt {i}: {gap:?} in {gaps:?}");
        let most = longest[(i + 1).min(longest.len() - 1)] + TIME_LIMIT;
        assert!(*gap < most, "attempt {i}: {gap:?} in {gaps:?}");
    }
    assert!(!gaps.is_empty(), "{gaps:?}");
    if is_full() {
        let [one, two] = [gaps[gaps.len() - 1], gaps[gaps.len() - 2]];
        assert!(one.abs_diff(two) > Duration::from_millis(20), "no jitter: {gaps:?}");
    }
}
