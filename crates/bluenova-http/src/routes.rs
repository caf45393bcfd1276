//! Which address is answered with what.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bluenova_journal::Reader;
use serde::Serialize;

use crate::api::{Batteries, Health, Kept, set_aside};
use crate::serve::{Request, Response};
use crate::{HistoryError, Status, history, metrics, page, plots};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Questions for the past that are taken on at a time. While they wait for each other they hold
/// places of the server's, and nobody can be told to leave those: most are for others.
const QUEUE: usize = 8;

/// Taken by whoever reads much of the past: one at a time, so that many who ask at once don't take
/// the machine from those who record.
#[derive(Default)]
pub(crate) struct Turn {
    taken: Mutex<()>,
    queue: AtomicUsize,
}

impl Turn {
    /// Waits for it; `None`: too many do already.
    fn wait(&self) -> Option<Taken<'_>> {
        let queued = Queued::enter(&self.queue)?;
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Taken { _taken: taken, _queued: queued })
    }
}

struct Taken<'a> {
    _taken: MutexGuard<'a, ()>,
    _queued: Queued<'a>,
}

struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn enter(queue: &'a AtomicUsize) -> Option<Self> {
        // It is a count and guards nothing, so that no ordering is needed.
        let before = queue.fetch_add(1, Ordering::Relaxed);
        let queued = Self(queue);
        (before < QUEUE).then_some(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn answer(request: &Request, status: &Status, turn: &Turn) -> Response {
    let Request { query, .. } = request;
    let segments: Vec<&str> = request.path.split('/').skip(1).collect();
    match segments[..] {
        [""] => Response::new(200, HTML, page::html().as_bytes())
            .with("Content-Security-Policy", page::policy()),
        ["healthz"] => {
            let health = Health::of(status);
            json(if health.ok { 200 } else { 503 }, &health)
        }
        ["metrics"] => {
            let set_aside = reader(status).and_then(|reader| set_aside(&reader, status));
            match metrics::exposition(status, set_aside) {
                Ok(text) => Response::new(200, metrics::CONTENT_TYPE, text),
                Err(error) => failed(500, &error.to_string()),
            }
        }
        ["api", "batteries"] => {
            let kept = reader(status).map(|reader| Kept::read(&reader, status));
            json(200, &Batteries::of(status, &kept.unwrap_or_default()))
        }
        ["api", "batteries", mcu_id, "history"] => {
            past(mcu_id, status, turn, |reader, id| history(reader, id, query, status.now))
        }
        ["api", "batteries", mcu_id, "plots"] => past(mcu_id, status, turn, |reader, id| {
            plots(reader, id, query, status.now, status.interval)
        }),
        _ => failed(404, &format!("there is nothing at {}", request.path)),
    }
}

/// Where the journal can't be read, the status tells of its trouble.
fn reader(status: &Status) -> Option<Reader> {
    Reader::open(&status.storage.journal).ok()
}

/// What `of` makes of a battery's past.
fn past<T: Serialize>(
    mcu_id: &str,
    status: &Status,
    turn: &Turn,
    of: impl FnOnce(&Reader, u32) -> Result<T, HistoryError>,
) -> Response {
    let unknown = |what: &str| failed(404, &format!("{mcu_id:.60} is {what}"));
    // Without the sign that numbers may have.
    let digits = mcu_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(id) = u32::from_str_radix(mcu_id, 16).ok().filter(|_| digits) else {
        return unknown("no MCU ID, which has 1 to 8 hexadecimal digits");
    };
    let Some(_turn) = turn.wait() else {
        return failed(503, "too many others ask for the past; ask again in a moment")
            .with("Retry-After", "1");
    };
    let found = Reader::open(&status.storage.journal).and_then(|reader| {
        let known = status.batteries.iter().any(|battery| battery.mcu_id() == Some(id));
        Ok((known || reader.count(id)? > 0).then_some(reader))
    });
    match found.map_err(HistoryError::from) {
        Ok(None) => unknown("a battery that nobody has heard of"),
        Ok(Some(reader)) => match of(&reader, id) {
            Ok(past) => json(200, &past),
            Err(error) => failed(error.http_status(), &chain(&error)),
        },
        Err(error) => failed(error.http_status(), &chain(&error)),
    }
}

/// An error with all that caused it.
fn chain(error: &dyn Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

fn json(status: u16, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            // It grew by doubling, and may wait for a slow client.
            body.shrink_to_fit();
            Response::new(status, JSON, body)
        }
        // None of the values is such that JSON can't hold it.
        Err(_) => Response::plain(500),
    }
}

fn failed(status: u16, why: &str) -> Response {
    json(status, &serde_json::json!({ "error": why }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_wait_for_their_turn() {
        let turn = Turn::default();
        let others: Vec<_> = (1..QUEUE).map(|_| Queued::enter(&turn.queue).unwrap()).collect();
        let last = turn.wait();
        assert!(last.is_some());
        for _ in 0..3 {
            assert!(turn.wait().is_none());
        }
        drop(last);
        assert!(turn.wait().is_some(), "a refusal takes no place in the queue");
        drop(others);
        assert_eq!(turn.queue.load(Ordering::Relaxed), 0);
    }
}
