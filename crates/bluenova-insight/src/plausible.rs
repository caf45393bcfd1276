//! Values of a sample that can be true.
//!
//! A counter that is kept for ever must survive a garbled line. What lies beyond these bounds is
//! treated as if the battery had not sent it. They are wide: they tell an error of transmission
//! from a value, not a good battery from a bad one.
//!
//! | value | bounds |
//! |---|---|
//! | pack current | -1000 to 1000 A |
//! | pack voltage | 1 to 5 V for each cell; 4 to 80 V if the number of cells isn't known |
//! | cell voltage | 0.5 to 5 V |
//! | temperature | -50 to 120 °C |
//! | state of charge | 0 to 100 % |

use std::ops::RangeInclusive;

use bluenova_record::{CELLS, PackRecord};

const AMPS: RangeInclusive<f32> = -1000.0..=1000.0;
pub(crate) const CELL_VOLTS: RangeInclusive<f32> = 0.5..=5.0;
const CELSIUS: RangeInclusive<i16> = -50..=120;
const PERCENT: RangeInclusive<i16> = 0..=100;

pub(crate) fn pack_volts(record: &PackRecord) -> Option<f32> {
    let cells = record.possible_cell_count();
    let (fewest, most) = cells.map_or((4.0, CELLS as f32), |n| (n as f32, n as f32));
    record.v_pack.filter(|volts| (fewest..=most * 5.0).contains(volts))
}

pub(crate) fn amps(record: &PackRecord) -> Option<f32> {
    record.i_pack.filter(|amps| AMPS.contains(amps))
}

pub(crate) fn percent(record: &PackRecord) -> Option<i16> {
    record.soc.filter(|soc| PERCENT.contains(soc))
}

pub(crate) fn celsius(record: &PackRecord) -> Option<i16> {
    record.temp.filter(|temp| CELSIUS.contains(temp))
}

/// The cells whose voltage is known, with their number from 1.
pub(crate) fn cell_volts(record: &PackRecord) -> impl Iterator<Item = (u8, f32)> {
    numbered(record, &record.cell_v).filter(|(_, volts)| CELL_VOLTS.contains(volts))
}

/// The cells whose temperature is known, with their number from 1.
pub(crate) fn cell_celsius(record: &PackRecord) -> impl Iterator<Item = (u8, i16)> {
    numbered(record, &record.cell_t).filter(|(_, celsius)| CELSIUS.contains(celsius))
}

fn numbered<'a, T: Copy>(
    record: &PackRecord,
    values: &'a [Option<T>; CELLS],
) -> impl Iterator<Item = (u8, T)> + use<'a, T> {
    let count = record.possible_cell_count().unwrap_or(CELLS);
    (1..).zip(&values[..count]).filter_map(|(cell, value)| Some((cell, (*value)?)))
}

#[cfg(test)]
mod tests {
    use time::UtcDateTime;

    use super::*;

    #[test]
    fn a_value_that_cannot_be_true_is_none() {
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 7);
        for (cells, volts, is_plausible) in [
            (Some(16), 53.0, true),
            (Some(16), 81.0, false),
            (Some(16), 5.3, false),
            (Some(4), 13.2, true),
            (Some(4), 53.0, false),
            (Some(-1), 53.0, true),
            (None, 13.2, true),
            (None, 530.0, false),
            (None, f32::NAN, false),
        ] {
            (record.cell_count, record.v_pack) = (cells, Some(volts));
            assert_eq!(pack_volts(&record).is_some(), is_plausible, "{cells:?} {volts}");
        }
        for (given, is_plausible) in [(-999.0, true), (1e9, false), (f32::INFINITY, false)] {
            record.i_pack = Some(given);
            assert_eq!(amps(&record).is_some(), is_plausible, "{given}");
        }
    }

    #[test]
    fn cells_beyond_the_count_are_left_out() {
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 7);
        (record.cell_v, record.cell_count) = ([Some(3.3); CELLS], Some(4));
        record.cell_v[1] = Some(33.0);
        assert_eq!(cell_volts(&record).map(|(cell, _)| cell).collect::<Vec<_>>(), [1, 3, 4]);
    }
}
