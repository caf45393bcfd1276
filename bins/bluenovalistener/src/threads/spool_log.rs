use std::{
    mem::{self, Discriminant},
    path::PathBuf,
};

use bluenova_http::{Shared, StorageStatus};
use bluenova_journal::{Error, Notice, Recovery};
use bluenova_record::ErrorChain;
use log::{error, info, warn};

use super::outage::Outage;

/// What happens to the spool, in the log and the status.
pub(super) struct SpoolLog {
    path: PathBuf,
    file: Outage<Discriminant<Error>>,
    /// It was logged that rows are in memory, so that their return is, too.
    said_in_memory: bool,
    full: Outage<()>,
    /// Rows evicted since that was logged.
    evicted: u64,
}

impl SpoolLog {
    pub(super) fn new(path: PathBuf) -> Self {
        let (file, full) = (Outage::begin(), Outage::begin());
        Self { path, file, said_in_memory: false, full, evicted: 0 }
    }

    pub(super) fn report(&mut self, notice: &Notice, status: &Shared<StorageStatus>) {
        let path = self.path.display();
        match notice {
            Notice::InMemory(error) => {
                let why = ErrorChain(error).to_string();
                if self.file.is_news(mem::discriminant(error)) {
                    self.said_in_memory = true;
                    error!("{why}; rows are kept in memory only, and lost if the program ends");
                }
                status.update(|storage| storage.trouble = Some(why));
            }
            Notice::InFile { rows } => {
                if mem::take(&mut self.said_in_memory) {
                    info!("journal {path}: written again, with {rows} rows from memory");
                }
                status.update(|storage| storage.trouble = None);
            }
            Notice::Recovered(Recovery { aside, rows, lost }) => {
                let lost = match lost {
                    Some(lost) => format!("{lost} that were not delivered yet are lost"),
                    None => "how many are lost isn't known".to_owned(),
                };
                let saved = format!("{rows} rows are saved, {lost}");
                error!("journal {path} was damaged: {saved}; it is kept as {}", aside.display());
            }
            Notice::Evicted { rows } => {
                self.evicted += rows;
                if self.full.is_news(()) {
                    let lost = mem::take(&mut self.evicted);
                    error!(
                        "the journal is full: its {lost} oldest rows, not delivered yet, are lost"
                    );
                }
            }
            Notice::OrphansLost(error) => {
                error!("rows of the deleted journal are lost: {}", ErrorChain(error));
            }
            Notice::Postponed(error) => warn!("{}", ErrorChain(error)),
        }
    }
}
