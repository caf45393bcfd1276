//! Values of all cells of a pack, side by side.

use bluenova_record::{CELLS, PackRecord};
use serde::{Deserialize, Serialize};

use crate::{number, plausible, robust};

/// Values of all cells; those of cells that the pack hasn't got are 0. Loops over all of them
/// become a few vector instructions.
pub(crate) type PerCell = [f32; CELLS];

/// Samples in a row that must have another number of cells until that counts: a garbled one must
/// not cost what was learnt in a month.
const AGREEING: u8 = 10;

/// Number of cells of a battery.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CellCount {
    #[serde(deserialize_with = "number::cell_count")]
    count: u8,
    other: u8,
    agreeing: u8,
}

impl CellCount {
    /// Takes a sample; returns its voltages if all cells have one.
    pub(crate) fn volts(&mut self, record: &PackRecord) -> Option<CellVolts> {
        if let Some(count) = record.possible_cell_count() {
            self.see(count as u8);
        } else if self.count == 0 {
            self.see(record.cell_v.iter().take_while(|volts| volts.is_some()).count() as u8);
        }
        CellVolts::of(record, self.count.into())
    }

    fn see(&mut self, count: u8) {
        if self.count == 0 {
            self.count = count;
        }
        if count == self.count {
            self.agreeing = 0;
            return;
        }
        if count != self.other {
            (self.other, self.agreeing) = (count, 0);
        }
        self.agreeing = self.agreeing.saturating_add(1);
        if self.agreeing >= AGREEING {
            *self = Self { count, ..Self::default() };
        }
    }
}

/// Voltages of all cells in a sample, each of them plausible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellVolts {
    pub(crate) count: usize,
    pub(crate) volts: PerCell,
    pub(crate) lowest: f32,
}

impl CellVolts {
    /// `None` unless the voltages of all `count` cells are there and can be true.
    pub(crate) fn of(record: &PackRecord, count: usize) -> Option<Self> {
        let mut volts = PerCell::default();
        let mut lowest = f32::INFINITY;
        for (volts, cell) in volts.iter_mut().zip(record.cell_v.get(..count)?) {
            *volts = cell.filter(|volts| plausible::CELL_VOLTS.contains(volts))?;
            lowest = lowest.min(*volts);
        }
        (count > 0).then_some(Self { count, volts, lowest })
    }

    /// Those of the cells that there are.
    pub(crate) fn known(&self) -> &[f32] {
        &self.volts[..self.count]
    }
}

/// The median of some cells; 0 of none.
pub(crate) fn median(values: &[f32]) -> f32 {
    robust::median(copy_of(values, &mut PerCell::default()))
}

fn copy_of<'a>(values: &[f32], copy: &'a mut PerCell) -> &'a mut [f32] {
    let copy = &mut copy[..values.len().min(CELLS)];
    copy.copy_from_slice(&values[..copy.len()]);
    copy
}

/// The median of the others, for each cell of a pack.
pub(crate) struct MedianOfOthers {
    values: PerCell,
    count: usize,
}

impl MedianOfOthers {
    pub(crate) fn of(values: impl Iterator<Item = f32>) -> Self {
        let mut all = PerCell::default();
        let mut count = 0;
        for (place, value) in all.iter_mut().zip(values) {
            *place = value;
            count += 1;
        }
        Self { values: all, count }
    }

    /// The median of all cells but one.
    pub(crate) fn without(&self, cell: usize) -> f32 {
        let (mut others, count) = self.others(cell);
        robust::median(&mut others[..count])
    }

    /// The usual deviation of all cells but one.
    pub(crate) fn spread_without(&self, cell: usize) -> f32 {
        let (mut others, count) = self.others(cell);
        robust::median_and_deviation(&mut others[..count]).1
    }

    /// The values of all cells but one.
    fn others(&self, cell: usize) -> (PerCell, usize) {
        let mut others = PerCell::default();
        let mut count = 0;
        for (_, &value) in self.values[..self.count].iter().enumerate().filter(|(i, _)| *i != cell)
        {
            others[count] = value;
            count += 1;
        }
        (others, count)
    }
}
