//! What happened to a listener, as far as it explains why a row is missing.

use std::ops::Range;
use std::time::Duration;

use bluenova_record::{Timestamp, first_chars};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row};
use time::UtcDateTime;

use crate::value::parse_time;

/// Number of events that a journal keeps, the newest ones: some six megabytes. A start has two of
/// each battery, of which there may be thousands.
pub const MAX_EVENTS: u32 = 50_000;

/// Characters of a detail that are kept.
const DETAIL_CHARS: usize = 500;

/// The longest pause between two evictions that count as one event.
const SAME_EVICTION: time::Duration = time::Duration::HOUR;

/// Something that happened to a listener, or one of its batteries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, or began.
    pub since: UtcDateTime,
    /// Until when it lasted, for the kinds that last.
    pub until: Option<UtcDateTime>,
    /// What happened.
    pub kind: EventKind,
    /// Name of the battery that it is about, if it is about one.
    pub battery: Option<String>,
    /// MCU ID of that battery, if it is known.
    pub mcu_id: Option<u32>,
    /// Text for people: an error, say.
    pub detail: String,
}

/// Kind of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The listener started. It lasts until the last sign of life.
    Started,
    /// The listener ended in an orderly way.
    Stopped,
    /// The clock was not set, or was set forward by so much.
    ClockNotSet,
    /// A battery was added to those that the listener listens to.
    Added,
    /// A battery was removed from those that the listener listens to.
    Removed,
    /// A battery was connected to.
    Connected,
    /// A battery sent its MCU ID.
    Identified,
    /// A battery could not be connected to, or the connection was lost.
    NotConnected,
    /// A battery was connected to, and sent nothing.
    Silent,
    /// A battery sent lines, but no MCU ID.
    NoMcuId,
    /// Rows went to memory.
    InMemory,
    /// Rows went to the file that stands in for the journal.
    InStandIn,
    /// Rows went to the journal's file again.
    InFile,
    /// The rows of that time were deleted before they could be delivered.
    Evicted,
    /// The other database took no rows.
    ServerAway,
    /// The other database took rows again.
    ServerBack,
}

/// All kinds, and what the table calls them.
const KINDS: [(EventKind, &str); 16] = [
    (EventKind::Started, "started"),
    (EventKind::Stopped, "stopped"),
    (EventKind::ClockNotSet, "clock not set"),
    (EventKind::Added, "added"),
    (EventKind::Removed, "removed"),
    (EventKind::Connected, "connected"),
    (EventKind::Identified, "identified"),
    (EventKind::NotConnected, "not connected"),
    (EventKind::Silent, "silent"),
    (EventKind::NoMcuId, "no MCU ID"),
    (EventKind::InMemory, "in memory"),
    (EventKind::InStandIn, "in stand-in"),
    (EventKind::InFile, "in file"),
    (EventKind::Evicted, "evicted"),
    (EventKind::ServerAway, "server away"),
    (EventKind::ServerBack, "server back"),
];

impl EventKind {
    /// What the table calls it.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn of_name(name: &str) -> Option<Self> {
        KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

impl Event {
    /// An event of the listener.
    pub fn new(since: UtcDateTime, kind: EventKind, detail: impl Into<String>) -> Self {
        Self { since, until: None, kind, battery: None, mcu_id: None, detail: detail.into() }
    }

    /// The start of a listener of that version, with intervals of `interval`.
    pub fn started(since: UtcDateTime, version: &str, interval: Duration) -> Self {
        let seconds = interval.as_secs();
        let detail = format!("version {version}{EVERY}{seconds}{SECONDS}");
        Self::new(since, EventKind::Started, detail)
    }

    /// Length of the intervals of the listener that started.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let (_, every) = self.detail.split_once(EVERY)?;
        let seconds = every.strip_suffix(SECONDS)?.parse().ok()?;
        (self.kind == EventKind::Started).then_some(Duration::from_secs(seconds))
    }
}

/// Before and behind the length of an interval in the detail of a start.
const EVERY: &str = ", a row every ";
const SECONDS: &str = " s";

/// The events of a journal, in the order of their beginning; none in journals of older versions.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Vec<Event>> {
    if !connection.table_exists(Some("main"), "event")? {
        return Ok(vec![]);
    }
    let mut select = connection.prepare_cached(
        "SELECT since, until, kind, battery, mcu_id, detail FROM event ORDER BY since, number",
    )?;
    let mut rows = select.query(())?;
    let mut events = vec![];
    while let Some(row) = rows.next()? {
        events.extend(read_row(row));
    }
    Ok(events)
}

