//! `/api/batteries` and `/healthz`: the status as JSON.

use std::collections::HashSet;

use bluenova_insight::{Counters, Figures, TimeToGo};
use bluenova_journal::Reader;
use bluenova_record::{McuId, PackRecord, Rfc3339};
use bluenova_status::bank::{self, BankFigures, Share, Unit};
use bluenova_status::{
    BatteryStatus, ConnectionState, DeliveryStatus, Problem, Severity, Status, StorageStatus,
};
use serde::{Deserialize, Serialize};
use time::UtcDateTime;

use crate::routes::Named;

/// What `/api/batteries` answers. Field names are those of the JSON, here and below.
#[derive(Serialize)]
pub(crate) struct BatteriesJson<'a, B> {
    time: Rfc3339,
    version: &'static str,
    interval_s: f64,
    stale_after_s: f64,
    bank: BankJson,
    batteries: Vec<B>,
    storage: StorageJson<'a>,
    problems: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem_details: Option<Vec<ProblemJson>>,
}

/// Most problems that `fields=overview` has with their details.
const MOST_IN_OVERVIEW: usize = 10;

/// What `fields=overview` has of each battery: of thousands, the rest would take long.
#[derive(Serialize)]
pub(crate) struct OverviewJson<'a> {
    battery: Option<McuId>,
    names: Vec<&'a str>,
    addresses: Vec<&'a str>,
    connected: bool,
    severity: Option<Severity>,
    /// The first problem.
    problem: Option<String>,
    stale: bool,
    first_row_due_in_s: Option<f64>,
    age_s: Option<f64>,
    soc: Option<i16>,
    power_w: Option<f64>,
    cell_spread_mv: Option<f64>,
    energy_today_in_wh: Option<f64>,
    energy_today_out_wh: Option<f64>,
    time_to_go: Option<TimeToGo>,
}

/// What `/api/batteries/{battery}` answers.
#[derive(Serialize)]
pub(crate) struct BatteryDetailJson<'a> {
    time: Rfc3339,
    version: &'static str,
    interval_s: f64,
    stale_after_s: f64,
    battery: BatteryJson<'a>,
}

#[derive(Serialize)]
struct ProblemJson {
    severity: Severity,
    name: &'static str,
    battery: Option<McuId>,
    names: Vec<String>,
    text: String,
}

#[derive(Serialize)]
struct BankJson {
    batteries: usize,
    fresh: usize,
    power_w: Option<f64>,
    soc: Option<f64>,
    counters: Counters,
    today: Option<BankDayJson>,
    time_to_go: Option<TimeToGo>,
}

#[derive(Serialize)]
struct BankDayJson {
    date: String,
    #[serde(flatten)]
    counters: Counters,
}

#[derive(Serialize)]
pub(crate) struct BatteryJson<'a> {
    battery: Option<McuId>,
    names: Vec<&'a str>,
    addresses: Vec<&'a str>,
    connected: bool,
    trouble: Option<&'a str>,
    redials: u64,
    malformed_lines: u64,
    rows: u64,
    severity: Option<Severity>,
    problems: Vec<ProblemJson>,
    stale: bool,
    first_row_due_in_s: Option<f64>,
    age_s: Option<f64>,
    power_w: Option<f64>,
    cell_mean_v: Option<f64>,
    cell_spread_mv: Option<f64>,
    cell_lowest: Option<usize>,
    cell_highest: Option<usize>,
    latest: Option<&'a PackRecord>,
    under_way: Option<UnderWayJson<'a>>,
    insight: Option<&'a Figures>,
}

#[derive(Serialize)]
struct UnderWayJson<'a> {
    age_s: f64,
    power_w: Option<f64>,
    values: &'a PackRecord,
}

#[derive(Serialize)]
struct StorageJson<'a> {
    #[serde(flatten)]
    storage: &'a StorageStatus,
    set_aside: Option<u64>,
    retried: Option<u64>,
    delivery: Option<DeliveryJson<'a>>,
}

#[derive(Serialize)]
struct DeliveryJson<'a> {
    #[serde(flatten)]
    delivery: &'a DeliveryStatus,
    stuck: bool,
    waiting_for_s: f64,
}

/// What `/healthz` answers.
#[derive(Deserialize, Serialize)]
pub(crate) struct HealthJson {
    pub(crate) ok: bool,
    problems: Vec<String>,
}

impl HealthJson {
    pub(crate) fn of(status: &Status) -> Self {
        let problems = status.problem_details();
        let ok = problems.iter().all(|problem| problem.severity < Severity::Red);
        Self { ok, problems: problems.into_iter().map(|problem| problem.text).collect() }
    }
}

