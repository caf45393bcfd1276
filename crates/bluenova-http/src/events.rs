//! `/api/events` and `/api/batteries/{battery}/events`: what happened, and when.
//!
//! The listener records what happens to connections, server and journal. What the batteries report,
//! errors and breakers, and the intervals without a row are found in the rows.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use bluenova_journal::{Event, EventKind, Gap, GapCause, GapFinder, Reader, gaps_of};
use bluenova_record::{COLUMNS, Column, Escaped, McuId, Rfc3339, Value, errors_in, not_closed};
use bluenova_status::{Status, bank, duration};
use serde::Serialize;
use time::UtcDateTime;

use crate::HistoryError;
use crate::gaps::ROW_IS_DUE;
use crate::history::times_of;
use crate::query::Query;

const PARAMETERS: [&str; 3] = ["from", "to", "limit"];

/// Length of the time that is looked at by default.
const DEFAULT_LENGTH: time::Duration = time::Duration::WEEK;
const DEFAULT_LIMIT: u32 = 200;
const MOST_EVENTS: u32 = 1000;

/// Number of batteries whose rows are read for the events of all: beyond it that would take long.
const MOST_WITH_ROWS: usize = 16;

/// Time before the first row asked for in which a row tells what was reported before.
const LOOK_BACK: time::Duration = time::Duration::HOUR;

/// Events, the newest one first.
#[derive(Debug, Serialize)]
pub(crate) struct Events {
    from: Rfc3339,
    to: Rfc3339,
    /// Whether what the rows show is among them.
    has_rows: bool,
    events: Vec<EventJson>,
    /// There may be older ones: those with this for `to`.
    older_to: Option<Rfc3339>,
}

#[derive(Debug, Serialize)]
struct EventJson {
    time: Rfc3339,
    until: Option<Rfc3339>,
    battery: Option<McuId>,
    name: Option<String>,
    event: &'static str,
    text: String,
    /// Of a gap: the name of its cause.
    cause: Option<&'static str>,
    /// Of an event that is the cause of a gap: the gap's time.
    gap: Option<Rfc3339>,
}

/// A battery whose events are asked for.
#[derive(Clone, Debug)]
struct Battery {
    mcu_id: u32,
    names: Vec<String>,
}

/// The events that `query` asks for, of one battery and of the listener, or (`None`) of all.
///
/// Parameters are `from` and `to`, RFC 3339 times, by default the last week; and `limit`, the
/// number of events, of which the newest ones are in the answer.
///
/// # Errors
/// A parameter is invalid, or the journal can't be read.
pub(crate) fn events(
    journal: &Reader,
    mcu_id: Option<u32>,
    query: &[(String, String)],
    status: &Status,
) -> Result<Events, HistoryError> {
    let query = Query::new(query, &PARAMETERS)?;
    let times = times_of(query, status.now, DEFAULT_LENGTH)?;
    let limit = query.number("limit", 1..=MOST_EVENTS, DEFAULT_LIMIT)?;
    let recorded = journal.events()?;
    let batteries = batteries(status, mcu_id);
    let (mut found, mut gaps) = (vec![], vec![]);
    let has_rows = batteries.len() <= MOST_WITH_ROWS;
    for battery in batteries.iter().filter(|_| has_rows) {
        found.extend(battery.changes(journal, &times, limit)?);
        let of_battery = battery.gaps(journal, &times, limit, &recorded, status)?;
        gaps.extend(of_battery.into_iter().map(|gap| (battery, gap)));
    }
    let slack = signed(status.interval.saturating_mul(2));
    let recorded = recorded
        .iter()
        .filter(|event| mcu_id.is_none() || batteries.iter().any(|it| it.concerns(event)))
        .filter(|event| times.contains(&event.since))
        .filter_map(|event| {
            Some(EventJson { gap: gap_of(event, &gaps, slack), ..EventJson::recorded(event)? })
        });
    found.extend(recorded);
    found.extend(gaps.iter().map(|(battery, gap)| battery.gap_event(gap)));
    found.sort_by_key(|event| std::cmp::Reverse(event.time.0));
    let older_to = cut(&mut found, limit);
    Ok(Events {
        from: Rfc3339(times.start),
        to: Rfc3339(times.end),
        has_rows,
        events: found,
        older_to,
    })
}

