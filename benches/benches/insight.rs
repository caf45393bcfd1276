//! What a sample costs, from a record to all that an insight says of its battery.

#![allow(clippy::expect_used, reason = "a benchmark without its material is over")]

use std::hint::black_box;

use bluenova_benches::{START, records};
use bluenova_insight::{Insight, UtcDays};
use bluenova_record::PackRecord;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use time::Duration;

/// A quarter of an hour: too many for a branch predictor to learn by heart.
const SAMPLES: usize = 900;

fn insight(c: &mut Criterion) {
    let samples = samples();
    let fed = fed(&samples);
    let mut group = c.benchmark_group("insight");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    group.bench_function("sample", |b| {
        let (mut insight, mut samples) = (fed.clone(), samples.clone());
        b.iter(|| {
            for sample in &mut samples {
                // Time goes on from round to round, or all samples but the first would be late.
                sample.insert_time_utc += Duration::SECOND * SAMPLES as u32;
                black_box(insight.sample(sample, &UtcDays));
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("figures", |b| b.iter(|| black_box(fed.figures())));
    group.bench_function("to JSON and back", |b| {
        b.iter(|| {
            let text = serde_json::to_string(&fed).expect("an insight can be written");
            black_box(serde_json::from_str::<Insight>(&text).expect("and read"))
        });
    });
    group.finish();
}

/// Samples a second apart.
fn samples() -> Vec<PackRecord> {
    let mut samples = records(SAMPLES);
    for (n, sample) in samples.iter_mut().enumerate() {
        sample.insert_time_utc = START + Duration::SECOND * n as u32;
    }
    samples
}

fn fed(samples: &[PackRecord]) -> Insight {
    let mut insight = Insight::new(samples[0].mcu_id);
    for sample in samples {
        insight.sample(sample, &UtcDays);
    }
    insight
}

criterion_group!(benches, insight);
criterion_main!(benches);
