//! An insight as its callers use it: fed with samples and rows, stored and loaded.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

mod days;
mod energy;
mod estimates;
mod model;
mod pack;
mod robustness;
mod size;
mod sweep;
mod time_to_go;
mod weak_cells;

use bluenova_record::PackRecord;
use time::{Duration, UtcDateTime, macros::utc_datetime};

const MCU_ID: u32 = 0x9F3C_07B2;

const START: UtcDateTime = utc_datetime!(2026-06-01 12:00);

/// A sample so many seconds after the start.
fn sample(seconds: f64, volts: f64, amps: f64) -> PackRecord {
    let mut sample = PackRecord::new(START + Duration::seconds_f64(seconds), MCU_ID);
    (sample.v_pack, sample.i_pack) = (Some(volts as f32), Some(amps as f32));
    sample
}

/// A sample with a value in every column that matters.
fn full_sample(seconds: f64) -> PackRecord {
    let wave = |period: f64| (seconds / period * std::f64::consts::TAU).sin();
    let amps = 110.25 * wave(43_200.0);
    let mut sample = sample(seconds, 52.375 + 2.625 * wave(43_200.0), amps);
    (sample.soc, sample.temp, sample.cell_count) =
        (Some(55 + (45.0 * wave(86_400.0)) as i16), Some(-9), Some(16));
    for cell in 0..16 {
        sample.cell_v[cell] = Some((3.273 + 0.0115 * cell as f64 + 0.164 * wave(43_200.0)) as f32);
        sample.cell_t[cell] = Some(-10 + cell as i16);
    }
    sample.breaker = Some(bluenova_record::Text::new("OPEN"));
    sample.errors = Some(bluenova_record::Text::new("CELL OVERVOLT"));
    sample
}

#[track_caller]
fn assert_near(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected} ± {tolerance}");
}
