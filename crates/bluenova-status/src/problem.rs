//! What is wrong: with batteries by what they report and by their limits, and with the rows.

use std::cmp::Reverse;

use bluenova_record::Escaped;

use crate::bank::{self, Unit};
use crate::limits::{BREAKER, ERRORS, NO_DATA};
use crate::{BatteryStatus, ConnectionState, Severity, Status, StorageStatus, duration};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// How serious it is.
    pub severity: Severity,
    /// What it is, in a word: a limit's name (see [`limits`](crate::limits)), `no-data`, `errors`,
    /// `breaker`; or `journal`, `delivery`, `set-aside`, `retried` of the rows.
    pub name: &'static str,
    /// The battery that has it, once that has sent its MCU ID; `None` for the rows of all.
    pub mcu_id: Option<u32>,
    /// Names of the battery on the command line; none for the rows of all.
    pub names: Vec<String>,
    /// A sentence for people, that names the battery.
    pub text: String,
    /// What it rests on.
    pub evidence: Evidence,
}

/// What a problem rests on, for programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Evidence {
    /// Rows that don't come, or that can't be stored or delivered.
    #[default]
    Rows,
    /// The last value that was beyond a limit.
    Value {
        /// In the limit's unit.
        value: f64,
        /// The cell that has it, from 1; `None` if it is one of the pack.
        cell: Option<usize>,
    },
    /// What the battery says, in the firmware's words.
    Words(String),
}

impl Problem {
    /// One of the rows of all batteries.
    fn of_rows(name: &'static str, text: String) -> Self {
        let (severity, evidence) = (Severity::Red, Evidence::Rows);
        Self { severity, name, mcu_id: None, names: vec![], text, evidence }
    }
}

impl Status {
    /// What is wrong, a sentence each, as in [`problem_details`](Self::problem_details). Empty: all
    /// is well.
    pub fn problems(&self) -> Vec<String> {
        self.problem_details().into_iter().map(|problem| problem.text).collect()
    }

    /// What is wrong, the red first: stale batteries, what the others report of themselves, values
    /// beyond their limits, and rows that can't be written, can't be delivered, or were rejected.
    pub fn problem_details(&self) -> Vec<Problem> {
        let units = bank::units(self);
        // In the order of the command line, whichever addresses are one battery's.
        let silent = self.batteries.iter().filter_map(|battery| self.silence(battery));
        let others = units.iter().flat_map(|unit| unit.reported_problems(self));
        let mut problems: Vec<_> = silent
            .chain(others)
            .chain(self.storage_problem())
            .chain(self.delivery_problem())
            .chain(self.set_aside_problem())
            .chain(self.retried_problem())
            .collect();
        problems.sort_by_key(|problem| Reverse(problem.severity));
        problems
    }

    fn silence(&self, battery: &BatteryStatus) -> Option<Problem> {
        if self.first_row_due_in(battery).is_some() {
            return None;
        }
        let data = match battery.newest.as_ref().map(|newest| self.age(newest)) {
            Some(age) if !self.is_stale(age) => return None,
            Some(age) => format!("no data for {}", duration(age)),
            None => "no data yet".to_owned(),
        };
        let BatteryStatus { name, connection, .. } = battery;
        let text = match connection {
            ConnectionState::Up => format!("{name}: {data}, though it is connected"),
            ConnectionState::Down { why: None } => format!("{name}: {data}, not connected"),
            ConnectionState::Down { why: Some(why) } => {
                format!("{name}: {data}, not connected: {why}")
            }
        };
        let (mcu_id, names) = (battery.mcu_id(), vec![name.clone()]);
        Some(Problem { mcu_id, names, ..Problem::of_rows(NO_DATA, text) })
    }

    fn storage_problem(&self) -> Option<Problem> {
        let StorageStatus { only_in_memory, trouble, .. } = &self.storage;
        if *only_in_memory == 0 && trouble.is_none() {
            return None;
        }
        let why = trouble.as_deref().unwrap_or("the journal can't be written");
        if *only_in_memory == 0 {
            let text = format!("the journal can't be written: {why}");
            return Some(Problem::of_rows("journal", text));
        }
        let rows = if *only_in_memory == 1 { "row is" } else { "rows are" };
        let text = format!("{only_in_memory} {rows} in memory only: {why}");
        Some(Problem::of_rows("journal", text))
    }

