//! `/api/bank/plots`: power and state of charge of all batteries together.

use std::time::Duration;

use bluenova_journal::Reader;
use bluenova_plot::{
    Curve, FilledBuckets, Form, Legend, Palette, Panel, Picture, Side, Trace, micros,
};
use bluenova_record::{COLUMNS, McuId, PackRecord};
use bluenova_status::bank::Share;
use bluenova_status::stale_after;
use time::UtcDateTime;

use super::ZERO;
use super::answer::Plots;
use super::comparison::each_row;
use super::request::PlotRequest;
use crate::HistoryError;
use crate::query::Query;

const COLUMNS_OF_BANK: [&str; 5] = ["v_pack", "i_pack", "soc", "cell_count", "health"];

/// The plot of a bank of these batteries. `of_all` is the number of batteries that have rows.
///
/// The sum at each time is that of the batteries that report; where those aren't always the same
/// number, the plot has that number, too.
///
/// # Errors
/// A parameter is invalid, there are too many rows, or the journal can't be read.
pub(crate) fn bank_plots(
    journal: &Reader,
    batteries: &[u32],
    query: &[(String, String)],
    now: UtcDateTime,
    interval: Duration,
    of_all: usize,
) -> Result<Plots, HistoryError> {
    let query = Query::new(query, &PlotRequest::PARAMETERS)?;
    let request = PlotRequest::new(query, journal, journal.oldest()?, now, interval)?;
    request.check_rows(interval, of_all)?;

    // A battery reports unless its values are stale.
    let mut sums = BankSums::new(batteries, &request, stale_after(request.interval));
    let columns: Vec<_> =
        COLUMNS.iter().filter(|column| COLUMNS_OF_BANK.contains(&column.name)).collect();
    each_row(journal, &request, batteries.to_vec(), &columns, |record| sums.add(record))?;
    sums.end_bucket();

    let mut plots = Plots::new(&request);
    plots.batteries = batteries.iter().copied().map(McuId).collect();
    plots.set_times(&sums.filled);
    plots.draw(&picture(&sums, batteries.len(), &request.palette), &request)?;
    Ok(plots)
}

/// Sums over the batteries, in each bucket of time.
struct BankSums {
    filled: FilledBuckets,
    batteries: Vec<OfBattery>,
    power: Trace,
    charge: Trace,
    reporting: Trace,
}

/// What a battery has said in the bucket under way.
struct OfBattery {
    mcu_id: u32,
    /// Sum of its powers, and how many they are.
    power: (f64, u32),
    newest: Option<Share>,
}

impl BankSums {
    fn new(batteries: &[u32], request: &PlotRequest, stale_after: Duration) -> Self {
        let of_battery =
            |mcu_id: &u32| OfBattery { mcu_id: *mcu_id, power: (0.0, 0), newest: None };
        let mut batteries: Vec<_> = batteries.iter().map(of_battery).collect();
        batteries.sort_by_key(|battery| battery.mcu_id);
        let buckets = request.buckets(stale_after);
        // A bucket without rows is a gap.
        let pause = time::Duration::microseconds(buckets.micros() * 2);
        let trace = || Trace::new(pause);
        let (power, charge, reporting) = (trace(), trace(), trace());
        Self { filled: FilledBuckets::new(buckets), batteries, power, charge, reporting }
    }

    fn add(&mut self, record: &PackRecord) {
        let ended = self.filled.times.last().copied();
        if self.filled.count(record.insert_time_utc) {
            if let Some(time) = ended {
                self.sum_up(time);
            }
            for trace in [&mut self.power, &mut self.charge, &mut self.reporting] {
                trace.start_bucket();
            }
        }
        let at = self.batteries.binary_search_by_key(&record.mcu_id, |battery| battery.mcu_id);
        if let Some(battery) = at.ok().and_then(|at| self.batteries.get_mut(at)) {
            let share = Share::of(record);
            if let Some(power) = share.power().filter(|power| power.is_finite()) {
                battery.power.0 += power;
                battery.power.1 += 1;
            }
            battery.newest = Some(share);
        }
    }

    /// Ends the last bucket.
    fn end_bucket(&mut self) {
        if let Some(time) = self.filled.times.last().copied() {
            self.sum_up(time);
        }
    }

    fn sum_up(&mut self, time: UtcDateTime) {
        let time = micros(time);
        let mut reporting = 0_u16;
        let (mut watts, mut shares) = (0.0, vec![]);
        for OfBattery { power: (sum, count), newest, .. } in &mut self.batteries {
            if *count > 0 {
                watts += *sum / f64::from(*count);
                reporting = reporting.saturating_add(1);
            }
            shares.extend(newest.take());
            (*sum, *count) = (0.0, 0);
        }
        let charge = shares.into_iter().sum::<Share>().state_of_charge();
        self.power.add(time, (reporting > 0).then_some(watts as f32));
        self.charge.add(time, charge.map(|percent| percent as f32));
        self.reporting.add(time, Some(reporting.into()));
    }
}

fn picture<'a>(sums: &'a BankSums, batteries: usize, palette: &Palette) -> Picture<'a> {
    let power = Curve::line("power of all", &sums.power, palette.current);
    let filled = Curve { form: Form::Area, ..power.clone() };
    let charge = Curve::line("state of charge", &sums.charge, palette.charge);
    let reporting = Curve::line("batteries reporting", &sums.reporting, palette.text);
    let mut legend = vec![Legend::of(&power), Legend::of(&charge)];
    let side = |unit, colour, least, bounds, curves| Side { unit, colour, least, bounds, curves };
    let mut panels = vec![
        Panel {
            height: 150,
            left: side("W", palette.current, 100.0, ZERO, vec![filled, power]),
            right: Side::empty(),
        },
        Panel {
            height: 74,
            left: side("%", palette.charge, 100.0, Some((0.0, 100.0)), vec![charge]),
            right: Side::empty(),
        },
    ];
    let all = batteries as f64;
    if sums.reporting.extremes().is_some_and(|counts| f64::from(counts.low) < all) {
        legend.push(Legend::of(&reporting));
        panels.push(Panel {
            height: 60,
            left: side("", palette.text, all, Some((0.0, all)), vec![reporting]),
            right: Side::empty(),
        });
    }
    Picture { id: "bank", title: "Power and state of charge of all batteries", legend, panels }
}
