//! `bluenovalistener set-aside`: the rows that PostgreSQL rejected. It works while a listener is
//! running.

use std::{error::Error, sync::Arc};

use bluenova_journal::{SetAside, SetAsideRow};
use bluenova_postgres::{Deadlines, Retry, Sink};
use bluenova_record::{ErrorChain, Escaped, Timestamp};

use crate::{
    args::{self, Args},
    console,
};

/// Lists the rows that are set aside, or delivers them again.
///
/// # Errors
/// There is no such journal, or the database can't be reached; or, delivering again, some rows were
/// rejected again.
pub(crate) fn run(args: &Args, options: &args::SetAside) -> Result<(), Box<dyn Error>> {
    let without_server =
        "with -d sqlite:PATH no row is ever set aside: only PostgreSQL rejects rows";
    let (server, journal) = super::server_and_journal(args, "set-aside", without_server)?;
    let mut set_aside = SetAside::open(&journal)?;
    let rows = set_aside.rows()?;
    if rows.is_empty() {
        console::print("no row is set aside\n");
        return Ok(());
    }
    if !options.retry {
        for row in &rows {
            let how = if row.is_retried { "waits, and is retried: " } else { "" };
            print(row, &format!("{how}{}", row.message));
        }
        return Ok(());
    }
    let mut sink = Sink::new(*server, Deadlines::default());
    let mut rejected = 0;
    for row in &rows {
        let again = match sink.deliver(&Arc::from([row.record.clone()]), 0) {
            Ok(delivered) => delivered.rejected.map(|rejected| rejected.reason),
            // Without another row to probe the sink can't say whether this one alone is at fault.
            Err(error) if error.retry() == Retry::Row => Some(ErrorChain(&error).to_string()),
            Err(error) => return Err(error.into()),
        };
        if let Some(reason) = again {
            rejected += 1;
            print(row, &reason);
        } else {
            set_aside.remove(&row.record)?;
            print(row, "delivered");
        }
    }
    if rejected > 0 {
        let total = console::rows(rows.len() as u64);
        return Err(format!("PostgreSQL still rejects {rejected} of {total}").into());
    }
    Ok(())
}

fn print(row: &SetAsideRow, finding: &str) {
    let (time, id) = (Timestamp(row.record.insert_time_utc), row.record.mcu_id);
    console::print(&format!("{time} UTC  {id:08X}  {}\n", Escaped(finding)));
}
