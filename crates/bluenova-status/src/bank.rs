//! The batteries of a bank, each of them once, and the sums over them.

use std::{collections::HashMap, iter::Sum, time::Duration};

use bluenova_insight::{Counters, Figures, Goal, TimeToGo};
use bluenova_record::{CELLS, PackRecord};
use time::Date;

use crate::{BatteryStatus, Newest, Status};

/// A battery of the bank, under all addresses that lead to it.
pub struct Unit<'a> {
    /// Its addresses on the command line; none if only the journal has rows of it.
    pub batteries: Vec<&'a BatteryStatus>,
    /// Its newest row, by whichever address it came.
    pub latest: Option<Sample<'a>>,
}

/// The newest row of a battery.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    /// The row.
    pub record: &'a PackRecord,
    /// Time since the end of its interval.
    pub age: Duration,
    /// Whether it was stored since the start, and isn't one of an earlier run.
    is_of_this_run: bool,
}

impl<'a> Sample<'a> {
    /// A row of an earlier run.
    fn of_journal(record: &'a PackRecord, status: &Status) -> Self {
        // Negative if the clock was set back; the row counts as stale in any case.
        let age = (status.now - record.insert_time_utc).try_into().unwrap_or_default();
        Self { record, age, is_of_this_run: false }
    }
}

impl<'a> Unit<'a> {
    /// `None` until its first row, or until it has sent its MCU ID.
    pub fn mcu_id(&self) -> Option<u32> {
        let of_row = self.latest.map(|latest| latest.record.mcu_id);
        of_row.or_else(|| self.batteries.iter().find_map(|battery| battery.mcu_id()))
    }

    /// Its names on the command line.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.batteries.iter().map(|battery| battery.name.as_str()).collect();
        names.join(" = ")
    }

    /// The row, unless it is stale. A row of an earlier run always is: it may have been written
    /// while the clock was wrong.
    pub fn fresh(&self, status: &Status) -> Option<&'a PackRecord> {
        let latest = self.latest.filter(|it| it.is_of_this_run && !status.is_stale(it.age));
        latest.map(|latest| latest.record)
    }

    /// Its newest values, those of the interval under way among them, and the address that they
    /// came by. `None`: they are stale, or another battery is at the address meanwhile.
    pub fn fresh_values(&self, status: &Status) -> Option<(&'a BatteryStatus, &'a Newest)> {
        let id = self.mcu_id()?;
        let is_its_own = |values: &Newest| values.record.mcu_id == id;
        let newest = self
            .batteries
            .iter()
            .filter(|battery| battery.announced_mcu_id.is_none_or(|sent| sent == id))
            .flat_map(|battery| {
                let values = battery.newest.iter().chain(&battery.under_way);
                values.map(move |values| (*battery, values))
            })
            .filter(|(_, values)| is_its_own(values))
            .min_by_key(|(_, values)| status.age(values))?;
        (!status.is_stale(status.age(newest.1))).then_some(newest)
    }

    /// What its samples say of it, by whichever address they came last.
    pub fn figures(&self) -> Option<&'a Figures> {
        let figures = self.batteries.iter().filter_map(|battery| battery.figures.as_deref());
        figures.max_by_key(|figures| figures.time.0)
    }

    /// Its values in the interval under way, if they are newer than its newest row.
    pub fn under_way(&self, status: &Status) -> Option<&'a Newest> {
        let (battery, values) = self.fresh_values(status)?;
        let is_row = battery.newest.as_ref().is_some_and(|row| std::ptr::eq(row, values));
        (!is_row).then_some(values)
    }

    /// Time until its first row since the start is due, at any of its addresses.
    pub fn first_row_due_in(&self, status: &Status) -> Option<Duration> {
        if self.latest.is_some_and(|latest| latest.is_of_this_run) {
            return None;
        }
        self.batteries.iter().filter_map(|battery| status.first_row_due_in(battery)).min()
    }
}