/// The newest rows of batteries that have no row since the start; none if the journal can't be
/// read.
pub(crate) fn rows_of_earlier_runs(journal: &Reader, status: &Status) -> Vec<PackRecord> {
    let newest = status.batteries.iter().filter_map(|battery| battery.newest.as_ref());
    let have_rows: HashSet<u32> = newest.map(|newest| newest.record.mcu_id).collect();
    let latest = journal.latest().unwrap_or_default();
    latest.into_iter().filter(|record| !have_rows.contains(&record.mcu_id)).collect()
}

impl<'a> BatteriesJson<'a, BatteryJson<'a>> {
    /// All of the status, with [`rows_of_earlier_runs`].
    pub(crate) fn whole(status: &'a Status, earlier: &'a [PackRecord]) -> Self {
        let whole = Self::new(status, earlier, BatteryJson::new);
        let problems = status.problem_details();
        let details = problems.into_iter().map(ProblemJson::from).collect();
        Self { problem_details: Some(details), ..whole }
    }
}

impl<'a> BatteriesJson<'a, OverviewJson<'a>> {
    /// The least of each battery, with [`rows_of_earlier_runs`].
    pub(crate) fn overview(status: &'a Status, earlier: &'a [PackRecord]) -> Self {
        let overview = Self::new(status, earlier, OverviewJson::new);
        let gravest = status.problem_details().into_iter().take(MOST_IN_OVERVIEW);
        Self { problem_details: Some(gravest.map(ProblemJson::from).collect()), ..overview }
    }
}

impl<'a, B> BatteriesJson<'a, B> {
    fn new(
        status: &'a Status,
        earlier: &'a [PackRecord],
        battery: impl Fn(&Unit<'a>, &'a Status) -> B,
    ) -> Self {
        let mut units = bank::units(status);
        let fresh: Vec<_> = units.iter().filter_map(|unit| unit.fresh(status)).collect();
        let sum: Share = fresh.iter().map(|record| Share::of(record)).sum();
        let figures = BankFigures::new(&units, status);
        let bank = BankJson {
            batteries: units.len(),
            fresh: fresh.len(),
            power_w: sum.power().map(|watts| rounded(watts, 10.0)),
            soc: sum.state_of_charge().map(|percent| rounded(percent, 10.0)),
            counters: figures.counters,
            today: figures
                .today
                .map(|(date, counters)| BankDayJson { date: date.to_string(), counters }),
            time_to_go: figures.time_to_go,
        };
        bank::add_journal(&mut units, earlier, status);
        Self {
            time: Rfc3339(to_milliseconds(status.now)),
            version: env!("CARGO_PKG_VERSION"),
            interval_s: status.interval.as_secs_f64(),
            stale_after_s: status.stale_after().as_secs_f64(),
            bank,
            batteries: units.iter().map(|unit| battery(unit, status)).collect(),
            storage: StorageJson::new(status),
            problems: status.problems(),
            problem_details: None,
        }
    }
}

impl<'a> BatteryDetailJson<'a> {
    /// One battery of the status, with [`rows_of_earlier_runs`]; `None`: there is none of that MCU
    /// ID.
    pub(crate) fn new(
        status: &'a Status,
        earlier: &'a [PackRecord],
        battery: Named,
    ) -> Option<Self> {
        let mut units = bank::units(status);
        bank::add_journal(&mut units, earlier, status);
        let unit = units.iter().find(|unit| match battery {
            Named::McuId(id) => unit.mcu_id() == Some(id),
            Named::Position(at) => {
                let named = status.batteries.get(at);
                unit.batteries.iter().any(|it| named.is_some_and(|named| std::ptr::eq(*it, named)))
            }
        })?;
        Some(Self {
            time: Rfc3339(to_milliseconds(status.now)),
            version: env!("CARGO_PKG_VERSION"),
            interval_s: status.interval.as_secs_f64(),
            stale_after_s: status.stale_after().as_secs_f64(),
            battery: BatteryJson::new(unit, status),
        })
    }
}

