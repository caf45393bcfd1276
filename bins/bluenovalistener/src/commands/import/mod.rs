//! `bluenovalistener import`: fills holes from old logs.

use std::{
    env,
    error::Error,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use bluenova_import::{Destination, Import, ImportProgress, LogSeries, LogZone, RowStore};
use bluenova_record::Escaped;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use time::UtcDateTime;

use crate::{
    args::{self, Args},
    console::rows,
    settings::{Settings, Store, import_journal},
};

mod report;

/// How often a progress bar is drawn, per second.
const FRAMES: u8 = 5;

/// Adds the rows of the logs that are missing, or shows what would be added.
///
/// # Errors
/// The command line is wrong, a file or the store can't be opened, or the server is away.
pub(crate) fn run(args: &Args, options: &args::Import) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let zone = LogZone::resolve(options.timezone.as_deref())
        .map_err(|error| format!("--timezone {error}"))?;
    if options.files.is_empty() {
        return Err("no log file is given: import FILE…".into());
    }
    let logs = LogSeries::find(&options.files, &zone)?;
    let mut store = open(&settings.store, options.dry_run)?;
    let zone_name = zone.name().to_owned();
    let bar = bar(if options.dry_run { "looking" } else { "importing" });
    let import = Import { logs, zone, interval: settings.interval, now: UtcDateTime::now() };
    let imported = import.run(&mut store, |progress| show(&bar, progress));
    bar.finish_and_clear();
    for warning in store.take_warnings() {
        let _ = writeln!(io::stderr(), "bluenovalistener: {}", Escaped(warning));
    }
    let within = settings.interval.seconds() / 2;
    report::tallies(&imported, within, options.dry_run);
    imported.ended?;
    report::findings(&imported.findings, &zone_name);
    if let Some(rejected) = store.finish()? {
        return Err(format!(
            "PostgreSQL rejects {}: see `bluenovalistener set-aside --journal {}` with the same -d",
            rows(rejected.count),
            rejected.journal.display()
        )
        .into());
    }
    if imported.findings.unreadable.is_empty() && imported.findings.no_logs.is_empty() {
        Ok(())
    } else {
        Err("not all files can be read".into())
    }
}

fn open(store: &Store, is_dry_run: bool) -> Result<RowStore, Box<dyn Error>> {
    let of_import: PathBuf;
    let destination = match store {
        Store::Sqlite { path } => Destination::Sqlite { path },
        Store::Postgres { server, journal: listener, .. } => {
            of_import = import_journal(listener, &server.identity());
            Destination::Postgres { server, listener, journal: &of_import }
        }
    };
    Ok(RowStore::open(&destination, is_dry_run, UtcDateTime::now)?)
}

/// A progress bar on a terminal, and none elsewhere.
pub(super) fn bar(what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(FRAMES));
    let template = format!("{what} [{{bar:30}}] {{percent}} %, {{msg}}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

fn show(bar: &ProgressBar, progress: ImportProgress) {
    let ImportProgress { read, total, added } = progress;
    bar.set_length(total);
    bar.set_position(read);
    let rate = added as f64 / bar.elapsed().as_secs_f64().max(1.0);
    bar.set_message(format!("{}, {rate:.0} per second", rows(added)));
}
