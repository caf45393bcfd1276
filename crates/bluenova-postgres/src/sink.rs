//! The public type: sizes of batches, and how a refused one is narrowed down.

use std::{collections::HashSet, ops::Range, sync::Arc};

use bluenova_record::{ErrorChain, PackRecord};
use time::UtcDateTime;

use crate::{
    Deadlines, Error, Retry, Settings,
    connection::{self, Connection},
    insert::{Inserted, TableIdentity},
    table::IfMissing,
};

/// Rows in one transaction at most.
pub const BATCH: usize = 1000;

/// Divisor of the size of a batch that the server was too slow for.
const SLOW_DIVISOR: usize = 8;

const SWALLOWED: &str = "a trigger or a rule of battery_pack swallows rows: they are neither added \
                         nor refused (a trigger that returns NULL does that). They count as \
                         delivered; mend the trigger if that is not on purpose";

/// Other rows of the batch that are probed at most before a row is rejected or held.
const MAX_PROBES: usize = 8;

/// The `battery_pack` table of a PostgreSQL database, into which rows are delivered.
///
/// It connects by itself. Every connect and every transaction has a deadline, whatever the server
/// does. A connection that doesn't answer in time is given up: it ends once its server answers
/// after all or its line breaks, and commits nothing more, unless its commit was on its way
/// already. A host on which a connect hangs is tried last, where there are several.
///
/// Dropping it waits for nothing.
pub struct Sink {
    connection: Connection,
    /// Rows that a batch should have: fewer than [`BATCH`] while the server is slow.
    batch_size: usize,
    /// Rows of the next transaction: fewer than a batch's while a refused row is searched for.
    step: usize,
    /// The last row that the server has accepted, to be probed.
    accepted: Option<PackRecord>,
    /// Whether rows were swallowed.
    has_swallowed: bool,
    /// The table of the last transaction, and the one that has all rows, as far as was checked.
    table: Option<TableIdentity>,
    checked_table: Option<TableIdentity>,
}

/// Outcome of one step of a delivery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    /// Rows that are dealt with: those added, known or swallowed, and the one rejected.
    pub rows: usize,
    /// Rows that are new in the table.
    pub added: u64,
    /// Rows that were in the table already, or came earlier in the same transaction.
    pub known: u64,
    /// Rows that the table didn't have, and that were not added all the same, nor rejected: a
    /// trigger or a rule of the table swallowed them. It comes with a warning, once.
    pub swallowed: u64,
    /// Why the first row was rejected, which then is the only one dealt with. It is alone at fault,
    /// and should be set aside.
    pub rejected: Option<Rejected>,
    /// Why the batch was cut down to fewer rows, which the next ones have too: the server's answer
    /// that a statement took too long. An answer that never came is an error instead.
    pub too_slow: Option<String>,
}

/// Why the server refuses a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The server's code.
    pub sqlstate: String,
    /// The error's whole text, on one line.
    pub reason: String,
    /// Whether a person can mend what keeps the row out, such as a partition that is missing: then
    /// it should be delivered again later.
    pub is_mendable: bool,
}

impl Sink {
    /// Number of connections that were given up and may hang at a time. While so many hang, new
    /// ones are made only to hosts on which none hangs.
    pub const MAX_STUCK: usize = connection::MAX_STUCK;

    /// A sink that isn't connected yet.
    pub fn new(settings: Settings, deadlines: Deadlines) -> Self {
        Self::with(Connection::new(settings, deadlines, IfMissing::Create))
    }

    /// A sink that changes nothing in the database as long as rows are only probed. Where the table
    /// is missing it tries to create it, in a transaction that is rolled back; a warning says so,
    /// and [`probe`](Self::probe) succeeds then.
    pub fn dry_run(settings: Settings, deadlines: Deadlines) -> Self {
        Self::with(Connection::new(settings, deadlines, IfMissing::TryToCreate))
    }

    fn with(connection: Connection) -> Self {
        Self {
            connection,
            batch_size: BATCH,
            step: BATCH,
            accepted: None,
            has_swallowed: false,
            table: None,
            checked_table: None,
        }
    }

