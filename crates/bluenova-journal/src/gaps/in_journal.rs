//! What a journal says of intervals without a row.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range};

use time::UtcDateTime;

use crate::{
    Error, Gap, GapBattery, GapCause, GapFinder, MissingIntervals, Reader, RowShare, RowTime,
    Sequence, SetAsideTime,
};

/// Rows that may be delivered though the file doesn't say so yet: the outbox writes down how far
/// it is after a thousand rows, and a batch may be under way.
const MAX_LAG: usize = 2200;

/// How much more than was asked for is read of the journal's rows, at least and at most, before and
/// behind.
const AROUND: Range<time::Duration> = time::Duration::minutes(10)..time::Duration::hours(1);

/// The rows of a journal that the table of the other database lacks: waiting, set aside, or gone
/// from there.
#[derive(Debug)]
pub struct RowsOutsideTable<'a> {
    journal: &'a Reader,
    /// In the order of time.
    set_aside: Vec<SetAsideTime>,
    is_set_aside: HashSet<(UtcDateTime, u32)>,
    delivered: Sequence,
    /// The first rows that the file has as undelivered.
    maybe_delivered: Vec<RowTime>,
    /// What [`rows`](Self::rows) has read last.
    read: RefCell<Option<RowsRead>>,
}

/// The rows of a journal in a time.
#[derive(Debug)]
struct RowsRead {
    times: Range<UtcDateTime>,
    /// The rows of each battery, in the order of time.
    by_mcu_id: HashMap<u32, Vec<(UtcDateTime, Sequence)>>,
}

impl<'a> RowsOutsideTable<'a> {
    /// Those of a journal.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn new(journal: &'a Reader) -> Result<Self, Error> {
        let set_aside = journal.set_aside_times()?;
        let is_set_aside = set_aside.iter().map(|row| (row.time, row.mcu_id)).collect();
        let delivered = journal.delivered()?;
        let maybe_delivered = journal.undelivered_times(MAX_LAG)?;
        let read = RefCell::default();
        Ok(Self { journal, set_aside, is_set_aside, delivered, maybe_delivered, read })
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
    /// After an outage, each battery of thousands has the same gap. So the rows of all batteries
    /// are kept that were read last, from some time around `times`.
    ///
    /// # Errors
    /// If the file can't be read or is damaged, or if it takes too long.
    pub fn rows(
        &self,
        mcu_id: u32,
        times: Range<UtcDateTime>,
    ) -> Result<Vec<(UtcDateTime, GapCause)>, Error> {
        let mut rows = self.set_aside(mcu_id, &times);
        let mut read = self.read.borrow_mut();
        let read = match read.as_ref() {
            Some(has) if has.times.start <= times.start && times.end <= has.times.end => has,
            _ => read.insert(RowsRead::around(self.journal, &times)?),
        };
        for (time, sequence) in read.rows(mcu_id, &times) {
            if !self.is_set_aside.contains(&(*time, mcu_id)) {
                let waits = *sequence > self.delivered;
                rows.push((*time, if waits { GapCause::Waiting } else { GapCause::NotInTable }));
            }
        }
        rows.sort_by_key(|(time, _)| *time);
        Ok(rows)
    }

    fn set_aside(&self, mcu_id: u32, times: &Range<UtcDateTime>) -> Vec<(UtcDateTime, GapCause)> {
        let from = self.set_aside.partition_point(|row| row.time < times.start);
        let within = self.set_aside.iter().skip(from).take_while(|row| row.time < times.end);
        let of_battery = within.filter(|row| row.mcu_id == mcu_id);
        let cause = |row: &SetAsideTime| match row.is_retried {
            true => GapCause::Waiting,
            false => GapCause::SetAside,
        };
        of_battery.map(|row| (row.time, cause(row))).collect()
    }
}

impl RowsRead {
    /// The rows in `times` and in some time before and behind, where the gaps of other batteries
    /// begin and end.
    fn around(journal: &Reader, times: &Range<UtcDateTime>) -> Result<Self, Error> {
        let length: time::Duration = times.end - times.start;
        let around = (length / 4_i32).clamp(AROUND.start, AROUND.end);
        let times = times.start.saturating_sub(around)..times.end.saturating_add(around);
        let mut by_mcu_id: HashMap<u32, Vec<_>> = HashMap::new();
        journal.row_times(times.clone(), |row| {
            by_mcu_id.entry(row.mcu_id).or_default().push((row.time, row.sequence));
            ControlFlow::Continue(())
        })?;
        Ok(Self { times, by_mcu_id })
    }

    fn rows(&self, mcu_id: u32, times: &Range<UtcDateTime>) -> &[(UtcDateTime, Sequence)] {
        let rows = self.by_mcu_id.get(&mcu_id).map_or(&[][..], Vec::as_slice);
        let from = rows.partition_point(|(time, _)| *time < times.start);
        let to = rows.partition_point(|(time, _)| *time < times.end);
        rows.get(from..to).unwrap_or_default()
    }
}

/// Calls `each` with each gap between the rows of a journal, as its end is found, those that have
/// not ended last; returns how many intervals have a row, battery by battery.
///
/// # Errors
/// If the file can't be read or is damaged, or if it takes too long.
pub fn gaps_in_journal(
    journal: &Reader,
    mut finder: GapFinder,
    mut each: impl FnMut(&GapBattery, Gap),
) -> Result<Vec<RowShare>, Error> {
    let set_aside = RowsOutsideTable::new(journal)?;
    let rows = |mcu_id, times| Ok::<_, Error>(set_aside.set_aside(mcu_id, &times));
    journal.row_times(finder.row_times(), |row| {
        let missing = finder.row(row.mcu_id, row.time);
        for (battery, gap) in gaps_of(&finder, missing, rows).into_iter().flatten() {
            each(battery, gap);
        }
        ControlFlow::Continue(())
    })?;
    let missing = finder.end();
    for (battery, gap) in gaps_of(&finder, missing, rows)? {
        each(battery, gap);
    }
    Ok(finder.shares())
}

/// The gaps that intervals without a row are made of, in the order of their end. `rows` are those
/// of a battery and a time that the table lacks.
///
/// # Errors
/// Those of `rows`.
pub fn gaps_of<E>(
    finder: &GapFinder,
    missing: impl IntoIterator<Item = MissingIntervals>,
    rows: impl Fn(u32, Range<UtcDateTime>) -> Result<Vec<(UtcDateTime, GapCause)>, E>,
) -> Result<Vec<(&GapBattery, Gap)>, E> {
    let mut gaps = vec![];
    for missing in missing {
        let Some(battery) = finder.battery(&missing) else { continue };
        let rows = battery.mcu_id.map(|id| rows(id, finder.times_of(&missing))).transpose()?;
        let found = finder.explain(&missing, &rows.unwrap_or_default());
        gaps.extend(found.into_iter().map(|gap| (battery, gap)));
    }
    gaps.sort_by_key(|(_, gap)| gap.to);
    Ok(gaps)
}
