//! The program under test, and what `/proc` has about processes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

/// Seconds per row.
pub(crate) const INTERVAL: u64 = 10;

/// A listener, which is stopped as a user stops it.
pub(crate) struct Listener {
    child: Child,
    log: PathBuf,
}

impl Listener {
    /// Starts one with an SQLite database as its store.
    pub(crate) fn to_sqlite(program: &Path, database: &Path, batteries: &[String]) -> Self {
        let store = ["-d".to_owned(), format!("sqlite:{}", database.display())];
        Self::start(program, &database.with_extension("log"), batteries, &store)
    }

    /// Starts one that writes its log to `log`.
    pub(crate) fn start(
        program: &Path,
        log: &Path,
        batteries: &[String],
        options: &[String],
    ) -> Self {
        let child = Command::new(program)
            .args(batteries.iter().flat_map(|battery| ["-b", battery]))
            .args(["-i", &INTERVAL.to_string()])
            .args(["-l", &log.display().to_string()])
            .args(options)
            .stderr(File::create(log.with_extension("stderr")).expect("it can be written"))
            .spawn()
            .expect("it was built");
        Self { child, log: log.to_owned() }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn cpu(&self) -> Duration {
        cpu(&self.proc("stat"))
    }

    /// The most memory that it had at a time.
    pub(crate) fn peak_kib(&self) -> u64 {
        number_behind(&self.proc("status"), "VmHWM:")
    }

    pub(crate) fn written(&self) -> u64 {
        number_behind(&self.proc("io"), "write_bytes:")
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        _ = Command::new("kill").arg(id).status();
        _ = self.child.wait();
    }
}

/// User and system time of a process or thread.
pub(crate) fn cpu(stat: &str) -> Duration {
    let stat = fs::read_to_string(stat).expect("it runs");
    let [_, ticks @ ..] = fields_of_stat(&stat);
    in_ticks(ticks[0] + ticks[1])
}

/// User and system time of a process, its children, and those that have ended.
pub(crate) fn cpu_with_children(parent: u32) -> Duration {
    let processes = fs::read_dir("/proc").expect("this is Linux").flatten();
    // One that has ended meanwhile counts with its parent.
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let ticks = stats.map(|stat| {
        let is_parent = stat.starts_with(&format!("{parent} "));
        match fields_of_stat(&stat) {
            [_, user, system, user_of_ended, system_of_ended] if is_parent => {
                user + system + user_of_ended + system_of_ended
            }
            [its_parent, user, system, ..] if its_parent == u64::from(parent) => user + system,
            _ => 0,
        }
    });
    in_ticks(ticks.sum())
}

/// The parent, and the ticks of a process: user, system, and the same of children that have ended.
fn fields_of_stat(stat: &str) -> [u64; 5] {
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [1, 11, 12, 13, 14].map(|at| fields[at].parse().expect("a number"))
}

/// Linux counts in hundredths of a second.
fn in_ticks(ticks: u64) -> Duration {
    Duration::from_millis(10 * ticks)
}

fn number_behind(file: &str, label: &str) -> u64 {
    let text = fs::read_to_string(file).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {label} in {file}"))
}