    /// Connects, if it isn't connected, and creates the table and its index where they are missing.
    ///
    /// # Errors
    /// The database can't be reached, doesn't answer in time or refuses the connection; it has no
    /// table with our columns and doesn't let us create it; or too many connections hang, which is
    /// an error at once.
    pub fn connect(&mut self) -> Result<(), Error> {
        self.connection.connect()
    }

    /// Delivers rows from the front of `rows[from..]`, in their order, in one transaction: as many
    /// as the server takes at present, at least one. The outcome says how many are dealt with; call
    /// again with the rest. Connects, if it isn't connected.
    ///
    /// A batch that the server refuses because of a row in it is narrowed down, until that row is
    /// refused alone. It is rejected if the server still accepts other rows; if it accepts none,
    /// the table is at fault, and the error is returned. A batch that the server is too slow for is
    /// cut down; the following ones grow again. A call tries some twenty transactions at most.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) has them, and whatever the server objects to; no row is dealt
    /// with then, and [`Error::retry`] says what to do. The server may have added the rows all the
    /// same where its answer was lost: deliver the same rows again, which adds nothing twice.
    pub fn deliver(&mut self, rows: &Arc<[PackRecord]>, from: usize) -> Result<Delivered, Error> {
        let mut too_slow = None;
        let mut looked_again = 0;
        loop {
            let count = rows.len().saturating_sub(from).min(self.step);
            if count == 0 {
                return Ok(Delivered::default());
            }
            // On its own, for an error of the connect is never about the rows, whatever its code.
            self.connection.connect()?;
            let error = match self.connection.insert(rows, from..from + count) {
                Ok(Inserted { added, swallowed, table, .. }) => {
                    self.table = table;
                    self.record_success(&rows[from..from + count]);
                    if swallowed > 0 && !self.has_swallowed {
                        self.has_swallowed = true;
                        self.connection.warn(SWALLOWED.to_owned());
                    }
                    let known = (count as u64).saturating_sub(added + swallowed);
                    let rejected = None;
                    return Ok(Delivered {
                        rows: count,
                        added,
                        known,
                        swallowed,
                        rejected,
                        too_slow,
                    });
                }
                Err(error) => error,
            };
            // Another program, without our locks or by way of another server, may have added rows
            // meanwhile; now they are visible. Before a row is rejected, it is looked for again.
            if error.sqlstate() == Some("23505") && looked_again < if count == 1 { 2 } else { 1 } {
                looked_again += 1;
                continue;
            }
            if error.is_too_slow() && count > 1 {
                self.batch_size = count.div_ceil(SLOW_DIVISOR);
                self.step = self.batch_size;
                // Without an answer the server may be frozen, and needs the caller's back-off.
                if error.sqlstate().is_none() {
                    return Err(error);
                }
                too_slow = Some(ErrorChain(&error).to_string());
            } else if error.retry() == Retry::Row && count > 1 {
                self.step = count.div_ceil(2);
            } else if error.retry() == Retry::Row && self.accepts_others(rows, from, &error)? {
                let rejected = Some(Rejected::because(&error));
                return Ok(Delivered { rows: 1, rejected, too_slow, ..Delivered::default() });
            } else {
                return Err(error);
            }
        }
    }

    /// Checks whether a row like `record` would be accepted: inserts it at a time close by, at
    /// which there is none yet, and rolls the transaction back. Connects, if it isn't connected.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver) has them.
    pub fn probe(&mut self, record: &PackRecord) -> Result<(), Error> {
        self.connection.probe(record)
    }

    /// Looks for rows that were delivered, and returns the index of the first one that is missing:
    /// the table doesn't have it, and would have it if it were delivered again. Rows that a trigger
    /// swallows are not missing. Nothing is changed. Connects, if it isn't connected.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) has them, and whatever the server objects to but the rows.
    pub fn find_missing(&mut self, rows: &Arc<[PackRecord]>) -> Result<Option<usize>, Error> {
        if rows.is_empty() {
            return Ok(None);
        }
        let Inserted { first_missing, table, .. } = self.connection.find_missing(rows)?;
        if table.is_some() {
            if self.checked_table.is_none() {
                self.checked_table.clone_from(&table);
            }
            self.table = table;
        }
        Ok(first_missing)
    }

