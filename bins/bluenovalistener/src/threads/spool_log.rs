use std::{
    mem::{self, Discriminant},
    path::PathBuf,
    time::Instant,
};

use bluenova_http::RateLimit;
use bluenova_journal::{Error, Notice, Recovery};
use bluenova_record::ErrorChain;
use bluenova_status::{Shared, StorageStatus};
use log::{error, info, warn};

use super::outage::REMINDER;
use crate::console::rows as counted;

/// Logger of the spool's notices, which also puts them into the status.
pub(super) struct SpoolLog {
    path: PathBuf,
    file: RateLimit<Discriminant<Error>>,
    /// Whether it was logged that rows go elsewhere, so that their return is logged too.
    logged_elsewhere: bool,
    /// Whether the file was deleted or replaced, and the rows are not in another one yet.
    was_replaced: bool,
    full: RateLimit<()>,
    /// Rows evicted since the last message about evictions.
    evicted: u64,
}

impl SpoolLog {
    pub(super) fn new(path: PathBuf) -> Self {
        let (file, full) = (RateLimit::new(REMINDER), RateLimit::new(REMINDER));
        let (logged_elsewhere, was_replaced) = (false, false);
        Self { path, file, logged_elsewhere, was_replaced, full, evicted: 0 }
    }

    pub(super) fn report(&mut self, notice: &Notice, status: &Shared<StorageStatus>) {
        let path = self.path.display();
        match notice {
            // The next notice says whether the rows have moved, which they do at once.
            Notice::InMemory(Error::Gone { .. }) => self.was_replaced = true,
            Notice::InMemory(error) => {
                let why = ErrorChain(error).to_string();
                if self.file.is_due(mem::discriminant(error), Instant::now()) {
                    self.logged_elsewhere = true;
                    error!(
                        "{why}. Rows are kept in memory only, and are lost if the program ends \
                         before the journal can be written; trying again every minute"
                    );
                }
                status.update(|storage| storage.trouble = Some(why));
            }
            Notice::InStandIn { error: Error::Gone { .. }, .. } => self.was_replaced = true,
            Notice::InStandIn { error, path } => {
                let why = ErrorChain(error).to_string();
                if self.file.is_due(mem::discriminant(error), Instant::now()) {
                    self.logged_elsewhere = true;
                    let stand_in = path.display();
                    error!(
                        "{why}. Rows are safe in {stand_in}, and move to the journal as soon as it \
                         can be written"
                    );
                }
                status.update(|storage| storage.trouble = Some(why));
            }
            Notice::InFile { rows } => {
                let rows_there = counted(*rows as u64);
                let logged_elsewhere = mem::take(&mut self.logged_elsewhere);
                if mem::take(&mut self.was_replaced) {
                    warn!(
                        "journal {path} was deleted or replaced while in use: written again, with \
                         {rows_there} that the file there did not have"
                    );
                } else if logged_elsewhere || *rows > 0 {
                    info!("journal {path}: written again, with {rows_there} from its stand-in");
                }
                status.update(|storage| storage.trouble = None);
            }
            Notice::Recovered(recovery) => {
                error!("journal {path} was damaged: {}", outcome(recovery));
            }
            Notice::Evicted { rows, from_memory } => self.report_evicted(*rows, *from_memory),
            Notice::OrphansLost(error) => {
                error!("rows of the deleted journal are lost: {}", ErrorChain(error));
            }
            Notice::Postponed(error) => {
                warn!("{}. No row is lost; trying again later", ErrorChain(error));
            }
        }
    }

    fn report_evicted(&mut self, rows: u64, from_memory: bool) {
        self.evicted += rows;
        if !self.full.is_due((), Instant::now()) {
            return;
        }
        let lost = mem::take(&mut self.evicted);
        let (what, until) = match from_memory {
            true => ("the memory for rows", "the journal can be written"),
            false => ("the journal", "PostgreSQL takes rows"),
        };
        let (oldest, are) = match lost {
            1 => ("oldest row".to_owned(), "is"),
            _ => (format!("{lost} oldest rows"), "are"),
        };
        error!(
            "{what} is full: its {oldest}, not delivered yet, {are} lost. More will be lost until \
             {until} again"
        );
    }
}

/// What a recovery has saved, and where the damaged file is.
fn outcome(recovery: &Recovery) -> String {
    let Recovery { aside, rows, lost, removed } = recovery;
    let lost = match lost {
        Some(0) => "none is lost".to_owned(),
        Some(1) => "1 that was not delivered yet is lost".to_owned(),
        Some(lost) => format!("{lost} that were not delivered yet are lost"),
        None => "the number of lost rows isn't known".to_owned(),
    };
    let are = if *rows == 1 { "is" } else { "are" };
    let saved = counted(*rows);
    let older = match removed {
        0 => String::new(),
        n => format!("; of older ones the newest two are kept, {n} removed"),
    };
    let aside = aside.display();
    format!("{saved} {are} saved, {lost}; what was there is kept as {aside}{older}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_a_recovery_is_a_sentence_for_any_number() {
        for (rows, lost, says) in [
            (0, None, "0 rows are saved, the number of lost rows isn't known; "),
            (1, Some(0), "1 row is saved, none is lost; "),
            (2, Some(1), "2 rows are saved, 1 that was not delivered yet is lost; "),
            (3, Some(2), "3 rows are saved, 2 that were not delivered yet are lost; "),
        ] {
            let recovery = Recovery { aside: "j.damaged".into(), rows, lost, removed: 0 };
            assert_eq!(outcome(&recovery), format!("{says}what was there is kept as j.damaged"));
        }
    }
}
