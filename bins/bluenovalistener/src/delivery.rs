//! How a batch is cut down where PostgreSQL doesn't take it as a whole.

use bluenova_postgres::{Courier, Deadlines, Delivered, Error, Retry, Settings};
use bluenova_record::PackRecord;
use log::warn;

use crate::text;

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
}

impl Delivery {
    pub(crate) fn new(server: Settings) -> Self {
        let courier = Courier::new(server.clone(), Deadlines::default());
        Self { server, courier, size: BATCH, good: None }
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

    /// Delivers `records` in their order. Those that are refused for what is in them, while others
    /// pass, go to `set_aside`.
    ///
    /// # Errors
    /// The server is away, or there is something to mend; the same records are to be delivered
    /// again then. Or `set_aside` had an error.
    pub(crate) fn deliver<E: From<Error>>(
        &mut self,
        records: &[PackRecord],
        set_aside: &mut impl FnMut(&PackRecord, &Error) -> Result<(), E>,
    ) -> Result<Delivered, E> {
        self.deliver_part(records, records, set_aside)
    }

    /// `batch` is what `part` was cut from.
    fn deliver_part<E: From<Error>>(
        &mut self,
        part: &[PackRecord],
        batch: &[PackRecord],
        set_aside: &mut impl FnMut(&PackRecord, &Error) -> Result<(), E>,
    ) -> Result<Delivered, E> {
        let error = match self.courier.deliver(part) {
            Ok(delivered) => {
                self.size = (self.size * 2).min(BATCH);
                self.good = part.last().cloned();
                return Ok(delivered);
            }
            Err(error) => error,
        };
        let smaller = match part {
            [_, _, ..] if error.is_too_slow() => part.len().div_ceil(PARTS),
            [_, _, ..] if error.retry() == Retry::Row => part.len().div_ceil(2),
            [record] if error.retry() == Retry::Row && self.others_pass(record, batch)? => {
                set_aside(record, &error)?;
                return Ok(Delivered::default());
            }
            _ => return Err(error.into()),
        };
        if error.is_too_slow() {
            self.size = smaller;
            let error = text::chain(&error);
            warn!("{error}; going on with {smaller} rows at a time");
        }
        let mut sum = Delivered::default();
        for part in part.chunks(smaller) {
            let Delivered { added, known } = self.deliver_part(part, batch, set_aside)?;
            sum.added += added;
            sum.known += known;
        }
        Ok(sum)
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