impl<'a> BatteryJson<'a> {
    fn new(unit: &Unit<'a>, status: &'a Status) -> Self {
        let sum = |count: fn(&BatteryStatus) -> u64| unit.batteries.iter().map(|b| count(b)).sum();
        let record = unit.latest.map(|latest| latest.record);
        let cells = record.and_then(bank::cell_voltages);
        let problems = unit.problems(status);
        Self {
            battery: unit.mcu_id().map(McuId),
            names: unit.batteries.iter().map(|b| b.name.as_str()).collect(),
            addresses: unit.batteries.iter().map(|b| b.address.as_str()).collect(),
            connected: unit.batteries.iter().any(|b| b.connection == ConnectionState::Up),
            trouble: unit.batteries.iter().find_map(|b| b.connection.trouble()),
            redials: sum(|b| b.redials()),
            malformed_lines: sum(|b| b.malformed_lines),
            rows: sum(|b| b.rows),
            severity: problems.iter().map(|problem| problem.severity).max(),
            problems: problems.into_iter().map(ProblemJson::from).collect(),
            stale: unit.fresh(status).is_none(),
            first_row_due_in_s: unit
                .first_row_due_in(status)
                .map(|due| rounded(due.as_secs_f64(), 10.0)),
            age_s: unit.latest.map(|latest| rounded(latest.age.as_secs_f64(), 10.0)),
            power_w: record.and_then(bank::power).map(|watts| rounded(watts, 10.0)),
            cell_mean_v: cells.as_ref().map(|cells| rounded(cells.mean, 10_000.0)),
            cell_spread_mv: cells.as_ref().map(|cells| rounded(cells.spread, 10.0)),
            cell_lowest: cells.as_ref().map(|cells| cells.lowest),
            cell_highest: cells.as_ref().map(|cells| cells.highest),
            latest: record,
            under_way: unit.under_way(status).map(|values| UnderWayJson {
                age_s: rounded(status.age(values).as_secs_f64(), 10.0),
                power_w: bank::power(&values.record).map(|watts| rounded(watts, 10.0)),
                values: &values.record,
            }),
            insight: unit.figures(),
        }
    }
}

impl<'a> OverviewJson<'a> {
    fn new(unit: &Unit<'a>, status: &'a Status) -> Self {
        let latest = || unit.latest.map(|latest| (latest.record, latest.age));
        let newest = unit.fresh_values(status);
        let newest_is_stale = newest.is_none();
        let newest = newest.map(|(_, values)| (&values.record, status.age(values))).or_else(latest);
        let record = newest.map(|(record, _)| record);
        let problem = unit.problems(status).into_iter().next();
        let figures = unit.figures();
        let today = figures.map(|figures| figures.today.counters);
        let rounded_wh = |value: f64| rounded(value, 10.0);
        Self {
            battery: unit.mcu_id().map(McuId),
            names: unit.batteries.iter().map(|b| b.name.as_str()).collect(),
            connected: unit.batteries.iter().any(|b| b.connection == ConnectionState::Up),
            addresses: unit.batteries.iter().map(|b| b.address.as_str()).collect(),
            severity: problem.as_ref().map(|problem| problem.severity),
            problem: problem.map(|problem| problem.text),
            stale: newest_is_stale,
            first_row_due_in_s: unit
                .first_row_due_in(status)
                .map(|due| rounded(due.as_secs_f64(), 10.0)),
            age_s: newest.map(|(_, age)| rounded(age.as_secs_f64(), 10.0)),
            soc: record.and_then(|record| record.soc),
            power_w: record.and_then(bank::power).map(|watts| rounded(watts, 10.0)),
            cell_spread_mv: record
                .and_then(bank::cell_voltages)
                .map(|cells| rounded(cells.spread, 10.0)),
            energy_today_in_wh: today.map(|today| rounded_wh(today.energy_in_wh)),
            energy_today_out_wh: today.map(|today| rounded_wh(today.energy_out_wh)),
            time_to_go: figures.and_then(|figures| figures.time_to_go),
        }
    }
}

impl From<Problem> for ProblemJson {
    fn from(problem: Problem) -> Self {
        let Problem { severity, name, mcu_id, names, text, evidence: _ } = problem;
        Self { severity, name, battery: mcu_id.map(McuId), names, text }
    }
}

impl<'a> StorageJson<'a> {
    fn new(status: &'a Status) -> Self {
        let delivery = status.delivery.as_ref().map(|delivery| DeliveryJson {
            delivery,
            stuck: status.is_stuck(delivery),
            waiting_for_s: rounded(delivery.waiting_for(status.instant).as_secs_f64(), 10.0),
        });
        let set_aside = status.delivery.as_ref().and_then(|delivery| delivery.set_aside);
        let retried = status.delivery.as_ref().and_then(|delivery| delivery.retried);
        Self { storage: &status.storage, set_aside, retried, delivery }
    }
}

/// Rounded to that many parts of one: no more digits than the measurement has.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn to_milliseconds(time: UtcDateTime) -> UtcDateTime {
    time.replace_nanosecond(time.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(time)
}
