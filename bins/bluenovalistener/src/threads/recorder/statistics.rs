//! Stores what the samples say of the batteries.

use std::time::{Duration, Instant};

use bluenova_import::merge_days;
use bluenova_journal::Error;

use super::Recorder;
use crate::threads::insights::ToStore;

/// How often it is looked for states that are due, and days that have ended.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Longest time for storing all states when the program ends. Those that are left are made up for
/// from the rows at the next start.
const LAST_STATES: Duration = Duration::from_secs(1);

impl Recorder {
    /// Stores what is due of the states and days of batteries.
    pub(super) fn store_statistics(&mut self) -> Result<(), Error> {
        if let Some(due) = self.insights.take_due(Instant::now(), false) {
            self.put_statistics(&due)?;
        }
        // In memory no state is stored.
        if !self.spool.is_in_memory() {
            self.insights.forget_unused();
        }
        Ok(())
    }

    /// Stores all states and days, when the program ends.
    pub(super) fn store_all_statistics(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + LAST_STATES;
        while Instant::now() < deadline
            && let Some(due) = self.insights.take_due(Instant::now(), true)
        {
            self.put_statistics(&due)?;
        }
        Ok(())
    }

    fn put_statistics(&mut self, ToStore { insights, days }: &ToStore) -> Result<(), Error> {
        self.is_busy(true);
        let stored = self.spool.put_statistics(insights, days, merge_days);
        self.is_busy(false);
        self.report();
        stored
    }
}
