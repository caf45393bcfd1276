//! `bluenovalistener report`: the passport of each battery, from the journal or from logs. It works
//! while a listener is running.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    io,
    io::Write,
    ops::{Range, RangeInclusive},
    path::Path,
};

use bluenova_import::LogZone;
use bluenova_insight::Calendar;
use bluenova_record::{Escaped, McuId};
use bluenova_report::{Passport, Sources};
use jiff::{civil, tz::TimeZone};
use time::{Date, UtcDateTime};

use super::{
    import,
    output::{AtSignal, Output},
};
use crate::{
    args::{self, Args},
    settings::{Settings, Store, day_argument},
};

mod events;
mod journal;
mod logs;

const MADE_BY: &str = concat!("bluenovalistener ", env!("CARGO_PKG_VERSION"));

/// What is asked for.
struct Request<'a> {
    /// Names and MCU IDs.
    batteries: &'a [String],
    dates: RangeInclusive<Date>,
    /// The zone of the dates.
    zone: TimeZone,
    now: UtcDateTime,
}

impl Request<'_> {
    /// The time that the days span.
    fn times(&self) -> Range<UtcDateTime> {
        let begin = begin_of(&self.zone, *self.dates.start()).unwrap_or(UtcDateTime::MIN);
        let next = self.dates.end().next_day();
        let end = next.and_then(|date| begin_of(&self.zone, date)).unwrap_or(UtcDateTime::MAX);
        begin..end
    }

    /// What the zone is called.
    fn zone_name(&self) -> String {
        let offset = || Some(self.zone.to_fixed_offset().ok()?.to_string());
        let name = self.zone.iana_name().map(str::to_owned).or_else(offset);
        name.unwrap_or_else(|| "local time".to_owned())
    }
}

/// Writes the passports that are asked for.
///
/// # Errors
/// An option is wrong, nothing is known of the batteries, or the output can't be written. A reader
/// of standard output that has had enough is no error.
pub(crate) fn run(args: &Args, options: &args::Report) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let now = UtcDateTime::now();
    let (sources, request, origin) = if options.from_log {
        from_logs(&settings, options, now)?
    } else {
        from_journal(&settings, options, now)?
    };
    let passport = |sources| Passport::new(Sources { made_by: MADE_BY.to_owned(), ..sources }, now);
    let passports: Vec<_> = sources.into_iter().filter_map(passport).collect();
    if passports.is_empty() {
        return Err(nothing_known(&origin, &request).into());
    }
    write(&passports, options)
}

/// What is known of the batteries, what was asked for, and where it was looked for.
type Found<'a> = (Vec<Sources>, Request<'a>, String);

fn from_journal<'a>(
    settings: &Settings,
    options: &'a args::Report,
    now: UtcDateTime,
) -> Result<Found<'a>, Box<dyn Error>> {
    if let Some(file) = options.files.first() {
        return Err(format!("{file}: logs are read with --from-log in front of them").into());
    }
    if options.timezone.is_some() {
        return Err(
            "--timezone is of no use without --from-log: days in the journal are those of \
                    the listener's zone"
                .into(),
        );
    }
    let request = Request::resolve(options, TimeZone::system(), now)?;
    let (Store::Postgres { journal: path, .. } | Store::Sqlite { path }) = &settings.store;
    let sources = journal::sources(path, settings, &request)?;
    Ok((sources, request, path.display().to_string()))
}

fn from_logs<'a>(
    settings: &Settings,
    options: &'a args::Report,
    now: UtcDateTime,
) -> Result<Found<'a>, Box<dyn Error>> {
    if options.files.is_empty() {
        return Err("no log file is given: report --from-log FILE…".into());
    }
    let zone = LogZone::resolve(options.timezone.as_deref())
        .map_err(|error| format!("--timezone {error}"))?;
    let (days, zone_name) = (zone.time_zone().clone(), zone.name().to_owned());
    let request = Request::resolve(options, days, now)?;
    let bar = import::bar("reading");
    let progress = |read, all| {
        bar.set_length(all);
        bar.set_position(read);
        bar.set_message(format!("{} MiB", read >> 20));
    };
    let (sources, findings) = logs::sources(&options.files, zone, settings, &request, progress)?;
    bar.finish_and_clear();
    for warning in logs::warnings(&findings, &zone_name) {
        warn(&warning);
    }
    Ok((sources, request, "these logs".to_owned()))
}