    /// Whether the table in which rows were last delivered or looked for isn't the one that was
    /// [checked](Self::table_is_checked), or its server isn't: rows that were delivered before may
    /// be missing. `false` promises nothing. Before any check, the first table in which rows are
    /// looked for counts as checked.
    ///
    /// So it is after the table was dropped, truncated or rewritten, and after a failover.
    pub fn has_table_changed(&self) -> bool {
        self.table != self.checked_table
    }

    /// Takes the table in which rows were last delivered or looked for as checked.
    pub fn table_is_checked(&mut self) {
        self.checked_table.clone_from(&self.table);
    }

    /// The times of the rows that a battery has in the table in `times`, which includes its start,
    /// not its end; in no order. Connects, if it isn't connected.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) has them, and whatever the server objects to.
    pub fn times(
        &mut self,
        mcu_id: u32,
        times: Range<UtcDateTime>,
    ) -> Result<Vec<UtcDateTime>, Error> {
        self.connection.times(mcu_id, times)
    }

    /// What the owner of a table that was there before could do to have a unique index: statements
    /// to run. `None` if it has one, or can't have any. Connects, if it isn't connected.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) has them, and whatever the server objects to.
    pub fn index_advice(&mut self) -> Result<Option<String>, Error> {
        self.connection.index_advice()
    }

    /// Number of rows that a batch should have at present: [`BATCH`], or fewer while the server is
    /// slow.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Warnings for people about new connections, handed out once.
    pub fn take_warnings(&mut self) -> Vec<String> {
        self.connection.take_warnings()
    }

    /// Number of connections that were given up and still hang.
    pub fn stuck(&self) -> usize {
        self.connection.stuck()
    }

    /// Whether there is a connection. It may have broken since its last use.
    pub fn is_connected(&self) -> bool {
        self.connection.is_connected()
    }

    fn record_success(&mut self, rows: &[PackRecord]) {
        if rows.len() == self.batch_size {
            self.batch_size = (self.batch_size + self.batch_size.div_ceil(4)).min(BATCH);
        }
        self.step = (self.step * 2).min(self.batch_size);
        self.accepted = rows.last().cloned();
    }

    /// Whether the server still accepts other rows than the one at `refused`. If it accepts none,
    /// the table is at fault.
    fn accepts_others(
        &mut self,
        rows: &[PackRecord],
        refused: usize,
        error: &Error,
    ) -> Result<bool, Error> {
        let row = &rows[refused];
        let mut others: Vec<_> = self.accepted.iter().collect();
        if error.is_about_partitions() {
            // An older row may be in a partition that no new row comes to.
            others.retain(|accepted| accepted.insert_time_utc >= row.insert_time_utc);
            others.extend(newest_of_each_battery(&rows[refused + 1..]).take(MAX_PROBES));
        } else {
            others.extend(rows.iter().filter(|other| *other != row).take(MAX_PROBES));
        }
        for row in others {
            match self.connection.probe(row) {
                Ok(()) => return Ok(true),
                Err(error) if error.retry() == Retry::Row => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl Rejected {
    /// Why the error's row, which alone is at fault, is rejected.
    pub fn because(error: &Error) -> Self {
        Self {
            sqlstate: error.sqlstate().unwrap_or_default().to_owned(),
            reason: ErrorChain(error).to_string(),
            is_mendable: error.is_about_partitions(),
        }
    }
}

/// The last row of each battery, the last one first.
fn newest_of_each_battery(rows: &[PackRecord]) -> impl Iterator<Item = &PackRecord> {
    let mut seen = HashSet::new();
    rows.iter().rev().filter(move |row| seen.insert(row.mcu_id))
}
