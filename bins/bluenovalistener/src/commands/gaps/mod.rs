//! `bluenovalistener gaps`: the intervals without a row, and why. It changes nothing, and works
//! while a listener is running.

use std::{
    env,
    error::Error,
    io::{self, BufWriter},
    ops::{ControlFlow, Range},
    path::Path,
    time::Duration,
};

use bluenova_journal::{
    GapBattery, GapFinder, MissingIntervals, Reader, RowShare, RowsOutsideTable, gaps_in_journal,
    gaps_of,
};
use bluenova_postgres::{Deadlines, row_times};
use bluenova_record::ErrorChain;
use time::UtcDateTime;

use self::output::{GapOutput, JsonOutput, Lines};
use crate::{
    args::{self, Args},
    settings::{Settings, SettingsError, Store, time_argument},
};

mod output;

/// How far back it looks with `-d sqlite:`, unless told otherwise.
const DEFAULT_LENGTH: Duration = Duration::from_secs(7 * 86_400);

/// Time from the end of an interval until its row is expected to be stored and delivered.
const ROW_IS_DUE: Duration = Duration::from_secs(3);

/// Time that a year of rows may take to be read from a slow disk.
const READ_LIMIT: Duration = Duration::from_secs(3600);

/// Deadlines of the server. The first rows of a year may take it a while.
const DEADLINES: Deadlines =
    Deadlines { connect: Duration::from_secs(15), deliver: Duration::from_secs(120) };

/// What is asked for.
pub(super) struct Question {
    pub(super) times: Range<UtcDateTime>,
    pub(super) interval: Duration,
    /// Where the rows are looked for.
    pub(super) rows_of: String,
    /// Why they are not looked for where they should be.
    pub(super) trouble: Option<String>,
}

/// Prints the intervals without a row.
///
/// # Errors
/// There is no journal, or it or the table can't be read to the end.
pub(crate) fn run(args: &Args, options: &args::Gaps) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let now = UtcDateTime::now();
    let (Store::Postgres { journal: path, .. } | Store::Sqlite { path }) = &settings.store;
    let has_server = matches!(settings.store, Store::Postgres { .. });
    let mut journal = open(path, has_server)?;
    journal.time_limit = READ_LIMIT;
    let times = times(&settings, options, &journal, now)?;
    let mut question = Question {
        times,
        interval: settings.interval.duration(),
        rows_of: path.display().to_string(),
        trouble: None,
    };
    let finder = finder(&journal, &question)?;
    let out = BufWriter::new(io::stdout().lock());
    let mut output: Box<dyn GapOutput> =
        if options.json { Box::new(JsonOutput::new(out)) } else { Box::new(Lines::new(out)) };
    let shares = match &settings.store {
        Store::Sqlite { .. } => between_rows(&journal, finder, &question, output.as_mut())?,
        Store::Postgres { server, .. } => match check(server, &journal) {
            Ok(elsewhere) => {
                question.rows_of = server.to_string();
                in_table(server, &elsewhere, finder, &question, output.as_mut())?
            }
            Err(Trouble::Journal(error)) => return Err(error.into()),
            Err(Trouble::Server(error)) => {
                question.trouble = Some(ErrorChain(&error).to_string());
                // Older rows are not in the journal any more.
                let oldest = journal.oldest()?.unwrap_or(question.times.end);
                question.times.start = question.times.start.max(oldest - question.interval);
                let finder = self::finder(&journal, &question)?;
                between_rows(&journal, finder, &question, output.as_mut())?
            }
        },
    };
    output.end(&question, &shares)?;
    Ok(())
}

fn open(path: &Path, has_server: bool) -> Result<Reader, Box<dyn Error>> {
    if !path.exists() {
        return Err(super::no_journal(path, "gaps", has_server).into());
    }
    Ok(Reader::open(path)?)
}

