//! What a passport says, before it is written as text or page.

use std::fmt;

use bluenova_insight::{
    CellFigures, Counters, DayStatistics, Estimate, Figures, Trends, Verdict, trends,
};
use bluenova_record::{McuId, PackRecord, Rfc3339};
use serde::{Serialize, Serializer};
use time::{Date, UtcDateTime};

use crate::{
    EventSummary, Limits, Method, MonthEnergy, PassportDay,
    days::{by_day, by_month, limits, sum},
    methods,
    number::date,
};

/// Which battery it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Identity {
    /// What its owner calls it.
    pub name: Option<String>,
    /// Its MCU ID.
    #[serde(serialize_with = "mcu_id")]
    pub mcu_id: u32,
    /// Cells in series.
    pub cell_count: Option<i16>,
    /// Number of units in its bank.
    pub n_units: Option<i16>,
    /// Its rank in the bank.
    pub unit_rank: Option<i16>,
    /// State of health by its firmware.
    pub health_percent: Option<f32>,
}

/// All that a passport is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Which battery it is.
    pub identity: Identity,
    /// The days of the period, the one under way too.
    pub days: Vec<DayStatistics>,
    /// What is known at the end of the period.
    pub figures: Option<Figures>,
    /// What happened.
    pub events: Vec<EventSummary>,
    /// The time zone of the days.
    pub zone: String,
    /// Where all that comes from: the path of a journal, or those of logs.
    pub origin: String,
    /// Name and version of the program that makes the passport.
    pub made_by: String,
}

/// The time that a passport is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Period {
    /// The first local date of which anything is known: `2026-11-27`.
    pub first: String,
    /// The last one.
    pub last: String,
    /// The time zone of the dates.
    pub zone: String,
    /// Days from the first to the last one.
    pub days: u64,
    /// Those of which anything is known.
    pub days_known: usize,
    /// Days of which at least a part was rebuilt from rows of the table, which are coarser than
    /// samples.
    pub days_rebuilt_from_rows: usize,
    /// Part of the whole time, 0 to 1, of which anything is known; of a day under way, the part of
    /// the time until the passport was made.
    pub completeness: f64,
}

/// The passport of a battery.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Passport {
    /// When it was made.
    pub made_at: Rfc3339,
    /// What made it.
    pub made_by: String,
    /// Where its figures come from.
    pub origin: String,
    /// Which battery it is about.
    pub identity: Identity,
    /// The time that it is about.
    pub period: Period,
    /// The time of the last sample in the figures.
    pub figures_as_of: Option<Rfc3339>,
    /// Which cells are weak.
    pub verdict: Verdict,
    /// Usable capacity in ampere-hours.
    pub capacity_ah: Option<Estimate>,
    /// Temperature of the pack in °C at which the resistances of the cells hold.
    pub resistance_celsius: Option<f64>,
    /// How capacity and cells change over the period.
    pub trends: Trends,
    /// Half of the charge that went in and out in the period, in capacities.
    pub full_cycles: Option<f64>,
    /// The cells, cell 01 first.
    pub cells: Vec<CellFigures>,
    /// Energy and charge of the period.
    pub total: Counters,
    /// Part of the energies by which they may be wrong, without what flowed in gaps.
    pub energy_uncertainty: Option<f64>,
    /// Lowest and highest values of the period.
    pub limits: Limits,
    /// Energy and charge by month.
    pub months: Vec<MonthEnergy>,
    /// The days.
    pub days: Vec<PassportDay>,
    /// What happened.
    pub events: Vec<EventSummary>,
    /// How each figure was got.
    pub methods: Vec<Method>,
    #[serde(skip)]
    pub(crate) statistics: Vec<DayStatistics>,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = McuId(self.mcu_id);
        match &self.name {
            Some(name) => write!(f, "{name}, MCU ID {id}"),
            None => write!(f, "MCU ID {id}"),
        }
    }
}

impl Identity {
    /// What `row`, the battery's last one, says of it.
    pub fn of_row(name: Option<String>, row: &PackRecord) -> Self {
        Self {
            name,
            mcu_id: row.mcu_id,
            cell_count: row.cell_count,
            n_units: row.n_units,
            unit_rank: row.unit_rank,
            health_percent: row.health.filter(|health| health.is_finite()),
        }
    }
}

impl Passport {
    /// The passport that follows from `sources`, made at that time; `None` if there is no day.
    pub fn new(sources: Sources, made_at: UtcDateTime) -> Option<Self> {
        let Sources { identity, mut days, figures, events, zone, origin, made_by } = sources;
        days.sort_by_key(|day| day.date);
        let under_way = figures.as_ref().map(|figures| day_under_way(figures, made_at));
        let period = period(&days, under_way, zone)?;
        let total = sum(&days);
        let capacity = figures.as_ref().and_then(|figures| figures.capacity_ah);
        let full_cycles = capacity
            .filter(|capacity| capacity.value > 0.0)
            .map(|capacity| (total.charge_in_ah + total.charge_out_ah) / 2.0 / capacity.value);
        let mut passport = Self {
            made_at: Rfc3339(made_at),
            made_by,
            origin,
            identity,
            period,
            figures_as_of: figures.as_ref().map(|figures| figures.time),
            verdict: figures.as_ref().map(|it| it.verdict.clone()).unwrap_or_default(),
            capacity_ah: capacity,
            resistance_celsius: figures.as_ref().and_then(|figures| figures.resistance_celsius),
            trends: trends(&days),
            full_cycles,
            energy_uncertainty: figures.as_ref().and_then(|figures| figures.energy_uncertainty),
            cells: figures.map(|figures| figures.cells).unwrap_or_default(),
            total,
            limits: limits(&days),
            months: by_month(&days),
            days: by_day(&days),
            events,
            methods: vec![],
            statistics: days,
        };
        passport.methods = methods::of(&passport);
        Some(passport)
    }
}

/// The day under way, and how many seconds of it are over at `now`.
fn day_under_way(figures: &Figures, now: UtcDateTime) -> (Date, f64) {
    let today = &figures.today;
    let since_last_sample = (now - figures.time.0).as_seconds_f64().max(0.0);
    let seconds = f64::from(today.last_s) + since_last_sample;
    (today.date, seconds.min(today.length_s.into()))
}

/// `under_way` is the day under way, and how many seconds of it are over.
fn period(days: &[DayStatistics], under_way: Option<(Date, f64)>, zone: String) -> Option<Period> {
    let (first, last) = (days.first()?.date, days.last()?.date);
    let all = u64::try_from((last - first).whole_days()).unwrap_or_default() + 1;
    let length = |day: &DayStatistics| match under_way {
        Some((date, seconds)) if date == day.date => seconds,
        _ => f64::from(day.length_s),
    };
    let lengths: f64 = days.iter().map(length).sum();
    let days_without_anything = all.saturating_sub(days.len() as u64) as f64;
    let seconds = lengths + days_without_anything * 86_400.0;
    let known = |day: &DayStatistics| (day.sampled_s + day.from_rows_s).min(length(day));
    let known: f64 = days.iter().map(known).sum();
    Some(Period {
        first: date(first),
        last: date(last),
        zone,
        days: all,
        days_known: days.len(),
        days_rebuilt_from_rows: days.iter().filter(|day| day.is_rebuilt()).count(),
        completeness: known / seconds.max(1.0),
    })
}

fn mcu_id<S: Serializer>(id: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    McuId(*id).serialize(serializer)
}