/// The time of the gap that has this event as its cause. A gap begins with the first interval that
/// has no row, up to `slack` after it happened.
fn gap_of(event: &Event, gaps: &[(&Battery, Gap)], slack: time::Duration) -> Option<Rfc3339> {
    let is_of = |(battery, gap): &&(&Battery, Gap)| {
        let times = gap.from.saturating_sub(slack)..=gap.to;
        times.contains(&event.since) && gap.cause.is_said_by(event) && battery.concerns(event)
    };
    gaps.iter().find(is_of).map(|(_, gap)| Rfc3339(gap.from))
}

/// Leaves the newest `limit` events, and those of the same time as the last of them, so that none
/// is skipped by who asks for older ones. Returns that time if there are older ones.
fn cut(found: &mut Vec<EventJson>, limit: u32) -> Option<Rfc3339> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let last = found.get(limit.checked_sub(1)?)?.time;
    let length = found.partition_point(|event| event.time.0 >= last.0);
    if length == found.len() {
        return None;
    }
    found.truncate(length);
    Some(last)
}

/// The batteries of the listener; or the one with this MCU ID, which may be in the journal only.
fn batteries(status: &Status, mcu_id: Option<u32>) -> Vec<Battery> {
    let units = bank::units(status);
    let known = units.iter().filter_map(|unit| {
        let names = unit.batteries.iter().map(|battery| battery.name.clone()).collect();
        Some(Battery { mcu_id: unit.mcu_id()?, names })
    });
    let Some(mcu_id) = mcu_id else { return known.collect() };
    let one = known.into_iter().find(|battery| battery.mcu_id == mcu_id);
    vec![one.unwrap_or(Battery { mcu_id, names: vec![] })]
}

impl Battery {
    /// Whether an event is one of this battery, or of the listener.
    fn concerns(&self, event: &Event) -> bool {
        match (&event.battery, event.mcu_id) {
            (None, None) => true,
            (_, Some(mcu_id)) => mcu_id == self.mcu_id,
            (Some(name), None) => self.names.contains(name),
        }
    }

    fn event(&self, time: UtcDateTime, event: &'static str, text: String) -> EventJson {
        let (battery, name) = (Some(McuId(self.mcu_id)), self.names.first().cloned());
        let (time, until) = (Rfc3339(time), None);
        EventJson { time, until, battery, name, event, text, cause: None, gap: None }
    }

    fn gap_event(&self, gap: &Gap) -> EventJson {
        let length = Duration::try_from(gap.to - gap.from).unwrap_or_default();
        let text = format!("no rows for {}: {}", duration(length), gap.cause);
        let (until, cause) = (Some(Rfc3339(gap.to)), Some(gap.cause.name()));
        EventJson { until, cause, ..self.event(gap.from, "gap", text) }
    }

