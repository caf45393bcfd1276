//! What a listener knows of itself at one moment, and what follows from it.

use std::path::PathBuf;
use std::time::Duration;

use bluenova_record::PackRecord;
use time::UtcDateTime;

/// A value older than this many intervals is stale, on the page, in the metrics and in the health
/// alike.
const STALE_AFTER_INTERVALS: u32 = 3;

/// The age from which on a value is stale where a row comes every `interval`.
pub const fn stale_after(interval: Duration) -> Duration {
    interval.saturating_mul(STALE_AFTER_INTERVALS)
}

/// What a listener knows of itself at one moment.
///
/// It is a plain value: whoever serves it asks for a new one at each request, and the threads that
/// record are never waited for.
#[derive(Clone, Debug)]
pub struct Status {
    /// The time at which it was so.
    pub now: UtcDateTime,
    /// Time from one row of a battery to its next one.
    pub interval: Duration,
    /// The batteries of the command line, in its order.
    pub batteries: Vec<Battery>,
    /// Where the rows are.
    pub storage: Storage,
}

/// A battery that the listener was told to listen to.
#[derive(Clone, Debug)]
pub struct Battery {
    /// What people call it.
    pub name: String,
    /// Where it is: host, port and path.
    pub address: String,
    /// The connection to it.
    pub connection: Connection,
    /// Times that it was dialled since the start, but for the first.
    pub redials: u64,
    /// Lines of a known kind that could not be read, since the start.
    pub malformed_lines: u64,
    /// Rows that were recorded, since the start.
    pub rows: u64,
    /// Sums of the rows' three counters, since the start.
    pub cell_bus: CellBus,
    /// The newest row of it that was recorded since the start.
    pub latest: Option<Latest>,
}

/// Whether there is a connection to a battery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// There is one.
    Up,
    /// There is none.
    Down {
        /// What went wrong last, in words; `None` before anything did.
        why: Option<String>,
    },
}

/// What the firmware counted on the bus that its cells are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellBus {
    /// Bad frames.
    pub bad_crc: u64,
    /// Unparsable frames.
    pub parse_fail: u64,
    /// Cell readings that the firmware rejected.
    pub bad_vcell: u64,
}

/// A row, and how old it is.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The row.
    pub record: PackRecord,
    /// Time since the end of its interval.
    pub age: Duration,
}

/// Where the rows are, and where they go.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The journal's file.
    pub journal: PathBuf,
    /// Rows that are in memory only, since the file can't be written: they end with the process.
    pub only_in_memory: u64,
    /// What is wrong with the file, in words.
    pub trouble: Option<String>,
    /// The way to another database, where there is one.
    pub delivery: Option<Delivery>,
}

/// The way of the rows to another database.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The database, without any password.
    pub server: String,
    /// Rows that it has taken since the start, those that it had already among them.
    pub delivered: u64,
    /// Rows that wait for it.
    pub waiting: u64,
    /// What hinders delivery, in words.
    pub trouble: Option<String>,
    /// For how long rows have been waiting without any of them being taken; zero while all is well.
    pub waiting_for: Duration,
}

impl Battery {
    /// Who it is; `None` as long as there is no row of it.
    pub fn mcu_id(&self) -> Option<u32> {
        self.latest.as_ref().map(|latest| latest.record.mcu_id)
    }
}

impl Connection {
    /// What went wrong last, if it is down.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Up => None,
            Self::Down { why } => why.as_deref(),
        }
    }
}

impl Status {
    /// The age from which on a value is stale.
    pub fn stale_after(&self) -> Duration {
        stale_after(self.interval)
    }

    /// Whether a row is too old for its values to be shown as those of now.
    pub fn is_stale(&self, latest: &Latest) -> bool {
        latest.age > self.stale_after()
    }

    /// What is wrong, a sentence each: a battery that isn't fresh, rows that don't get to where they
    /// should. Empty: all is well.
    pub fn problems(&self) -> Vec<String> {
        let batteries = self.batteries.iter().filter_map(|battery| self.problem_of(battery));
        batteries.chain(self.problems_of_storage()).collect()
    }

    fn problem_of(&self, battery: &Battery) -> Option<String> {
        let last = match &battery.latest {
            Some(latest) if !self.is_stale(latest) => return None,
            Some(latest) => format!("no data for {}", duration(latest.age)),
            None => "no data yet".to_owned(),
        };
        let Battery { name, connection, .. } = battery;
        Some(match connection {
            Connection::Up => format!("{name}: {last}, though it is connected"),
            Connection::Down { why: None } => format!("{name}: {last}, not connected"),
            Connection::Down { why: Some(why) } => format!("{name}: {last}, not connected: {why}"),
        })
    }

    fn problems_of_storage(&self) -> impl Iterator<Item = String> {
        let Storage { only_in_memory, trouble, delivery, .. } = &self.storage;
        let memory = (*only_in_memory > 0 || trouble.is_some()).then(|| {
            let why = trouble.as_deref().unwrap_or("the journal can't be written");
            let rows = if *only_in_memory == 1 { "row is" } else { "rows are" };
            format!("{only_in_memory} {rows} in memory only: {why}")
        });
        let delivery =
            delivery.as_ref().filter(|delivery| self.is_stuck(delivery)).map(|delivery| {
                let Delivery { server, trouble, waiting_for, .. } = delivery;
                let why = trouble.as_deref().unwrap_or("it doesn't answer");
                format!("{server}: has taken no row for {}: {why}", duration(*waiting_for))
            });
        memory.into_iter().chain(delivery)
    }

    /// Whether rows wait for longer than a value may be old.
    pub fn is_stuck(&self, delivery: &Delivery) -> bool {
        delivery.waiting_for > self.stale_after()
    }
}

/// A length of time in its two largest units, for people to read.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
