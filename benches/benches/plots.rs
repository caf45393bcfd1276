//! Time for the plots of a week, from the journal's file to JSON.
//!
//! `reading the rows` is the part that they can't do without, `all rows` is a drawing without
//! down-sampling.

#![allow(clippy::expect_used, reason = "a benchmark can't go on without its data")]

use std::hint::black_box;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Duration;

use bluenova_benches::{START, records};
use bluenova_http::{history, plots};
use bluenova_journal::{Journal, Reader, Retention};
use bluenova_record::{COLUMNS, Column, Rfc3339, Value};
use criterion::{Criterion, criterion_group, criterion_main};
use plotters::prelude::*;
use time::UtcDateTime;

/// Rows of one battery in seven days.
const WEEK: usize = 60_480;
const INTERVAL: Duration = Duration::from_secs(10);
const SIZE: (u32, u32) = (900, 300);

fn week(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let path = directory.path().join("journal");
    // It stays open, as in a listener.
    let (_journal, battery, times) = fill(&path);
    let columns: Vec<_> = COLUMNS.iter().filter(|column| is_plotted(column)).collect();

    let mut group = c.benchmark_group("plots");
    group.sample_size(20);
    group.bench_function("reading the rows", |b| {
        b.iter(|| assert_eq!(read(&path, battery, &times, &columns), WEEK));
    });
    for width in ["360", "900", "2000"] {
        let query = [("range", "7d"), ("width", width), ("zone", "Europe/Berlin")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let draw = || {
            let reader = Reader::open(&path).expect("it's there");
            let plots = plots(&reader, battery, &query, times.end, INTERVAL).expect("readable");
            serde_json::to_vec(&plots).expect("it's JSON")
        };
        println!("four plots, {width} pixels: {} bytes", draw().len());
        group.bench_function(format!("four plots, {width} pixels"), |b| b.iter(draw));
    }
    let query = [("from".to_owned(), Rfc3339(times.start).to_string())];
    group.bench_function("every column as JSON, 500 points", |b| {
        b.iter(|| {
            let reader = Reader::open(&path).expect("it's there");
            let history = history(&reader, battery, &query, times.end).expect("readable");
            serde_json::to_vec(&history).expect("it's JSON")
        });
    });
    println!("all rows: {} bytes", draw_all(&path, battery, &times, &columns).len());
    group.sample_size(10);
    group.bench_function("all rows", |b| b.iter(|| draw_all(&path, battery, &times, &columns)));
    group.finish();
}

fn is_plotted(column: &Column) -> bool {
    let is_of_cells = column.name.starts_with("cell_") && column.name != "cell_count";
    let others = ["v_pack", "i_pack", "soc", "temp", "v_cell_min", "v_cell_max"];
    is_of_cells || others.contains(&column.name)
}

/// A journal with a week of a battery, its MCU ID, and the time of the rows.
fn fill(path: &Path) -> (Journal, u32, Range<UtcDateTime>) {
    let mut journal = Journal::open(path, Retention::FOREVER).expect("it's ours");
    let mut records = records(WEEK);
    let mut time = START;
    for record in &mut records {
        record.insert_time_utc = time;
        time += INTERVAL;
    }
    for batch in records.chunks(100) {
        journal.append(batch).expect("there is room");
    }
    (journal, records[0].mcu_id, START..time)
}

fn read(path: &Path, battery: u32, times: &Range<UtcDateTime>, columns: &[&Column]) -> usize {
    let reader = Reader::open(path).expect("it's there");
    let mut rows = 0;
    let each = |time, values: &[Option<Value<'_>>]| {
        black_box((time, values));
        rows += 1;
        ControlFlow::Continue(())
    };
    reader.history(battery, times.clone(), columns, each).expect("readable");
    rows
}

/// A line for each column, in one plot, without anything else.
fn draw_all(path: &Path, battery: u32, times: &Range<UtcDateTime>, columns: &[&Column]) -> String {
    let reader = Reader::open(path).expect("it's there");
    let mut lines = vec![vec![]; columns.len()];
    let each = |time: UtcDateTime, values: &[Option<Value<'_>>]| {
        let seconds = time.unix_timestamp();
        for (line, value) in lines.iter_mut().zip(values) {
            match value {
                Some(Value::Real(number)) => line.push((seconds, *number)),
                Some(Value::SmallInt(number)) => line.push((seconds, f32::from(*number))),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    };
    reader.history(battery, times.clone(), columns, each).expect("readable");

    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let seconds = times.start.unix_timestamp()..times.end.unix_timestamp();
    let mut chart = ChartBuilder::on(&root)
        .build_cartesian_2d(seconds, -120_f32..120.0)
        .expect("there is room");
    for line in lines {
        chart.draw_series([PathElement::new(line, BLACK)]).expect("a string takes all");
    }
    root.present().expect("a string takes all");
    drop(chart);
    drop(root);
    svg
}

criterion_group!(benches, week);
criterion_main!(benches);