/// The batteries of the command line, in its order; those of one MCU ID are one.
pub fn units(status: &Status) -> Vec<Unit<'_>> {
    let mut units: Vec<Unit<'_>> = vec![];
    let mut positions = HashMap::new();
    for battery in &status.batteries {
        let newest = battery.newest.as_ref();
        let latest = newest.map(|newest| Sample {
            record: &newest.record,
            age: status.age(newest),
            is_of_this_run: true,
        });
        let new = units.len();
        let position = battery.mcu_id().map_or(new, |id| *positions.entry(id).or_insert(new));
        match units.get_mut(position) {
            Some(unit) => {
                unit.batteries.push(battery);
                unit.latest = unit.latest.into_iter().chain(latest).min_by_key(|latest| latest.age);
            }
            None => units.push(Unit { batteries: vec![battery], latest }),
        }
    }
    units
}

/// Adds the newest rows of earlier runs to the batteries that have no row since the start. Rows of
/// batteries that aren't on the command line become batteries without an address.
///
/// While a battery that has just been started with hasn't sent its MCU ID, any of those rows may be
/// its own, and would show it twice: they are left out. A single row without a battery and a single
/// battery without an MCU ID belong together.
pub fn add_journal<'a>(units: &mut Vec<Unit<'a>>, rows: &'a [PackRecord], status: &Status) {
    let mut others = vec![];
    let ids = units.iter().map(Unit::mcu_id).zip(0..);
    let positions: HashMap<u32, usize> = ids.filter_map(|(id, at)| Some((id?, at))).collect();
    for row in rows {
        match positions.get(&row.mcu_id).and_then(|at| units.get_mut(*at)) {
            Some(unit) => {
                unit.latest.get_or_insert(Sample::of_journal(row, status));
            }
            None => others.push(Sample::of_journal(row, status)),
        }
    }
    let mut unknown = units.iter_mut().filter(|unit| unit.mcu_id().is_none());
    match (&others[..], unknown.next(), unknown.next()) {
        ([only], Some(unit), None) => unit.latest = Some(*only),
        (_, Some(unit), _) if unit.first_row_due_in(status).is_some() => {}
        _ => units.extend(
            others.into_iter().map(|latest| Unit { batteries: vec![], latest: Some(latest) }),
        ),
    }
}

/// The reported state of the breaker; `None` if it isn't known.
pub fn breaker(record: &PackRecord) -> Option<&str> {
    record.breaker.as_deref().filter(|breaker| !breaker.trim().is_empty())
}

/// Power in watts; positive charges.
pub fn power(record: &PackRecord) -> Option<f64> {
    Some(f64::from(record.v_pack?) * f64::from(record.i_pack?))
}

/// What a battery adds to the sums of a bank; and the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    power: Option<f64>,
    /// State of charge times weight.
    charge: f64,
    weight: f64,
}

impl Share {
    /// The share of the battery that has this row.
    pub fn of(record: &PackRecord) -> Self {
        let cells = record.possible_cell_count().unwrap_or(CELLS) as f64;
        let health = record.health.filter(|health| *health > 0.0).map_or(100.0, f64::from);
        let (charge, weight) = match record.soc {
            Some(soc) => (f64::from(soc) * cells * health, cells * health),
            None => (0.0, 0.0),
        };
        Self { power: power(record), charge, weight }
    }

    /// Sum of the known powers in watts; `None` if no power is known.
    pub fn power(&self) -> Option<f64> {
        self.power
    }

    /// Mean state of charge in percent, each battery weighted by its capacity: the number of cells
    /// times the state of health. The batteries don't report a capacity, but those of a bank are of
    /// one model.
    pub fn state_of_charge(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.charge / self.weight)
    }
}

impl Sum for Share {
    fn sum<I: Iterator<Item = Self>>(shares: I) -> Self {
        shares.fold(Self::default(), |sum, share| Self {
            power: match (sum.power, share.power) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            },
            charge: sum.charge + share.charge,
            weight: sum.weight + share.weight,
        })
    }
}

/// What the samples of a bank's batteries say of all of them together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BankFigures {
    /// Energy and charge since the first sample of each battery.
    pub counters: Counters,
    /// The newest day that any of them has, and energy and charge of that day.
    pub today: Option<(Date, Counters)>,
    /// When the bank is empty or full, if its batteries go on as in the last quarter of an hour.
    pub time_to_go: Option<TimeToGo>,
}

