//! `/api/batteries` and `/healthz`: what is known at this moment, as JSON.

use bluenova_journal::Reader;
use bluenova_record::PackRecord;
use serde::Serialize;
use time::UtcDateTime;

use crate::bank::{self, Unit};
use crate::json::{McuId, Utc};
use crate::{Connection, Latest, Status, Storage as StorageStatus};

/// What `/api/batteries` answers. Field names are those of the JSON.
#[derive(Serialize)]
pub(crate) struct Batteries<'a> {
    time: Utc,
    version: &'static str,
    interval_s: f64,
    stale_after_s: f64,
    bank: Bank,
    batteries: Vec<Battery<'a>>,
    storage: Storage<'a>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Bank {
    batteries: usize,
    fresh: usize,
    power_w: Option<f64>,
    soc: Option<f64>,
}

#[derive(Serialize)]
struct Battery<'a> {
    battery: Option<McuId>,
    names: Vec<&'a str>,
    addresses: Vec<&'a str>,
    connected: bool,
    trouble: Option<&'a str>,
    redials: u64,
    malformed_lines: u64,
    rows: u64,
    stale: bool,
    age_s: Option<f64>,
    power_w: Option<f64>,
    cell_mean_v: Option<f64>,
    cell_spread_mv: Option<f64>,
    cell_lowest: Option<usize>,
    cell_highest: Option<usize>,
    latest: Option<&'a PackRecord>,
}

#[derive(Serialize)]
struct Storage<'a> {
    rows_only_in_memory: u64,
    trouble: Option<&'a str>,
    set_aside: Option<u64>,
    delivery: Option<Delivery<'a>>,
}

#[derive(Serialize)]
struct Delivery<'a> {
    server: &'a str,
    delivered: u64,
    waiting: u64,
    trouble: Option<&'a str>,
    stuck: bool,
    waiting_for_s: f64,
}

/// What `/healthz` answers.
#[derive(Serialize)]
pub(crate) struct Health {
    pub(crate) ok: bool,
    problems: Vec<String>,
}

impl Health {
    pub(crate) fn of(status: &Status) -> Self {
        let problems = status.problems();
        Self { ok: problems.is_empty(), problems }
    }
}

/// What is asked of the journal besides what the listener knows.
#[derive(Default)]
pub(crate) struct Kept {
    /// Rows that the other database has refused.
    set_aside: Option<u64>,
    /// The newest rows of batteries that have not said a word since the start.
    others: Vec<Latest>,
}

impl Kept {
    /// What can't be read isn't known.
    pub(crate) fn read(reader: &Reader, status: &Status) -> Self {
        let seen = |id| status.batteries.iter().any(|battery| battery.mcu_id() == Some(id));
        let latest = reader.latest().unwrap_or_default();
        let others = latest.into_iter().filter(|record| !seen(record.mcu_id));
        let others = others.map(|record| {
            // In the future if the clock was set back; it is stale in any case.
            let age = (status.now - record.insert_time_utc).try_into().unwrap_or_default();
            Latest { record, age }
        });
        Self { set_aside: set_aside(reader, status), others: others.collect() }
    }
}

/// Rows that the other database has refused, where there is one.
pub(crate) fn set_aside(reader: &Reader, status: &Status) -> Option<u64> {
    status.storage.delivery.as_ref().and_then(|_| reader.set_aside().ok())
}

impl<'a> Batteries<'a> {
    pub(crate) fn of(status: &'a Status, kept: &'a Kept) -> Self {
        let mut units = bank::units(status);
        let fresh: Vec<_> = units.iter().filter_map(|unit| unit.fresh(status)).collect();
        let bank = Bank {
            batteries: units.len(),
            fresh: fresh.len(),
            power_w: bank::total_power(&fresh).map(|watts| to(10.0, watts)),
            soc: bank::mean_charge(&fresh).map(|percent| to(10.0, percent)),
        };
        units.extend(
            kept.others.iter().map(|latest| Unit { batteries: vec![], latest: Some(latest) }),
        );
        Self {
            time: Utc(to_milliseconds(status.now)),
            version: env!("CARGO_PKG_VERSION"),
            interval_s: status.interval.as_secs_f64(),
            stale_after_s: status.stale_after().as_secs_f64(),
            bank,
            batteries: units.iter().map(|unit| Battery::of(unit, status)).collect(),
            storage: Storage::of(status, kept),
            problems: status.problems(),
        }
    }
}

impl<'a> Battery<'a> {
    fn of(unit: &Unit<'a>, status: &Status) -> Self {
        let sum = |count: fn(&crate::Battery) -> u64| unit.batteries.iter().map(|b| count(b)).sum();
        let connected = unit.batteries.iter().any(|b| b.connection == Connection::Up);
        let latest = unit.latest.map(|latest| &latest.record);
        let cells = latest.and_then(bank::cells);
        Self {
            battery: unit.mcu_id().map(McuId),
            names: unit.batteries.iter().map(|b| b.name.as_str()).collect(),
            addresses: unit.batteries.iter().map(|b| b.address.as_str()).collect(),
            connected,
            trouble: unit.batteries.iter().find_map(|b| b.connection.trouble()),
            redials: sum(|b| b.redials),
            malformed_lines: sum(|b| b.malformed_lines),
            rows: sum(|b| b.rows),
            stale: unit.fresh(status).is_none(),
            age_s: unit.latest.map(|latest| to(10.0, latest.age.as_secs_f64())),
            power_w: latest.and_then(bank::power).map(|watts| to(10.0, watts)),
            cell_mean_v: cells.as_ref().map(|cells| to(10_000.0, cells.mean)),
            cell_spread_mv: cells.as_ref().map(|cells| to(10.0, cells.spread)),
            cell_lowest: cells.as_ref().map(|cells| cells.lowest),
            cell_highest: cells.as_ref().map(|cells| cells.highest),
            latest,
        }
    }
}

impl<'a> Storage<'a> {
    fn of(status: &'a Status, kept: &Kept) -> Self {
        let StorageStatus { only_in_memory, trouble, delivery, .. } = &status.storage;
        Self {
            rows_only_in_memory: *only_in_memory,
            trouble: trouble.as_deref(),
            set_aside: kept.set_aside,
            delivery: delivery.as_ref().map(|delivery| Delivery {
                server: &delivery.server,
                delivered: delivery.delivered,
                waiting: delivery.waiting,
                trouble: delivery.trouble.as_deref(),
                stuck: status.is_stuck(delivery),
                waiting_for_s: to(10.0, delivery.waiting_for.as_secs_f64()),
            }),
        }
    }
}

/// Rounded to so many parts of one: no more digits than the measurement has.
fn to(parts: f64, value: f64) -> f64 {
    (value * parts).round() / parts
}

/// Milliseconds do.
fn to_milliseconds(time: UtcDateTime) -> UtcDateTime {
    time.replace_nanosecond(time.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(time)
}
