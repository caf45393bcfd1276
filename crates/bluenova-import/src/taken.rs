//! Which seconds are taken by a row.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::{Range, RangeInclusive},
};

use time::{Duration, UtcDateTime};

const DAY: i64 = 86_400;

const WORDS: usize = (DAY as usize).div_ceil(64);

/// The times of the rows of all batteries, in whole seconds: 11 KB for each day of a battery that
/// was asked for.
#[derive(Debug, Default)]
pub(crate) struct TakenTimes {
    days: HashMap<(u32, i64), Box<[u64; WORDS]>>,
}

/// The row that keeps another one of its battery away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowNearby {
    /// There is none: the time is taken now.
    None,
    /// The battery has a row of that second.
    SameTime,
    /// The battery has a row close by.
    Near,
}

impl TakenTimes {
    /// Takes a time for a row, if the battery has none `within` so many seconds of it.
    ///
    /// `load` is asked once for the times of the rows that a battery has on a day.
    pub(crate) fn take<E>(
        &mut self,
        mcu_id: u32,
        time: UtcDateTime,
        within: i64,
        mut load: impl FnMut(u32, Range<UtcDateTime>) -> Result<Vec<UtcDateTime>, E>,
    ) -> Result<RowNearby, E> {
        let second = time.unix_timestamp();
        let (first, last) = (second - within, second + within);
        for day in first.div_euclid(DAY)..=last.div_euclid(DAY) {
            let Entry::Vacant(unknown) = self.days.entry((mcu_id, day)) else { continue };
            let start = UtcDateTime::from_unix_timestamp(day * DAY).unwrap_or(UtcDateTime::MIN);
            let end = start.checked_add(Duration::DAY).unwrap_or(UtcDateTime::MAX);
            let mut seconds = Box::new([0; WORDS]);
            for time in load(mcu_id, start..end)? {
                set(&mut seconds, time.unix_timestamp());
            }
            unknown.insert(seconds);
        }
        if self.is_taken(mcu_id, second..=second) {
            return Ok(RowNearby::SameTime);
        }
        if self.is_taken(mcu_id, first..=last) {
            return Ok(RowNearby::Near);
        }
        if let Some(seconds) = self.days.get_mut(&(mcu_id, second.div_euclid(DAY))) {
            set(seconds, second);
        }
        Ok(RowNearby::None)
    }

    /// Whether a second of `seconds` is taken.
    fn is_taken(&self, mcu_id: u32, seconds: RangeInclusive<i64>) -> bool {
        let (first, last) = seconds.into_inner();
        (first.div_euclid(DAY)..=last.div_euclid(DAY)).any(|day| {
            let Some(taken) = self.days.get(&(mcu_id, day)) else { return false };
            let (first, first_bit) = place(first.max(day * DAY));
            let (last, last_bit) = place(last.min(day * DAY + DAY - 1));
            taken[first..=last].iter().enumerate().any(|(n, word)| {
                // The bits from the first one on, and up to the last one.
                let from = if n == 0 { !(first_bit - 1) } else { u64::MAX };
                let to = if first + n == last { last_bit | (last_bit - 1) } else { u64::MAX };
                word & from & to != 0
            })
        })
    }
}

fn set(seconds: &mut [u64; WORDS], second: i64) {
    let (word, bit) = place(second);
    seconds[word] |= bit;
}

/// Word and bit of a second in its day.
fn place(second: i64) -> (usize, u64) {
    let of_day = second.rem_euclid(DAY) as usize;
    (of_day / 64, 1 << (of_day % 64))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn at(second: i64) -> UtcDateTime {
        UtcDateTime::from_unix_timestamp(second).unwrap()
    }

    #[test]
    fn half_an_interval_may_be_half_a_day() {
        let mut taken = TakenTimes::default();
        let mut take = |second, within| {
            let nothing = |_, _| Ok::<_, Infallible>(vec![]);
            taken.take(7, at(second), within, nothing).unwrap()
        };
        assert_eq!(take(DAY / 2, 0), RowNearby::None);
        for distance in [1, 13, 63, 64, 65, 1000, 30_000, 43_200] {
            for second in [DAY / 2 - distance, DAY / 2 + distance] {
                assert_eq!(take(second, distance), RowNearby::Near, "{distance}");
            }
        }
        assert_eq!(take(DAY / 2 + 43_200, 43_199), RowNearby::None);
    }

    #[test]
    fn a_row_keeps_others_away_also_past_midnight() {
        let mut taken = TakenTimes::default();
        let mut loads = vec![];
        let mut take = |mcu_id, second| {
            let load = |mcu_id, days: Range<UtcDateTime>| {
                loads.push((mcu_id, days.start.unix_timestamp()));
                let has_row = days.contains(&at(DAY));
                Ok::<_, Infallible>(if has_row && mcu_id == 7 { vec![at(DAY)] } else { vec![] })
            };
            taken.take(mcu_id, at(second), 5, load).unwrap()
        };
        assert_eq!(take(7, DAY), RowNearby::SameTime);
        assert_eq!(take(7, DAY - 5), RowNearby::Near);
        assert_eq!(take(7, DAY + 5), RowNearby::Near);
        assert_eq!(take(7, DAY - 6), RowNearby::None);
        assert_eq!(take(7, DAY - 6), RowNearby::SameTime);
        assert_eq!(take(7, DAY - 8), RowNearby::Near);
        assert_eq!(take(8, DAY), RowNearby::None);
        assert_eq!(loads, [(7, 0), (7, DAY), (8, 0), (8, DAY)]);
    }
}