    /// Where the rows report other errors, or another state of the breaker, than the row before:
    /// the newest ones.
    fn changes(
        &self,
        journal: &Reader,
        times: &Range<UtcDateTime>,
        limit: u32,
    ) -> Result<VecDeque<EventJson>, HistoryError> {
        let columns: Vec<&Column> = ["errors", "breaker"]
            .iter()
            .filter_map(|name| COLUMNS.iter().find(|column| column.name == *name))
            .collect();
        // Without a row before, all was well.
        let mut before = [None, None];
        let mut found = VecDeque::new();
        let read = times.start.saturating_sub(LOOK_BACK)..times.end;
        journal.history(self.mcu_id, read, &columns, |time, values| {
            for ((n, last), value) in before.iter_mut().enumerate().zip(values) {
                let Some(Value::Text(text)) = *value else { continue };
                let bad = if n == 0 { errors_in(text) } else { not_closed(text) };
                if text.is_empty() || bad == last.as_deref() {
                    continue;
                }
                if times.contains(&time) {
                    let (event, text) = match (n, bad, last.as_deref()) {
                        (0, None, Some(last)) => {
                            ("errors", format!("no errors, after {}", Escaped(last)))
                        }
                        (0, ..) => ("errors", format!("the battery says: {}", Escaped(text))),
                        _ => ("breaker", format!("the breaker is {}", Escaped(text))),
                    };
                    push(&mut found, self.event(time, event, text), limit);
                }
                *last = bad.map(str::to_owned);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The intervals without a row, with the reason: the newest ones.
    fn gaps(
        &self,
        journal: &Reader,
        times: &Range<UtcDateTime>,
        limit: u32,
        recorded: &[Event],
        status: &Status,
    ) -> Result<VecDeque<Gap>, HistoryError> {
        let own: Vec<Event> = recorded.iter().filter(|it| self.concerns(it)).cloned().collect();
        // A gap that goes on behind `times` has its real end.
        let end = status.now.saturating_sub(ROW_IS_DUE);
        let mut found = VecDeque::new();
        let Some(first) = self.first_row(journal)? else { return Ok(found) };
        let asked = times.start.max(first.saturating_sub(signed(status.interval))).min(end)..end;
        let mut finder = GapFinder::new(status.interval, asked, &own, &[self.mcu_id], true);
        let mut missing = vec![];
        journal.history(self.mcu_id, finder.row_times(), &[], |time, _| {
            missing.extend(finder.row(self.mcu_id, time));
            ControlFlow::Continue(())
        })?;
        missing.extend(finder.end());
        let no_rows = |_, _| Ok::<_, bluenova_journal::Error>(vec![]);
        for (_, gap) in gaps_of(&finder, missing, no_rows)? {
            // Of the time before the first event nobody knows what happened, nor whether rows were
            // to come as often as now.
            if !times.contains(&gap.from) || gap.cause == GapCause::BeforeEvents {
                continue;
            }
            push(&mut found, gap, limit);
        }
        Ok(found)
    }

    /// The time of its first row in the journal: older ones were delivered, and aren't there any
    /// more.
    fn first_row(&self, journal: &Reader) -> Result<Option<UtcDateTime>, HistoryError> {
        let mut first = None;
        let ever = UtcDateTime::UNIX_EPOCH..UtcDateTime::MAX;
        journal.history(self.mcu_id, ever, &[], |time, _| {
            first = Some(time);
            ControlFlow::Break(())
        })?;
        Ok(first)
    }
}

/// Adds one, and drops the oldest one if there are more than can be in the answer.
fn push<T>(found: &mut VecDeque<T>, one: T, limit: u32) {
    found.push_back(one);
    // One more, so that the cut finds that there are older ones.
    if found.len() > usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1) {
        found.pop_front();
    }
}

impl EventJson {
    /// An event that the listener has recorded; `None` for those that say nothing to people.
    fn recorded(event: &Event) -> Option<Self> {
        let lasts = event.kind != EventKind::Started;
        Some(Self {
            time: Rfc3339(event.since),
            until: event.until.filter(|_| lasts).map(Rfc3339),
            battery: event.mcu_id.map(McuId),
            name: event.battery.clone(),
            event: name_of(event.kind)?,
            text: text_of(event),
            cause: None,
            gap: None,
        })
    }
}

fn name_of(kind: EventKind) -> Option<&'static str> {
    Some(match kind {
        EventKind::Started => "started",
        EventKind::Stopped => "stopped",
        EventKind::ClockNotSet => "clock_not_set",
        EventKind::Added => "added",
        EventKind::Removed => "removed",
        EventKind::Connected => "connected",
        EventKind::NotConnected => "not_connected",
        EventKind::Silent => "silent",
        EventKind::NoMcuId => "no_mcu_id",
        EventKind::InMemory => "in_memory",
        EventKind::InStandIn => "in_stand_in",
        EventKind::InFile => "in_file",
        EventKind::Evicted => "evicted",
        EventKind::ServerAway => "server_away",
        EventKind::ServerBack => "server_back",
        EventKind::Identified => return None,
    })
}

/// What happened, and the detail of it, which may come from a battery or a server.
fn text_of(event: &Event) -> String {
    let what = match event.kind {
        EventKind::Started => "the listener started",
        EventKind::Stopped => "the listener ended",
        EventKind::ClockNotSet => "times are uncertain",
        EventKind::Added => "listened to from now on",
        EventKind::Removed => "not listened to any more",
        EventKind::Connected => "connected",
        EventKind::Identified => "the MCU ID is known",
        EventKind::NotConnected => "no connection",
        EventKind::Silent => "connected, but the battery sent nothing",
        EventKind::NoMcuId => "connected, but the battery sent no MCU ID",
        EventKind::InMemory => "rows go to memory, since the journal can't be written",
        EventKind::InStandIn => "rows go to a file beside the journal, which can't be written",
        EventKind::InFile => "rows go to the journal again",
        EventKind::Evicted => "rows that waited were deleted: there was no more room",
        EventKind::ServerAway => "the database takes no rows, which wait in the journal",
        EventKind::ServerBack => "the database takes rows again",
    };
    match event.detail.as_str() {
        "" => what.to_owned(),
        detail => format!("{what}: {}", Escaped(detail)),
    }
}

fn signed(length: Duration) -> time::Duration {
    length.try_into().unwrap_or(time::Duration::MAX)
}
