//! `bluenovalistener set-aside`: the rows that PostgreSQL refused for what is in them. It works
//! while a listener is running.

use std::{env, error::Error};

use bluenova_journal::SetAside;
use bluenova_postgres::{Courier, Deadlines, Retry};

use crate::{
    args::{self, Args},
    settings::{Settings, Store},
    text,
};

/// Lists them, or delivers them again.
///
/// # Errors
/// There is no such journal, or the database can't be reached; or, delivering again, not all rows
/// have passed.
pub(crate) fn run(args: &Args, options: &args::SetAside) -> Result<(), Box<dyn Error>> {
    let settings = Settings::resolve(args, |name| env::var(name).ok())?;
    let Store::Postgres { server, journal, .. } = settings.store else {
        return Err("with -d sqlite:PATH no row is ever set aside".into());
    };
    let mut set_aside = SetAside::open(&journal)?;
    let rows = set_aside.rows()?;
    if rows.is_empty() {
        text::print("no row is set aside\n");
        return Ok(());
    }
    let mut courier = options.retry.then(|| Courier::new(*server, Deadlines::default()));
    let mut refused = 0;
    for row in &rows {
        let again = courier.as_mut().map(|courier| courier.deliver([row.record.clone()]));
        let finding = match again {
            None => row.message.clone(),
            Some(Ok(_)) => {
                set_aside.remove(&row.record)?;
                "delivered".to_owned()
            }
            Some(Err(error)) if error.retry() != Retry::Row => return Err(error.into()),
            Some(Err(error)) => {
                refused += 1;
                text::chain(&error)
            }
        };
        let (stamp, id) = (text::timestamp(row.record.insert_time_utc), row.record.mcu_id);
        text::print(&format!("{stamp}  {id:08X}  {}\n", text::escaped(&finding)));
    }
    if refused > 0 {
        Err(format!("{refused} of {} rows are still refused", rows.len()).into())
    } else {
        Ok(())
    }
}
