//! How a batch is cut down where PostgreSQL doesn't take it as a whole.

use std::sync::Arc;

use bluenova_postgres::{Courier, Deadlines, Delivered, Error, Retry, Settings};
use bluenova_record::PackRecord;
use log::warn;

use crate::{outage::Outage, status::DeliveryNotes, text};

/// Rows in one transaction at most.
pub(crate) const BATCH: usize = 1000;

/// Into how many parts a batch is cut that the server was too slow for.
const PARTS: usize = 8;

/// Rows that are tried out to tell a row's own fault from the table's.
const WITNESSES: usize = 8;

/// Delivers batches: smaller ones while the server is slow, single rows where it refuses.
pub(crate) struct Delivery {
    server: Settings,
    courier: Courier,
    size: usize,
    /// A row that the server has taken.
    good: Option<PackRecord>,
    slowness: Outage<()>,
    notes: Arc<DeliveryNotes>,
}

impl Delivery {
    pub(crate) fn new(server: Settings, notes: Arc<DeliveryNotes>) -> Self {
        let courier = Courier::new(server.clone(), Deadlines::default());
        Self { server, courier, size: BATCH, good: None, slowness: Outage::begin(), notes }
    }

    /// Rows that a batch should have at present.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Connects, if it isn't connected.
    ///
    /// # Errors
    /// The database can't be reached, or has no table that will do.
    pub(crate) fn connect(&mut self) -> Result<(), Error> {
        let result = self.courier.connect();
        for note in self.courier.take_notes() {
            warn!("{}: {note}", self.server);
        }
        result
    }

    /// Delivers `batch` in its order. Rows that are refused for what is in them, while others pass,
    /// go to `set_aside`.
    ///
    /// # Errors
    /// The server is away, or there is something to mend; the same rows are to be delivered again
    /// then. Or `set_aside` had an error.
    pub(crate) fn deliver<E: From<Error>>(
        &mut self,
        batch: &[PackRecord],
        mut set_aside: impl FnMut(&PackRecord, &Error) -> Result<(), E>,
    ) -> Result<Delivered, E> {
        let mut sum = Delivered::default();
        let mut rest = batch;
        // Less than `self.size` while a row that is refused is searched for.
        let mut size = self.size;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(size.min(rest.len()));
            match self.courier.deliver(part) {
                Ok(Delivered { added, known }) => {
                    sum.added += added;
                    sum.known += known;
                    if part.len() == self.size {
                        self.size = (self.size + self.size.div_ceil(4)).min(BATCH);
                    }
                    self.good = part.last().cloned();
                    self.notes.gets_on();
                    rest = behind;
                    size = (size * 2).min(self.size);
                }
                Err(error) if error.is_too_slow() && part.len() > 1 => {
                    size = part.len().div_ceil(PARTS);
                    self.is_slow(size, &error);
                    // Without an answer nothing is known but that it took too long.
                    if error.sqlstate().is_none() {
                        return Err(error.into());
                    }
                }
                Err(error) if error.retry() == Retry::Row && part.len() > 1 => {
                    size = part.len().div_ceil(2);
                }
                Err(error)
                    if error.retry() == Retry::Row && self.others_pass(&part[0], batch)? =>
                {
                    set_aside(&part[0], &error)?;
                    self.notes.gets_on();
                    rest = behind;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sum)
    }

    fn is_slow(&mut self, size: usize, error: &Error) {
        self.size = size;
        if self.slowness.is_news(()) {
            warn!("{}; going on with {size} rows at a time", text::chain(error));
        }
    }

    /// Whether the server still takes other rows than `refused`. If it takes none, something is
    /// wrong with the table.
    fn others_pass(&mut self, refused: &PackRecord, batch: &[PackRecord]) -> Result<bool, Error> {
        let others = batch.iter().filter(|record| *record != refused).take(WITNESSES);
        for record in self.good.iter().chain(others) {
            match self.courier.probe(record) {
                Ok(()) => return Ok(true),
                Err(error) if error.retry() == Retry::Row => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
