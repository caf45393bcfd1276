use std::collections::HashSet;

use bluenova_journal::{Journal, Retention};
use bluenova_record::{COLUMNS, Column, PackRecord, SqlType, Value};
use time::{Duration, UtcDateTime};

/// Records that are made of one input at most: more than the journal has slots for recent ones.
const MOST: usize = 160;

/// Records of any values, through a journal in memory and back.
///
/// The first byte sets how many are appended at once, the second one how many are read at once, the
/// third one how often the records that follow are repeated, a second later each time.
///
/// - Each comes back as it was, in the order in which it was appended, except that NaN, which
///   SQLite doesn't have, becomes `NULL`; that times are in whole microseconds; and that a time
///   that its battery has a row of already becomes the next one that is free.
/// - The journal's own figures agree.
pub fn record_roundtrip(data: &[u8]) {
    let mut source = Source(data);
    let [together, at_once, times] = source.take().map(|n: u8| usize::from(n) + 1);
    let mut once = vec![];
    while !source.0.is_empty() && once.len() < MOST {
        once.push(source.record());
    }
    let records = repeated(&once, times.min(8));
    let expected = as_stored(&records);

    let mut journal = Journal::in_memory(Retention::FOREVER).expect("there is memory");
    let mut moved = 0;
    for records in records.chunks(together) {
        moved += journal.append(records).expect("there is room").moved;
    }
    let differs = |(given, stored): &(&PackRecord, &PackRecord)| {
        in_microseconds(given.insert_time_utc) != stored.insert_time_utc
    };
    assert_eq!(moved, records.iter().zip(&expected).filter(differs).count() as u64);

    let mut outbox = journal.outbox().expect("it opens once more");
    assert_eq!(outbox.waiting().expect("readable"), expected.len() as u64);
    let mut back = vec![];
    loop {
        let batch = outbox.undelivered(at_once).expect("readable");
        if batch.records.is_empty() {
            break;
        }
        back.extend(batch.records.iter().cloned());
        outbox.delivered(batch.last).expect("writable");
    }
    assert_eq!(outbox.waiting().expect("readable"), 0);
    assert_eq!(back.len(), expected.len());
    for (back, expected) in back.iter().zip(&expected) {
        check_same(back, expected);
    }
    check_figures(&journal, &expected);
}

/// Bytes, and zeros for ever behind them.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (here, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        let mut taken = [0; N];
        taken[..here.len()].copy_from_slice(here);
        taken
    }

    fn record(&mut self) -> PackRecord {
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0);
        for column in &COLUMNS {
            let text;
            let value = match column.sql {
                SqlType::Timestamp => Some(Value::Timestamp(self.time())),
                SqlType::BigInt => Some(Value::BigInt(u32::from_le_bytes(self.take()).into())),
                _ if column.is_nullable() && self.take() == [0] => None,
                SqlType::SmallInt => Some(Value::SmallInt(i16::from_le_bytes(self.take()))),
                SqlType::Real => Some(Value::Real(self.real())),
                SqlType::Varchar(_) => {
                    text = self.text();
                    Some(Value::Text(&text))
                }
            };
            column.set(&mut record, value).expect("it has the column's type");
        }
        record
    }

    /// Any time that there is; often one that another record has, too.
    fn time(&mut self) -> UtcDateTime {
        let [choice] = self.take();
        let time = match choice % 4 {
            0 => UtcDateTime::from_unix_timestamp(1_750_000_000 + i64::from(choice)).ok(),
            1 => {
                let seconds = i64::from_le_bytes(self.take());
                let span = UtcDateTime::MAX.unix_timestamp() - UtcDateTime::MIN.unix_timestamp();
                let seconds = UtcDateTime::MIN.unix_timestamp() + seconds.rem_euclid(span);
                UtcDateTime::from_unix_timestamp(seconds).ok()
            }
            2 => {
                let nanoseconds = i64::from_le_bytes(self.take());
                UtcDateTime::from_unix_timestamp_nanos(nanoseconds.into()).ok()
            }
            _ => Some(if choice < 128 { UtcDateTime::MIN } else { UtcDateTime::MAX }),
        };
        time.expect("within the calendar")
    }

    /// Any float, or a number as batteries have it.
    fn real(&mut self) -> f32 {
        let bytes = self.take();
        let [choice] = self.take();
        match choice % 2 {
            0 => f32::from_le_bytes(bytes),
            _ => i32::from_le_bytes(bytes) as f32 / 1000.0,
        }
    }

    fn text(&mut self) -> String {
        let [length] = self.take();
        let (here, rest) = self.0.split_at(self.0.len().min(usize::from(length)));
        self.0 = rest;
        String::from_utf8_lossy(here).into_owned()
    }
}

fn repeated(records: &[PackRecord], times: usize) -> Vec<PackRecord> {
    let later = |n: usize| {
        records.iter().map(move |record| {
            let insert_time_utc =
                record.insert_time_utc.saturating_add(Duration::SECOND * n as f64);
            PackRecord { insert_time_utc, ..record.clone() }
        })
    };
    (0..times).flat_map(later).take(MOST).collect()
}

fn as_stored(records: &[PackRecord]) -> Vec<PackRecord> {
    let mut taken = HashSet::new();
    records
        .iter()
        .map(|given| {
            let mut record = given.clone();
            record.insert_time_utc = in_microseconds(record.insert_time_utc);
            while !taken.insert((record.insert_time_utc, record.mcu_id)) {
                let next = record.insert_time_utc.checked_add(Duration::MICROSECOND);
                record.insert_time_utc = next.unwrap_or(UtcDateTime::MIN);
            }
            for column in &COLUMNS {
                if matches!(column.get(given), Some(Value::Real(number)) if number.is_nan()) {
                    column.set(&mut record, None).expect("it's nullable");
                }
            }
            record
        })
        .collect()
}

fn in_microseconds(time: UtcDateTime) -> UtcDateTime {
    time.replace_microsecond(time.microsecond()).expect("it has it")
}

fn check_same(back: &PackRecord, expected: &PackRecord) {
    for column in &COLUMNS {
        let (back, expected) = (bits(column, back), bits(column, expected));
        assert_eq!(back, expected, "{}", column.name);
    }
}

/// A float by its bits: -0.0 is not 0.0.
fn bits<'a>(column: &Column, record: &'a PackRecord) -> (Option<u32>, Option<Value<'a>>) {
    match column.get(record) {
        Some(Value::Real(number)) => (Some(number.to_bits()), None),
        other => (None, other),
    }
}

fn check_figures(journal: &Journal, expected: &[PackRecord]) {
    let reader = journal.reader().expect("it opens once more");
    let names: HashSet<u32> = expected.iter().map(|record| record.mcu_id).collect();
    let latest = reader.latest().expect("readable");
    assert_eq!(latest.len(), names.len());
    for mcu_id in names {
        let rows: Vec<_> = expected.iter().filter(|record| record.mcu_id == mcu_id).collect();
        assert_eq!(reader.count(mcu_id).expect("readable"), rows.len() as u64);
        let newest = latest.iter().find(|record| record.mcu_id == mcu_id).expect("it has rows");
        check_same(newest, rows.last().expect("it has rows"));
    }
}
