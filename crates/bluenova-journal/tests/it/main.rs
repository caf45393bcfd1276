//! A journal as its users see it: real files, real threads, real processes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod announced;
mod append;
mod backlog;
mod clock;
#[cfg(target_os = "linux")]
mod disk;
mod events;
mod files;
mod history;
mod leftover;
mod outbox;
#[cfg(target_os = "linux")]
mod power;
mod processes;
mod reader;
mod recover;
mod redelivery;
mod replaced;
mod row_times;
mod rows;
mod set_aside;
mod spool;
mod stand_in;
mod statistics;
mod threads;
mod torn;
mod trim;
mod versions;
#[cfg(target_os = "linux")]
mod writes;

use std::path::Path;
use std::thread;
use std::time::Instant;

use bluenova_journal::{Error, Journal, Retention};
use bluenova_record::PackRecord;
use bluenova_test_support::sample_row;
use time::macros::utc_datetime;
use time::{Duration, UtcDateTime};

const BATTERY: u32 = 0x9F3C_07B2;
const START: UtcDateTime = utc_datetime!(2026-01-01 00:00:00);

/// The n-th record of a battery at an interval of 10 s. `energy_in` is n, to tell it by.
fn nth(mcu_id: u32, n: u16) -> PackRecord {
    let mut record = PackRecord::new(START + Duration::seconds(10) * f64::from(n), mcu_id);
    record.energy_in = Some(n.into());
    record
}

/// A record as a battery of 16 cells makes it, with a value in every column.
fn typical(n: u16) -> PackRecord {
    let millivolts =
        |least: u16, i: u16| Some(f32::from(least + (7 * (n % 1000) + 13 * i) % 60) / 1000.0);
    let row = nth(BATTERY, n);
    PackRecord {
        cell_v: std::array::from_fn(|i| millivolts(3280, i as u16)),
        cell_t: std::array::from_fn(|i| Some(18 + ((i as i16 + (n % 9) as i16) % 9))),
        v_pack: Some(53_017.0_f32 / 1000.0 + f32::from(n % 100) / 100.0),
        i_pack: Some(-41.75 + f32::from(n % 50)),
        v_cell_min: millivolts(3280, 3),
        v_cell_max: millivolts(3290, 5),
        energy_in: Some(812.5 + f32::from(n)),
        energy_out: Some(790.5 + f32::from(n)),
        adc_vp: millivolts(52_996, 1),
        bad_vcell: 0,
        ..sample_row(row.insert_time_utc, row.mcu_id)
    }
}

fn open(path: &Path) -> Journal {
    patiently(|| Journal::open(path, Retention::default())).unwrap()
}

/// Tries again while the journal is in use: by the thread of a recovery, say, that goes on though
/// its spool was dropped.
fn patiently<T>(open: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match open() {
            Err(Error::InUse { .. }) if Instant::now() < deadline => thread::yield_now(),
            opened => return opened,
        }
    }
}

/// All that the journal holds and nobody acknowledged.
fn undelivered(journal: &Journal) -> Vec<PackRecord> {
    journal.outbox().unwrap().undelivered(usize::MAX).unwrap().records.to_vec()
}

/// The numbers that [`nth`] gave them.
fn numbers(records: &[PackRecord]) -> Vec<u16> {
    records.iter().map(|record| record.energy_in.unwrap() as u16).collect()
}