    fn delivery_problem(&self) -> Option<Problem> {
        let delivery = self.delivery.as_ref().filter(|delivery| self.is_stuck(delivery))?;
        let why = delivery.trouble.as_deref().unwrap_or("it doesn't answer");
        let length = duration(delivery.waiting_for(self.instant));
        let is_safe = self.storage.only_in_memory == 0;
        let rows = if is_safe { " (they are safe in the journal)" } else { "" };
        let text = format!("{}: has taken no row for {length}{rows}: {why}", delivery.server);
        Some(Problem::of_rows("delivery", text))
    }

    fn set_aside_problem(&self) -> Option<Problem> {
        let rows = rows_are(self.delivery.as_ref()?.set_aside?)?;
        let text = format!(
            "{rows} set aside, since the database rejected them: `bluenovalistener set-aside` \
             lists and retries them"
        );
        Some(Problem::of_rows("set-aside", text))
    }

    fn retried_problem(&self) -> Option<Problem> {
        let rows = rows_are(self.delivery.as_ref()?.retried?)?;
        let text = format!(
            "{rows} waiting for a partition of the table, and retried: `bluenovalistener \
             set-aside` lists them"
        );
        Some(Problem::of_rows("retried", text))
    }
}

impl Unit<'_> {
    /// What is wrong with the battery, the red first.
    pub fn problems(&self, status: &Status) -> Vec<Problem> {
        let silent = self.batteries.iter().filter_map(|battery| status.silence(battery));
        let mut problems: Vec<_> = silent.chain(self.reported_problems(status)).collect();
        problems.sort_by_key(|problem| Reverse(problem.severity));
        problems
    }

    /// How often each problem of its values that may be red has become so since the start.
    /// Addresses that lead to the same battery have seen the same problems.
    pub fn red_problems_begun(&self) -> Vec<(&'static str, u64)> {
        let id = self.mcu_id();
        let its_own = self.batteries.iter().filter(|battery| battery.alarms.mcu_id == id);
        let begun = its_own.map(|battery| Vec::from_iter(battery.alarms.begun()));
        let most = begun.reduce(|mut most, other| {
            most.iter_mut().zip(other).for_each(|(most, other)| most.1 = most.1.max(other.1));
            most
        });
        most.unwrap_or_default()
    }

    /// Errors, an open breaker, and values beyond their limits, of a battery that isn't stale.
    fn reported_problems(&self, status: &Status) -> Vec<Problem> {
        let Some((battery, _)) = self.fresh_values(status) else { return vec![] };
        let mut problems = vec![];
        let mut add = |severity, name, text, evidence| {
            let names = self.batteries.iter().map(|battery| battery.name.clone()).collect();
            problems.push(Problem { severity, name, mcu_id: self.mcu_id(), names, text, evidence });
        };
        if let Some(errors) = battery.alarms.errors() {
            let text = format!("{} says: {}", self.names(), Escaped(errors));
            add(Severity::Red, ERRORS, text, Evidence::Words(errors.to_owned()));
        }
        if let Some(breaker) = battery.alarms.breaker() {
            let text = format!("{}: the breaker is {}", self.names(), Escaped(breaker));
            add(Severity::Red, BREAKER, text, Evidence::Words(breaker.to_owned()));
        }
        for alarm in battery.alarms.raised() {
            let text = format!("{}: {}", self.names(), alarm.text());
            let evidence = Evidence::Value { value: alarm.value, cell: alarm.cell };
            add(alarm.severity, alarm.limit.name, text, evidence);
        }
        problems
    }
}

/// `None` if there are none.
fn rows_are(count: u64) -> Option<String> {
    match count {
        0 => None,
        1 => Some("1 row is".to_owned()),
        count => Some(format!("{count} rows are")),
    }
}
