//! The values that are plotted, from one pass over the journal.

use std::ops::{ControlFlow, Range};

use bluenova_journal::Reader;
use bluenova_plot::{Buckets, FilledBuckets, Trace, micros};
use bluenova_record::{CELLS, COLUMNS, Column, PackRecord};
use time::{Duration, UtcDateTime};

use crate::HistoryError;

/// The course of every value that is plotted.
pub(crate) struct Traces {
    /// The buckets that have rows.
    pub(crate) filled: FilledBuckets,
    pub(crate) voltage: Trace,
    pub(crate) current: Trace,
    pub(crate) charge: Trace,
    pub(crate) temperature: Trace,
    /// Lowest and highest cell voltage.
    pub(crate) band: Trace,
    /// Difference of these two, in millivolts.
    pub(crate) spread: Trace,
    pub(crate) cell_v: [Trace; CELLS],
    pub(crate) cell_t: [Trace; CELLS],
}

impl Traces {
    /// Reads the rows of a battery. A trace has a gap where its value was unknown for longer than
    /// `longest_pause`.
    pub(crate) fn read(
        journal: &Reader,
        mcu_id: u32,
        times: Range<UtcDateTime>,
        buckets: Buckets,
        longest_pause: Duration,
    ) -> Result<Self, HistoryError> {
        let columns: Vec<_> = COLUMNS.iter().filter(|column| is_plotted(column)).collect();
        let mut traces = Self::new(buckets, longest_pause);
        // Each row overwrites all columns that were read of the one before.
        let mut record = PackRecord::new(times.start, mcu_id);
        journal.history(mcu_id, times, &columns, |time, values| {
            for (column, value) in columns.iter().zip(values) {
                // It can't fail: the journal has values of the column's type only.
                let _ = column.set(&mut record, *value);
            }
            record.insert_time_utc = time;
            traces.add(&record);
            ControlFlow::Continue(())
        })?;
        Ok(traces)
    }

    fn new(buckets: Buckets, longest_pause: Duration) -> Self {
        let trace = || Trace::new(longest_pause);
        Self {
            filled: FilledBuckets::new(buckets),
            voltage: trace(),
            current: trace(),
            charge: trace(),
            temperature: trace(),
            band: trace(),
            spread: trace(),
            cell_v: std::array::from_fn(|_| trace()),
            cell_t: std::array::from_fn(|_| trace()),
        }
    }

    fn add(&mut self, record: &PackRecord) {
        if self.filled.count(record.insert_time_utc) {
            self.each(Trace::start_bucket);
        }
        let time = micros(record.insert_time_utc);
        self.voltage.add(time, record.v_pack);
        self.current.add(time, record.i_pack);
        self.charge.add(time, record.soc.map(f32::from));
        self.temperature.add(time, record.temp.map(f32::from));
        let (lowest, highest) = lowest_and_highest(record);
        self.band.add_range(time, lowest, highest);
        self.spread.add(time, spread_mv(record));
        for (trace, volts) in self.cell_v.iter_mut().zip(record.cell_v) {
            trace.add(time, volts);
        }
        for (trace, degrees) in self.cell_t.iter_mut().zip(record.cell_t) {
            trace.add(time, degrees.map(f32::from));
        }
    }

    fn each(&mut self, mut change: impl FnMut(&mut Trace)) {
        let Self { voltage, current, charge, temperature, band, spread, .. } = self;
        let singles = [voltage, current, charge, temperature, band, spread];
        let cells = self.cell_v.iter_mut().chain(&mut self.cell_t);
        singles.into_iter().chain(cells).for_each(&mut change);
    }
}

fn is_plotted(column: &Column) -> bool {
    match column.name {
        "v_pack" | "i_pack" | "soc" | "temp" | "v_cell_min" | "v_cell_max" => true,
        "cell_count" => false,
        name => name.starts_with("cell_"),
    }
}

/// Lowest and highest cell voltage as reported, else of the cells whose voltages are known.
fn lowest_and_highest(record: &PackRecord) -> (Option<f32>, Option<f32>) {
    let cells = record.cell_v.iter().flatten().copied();
    let lowest = record.v_cell_min.or_else(|| cells.clone().reduce(f32::min));
    let highest = record.v_cell_max.or_else(|| cells.reduce(f32::max));
    (lowest, highest)
}

/// Difference of the lowest and the highest cell voltage, in millivolts.
pub(super) fn spread_mv(record: &PackRecord) -> Option<f32> {
    let (lowest, highest) = lowest_and_highest(record);
    lowest.zip(highest).map(|(low, high)| millivolts(high - low))
}

/// To a tenth: a float has more digits than the measurement.
fn millivolts(volts: f32) -> f32 {
    (f64::from(volts) * 10_000.0).round() as f32 / 10.0
}