fn warn(text: &str) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(io::stderr(), "bluenovalistener: {text}");
}

impl<'a> Request<'a> {
    fn resolve(
        options: &'a args::Report,
        zone: TimeZone,
        now: UtcDateTime,
    ) -> Result<Self, Box<dyn Error>> {
        let dates = dates(options, &zone, now)?;
        Ok(Self { batteries: &options.battery, dates, zone, now })
    }
}

/// When a date begins; `None` beyond the years that jiff has.
fn begin_of(zone: &TimeZone, date: Date) -> Option<UtcDateTime> {
    let (year, month, day) = date.to_calendar_date();
    let (month, day) = (i8::try_from(u8::from(month)).ok()?, i8::try_from(day).ok()?);
    let date = civil::Date::new(i16::try_from(year).ok()?, month, day).ok()?;
    let begin = zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    UtcDateTime::from_unix_timestamp(begin.as_second()).ok()
}

/// The days from `--from` to `--to`.
fn dates(
    options: &args::Report,
    zone: &TimeZone,
    now: UtcDateTime,
) -> Result<RangeInclusive<Date>, Box<dyn Error>> {
    let date = |option, given: &Option<String>| {
        let Some(given) = given.as_deref() else { return Ok(None) };
        day_argument(option, given, now, |time| zone.day_of(time).date).map(Some)
    };
    let from = date("--from", &options.from)?.unwrap_or(Date::MIN);
    let to = date("--to", &options.to)?.unwrap_or(Date::MAX);
    if from > to {
        return Err(format!("--from {from} must not be after --to {to}").into());
    }
    Ok(from..=to)
}

fn nothing_known(origin: &str, request: &Request<'_>) -> String {
    let of = match request.batteries {
        [] => String::new(),
        given => format!(" of {}", given.join(", ")),
    };
    let (from, to) = (request.dates.start(), request.dates.end());
    let times = match (*from == Date::MIN, *to == Date::MAX) {
        (true, true) => " yet".to_owned(),
        (true, false) => format!(" until {to}"),
        (false, true) => format!(" since {from}"),
        (false, false) => format!(" from {from} to {to}"),
    };
    format!("nothing is known{of}{times} in {origin}")
}

/// Writes the passports to where they are asked for: to the terminal as text, else as pages.
fn write(passports: &[Passport], options: &args::Report) -> Result<(), Box<dyn Error>> {
    let (output, mut at_signal) = (options.output.as_deref(), AtSignal::default());
    let is_directory = output.is_some_and(|output| Path::new(output).is_dir());
    if options.json {
        if is_directory {
            let given = output.unwrap_or_default();
            return Err(
                format!("-o {given}: with --json a file is allowed, not a directory").into()
            );
        }
        let json =
            serde_json::to_string_pretty(&BTreeMap::from([("passports", passports)]))? + "\n";
        return write_whole(output, &json, &mut at_signal);
    }
    match (output, passports) {
        (None, _) => {
            let texts: Vec<_> = passports.iter().map(Passport::text).collect();
            write_whole(None, &texts.join("\n"), &mut at_signal)
        }
        (Some(directory), _) if is_directory => {
            for passport in passports {
                let name = format!("passport-{}.html", McuId(passport.identity.mcu_id));
                let path = Path::new(directory).join(name);
                write_whole(Some(&path.to_string_lossy()), &passport.html()?, &mut at_signal)?;
            }
            Ok(())
        }
        (Some(file), [passport]) => write_whole(Some(file), &passport.html()?, &mut at_signal),
        (Some(file), _) => {
            let names = passports.iter().take(3).map(|it| Escaped(&it.identity).to_string());
            let mut names: Vec<_> = names.collect();
            if passports.len() > names.len() {
                names.push(format!("and {} more", passports.len() - names.len()));
            }
            Err(format!(
                "-o {file}: there are {} batteries ({}), and a page is about one; choose it with \
                 --battery, or give -o a directory that exists",
                passports.len(),
                names.join("; ")
            )
            .into())
        }
    }
}

fn write_whole(
    output: Option<&str>,
    text: &str,
    at_signal: &mut AtSignal,
) -> Result<(), Box<dyn Error>> {
    let mut out = Output::open(output, at_signal)?;
    let name = out.name().to_owned();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.finish());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(format!("{name} can't be written: {error}").into()),
        Ok(()) => Ok(()),
    }
}