/// From when to when: by default as long as delivered rows are kept, unless the first sign of the
/// listener is younger.
fn times(
    settings: &Settings,
    options: &args::Gaps,
    journal: &Reader,
    now: UtcDateTime,
) -> Result<Range<UtcDateTime>, Box<dyn Error>> {
    let given = |option, given: &Option<String>| {
        given.as_deref().map(|given| time_argument(option, given, now)).transpose()
    };
    let to = given("--to", &options.to)?.unwrap_or(now).min(now - ROW_IS_DUE);
    let from = given("--from", &options.from)?;
    let from = match from {
        Some(from) => from,
        None => {
            let keep = match &settings.store {
                Store::Postgres { keep, .. } => *keep,
                Store::Sqlite { .. } => DEFAULT_LENGTH,
            };
            let first_event = journal.events()?.first().map(|event| event.since);
            let signs = first_event.into_iter().chain(journal.oldest()?);
            signs.min().unwrap_or(to).min(to).max(to - keep)
        }
    };
    if from > to {
        let given = options.from.clone().unwrap_or_default();
        let allowed = "a time before --to and before now";
        return Err(SettingsError::NotAllowed { option: "--from", given, allowed }.into());
    }
    Ok(from..to)
}

fn finder(journal: &Reader, question: &Question) -> Result<GapFinder, bluenova_journal::Error> {
    let Question { times, interval, .. } = question;
    let newest = journal.latest()?.iter().map(|row| row.insert_time_utc).max();
    // A row after a time that is over shows that the listener ran on.
    let is_running = journal.is_in_use().unwrap_or(true) || newest > Some(times.end);
    Ok(GapFinder::new(
        *interval,
        times.clone(),
        &journal.events()?,
        &journal.mcu_ids()?,
        is_running,
    ))
}

/// What can't be read.
enum Trouble {
    Journal(bluenova_journal::Error),
    Server(bluenova_postgres::Error),
}

/// Looks whether the table can be read, and which rows of the journal are known to be there.
fn check<'a>(
    server: &bluenova_postgres::Settings,
    journal: &'a Reader,
) -> Result<RowsOutsideTable<'a>, Trouble> {
    let mut elsewhere = RowsOutsideTable::new(journal).map_err(Trouble::Journal)?;
    let none = UtcDateTime::UNIX_EPOCH..UtcDateTime::UNIX_EPOCH;
    let times = elsewhere.times_to_check().unwrap_or(none);
    row_times(server, DEADLINES, times, |time, mcu_id| {
        elsewhere.is_in_table(time, mcu_id);
        ControlFlow::Continue(())
    })
    .map_err(Trouble::Server)?;
    Ok(elsewhere)
}

/// The intervals without a row in the table.
fn in_table(
    server: &bluenova_postgres::Settings,
    elsewhere: &RowsOutsideTable<'_>,
    mut finder: GapFinder,
    question: &Question,
    output: &mut dyn GapOutput,
) -> Result<Vec<RowShare>, Box<dyn Error>> {
    output.begin(question, &mut finder.batteries())?;
    let mut failed = None;
    row_times(server, DEADLINES, finder.row_times(), |time, mcu_id| {
        let Some(missing) = finder.row(mcu_id, time) else { return ControlFlow::Continue(()) };
        match print(&finder, [missing], elsewhere, output) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let missing = finder.end();
    print(&finder, missing, elsewhere, output)?;
    Ok(finder.shares())
}

fn print(
    finder: &GapFinder,
    missing: impl IntoIterator<Item = MissingIntervals>,
    elsewhere: &RowsOutsideTable<'_>,
    output: &mut dyn GapOutput,
) -> Result<(), Box<dyn Error>> {
    for (battery, gap) in gaps_of(finder, missing, |id, times| elsewhere.rows(id, times))? {
        output.gap(battery, &gap)?;
    }
    Ok(())
}

/// The intervals without a row in the journal.
fn between_rows(
    journal: &Reader,
    finder: GapFinder,
    question: &Question,
    output: &mut dyn GapOutput,
) -> Result<Vec<RowShare>, Box<dyn Error>> {
    output.begin(question, &mut finder.batteries())?;
    let mut failed = None;
    let shares = gaps_in_journal(journal, finder, |battery: &GapBattery, gap| {
        if failed.is_none() {
            failed = output.gap(battery, &gap).err();
        }
    })?;
    failed.map_or(Ok(shares), |error| Err(error.into()))
}
