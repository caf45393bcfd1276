//! Rows in a journal, to ask for.

use bluenova_journal::{Journal, Reader, Retention};
use bluenova_record::PackRecord;
use bluenova_test_support::sample_row;
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
        energy_in: Some(812.5),
        energy_out: Some(790.5),
        adc: [Some(1.6135); 5],
        bad_crc: 0,
        parse_fail: 0,
        bad_vcell: 0,
        ..sample_row(time, BATTERY)
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
