//! `bluenovalistener import`: fills holes from old logs.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use bluenova_record::{ErrorChain, Escaped};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use time::{Date, UtcDateTime};

use crate::{
    args::{self, Args},
    console::{self, rows},
    settings::Settings,
};
use read::{Findings, LogReader, Progress};
use store::{RowStore, StoreError};
use taken::{RowNearby, TakenTimes};
use zone::Zone;

mod files;
mod read;
mod store;
mod taken;
mod zone;

/// Batches of rows that wait between the thread that reads and this one.
const BATCHES: usize = 4;

/// How often a progress bar is drawn, per second.
const FRAMES: u8 = 5;

/// Adds the rows of the logs that are missing, or shows what would be added.
///
/// # Errors
/// The command line is wrong, a file or the store can't be opened, or the server is away.
pub(crate) fn run(args: &Args, options: &args::Import) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let zone = Zone::resolve(options.timezone.as_deref())?;
    let series = files::series(&options.files, &zone)?;
    let store = RowStore::open(&settings.store, options.dry_run)?;
    let zone_name = zone.name.clone();
    let within = i64::from(settings.interval.seconds() / 2);

    let progress = Arc::new(Progress::default());
    let (to_import, batches) = mpsc::sync_channel(BATCHES);
    let (interval, now) = (settings.interval, UtcDateTime::now());
    let reader =
        LogReader { zone, interval, now, progress: Arc::clone(&progress), rows: to_import };
    let reader =
        thread::Builder::new().name("log reader".to_owned()).spawn(move || reader.run(series))?;
    let mut import = Import {
        store,
        taken: TakenTimes::default(),
        within,
        tallies: BTreeMap::new(),
        bar: bar(options.dry_run),
        progress,
    };
    let imported = batches.into_iter().try_for_each(|batch| import.add(batch));
    // Without a receiver it ends; a panic of it is shown already.
    let findings = reader.join().map_err(|_| "the log reader has failed")?;
    import.bar.finish_and_clear();
    let warnings = import.store.take_warnings();
    for warning in warnings {
        let _ = writeln!(io::stderr(), "bluenovalistener: {}", Escaped(warning));
    }
    report_tallies(&import.tallies, within, options.dry_run, imported.is_err());
    imported?;
    report_findings(&findings, &zone_name);
    let (rejected, journal) = import.store.finish()?;
    if let Some(journal) = journal {
        return Err(format!(
            "PostgreSQL rejects {}: see `bluenovalistener set-aside --journal {}` with the same -d",
            rows(rejected),
            journal.display()
        )
        .into());
    }
    if findings.unreadable.is_empty() && findings.no_logs.is_empty() {
        Ok(())
    } else {
        Err("not all files can be read".into())
    }
}

/// Rows of one battery and day, or of one battery.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    added: u64,
    known: u64,
    near: u64,
}

/// By day and MCU ID.
type Tallies = BTreeMap<(Date, u32), Tally>;

/// The rows of the logs on their way to the store.
struct Import {
    store: RowStore,
    taken: TakenTimes,
    /// Half an interval, in seconds.
    within: i64,
    tallies: Tallies,
    bar: ProgressBar,
    progress: Arc<Progress>,
}

impl Import {
    fn add(&mut self, mut batch: read::Batch) -> Result<(), StoreError> {
        let mut failed = Ok(());
        batch.retain(|record| {
            if failed.is_err() {
                return false;
            }
            let (id, time) = (record.mcu_id, record.insert_time_utc);
            let load = |id, times| self.store.times(id, times);
            let nearby = match self.taken.take(id, time, self.within, load) {
                Ok(nearby) => nearby,
                Err(error) => {
                    failed = Err(error);
                    return false;
                }
            };
            let tally = self.tallies.entry((time.date(), id)).or_default();
            match nearby {
                RowNearby::None => tally.added += 1,
                RowNearby::SameTime => tally.known += 1,
                RowNearby::Near => tally.near += 1,
            }
            nearby == RowNearby::None
        });
        failed?;
        self.store.add(&batch)?;
        self.bar.set_length(self.progress.total.load(Ordering::Relaxed));
        self.bar.set_position(self.progress.read.load(Ordering::Relaxed));
        let total: u64 = self.tallies.values().map(|tally| tally.added).sum();
        let rate = total as f64 / self.bar.elapsed().as_secs_f64().max(1.0);
        self.bar.set_message(format!("{}, {rate:.0} per second", rows(total)));
        Ok(())
    }
}

/// A progress bar on a terminal, and none elsewhere.
fn bar(is_dry_run: bool) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(FRAMES));
    let what = if is_dry_run { "looking" } else { "importing" };
    let template = format!("{what} [{{bar:30}}] {{percent}} %, {{msg}}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

fn report_tallies(tallies: &Tallies, within: i64, is_dry_run: bool, has_failed: bool) {
    let mut total = BTreeMap::<u32, Tally>::new();
    for ((day, id), tally) in tallies {
        if is_dry_run {
            console::print(&format!("{day} {id:08X}: {}\n", describe(*tally, within, true)));
        }
        let sum = total.entry(*id).or_default();
        sum.added += tally.added;
        sum.known += tally.known;
        sum.near += tally.near;
    }
    let so_far = if has_failed { " so far" } else { "" };
    for (id, tally) in total {
        let what = if is_dry_run { "in all" } else { "battery" };
        console::print(&format!(
            "{what} {id:08X}{so_far}: {}\n",
            describe(tally, within, is_dry_run)
        ));
    }
    if tallies.is_empty() && !has_failed {
        console::print("no rows in these logs\n");
    }
}

fn describe(tally: Tally, within: i64, is_dry_run: bool) -> String {
    let Tally { added, known, near } = tally;
    let verb = if is_dry_run { "would be added" } else { "added" };
    let mut text = format!("{} {verb}", rows(added));
    if known > 0 {
        text += &format!(", {known} there already");
    }
    if near > 0 {
        text += &format!(", {near} within {within} s of another row");
    }
    text
}

fn report_findings(findings: &Findings, zone: &str) {
    let paths = |path: &PathBuf| Escaped(path.display().to_string()).to_string();
    if !findings.by_zone.is_empty() {
        let files: Vec<_> = findings.by_zone.iter().map(paths).collect();
        console::print(&format!(
            "time zone: no record shows that of {}; taken for {zone} (--timezone)\n",
            files.join(", ")
        ));
    }
    for (count, what) in [
        (findings.without_owner, "without an MCU ID, which says whose they are"),
        (findings.wrong_clock, "from a clock that wasn't set: before 2010, or in the future"),
        (findings.under_way, "of the last 10 s, which a listener may be recording"),
    ] {
        if count > 0 {
            console::print(&format!("not added: {} {what}\n", rows(count)));
        }
    }
    for found in &findings.damage {
        let times = if found.count == 1 { "once" } else { &format!("{} times", found.count) };
        console::print(&format!(
            "damaged: {}, {times}; first at {}:{}\n",
            Escaped(found.damage),
            paths(&found.path),
            found.line
        ));
    }
    for path in &findings.no_logs {
        console::print(&format!(
            "not read: no line of {} begins with a time; if it is compressed, by another program \
             than gzip, it has to be unpacked first\n",
            paths(path)
        ));
    }
    for (path, error) in &findings.unreadable {
        console::print(&format!(
            "damaged: {} can't be read to its end: {}\n",
            paths(path),
            ErrorChain(error)
        ));
    }
}
