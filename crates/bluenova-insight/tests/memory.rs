//! What an insight takes of memory and of the journal. In a binary of its own, since the allocator
//! counts for the whole process.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]
#![allow(unsafe_code, reason = "an allocator can't do without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bluenova_insight::{Insight, UtcDays};
use bluenova_record::PackRecord;
use time::{Duration, macros::utc_datetime};

struct Counting;

thread_local! {
    /// Bytes that are allocated in this thread: the test harness has others.
    static ALLOCATED: Cell<isize> = const { Cell::new(0) };
}

fn add(bytes: usize, sign: isize) {
    ALLOCATED.with(|allocated| allocated.set(allocated.get() + sign * bytes as isize));
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A sample of a pack of 16 cells that is charged and discharged between 20 and 95 %, by a current
/// that changes all the time.
fn sample(second: u32) -> PackRecord {
    let start = utc_datetime!(2026-06-01 00:00);
    let mut sample = PackRecord::new(start + Duration::seconds(second.into()), 7);
    let wave = |period: f64| (f64::from(second) / period * std::f64::consts::TAU).sin();
    let step = if second % 16 < 8 { 10.0 } else { -10.0 };
    let amps = (33.0 * wave(43_200.0) + step) as f32;
    let fill = 0.575 - 0.375 * (f64::from(second) / 43_200.0 * std::f64::consts::TAU).cos();
    (sample.i_pack, sample.v_pack) = (Some(amps), Some(52.8 + 0.02 * amps));
    (sample.soc, sample.cell_count) = (Some((fill * 100.0).round() as i16), Some(16));
    for cell in 0..16 {
        let resistance = 0.001 + 0.000_02 * cell as f32;
        sample.cell_v[cell] = Some(3.2 + 0.15 * fill as f32 + resistance * amps);
        sample.cell_t[cell] = Some(20);
    }
    sample
}

#[test]
fn an_insight_is_at_most_4_kib_and_its_json_8_kib() {
    let before = ALLOCATED.get();
    let mut insight = Insight::new(7);
    for second in 0..2 * 86_400 {
        insight.sample(&sample(second), &UtcDays);
    }
    let on_the_heap = usize::try_from(ALLOCATED.get() - before).unwrap();
    let figures = insight.figures().unwrap();
    assert!(figures.capacity_ah.is_some() && figures.cells[0].resistance_mohm.is_some());
    let bytes = size_of_val(&insight) + on_the_heap;
    assert!(bytes <= 4096, "{bytes} bytes, {on_the_heap} of them on the heap");
    let text = serde_json::to_string(&insight).unwrap();
    assert!(text.len() <= 8192, "{} bytes: {text}", text.len());
}
