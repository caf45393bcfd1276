//! The import: logs -> rows that are missing -> store.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
};

use bluenova_console::Interval;
use bluenova_record::PackRecord;
use time::{Date, UtcDateTime};

use crate::{
    Findings, ImportError, LogSeries, LogZone, RowStore,
    collector::Batch,
    read::{LogReader, ReadProgress},
    taken::{RowNearby, TakenTimes},
};

/// Batches of rows that wait between the thread that reads and the one that adds.
const BATCHES: usize = 4;

/// Logs to be imported.
#[derive(Debug)]
pub struct Import {
    /// The logs, the oldest first.
    pub logs: Vec<LogSeries>,
    /// The zone of lines that have a local time, where no record of their log shows it.
    pub zone: LogZone,
    /// Length of the intervals into which console lines are put. A row is left out if its battery
    /// has one within half of it.
    pub interval: Interval,
    /// The present time: later rows are of a clock that was wrong.
    pub now: UtcDateTime,
}

/// How far an import has got.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportProgress {
    /// Bytes of the log files that were read.
    pub read: u64,
    /// Bytes of the log files that are to be read in all, as far as that is known yet.
    pub total: u64,
    /// Rows that were missing.
    pub added: u64,
}

/// What came of an import.
#[derive(Debug)]
pub struct Imported {
    /// The rows of the logs, by day and MCU ID.
    pub tallies: BTreeMap<(Date, u32), RowTally>,
    /// What else was found in the logs, as far as they were read.
    pub findings: Findings,
    /// Whether all rows were added, or why not.
    pub ended: Result<(), ImportError>,
}

/// Numbers of rows of one battery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowTally {
    /// Rows that were missing.
    pub added: u64,
    /// Rows that the battery had already.
    pub known: u64,
    /// Rows that are less than half an interval from another one.
    pub near: u64,
}

impl Import {
    /// Reads the logs, and adds to `store` the rows that it lacks; calls `progress` now and then.
    pub fn run(self, store: &mut RowStore, mut progress: impl FnMut(ImportProgress)) -> Imported {
        let Self { logs, zone, interval, now } = self;
        let read = Arc::new(ReadProgress::default());
        let (rows, batches) = mpsc::sync_channel(BATCHES);
        let reader =
            LogReader { zone, interval, now, progress: Arc::clone(&read), rows: Some(rows) };
        let mut missing = MissingRows::new(interval);
        let started = thread::Builder::new()
            .name("log reader".to_owned())
            .spawn(move || reader.run(logs))
            .map_err(ImportError::Thread);
        let (findings, days, ended) = match started {
            Ok(reader) => {
                let added = batches.into_iter().try_for_each(|batch| {
                    let rows = missing.of(batch, store)?;
                    store.add(rows)?;
                    progress(ImportProgress {
                        read: read.read.load(Ordering::Relaxed),
                        total: read.total.load(Ordering::Relaxed),
                        added: missing.added,
                    });
                    Ok(())
                });
                // Without a receiver of its rows it ends.
                match reader.join() {
                    Ok((findings, days)) => (findings, days, added),
                    // The panic was shown already.
                    Err(_) => {
                        (Findings::default(), vec![], added.and(Err(ImportError::ReaderFailed)))
                    }
                }
            }
            Err(error) => (Findings::default(), vec![], Err(error)),
        };
        let ended = ended.and_then(|()| store.put_days(&days));
        Imported { tallies: missing.tallies, findings, ended }
    }
}

impl RowTally {
    /// Adds the numbers of other rows.
    pub fn add(&mut self, other: Self) {
        self.added += other.added;
        self.known += other.known;
        self.near += other.near;
    }
}

/// Finds the rows that a store lacks, and counts all.
struct MissingRows {
    taken: TakenTimes,
    /// Half an interval, in seconds.
    within: i64,
    tallies: BTreeMap<(Date, u32), RowTally>,
    added: u64,
}

impl MissingRows {
    fn new(interval: Interval) -> Self {
        let within = i64::from(interval.seconds() / 2);
        Self { taken: TakenTimes::default(), within, tallies: BTreeMap::new(), added: 0 }
    }

    /// The rows of a batch that are missing.
    fn of(&mut self, batch: Batch, store: &mut RowStore) -> Result<Vec<PackRecord>, ImportError> {
        let mut missing = Vec::with_capacity(batch.len());
        for record in batch {
            let (id, time) = (record.mcu_id, record.insert_time_utc);
            let load = |id, times| store.times(id, times);
            let nearby = self.taken.take(id, time, self.within, load)?;
            let tally = self.tallies.entry((time.date(), id)).or_default();
            match nearby {
                RowNearby::None => {
                    tally.added += 1;
                    self.added += 1;
                    missing.push(record);
                }
                RowNearby::SameTime => tally.known += 1,
                RowNearby::Near => tally.near += 1,
            }
        }
        Ok(missing)
    }
}