impl BankFigures {
    /// Sums over the batteries that have figures; a stale one is going neither way.
    pub fn new(units: &[Unit<'_>], status: &Status) -> Self {
        let figures = || units.iter().filter_map(Unit::figures);
        let newest = figures().map(|figures| figures.today.date).max();
        let of_day = |date| figures().map(|it| &it.today).filter(move |day| day.date == date);
        let fresh = units.iter().filter(|unit| unit.fresh_values(status).is_some());
        Self {
            counters: total(figures().map(|figures| figures.counters)),
            today: newest.map(|date| (date, total(of_day(date).map(|day| day.counters)))),
            time_to_go: time_to_go(fresh.filter_map(Unit::figures)),
        }
    }
}

fn total(all: impl Iterator<Item = Counters>) -> Counters {
    all.fold(Counters::default(), |sum, counters| Counters {
        energy_in_wh: sum.energy_in_wh + counters.energy_in_wh,
        energy_out_wh: sum.energy_out_wh + counters.energy_out_wh,
        charge_in_ah: sum.charge_in_ah + counters.charge_in_ah,
        charge_out_ah: sum.charge_out_ah + counters.charge_out_ah,
    })
}

/// The batteries of a bank are in parallel: they share its load, and the energy that each has left
/// is its own power for its own time. One that goes the other way, or none, takes part with its
/// power only.
fn time_to_go<'a>(figures: impl Iterator<Item = &'a Figures>) -> Option<TimeToGo> {
    let going: Vec<_> = figures.filter_map(|it| Some((it.mean_power_w?, it.time_to_go))).collect();
    let power: f64 = going.iter().map(|(watts, _)| watts).sum();
    let goal = if power > 0.0 { Goal::Full } else { Goal::Empty };
    let same_way = || {
        going.iter().filter_map(|(watts, to_go)| Some((watts, to_go.filter(|it| it.goal == goal)?)))
    };
    let left: f64 = same_way().map(|(watts, to_go)| watts.abs() * to_go.seconds).sum();
    let seconds = left / power.abs();
    // What makes one last longer than expected, a lower load, does so with all of them.
    let uncertain = same_way().map(|(_, to_go)| to_go.plus_minus_s / to_go.seconds);
    let uncertain = uncertain.filter(|part| part.is_finite()).fold(0.0, f64::max);
    (left > 0.0 && seconds.is_finite()).then(|| TimeToGo {
        goal,
        seconds,
        plus_minus_s: seconds * uncertain,
        with_usual_capacity: same_way().any(|(_, to_go)| to_go.with_usual_capacity),
    })
}

/// Mean and extremes of a pack's cell voltages.
#[derive(Debug, PartialEq)]
pub struct CellVoltages {
    /// Volts.
    pub mean: f64,
    /// Millivolts from the lowest to the highest.
    pub spread: f64,
    /// The cell with the lowest voltage, from 1.
    pub lowest: usize,
    /// The cell with the highest voltage, from 1.
    pub highest: usize,
}