/// The events of one kind, in the order of their beginning.
fn read_kind(connection: &Connection, kind: EventKind) -> rusqlite::Result<Vec<Event>> {
    if !connection.table_exists(Some("main"), "event")? {
        return Ok(vec![]);
    }
    let mut select = connection.prepare_cached(
        "SELECT since, until, kind, battery, mcu_id, detail FROM event
         WHERE kind = ? ORDER BY since, number",
    )?;
    let events = select.query_map([kind.name()], |row| Ok(read_row(row)))?;
    events.filter_map(Result::transpose).collect()
}

fn read_row(row: &Row<'_>) -> Option<Event> {
    read_event(|i| row.get_ref(i).ok())
}

/// The event that has these values in its columns; `None` if its time or kind is damaged, or if the
/// kind is one of a newer version.
pub(crate) fn read_event<'a>(value: impl Fn(usize) -> Option<ValueRef<'a>>) -> Option<Event> {
    let text = |i| value(i)?.as_str().ok();
    let time = |i| parse_time(text(i)?.as_bytes());
    Some(Event {
        since: time(0)?,
        until: time(1),
        kind: EventKind::of_name(text(2)?)?,
        battery: text(3).filter(|name| !name.is_empty()).map(str::to_owned),
        mcu_id: value(4).and_then(|value| u32::try_from(value.as_i64().ok()?).ok()),
        detail: text(5).unwrap_or_default().to_owned(),
    })
}

/// The longest interval of the listeners that ran in `times`: of those that started in there, and
/// of the last one that started before.
pub(crate) fn longest_interval(
    connection: &Connection,
    times: &Range<UtcDateTime>,
) -> rusqlite::Result<Option<Duration>> {
    let (mut before, mut within) = (None, None);
    for started in read_kind(connection, EventKind::Started)? {
        if started.since <= times.start {
            before = started.interval();
        } else if started.since < times.end {
            within = within.max(started.interval());
        }
    }
    Ok(before.max(within))
}

/// Stores events, and deletes the oldest ones if there are too many. One that is there already,
/// by time, kind and battery, lasts as long as the longer one of the two.
pub(crate) fn put(connection: &Connection, events: &[Event]) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(
        "INSERT INTO event (since, until, kind, battery, mcu_id, detail)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (since, kind, battery) DO UPDATE
         SET until = nullif(max(coalesce(until, ''), coalesce(excluded.until, '')), '')",
    )?;
    for event in events {
        put_one(&mut put, event)?;
    }
    connection
        .prepare_cached("DELETE FROM event WHERE number <= (SELECT max(number) FROM event) - ?")?
        .execute([MAX_EVENTS])?;
    Ok(())
}

fn put_one(put: &mut CachedStatement<'_>, event: &Event) -> rusqlite::Result<()> {
    put.execute((
        Timestamp(event.since).to_string(),
        event.until.map(|until| Timestamp(until).to_string()),
        event.kind.name(),
        event.battery.as_deref().unwrap_or_default(),
        event.mcu_id,
        first_chars(&event.detail, DETAIL_CHARS),
    ))?;
    Ok(())
}

/// Notes that the rows in `history` after `delivered`, up to `last`, are about to be deleted.
pub(crate) fn put_evicted(
    connection: &Connection,
    delivered: i64,
    last: i64,
    detail: &str,
) -> rusqlite::Result<()> {
    let span: (Option<String>, Option<String>) = connection
        .prepare_cached(
            "SELECT min(insert_time_utc), max(insert_time_utc) FROM history
             WHERE sequence > ? AND sequence <= ?",
        )?
        .query_row((delivered, last), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let time = |text: Option<String>| parse_time(text?.as_bytes());
    let (Some(since), Some(until)) = (time(span.0), time(span.1)) else { return Ok(()) };
    let before = newest(connection, EventKind::Evicted)?;
    // Few rows go at a time, for as long as the other database is away.
    let continues = |before: &Event| {
        let end = before.until.unwrap_or(before.since);
        before.since <= since && since <= end.saturating_add(SAME_EVICTION)
    };
    let event = match before.filter(continues) {
        Some(before) => Event { until: Some(until), ..before },
        None => Event { until: Some(until), ..Event::new(since, EventKind::Evicted, detail) },
    };
    put(connection, &[event])
}

fn newest(connection: &Connection, kind: EventKind) -> rusqlite::Result<Option<Event>> {
    let mut select = connection.prepare_cached(
        "SELECT since, until, kind, battery, mcu_id, detail FROM event
         WHERE kind = ? ORDER BY number DESC LIMIT 1",
    )?;
    let mut rows = select.query([kind.name()])?;
    Ok(rows.next()?.and_then(read_row))
}
