//! `bluenovalistener resend`: delivers the rows of the journal again. It works while a listener is
//! running.

use std::{
    error::Error,
    io::{self, Write},
};

use bluenova_journal::{Batch, JournalRows, Sequence};
use bluenova_postgres::{Deadlines, Delivered, Retry, Sink};
use bluenova_record::{ErrorChain, Escaped, PackRecord, Timestamp};
use indicatif::ProgressBar;
use time::UtcDateTime;

use crate::{
    args::{self, Args},
    console::{self, progress_bar, rows},
    settings::time_argument,
};

/// Rejected rows that are listed; the others are only counted.
const MAX_LISTED: u64 = 10;

/// Delivers the journal's rows, from the oldest on, and says how many the table lacked. Those that
/// are set aside are left out.
///
/// # Errors
/// There is no such journal, the database can't be reached, or it has rejected a row.
pub(crate) fn run(args: &Args, options: &args::Resend) -> Result<(), Box<dyn Error>> {
    let without_server = "with -d sqlite:PATH there is no server to send rows to";
    let (server, journal) = super::server_and_journal(args, "resend", without_server)?;
    let since = options.since.as_deref();
    let since = since.map(|since| time_argument("--since", since, UtcDateTime::now()));
    let since = since.transpose()?;
    let journal = JournalRows::open(&journal)?;
    let before = since.map(|since| journal.before(since));
    let before = before.transpose()?.unwrap_or_default();
    let total = journal.count_after(before)?;
    let name = server.to_string();
    let mut sink = Sink::new(*server, Deadlines::default());
    sink.connect()?;

    let mut delivery = Delivery { sink, bar: progress_bar(total), missing: 0, rejected: 0 };
    let ended = delivery.deliver_all(&journal, before, total);
    delivery.bar.finish_and_clear();
    let Delivery { missing, rejected, .. } = delivery;
    if ended.is_err() {
        say(&format!("so far, {}", what_was_missing(missing, rejected, &name)));
    }
    ended?;
    let from = since.map(|since| format!(" from {} UTC on", Timestamp(since)));
    let from = from.unwrap_or_default();
    let found = match total {
        0 => format!("there is no row{from} in the journal"),
        _ => format!(
            "{}{from} in the journal; {}",
            rows(total),
            what_was_missing(missing, rejected, &name)
        ),
    };
    console::print(&(found + "\n"));
    if rejected > 0 {
        return Err(format!("PostgreSQL has rejected {}", rows(rejected)).into());
    }
    Ok(())
}

/// How many of the rows the table lacked, for a sentence.
fn what_was_missing(missing: u64, rejected: u64, server: &str) -> String {
    match (missing, rejected) {
        (0, 0) => format!("none was missing in {server}"),
        (0, _) => format!("none could be added to {server}"),
        (1, _) => format!("1 was missing in {server}, and is there now"),
        _ => format!("{missing} were missing in {server}, and are there now"),
    }
}

/// The delivery of all rows.
struct Delivery {
    sink: Sink,
    bar: ProgressBar,
    missing: u64,
    rejected: u64,
}

impl Delivery {
    fn deliver_all(
        &mut self,
        journal: &JournalRows,
        mut after: Sequence,
        total: u64,
    ) -> Result<(), Box<dyn Error>> {
        loop {
            let batch = journal.after(after, self.sink.batch_size())?;
            if batch.last == after {
                return Ok(());
            }
            self.deliver(&batch)?;
            after = batch.last;
            self.bar.set_position(total.saturating_sub(journal.count_after(after)?));
        }
    }

    fn deliver(&mut self, batch: &Batch) -> Result<(), bluenova_postgres::Error> {
        let mut done = 0;
        while let Some(record) = batch.records.get(done) {
            let delivered = self.sink.deliver(&batch.records, done);
            for warning in self.sink.take_warnings() {
                self.bar.suspend(|| say(&warning));
            }
            match delivered {
                Ok(Delivered { rejected: Some(why), .. }) => self.reject(record, &why.reason),
                // Without another row to probe the sink can't say whether this one is at fault.
                Err(error) if error.retry() == Retry::Row => {
                    self.reject(record, &ErrorChain(&error).to_string());
                }
                Ok(delivered) => {
                    self.missing += delivered.added;
                    done += delivered.rows;
                    continue;
                }
                Err(error) => return Err(error),
            }
            done += 1;
        }
        Ok(())
    }

    fn reject(&mut self, record: &PackRecord, reason: &str) {
        self.rejected += 1;
        if self.rejected <= MAX_LISTED {
            self.bar.suspend(|| list(record, reason));
        }
    }
}

fn list(record: &PackRecord, reason: &str) {
    let (time, id) = (Timestamp(record.insert_time_utc), record.mcu_id);
    say(&format!("{time} UTC  {id:08X}  {}", Escaped(reason)));
}

fn say(text: &str) {
    // If standard error is closed, the rows are delivered all the same.
    let _ = writeln!(io::stderr(), "bluenovalistener: {text}");
}