/// Mean and extremes of the known cell voltages; `None` if no voltage is known.
pub fn cell_voltages(record: &PackRecord) -> Option<CellVoltages> {
    let known: Vec<(usize, f64)> = (1..)
        .zip(record.cell_v)
        .filter_map(|(cell, volts)| volts.map(|volts| (cell, f64::from(volts))))
        .collect();
    let by_volts = |a: &&(usize, f64), b: &&(usize, f64)| a.1.total_cmp(&b.1);
    let (lowest, min) = *known.iter().min_by(by_volts)?;
    let (highest, max) = *known.iter().max_by(by_volts)?;
    let mean = known.iter().map(|(_, volts)| volts).sum::<f64>() / known.len() as f64;
    Some(CellVoltages { mean, spread: (max - min) * 1000.0, lowest, highest })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use time::UtcDateTime;

    use super::*;
    use crate::StorageStatus;

    fn record(fill: impl FnOnce(&mut PackRecord)) -> PackRecord {
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        fill(&mut record);
        record
    }

    fn sum(records: &[&PackRecord]) -> Share {
        records.iter().map(|record| Share::of(record)).sum()
    }

    #[test]
    fn a_battery_at_several_addresses_is_one() {
        let now = UtcDateTime::UNIX_EPOCH + Duration::from_secs(100);
        let instant = Instant::now();
        let battery = |address: &str, mcu_id: Option<u32>, row: Option<(u32, u64)>| {
            let mut battery = BatteryStatus::new(address, address);
            battery.announced_mcu_id = mcu_id;
            battery.newest = row.map(|(mcu_id, age)| Newest {
                record: PackRecord::new(now - Duration::from_secs(age), mcu_id),
                received: instant,
            });
            battery
        };
        let status = Status {
            now,
            instant,
            started: instant,
            interval: Duration::from_secs(10),
            batteries: vec![
                battery("a", None, None),
                battery("b", Some(1), None),
                battery("c", None, Some((2, 20))),
                battery("d", Some(1), Some((1, 10))),
                battery("e", None, None),
                battery("f", None, Some((2, 10))),
            ],
            storage: StorageStatus::default(),
            delivery: None,
        };
        let shown: Vec<_> = units(&status)
            .iter()
            .map(|unit| (unit.names(), unit.mcu_id(), unit.latest.map(|it| it.age.as_secs())))
            .collect();
        let expected = [
            ("a", None, None),
            ("b = d", Some(1), Some(10)),
            ("c = f", Some(2), Some(10)),
            ("e", None, None),
        ];
        assert_eq!(shown, expected.map(|(names, id, age)| (names.to_owned(), id, age)));
    }

    #[test]
    fn the_time_that_batteries_take_grows_with_their_number() {
        // Two addresses of each; a search through all of them would take hours.
        let battery = |n| BatteryStatus { announced_mcu_id: Some(n), ..BatteryStatus::new("", "") };
        let status = Status {
            now: UtcDateTime::UNIX_EPOCH,
            instant: Instant::now(),
            started: Instant::now(),
            interval: Duration::from_secs(10),
            batteries: (0..200_000).map(|n| battery(n % 100_000)).collect(),
            storage: StorageStatus::default(),
            delivery: None,
        };
        let mut units = units(&status);
        assert_eq!((units.len(), units[99_999].batteries.len()), (100_000, 2));
        let rows: Vec<_> =
            (50_000..150_000).map(|n| PackRecord::new(UtcDateTime::UNIX_EPOCH, n)).collect();
        add_journal(&mut units, &rows, &status);
        assert_eq!(units.len(), 150_000);
        assert!(units[49_999].latest.is_none() && units[50_000].latest.is_some());
    }

    fn insight_of(mcu_id: u32, day: i64, amps: f32) -> Figures {
        let mut insight = bluenova_insight::Insight::new(mcu_id);
        for second in 0..=10 {
            let time =
                UtcDateTime::UNIX_EPOCH + Duration::from_secs(second) + time::Duration::days(day);
            let mut sample = PackRecord::new(time, mcu_id);
            (sample.v_pack, sample.i_pack) = (Some(50.0), Some(amps));
            insight.sample(&sample, &bluenova_insight::UtcDays);
        }
        insight.figures().unwrap()
    }

    #[test]
    fn figures_are_summed_and_the_day_is_the_newest() {
        let battery = |mcu_id: u32, day, amps| BatteryStatus {
            announced_mcu_id: Some(mcu_id),
            figures: Some(insight_of(mcu_id, day, amps).into()),
            ..BatteryStatus::new("", "")
        };
        let status = Status {
            now: UtcDateTime::UNIX_EPOCH,
            instant: Instant::now(),
            started: Instant::now(),
            interval: Duration::from_secs(10),
            // A twin of the first one, and one that has been silent since the day before.
            batteries: vec![
                battery(1, 1, 360.0),
                battery(1, 0, 7.0),
                battery(2, 0, 720.0),
                battery(3, 1, -36.0),
            ],
            storage: StorageStatus::default(),
            delivery: None,
        };
        let figures = BankFigures::new(&units(&status), &status);
        let rounded = |ah: f64| (ah * 1e6).round() / 1e6;
        let sums = |it: &Counters| (rounded(it.charge_in_ah), rounded(it.charge_out_ah));
        assert_eq!(sums(&figures.counters), (3.0, 0.1));
        let (date, today) = figures.today.unwrap();
        assert_eq!((date.to_julian_day(), sums(&today)), (2_440_589, (1.0, 0.1)));
        assert_eq!(figures.time_to_go, None);
    }

    #[test]
    fn a_bank_lasts_until_the_energy_of_all_is_gone() {
        let figures = |watts: Option<f64>, hours: Option<f64>| Figures {
            mean_power_w: watts,
            time_to_go: hours.map(|hours| TimeToGo {
                goal: if watts > Some(0.0) { Goal::Full } else { Goal::Empty },
                seconds: hours * 3600.0,
                plus_minus_s: hours * 360.0,
                with_usual_capacity: false,
            }),
            ..insight_of(1, 0, 1.0)
        };
        let check = |all: &[(Option<f64>, Option<f64>)], expected: Option<(Goal, f64)>| {
            let all: Vec<_> = all.iter().map(|(watts, hours)| figures(*watts, *hours)).collect();
            let found = time_to_go(all.iter()).map(|it| {
                assert!((it.plus_minus_s * 10.0 - it.seconds).abs() < 1e-6, "a tenth, as of each");
                (it.goal, it.seconds / 3600.0)
            });
            assert_eq!(found, expected, "{all:?}");
        };
        check(&[], None);
        check(&[(None, None)], None);
        check(&[(Some(-100.0), None)], None);
        // 1 kWh and 2 kWh, at 300 W; with one that is idle, or takes half of it.
        let both = [(Some(-100.0), Some(10.0)), (Some(-200.0), Some(10.0))];
        check(&both, Some((Goal::Empty, 10.0)));
        check(&[(Some(-100.0), Some(10.0)), (Some(-300.0), Some(2.0))], Some((Goal::Empty, 4.0)));
        check(&[both[0], both[1], (Some(0.0), None)], Some((Goal::Empty, 10.0)));
        check(&[both[0], both[1], (Some(150.0), Some(1.0))], Some((Goal::Empty, 20.0)));
        check(&[(Some(150.0), Some(1.0))], Some((Goal::Full, 1.0)));
        // As much in as out.
        check(&[(Some(-100.0), Some(1.0)), (Some(100.0), Some(1.0))], None);
    }

    #[test]
    fn state_of_charge_is_weighted_by_capacity() {
        let full = record(|r| (r.soc, r.health, r.cell_count) = (Some(100), Some(50.0), Some(16)));
        let empty = record(|r| (r.soc, r.health, r.cell_count) = (Some(10), Some(100.0), Some(16)));
        let unknown = record(|_| ());
        assert_eq!(sum(&[&full, &empty, &unknown]).state_of_charge(), Some(40.0));
        assert_eq!(sum(&[&unknown]).state_of_charge(), None);
        // Unknown and impossible values weigh as a healthy battery of the common model.
        for cells in [-1, 0, 200] {
            let odd =
                record(|r| (r.soc, r.health, r.cell_count) = (Some(30), Some(0.0), Some(cells)));
            assert_eq!(sum(&[&odd, &empty]).state_of_charge(), Some(20.0), "{cells} cells");
        }
    }

    #[test]
    fn power_is_summed_where_it_is_known() {
        let discharges = record(|r| (r.v_pack, r.i_pack) = (Some(50.0), Some(-2.0)));
        let charges = record(|r| (r.v_pack, r.i_pack) = (Some(50.0), Some(0.5)));
        let half_known = record(|r| r.v_pack = Some(50.0));
        assert_eq!(sum(&[&discharges, &half_known, &charges]).power(), Some(-75.0));
        assert_eq!(sum(&[&half_known]).power(), None);
    }

    #[test]
    fn cells_are_compared_where_they_are_known() {
        let some = record(|r| {
            r.cell_v[2] = Some(3.25);
            r.cell_v[6] = Some(3.5);
            r.cell_v[9] = Some(3.375);
        });
        let expected = CellVoltages { mean: 3.375, spread: 250.0, lowest: 3, highest: 7 };
        assert_eq!(cell_voltages(&some), Some(expected));
        assert_eq!(cell_voltages(&record(|_| ())), None);
    }
}
