//! What a line of the console costs, from text to record, beside other ways to do the same.

#![allow(clippy::expect_used, reason = "a benchmark without its material is over")]

use std::hint::black_box;

use bluenova_benches::{Draft, FirstListener, RegexListener, START, console, each_line};
use bluenova_console::{Assembler, Interval, parse};
use criterion::{
    Bencher, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use time::{Duration, UtcDateTime};

/// Some ten thousand lines, of which no two cycles are the same: too many for a branch predictor
/// to learn by heart.
const CYCLES: usize = 256;

/// Lines between two records: an interval of ten seconds.
const LINES_PER_RECORD: usize = 450;

fn lines(c: &mut Criterion) {
    let text = console(CYCLES);
    let mut group = c.benchmark_group("console");
    group.throughput(Throughput::Elements(text.lines().count() as u64));

    group.bench_function("split (the floor)", |b| {
        b.iter(|| each_line(&text, |line| _ = black_box(line)));
    });
    group.bench_function("parse", |b| {
        b.iter(|| each_line(&text, |line| _ = black_box(parse(line))));
    });
    bench_assembler(&mut group, &text, "parse + assemble", LINES_PER_RECORD);
    bench_assembler(&mut group, &text, "parse + assemble, a clock tick per line", 1);
    group.bench_function("the first listener's method", |b| {
        bench_comparator(b, &text, |line, draft| FirstListener.feed(line, draft));
    });
    let mut regex = RegexListener::default();
    group.bench_function("RegexSet", |b| {
        bench_comparator(b, &text, |line, draft| regex.feed(line, draft));
    });
    group.finish();
}

/// With a call of `tick` every so many lines.
fn bench_assembler(
    group: &mut BenchmarkGroup<'_, WallTime>,
    text: &str,
    name: &str,
    lines_per_tick: usize,
) {
    // Reading a clock is not our business here, nor is adding to a time.
    let times: Vec<UtcDateTime> = (0..text.lines().count())
        .step_by(lines_per_tick)
        .map(|n| START + Duration::SECOND * 10 * n as f64 / LINES_PER_RECORD as f64)
        .collect();
    group.bench_function(name, |b| {
        b.iter(|| {
            let mut assembler = Assembler::new(INTERVAL);
            // Counting down, since a division would cost as much as a line.
            let mut until_tick = 1;
            let mut times = times.iter();
            each_line(text, |line| {
                until_tick -= 1;
                if until_tick == 0 {
                    until_tick = lines_per_tick;
                    let now = *times.next().expect("there are enough");
                    if let Some(record) = assembler.tick(now) {
                        _ = black_box(record);
                    }
                }
                // Errors are counted and logged: they don't end the stream.
                _ = black_box(assembler.feed(line).is_ok());
            });
            black_box(assembler)
        });
    });
}

const INTERVAL: Interval = match Interval::from_seconds(10) {
    Some(interval) => interval,
    None => unreachable!(),
};

fn bench_comparator(b: &mut Bencher<'_>, text: &str, mut feed: impl FnMut(&str, &mut Draft)) {
    b.iter(|| {
        let mut draft = Draft::default();
        let mut n = 0;
        each_line(text, |line| {
            feed(line, &mut draft);
            n += 1;
            if n == LINES_PER_RECORD {
                _ = black_box(std::mem::take(&mut draft).finish(START));
                n = 0;
            }
        });
        black_box(draft)
    });
}

criterion_group!(benches, lines);
criterion_main!(benches);
