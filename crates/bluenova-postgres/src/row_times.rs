//! Which rows the table has, for a program that changes nothing.

use std::{
    ops::{ControlFlow, Range},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
};

use bluenova_record::TABLE;
use postgres::{
    Client,
    fallible_iterator::FallibleIterator,
    types::{ToSql, Type},
};
use time::{PrimitiveDateTime, UtcDateTime};

use crate::{
    Deadlines, Error, Settings,
    connect::{self, Session},
    error::{CONNECTING, Cause, READING},
    insert::timestamp,
};

/// Rows that go from the connection's thread to the caller at a time.
const ROWS: usize = 1000;

/// Such parts that wait for the caller.
const PARTS: usize = 4;

/// Time and battery of some rows.
type Part = Vec<(UtcDateTime, u32)>;

/// Calls `each` with the time and the battery of each row of the table in `times`, in the order of
/// time. `times` includes its start, not its end. [`ControlFlow::Break`] ends it early.
///
/// It needs no right but that to read, and as much memory for a year as for a day. Connecting and
/// each part of the answer have a deadline; an index on the time, where there is none, has to be
/// made up for within it.
///
/// # Errors
/// The database can't be reached, doesn't answer in time or refuses; or it has no such table.
pub fn row_times(
    settings: &Settings,
    deadlines: Deadlines,
    times: Range<UtcDateTime>,
    mut each: impl FnMut(UtcDateTime, u32) -> ControlFlow<()>,
) -> Result<(), Error> {
    let (to_caller, parts) = mpsc::sync_channel(PARTS);
    let for_thread = settings.clone();
    // A server that hangs keeps the thread, not the caller.
    let read = move || {
        if let Err(error) = read(&for_thread, times, &to_caller) {
            let _ = to_caller.send(Err(error));
        }
    };
    let error = |doing, cause| Error::new(doing, &settings.to_string(), cause);
    let thread = thread::Builder::new().name("postgres".to_owned()).spawn(read);
    thread.map_err(|e| error(CONNECTING, Cause::NoThread(e)))?;
    // The first part is empty: there is a session.
    let mut limit = deadlines.connect;
    loop {
        match next(&parts, limit) {
            Ok(None) => return Ok(()),
            Ok(Some(part)) => {
                for (time, mcu_id) in part? {
                    if each(time, mcu_id).is_break() {
                        return Ok(());
                    }
                }
            }
            Err(cause) => return Err(error(READING, cause)),
        }
        limit = deadlines.deliver;
    }
}

/// The next part; `None` at the end.
fn next(
    parts: &Receiver<Result<Part, Error>>,
    limit: std::time::Duration,
) -> Result<Option<Result<Part, Error>>, Cause> {
    match parts.recv_timeout(limit) {
        Ok(part) => Ok(Some(part)),
        Err(RecvTimeoutError::Disconnected) => Ok(None),
        Err(RecvTimeoutError::Timeout) => Err(Cause::NoAnswer(limit)),
    }
}

/// Sends the rows; ends early if the caller is gone.
fn read(
    settings: &Settings,
    times: Range<UtcDateTime>,
    parts: &SyncSender<Result<Part, Error>>,
) -> Result<(), Error> {
    let session = connect::connect(settings, settings.hosts(), |_| true)?;
    let Session { mut client, target, .. } = session;
    if parts.send(Ok(vec![])).is_err() {
        return Ok(());
    }
    send_rows(&mut client, times, parts).map_err(|e| Error::new(READING, &target, e))
}

fn send_rows(
    client: &mut Client,
    times: Range<UtcDateTime>,
    parts: &SyncSender<Result<Part, Error>>,
) -> Result<(), postgres::Error> {
    let mut transaction = client.build_transaction().read_only(true).start()?;
    // For tables whose time stamps are WITH TIME ZONE.
    transaction.batch_execute("SET LOCAL TimeZone = 'UTC'")?;
    let sql = format!(
        "SELECT insert_time_utc::TIMESTAMP, mcu_id FROM {TABLE}
         WHERE insert_time_utc >= $1 AND insert_time_utc < $2 AND mcu_id IS NOT NULL
         ORDER BY {TABLE}.insert_time_utc"
    );
    let (from, to) = (timestamp(times.start), timestamp(times.end));
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&from, Type::TIMESTAMP), (&to, Type::TIMESTAMP)];
    // Unnamed, as a pooler would give a named statement to the next client.
    let mut rows = transaction.query_typed_raw(&sql, parameters)?;
    let mut part = Vec::with_capacity(ROWS);
    while let Some(row) = rows.next()? {
        let time: PrimitiveDateTime = row.try_get(0)?;
        // Rows of other programs may have any number.
        if let Ok(mcu_id) = u32::try_from(row.try_get::<_, i64>(1)?) {
            part.push((time.as_utc(), mcu_id));
        }
        if part.len() == ROWS && parts.send(Ok(std::mem::take(&mut part))).is_err() {
            return Ok(());
        }
    }
    let _ = parts.send(Ok(part));
    Ok(())
}
