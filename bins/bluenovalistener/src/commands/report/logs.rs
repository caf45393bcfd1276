//! What logs have about batteries, without a journal.

use std::{collections::BTreeMap, error::Error, path::Path};

use bluenova_import::{Findings, LogReading, LogReadings, LogSeries, LogZone};
use bluenova_insight::{DayStatistics, Insight};
use bluenova_record::{ErrorChain, Escaped, McuId, PackRecord};
use bluenova_report::{EventLog, Identity, Sources};
use time::{Duration, UtcDateTime};

use super::Request;
use crate::settings::Settings;

/// What `files` have of the batteries that are asked for, and what is damaged in them.
pub(super) fn sources(
    files: &[String],
    zone: LogZone,
    settings: &Settings,
    request: &Request<'_>,
    progress: impl FnMut(u64, u64),
) -> Result<(Vec<Sources>, Findings), Box<dyn Error>> {
    let logs = LogSeries::find(files, &zone)?;
    let interval = Duration::seconds(settings.interval.seconds().into());
    let end = request.times().end;
    let mut batteries = BTreeMap::<u32, LoggedBattery>::new();
    let readings = LogReadings { logs, zone, interval: settings.interval, now: request.now };
    let findings = readings.read(
        |reading| {
            // What comes after the period says nothing about the end of it.
            if reading.record.insert_time_utc < end {
                let id = reading.record.mcu_id;
                let battery = batteries.entry(id).or_insert_with(|| LoggedBattery::new(id));
                battery.take(reading, interval, request);
            }
        },
        progress,
    );
    let origin = match files {
        [file] => format!("the log {}", file_name(file)),
        [file, ..] => format!("{} logs, {} and others", files.len(), file_name(file)),
        [] => String::new(),
    };
    let mut sources: Vec<_> =
        batteries.into_values().map(|battery| battery.sources(&origin, request)).collect();
    // A damaged MCU ID makes a battery of a moment.
    let has_any = |sources: &Sources| sources.days.iter().any(|day| day.completeness() > 0.0);
    if sources.iter().any(has_any) {
        sources.retain(has_any);
    }
    Ok((chosen(sources, request)?, findings))
}

/// The batteries that are asked for, by the name that the logs have or by MCU ID.
fn chosen(sources: Vec<Sources>, request: &Request<'_>) -> Result<Vec<Sources>, Box<dyn Error>> {
    if request.batteries.is_empty() {
        return Ok(sources);
    }
    let is_meant = |sources: &Sources, given: &str| {
        let Identity { name, mcu_id, .. } = &sources.identity;
        name.as_deref() == Some(given) || McuId::parse(given) == Some(McuId(*mcu_id))
    };
    for given in request.batteries {
        if !sources.iter().any(|sources| is_meant(sources, given)) {
            let known: Vec<_> = sources.iter().map(|it| it.identity.to_string()).collect();
            let known = if known.is_empty() { "no battery".to_owned() } else { known.join("; ") };
            return Err(
                format!("--battery {given}: the logs know nothing of it, but of {known}").into()
            );
        }
    }
    let is_chosen =
        |sources: &Sources| request.batteries.iter().any(|given| is_meant(sources, given));
    Ok(sources.into_iter().filter(is_chosen).collect())
}

/// What is wrong with the logs, a line each.
pub(super) fn warnings(findings: &Findings, zone: &str) -> Vec<String> {
    let Findings { unreadable, no_logs, damage, by_zone, without_owner, wrong_clock, .. } =
        findings;
    let path = |path: &Path| Escaped(path.display().to_string()).to_string();
    let unreadable = unreadable.iter().map(|(file, error)| {
        format!("{} can't be read to its end: {}", path(file), ErrorChain(error))
    });
    let no_logs = no_logs
        .iter()
        .map(|file| format!("{} is no log: none of its lines begins with a time", path(file)));
    let damage = damage.iter().map(|found| {
        let (times, first) = (found.count, path(&found.path));
        format!(
            "damaged, {times} times: {}; first at {first}:{}",
            Escaped(found.damage),
            found.line
        )
    });
    let counts = [
        (*without_owner, "rows without an MCU ID are left out"),
        (*wrong_clock, "rows from a clock that wasn't set are left out"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, what)| format!("{count} {what}"));
    let by_zone = by_zone.iter().map(|file| {
        format!("{}: no record shows its time zone; taken for {zone} (--timezone)", path(file))
    });
    unreadable.chain(no_logs).chain(damage).chain(counts).chain(by_zone).collect()
}

fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| path.to_owned())
}

/// A battery, as logs have it.
struct LoggedBattery {
    name: Option<String>,
    insight: Insight,
    last_sample: Option<UtcDateTime>,
    days: Vec<DayStatistics>,
    events: EventLog,
    /// The last value of each column.
    latest: PackRecord,
}

impl LoggedBattery {
    fn new(mcu_id: u32) -> Self {
        Self {
            name: None,
            insight: Insight::new(mcu_id),
            last_sample: None,
            days: vec![],
            events: EventLog::default(),
            latest: PackRecord::new(UtcDateTime::UNIX_EPOCH, mcu_id),
        }
    }

    fn take(&mut self, reading: LogReading<'_>, interval: Duration, request: &Request<'_>) {
        let LogReading { name, record, is_sample } = reading;
        if !name.is_empty() && self.name.as_deref().map(str::as_bytes) != Some(name) {
            self.name = Some(String::from_utf8_lossy(name).into_owned());
        }
        if is_sample {
            self.last_sample = Some(record.insert_time_utc);
            self.days.extend(self.insight.sample(record, &request.zone));
            return;
        }
        // A row stands in for samples where there are none.
        let is_sampled = |last| record.insert_time_utc - last < interval;
        if !self.last_sample.is_some_and(is_sampled) {
            self.days.extend(self.insight.row(record, interval, &request.zone));
        }
        if request.times().contains(&record.insert_time_utc) {
            self.events.row(record);
        }
        let earlier = std::mem::replace(&mut self.latest, record.clone());
        self.latest.fill_from(&earlier);
    }

    fn sources(self, origin: &str, request: &Request<'_>) -> Sources {
        let figures = self.insight.figures();
        let today = figures.as_ref().map(|figures| figures.today.clone());
        let mut days: Vec<_> = self.days.into_iter().chain(today).collect();
        days.retain(|day| request.dates.contains(&day.date));
        Sources {
            identity: Identity::of_row(self.name, &self.latest),
            days,
            figures,
            events: self.events.finish(),
            zone: request.zone_name(),
            origin: origin.to_owned(),
            made_by: String::new(),
        }
    }
}
