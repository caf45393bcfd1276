//! `bluenovalistener export`: rows as CSV, from the journal or from PostgreSQL's table. It works
//! while a listener is running.

use std::{collections::BTreeSet, env, error::Error, io};

use bluenova_archive::{ColumnsError, columns};
use bluenova_journal::Reader;
use bluenova_record::{COLUMNS, Column, Rfc3339};
use time::UtcDateTime;

use crate::{
    args::{self, Args, nearest},
    settings::{Battery, Settings, Store, time_argument},
};

use super::check::ask_for_mcu_id;

mod csv_output;
mod journal;
mod table;

/// Writes the rows that were asked for.
///
/// # Errors
/// An option is wrong, the rows can't be read, there are none, or the output can't be written. A
/// reader of standard output that has had enough is no error.
pub(crate) fn run(args: &Args, options: &args::Export) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let request = Request::resolve(options, &settings.batteries, UtcDateTime::now())?;
    let written = match &settings.store {
        Store::Postgres { server, journal, .. } if options.from_database => {
            table::export(server, journal, &request)
        }
        Store::Postgres { journal: path, .. } => journal::export(path, &request, true),
        Store::Sqlite { path } => journal::export(path, &request, false),
    };
    match written {
        Err(ExportError::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// What is to be exported.
struct Request<'a> {
    columns: Vec<&'static Column>,
    from: Option<UtcDateTime>,
    to: Option<UtcDateTime>,
    /// Names and MCU IDs.
    batteries: &'a [String],
    /// Those of the command line.
    known: &'a [Battery],
    output: Option<&'a str>,
}

/// Why rows can't be exported, or batteries not be chosen.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    #[error(transparent)]
    Table(#[from] bluenova_postgres::Error),
    #[error("{output} can't be written")]
    Write { output: String, source: io::Error },
}

impl<'a> Request<'a> {
    fn resolve(
        options: &'a args::Export,
        known: &'a [Battery],
        now: UtcDateTime,
    ) -> Result<Self, Box<dyn Error>> {
        let time = |option, given: &Option<String>| {
            given.as_deref().map(|given| time_argument(option, given, now)).transpose()
        };
        let from = time("--from", &options.from)?;
        let to = time("--to", &options.to)?;
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            let [from, to] = [from, to].map(Rfc3339);
            return Err(format!("--from {from} must be before --to {to}").into());
        }
        let columns = match &options.columns {
            Some(names) => columns(names).map_err(|error| wrong_columns(&error))?,
            None => COLUMNS.iter().collect(),
        };
        let output = options.output.as_deref();
        Ok(Self { columns, from, to, batteries: &options.battery, known, output })
    }

    /// The times for a sentence, with a blank before them.
    fn times(&self) -> String {
        let time = |word, time: Option<UtcDateTime>| {
            time.map(|time| format!(" {word} {}", Rfc3339(time))).unwrap_or_default()
        };
        format!("{}{}", time("from", self.from), time("to", self.to))
    }
}

fn wrong_columns(error: &ColumnsError) -> String {
    let ColumnsError::Unknown(name) = error else { return format!("--columns: {error}") };
    match nearest(name, COLUMNS.iter().map(|column| column.name)) {
        Some(meant) => format!("--columns: did you mean {meant}? {error}"),
        None => format!("--columns: {error}"),
    }
}

/// The MCU IDs that a value of `--battery` means: those that a battery of that name has sent, as
/// `journal` has it, or as one of `known` answers; or else the value itself.
pub(super) fn mcu_ids(
    given: &str,
    known: &[Battery],
    journal: Option<&Reader>,
) -> Result<Vec<u32>, ExportError> {
    let events = journal.map_or(Ok(vec![]), Reader::events)?;
    let of_name = events.iter().filter(|event| event.battery.as_deref() == Some(given));
    let ids: BTreeSet<u32> = of_name.filter_map(|event| event.mcu_id).collect();
    if !ids.is_empty() {
        return Ok(ids.into_iter().collect());
    }
    if let Some(battery) = known.iter().find(|battery| battery.name == given) {
        return ask_for_mcu_id(battery).map(|id| vec![id]).map_err(|why| {
            ExportError::Wrong(format!(
                "--battery {given}: the battery can't be asked for its MCU ID; give that. {why}"
            ))
        });
    }
    // Without the sign that numbers may have.
    let is_hex = given.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u32::from_str_radix(given, 16).ok().filter(|_| is_hex);
    id.map(|id| vec![id]).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|battery| battery.name.as_str()).collect();
        let names = names.join(", ");
        ExportError::Wrong(format!(
            "--battery {given:?}: the name of a battery in -b ({names}) or an MCU ID, 1 to 8 \
             hexadecimal digits, is allowed"
        ))
    })
}

/// The batteries for a sentence, with a blank before them.
fn of_batteries(ids: &[u32]) -> String {
    if ids.is_empty() { String::new() } else { format!(" of {}", listed(ids)) }
}

pub(super) fn listed(ids: &[u32]) -> String {
    let ids: Vec<_> = ids.iter().map(|id| format!("{id:08X}")).collect();
    if ids.is_empty() { "no battery".to_owned() } else { ids.join(", ") }
}
