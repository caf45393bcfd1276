use std::path::{Path, PathBuf};

use bluenova_journal::{Batch, Error, Leftover, LeftoverOutbox, leftovers};
use bluenova_record::ErrorChain;
use log::{info, warn};

use super::delivery_trouble::rows_wait;
use crate::console::rows;

/// The journals that listeners with other options have left behind, with rows for the same
/// database.
pub(super) struct Leftovers {
    /// The listener's own journal.
    journal: PathBuf,
    outboxes: Vec<LeftoverOutbox>,
}

impl Leftovers {
    /// Looks for them beside the `journal`, and logs what is found.
    pub(super) fn find(journal: PathBuf, server: &str) -> Self {
        let mut found = Self { journal, outboxes: vec![] };
        for leftover in leftovers(&found.journal) {
            let text = describe(leftover.as_ref(), server);
            let Some(leftover) = leftover.ok().filter(|leftover| is_for(leftover, server)) else {
                warn!("{text}");
                continue;
            };
            info!("{text}");
            match LeftoverOutbox::open(&leftover) {
                Ok(outbox) => {
                    found.move_set_aside(&outbox);
                    found.outboxes.push(outbox);
                }
                Err(error) => warn!("{}", describe(Err(&error), server)),
            }
        }
        found
    }

    /// Rows that are not delivered, as far as they can be counted.
    pub(super) fn waiting(&self) -> u64 {
        self.outboxes.iter().map(|outbox| outbox.waiting().unwrap_or(0)).sum()
    }

    /// The oldest rows of the first leftover that has some, `limit` at most; none if all are
    /// delivered. Leftovers that have none are closed.
    pub(super) fn undelivered(&mut self, limit: usize) -> Batch {
        while let Some(outbox) = self.outboxes.first_mut() {
            match outbox.undelivered(limit) {
                Ok(batch) if !batch.records.is_empty() => return batch,
                Ok(_) => {
                    let outbox = self.outboxes.remove(0);
                    self.finish(&outbox);
                }
                Err(error) => {
                    warn!("{}", unreadable(&error));
                    self.outboxes.remove(0);
                }
            }
        }
        Batch::default()
    }

    /// The leftover of the last batch.
    pub(super) fn current(&mut self) -> Option<&mut LeftoverOutbox> {
        self.outboxes.first_mut()
    }

    fn finish(&self, outbox: &LeftoverOutbox) {
        // Those that were rejected just now.
        self.move_set_aside(outbox);
        let path = outbox.path().display();
        match outbox.waiting() {
            Ok(0) => info!("journal {path}: no row waits there any more; the file stays"),
            // Or it can't be read any more, which its own listener finds.
            _ => info!("journal {path}: its own listener is running, and delivers its rows"),
        }
    }

    fn move_set_aside(&self, outbox: &LeftoverOutbox) {
        match outbox.move_set_aside(&self.journal) {
            Ok(0) => {}
            Ok(count) => info!(
                "journal {}: {} set aside there, which `bluenovalistener set-aside` lists now",
                outbox.path().display(),
                rows(count)
            ),
            Err(error) => warn!(
                "{}. The rows that are set aside in journal {} stay there until the next start",
                ErrorChain(&error),
                outbox.path().display()
            ),
        }
    }
}

/// Whether the rows are for that database.
fn is_for(leftover: &Leftover, server: &str) -> bool {
    leftover.database.as_deref() == Some(server)
}

/// What was found beside a journal, and what becomes of it where rows go to `server`.
pub(crate) fn describe(found: Result<&Leftover, &Error>, server: &str) -> String {
    let leftover = match found {
        Ok(leftover) => leftover,
        Err(error) => return unreadable(error),
    };
    let (path, what) = (leftover.path.display(), contents(leftover));
    match leftover.database.as_deref() {
        Some(database) if database == server => format!(
            "journal {path}, of a listener with other options (-b, say): {what}; they are \
             delivered to {server}, too"
        ),
        Some(database) => format!(
            "journal {path}: {what}, for {database}. A listener with that database (-d) delivers \
             them"
        ),
        None => format!(
            "journal {path}, of an older version: {what}, and for which database isn't noted. If \
             it is {server}, {}",
            start_with(&leftover.path)
        ),
    }
}

fn contents(leftover: &Leftover) -> String {
    match (leftover.waiting, leftover.set_aside) {
        (0, 0) => "there may be rows in its log, which a power failure has torn".to_owned(),
        (waiting, 0) => rows_wait(waiting),
        (0, set_aside) => format!("{} set aside", rows(set_aside)),
        (waiting, set_aside) => format!("{}, {set_aside} set aside", rows_wait(waiting)),
    }
}

fn start_with(path: &Path) -> String {
    format!("start the listener once with --journal '{}'", path.display())
}

fn unreadable(error: &Error) -> String {
    format!(
        "{}. This journal of other options is left as it is; a listener that is started with \
         --journal and this path delivers what can be read of it",
        ErrorChain(error)
    )
}
