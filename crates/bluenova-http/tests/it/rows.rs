//! Rows in a journal, to ask for.

use bluenova_journal::{Journal, Reader, Retention};
use bluenova_record::{PackRecord, Text};
use time::macros::utc_datetime;
use time::{Duration, UtcDateTime};

pub(crate) const BATTERY: u32 = 0x9F3C_07B2;
pub(crate) const NOW: UtcDateTime = utc_datetime!(2026-11-22 20:00:03);

/// A row of so many seconds before 20:00, with a value in every column.
pub(crate) fn row(seconds_ago: i64) -> PackRecord {
    let time = NOW - Duration::seconds(3 + seconds_ago);
    PackRecord {
        n_units: Some(2),
        unit_rank: Some(1),
        cell_count: Some(16),
        cell_v: std::array::from_fn(|i| Some((3300 + 2 * i as u16) as f32 / 1000.0)),
        cell_t: std::array::from_fn(|i| Some(20 + i as i16 % 3)),
        v_pack: Some(53.017),
        i_pack: Some(-41.75),
        temp: Some(24),
        v_cell_min: Some(3.3),
        v_cell_max: Some(3.33),
        soc: Some(63),
        health: Some(97.25),
        errors: Some(Text::new("NONE")),
        system_state: Some(Text::new("NORMAL")),
        breaker: Some(Text::new("CLOSED")),
        charge_state: Some(Text::new("DISCHARGE")),
        energy_in: Some(812.5),
        energy_out: Some(790.5),
        adc_vp: Some(52.996),
        adc: [Some(1.6135); 5],
        ..PackRecord::new(time, BATTERY)
    }
}

/// A journal with these rows, and a reader of it.
pub(crate) fn journal(rows: &[PackRecord]) -> (Journal, Reader) {
    let mut journal = Journal::in_memory(Retention::FOREVER).unwrap();
    journal.append(rows).unwrap();
    let reader = journal.reader().unwrap();
    (journal, reader)
}

pub(crate) fn query(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
    parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}
