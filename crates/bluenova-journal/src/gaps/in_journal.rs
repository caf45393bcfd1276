//! What a journal says of intervals without a row.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use time::UtcDateTime;

use crate::{Error, Gap, GapBattery, GapCause, GapFinder, Reader, RowShare, RowTime, Sequence};

/// Rows that may be delivered though the file doesn't say so yet: the outbox writes down how far
/// it is after a thousand rows, and a batch may be under way.
const MAX_LAG: usize = 2200;

/// The rows of a journal that the table of the other database lacks: waiting, set aside, or gone
/// from there.
#[derive(Debug)]
pub struct RowsOutsideTable<'a> {
    journal: &'a Reader,
    /// In the order of time.
    set_aside: Vec<(UtcDateTime, u32)>,
    is_set_aside: HashSet<(UtcDateTime, u32)>,
    delivered: Sequence,
    /// The first rows that the file has as undelivered.
    maybe_delivered: Vec<RowTime>,
}

impl<'a> RowsOutsideTable<'a> {
    /// Those of a journal.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn new(journal: &'a Reader) -> Result<Self, Error> {
        let set_aside = journal.set_aside_times()?;
        let is_set_aside = set_aside.iter().copied().collect();
        let delivered = journal.delivered()?;
        let maybe_delivered = journal.undelivered_times(MAX_LAG)?;
        Ok(Self { journal, set_aside, is_set_aside, delivered, maybe_delivered })
    }

    /// The times in which rows of the table show which rows are delivered, though the file does not
    /// say so yet: give those to [`is_in_table`](Self::is_in_table). `None` if no row waits.
    pub fn times_to_check(&self) -> Option<Range<UtcDateTime>> {
        let times = self.maybe_delivered.iter().map(|row| row.time);
        let (first, last) = (times.clone().min()?, times.max()?);
        Some(first..last.saturating_add(time::Duration::MICROSECOND))
    }

    /// Takes note of a row that the table has. Rows are delivered in their order, so that all
    /// before it are.
    pub fn is_in_table(&mut self, time: UtcDateTime, mcu_id: u32) {
        let is_row = |row: &&RowTime| row.time == time && row.mcu_id == mcu_id;
        if let Some(row) = self.maybe_delivered.iter().find(is_row) {
            self.delivered = self.delivered.max(row.sequence);
        }
    }

    /// The rows of a battery in `times`, in the order of time, each with the reason why the table
    /// lacks it.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn rows(
        &self,
        mcu_id: u32,
        times: Range<UtcDateTime>,
    ) -> Result<Vec<(UtcDateTime, GapCause)>, Error> {
        let mut rows = self.set_aside(mcu_id, &times);
        self.journal.row_times(times, |row| {
            if row.mcu_id == mcu_id && !self.is_set_aside.contains(&(row.time, mcu_id)) {
                let waits = row.sequence > self.delivered;
                rows.push((row.time, if waits { GapCause::Waiting } else { GapCause::NotInTable }));
            }
            ControlFlow::Continue(())
        })?;
        rows.sort_by_key(|(time, _)| *time);
        Ok(rows)
    }

    fn set_aside(&self, mcu_id: u32, times: &Range<UtcDateTime>) -> Vec<(UtcDateTime, GapCause)> {
        let from = self.set_aside.partition_point(|(time, _)| *time < times.start);
        let within = self.set_aside.iter().skip(from).take_while(|(time, _)| *time < times.end);
        let of_battery = within.filter(|(_, id)| *id == mcu_id);
        of_battery.map(|(time, _)| (*time, GapCause::SetAside)).collect()
    }
}

/// Calls `each` with each gap between the rows of a journal, in the order of their end; returns how
/// many intervals have a row, battery by battery.
///
/// # Errors
/// If the file can't be read or is damaged, or if it takes too long.
pub fn gaps_in_journal(
    journal: &Reader,
    mut finder: GapFinder,
    mut each: impl FnMut(&GapBattery, Gap),
) -> Result<Vec<RowShare>, Error> {
    let set_aside = RowsOutsideTable::new(journal)?;
    let mut explain = |finder: &GapFinder, missing| {
        let Some(battery) = finder.battery(&missing) else { return };
        let times = finder.times_of(&missing);
        let elsewhere = battery.mcu_id.map(|id| set_aside.set_aside(id, &times));
        for gap in finder.explain(&missing, &elsewhere.unwrap_or_default()) {
            each(battery, gap);
        }
    };
    journal.row_times(finder.row_times(), |row| {
        if let Some(missing) = finder.row(row.mcu_id, row.time) {
            explain(&finder, missing);
        }
        ControlFlow::Continue(())
    })?;
    for missing in finder.end() {
        explain(&finder, missing);
    }
    Ok(finder.shares())
}
